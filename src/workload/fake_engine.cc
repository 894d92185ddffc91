// A plugin for tests: an engine whose functions do what their artifact's first word says.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <string>

#include "runtime/engine.h"

namespace brokkr::workload {
namespace {

using runtime::Outcome;
using runtime::OutcomeCode;
using runtime::OutcomeSink;

Outcome reply_with(std::string payload) {
  Outcome outcome;
  outcome.payload = std::move(payload);
  return outcome;
}

class FakeFunction final : public runtime::Function {
 public:
  FakeFunction(std::string behaviour, runtime::Host& host, Clock& clock)
      : behaviour_(std::move(behaviour)), host_(host), clock_(clock) {}

  void invoke(const runtime::Invocation& call, OutcomeSink& sink) override {
    sink_ = &sink;
    const std::string& what = behaviour_;
    if (what == "echo") return sink.on_outcome(call.id, reply_with(std::string(call.payload)));
    if (what == "later") {
      later_[call.id] = {clock_.now() + std::chrono::milliseconds(5), std::string(call.payload)};
      return;
    }
    if (what == "never") {
      later_[call.id] = {MonotonicTime::max(), {}};
      return;
    }
    if (what == "spin" || what == "hang") return spin(call.id, sink);
    if (what == "ask") return ask(call, sink);
    if (what == "log") return write_logs(call, sink);
    if (what == "crash") __builtin_trap();
    if (what == "exit") _exit(3);
    if (what == "hog") return hog();
    if (what == "no-memory") _exit(runtime::kOutOfMemoryExitStatus);
    // What the sandbox is there for.
    if (what == "fork") syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (what == "socket") socket(AF_INET, SOCK_STREAM, 0);
    if (what == "exec") execl("/bin/true", "true", nullptr);
    if (what == "kill") kill(1, SIGKILL);
    if (what == "open") return sink.on_outcome(call.id, reply_with(can_open() ? "open" : "refused"));
    sink.on_outcome(call.id, reply_with("survived"));
  }

  void complete_call(uint64_t, runtime::HostReply&&) override {}

  void run_due_work() override {
    const MonotonicTime now = clock_.now();
    for (auto at = later_.begin(); at != later_.end();) {
      if (at->second.first > now) {
        ++at;
        continue;
      }
      const uint64_t id = at->first;
      Outcome outcome = reply_with(std::move(at->second.second));
      at = later_.erase(at);
      sink_->on_outcome(id, std::move(outcome));
    }
  }

  MonotonicTime next_due() const override {
    MonotonicTime next = MonotonicTime::max();
    for (const auto& [id, entry] : later_) next = std::min(next, entry.first);
    return next;
  }

  void abandon(uint64_t id) override {
    later_.erase(id);
    Outcome outcome;
    outcome.code = OutcomeCode::TimedOut;
    outcome.error = "abandoned";
    sink_->on_outcome(id, std::move(outcome));
  }

  void terminate() override { is_terminated_ = true; }
  void trim() override {}

 private:
  static bool can_open() { return open("/", O_RDONLY) >= 0; }

  void spin(uint64_t id, OutcomeSink& sink) {
    is_terminated_ = false;
    // A loop without a visible effect may be taken to end; this one has one.
    volatile uint64_t turns = 0;
    while (behaviour_ == "hang" || !is_terminated_) turns = turns + 1;
    Outcome outcome;
    outcome.code = OutcomeCode::TimedOut;
    outcome.error = "terminated";
    sink.on_outcome(id, std::move(outcome));
  }

  void ask(const runtime::Invocation& call, OutcomeSink& sink) {
    runtime::HostCall request;
    request.service = "messaging";
    request.method = "request";
    request.target = "other";
    request.payload = call.payload;
    const runtime::HostReply reply = host_.call(request);
    sink.on_outcome(call.id, reply_with(std::string(call.payload) + "=" + reply.payload));
  }

  void write_logs(const runtime::Invocation& call, OutcomeSink& sink) {
    for (int i = 0; i < 100; ++i) host_.log(runtime::LogStream::Stdout, "line");
    sink.on_outcome(call.id, reply_with("logged"));
  }

  // Far more than any limit here, and all of it used.
  void hog() {
    constexpr size_t kHogBytes = 512U << 20;
    hogged_.assign(kHogBytes, 'x');
  }

  const std::string behaviour_;
  std::string hogged_;
  runtime::Host& host_;
  Clock& clock_;
  OutcomeSink* sink_ = nullptr;
  std::map<uint64_t, std::pair<MonotonicTime, std::string>> later_;
  std::atomic<bool> is_terminated_{false};
};

class FakeEngine final : public runtime::Engine {
 public:
  std::string version() const override { return "fake 1"; }
  Status prepare(bool) override { return {}; }
  Status after_fork() override { return {}; }
  Result<std::unique_ptr<runtime::Function>> load(const runtime::FunctionSpec& spec,
                                                  runtime::Host& host, Clock& clock) override {
    if (spec.artifact == "bad") return Error{Errc::Syntax, spec.file_name + ":1: bad"};
    return std::unique_ptr<runtime::Function>(
        std::make_unique<FakeFunction>(spec.artifact, host, clock));
  }
};

}  // namespace
}  // namespace brokkr::workload

extern "C" __attribute__((visibility("default"))) brokkr::runtime::Engine* brokkr_open_engine() {
  static auto* engine = new brokkr::workload::FakeEngine;
  return engine;
}
