#pragma once

#include <map>
#include <memory>
#include <string>

#include "runtime/engine.h"
#include "runtime/v8/error_text.h"
#include "runtime/v8/realm.h"

// A loaded JavaScript function, of either form. Loop-confined, save `terminate`.
namespace brokkr::runtime {

class JsFunction final : public Function, public SettleTarget {
 public:
  static Result<std::unique_ptr<Function>> load(Realm&, const FunctionSpec&, Host&, Clock&);
  ~JsFunction() override;

  void invoke(const Invocation&, OutcomeSink&) override;
  void complete_call(uint64_t call_id, HostReply&& reply) override;
  void run_due_work() override;
  MonotonicTime next_due() const override { return realm_.next_due; }
  void abandon(uint64_t invocation_id) override;
  void terminate() override { realm_.gate().stop(); }
  void trim() override { realm_.isolate()->LowMemoryNotification(); }

  void on_settled(uint32_t slot, bool failed, v8::Local<v8::Value> value) override;
  void on_heap_lost() override;

 private:
  struct Waiting {
    uint64_t id;
    OutcomeSink* sink;
  };

  JsFunction(Realm& realm, const FunctionSpec& spec, Clock& clock)
      : realm_(realm), limits_(spec.limits), clock_(clock) {}
  Status compile(const FunctionSpec&);
  Status use_script(v8::Local<v8::Script>, const FunctionSpec&);
  Status use_module(v8::Local<v8::Module>, const FunctionSpec&);

  v8::MaybeLocal<v8::Value> call_handler(uint32_t slot, const Invocation&);
  v8::Local<v8::String> subject_string(std::string_view subject);
  Outcome to_outcome(v8::Local<v8::Value> result);
  Outcome failure(const ExceptionText&);
  Outcome timed_out() const;
  // Delivers and forgets; does nothing when the slot was answered before.
  void on_outcome_ready(uint32_t slot, Outcome&&);
  void answer_all_out_of_memory();
  // Ends the running stretch and answers whom its end concerns: everybody when the heap is spent,
  // `current` (or else who has waited longest) when it was stopped.
  void finish(RunScope&, uint32_t current);
  void call_entry(v8::Global<v8::Function>& entry, int count, v8::Local<v8::Value>* arguments);

  Realm& realm_;
  FunctionLimits limits_;
  Clock& clock_;
  bool is_module_ = false;
  uint32_t last_slot_ = 0;
  uint32_t calls_until_pump_ = 64;
  // By slot, so in the order of their start.
  std::map<uint32_t, Waiting> waiting_;
  std::string last_subject_;
  v8::Global<v8::String> last_subject_string_;
};

}  // namespace brokkr::runtime
