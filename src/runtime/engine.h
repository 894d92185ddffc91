#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/host.h"

// What runs a function. An Engine is opened once per zygote (never in the broker's process), warmed
// before any fork, and then loads exactly one Function per instance process. Engines know nothing of
// NATS, sockets or workloads: everything outside comes through runtime::Host.
namespace brokkr::runtime {

enum class FunctionKind : uint8_t { V8, Wasm };

// Limits the engine itself enforces. The node enforces wall time again from outside.
struct FunctionLimits {
  Duration wall_time = std::chrono::seconds(5);
  uint64_t heap_bytes_max = 64ULL << 20;
  uint64_t reply_bytes_max = 1ULL << 20;
};

struct FunctionSpec {
  FunctionKind kind = FunctionKind::V8;
  std::string name;       // the workload's name, for messages
  std::string file_name;  // what stack traces call the source, for example "echo.js"
  std::string artifact;   // JavaScript text or a WebAssembly binary
  std::vector<std::pair<std::string, std::string>> environment;
  FunctionLimits limits;
};

// One message for the function. The views live until `invoke` returns; an engine copies what an
// asynchronous handler keeps.
struct Invocation {
  uint64_t id = 0;
  std::string_view subject;
  std::string_view reply;    // empty when nobody waits
  std::string_view headers;  // the raw NATS/1.0 header block, or empty
  std::string_view payload;
};

// Error codes follow HTTP as NATS services do: what `Nats-Service-Error-Code` carries.
enum class OutcomeCode : uint16_t {
  Ok = 200,
  Exception = 500,    // threw, rejected, or exited with a code other than 0
  Crashed = 502,      // its process died
  NoCapacity = 503,   // in-flight limit reached or no instance could be started
  TimedOut = 504,     // wall time
  OutOfMemory = 507,  // heap limit
  ReplyTooLarge = 413,
};

struct Outcome {
  OutcomeCode code = OutcomeCode::Ok;
  bool has_reply = true;     // false when an Ok outcome sends nothing (module form returning undefined)
  std::string payload;       // the reply's bytes when Ok
  std::string headers;       // raw NATS/1.0 header block for the reply, or empty
  std::string error;         // when not Ok: one line, "TypeError: x is not a function"
  std::string stack;         // JavaScript stack with file and line, or empty
};

// With what status an instance process ends by itself when V8's heap is beyond saving: every
// invocation in flight has had its OutOfMemory outcome by then.
constexpr int kOutOfMemoryExitStatus = 86;

// Receives the outcome of each invocation, exactly once each.
class OutcomeSink {
 public:
  virtual ~OutcomeSink() = default;
  virtual void on_outcome(uint64_t invocation_id, Outcome&& outcome) = 0;
};

// One loaded function in its own process. Confined to that process's only thread, save `terminate`.
class Function {
 public:
  virtual ~Function() = default;
  // Starts one call. A synchronous handler has its outcome delivered before this returns; an
  // asynchronous one later, from `complete_call` or `run_due_work`.
  virtual void invoke(const Invocation&, OutcomeSink&) = 0;
  // Delivers the reply of an asynchronous host call (Host::start_call).
  virtual void complete_call(uint64_t call_id, HostReply&& reply) = 0;
  // Runs timers that are due and pending microtasks.
  virtual void run_due_work() = 0;
  // When `run_due_work` wants to be called next; MonotonicTime::max() when nothing is pending.
  virtual MonotonicTime next_due() const = 0;
  // Gives up an asynchronous invocation: its outcome is delivered as TimedOut.
  virtual void abandon(uint64_t invocation_id) = 0;
  // Stops the code that runs now: its invocation ends with TimedOut. Thread-safe.
  virtual void terminate() = 0;
  // Gives memory back after a burst; called when idle.
  virtual void trim() = 0;
};

// Loads functions. Confined to one thread.
class Engine {
 public:
  virtual ~Engine() = default;
  // Version text for `node info`: "V8 10.2.154.26".
  virtual std::string version() const = 0;
  // Does the work every instance would repeat: starts V8, makes the context, runs the prelude. After
  // it the process may fork; with `warm` false only what is needed before a cold fork is done.
  virtual Status prepare(bool warm) = 0;
  // Called first thing in a forked child: reseeds randomness.
  virtual Status after_fork() = 0;
  // Compiles and instantiates. An Error's text has file:line and what is wrong. `host` and `clock`
  // outlive the function.
  virtual Result<std::unique_ptr<Function>> load(const FunctionSpec&, Host& host, Clock& clock) = 0;
};

// The plugin's one exported symbol, found with dlsym under kOpenEngineSymbol. Never returns null.
using OpenEngineFunction = Engine* (*)();
constexpr const char* kOpenEngineSymbol = "brokkr_open_engine";

// Opens the plugin at `path` with dlopen. Fails with NotFound or Unsupported and the loader's text.
// The engine is never unloaded.
Result<Engine*> open_engine(const std::string& path);

}  // namespace brokkr::runtime
