#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "client/sync.h"
#include "workload/control.h"
#include "workload/control_desired.h"
#include "workload/control_invocations.h"
#include "workload/secrets.h"

namespace brokkr::cli {

Flag namespace_flag();

// Asks nodes by their control API, one question at a time. Errors of a node come back with its own
// words. Confined to the thread that calls.
class WorkloadClient {
 public:
  static Result<std::unique_ptr<WorkloadClient>> connect(const Context&, const Values&);

  client::Session& session() { return *session_; }
  const std::string& ns() const { return ns_; }
  // From now on lists are of every namespace; nodes give them to the system namespace.
  void see_all_namespaces() { ns_ = workload::kSystemNamespace; }

  // Every node that answers, in order of name.
  Result<std::vector<workload::NodePing>> nodes();
  // The node of that id or name, or the only one when `wanted` is empty.
  Result<workload::NodePing> node(std::string_view wanted);
  Result<workload::NodeInfo> node_info(const std::string& node_id);
  Result<workload::LameduckReply> lameduck(const std::string& node_id, const std::string& delay);

  // Keeps it as desired state and waits as the request says; where no node does that, deploys it on one
  // node, which forgets it when it ends.
  // While no node answers it is asked again: a queue group may choose one that is frozen. `renew` makes
  // the request fit to be sent once more (a signature is good for one); without it a signed one is not.
  Result<workload::RolloutStatus> apply(workload::ApplyRequest, const Callback<Status(workload::ApplyRequest&)>& renew = {});
  // Deploys on one node; it becomes desired state, where that is kept, once it runs. What fails to start
  // changes nothing.
  Result<workload::RolloutStatus> deploy_one(const workload::ApplyRequest&);
  // Picks the node by auction unless one is named.
  Result<workload::DeployReply> deploy(const workload::DeployRequest&, const std::string& node);

  // Desired state. NotFound when nothing of that name or id is desired.
  Result<std::vector<workload::RolloutStatus>> statuses();
  Result<workload::RolloutStatus> status(const std::string& workload);
  Result<workload::RolloutStatus> scale(const std::string& workload, const workload::ScaleRequest&);
  Result<workload::RolloutStatus> rollback(const std::string& workload, const workload::RollbackRequest&);
  Result<workload::RolloutStatus> move(const std::string& workload, const workload::MoveRequest&);
  Result<workload::DeployRequest> clone(const std::string& workload, const std::string& xkey);
  Result<workload::LameduckReply> drain(const std::string& node_id, const workload::DrainRequest&);
  Result<workload::NamespacesReply> namespaces(const workload::NamespacesRequest&);
  // One for each node that runs it.
  Result<std::vector<workload::InvocationsReply>> invocations(const std::string& workload,
                                                              const workload::InvocationsRequest&);
  Result<workload::SecretsReply> secrets(const workload::SecretsRequest&);

  // In order of name.
  Result<std::vector<workload::WorkloadSummary>> list(const std::vector<std::string>& filter);
  Result<workload::WorkloadInfo> info(const std::string& workload);
  // The same when the id is known.
  Result<workload::WorkloadInfo> info_of(const std::string& id);
  // What the workload of that id wrote lately; `on_answer` is called in the order of messages, from
  // within, so that it may tell those before from those after.
  Result<workload::WorkloadLog> log(const std::string& id, Callback<void()> on_answer);
  Result<workload::UndeployReply> stop(const std::string& workload);

 private:
  WorkloadClient() = default;
  // One answer; an error answer becomes an Error.
  Result<client::OwnedMessage> ask(const std::string& subject, std::string_view body, Duration more = {});
  // One answer of whichever node takes the question, asked anew while none comes. `next_body` gives the
  // text of each further request, or empty when there is to be none.
  Result<client::OwnedMessage> ask_any(const std::string& subject, std::string body, Duration total,
                                       const Callback<std::string()>& next_body);
  // A verb on one desired workload; `wait_ms` is how long the answer may take beyond the usual.
  Result<workload::RolloutStatus> change(std::string_view verb, const std::string& workload, std::string_view body,
                                         uint64_t wait_ms);
  Result<std::vector<client::OwnedMessage>> ask_all(const std::string& subject, std::string_view body);
  Status look_for(const std::string& workload);

  std::unique_ptr<client::Session> session_;
  std::string ns_;
  Duration timeout_{};
};

}  // namespace brokkr::cli
