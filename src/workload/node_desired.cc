// The node's part in the desired state: copies it is told to run, and the verbs that change it.
#include <algorithm>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/json.h"
#include "base/machine.h"
#include "subject/subject.h"
#include "workload/node.h"

#include <unistd.h>

namespace brokkr::workload {
namespace {

constexpr size_t kDesiredNamespaceToken = 2;  // as in node_control.cc
constexpr size_t kDesiredArgumentToken = 5;
constexpr Duration kFenceGrace = std::chrono::milliseconds(1);
constexpr Duration kRemoveWait = std::chrono::seconds(15);
constexpr Duration kWaitMax = std::chrono::minutes(10);
constexpr size_t kCloneBytesMax = 512U << 10;
constexpr size_t kStatusBytesMax = 400U << 10;

std::string desired_ns(const client::ServiceRequest& request) {
  return std::string(subject::token_at(request.message().subject, kDesiredNamespaceToken));
}

std::string desired_argument(const client::ServiceRequest& request) {
  return std::string(subject::token_at(request.message().subject, kDesiredArgumentToken));
}

DeployRequest make_deploy_request(const DesiredWorkload& workload, const WorkloadRevision& revision) {
  DeployRequest request;
  request.name = workload.name;
  request.ns = workload.ns;
  request.description = workload.description;
  request.workload_type = workload.workload_type;
  request.workload_lifecycle = workload.workload_lifecycle;
  request.tags = workload.tags;
  request.metadata = workload.metadata;
  request.run_request = encode(revision.run);
  return request;
}

bool is_same(const DesiredWorkload& a, const WorkloadIdentity& b, const WorkloadRevision& revision) {
  return a.workload_type == b.workload_type && a.workload_lifecycle == b.workload_lifecycle &&
         encode(a.current.run) == encode(revision.run);
}

// Whether a revision that is kept came of that request.
bool was_applied(const DesiredWorkload& workload, const std::string& request_id) {
  return !request_id.empty() &&
         (workload.current.request_id == request_id ||
          std::any_of(workload.previous.begin(), workload.previous.end(),
                      [&](const WorkloadRevision& one) { return one.request_id == request_id; }));
}

}  // namespace

Status Node::add_desired_endpoints() {
  if (has_desired_endpoints_ || service_ == nullptr) return {};
  has_desired_endpoints_ = true;
  const struct {
    const char* name;
    std::string_view ns;
    const char* verb;
    std::string_view argument;
    void (Node::*handler)(client::ServiceRequest);
  } endpoints[] = {
      {"ApplyWorkload", "*", "APPLY", {}, &Node::on_apply},
      {"RolloutStatuses", "*", "STATUS", {}, &Node::on_status},
      {"RolloutStatus", "*", "STATUS", "*", &Node::on_status},
      {"ScaleWorkload", "*", "SCALE", "*", &Node::on_scale},
      {"RollbackWorkload", "*", "ROLLBACK", "*", &Node::on_rollback},
      {"MoveWorkload", "*", "MOVE", "*", &Node::on_move},
      {"Secrets", "*", "SECRETS", {}, &Node::on_secrets},
      {"Namespaces", kSystemNamespace, "NAMESPACES", {}, &Node::on_namespace_request},
  };
  for (const auto& e : endpoints) {
    client::Service::Endpoint endpoint;
    endpoint.name = e.name;
    endpoint.subject = control_subject(e.ns, e.verb, e.argument);
    endpoint.queue_group = "nexnode";
    const auto handler = e.handler;
    const auto added = service_->add_endpoint(
        std::move(endpoint),
        [this, handler, span = std::string(e.verb)](client::ServiceRequest request) {
          if (control_spans_ != nullptr) control_spans_->begin(request.message(), span);
          if (!plane_->is_ready()) {
            return respond_error(request, 503, {"not-ready", "JetStream does not answer"});
          }
          (this->*handler)(std::move(request));
        });
    if (!added) return added.error();
  }
  return {};
}

void Node::on_plane_state(DesiredStore::State state) {
  if (state == DesiredStore::State::Probing) return;
  secrets_->on_ready(state == DesiredStore::State::Ready);
  if (state == DesiredStore::State::Ready) {
    if (const Status added = add_desired_endpoints(); !added) return become_ready(added);
  }
  decide();
  if (on_ready_) {
    connection_->flush(std::chrono::seconds(5), [this](const Status& flushed) { become_ready(flushed); });
  }
}

NodeRecord Node::describe_node() {
  NodeRecord record;
  record.node = id_;
  record.name = options_.name;
  record.nexus = options_.nexus;
  record.xkey = identity_.xkey().public_key();
  record.version = options_.version;
  record.tags = tags();
  record.types = factory_->types();
  static const uint64_t memory = usable_memory();
  static const auto cpus = static_cast<uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  record.memory_bytes = options_.memory_bytes != 0 ? options_.memory_bytes : memory;
  record.cpu_millis = options_.cpu_millis != 0 ? options_.cpu_millis : cpus * 1000;
  record.workloads = static_cast<uint32_t>(workloads_.size());
  record.workloads_max = options_.workloads_max;
  return record;
}

void Node::start_copy(const std::string& id, uint32_t slot, const DesiredWorkload& workload,
                      const WorkloadRevision& revision) {
  std::string error_id;
  Result<Deployment> planned =
      factory_->plan(workload.ns, make_deploy_request(workload, revision), error_id);
  if (!planned) {
    deps_.loop.post([this, id, error = planned.error()] {
      plane_->copy_failed(id, error.text, true);
    });
    return;
  }
  planned->identity.id = id;
  planned->identity.slot = slot;
  planned->identity.generation = revision.generation;
  preparing_.insert(id);
  prepare(std::move(*planned), [this, id](Result<Deployment> ready, const std::string&) {
    if (preparing_.erase(id) == 0) return;  // stopped meanwhile
    const auto fail = [this, &id](const Error& error) {
      deps_.log.warn("workload: " + id + " did not start: " + error.text);
      deps_.loop.post([this, id, error] { plane_->copy_failed(id, error.text, is_users_fault(error)); });
    };
    if (!ready) return fail(ready.error());
    const Status begun = run(std::move(*ready), [this, id](const Status& status) {
      const auto found = workloads_.find(id);
      if (found == workloads_.end()) return;
      if (status) {
        add_name(*found->second);
        announce(*found->second);
        return plane_->copy_live(id);
      }
      deps_.log.warn("workload: " + id + " did not start: " + status.error().text);
      // One that is stopping is told of by its stop.
      if (found->second->state() == Workload::State::Stopping) return;
      destroy(id);
      plane_->copy_failed(id, status.error().text, is_users_fault(status.error()));
    });
    if (!begun) fail(begun.error());
  });
}

void Node::stop_copy(const std::string& id, bool is_urgent) {
  preparing_.erase(id);
  retire(id, is_urgent ? kFenceGrace : Duration::zero(), [this, id] {
    deps_.loop.post([this, id] { plane_->copy_stopped(id); });
  });
}

WorkloadRevision Node::make_revision(const Deployment& deployment) const {
  WorkloadRevision revision;
  revision.deployed = format_rfc3339(deps_.loop.clock().wall_now());
  revision.artifact_bytes = deployment.identity.artifact_bytes;
  revision.issuer = deployment.issuer;
  revision.run = deployment.run;
  revision.run.artifact.clear();
  // From now on the bytes are where every node finds them.
  if (!deployment.artifact_file.empty()) {
    revision.run.sha256 = deployment.identity.sha256;
    revision.run.uri = "sha256://" + deployment.identity.sha256;
  }
  return revision;
}

DesiredWorkload Node::make_desired(const WorkloadIdentity& identity, const WorkloadRevision& revision,
                                   const DesiredWorkload* old) const {
  DesiredWorkload workload;
  if (old != nullptr) workload = *old;
  if (old == nullptr || old->is_removed) {
    workload.id = identity.id.empty() ? std::string(Nuid(deps_.random).next()) : identity.id;
    workload.created = revision.deployed;
    workload.replicas = 1;
    workload.node.clear();
  }
  workload.is_removed = false;
  workload.ns = identity.ns;
  workload.name = identity.name;
  workload.description = identity.description;
  workload.workload_type = identity.workload_type;
  workload.workload_lifecycle = identity.workload_lifecycle;
  workload.tags = identity.tags;
  workload.metadata = identity.metadata;
  const uint64_t generation = old == nullptr ? 0 : old->current.generation;
  if (generation != 0) {
    workload.previous.insert(workload.previous.begin(), std::move(workload.current));
    if (workload.previous.size() > kRevisionsKept) workload.previous.resize(kRevisionsKept);
  }
  workload.current = revision;
  workload.current.generation = generation + 1;
  return workload;
}

std::string Node::quota_problem(const WorkloadIdentity& identity, const WorkloadRevision& revision,
                                uint32_t replicas) const {
  const auto& namespaces = plane_->scheduler().namespaces();
  const auto record = namespaces.find(identity.ns);
  if (record == namespaces.end()) return {};
  NamespaceUse use = plane_->scheduler().use_of(identity.ns);
  const auto* old = plane_->scheduler().find(identity.ns, identity.name);
  DesiredWorkload wanted;
  wanted.workload_lifecycle = identity.workload_lifecycle;
  const Demand demand = demand_of(wanted, revision);
  if (old != nullptr && !old->workload.is_removed) {
    const Demand before = demand_of(old->workload, old->workload.current);
    if (replicas == 0) replicas = old->workload.replicas;
    --use.workloads;
    use.replicas -= old->workload.replicas;
    use.memory_bytes -= before.memory_bytes * old->workload.replicas;
    use.cpu_millis -= before.cpu_millis * old->workload.replicas;
    use.artifact_bytes -= old->workload.current.artifact_bytes;
  }
  replicas = std::max(1U, replicas);
  ++use.workloads;
  use.replicas += replicas;
  use.memory_bytes += demand.memory_bytes * replicas;
  use.cpu_millis += demand.cpu_millis * replicas;
  use.artifact_bytes += revision.artifact_bytes;
  return quota_violation(record->second, use);
}

// ---- ADEPLOY: runs here first, then is written down, then is answered. ----

struct Node::Arrival {
  WorkloadIdentity identity;
  WorkloadRevision revision;
  SharedRequest request;
  bool is_live = false;
  bool is_stored = false;
  bool has_failed = false;
};

void Node::deploy_as_desired(Deployment deployment, SharedRequest request) {
  auto arrival = std::make_shared<Arrival>();
  deployment.identity.id = Nuid(deps_.random).next();
  arrival->identity = deployment.identity;
  arrival->revision = make_revision(deployment);
  arrival->request = request;
  const std::string problem = quota_problem(arrival->identity, arrival->revision, 0);
  if (!problem.empty()) return respond_error(*request, 403, {"quota-exceeded", problem});
  const std::string id = deployment.identity.id;
  std::string bytes = deployment.artifact;
  const bool has_artifact = !deployment.artifact_file.empty();
  if (bytes.empty() && has_artifact) {
    if (auto read = artifacts_->get(deployment.identity.sha256); read) bytes = std::move(*read);
  }
  const Status begun = run(std::move(deployment), [this, arrival](const Status& status) {
    if (arrival->has_failed) return;
    if (status) {
      arrival->is_live = true;
      return advance(arrival);
    }
    arrival->has_failed = true;
    refuse(*arrival->request, {is_users_fault(status.error()) ? "bad-artifact" : "not-started",
                               status.error()});
    destroy(arrival->identity.id);
  });
  if (!begun) return refuse(*request, {is_users_fault(begun.error()) ? "bad-artifact" : "not-started",
                                       begun.error()});
  if (!has_artifact) {
    arrival->is_stored = true;
    return advance(arrival);
  }
  plane_->store().put_artifact(
      arrival->identity.ns, arrival->identity.sha256, std::move(bytes),
      [this, arrival](const Status& stored) {
        if (arrival->has_failed) return;
        if (stored) {
          arrival->is_stored = true;
          return advance(arrival);
        }
        arrival->has_failed = true;
        refuse(*arrival->request,
               {"not-stored", {Errc::Unavailable, "the artifact is not stored: " + stored.error().text}});
        retire(arrival->identity.id, Duration::zero(), {});
      });
}

void Node::advance(const std::shared_ptr<Arrival>& arrival) {
  if (!arrival->is_live || !arrival->is_stored) return;
  const auto change = [this, arrival](const DesiredWorkload* old) -> Result<DesiredWorkload> {
    DesiredWorkload wanted = make_desired(arrival->identity, arrival->revision, old);
    if (!wanted.node.empty()) wanted.node = id_;
    wanted.replicas = std::max(1U, wanted.replicas);
    return wanted;
  };
  plane_->adopt(arrival->identity.ns, arrival->identity.name, arrival->identity.id, change,
                [this, arrival](const Result<ControlPlane::Adopted>& adopted) {
                  finish(arrival, adopted);
                });
}

void Node::finish(const std::shared_ptr<Arrival>& arrival,
                  const Result<ControlPlane::Adopted>& adopted) {
  const std::string& id = arrival->identity.id;
  const auto found = workloads_.find(id);
  if (!adopted || found == workloads_.end()) {
    refuse(*arrival->request,
           {"not-stored", {Errc::Unavailable, adopted ? "it has ended" : adopted.error().text}});
    return retire(id, Duration::zero(), {});
  }
  const Workload& workload = *found->second;
  DeployReply reply;
  reply.id = id;
  reply.name = arrival->identity.name;
  reply.node_id = id_;
  reply.trigger_subjects = workload.info().trigger_subjects;
  reply.replaced_id = adopted->replaced_id;
  add_name(workload);
  announce(workload);
  if (workload.state() == Workload::State::Stopped) {
    // A job may be over before anybody has written down that it runs.
    const WorkloadInfo info = workload.info();
    const int exit_code = static_cast<int>(info.program.exit_code);
    plane_->copy_ended(id, exit_code, exit_code == 0 ? std::string() : info.last_error,
                       last_output(workload.log()));
  }
  respond(*arrival->request, encode(reply));
}

// ---- The verbs of the desired state. ----

void Node::reply_when_settled(SharedRequest request, const DesiredWorkload& workload,
                              uint64_t wait_ms) {
  const Duration wait = std::min<Duration>(kWaitMax, std::chrono::milliseconds(std::min<uint64_t>(
                                                         wait_ms, 1'000'000'000)));
  const uint64_t generation = workload.current.generation;
  plane_->await(workload.ns, workload.name, wait,
                [this, request, generation](const RolloutStatus* status, bool is_late) {
                  if (status == nullptr) {
                    if (!is_late) return false;
                    respond_error(*request, 404, {"not-found", "it is not there any more"});
                    return true;
                  }
                  const bool is_settled = status->generation >= generation &&
                                          (status->state == "complete" || status->state == "failed");
                  if (!is_settled && !is_late) return false;
                  respond(*request, encode(*status));
                  return true;
                });
}

void Node::answer_change(SharedRequest request, const Result<DesiredWorkload>& changed,
                         uint64_t wait_ms) {
  if (changed) return reply_when_settled(std::move(request), *changed, wait_ms);
  const Errc code = changed.error().code;
  const int status = code == Errc::NotFound ? 404 : code == Errc::Unavailable ? 503 : 400;
  const char* id = code == Errc::NotFound           ? "not-found"
                   : code == Errc::LimitExceeded    ? "quota-exceeded"
                   : code == Errc::Unavailable      ? "not-stored"
                                                    : "bad-request";
  respond_error(*request, status, {id, changed.error().text});
}

void Node::on_apply(client::ServiceRequest request) {
  auto decoded = decode_apply_request(request.message().payload);
  if (!decoded) return respond_error(request, 400, {"bad-request", decoded.error().text});
  const auto wanted = std::make_shared<ApplyRequest>(std::move(*decoded));
  std::string error_id;
  Result<Deployment> planned = factory_->plan(desired_ns(request), wanted->deploy, error_id);
  if (!planned) return refuse(request, {error_id, planned.error()});
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  admit(std::move(*planned), wanted->deploy, [this, pending, wanted](Result<Deployment> ready,
                                                                     const std::string& id) {
    if (!ready) return refuse(*pending, {id, ready.error()});
    const WorkloadIdentity identity = ready->identity;
    const auto revision = std::make_shared<WorkloadRevision>(make_revision(*ready));
    const std::string problem = quota_problem(identity, *revision, wanted->replicas);
    if (!problem.empty()) return respond_error(*pending, 403, {"quota-exceeded", problem});
    const auto change = [this, identity, revision, wanted](
                            const DesiredWorkload* old) -> Result<DesiredWorkload> {
      if (old != nullptr && was_applied(*old, wanted->request_id)) return *old;
      const bool is_known = old != nullptr && !old->is_removed && is_same(*old, identity, *revision);
      DesiredWorkload workload = is_known ? *old : make_desired(identity, *revision, old);
      workload.current.request_id = wanted->request_id;
      workload.description = identity.description;
      workload.tags = identity.tags;
      workload.metadata = identity.metadata;
      if (wanted->replicas != 0) workload.replicas = wanted->replicas;
      workload.node = wanted->node;
      workload.max_unavailable = std::max(1U, wanted->max_unavailable);
      workload.progress_deadline_ns = wanted->progress_deadline_ns;
      return workload;
    };
    const auto store = [this, identity, change, pending, wanted](const Status& stored) {
      if (!stored) {
        return respond_error(*pending, 503, {"not-stored", "the artifact is not stored: " +
                                                               stored.error().text});
      }
      plane_->change(identity.ns, identity.name, change,
                     [this, pending, wanted](const Result<DesiredWorkload>& changed) {
                       answer_change(pending, changed, wanted->wait_ms);
                     });
    };
    if (ready->artifact_file.empty()) return store({});
    auto bytes = artifacts_->get(identity.sha256);
    if (!bytes) return respond_error(*pending, 503, {"not-stored", bytes.error().text});
    plane_->store().put_artifact(identity.ns, identity.sha256, std::move(*bytes), store);
  });
}

namespace {

// The name of what a request is about; names that are not known here yet may be in the store.
std::string name_of(const Scheduler& scheduler, const std::string& ns, const std::string& argument) {
  const auto* view = scheduler.find(ns, argument);
  return view != nullptr ? view->workload.name : argument;
}

Error not_desired(const std::string& argument) {
  return {Errc::NotFound, "there is no workload \"" + argument + "\""};
}

}  // namespace

void Node::on_scale(client::ServiceRequest request) {
  const auto wanted = decode_scale_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const std::string ns = desired_ns(request);
  const std::string argument = desired_argument(request);
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  const auto change = [this, wanted = *wanted,
                       argument](const DesiredWorkload* old) -> Result<DesiredWorkload> {
    if (old == nullptr || old->is_removed) return not_desired(argument);
    DesiredWorkload workload = *old;
    workload.replicas = wanted.replicas;
    WorkloadIdentity identity;
    identity.ns = old->ns;
    identity.name = old->name;
    identity.workload_lifecycle = old->workload_lifecycle;
    const std::string problem = quota_problem(identity, old->current, wanted.replicas);
    const bool is_more = wanted.replicas > old->replicas;
    if (is_more && !problem.empty()) return Error{Errc::LimitExceeded, problem};
    return workload;
  };
  plane_->change(ns, name_of(plane_->scheduler(), ns, argument), change,
                 [this, pending, wait = wanted->wait_ms](const Result<DesiredWorkload>& changed) {
                   answer_change(pending, changed, wait);
                 });
}

void Node::on_rollback(client::ServiceRequest request) {
  const auto wanted = decode_rollback_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const std::string ns = desired_ns(request);
  const std::string argument = desired_argument(request);
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  const auto change = [this, wanted = *wanted,
                       argument](const DesiredWorkload* old) -> Result<DesiredWorkload> {
    if (old == nullptr || old->is_removed) return not_desired(argument);
    const auto found = std::find_if(
        old->previous.begin(), old->previous.end(), [&](const WorkloadRevision& revision) {
          if (wanted.generation != 0) return revision.generation == wanted.generation;
          return wanted.sha256.empty() || revision.run.sha256 == wanted.sha256;
        });
    if (found == old->previous.end()) {
      return Error{Errc::NotFound, "there is no such revision of \"" + argument + "\""};
    }
    DesiredWorkload workload = *old;
    WorkloadRevision revision = *found;
    revision.deployed = format_rfc3339(deps_.loop.clock().wall_now());
    revision.generation = old->current.generation + 1;
    workload.previous.insert(workload.previous.begin(), old->current);
    if (workload.previous.size() > kRevisionsKept) workload.previous.resize(kRevisionsKept);
    workload.current = std::move(revision);
    return workload;
  };
  plane_->change(ns, name_of(plane_->scheduler(), ns, argument), change,
                 [this, pending, wait = wanted->wait_ms](const Result<DesiredWorkload>& changed) {
                   answer_change(pending, changed, wait);
                 });
}

void Node::on_move(client::ServiceRequest request) {
  const auto wanted = decode_move_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const std::string ns = desired_ns(request);
  const std::string argument = desired_argument(request);
  const auto* view = plane_->scheduler().find(ns, argument);
  if (view == nullptr || view->workload.is_removed) {
    return respond_error(request, 404, {"not-found", not_desired(argument).text});
  }
  const std::vector<NodeRecord> nodes = plane_->scheduler().nodes(deps_.loop.now());
  const auto target = std::find_if(nodes.begin(), nodes.end(), [&](const NodeRecord& record) {
    return record.node == wanted->node || record.name == wanted->node;
  });
  if (target == nodes.end()) {
    return respond_error(request, 404, {"not-found", "there is no node \"" + wanted->node + "\""});
  }
  NodeLoad load;
  load.record = &*target;
  const std::string problem = refusal(view->workload, view->workload.current, load);
  if (!problem.empty()) {
    return respond_error(request, 400, {"bad-request", "the node cannot take it: " + problem});
  }
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  const DesiredWorkload workload = view->workload;
  const auto left = std::make_shared<uint32_t>(1);
  const auto done = [this, pending, left, workload, wait = wanted->wait_ms](const Status& moved) {
    if (!moved && !pending->is_answered()) {
      respond_error(*pending, 503, {"not-stored", moved.error().text});
    }
    if (--*left == 0 && !pending->is_answered()) reply_when_settled(pending, workload, wait);
  };
  for (uint32_t slot = 0; slot < workload.replicas; ++slot) {
    if (wanted->slot >= 0 && wanted->slot != static_cast<int64_t>(slot)) continue;
    ++*left;
    plane_->change_slot(slot_key(ns, workload.name, slot),
                        [node = target->node](SlotLease& lease) {
                          lease.target = lease.node == node ? "" : node;
                          return lease.node != node;
                        },
                        done);
  }
  done({});
}

void Node::on_status(client::ServiceRequest request) {
  const std::string ns = desired_ns(request);
  const std::string argument = desired_argument(request);
  const Scheduler& scheduler = plane_->scheduler();
  const MonotonicTime now = deps_.loop.now();
  if (!argument.empty()) {
    const auto* view = scheduler.find(ns, argument);
    if (view == nullptr) {
      return respond_error(request, 404, {"not-found", not_desired(argument).text});
    }
    return respond(request, encode(scheduler.status(*view, now)));
  }
  std::vector<RolloutStatus> part;
  size_t bytes = 0;
  const std::string reply(request.message().reply);
  if (!reply.starts_with('_')) return;  // as the service has it
  for (const auto& [key, view] : scheduler.workloads()) {
    // The system namespace sees all.
    if (view.workload.ns != ns && ns != kSystemNamespace) continue;
    part.push_back(scheduler.status(view, now));
    bytes += encode(part.back()).size();
    if (bytes < kStatusBytesMax) continue;
    if (!connection_->publish(reply, encode(part))) break;
    part.clear();
    bytes = 0;
  }
  respond(request, encode(part));
}

// One node answers where every node hears: the one that has the first replica, or a caretaker.
bool Node::is_responder(const Scheduler::WorkloadView& view) const {
  const Scheduler& scheduler = plane_->scheduler();
  const std::vector<NodeRecord> nodes = scheduler.nodes(deps_.loop.now());
  const auto is_alive = [&](const std::string& node) {
    return std::any_of(nodes.begin(), nodes.end(), [&](const auto& n) { return n.node == node; });
  };
  const std::string key = workload_key(view.workload.ns, view.workload.name);
  for (uint32_t slot = 0; slot < std::max(1U, view.workload.replicas); ++slot) {
    const auto* lease = scheduler.find_slot(key, slot);
    if (lease != nullptr && is_alive(lease->lease.node)) return lease->lease.node == id_;
  }
  const auto first = std::min_element(nodes.begin(), nodes.end(),
                                      [](const auto& a, const auto& b) { return a.node < b.node; });
  return first == nodes.end() || first->node == id_;
}

void Node::remove_desired(const Scheduler::WorkloadView& view, SharedRequest request) {
  const DesiredWorkload workload = view.workload;
  UndeployReply reply;
  reply.id = workload.id;
  reply.workload_type = workload.workload_type;
  if (const auto* slot = plane_->scheduler().find_slot(workload_key(workload.ns, workload.name), 0)) {
    reply.id = slot->lease.workload_id;
  }
  const auto change = [](const DesiredWorkload* old) -> Result<DesiredWorkload> {
    if (old == nullptr) return Error{Errc::NotFound, "it is gone already"};
    DesiredWorkload removed = *old;
    removed.is_removed = true;
    return removed;
  };
  plane_->change(workload.ns, workload.name, change,
                 [this, request, reply, workload](const Result<DesiredWorkload>& changed) mutable {
                   if (!changed && changed.error().code != Errc::NotFound) {
                     return respond_error(*request, 503, {"not-stored", changed.error().text});
                   }
                   const auto waiter = [this, request, reply](const RolloutStatus* status,
                                                              bool is_late) mutable {
                     const bool is_gone = status == nullptr || status->state != "removing";
                     if (!is_gone && !is_late) return false;
                     reply.stopped = true;
                     reply.message = is_gone ? "stopped" : "stops when its nodes answer";
                     respond(*request, encode(reply));
                     return true;
                   };
                   plane_->await(workload.ns, workload.name, kRemoveWait, waiter);
                 });
}

void Node::on_clone(client::ServiceRequest request) {
  const auto wanted = decode_clone_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const auto ns = namespace_meant(request, wanted->ns);
  if (!ns) return respond_error(request, 403, {"other-namespace", ns.error().text});
  const std::string argument = desired_argument(request);
  const auto* view = plane_->is_ready() ? plane_->scheduler().find(*ns, argument) : nullptr;
  if (view == nullptr || !is_responder(*view)) return;
  WorkloadRevision revision = view->workload.current;
  // The digest alone means something only in its own namespace.
  // Of an image the digest is what the request said, not what the node has seen.
  const bool is_artifact = revision.run.uri == "sha256://" + revision.run.sha256;
  auto bytes = artifacts_->get(is_artifact ? revision.run.sha256 : "");
  if (bytes && bytes->size() <= kCloneBytesMax) {
    revision.run.artifact = std::move(*bytes);
    revision.run.uri.clear();
  }
  CloneReply reply;
  reply.start_workload_request = make_deploy_request(view->workload, revision);
  respond(request, encode(reply));
}

}  // namespace brokkr::workload
