#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include <v8-isolate.h>

// Lets another thread stop the code that runs now, and only that: a stop that arrives between two
// runs is dropped instead of hitting the next one. `stop` is Thread-safe, the rest Loop-confined.
namespace brokkr::runtime {

class ExecutionGate {
 public:
  explicit ExecutionGate(v8::Isolate* isolate) : isolate_(isolate) {}

  void enter() {
    was_stopped_ = false;
    state_ = State::Running;
  }

  // Makes the isolate usable again; says whether the run was stopped from outside.
  bool leave() {
    State expected = State::Running;
    while (!state_.compare_exchange_weak(expected, State::Idle)) {
      // While the stopping thread is between its two steps, wait: the flag it sets must be cleared
      // after it.
      if (expected != State::Running) {
        was_stopped_ = true;
        expected = State::Stopped;
        std::this_thread::yield();
      }
    }
    if (isolate_->IsExecutionTerminating() || was_stopped_) isolate_->CancelTerminateExecution();
    return was_stopped_;
  }

  void stop() {
    // A second stop counts too: the first may have ended no more than one step of describing an
    // exception.
    State expected = State::Running;
    if (!state_.compare_exchange_strong(expected, State::Stopping)) {
      expected = State::Stopped;
      if (!state_.compare_exchange_strong(expected, State::Stopping)) return;
    }
    isolate_->TerminateExecution();
    state_ = State::Stopped;
  }

  bool is_running() const { return state_ != State::Idle; }
  bool is_stopped() const {
    const State state = state_;
    return state == State::Stopping || state == State::Stopped;
  }

 private:
  enum class State : uint8_t { Idle, Running, Stopping, Stopped };
  v8::Isolate* isolate_;
  std::atomic<State> state_{State::Idle};
  bool was_stopped_ = false;
};

}  // namespace brokkr::runtime
