#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
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
#include "workload/artifact_source.h"
#include "workload/control.h"
#include "workload/control_desired.h"
#include "workload/control_plane.h"
#include "workload/control_spans.h"
#include "workload/deploy_guard.h"
#include "workload/metrics_feed.h"
#include "workload/nex_v1.h"
#include "workload/nex_v1_feed.h"
#include "workload/node_identity.h"
#include "workload/node_options.h"
#include "workload/secret_store.h"
#include "workload/stream_catalog.h"
#include "workload/workload.h"
#include "workload/workload_factory.h"

namespace brokkr::workload {

// Where the engine plugin lies: ../lib/brokkr/ as installed, or beside the executable as built.
// Empty when it is nowhere.
std::string find_engine_plugin();

// Whether an error is one of what was deployed, so that trying again would give the same.
bool is_users_fault(const Error&);
// The end of what it wrote to stdout: a job's result.
std::string last_output(const WorkloadLog&);

// The namespace a request is about: its subject's, or the one it names itself in the subject of `system`.
// PermissionDenied when the two do not agree.
Result<std::string> namespace_meant(const client::ServiceRequest&, const std::string& named);

// A workload node: runs what is deployed and answers the control API, as a NATS client like any other.
// Where the server has JetStream, deployments are desired state: this node takes its part of it and has it
// again after a restart. Without JetStream a deployment lives as long as the node. Loop-confined.
class Node final : public ControlPlaneHost {
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
  ~Node() override;
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
  void on_tags(client::ServiceRequest);
  void on_agent_id(client::ServiceRequest);
  void on_info(client::ServiceRequest);
  void on_lameduck(client::ServiceRequest);
  void on_auction(client::ServiceRequest);
  void on_deploy(client::ServiceRequest);
  void on_undeploy(client::ServiceRequest);
  void on_workload_ping(client::ServiceRequest);
  void on_workload_info(client::ServiceRequest);
  void on_workload_log(client::ServiceRequest);
  void on_invocations(client::ServiceRequest);
  void on_clone(client::ServiceRequest);
  void on_drain(client::ServiceRequest);
  // Of the desired state; any node answers.
  void on_apply(client::ServiceRequest);
  void on_status(client::ServiceRequest);
  void on_scale(client::ServiceRequest);
  void on_rollback(client::ServiceRequest);
  void on_move(client::ServiceRequest);
  void on_namespace_request(client::ServiceRequest);
  void answer_namespaces(client::ServiceRequest& request, const NamespacesRequest& wanted,
                         const Status& done);

  // ControlPlaneHost.
  void start_copy(const std::string& id, uint32_t slot, const DesiredWorkload& workload,
                  const WorkloadRevision& revision) override;
  void stop_copy(const std::string& id, bool is_urgent) override;
  NodeRecord describe_node() override;
  void on_namespaces(const std::map<std::string, NamespaceRecord>& namespaces) override;
  void on_plane_state(DesiredStore::State state) override;
  void apply_namespaces();
  void remove_triggers(const DesiredWorkload& workload, client::DoneHandler done) override;
  void on_stored(std::string_view bucket, const std::string& key, const StoredKey&) override;

