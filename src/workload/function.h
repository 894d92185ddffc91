#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/control.h"
#include "workload/host_calls.h"
#include "workload/instance.h"
#include "workload/kept_log.h"
#include "workload/log_limiter.h"
#include "workload/workload.h"

namespace brokkr::workload {

// What a function was deployed as, with every default filled in.
struct FunctionOptions : WorkloadIdentity {
  std::vector<std::string> trigger_subjects;
  std::string queue_group;  // empty: none
  RunLimits limits;
  Instance::Options instance;
  HostCalls::Rights rights;
};

// One deployed function: its instances, its trigger subscriptions, the calls that wait for room, and
// the answer to every call. Each call is answered exactly once: with the function's reply, or with
//
//   Nats-Service-Error: <one line>   Nats-Service-Error-Code: <code>
//   {"error":{"code":500,"message":"TypeError: …","stack":"…"}}
//
// A message without a reply subject is run all the same; what goes wrong then only shows in the log.
// Loop-confined.
//
//   Starting -> Live -> Stopping -> Stopped
class DeployedFunction final : public InstanceOwner, public Workload {
 public:
  struct Deps {
    io::Loop& loop;
    Log& log;
    client::Connection& connection;
    HostServices& host_services;
    Instance::Deps instance;
  };

  // `on_live` is called once: with success when the triggers are in place at the server, or with why
  // the function cannot run (then it is Stopped). Not from within.
  DeployedFunction(const Deps& deps, FunctionOptions options, client::DoneHandler on_live);
  ~DeployedFunction() override;
  DeployedFunction(const DeployedFunction&) = delete;
  DeployedFunction& operator=(const DeployedFunction&) = delete;

  // Its own grace is as long as one call may take.
  void stop(Duration grace, Callback<void()> on_stopped) override;

  const WorkloadIdentity& identity() const override { return options_; }
  State state() const override { return state_; }
  const FunctionOptions& options() const { return options_; }
  WorkloadSummary summary() const override;
  WorkloadInfo info() const override;
  WorkloadLog log() const override;
  bool is_idle() const { return in_flight() == 0 && queue_.empty(); }

 private:
  struct QueuedCall {
    std::string subject;
    std::string reply;
    std::string headers;
    std::string payload;
    MonotonicTime received;
  };
  void on_ready(Instance&) override;
  void on_load_failed(Instance&, const std::string& reason) override;
  void on_result(Instance&, const Call&, const CallResult&) override;
  void on_host_call(Instance&, const HostCallRequest&) override;
  void on_log(Instance&, runtime::LogStream, std::string_view text) override;
  void on_dead(Instance&, const std::string& reason) override;

  void add_instance();
  void subscribe();
  void on_message(const client::Message& message);
  Instance* find_instance_with_room();
  void dispatch_queue();
  void sweep_queue();
  void answer(std::string_view reply, MonotonicTime received, const CallResult& result);
  void answer_error(std::string_view reply, const CallResult& result);
  void publish_log(runtime::LogStream stream, std::string_view text);
  void fail_start(Error error);
  void bury();
  void finish_stop();
  uint64_t in_flight() const;

  const Deps deps_;
  FunctionOptions options_;
  client::DoneHandler on_live_;
  State state_ = State::Starting;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<std::unique_ptr<Instance>> graveyard_;  // dead, destroyed in the next turn
  std::vector<std::unique_ptr<client::Subscription>> triggers_;
  std::unique_ptr<HostCalls> host_calls_;
  std::deque<QueuedCall> queue_;
  io::Timer sweep_;
  io::Timer restart_;
  io::Timer bury_;
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
  uint64_t calls_ = 0;
  uint64_t errors_ = 0;
  uint64_t restarts_ = 0;
  uint64_t log_lines_dropped_ = 0;
  uint64_t total_ns_ = 0;
  uint32_t draining_triggers_ = 0;
  std::string last_error_;
};

}  // namespace brokkr::workload
