#include "runtime/v8/v8_text.h"

#include <algorithm>
#include <cstring>

#include "runtime/v8/memory_budget.h"
#include "runtime/v8/realm.h"

namespace brokkr::runtime {

v8::MaybeLocal<v8::String> try_string(v8::Isolate* isolate, std::string_view text) {
  if (text.size() > static_cast<size_t>(v8::String::kMaxLength)) return {};
  return v8::String::NewFromUtf8(isolate, text.data(), v8::NewStringType::kNormal,
                                 static_cast<int>(text.size()));
}

v8::Local<v8::String> make_string(v8::Isolate* isolate, std::string_view text) {
  return try_string(isolate, text).ToLocalChecked();
}

v8::Local<v8::String> make_name(v8::Isolate* isolate, std::string_view text) {
  return v8::String::NewFromUtf8(isolate, text.data(), v8::NewStringType::kInternalized,
                                 static_cast<int>(text.size()))
      .ToLocalChecked();
}

void append_utf8(v8::Isolate* isolate, v8::Local<v8::String> text, std::string& out) {
  const size_t start = out.size();
#if V8_MAJOR_VERSION >= 13
  const size_t size = text->Utf8LengthV2(isolate);
  out.resize(start + size);
  text->WriteUtf8V2(isolate, out.data() + start, size, v8::String::WriteFlags::kReplaceInvalidUtf8);
#else
  if (text->IsOneByte()) {
    // Plain ASCII, the common reply, needs one copy and no measuring.
    const int length = text->Length();
    out.resize(start + static_cast<size_t>(length));
    text->WriteOneByte(isolate, reinterpret_cast<uint8_t*>(out.data()) + start, 0, length,
                       v8::String::NO_NULL_TERMINATION);
    const bool is_ascii = std::all_of(out.begin() + static_cast<std::ptrdiff_t>(start), out.end(),
                                      [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (is_ascii) return;
  }
  const int size = text->Utf8Length(isolate);
  out.resize(start + static_cast<size_t>(size));
  text->WriteUtf8(isolate, out.data() + start, size, nullptr,
                  v8::String::NO_NULL_TERMINATION | v8::String::REPLACE_INVALID_UTF8);
#endif
}

std::string to_text(v8::Isolate* isolate, v8::Local<v8::Value> value) {
  std::string out;
  v8::Local<v8::String> text;
  if (value->ToString(isolate->GetCurrentContext()).ToLocal(&text)) append_utf8(isolate, text, out);
  return out;
}

std::string_view bytes_of(v8::Local<v8::Value> value) {
  if (value->IsArrayBufferView()) {
    const auto view = value.As<v8::ArrayBufferView>();
    const size_t size = view->ByteLength();
    if (size == 0) return {};
    // Buffer() moves the bytes of a small on-heap array to a place that stays.
    return {static_cast<const char*>(view->Buffer()->Data()) + view->ByteOffset(), size};
  }
  if (value->IsArrayBuffer()) {
    const auto buffer = value.As<v8::ArrayBuffer>();
    if (buffer->ByteLength() == 0) return {};
    return {static_cast<const char*>(buffer->Data()), buffer->ByteLength()};
  }
  return {};
}

v8::MaybeLocal<v8::Uint8Array> make_bytes(v8::Isolate* isolate, std::string_view bytes) {
  MemoryBudget& budget = Realm::of(isolate).budget();
  void* data = budget.AllocateUninitialized(bytes.size());
  if (data == nullptr) {
    // Buffers that nothing refers to count until a collection finds them.
    isolate->LowMemoryNotification();
    data = budget.AllocateUninitialized(bytes.size());
  }
  if (data == nullptr) {
    throw_range_error(isolate, MemoryBudget::kExceeded);
    return {};
  }
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  auto store = v8::ArrayBuffer::NewBackingStore(
      data, bytes.size(),
      [](void* pointer, size_t size, void* owner) {
        static_cast<MemoryBudget*>(owner)->Free(pointer, size);
      },
      &budget);
  return v8::Uint8Array::New(v8::ArrayBuffer::New(isolate, std::move(store)), 0, bytes.size());
}

v8::ScriptOrigin script_origin(v8::Isolate* isolate, std::string_view name, bool is_module) {
#if V8_MAJOR_VERSION >= 12
  return v8::ScriptOrigin(make_string(isolate, name), 0, 0, false, -1, v8::Local<v8::Value>(),
                          false, false, is_module);
#else
  return v8::ScriptOrigin(isolate, make_string(isolate, name), 0, 0, false, -1,
                          v8::Local<v8::Value>(), false, false, is_module);
#endif
}

void throw_type_error(v8::Isolate* isolate, std::string_view text) {
  isolate->ThrowException(v8::Exception::TypeError(make_string(isolate, text)));
}

void throw_range_error(v8::Isolate* isolate, std::string_view text) {
  isolate->ThrowException(v8::Exception::RangeError(make_string(isolate, text)));
}

}  // namespace brokkr::runtime
