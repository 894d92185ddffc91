#include "runtime/v8/wasm_function.h"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/random.h"
#include "runtime/v8/v8_text.h"

namespace brokkr::runtime {
namespace {

constexpr std::string_view kWasiModule = "wasi_snapshot_preview1";

std::string text_member(v8::Isolate* isolate, v8::Local<v8::Value> object, const char* name) {
  v8::Local<v8::Value> value;
  if (!object->IsObject() || !object.As<v8::Object>()
                                  ->Get(isolate->GetCurrentContext(), make_name(isolate, name))
                                  .ToLocal(&value)) {
    return {};
  }
  return to_text(isolate, value);
}

// Calls WebAssembly.Module.imports or .exports; the list's items.
std::vector<v8::Local<v8::Value>> describe(v8::Isolate* isolate, v8::Global<v8::Function>& what,
                                           v8::Local<v8::Value> module) {
  const v8::Local<v8::Context> context = isolate->GetCurrentContext();
  std::vector<v8::Local<v8::Value>> items;
  v8::Local<v8::Value> list;
  if (!what.Get(isolate)->Call(context, v8::Undefined(isolate), 1, &module).ToLocal(&list) ||
      !list->IsArray()) {
    return items;
  }
  for (uint32_t i = 0; i < list.As<v8::Array>()->Length(); ++i) {
    v8::Local<v8::Value> item;
    if (list.As<v8::Array>()->Get(context, i).ToLocal(&item)) items.push_back(item);
  }
  return items;
}

template <typename T>
bool is_one_of(std::span<const T> functions, std::string_view name) {
  return std::any_of(functions.begin(), functions.end(),
                     [name](const T& function) { return function.name == name; });
}

// The 32 bits of a number a program passed; nothing else comes from a valid module.
uint64_t word_of(v8::Local<v8::Value> value) {
  if (value->IsInt32()) return static_cast<uint32_t>(value.As<v8::Int32>()->Value());
  if (value->IsBigInt()) return value.As<v8::BigInt>()->Uint64Value();
  if (!value->IsNumber()) return 0;
  return static_cast<uint32_t>(static_cast<int64_t>(value.As<v8::Number>()->Value()));
}

Status check_header(const FunctionSpec& spec) {
  const std::string_view bytes = spec.artifact;
  if (!bytes.starts_with(std::string_view("\0asm", 4))) {
    return Error{Errc::InvalidArgument, spec.file_name + ": is not WebAssembly: it starts with " +
                                            hex_encode(bytes.substr(0, 4)) + ", not 0061736d"};
  }
  if (bytes.size() >= 8 && bytes[6] == 1) {
    return Error{Errc::Unsupported, spec.file_name +
                                        ": is a WebAssembly component; build a WASI preview 1 "
                                        "command (wasm32-wasip1) instead"};
  }
  return {};
}

}  // namespace

WasmFunction::WasmFunction(Realm& realm, const FunctionSpec& spec, Host& host, Clock& clock)
    : realm_(realm), limits_(spec.limits), host_(host), clock_(clock), wasi_(*this),
      services_(host) {
  wasi_.set_environment(spec.environment);
}

WasmFunction::~WasmFunction() { realm_.detach(); }

Result<std::unique_ptr<Function>> WasmFunction::load(Realm& realm, const FunctionSpec& spec,
                                                     Host& host, Clock& clock) {
  if (Status status = check_header(spec); !status) return status.error();
  std::unique_ptr<WasmFunction> function(new WasmFunction(realm, spec, host, clock));
  realm.attach(spec.limits, host, clock, *function);
  if (Status status = function->compile(spec); !status) return status.error();
  return std::unique_ptr<Function>(std::move(function));
}

Status WasmFunction::compile(const FunctionSpec& spec) {
  v8::Isolate* isolate = realm_.isolate();
  RunScope run(realm_);
  v8::TryCatch caught(isolate);
  v8::Local<v8::WasmModuleObject> module;
  const auto* bytes = reinterpret_cast<const uint8_t*>(spec.artifact.data());
  if (!v8::WasmModuleObject::Compile(
           isolate, v8::MemorySpan<const uint8_t>(bytes, spec.artifact.size()))
           .ToLocal(&module)) {
    return Error{Errc::Corrupt,
                 spec.file_name + ": " + describe_exception(isolate, caught).error};
  }
  if (Status status = check_imports(spec, module); !status) return status;
  if (Status status = check_exports(spec, module); !status) return status;
  module_.Reset(isolate, module);
  exports_name_.Reset(isolate, make_name(isolate, "exports"));
  start_name_.Reset(isolate, make_name(isolate, "_start"));
  memory_name_.Reset(isolate, make_name(isolate, "memory"));
  make_imports();
  return try_instance(spec);
}

// A module that cannot be instantiated, mostly because it wants more memory than it may have, is
// refused now and not at every call.
Status WasmFunction::try_instance(const FunctionSpec& spec) {
  v8::Isolate* isolate = realm_.isolate();
  v8::TryCatch caught(isolate);
  wasi_.begin({}, {}, 0);
  services_.begin(0);
  v8::Local<v8::Value> arguments[2] = {module_.Get(isolate), imports_.Get(isolate)};
  const bool is_made = !realm_.entries()
                            .wasm_instance.Get(isolate)
                            ->NewInstance(realm_.context(), 2, arguments)
                            .IsEmpty();
  if (is_made || wasi_.has_ended()) return {};
  return Error{Errc::InvalidArgument,
               spec.file_name + ": " + describe_exception(isolate, caught).error +
                   " (the memory limit is " + format_bytes(limits_.heap_bytes_max) + ")"};
}

Status WasmFunction::check_imports(const FunctionSpec& spec, v8::Local<v8::Value> module) {
  v8::Isolate* isolate = realm_.isolate();
  for (const v8::Local<v8::Value> item : describe(isolate, realm_.entries().module_imports, module)) {
    const std::string from = text_member(isolate, item, "module");
    const std::string name = text_member(isolate, item, "name");
    const bool is_function = text_member(isolate, item, "kind") == "function";
    if (is_function && from == kWasiModule && is_one_of(wasi_functions(), name)) continue;
    if (is_function && from == kHostImportsModule && is_one_of(host_imports(), name)) continue;
    std::string text = spec.file_name + ": imports " + from + "." + name + ", which is not provided";
    if (from == "wasi_unstable") text += ": rebuild for wasi_snapshot_preview1";
    return Error{Errc::Unsupported, std::move(text)};
  }
  return {};
}

Status WasmFunction::check_exports(const FunctionSpec& spec, v8::Local<v8::Value> module) {
  v8::Isolate* isolate = realm_.isolate();
  bool has_start = false;
  bool has_memory = false;
  for (const v8::Local<v8::Value> item : describe(isolate, realm_.entries().module_exports, module)) {
    const std::string name = text_member(isolate, item, "name");
    const std::string kind = text_member(isolate, item, "kind");
    has_start = has_start || (name == "_start" && kind == "function");
    has_memory = has_memory || (name == "memory" && kind == "memory");
  }
  if (!has_start) {
    return Error{Errc::InvalidArgument,
                 spec.file_name + ": exports no function _start: it must be a WASI command (a "
                                  "program with main), not a library or reactor"};
  }
  if (!has_memory) {
    return Error{Errc::InvalidArgument, spec.file_name + ": exports no memory named memory"};
  }
  return {};
}

void WasmFunction::make_imports() {
  v8::Isolate* isolate = realm_.isolate();
  const v8::Local<v8::Object> imports = v8::Object::New(isolate);
  const auto add = [&](std::string_view module, const auto& functions, v8::FunctionCallback callback) {
    const v8::Local<v8::Context> context = realm_.context();
    const v8::Local<v8::Object> object = v8::Object::New(isolate);
    int32_t index = 0;
    for (const auto& function : functions) {
      object
          ->Set(context, make_name(isolate, function.name),
                v8::Function::New(context, callback, v8::Integer::New(isolate, index++), 0,
                                  v8::ConstructorBehavior::kThrow)
                    .ToLocalChecked())
          .Check();
    }
    imports->Set(context, make_name(isolate, module), object).Check();
  };
  add(kWasiModule, wasi_functions(), on_import);
  add(kHostImportsModule, host_imports(), on_host_import);
  imports_.Reset(isolate, imports);
}

// A program that imports from "brokkr" asks the host here; the call blocks.
void WasmFunction::on_host_import(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  auto* self = static_cast<WasmFunction*>(Realm::of(isolate).target());
  const auto index = static_cast<size_t>(arguments.Data().As<v8::Int32>()->Value());
  const HostImport& import = host_imports()[index];
  if (self->wasi_.has_ended()) {
    isolate->ThrowException(v8::Null(isolate));
    return;
  }
  uint64_t words[kHostImportParametersMax] = {};
  for (size_t i = 0; i < import.parameter_count(); ++i) words[i] = word_of(arguments[static_cast<int>(i)]);
  // What it has logged so far stands before what the call does.
  self->flush_log(false);
  const int64_t result =
      self->services_.call(index, self->memory(), {words, import.parameter_count()});
  if (HostImports::is_long(import)) {
    arguments.GetReturnValue().Set(v8::BigInt::New(isolate, result));
  } else {
    arguments.GetReturnValue().Set(static_cast<int32_t>(result));
  }
}

void WasmFunction::on_import(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  auto* self = static_cast<WasmFunction*>(Realm::of(isolate).target());
  const auto index = static_cast<size_t>(arguments.Data().As<v8::Int32>()->Value());
  const WasiFunction& function = wasi_functions()[index];
  uint64_t words[kWasiParametersMax];
  for (size_t i = 0; i < function.parameters.size(); ++i) {
    words[i] = word_of(arguments[static_cast<int>(i)]);
  }
  uint16_t result = 0;
  if (!self->wasi_.has_ended()) {
    result = self->wasi_.call(index, self->memory(), {words, function.parameters.size()});
  }
  if (self->wasi_.has_ended()) {
    // Unwinds the program; a program that catches it meets it again at its next import.
    isolate->ThrowException(v8::Null(isolate));
    return;
  }
  self->flush_log(false);
  if (function.has_result) arguments.GetReturnValue().Set(result);
}

WasiMemory WasmFunction::memory() const {
  if (instance_memory_.IsEmpty()) return {};
  const v8::Local<v8::ArrayBuffer> buffer = instance_memory_->Buffer();
  return WasiMemory({static_cast<uint8_t*>(buffer->Data()), buffer->ByteLength()});
}

// Nothing refers to the instance any more, but V8 finds out only at its next full collection, which
// it starts after 64 MiB of such memories: every fifty calls. Its pages go back to the kernel now,
// and V8 is told not to count it.
void WasmFunction::release_memory() {
  constexpr uint32_t kUncollectedMax = 1000;
  if (instance_memory_.IsEmpty()) return;
  const v8::Local<v8::ArrayBuffer> buffer = instance_memory_->Buffer();
  instance_memory_.Clear();
  const size_t bytes = buffer->ByteLength();
  if (bytes == 0 || realm_.uncounted_instances() >= kUncollectedMax) return;
  if (madvise(buffer->Data(), bytes, MADV_DONTNEED) != 0) return;
  realm_.uncount_external(bytes);
}

void WasmFunction::flush_log(bool all) {
  const std::string text = wasi_.take_log(all);
  if (!text.empty()) host_.log(LogStream::Stderr, text);
}

bool WasmFunction::run() {
  v8::Isolate* isolate = realm_.isolate();
  const v8::Local<v8::Context> context = realm_.context();
  v8::Local<v8::Value> arguments[2] = {module_.Get(isolate), imports_.Get(isolate)};
  v8::Local<v8::Object> instance;
  v8::Local<v8::Value> exports;
  v8::Local<v8::Value> memory;
  v8::Local<v8::Value> start;
  if (!realm_.entries().wasm_instance.Get(isolate)->NewInstance(context, 2, arguments).ToLocal(
          &instance) ||
      !instance->Get(context, exports_name_.Get(isolate)).ToLocal(&exports) ||
      !exports.As<v8::Object>()->Get(context, memory_name_.Get(isolate)).ToLocal(&memory) ||
      !exports.As<v8::Object>()->Get(context, start_name_.Get(isolate)).ToLocal(&start)) {
    return false;
  }
  instance_memory_ = memory.As<v8::WasmMemoryObject>();
  return !start.As<v8::Function>()->Call(context, v8::Undefined(isolate), 0, nullptr).IsEmpty();
}

void WasmFunction::invoke(const Invocation& invocation, OutcomeSink& sink) {
  v8::Isolate* isolate = realm_.isolate();
  current_id_ = invocation.id;
  current_sink_ = &sink;
  Outcome outcome;
  bool was_stopped = false;
  {
    RunScope run_scope(realm_);
    v8::TryCatch caught(isolate);
    wasi_.begin(invocation.subject, invocation.payload, limits_.reply_bytes_max);
    services_.begin(invocation.id);
    const bool has_returned = run();
    const bool has_trapped = !has_returned && !wasi_.has_ended() && !caught.HasTerminated();
    outcome = to_outcome(has_trapped ? describe_exception(isolate, caught) : ExceptionText{},
                         has_returned);
    release_memory();
    services_.begin(0);
    was_stopped = run_scope.leave();
  }
  flush_log(true);
  if (realm_.take_heap_exceeded()) {
    outcome = out_of_memory();
  } else if (was_stopped) {
    outcome = {};
    outcome.code = OutcomeCode::TimedOut;
    outcome.error = "timed out: the limit is " + format_go_duration(limits_.wall_time);
  }
  current_sink_ = nullptr;
  sink.on_outcome(invocation.id, std::move(outcome));
  if (--calls_until_pump_ == 0) {
    calls_until_pump_ = 64;
    realm_.pump_platform();
  }
}

Outcome WasmFunction::to_outcome(const ExceptionText& trap, bool has_returned) {
  Outcome outcome;
  if (wasi_.is_output_exceeded()) {
    outcome.code = OutcomeCode::ReplyTooLarge;
    outcome.error = "the reply exceeds the limit of " + std::to_string(limits_.reply_bytes_max);
  } else if (wasi_.has_exited() && wasi_.exit_code() != 0) {
    outcome.code = OutcomeCode::Exception;
    outcome.error = "exited with code " + std::to_string(wasi_.exit_code());
    outcome.stack = wasi_.log_tail();
  } else if (has_returned || wasi_.has_exited()) {
    outcome.payload = std::move(wasi_.output());
  } else {
    outcome.code = OutcomeCode::Exception;
    outcome.error = trap.error;
    outcome.stack = trap.stack;
    if (!wasi_.log_tail().empty()) outcome.stack += "\n" + wasi_.log_tail();
    if (trap.is_range_error && trap.error.find("emory") != std::string::npos) {
      outcome.code = OutcomeCode::OutOfMemory;
    }
  }
  return outcome;
}

Outcome WasmFunction::out_of_memory() const {
  Outcome outcome;
  outcome.code = OutcomeCode::OutOfMemory;
  outcome.error = "out of memory: the limit is " + format_bytes(limits_.heap_bytes_max);
  return outcome;
}

void WasmFunction::on_heap_lost() {
  if (current_sink_ != nullptr) current_sink_->on_outcome(current_id_, out_of_memory());
}

uint64_t WasmFunction::monotonic_ns() {
  return static_cast<uint64_t>(clock_.now().time_since_epoch().count());
}

uint64_t WasmFunction::realtime_ns() {
  return static_cast<uint64_t>(clock_.wall_now().time_since_epoch().count());
}

void WasmFunction::fill_random(std::span<uint8_t> out) { fill_secure(out); }

bool WasmFunction::sleep_ns(uint64_t ns) {
  // In slices, because a stop cannot interrupt the kernel's sleep.
  constexpr uint64_t kSliceNs = 5'000'000;
  while (ns > 0 && !realm_.gate().is_stopped()) {
    const uint64_t slice = std::min(ns, kSliceNs);
    const timespec wait{0, static_cast<long>(slice)};
    nanosleep(&wait, nullptr);
    ns -= slice;
  }
  return ns == 0;
}

}  // namespace brokkr::runtime
