#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "runtime/engine.h"

// What the engine's tests stand on: a recording host, a recording sink, and one warm engine whose
// functions each run in a process forked for them, as in the product.
namespace brokkr::runtime::testing {

struct FakeHost final : Host {
  std::string out, err;
  std::vector<std::string> calls;  // "service.method target key payload"
  std::vector<std::pair<uint64_t, std::string>> started;
  HostReply answer;
  int64_t last_timeout_ms = -1;
  uint32_t last_replies_max = 0;
  std::vector<uint64_t> invocations;  // of each call
  std::string last_headers;

  void log(LogStream stream, std::string_view text) override {
    (stream == LogStream::Stdout ? out : err).append(text).append("\n");
  }
  HostReply call(const HostCall& call) override {
    note(call);
    return answer;
  }
  uint64_t start_call(const HostCall& call) override {
    note(call);
    started.emplace_back(started.size() + 1, calls.back());
    return started.size();
  }

 private:
  void note(const HostCall& call) {
    calls.push_back(std::string(call.service) + "." + std::string(call.method) + " " +
                    std::string(call.target) + " " + std::string(call.key) + " " +
                    std::string(call.payload));
    last_timeout_ms = call.timeout_ms;
    invocations.push_back(call.invocation);
    last_replies_max = call.replies_max;
    last_headers = call.headers;
  }
};

struct FakeSink final : OutcomeSink {
  std::map<uint64_t, Outcome> outcomes;
  int deliveries = 0;
  void on_outcome(uint64_t id, Outcome&& outcome) override {
    ++deliveries;
    outcomes[id] = std::move(outcome);
  }
};

}  // namespace brokkr::runtime::testing
