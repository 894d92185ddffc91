#include "runtime/v8/host_reply.h"
#include "runtime/v8/ops.h"
#include "runtime/v8/realm.h"

namespace brokkr::runtime {

bool reply_to_values(v8::Isolate* isolate, const HostReply& reply, v8::Local<v8::Value> (&out)[5]) {
  v8::Local<v8::Uint8Array> payload;
  v8::Local<v8::Uint8Array> more;
  v8::Local<v8::String> error;
  v8::Local<v8::String> headers;
  if (!make_bytes(isolate, reply.payload).ToLocal(&payload) ||
      !make_bytes(isolate, reply.more).ToLocal(&more) ||
      !try_string(isolate, reply.error).ToLocal(&error) ||
      !try_string(isolate, reply.headers).ToLocal(&headers)) {
    return false;
  }
  out[0] = v8::Integer::New(isolate, reply.code);
  out[1] = error;
  out[2] = headers;
  out[3] = payload;
  out[4] = more;
  return true;
}

namespace {

// The arguments of call and startCall: service, method, target, key, header block, payload,
// timeout in ms, most replies.
struct CallArguments {
  std::string service, method, target, key, headers, payload;
  HostCall call;

  explicit CallArguments(const Arguments& arguments) {
    v8::Isolate* isolate = arguments.GetIsolate();
    service = to_text(isolate, arguments[0]);
    method = to_text(isolate, arguments[1]);
    target = to_text(isolate, arguments[2]);
    key = to_text(isolate, arguments[3]);
    headers = to_text(isolate, arguments[4]);
    payload = bytes_of(arguments[5]);
    call = {service, method, target, key, headers, payload};
    if (arguments[6]->IsNumber()) {
      call.timeout_ms = static_cast<int64_t>(std::min(arguments[6].As<v8::Number>()->Value(), 1e15));
    }
    if (arguments[7]->IsUint32()) call.replies_max = arguments[7].As<v8::Uint32>()->Value();
    call.invocation = Realm::of(isolate).current_invocation();
  }
};

// The prelude says it better; this holds where a program has bent its arrays' lengths.
bool is_too_large(v8::Isolate* isolate, const HostCall& call) {
  if (call.bytes() <= kHostCallBytesMax) return false;
  throw_type_error(isolate, "the request is too large");
  return true;
}

void call(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  Host* host = Realm::of(isolate).host();
  if (host == nullptr) return throw_type_error(isolate, "no host");
  const CallArguments unpacked(arguments);
  if (is_too_large(isolate, unpacked.call)) return;
  const HostReply reply = host->call(unpacked.call);
  v8::Local<v8::Value> values[5];
  if (reply_to_values(isolate, reply, values)) {
    arguments.GetReturnValue().Set(v8::Array::New(isolate, values, 5));
  }
}

void start_call(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  Host* host = Realm::of(isolate).host();
  if (host == nullptr) return throw_type_error(isolate, "no host");
  const CallArguments unpacked(arguments);
  if (is_too_large(isolate, unpacked.call)) return;
  const uint64_t id = host->start_call(unpacked.call);
  arguments.GetReturnValue().Set(static_cast<double>(id));
}

// settle(slot, failed, value): the outcome of an asynchronous handler.
void settle(const Arguments& arguments) {
  SettleTarget* target = Realm::of(arguments.GetIsolate()).target();
  if (target == nullptr || !arguments[0]->IsUint32()) return;
  target->on_settled(arguments[0].As<v8::Uint32>()->Value(), arguments[1]->IsTrue(), arguments[2]);
}

void register_entries(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  if (!arguments[0]->IsObject()) return;
  const auto object = arguments[0].As<v8::Object>();
  const auto take = [&](const char* name, v8::Global<v8::Function>& entry) {
    v8::Local<v8::Value> value;
    if (object->Get(context, make_name(isolate, name)).ToLocal(&value) && value->IsFunction()) {
      entry.Reset(isolate, value.As<v8::Function>());
    }
  };
  Realm::Entries& entries = Realm::of(isolate).entries();
  take("reseed", entries.reseed);
  take("reportUncaught", entries.report_uncaught);
  take("runTimer", entries.run_timer);
  take("completeCall", entries.complete_call);
  take("callExpression", entries.call_expression);
  take("callModule", entries.call_module);
  take("useExpression", entries.use_expression);
  take("useModule", entries.use_module);
  take("moduleImports", entries.module_imports);
  take("moduleExports", entries.module_exports);
  take("wasmInstance", entries.wasm_instance);
}

}  // namespace

void add_host_ops(v8::Isolate* isolate, v8::Local<v8::Object> ops) {
  add_op(isolate, ops, "call", call);
  add_op(isolate, ops, "startCall", start_call);
  add_op(isolate, ops, "settle", settle);
  add_op(isolate, ops, "register", register_entries);
}

}  // namespace brokkr::runtime
