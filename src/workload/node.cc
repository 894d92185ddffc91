#include "workload/node.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/ids.h"
#include "base/json.h"
#include "workload/gate_connection.h"
#include "workload/json_members.h"
#include "workload/metrics_page.h"

namespace brokkr::workload {
namespace {

constexpr const char* kEngineFile = "libbrokkr_engine_v8.so";
constexpr auto kAnnounceTimeout = std::chrono::seconds(5);
// How long the first deploys wait to learn whether there is JetStream.
constexpr auto kReadyLimit = std::chrono::seconds(5);
constexpr size_t kResultBytesMax = 4096;

std::string name_key(std::string_view ns, std::string_view name) {
  return std::string(ns) + " " + std::string(name);
}

// The node's own resident memory.
uint64_t resident_bytes() {
  FILE* file = fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long size = 0;
  unsigned long long resident = 0;
  const int count = fscanf(file, "%llu %llu", &size, &resident);
  fclose(file);
  return count == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace

std::string last_output(const WorkloadLog& log) {
  std::string text;
  for (const LogEntry& entry : log.entries) {
    if (entry.stream == "stdout") text += entry.text;
  }
  return text.size() <= kResultBytesMax ? text : text.substr(text.size() - kResultBytesMax);
}

bool is_users_fault(const Error& error) {
  return error.code == Errc::Syntax || error.code == Errc::InvalidSubject ||
         error.code == Errc::PermissionDenied || error.code == Errc::InvalidArgument ||
         error.code == Errc::Unsupported || error.code == Errc::LimitExceeded ||
         error.code == Errc::AlreadyExists || error.code == Errc::Corrupt ||
         error.code == Errc::NotFound;
}

std::string find_engine_plugin() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0) return {};
  std::string folder(path, static_cast<size_t>(n));
  folder.resize(folder.rfind('/'));
  for (const char* place : {"/../lib/brokkr/", "/"}) {
    const std::string candidate = folder + place + kEngineFile;
    if (access(candidate.c_str(), R_OK) == 0 && realpath(candidate.c_str(), path) != nullptr) {
      return path;
    }
  }
  return {};
}

Node::Node(const Deps& deps, NodeOptions options, NodeIdentity identity)
    : deps_(deps), options_(std::move(options)), identity_(std::move(identity)),
      id_(identity_.key().public_key()),
      started_wall_(deps.loop.clock().wall_now()), started_(deps.loop.clock().now()),
      bury_(deps.loop, [this] { graveyard_.clear(); }),
      stop_limit_(deps.loop, [this] { finish_stop(); }),
      lameduck_(deps.loop,
                [this] {
                  plane_->release_all();
                  retire_all();
                }),
      ready_limit_(deps.loop, [this] { become_ready({}); }),
      undecided_limit_(deps.loop, [this] { decide(); }),
      heartbeat_(deps.loop, [this] { beat(); }) {}

Node::~Node() = default;

Result<std::unique_ptr<Node>> Node::start(const Deps& deps, NodeOptions options,
                                          client::DoneHandler on_ready) {
  auto identity = NodeIdentity::load(options.data_folder + "/node");
  if (!identity) return identity.error();
  std::unique_ptr<Node> node(new Node(deps, std::move(options), std::move(*identity)));
  node->on_ready_ = std::move(on_ready);
  if (Status opened = node->open(); !opened) return opened.error();
  return node;
}

Status Node::open() {
  if (options_.engine_path.empty()) options_.engine_path = find_engine_plugin();
  auto artifacts = ArtifactCache::open(options_.data_folder + "/artifacts",
                                       options_.artifact_cache_bytes_max);
  if (!artifacts) return artifacts.error();
  artifacts_ = std::move(*artifacts);
  cgroups_ = sandbox::CgroupTree::open();
  if (options_.sandbox != sandbox::Policy::Off) {
    layers_ = sandbox::probe_layers(deps_.loop, options_.executable);
    const uint32_t missing = sandbox::kRequiredLayers & ~layers_;
    if (options_.sandbox == sandbox::Policy::Required && missing != 0) {
      return Error{Errc::Unsupported,
                   "sandbox=required, but here it is " + sandbox::describe(~missing)};
    }
  }
  layers_ |= cgroups_->layers();
  if (options_.sandbox == sandbox::Policy::Off) {
    deps_.log.warn("workload: the sandbox is off: functions are not confined");
  } else if (layers_ != sandbox::kAllLayers) {
    deps_.log.warn("workload: sandbox is " + sandbox::describe(layers_));
  }
  if (options_.connection.name.empty()) options_.connection.name = "node-" + options_.name;
  client::Events events;
  events.connected = [this] { on_connected(); };
  events.closed = [this](const Error& error) {
    if (const auto on_ready = std::move(on_ready_)) return on_ready(error);
    if (state_ != State::Stopping) deps_.log.error("workload: connection closed: " + error.text);
  };
  events.error = [this](const Error& error) { deps_.log.warn("workload: " + error.text); };
  // The options stay: programs have connections of their own.
  client::Options own = copy_options(options_.connection);
  own.retry_first_connect = options_.connection.retry_first_connect;
  own.reconnect_attempts_max = options_.connection.reconnect_attempts_max;
  auto connection = client::Connection::open({deps_.loop, deps_.resolver, deps_.random},
                                             std::move(own), std::move(events));
  if (!connection) return connection.error();
  connection_ = std::move(*connection);
  if (Tracer::Options traces = options_.traces; !traces.endpoint.empty()) {
    traces.resource.emplace_back("service.instance.id", id_);
    traces.resource.emplace_back("host.name", options_.name);
    auto tracer = Tracer::open(deps_.loop, deps_.log, std::move(traces));
    if (!tracer) return tracer.error();
    tracer_ = std::move(*tracer);
    control_spans_ = std::make_unique<ControlSpans>(deps_.loop, *tracer_);
  }
  if (options_.answers_v1) {
    v1_feed_ = std::make_unique<NexV1Feed>(NexV1Feed::Deps{deps_.loop, deps_.random, deps_.log, *connection_}, id_,
                                           options_.version, [this] { return v1_facts(); });
  }
  factory_ = std::make_unique<WorkloadFactory>(
      WorkloadFactory::Deps{deps_.loop, deps_.resolver, deps_.random, deps_.log, *connection_,
                            *cgroups_, *artifacts_, options_, tracer_.get(), v1_feed_.get()});
  secrets_ = std::make_unique<SecretStore>(make_secret_deps());
  guard_ = std::make_unique<DeployGuard>(options_.issuers);
  plane_ = std::make_unique<ControlPlane>(
      ControlPlane::Deps{deps_.loop, deps_.log, deps_.random, *connection_, *this}, id_);
  streams_ = std::make_unique<StreamCatalog>(
      deps_.loop, *connection_, [this](std::shared_ptr<const StreamContents> contents) {
        namespaces_.streams = std::move(contents);
        apply_namespaces();
      });
  source_ = std::make_unique<ArtifactSource>(ArtifactSource::Deps{*artifacts_, plane_->store()});
  return {};
}

void Node::on_connected() {
  auto service = client::Service::start(
      *connection_, deps_.random,
      {std::string(kServiceName), options_.version, "workload node", {{"node_id", id_}}, "", true});
  Status status = service ? Status() : Status(service.error());
  if (service) {
    service_ = std::move(*service);
    status = add_endpoints();
    if (status) status = start_v1();
  }
  if (!status) {
    if (const auto on_ready = std::move(on_ready_)) on_ready(status);
    return;
  }
  connection_->flush(kAnnounceTimeout, [this](const Status& flushed) {
    state_ = State::Running;
    start_feeds();
    if (!flushed) return become_ready(flushed);
    plane_->open();
    ready_limit_.start(kReadyLimit);
  });
}

void Node::decide() {
  undecided_limit_.stop();
  for (const auto& go_on : std::exchange(undecided_, {})) go_on();
}

void Node::become_ready(const Status& status) {
  ready_limit_.stop();
  if (const auto on_ready = std::move(on_ready_)) on_ready(status);
}

Status Node::run(Deployment deployment, client::DoneHandler on_live) {
  const std::string id = deployment.identity.id;
  if (Status opened = open_secrets(deployment); !opened) return opened;
  WorkloadEvents events;
  events.health = [this, id](bool is_healthy) { plane_->copy_health(id, is_healthy); };
  events.ended = [this, id](int exit_code, const std::string& error) {
    on_ended(id, exit_code, error);
  };
  auto workload = factory_->make(std::move(deployment), std::move(events), std::move(on_live));
  if (!workload) return workload.error();
  workloads_[id] = std::move(*workload);
  return {};
}

void Node::deploy_directly(Deployment deployment, SharedRequest request) {
  deployment.identity.id = Nuid(deps_.random).next();
  const std::string id = deployment.identity.id;
  const Status begun = run(std::move(deployment), [this, id, request](const Status& status) {
    on_live_directly(id, status, *request);
  });
  if (!begun) refuse(*request, {"not-started", begun.error()});
}

void Node::on_live_directly(const std::string& id, const Status& status,
                            client::ServiceRequest& request) {
  const auto found = workloads_.find(id);
  if (found == workloads_.end()) return;
  if (!status) {
    refuse(request, {is_users_fault(status.error()) ? "bad-artifact" : "not-started", status.error()});
    return destroy(id);
  }
  const Workload& workload = *found->second;
  DeployReply reply;
  reply.id = id;
  reply.name = workload.identity().name;
  reply.node_id = id_;
  reply.trigger_subjects = workload.info().trigger_subjects;
  const auto names = names_.find(name_key(workload.identity().ns, workload.identity().name));
  if (names != names_.end() && !names->second.empty()) reply.replaced_id = names->second.front();
  add_name(workload);
  // It is live; its predecessor, in the same queue group, may go.
  if (!reply.replaced_id.empty()) retire(reply.replaced_id, Duration::zero(), {});
  announce(workload);
  respond(request, encode(reply));
}

void Node::on_ended(const std::string& id, int exit_code, const std::string& error) {
  const auto found = workloads_.find(id);
  if (found == workloads_.end()) return;
  plane_->copy_ended(id, exit_code, error, last_output(found->second->log()));
  announce_end(*found->second, exit_code, error);
}

void Node::announce(const Workload& workload) {
  const WorkloadIdentity& identity = workload.identity();
  json::Writer event;
  event.begin_object().field("id", identity.id).field("namespace", identity.ns);
  event.field("name", identity.name).field("workload_type", identity.workload_type);
  if (!identity.metadata.empty()) write_pairs(event, "metadata", identity.metadata);
  publish_event(identity.ns, "WORKLOADSTARTED", event.end_object().text());
  if (v1_feed_ != nullptr) v1_feed_->workload_deployed(identity);
}

void Node::announce_end(const Workload& workload, std::optional<int> exit_code, const std::string& error) {
  const WorkloadIdentity& identity = workload.identity();
  json::Writer event;
  event.begin_object().field("id", identity.id).field("namespace", identity.ns);
  event.field("name", identity.name).field("workload_type", identity.workload_type);
  if (!identity.metadata.empty()) write_pairs(event, "metadata", identity.metadata);
  if (exit_code) event.field("exit_code", *exit_code);
  if (!error.empty()) {
    // Nex has the code as a text.
    event.key("error").begin_object().field("code", std::to_string(exit_code.value_or(0)));
    event.field("message", error).end_object();
  }
  publish_event(identity.ns, "WORKLOADSTOPPED", event.end_object().text());
  if (v1_feed_ == nullptr) return;
  const bool is_asked = !exit_code && error.empty();
  v1_feed_->workload_undeployed(identity, exit_code.value_or(0), is_asked ? "Workload shutdown requested" : error);
}

void Node::add_name(const Workload& workload) {
  const WorkloadIdentity& identity = workload.identity();
  names_[name_key(identity.ns, identity.name)].push_back(identity.id);
}

void Node::remove_name(const Workload& workload) {
  const auto found = names_.find(name_key(workload.identity().ns, workload.identity().name));
  if (found == names_.end()) return;
  std::erase(found->second, workload.identity().id);
  if (found->second.empty()) names_.erase(found);
}

bool Node::is_listed(const Workload& workload) const {
  const auto found = names_.find(name_key(workload.identity().ns, workload.identity().name));
  return found != names_.end() && std::find(found->second.begin(), found->second.end(),
                                            workload.identity().id) != found->second.end();
}

void Node::destroy(const std::string& id) {
  const auto found = workloads_.find(id);
  if (found == workloads_.end()) return;
  remove_name(*found->second);
  graveyard_.push_back(std::move(found->second));
  workloads_.erase(found);
  bury_.start(Duration::zero());
}

void Node::retire(const std::string& id, Duration grace, Callback<void()> on_stopped) {
  const auto found = workloads_.find(id);
  if (found == workloads_.end()) {
    if (on_stopped) on_stopped();
    return;
  }
  Workload& workload = *found->second;
  remove_name(workload);
  // What has ended by itself was told then.
  const bool has_ended = workload.state() == Workload::State::Stopped;
  workload.stop(grace, [this, id, has_ended, on_stopped = std::move(on_stopped)] {
    const auto stopped = workloads_.find(id);
    if (stopped != workloads_.end()) {
      if (!has_ended) announce_end(*stopped->second, std::nullopt, {});
      destroy(id);
    }
    if (on_stopped) on_stopped();
    if (state_ == State::Stopping && workloads_.empty()) stop_limit_.start(Duration::zero());
  });
}

Workload* Node::find(std::string_view ns, std::string_view id_or_name) const {
  const auto names = names_.find(name_key(ns, id_or_name));
  const auto found =
      workloads_.find(names != names_.end() ? names->second.front() : std::string(id_or_name));
  if (found == workloads_.end() || found->second->identity().ns != ns) return nullptr;
  return is_listed(*found->second) ? found->second.get() : nullptr;
}

std::vector<const Workload*> Node::find_all(std::string_view ns, std::string_view id_or_name) const {
  const auto names = names_.find(name_key(ns, id_or_name));
  std::vector<const Workload*> found;
  if (names == names_.end()) {
    if (const Workload* one = find(ns, id_or_name)) found.push_back(one);
    return found;
  }
  for (const std::string& id : names->second) {
    if (const auto one = workloads_.find(id); one != workloads_.end()) found.push_back(one->second.get());
  }
  std::sort(found.begin(), found.end(), [](const Workload* a, const Workload* b) {
    return std::pair(a->identity().slot, a->identity().id) < std::pair(b->identity().slot, b->identity().id);
  });
  return found;
}

void Node::publish_event(std::string_view ns, std::string_view type, std::string_view json) {
  const Status sent = connection_->publish(event_subject(ns, type), json);
  if (!sent) deps_.log.debug("workload: event not sent: " + sent.error().text);
}

std::string Node::metrics() const {
  MetricsText out;
  std::vector<const Workload*> live;
  for (const auto& [key, ids] : names_) {
    for (const std::string& id : ids) {
      const auto found = workloads_.find(id);
      if (found != workloads_.end()) live.push_back(found->second.get());
    }
  }
  write_workload_metrics(out, options_.name, live);
  if (tracer_ != nullptr) write_tracer_metrics(out, options_.name, tracer_->counts());
  return out.text();
}

NodeInfo Node::info() const {
  NodeInfo info;
  info.node_id = id_;
  info.xkey = identity_.xkey().public_key();
  info.version = options_.version;
  info.uptime = format_uptime(deps_.loop.clock().now() - started_);
  info.tags = tags();
  info.name = options_.name;
  info.nexus = options_.nexus;
  constexpr const char* kStates[] = {"starting", "running", "lameduck", "stopping"};
  info.state = kStates[static_cast<size_t>(state_)];
  for (const std::string& type : factory_->types()) {
    const auto count = std::count_if(workloads_.begin(), workloads_.end(), [&](const auto& w) {
      return w.second->identity().workload_type == type;
    });
    info.agents.push_back({id_ + "-" + type, type, type, format_rfc3339(started_wall_),
                           factory_->lifecycles(type), info.state, static_cast<uint32_t>(count),
                           options_.version, format_rfc3339(deps_.loop.clock().wall_now())});
  }
  info.engine = factory_->engine_version();
  info.instance_mode = options_.is_warm ? "warm" : "cold";
  info.sandbox_policy = sandbox::to_string(options_.sandbox);
  info.sandbox_layers = sandbox::layer_names(layers_);
  info.sandbox_missing = sandbox::layer_names(sandbox::kAllLayers & ~layers_);
  info.microvm = factory_->microvm_checks();
  info.default_limits = options_.limits;
  info.memory_bytes = resident_bytes();
  return info;
}

void Node::stop(Callback<void()> on_stopped) {
  on_stopped_ = std::move(on_stopped);
  state_ = State::Stopping;
  // No new deployments, and no bids for them.
  service_.reset();
  v1_.reset();
  metrics_feed_.reset();
  heartbeat_.stop();
  plane_->halt();
  stop_limit_.start(options_.stop_grace);
  retire_all();
  if (workloads_.empty()) stop_limit_.start(Duration::zero());
}

void Node::retire_all() {
  std::vector<std::string> ids;
  for (const auto& [id, workload] : workloads_) ids.push_back(id);
  for (const std::string& id : ids) retire(id, Duration::zero(), {});
}

void Node::finish_stop() {
  workloads_.clear();
  factory_->shut_down();
  publish_node_event("NODESTOPPED", json::Writer().begin_object().field("id", id_).end_object().text());
  if (v1_feed_ != nullptr) v1_feed_->node_stopped();
  plane_->say_goodbye([this] {
    connection_->drain([this](const Status&) {
      if (const auto on_stopped = std::move(on_stopped_)) on_stopped();
    });
  });
}

}  // namespace brokkr::workload
