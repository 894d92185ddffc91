#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "client/connection.h"
#include "workload/access.h"
#include "workload/call_stats.h"
#include "workload/control.h"
#include "workload/desired.h"
#include "workload/invocations.h"

namespace brokkr::workload {

// Who a deployed workload is.
struct WorkloadIdentity {
  std::string id;
  std::string ns;
  std::string name;
  std::string description;
  std::string workload_type;  // v8 wasm native oci microvm
  std::string workload_lifecycle = "function";  // function service job
  std::string sha256;         // of the artifact; of an image its manifest digest
  uint64_t artifact_bytes = 0;
  Pairs tags;
  Pairs metadata;
  uint64_t generation = 0;    // of the desired state it was started for; 0: deployed directly
  uint32_t slot = 0;          // which replica of it
};

// Changes a workload tells its node of; may destroy nothing but later.
struct WorkloadEvents {
  // Healthy or not any more. A workload without a health check is healthy while it runs.
  Callback<void(bool is_healthy)> health;
  // It has ended by itself and is not started again: a job with its exit code, or one whose restart
  // policy gave up (`error` says why). The workload is Stopped.
  Callback<void(int exit_code, const std::string& error)> ended;
};

// One deployed workload on this node: a function with its instances, or a program with its process,
// whichever sandbox it is in. Loop-confined.
//
//   Starting -> Live -> Stopping -> Stopped
class Workload {
 public:
  enum class State : uint8_t { Starting, Live, Stopping, Stopped };
  virtual ~Workload() = default;  // kills its processes; no callbacks

  virtual const WorkloadIdentity& identity() const = 0;
  virtual State state() const = 0;
  virtual bool is_healthy() const { return state() == State::Live; }
  virtual WorkloadSummary summary() const = 0;
  virtual WorkloadInfo info() const = 0;
  virtual WorkloadLog log() const = 0;
  // What its calls came to and the last of them; null where nothing is called.
  virtual const CallStats* call_stats() const { return nullptr; }
  virtual const RecentInvocations* invocations() const { return nullptr; }
  // Takes no more work, ends what runs within `grace` (zero: its own), then calls back once.
  virtual void stop(Duration grace, Callback<void()> on_stopped) = 0;
  // Namespaces have changed, and with them what it may do.
  virtual void set_namespaces(const Namespaces&) {}
};

}  // namespace brokkr::workload
