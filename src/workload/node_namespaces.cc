// The node's part in namespaces: who changes a record, and what a change means for what runs.
#include <map>
#include <memory>
#include <string>

#include "workload/namespace_record.h"
#include "workload/node.h"
#include "workload/trigger_cleanup.h"

namespace brokkr::workload {

void Node::on_namespaces(const std::map<std::string, NamespaceRecord>& namespaces) {
  namespaces_.records.clear();
  for (const auto& [ns, record] : namespaces) namespaces_.records.push_back(record);
  // What streams collect matters to nobody who is alone.
  streams_->set_wanted(!namespaces_.records.empty());
  apply_namespaces();
}

void Node::apply_namespaces() {
  factory_->set_namespaces(namespaces_);
  for (const auto& [id, workload] : workloads_) workload->set_namespaces(namespaces_);
}

void Node::remove_triggers(const DesiredWorkload& workload, client::DoneHandler done) {
  remove_trigger_consumers(client::JetStream(*connection_),
                           trigger_consumers(workload, namespaces_.records), std::move(done));
}

void Node::on_namespace_request(client::ServiceRequest request) {
  using Action = NamespacesRequest::Action;
  auto decoded = decode_namespaces_request(request.message().payload);
  if (!decoded) return respond_error(request, 400, {"bad-request", decoded.error().text});
  const auto wanted = std::make_shared<NamespacesRequest>(std::move(*decoded));
  const NamespaceRecord& record = wanted->record;
  if (wanted->action != Action::List && !is_workload_name(record.ns)) {
    return respond_error(request, 400, {"bad-request", "\"" + record.ns + "\" is no namespace"});
  }
  if (wanted->action == Action::Set) {
    if (Status s = check_namespace_record(record); !s) {
      return respond_error(request, 400, {"bad-request", s.error().text});
    }
  }
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  const auto answer = [this, pending, wanted](const Status& done) {
    answer_namespaces(*pending, *wanted, done);
  };
  switch (wanted->action) {
    case Action::List: return answer({});
    case Action::Get: return plane_->read_namespace(record.ns, answer);
    case Action::Set: return plane_->put_namespace(record, wanted->revision, answer);
    case Action::Remove: return plane_->remove_namespace(record.ns, wanted->revision, answer);
  }
}

void Node::answer_namespaces(client::ServiceRequest& request, const NamespacesRequest& wanted,
                             const Status& done) {
  using Action = NamespacesRequest::Action;
  if (!done) {
    const Errc code = done.error().code;
    const int status = code == Errc::NotFound ? 404 : code == Errc::AlreadyExists ? 409 : 503;
    const char* id = status == 404 ? "not-found" : status == 409 ? "conflict" : "not-stored";
    return respond_error(request, status, {id, done.error().text});
  }
  const Scheduler& scheduler = plane_->scheduler();
  std::map<std::string, NamespaceRecord> all = scheduler.namespaces();
  for (const auto& [key, view] : scheduler.workloads()) {
    all.try_emplace(view.workload.ns).first->second.ns = view.workload.ns;
  }
  NamespacesReply reply;
  for (const auto& [ns, one] : all) {
    if (wanted.action != Action::List && ns != wanted.record.ns) continue;
    reply.namespaces.push_back({one, scheduler.use_of(ns), plane_->namespace_revision(ns)});
  }
  if (wanted.action == Action::Get && reply.namespaces.empty()) {
    return respond_error(request, 404, {"not-found", "there is no namespace " + wanted.record.ns});
  }
  respond(request, encode(reply));
}

}  // namespace brokkr::workload
