#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "client/sync.h"
#include "workload/control.h"

namespace brokkr::cli {

Flag namespace_flag();

// Asks nodes by their control API, one question at a time. Errors of a node come back with its own
// words. Confined to the thread that calls.
class WorkloadClient {
 public:
  static Result<std::unique_ptr<WorkloadClient>> connect(const Context&, const Values&);

  client::Session& session() { return *session_; }
  const std::string& ns() const { return ns_; }

  // Every node that answers, in order of name.
  Result<std::vector<workload::NodePing>> nodes();
  // The node of that id or name, or the only one when `wanted` is empty.
  Result<workload::NodePing> node(std::string_view wanted);
  Result<workload::NodeInfo> node_info(const std::string& node_id);
  Result<workload::LameduckReply> lameduck(const std::string& node_id, const std::string& delay);

  // Picks the node by auction unless one is named.
  Result<workload::DeployReply> deploy(const workload::DeployRequest&, const std::string& node);
  // In order of name.
  Result<std::vector<workload::WorkloadSummary>> list(const std::vector<std::string>& filter);
  Result<workload::WorkloadInfo> info(const std::string& workload);
  // What the workload of that id wrote lately; `on_answer` is called in the order of messages, from
  // within, so that it may tell those before from those after.
  Result<workload::WorkloadLog> log(const std::string& id, Callback<void()> on_answer);
  Result<workload::UndeployReply> stop(const std::string& workload);

 private:
  WorkloadClient() = default;
  // One answer; an error answer becomes an Error.
  Result<client::OwnedMessage> ask(const std::string& subject, std::string_view body);
  Result<std::vector<client::OwnedMessage>> ask_all(const std::string& subject, std::string_view body);

  std::unique_ptr<client::Session> session_;
  std::string ns_;
  Duration timeout_{};
};

}  // namespace brokkr::cli
