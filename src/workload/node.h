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
#include "crypto/nkey.h"
#include "crypto/xkey.h"
#include "io/loop.h"
#include "io/worker.h"
#include "sandbox/layers.h"
#include "workload/artifact_cache.h"
#include "workload/control.h"
#include "workload/function.h"

namespace brokkr::workload {

struct NodeOptions {
  std::string name = "brokkr";
  std::string nexus = "nexus";
  std::string version = "0.1.0";
  Pairs tags;
  std::string data_folder;  // artifacts are kept in <data_folder>/artifacts
  uint64_t artifact_cache_bytes_max = 1ULL << 30;
  // What is executed as zygote: itself, whose main() calls zygote_main first.
  std::string executable = "/proc/self/exe";
  std::string engine_path;  // empty: find_engine_plugin()
  bool is_warm = true;
  sandbox::Policy sandbox = sandbox::Policy::BestEffort;
  RunLimits limits = {.wall_time_ms = 5000,
                      .heap_bytes = 64U << 20,
                      .reply_bytes = 1U << 20,
                      .in_flight = 64,
                      .queue = 1024,
                      .max_instances = 1,
                      .log_lines_per_second = 1000};
  uint32_t functions_max = 10'000;
  Duration stop_grace = std::chrono::seconds(6);  // for running calls when the node stops
  client::Options connection;
};

// Where the engine plugin lies: ../lib/brokkr/ as installed, or beside the executable as built.
// Empty when it is nowhere.
std::string find_engine_plugin();

// A workload node: deploys functions and answers the control API, as a NATS client like any other.
// What it runs lives as long as it does: after a restart functions are deployed again by whoever
// wants them (artifacts stay in the cache). Loop-confined.
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
  // Kills every function's process.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Takes no more deployments and messages, lets running calls end, says goodbye, calls back.
  void stop(Callback<void()> on_stopped);

  const std::string& id() const { return id_; }
  client::Connection& connection() const { return *connection_; }
  NodeInfo info() const;
  size_t function_count() const { return functions_.size(); }

 private:
  using FunctionPtr = std::unique_ptr<DeployedFunction>;
  enum class State : uint8_t { Starting, Running, Lameduck, Stopping };

  Node(const Deps&, NodeOptions);
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

  // Checks a deployment and fills in every default; `error_id` says what kind of mistake it was.
  Result<FunctionOptions> plan(std::string_view ns, const DeployRequest& request,
                               std::string& error_id);
  void respond(client::ServiceRequest& request, const std::string& body);
  void respond_error(client::ServiceRequest& request, int code, const ControlError& error);
  void deploy(FunctionOptions options, client::ServiceRequest request);
  void on_live(const std::string& id, const Status& status, client::ServiceRequest& request);
  void retire(const std::string& id, Callback<void()> on_stopped);
  DeployedFunction* find(std::string_view ns, std::string_view id_or_name) const;
  Zygote& zygote_of(const std::string& ns);
  void publish_event(std::string_view ns, std::string_view type, std::string_view json);
  void retire_all();
  void finish_stop();

  const Deps deps_;
  NodeOptions options_;
  const crypto::KeyPair identity_ = crypto::KeyPair::generate(crypto::NkeyType::Server);
  const crypto::CurveKey xkey_ = crypto::CurveKey::generate();
  const std::string id_;  // the public key of identity_
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
  InstanceFlusher flusher_;
  std::unordered_map<std::string, std::unique_ptr<Zygote>> zygotes_;  // by namespace
  std::unordered_map<std::string, FunctionPtr> functions_;            // by id, stopping ones too
  std::unordered_map<std::string, std::string> names_;                // "ns name" -> id of the live one
  std::vector<FunctionPtr> graveyard_;
  io::Timer bury_;
  io::Timer stop_limit_;
  io::Timer lameduck_;
};

}  // namespace brokkr::workload
