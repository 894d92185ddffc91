#pragma once

#include <v8.h>

#include "runtime/v8/v8_text.h"

// The native operations of the prelude: one object, passed to it as `__ops` and reachable from
// nowhere else. Each group of operations has its own file.
namespace brokkr::runtime {

class Realm;

v8::Local<v8::Object> make_ops(Realm&);

// Adds one operation.
void add_op(v8::Isolate*, v8::Local<v8::Object> ops, const char* name, v8::FunctionCallback);

void add_text_ops(v8::Isolate*, v8::Local<v8::Object> ops);    // UTF-8, UTF-16, Latin1, base64
void add_system_ops(v8::Isolate*, v8::Local<v8::Object> ops);  // log, time, random, digests
void add_host_ops(v8::Isolate*, v8::Local<v8::Object> ops);    // host calls, settling, entries
void add_clone_ops(v8::Isolate*, v8::Local<v8::Object> ops);   // structuredClone

}  // namespace brokkr::runtime
