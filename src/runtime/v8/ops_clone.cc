#include <cstdlib>
#include <vector>

#include "runtime/v8/ops.h"

// Built without RTTI, as V8 is: the serializer's delegate is a V8 class.
namespace brokkr::runtime {
namespace {

class CloneDelegate final : public v8::ValueSerializer::Delegate {
 public:
  CloneDelegate(v8::Isolate* isolate, v8::Local<v8::Value> make_error)
      : isolate_(isolate), make_error_(make_error) {}
  void ThrowDataCloneError(v8::Local<v8::String> text) override {
    v8::Local<v8::Value> argument = text;
    v8::Local<v8::Value> error;
    if (make_error_->IsFunction() &&
        make_error_.As<v8::Function>()
            ->Call(isolate_->GetCurrentContext(), v8::Undefined(isolate_), 1, &argument)
            .ToLocal(&error)) {
      isolate_->ThrowException(error);
    }
  }

 private:
  v8::Isolate* isolate_;
  v8::Local<v8::Value> make_error_;
};

void detach(v8::Local<v8::ArrayBuffer> buffer) {
#if V8_MAJOR_VERSION >= 12
  (void)buffer->Detach(v8::Local<v8::Value>());
#else
  buffer->Detach();
#endif
}

// structuredClone(value, [buffers to transfer], (text) => error)
void structured_clone(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  CloneDelegate delegate(isolate, arguments[2]);
  v8::ValueSerializer writer(isolate, &delegate);
  std::vector<v8::Local<v8::ArrayBuffer>> transfers;
  if (arguments[1]->IsArray()) {
    const auto list = arguments[1].As<v8::Array>();
    for (uint32_t i = 0; i < list->Length(); ++i) {
      v8::Local<v8::Value> item;
      if (!list->Get(context, i).ToLocal(&item) || !item->IsArrayBuffer()) return;
      transfers.push_back(item.As<v8::ArrayBuffer>());
      writer.TransferArrayBuffer(i, transfers.back());
    }
  }
  writer.WriteHeader();
  if (!writer.WriteValue(context, arguments[0]).FromMaybe(false)) return;
  const std::pair<uint8_t*, size_t> bytes = writer.Release();
  v8::ValueDeserializer reader(isolate, bytes.first, bytes.second);
  for (uint32_t i = 0; i < transfers.size(); ++i) {
    auto store = transfers[i]->GetBackingStore();
    if (!transfers[i]->IsDetachable()) continue;
    detach(transfers[i]);
    reader.TransferArrayBuffer(i, v8::ArrayBuffer::New(isolate, std::move(store)));
  }
  v8::Local<v8::Value> value;
  if (reader.ReadHeader(context).FromMaybe(false) && reader.ReadValue(context).ToLocal(&value)) {
    arguments.GetReturnValue().Set(value);
  }
  std::free(bytes.first);
}

}  // namespace

void add_clone_ops(v8::Isolate* isolate, v8::Local<v8::Object> ops) {
  add_op(isolate, ops, "structuredClone", structured_clone);
}

}  // namespace brokkr::runtime
