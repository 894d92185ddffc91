#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/callback.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "client/connection.h"
#include "client/service.h"
#include "io/loop.h"
#include "io/worker.h"
#include "workload/artifact_cache.h"
#include "workload/control.h"
#include "workload/node_identity.h"
#include "workload/node_options.h"
#include "workload/workload.h"
#include "workload/workload_factory.h"

namespace brokkr::workload {

// Where the engine plugin lies: ../lib/brokkr/ as installed, or beside the executable as built.
// Empty when it is nowhere.
std::string find_engine_plugin();

// A workload node: runs what is deployed and answers the control API, as a NATS client like any other.
// Loop-confined.
class Node {
 public:
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    Random& random;
    Log& log;
  };
  // Connects and serves; `on_ready` is called once when the control API is in place at the server,
  // or with why the node cannot work. Fails with InvalidArgument on options that cannot be, with
  // Unsupported when `sandbox` is required and a layer is missing, or System.
  static Result<std::unique_ptr<Node>> start(const Deps&, NodeOptions, client::DoneHandler on_ready);
  // Kills every workload's processes.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Takes no more deployments and messages, lets running calls end, says goodbye, calls back.
  void stop(Callback<void()> on_stopped);

  const std::string& id() const { return id_; }
  client::Connection& connection() const { return *connection_; }
  NodeInfo info() const;
  // The node's workloads in Prometheus text format.
  std::string metrics() const;
  size_t workload_count() const { return workloads_.size(); }

 private:
  using WorkloadPtr = std::unique_ptr<Workload>;
  enum class State : uint8_t { Starting, Running, Lameduck, Stopping };

  Node(const Deps&, NodeOptions, NodeIdentity);
  Status open();
  void on_connected();
  Status add_endpoints();
  Status add_endpoint(std::string name, std::string_view ns, std::string_view verb,
                      std::string_view argument, void (Node::*handler)(client::ServiceRequest));
  void on_ping(client::ServiceRequest);
  void on_info(client::ServiceRequest);
  void on_lameduck(client::ServiceRequest);
  void on_auction(client::ServiceRequest);
  void on_deploy(client::ServiceRequest);
  void on_undeploy(client::ServiceRequest);
  void on_workload_ping(client::ServiceRequest);
  void on_workload_info(client::ServiceRequest);
  void on_workload_log(client::ServiceRequest);
  void on_invocations(client::ServiceRequest);

  // Checks whether there is room, and the deployment itself; `error_id` says what kind of mistake it was.
  Result<Deployment> plan(std::string_view ns, const DeployRequest& request, std::string& error_id);
  void respond(client::ServiceRequest& request, const std::string& body);
  void respond_error(client::ServiceRequest& request, int code, const ControlError& error);
  void deploy(Deployment deployment, client::ServiceRequest request);
  void on_live(const std::string& id, const Status& status, client::ServiceRequest& request);
  void on_ended(const std::string& id, int exit_code, const std::string& error);
  void retire(const std::string& id, Callback<void()> on_stopped);
  Workload* find(std::string_view ns, std::string_view id_or_name) const;
  void publish_event(std::string_view ns, std::string_view type, std::string_view json);
  void retire_all();
  void finish_stop();

  const Deps deps_;
  NodeOptions options_;
  const NodeIdentity identity_;
  const std::string id_;  // its public key
  State state_ = State::Starting;
  uint32_t layers_ = 0;
  WallTime started_wall_{};
  MonotonicTime started_{};
  client::DoneHandler on_ready_;
  Callback<void()> on_stopped_;
  std::unique_ptr<ArtifactCache> artifacts_;
  std::unique_ptr<sandbox::CgroupTree> cgroups_;
  std::unique_ptr<client::Connection> connection_;
  std::unique_ptr<client::Service> service_;
  std::unique_ptr<Tracer> tracer_;
  std::unique_ptr<WorkloadFactory> factory_;
  std::unordered_map<std::string, WorkloadPtr> workloads_;  // by id, stopping ones too
  std::unordered_map<std::string, std::string> names_;      // "ns name" -> id of the live one
  std::vector<WorkloadPtr> graveyard_;
  io::Timer bury_;
  io::Timer stop_limit_;
  io::Timer lameduck_;
};

}  // namespace brokkr::workload
