#include "runtime/v8/js_function.h"

#include <tuple>

#include "base/bytes.h"
#include "runtime/v8/host_reply.h"
#include "runtime/v8/v8_text.h"

namespace brokkr::runtime {

JsFunction::~JsFunction() {
  last_subject_string_.Reset();
  realm_.detach();
}

v8::Local<v8::String> JsFunction::subject_string(std::string_view subject) {
  v8::Isolate* isolate = realm_.isolate();
  if (last_subject_string_.IsEmpty() || subject != last_subject_) {
    last_subject_ = subject;
    last_subject_string_.Reset(isolate, make_string(isolate, subject));
  }
  return last_subject_string_.Get(isolate);
}

v8::MaybeLocal<v8::Value> JsFunction::call_handler(uint32_t slot, const Invocation& invocation) {
  v8::Isolate* isolate = realm_.isolate();
  const v8::Local<v8::Context> context = realm_.context();
  v8::Local<v8::Uint8Array> payload;
  if (!make_bytes(isolate, invocation.payload).ToLocal(&payload)) return {};
  v8::Local<v8::Value> arguments[5] = {v8::Integer::NewFromUnsigned(isolate, slot),
                                       subject_string(invocation.subject), payload};
  if (!is_module_) {
    return realm_.entries().call_expression.Get(isolate)->Call(context, v8::Undefined(isolate), 3,
                                                               arguments);
  }
  arguments[3] = make_string(isolate, invocation.reply);
  arguments[4] = make_string(isolate, invocation.headers);
  return realm_.entries().call_module.Get(isolate)->Call(context, v8::Undefined(isolate), 5,
                                                         arguments);
}

void JsFunction::invoke(const Invocation& invocation, OutcomeSink& sink) {
  v8::Isolate* isolate = realm_.isolate();
  RunScope run(realm_);
  v8::TryCatch caught(isolate);
  const uint32_t slot = ++last_slot_;
  // Known from the start, so that a lost heap answers this call too.
  waiting_.emplace(slot, Waiting{invocation.id, &sink});
  v8::Local<v8::Value> result;
  realm_.set_current_invocation(invocation.id);
  if (call_handler(slot, invocation).ToLocal(&result)) {
    if (result->IsTrue()) {
      realm_.drain_microtasks();
      return finish(run, slot);
    }
    Outcome outcome = to_outcome(result);
    realm_.drain_microtasks();
    // A stop during the promise jobs belongs to this call: the handler's work had not ended.
    if (!realm_.is_interrupted()) {
      on_outcome_ready(slot, std::move(outcome));
    }
    return finish(run, slot);
  }
  if (!realm_.is_interrupted()) {
    Outcome outcome = failure(describe_exception(isolate, caught));
    caught.Reset();
    realm_.drain_microtasks();
    if (!realm_.is_interrupted()) on_outcome_ready(slot, std::move(outcome));
  }
  finish(run, slot);
}

void JsFunction::on_outcome_ready(uint32_t slot, Outcome&& outcome) {
  const auto found = waiting_.find(slot);
  if (found == waiting_.end()) return;
  const Waiting waiting = found->second;
  waiting_.erase(found);
  waiting.sink->on_outcome(waiting.id, std::move(outcome));
}

void JsFunction::finish(RunScope& run, uint32_t current) {
  realm_.set_current_invocation(0);
  const bool was_stopped = run.leave();
  if (realm_.take_heap_exceeded()) return answer_all_out_of_memory();
  if (was_stopped && !waiting_.empty()) {
    const bool has_current = waiting_.contains(current);
    on_outcome_ready(has_current ? current : waiting_.begin()->first, timed_out());
  }
  if (--calls_until_pump_ == 0) {
    calls_until_pump_ = 64;
    realm_.pump_platform();
  }
}

void JsFunction::answer_all_out_of_memory() {
  while (!waiting_.empty()) {
    Outcome outcome;
    outcome.code = OutcomeCode::OutOfMemory;
    outcome.error = "out of memory: the heap limit is " + format_bytes(limits_.heap_bytes_max);
    on_outcome_ready(waiting_.begin()->first, std::move(outcome));
  }
}

void JsFunction::on_heap_lost() { answer_all_out_of_memory(); }

Outcome JsFunction::timed_out() const {
  Outcome outcome;
  outcome.code = OutcomeCode::TimedOut;
  outcome.error = "timed out: the limit is " + format_go_duration(limits_.wall_time);
  return outcome;
}

Outcome JsFunction::failure(const ExceptionText& text) {
  Outcome outcome;
  outcome.code = OutcomeCode::Exception;
  outcome.error = text.error;
  outcome.stack = text.stack;
  const bool was_refused = realm_.budget().take_refused();
  if (was_refused && text.is_range_error &&
      text.error.find(MemoryBudget::kExceeded) != std::string::npos) {
    outcome.code = OutcomeCode::OutOfMemory;
    outcome.error += ": the limit is " + format_bytes(limits_.heap_bytes_max);
  }
  return outcome;
}

Outcome JsFunction::to_outcome(v8::Local<v8::Value> result) {
  v8::Isolate* isolate = realm_.isolate();
  Outcome outcome;
  if (result->IsArray()) {
    const v8::Local<v8::Context> context = realm_.context();
    v8::Local<v8::Value> headers;
    const auto pair = result.As<v8::Array>();
    if (!pair->Get(context, 1).ToLocal(&headers) || !pair->Get(context, 0).ToLocal(&result)) {
      return outcome;
    }
    outcome.headers = to_text(isolate, headers);
  }
  size_t size = 0;
  if (result->IsString()) {
    // A character is at least one byte, so an oversized text is found before it is converted.
    const auto text = result.As<v8::String>();
    size = static_cast<size_t>(text->Length());
    if (size <= limits_.reply_bytes_max) {
      append_utf8(isolate, text, outcome.payload);
      size = outcome.payload.size();
    }
  } else if (result->IsUndefined()) {
    outcome.has_reply = false;
  } else {
    const std::string_view bytes = bytes_of(result);
    size = bytes.size();
    if (size <= limits_.reply_bytes_max) outcome.payload = bytes;
  }
  if (size + outcome.headers.size() > limits_.reply_bytes_max) {
    outcome = {};
    outcome.code = OutcomeCode::ReplyTooLarge;
    outcome.error = "the reply of " + std::to_string(size) + " bytes exceeds the limit of " +
                    std::to_string(limits_.reply_bytes_max);
  }
  return outcome;
}

void JsFunction::on_settled(uint32_t slot, bool failed, v8::Local<v8::Value> value) {
  if (!waiting_.contains(slot)) return;
  on_outcome_ready(slot, failed ? failure(describe_value(realm_.isolate(), value))
                                : to_outcome(value));
}

void JsFunction::call_entry(v8::Global<v8::Function>& entry, int count,
                            v8::Local<v8::Value>* arguments) {
  v8::Isolate* isolate = realm_.isolate();
  v8::TryCatch caught(isolate);
  const v8::Local<v8::Context> context = realm_.context();
  if (!entry.Get(isolate)->Call(context, v8::Undefined(isolate), count, arguments).IsEmpty() ||
      caught.HasTerminated()) {
    return;
  }
  v8::Local<v8::Value> report[2] = {make_string(isolate, "Uncaught"), caught.Exception()};
  caught.Reset();
  // A console that fails has nobody left to tell.
  v8::Local<v8::Value> ignored;
  std::ignore = realm_.entries()
                    .report_uncaught.Get(isolate)
                    ->Call(context, v8::Undefined(isolate), 2, report)
                    .ToLocal(&ignored);
}

void JsFunction::complete_call(uint64_t call_id, HostReply&& reply) {
  v8::Isolate* isolate = realm_.isolate();
  RunScope run(realm_);
  v8::TryCatch caught(isolate);
  v8::Local<v8::Value> values[5];
  if (!reply_to_values(isolate, reply, values)) {
    caught.Reset();
    HostReply too_large;
    too_large.code = static_cast<uint16_t>(OutcomeCode::OutOfMemory);
    too_large.error = "the reply does not fit the function's memory limit";
    if (!reply_to_values(isolate, too_large, values)) return finish(run, 0);
  }
  v8::Local<v8::Value> arguments[6] = {v8::Number::New(isolate, static_cast<double>(call_id)),
                                       values[0], values[1], values[2], values[3], values[4]};
  call_entry(realm_.entries().complete_call, 6, arguments);
  realm_.drain_microtasks();
  finish(run, 0);
}

void JsFunction::run_due_work() {
  v8::Isolate* isolate = realm_.isolate();
  // Bounded, so that timers which arm timers do not keep messages waiting.
  constexpr int kTimersMax = 1000;
  RunScope run(realm_);
  v8::TryCatch caught(isolate);
  realm_.drain_microtasks();
  for (int i = 0; i < kTimersMax && realm_.next_due <= clock_.now(); ++i) {
    v8::HandleScope handles(isolate);
    v8::Local<v8::Value> now = v8::Number::New(isolate, realm_.now_ms());
    call_entry(realm_.entries().run_timer, 1, &now);
    if (realm_.is_interrupted()) break;
    realm_.drain_microtasks();
    if (realm_.is_interrupted()) break;
  }
  finish(run, 0);
  realm_.pump_platform();
}

void JsFunction::abandon(uint64_t invocation_id) {
  for (const auto& [slot, waiting] : waiting_) {
    if (waiting.id == invocation_id) return on_outcome_ready(slot, timed_out());
  }
}

}  // namespace brokkr::runtime
