#pragma once

#include <string>
#include <string_view>

#include <v8-version.h>
#include <v8.h>

// Small bridges between V8's values and C++ text and bytes, and the places where V8 versions
// differ. Loop-confined: the isolate's thread.
namespace brokkr::runtime {

using Arguments = v8::FunctionCallbackInfo<v8::Value>;

// UTF-8 with invalid sequences replaced. Empty when longer than V8 allows (512 MiB).
v8::MaybeLocal<v8::String> try_string(v8::Isolate*, std::string_view);
// For texts of ours, which are short.
v8::Local<v8::String> make_string(v8::Isolate*, std::string_view);
// For names used again and again.
v8::Local<v8::String> make_name(v8::Isolate*, std::string_view);

// Appends as UTF-8, lone surrogates replaced.
void append_utf8(v8::Isolate*, v8::Local<v8::String>, std::string& out);
// ToString of any value; empty when that throws.
std::string to_text(v8::Isolate*, v8::Local<v8::Value>);

// The bytes of a view or a buffer; valid until JavaScript runs again. Empty for other values.
std::string_view bytes_of(v8::Local<v8::Value>);
// A Uint8Array holding a copy; empty with a RangeError thrown when the function's budget is spent.
v8::MaybeLocal<v8::Uint8Array> make_bytes(v8::Isolate*, std::string_view);

v8::ScriptOrigin script_origin(v8::Isolate*, std::string_view name, bool is_module);

void throw_type_error(v8::Isolate*, std::string_view);
void throw_range_error(v8::Isolate*, std::string_view);

}  // namespace brokkr::runtime