  // What the node is looked for by: its own tags and those every node has.
  Pairs tags() const;
  bool has_tags(const Pairs& wanted) const;
  // Tells that it is there, as Nex's nodes do.
  void beat();
  void start_feeds();
  void publish_node_event(std::string_view type, std::string_view json);
  // Checks whether there is room, and the deployment itself; `error_id` says what kind of mistake it was.
  Result<Deployment> plan(std::string_view ns, const DeployRequest& request, std::string& error_id);
  void respond(client::ServiceRequest& request, const std::string& body);
  void respond_error(client::ServiceRequest& request, int code, const ControlError& error);
  void on_ended(const std::string& id, int exit_code, const std::string& error);
  using SharedRequest = std::shared_ptr<client::ServiceRequest>;
  // Why a deployment did not come about.
  struct Refusal {
    std::string error_id;
    Error error;
  };
  void refuse(client::ServiceRequest& request, const Refusal& refusal);
  // Gets the artifact and checks it; `done` may be called from within.
  using Prepared = Callback<void(Result<Deployment>, const std::string& error_id)>;
  void prepare(Deployment deployment, Prepared done);
  void prepare_artifact(Deployment deployment, Prepared done);
  // Prepares what is signed as node and namespace ask for it.
  void admit(Deployment planned, const DeployRequest& request, Prepared done);
  // Puts the values of secrets into the environment of what is about to start.
  Status open_secrets(Deployment& deployment);
  SecretStore::Deps make_secret_deps();
  Status start_v1();
  v1::NodeFacts v1_facts() const;
  void on_secrets(client::ServiceRequest);
  Status run(Deployment deployment, client::DoneHandler on_live);
  void deploy_directly(Deployment deployment, SharedRequest request);
  void on_live_directly(const std::string& id, const Status& status, client::ServiceRequest& request);
  // A deployment that becomes desired state when it is live and its artifact is stored.
  struct Arrival;
  void deploy_as_desired(Deployment deployment, SharedRequest request);
  void advance(const std::shared_ptr<Arrival>& arrival);
  void finish(const std::shared_ptr<Arrival>& arrival, const Result<ControlPlane::Adopted>& adopted);
  WorkloadRevision make_revision(const Deployment& deployment) const;
  DesiredWorkload make_desired(const WorkloadIdentity& identity, const WorkloadRevision& revision,
                               const DesiredWorkload* old) const;
  std::string quota_problem(const WorkloadIdentity& identity, const WorkloadRevision& revision,
                            uint32_t replicas) const;
  void reply_when_settled(SharedRequest request, const DesiredWorkload& workload, uint64_t wait_ms);
  void answer_change(SharedRequest request, const Result<DesiredWorkload>& changed, uint64_t wait_ms);
  bool is_responder(const Scheduler::WorkloadView& view) const;
  void remove_desired(const Scheduler::WorkloadView& view, SharedRequest request);
  Status add_desired_endpoints();
  void become_lame(Duration delay);
  void become_ready(const Status& status);
  void decide();

  void announce(const Workload& workload);
  // Without an exit code it was told to stop.
  void announce_end(const Workload& workload, std::optional<int> exit_code, const std::string& error);
  void destroy(const std::string& id);
  void retire(const std::string& id, Duration grace, Callback<void()> on_stopped);
  void add_name(const Workload& workload);
  void remove_name(const Workload& workload);
  // Live, or ended by itself: not one that is starting or being stopped.
  bool is_listed(const Workload& workload) const;
  Workload* find(std::string_view ns, std::string_view id_or_name) const;
  // Every replica of that name here, or the one of that id.
  std::vector<const Workload*> find_all(std::string_view ns, std::string_view id_or_name) const;
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
  std::unique_ptr<ControlSpans> control_spans_;  // null without a tracer
  std::unique_ptr<NexV1Feed> v1_feed_;  // null when nobody is told in words of Nex 0.2.7
  std::unique_ptr<WorkloadFactory> factory_;
  std::unique_ptr<SecretStore> secrets_;
  std::unique_ptr<DeployGuard> guard_;
  std::unique_ptr<NexV1> v1_;
  std::unique_ptr<MetricsFeed> metrics_feed_;
  std::unique_ptr<ControlPlane> plane_;
  std::unique_ptr<ArtifactSource> source_;
  Namespaces namespaces_;
  std::unique_ptr<StreamCatalog> streams_;
  bool has_desired_endpoints_ = false;
  std::unordered_map<std::string, WorkloadPtr> workloads_;  // by id, stopping ones too
  std::unordered_map<std::string, std::vector<std::string>> names_;  // "ns name" -> ids of live ones
  std::vector<Callback<void()>> undecided_;  // deploys that wait for the state of the control plane
  std::unordered_set<std::string> preparing_;               // ids of copies whose artifact is awaited
  std::vector<WorkloadPtr> graveyard_;
  io::Timer bury_;
  io::Timer stop_limit_;
  io::Timer lameduck_;
  io::Timer ready_limit_;
  io::Timer undecided_limit_;
  io::Timer heartbeat_;
};

}  // namespace brokkr::workload
