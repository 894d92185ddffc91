#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/call_stats.h"
#include "workload/control.h"
#include "workload/host_calls.h"
#include "workload/instance.h"
#include "workload/invocations.h"
#include "workload/kept_log.h"
#include "workload/log_limiter.h"
#include "workload/nex_v1_feed.h"
#include "workload/tracer.h"
#include "workload/trigger.h"
#include "workload/workload.h"

namespace brokkr::workload {

// What a function was deployed as, with every default filled in.
struct FunctionOptions : WorkloadIdentity {
  std::vector<std::string> trigger_subjects;
  std::vector<Trigger> triggers;  // none of them Subject
  std::string queue_group;        // empty: none
  RunLimits limits;
  Instance::Options instance;
  Grants grants;        // as declared, and
  EgressPolicy egress;  // what they come to among the namespaces there are:
  HostCalls::Rights rights;
  std::shared_ptr<const Access> namespace_access;  // without the grants: for what triggers it
};

// One deployed function: its instances, its triggers, the calls that wait for room, and the answer to
// every call. Each call is answered exactly once: with the function's reply, or with
//
//   Nats-Service-Error: <one line>   Nats-Service-Error-Code: <code>
//   {"error":{"code":500,"message":"TypeError: …","stack":"…"}}
//
// A message without a reply subject is run all the same; what goes wrong then shows in the log, in an
// event and in the record of the last calls. Loop-confined.
//
//   Starting -> Live -> Stopping -> Stopped
class DeployedFunction final : public InstanceOwner, public Workload, private TriggerTarget {
 public:
  struct Deps {
    io::Loop& loop;
    Log& log;
    client::Connection& connection;
    HostServices& host_services;
    Instance::Deps instance;
    Tracer* tracer = nullptr;  // null: spans are not recorded, contexts only passed on
    HttpRoutes* routes = nullptr;  // null: no HTTP triggers
    NexV1Feed* v1_feed = nullptr;  // null: nobody is told in words of Nex 0.2.7
  };

  // `on_live` is called once: with success when the triggers are in place at the server, or with why
  // the function cannot run (then it is Stopped). Not from within.
  DeployedFunction(const Deps& deps, FunctionOptions options, client::DoneHandler on_live);
  ~DeployedFunction() override;
  DeployedFunction(const DeployedFunction&) = delete;
  DeployedFunction& operator=(const DeployedFunction&) = delete;

  // Its own grace is as long as one call may take.
  void stop(Duration grace, Callback<void()> on_stopped) override;
  void set_namespaces(const Namespaces& namespaces) override;

  const WorkloadIdentity& identity() const override { return options_; }
  State state() const override { return state_; }
  const FunctionOptions& options() const { return options_; }
  WorkloadSummary summary() const override;
  WorkloadInfo info() const override;
  WorkloadLog log() const override;
  const CallStats* call_stats() const override { return &stats_; }
  const RecentInvocations* invocations() const override { return &recent_; }
  bool is_idle() const { return in_flight() == 0 && queue_.empty() && trigger_queue_.empty(); }

 private:
  struct QueuedCall {
    std::string subject;
    std::string reply;
    std::string headers;
    std::string payload;
    MonotonicTime received;
    uint16_t deliveries = 0;
    Callback<void(const CallResult&)> done;
  };
  // A call as far as its end needs it.
  struct CallEnd {
    std::string_view reply;
    MonotonicTime received;
    MonotonicTime sent{};  // zero: no instance had it
    const CallFacts& facts;
  };
  // How often one kind of event may be told.
  struct EventGate {
    MonotonicTime window{};
    uint32_t told = 0;  // within it
    uint64_t suppressed = 0;
  };

  void on_ready(Instance&) override;
  void on_load_failed(Instance&, const std::string& reason) override;
  void on_result(Instance&, const Call&, const CallResult&) override;
  void on_host_call(Instance&, const HostCallRequest&) override;
  void on_host_reply(Instance&, uint64_t id, uint16_t code) override;
  void on_log(Instance&, runtime::LogStream, std::string_view text) override;
  void on_dead(Instance&, const std::string& reason) override;
  void run(const TriggerCall&, Callback<void(const CallResult&)> done) override;
  void report(std::string_view event, std::string_view text, std::string_view members) override;

  void add_instance();
  void put_triggers();
  Status subscribe(size_t index);
  Result<Trigger> allowed_trigger(size_t index) const;
  Status make_source(size_t index, const Trigger& trigger);
  void sync_triggers();
  void sync_source(size_t index);
  void report_refused(const Error& error);
  void on_trigger_live(const Status&);
  void on_message(const client::Message& message);
  Instance* find_instance_with_room();
  void dispatch(Instance&, const client::Message&, MonotonicTime received, uint16_t deliveries,
                Callback<void(const CallResult&)> done);
  void dispatch_queues();
  void sweep_queue();
  void refuse(const QueuedCall&, const std::string& error);
  void answer(const CallEnd&, const CallResult&);
  void send_error(std::string_view reply, const CallResult&);
  void record(const CallEnd&, const CallResult&);
  // A publish or write of a message that has come round too often is refused.
  bool stops_loop(Instance&, const HostCallRequest&, uint8_t hops, std::string_view subject);
  void publish_log(runtime::LogStream stream, std::string_view text);
  // False, and counted, when enough of that type were told within this second.
  bool admit_event(const std::string& type, uint64_t& suppressed);
  void publish_event(const std::string& type, std::string_view subject, std::string_view text,
                     std::string_view members);
  void fail_start(Error error);
  void bury();
  void on_drained();
  void finish_stop();
  uint64_t in_flight() const;
  Duration cpu_time() const;

  const Deps deps_;
  FunctionOptions options_;
  client::DoneHandler on_live_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  State state_ = State::Starting;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<std::unique_ptr<Instance>> graveyard_;  // dead, destroyed in the next turn
  // By the place among the declared ones; null where the namespace does not allow it any more.
  std::vector<std::unique_ptr<client::Subscription>> subscriptions_;
  std::vector<std::unique_ptr<TriggerSource>> triggers_;
  std::vector<std::string> trigger_buckets_;  // at the server, of triggers_
  bool is_sync_due_ = false;                  // rights changed while it was starting
  std::unique_ptr<HostCalls> host_calls_;
  std::deque<QueuedCall> queue_;
  size_t queued_bytes_ = 0;  // in `queue_`
  std::deque<QueuedCall> trigger_queue_;  // bounded by the triggers' windows
  bool is_triggers_turn_ = false;         // both queues are served in turns
  io::Timer sweep_;
  io::Timer restart_;
  io::Timer bury_;
  io::Timer trigger_retry_;
  io::Timer stop_limit_;
  Callback<void()> on_stopped_;
  Duration restart_pause_{};
  MonotonicTime last_ready_{};
  std::string stdout_subject_;
  std::string stderr_subject_;
  LogLimiter log_limit_;
  KeptLog kept_log_;
  WallTime started_wall_{};
  MonotonicTime started_{};
  CallStats stats_;
  RecentInvocations recent_;
  std::map<std::string, EventGate> event_gates_;  // by type
  // Host calls whose spans have not ended, by instance and number.
  std::map<std::pair<Instance*, uint64_t>, Span> open_spans_;
  Duration dead_cpu_time_{};  // of instances that have gone
  uint64_t restarts_ = 0;
  uint64_t log_lines_dropped_ = 0;
  uint32_t starting_ = 0;  // triggers that are not in place yet
  uint32_t draining_ = 0;  // subscriptions and triggers that have not ended
  std::string last_error_;
};

}  // namespace brokkr::workload
