#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/random.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/nex_v1_json.h"

namespace brokkr::workload {

struct WorkloadIdentity;

// What Nex 0.2.7 tells those who watch: CloudEvents on `$NEX.events.<ns>.<type>` and lines on
// `$NEX.logs.<ns>.<node>.<workload>.<id>`. Calls that succeeded are told up to kCallsPerSecond a
// second; the rest is in the metrics. Loop-confined.
class NexV1Feed {
 public:
  static constexpr uint32_t kCallsPerSecond = 500;
  static constexpr Duration kHeartbeat = std::chrono::seconds(30);
  struct Deps {
    io::Loop& loop;
    Random& random;
    Log& log;
    client::Connection& connection;  // outlives this
  };
  // `facts` is the node as it is now, for heartbeats.
  NexV1Feed(const Deps&, std::string node_id, std::string version, Callback<v1::NodeFacts()> facts);
  NexV1Feed(const NexV1Feed&) = delete;
  NexV1Feed& operator=(const NexV1Feed&) = delete;

  // The first starts the heartbeats.
  void node_started();
  void node_stopped();
  void node_entered_lameduck();
  void workload_deployed(const WorkloadIdentity&);
  // `code` is the exit code of one that ended by itself, else 0.
  void workload_undeployed(const WorkloadIdentity&, int code, std::string_view message);
  void call_succeeded(const WorkloadIdentity&, std::string_view subject, Duration took);
  void call_failed(const WorkloadIdentity&, std::string_view subject, std::string_view error);
  void log(const WorkloadIdentity&, v1::LogLevel level, std::string_view text);

 private:
  void publish_event(std::string_view ns, std::string_view type, std::string_view source, std::string_view data);
  void publish(const std::string& subject, const std::string& body);
  bool admit_call();
  void beat();

  const Deps deps_;
  const std::string node_id_;
  const std::string version_;
  const Callback<v1::NodeFacts()> facts_;
  Nuid ids_;
  io::Timer heartbeat_;
  MonotonicTime window_{};
  uint32_t told_ = 0;  // calls in this second
};

}  // namespace brokkr::workload
