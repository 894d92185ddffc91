#pragma once

#include <memory>
#include <string>

#include "runtime/engine.h"
#include "runtime/v8/error_text.h"
#include "runtime/host_imports.h"
#include "runtime/v8/realm.h"
#include "runtime/wasi_host.h"

// A loaded WebAssembly command: compiled once, instantiated anew for every call, so no call sees
// another's memory. Always synchronous. Loop-confined, save `terminate`.
namespace brokkr::runtime {

class WasmFunction final : public Function, public SettleTarget, private WasiWorld {
 public:
  static Result<std::unique_ptr<Function>> load(Realm&, const FunctionSpec&, Host&, Clock&);
  ~WasmFunction() override;

  void invoke(const Invocation&, OutcomeSink&) override;
  void complete_call(uint64_t, HostReply&&) override {}
  void run_due_work() override { realm_.pump_platform(); }
  MonotonicTime next_due() const override { return MonotonicTime::max(); }
  void abandon(uint64_t) override {}
  void terminate() override { realm_.gate().stop(); }
  void trim() override { realm_.isolate()->LowMemoryNotification(); }

  void on_settled(uint32_t, bool, v8::Local<v8::Value>) override {}
  void on_heap_lost() override;

 private:
  WasmFunction(Realm&, const FunctionSpec&, Host&, Clock&);
  Status compile(const FunctionSpec&);
  Status check_imports(const FunctionSpec&, v8::Local<v8::Value> module);
  Status check_exports(const FunctionSpec&, v8::Local<v8::Value> module);
  Status try_instance(const FunctionSpec&);
  void make_imports();
  static void on_import(const v8::FunctionCallbackInfo<v8::Value>&);
  static void on_host_import(const v8::FunctionCallbackInfo<v8::Value>&);

  // Instantiates and runs _start; false with an exception pending, or when proc_exit ended it.
  bool run();
  Outcome to_outcome(const ExceptionText& trap, bool has_returned);
  Outcome out_of_memory() const;
  WasiMemory memory() const;
  void release_memory();
  void flush_log(bool all);

  uint64_t monotonic_ns() override;
  uint64_t realtime_ns() override;
  void fill_random(std::span<uint8_t>) override;
  bool sleep_ns(uint64_t) override;

  Realm& realm_;
  FunctionLimits limits_;
  Host& host_;
  Clock& clock_;
  WasiHost wasi_;
  HostImports services_;
  v8::Global<v8::WasmModuleObject> module_;
  v8::Global<v8::Object> imports_;
  v8::Global<v8::String> exports_name_, start_name_, memory_name_;
  // Of the instance that runs; empty before it exists.
  v8::Local<v8::WasmMemoryObject> instance_memory_;
  uint64_t current_id_ = 0;
  OutcomeSink* current_sink_ = nullptr;
  uint32_t calls_until_pump_ = 64;
};

}  // namespace brokkr::runtime
