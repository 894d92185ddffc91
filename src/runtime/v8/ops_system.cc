#include <openssl/evp.h>

#include "base/random.h"
#include "runtime/v8/ops.h"
#include "runtime/v8/realm.h"

namespace brokkr::runtime {
namespace {

void log(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  Host* host = Realm::of(isolate).host();
  if (host == nullptr || !arguments[1]->IsString()) return;
  std::string text;
  append_utf8(isolate, arguments[1].As<v8::String>(), text);
  host->log(arguments[0]->IsTrue() ? LogStream::Stderr : LogStream::Stdout, text);
}

void now(const Arguments& arguments) {
  arguments.GetReturnValue().Set(Realm::of(arguments.GetIsolate()).now_ms());
}

void time_origin(const Arguments& arguments) {
  arguments.GetReturnValue().Set(Realm::of(arguments.GetIsolate()).time_origin_ms());
}

// setNextDue(ms): when the first timer is due; negative when there is none.
void set_next_due(const Arguments& arguments) {
  Realm& realm = Realm::of(arguments.GetIsolate());
  const double ms = arguments[0]->IsNumber() ? arguments[0].As<v8::Number>()->Value() : -1;
  realm.next_due = ms < 0 ? MonotonicTime::max() : realm.time_at(ms);
}

void enqueue_microtask(const Arguments& arguments) {
  if (!arguments[0]->IsFunction()) return;
  arguments.GetIsolate()->EnqueueMicrotask(arguments[0].As<v8::Function>());
}

void is_promise(const Arguments& arguments) {
  arguments.GetReturnValue().Set(arguments[0]->IsPromise());
}

void fill_random(const Arguments& arguments) {
  const std::string_view bytes = bytes_of(arguments[0]);
  fill_secure({reinterpret_cast<uint8_t*>(const_cast<char*>(bytes.data())), bytes.size()});
}

// digest("SHA-256", bytes): the digest's bytes, or undefined for an unknown algorithm.
void digest(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  const std::string name = to_text(isolate, arguments[0]);
  const EVP_MD* algorithm = name == "SHA-1"     ? EVP_sha1()
                            : name == "SHA-256" ? EVP_sha256()
                            : name == "SHA-384" ? EVP_sha384()
                            : name == "SHA-512" ? EVP_sha512()
                                                : nullptr;
  if (algorithm == nullptr) return;
  const std::string_view bytes = bytes_of(arguments[1]);
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), out, &size, algorithm, nullptr) != 1) return;
  v8::Local<v8::Uint8Array> result;
  if (make_bytes(isolate, {reinterpret_cast<char*>(out), size}).ToLocal(&result)) {
    arguments.GetReturnValue().Set(result);
  }
}

}  // namespace

void add_op(v8::Isolate* isolate, v8::Local<v8::Object> ops, const char* name,
            v8::FunctionCallback callback) {
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  const v8::Local<v8::Function> function =
      v8::Function::New(context, callback, {}, 0, v8::ConstructorBehavior::kThrow).ToLocalChecked();
  ops->Set(context, make_name(isolate, name), function).Check();
}

v8::Local<v8::Object> make_ops(Realm& realm) {
  v8::Isolate* isolate = realm.isolate();
  const v8::Local<v8::Object> ops = v8::Object::New(isolate);
  add_text_ops(isolate, ops);
  add_system_ops(isolate, ops);
  add_host_ops(isolate, ops);
  add_clone_ops(isolate, ops);
  return ops;
}

void add_system_ops(v8::Isolate* isolate, v8::Local<v8::Object> ops) {
  add_op(isolate, ops, "log", log);
  add_op(isolate, ops, "now", now);
  add_op(isolate, ops, "timeOrigin", time_origin);
  add_op(isolate, ops, "setNextDue", set_next_due);
  add_op(isolate, ops, "enqueueMicrotask", enqueue_microtask);
  add_op(isolate, ops, "isPromise", is_promise);
  add_op(isolate, ops, "fillRandom", fill_random);
  add_op(isolate, ops, "digest", digest);
}

}  // namespace brokkr::runtime
