#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "base/random.h"
#include "client/connection.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/worker.h"
#include "sandbox/program.h"
#include "workload/egress_relays.h"
#include "workload/inner_names.h"
#include "workload/gate.h"
#include "workload/health_monitor.h"
#include "workload/port_table.h"
#include "workload/program_log.h"
#include "workload/program_plan.h"
#include "workload/relay.h"
#include "workload/restart_backoff.h"
#include "workload/workload.h"

namespace brokkr::workload {

// A service or a job on this node: one program in its sandbox (a native one, an image or a virtual
// machine), started again as its policy says, with its way to the broker, its egress, its published
// ports, its health and its log. Loop-confined.
//
//   Starting -> Live -> Stopping -> Stopped
//
// It is live once its program runs and, with a health check, was healthy once. A program that ends
// before that is not live at all; later its restart policy decides.
class ProgramWorkload final : public Workload {
 public:
  // How a program is started; each sandbox is one of these.
  using Start = Callback<Result<std::unique_ptr<sandbox::Program>>(sandbox::ProgramSpec,
                                                                  sandbox::ProgramEvents)>;
  // A gate of these options, to which it adds the way to the server.
  using MakeGate = Callback<std::unique_ptr<Gate>(Gate::Options)>;
  // Completes the plan with what is not here yet: an image. Answers once, not from within; the answer
  // may come after the workload has gone.
  using Prepared = Callback<void(Result<ProgramPlan>&& plan, const std::string& digest)>;
  using Prepare = Callback<void(Prepared)>;
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    Random& random;
    Log& log;
    client::Connection& connection;
    PortTable& ports;
    NexV1Feed* v1_feed = nullptr;  // null: nobody is told in words of Nex 0.2.7
  };
  struct Options {
    WorkloadIdentity identity;
    ProgramPlan plan;
    Prepare prepare;  // empty: the plan is complete
    Start start;
    MakeGate make_gate;
    Grants grants;
    Namespaces namespaces;  // all there are
  };

  // Starts it. `on_live` is called once, not from within: with success, or with why it does not run;
  // then it is Stopped. Fails when it cannot even begin: a port in use, no such program.
  static Result<std::unique_ptr<ProgramWorkload>> make(const Deps&, Options, WorkloadEvents,
                                                       client::DoneHandler on_live);
  ~ProgramWorkload() override;
  ProgramWorkload(const ProgramWorkload&) = delete;
  ProgramWorkload& operator=(const ProgramWorkload&) = delete;

  const WorkloadIdentity& identity() const override { return options_.identity; }
  State state() const override { return state_; }
  bool is_healthy() const override { return state_ == State::Live && is_healthy_; }
  WorkloadSummary summary() const override;
  WorkloadInfo info() const override;
  WorkloadLog log() const override;
  void stop(Duration grace, Callback<void()> on_stopped) override;
  void set_namespaces(const Namespaces& namespaces) override;

 private:
  ProgramWorkload(const Deps&, Options, WorkloadEvents, client::DoneHandler on_live);
  Status open_ports();
  Status open_gate_listener();
  void prepare();
  void on_prepared(Result<ProgramPlan>&& plan, const std::string& digest);
  Status start_program();
  Pairs connection_environment(const std::string& token, std::string& nkey) const;
  void restart();

  void on_started(pid_t pid, uint32_t layers);
  void on_connection(size_t listener, int fd);
  void accept_egress(EgressTarget target, int fd);
  bool may_resolve_inside(std::string_view name) const;
  void on_published(uint16_t port, int fd);
  void on_exit(const io::ExitStatus& status, bool is_memory_kill, const std::string& reason);
  void on_health(bool is_healthy, const std::string& why);
  void probe(HealthMonitor::Answer answer);

  void end_run();
  void give_up(int exit_code, const std::string& error);
  void become_live();
  void fail_live(const Error& error);
  void finish_stop();
  void set_healthy(bool is_healthy);
  void publish_exit(const io::ExitStatus& status, const std::string& text, Duration pause,
                    bool is_again);
  void fill_program(ProgramInfo& into) const;
  bool is_server(const NetAddress& address, uint16_t port) const;
  bool has_health_check() const { return options_.plan.health.kind != HealthCheck::Kind::None; }

  const Deps deps_;
  Options options_;
  WorkloadEvents events_;
  client::DoneHandler on_live_;
  Callback<void()> on_stopped_;
  State state_ = State::Starting;
  std::shared_ptr<const Access> access_;
  ProgramLog log_;
  RestartBackoff backoff_;
  std::vector<std::unique_ptr<PortTable::Lease>> ports_;
  std::unique_ptr<io::Listener> gate_listener_;  // of a program without a sandbox
  std::unique_ptr<Gate> gate_;
  EgressRelays egress_;
  InnerNames names_;
  RelaySet relays_;  // of published ports
  std::unique_ptr<HealthMonitor> health_;
  std::unique_ptr<sandbox::Program> program_;
  std::unique_ptr<sandbox::Program> spent_;  // has ended, destroyed in the next turn
  io::Timer restart_;
  io::Timer bury_;
  io::Timer stop_limit_;
  bool is_healthy_ = false;
  bool has_started_ = false;  // in this run
  bool is_success_ = false;   // of the last run
  bool has_failed_ = false;   // for good
  std::string unhealthy_;     // why this run is being ended
  uint32_t layers_ = 0;
  int exit_code_ = 0;         // of the last run that ended
  uint32_t ended_runs_ = 0;
  uint64_t runs_ = 0;
  uint64_t restarts_ = 0;
  uint64_t memory_kills_ = 0;
  std::string last_error_;
  WallTime started_wall_{};
  MonotonicTime started_{};
  MonotonicTime run_started_{};
  // Tells answers that come late that it has gone, or that another run has begun.
  std::shared_ptr<uint64_t> run_;
};

}  // namespace brokkr::workload
