#pragma once

#include <memory>
#include <string>

#include "base/callback.h"
#include "runtime/test_support.h"

// Tests of one deployed function. Each `in_child` body runs in a process forked from a warm engine;
// its failed expectations fail the test. BROKKR_ENGINE_PLUGIN is the plugin's path, from CMake.
namespace brokkr::runtime::testing {

// The engine, opened and prepared once per test process.
Engine& warm_engine();

// How a forked process ended: its exit status, or minus the signal.
int in_child(FunctionRef<void()> body);

struct Deployed {
  FunctionSpec spec;
  FakeHost host;
  FakeSink sink;
  ManualClock clock;
  std::unique_ptr<Function> function;
  uint64_t last_id = 0;

  // Loads `source`; the error's text, or "" when it loaded.
  std::string load(std::string_view source, std::string_view file_name = "test.js");
  std::string load_wasm(std::string_view binary);
  // One call; its outcome, which must be there at once.
  Outcome call(std::string_view payload = {}, std::string_view subject = "test.subject");
  Outcome call(const Invocation&);
  // One call with a watchdog that stops it after 50 ms; its outcome.
  Outcome call_watched(std::string_view payload = {});
  // Starts a call; its id.
  uint64_t start(std::string_view payload = {});
  bool is_answered(uint64_t id) const { return sink.outcomes.contains(id); }
};

// "200 payload" or "500 error": what most tests compare.
std::string brief(const Outcome&);
// Loads and calls once in a child of its own; what `brief` says, or "load: error".
std::string run_once(std::string_view source, std::string_view payload = {});
std::string read_file(const std::string& path);

}  // namespace brokkr::runtime::testing
