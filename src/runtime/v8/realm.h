#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <v8.h>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/engine.h"
#include "runtime/host.h"
#include "runtime/v8/execution_gate.h"
#include "runtime/v8/memory_budget.h"

namespace v8 {
class Platform;
}

// The one isolate and context of the process with the prelude run in it: what a zygote prepares and
// a forked instance goes on with. Also the limits that V8 itself enforces. Loop-confined.
namespace brokkr::runtime {

// Where `ops.settle` and an exhausted heap report; the loaded function.
class SettleTarget {
 public:
  virtual ~SettleTarget() = default;
  virtual void on_settled(uint32_t slot, bool failed, v8::Local<v8::Value> value) = 0;
  // The heap is spent and the process ends after this call: answer whoever waits. No JavaScript
  // may run.
  virtual void on_heap_lost() = 0;
};

class Realm {
 public:
  // The functions the prelude hands over with ops.register.
  struct Entries {
    v8::Global<v8::Function> reseed, report_uncaught, run_timer, complete_call;
    v8::Global<v8::Function> call_expression, call_module, use_expression, use_module;
    v8::Global<v8::Function> module_imports, module_exports, wasm_instance;
  };

  // Starts V8 in this process. At most one is ever made; it is never destroyed.
  static Result<Realm*> open();
  static Realm& of(v8::Isolate* isolate) { return *static_cast<Realm*>(isolate->GetData(0)); }

  v8::Isolate* isolate() const { return isolate_; }
  v8::Local<v8::Context> context() const { return context_.Get(isolate_); }
  MemoryBudget& budget() { return budget_; }
  ExecutionGate& gate() { return gate_; }
  Entries& entries() { return entries_; }

  // New seeds for Math.random; called in every forked child.
  void reseed();
  // Applies a function's limits and names its host. All outlive the realm's use of them.
  void attach(const FunctionLimits&, Host&, Clock&, SettleTarget&);
  void detach();

  Host* host() const { return host_; }
  SettleTarget* target() const { return target_; }
  // Milliseconds since `attach`, and the wall clock's milliseconds at that moment.
  double now_ms() const;
  double time_origin_ms() const { return time_origin_ms_; }
  MonotonicTime time_at(double ms) const;
  MonotonicTime next_due = MonotonicTime::max();

  // The invocation the running code belongs to: it follows promises, so that of several asynchronous
  // handlers each keeps its own. Zero in what no handler awaits, a timer's callback for one.
  void set_current_invocation(uint64_t id);
  uint64_t current_invocation() const;

  // Runs promise jobs until none is left, then logs rejections nobody handles.
  void drain_microtasks();
  // Runs what V8 posted to itself: code tier-up, collection steps.
  void pump_platform();
  void report_rejections();

  // Whether what runs now was stopped, from outside or by the heap limit.
  bool is_interrupted() const { return heap_exceeded_ || gate_.is_stopped(); }
  // Whether the heap limit stopped the code that ran last; cleared by reading.
  bool take_heap_exceeded();
  // Takes `bytes` of an instance's dead memory out of what makes V8 collect.
  void uncount_external(size_t bytes);
  uint32_t uncounted_instances() const { return uncounted_instances_; }
  // Raised by the limit callbacks.
  void on_heap_exceeded();

 private:
  Realm(v8::Isolate*, v8::Platform*);
  Status run_prelude();
  void set_stack_limit();
  static size_t on_near_heap_limit(void* self, size_t current, size_t initial);
  static void on_collected(v8::Isolate*, v8::GCType, v8::GCCallbackFlags, void* self);
  static void on_rejection(v8::PromiseRejectMessage);

  v8::Isolate* isolate_;
  v8::Platform* platform_;
  v8::Global<v8::Context> context_;
  static MemoryBudget budget_;
  ExecutionGate gate_;
  Entries entries_;
  SystemClock system_clock_;
  Clock* clock_ = &system_clock_;
  Host* host_ = nullptr;
  SettleTarget* target_ = nullptr;
  MonotonicTime origin_;
  double time_origin_ms_ = 0;
  size_t heap_bytes_max_ = 64U << 20;
  bool heap_exceeded_ = false;
  uint32_t uncounted_instances_ = 0;
  struct Rejection {
    v8::Global<v8::Promise> promise;
    v8::Global<v8::Value> reason;
  };
  std::vector<Rejection> rejections_;
};

// Marks a stretch in which JavaScript may run and may be stopped; takes the handle scope and the
// context with it.
class RunScope {
 public:
  explicit RunScope(Realm& realm)
      : realm_(realm), handles_(realm.isolate()), context_(realm.context()) {
    realm.gate().enter();
  }
  ~RunScope() { if (!left_) realm_.gate().leave(); }
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;
  // Ends the stretch; says whether it was stopped from outside.
  bool leave() {
    left_ = true;
    return realm_.gate().leave();
  }

 private:
  Realm& realm_;
  v8::HandleScope handles_;
  v8::Context::Scope context_;
  bool left_ = false;
};

}  // namespace brokkr::runtime
