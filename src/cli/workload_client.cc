#include "cli/workload_client.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "cli/connect.h"

namespace brokkr::cli {
namespace {

// How long after one node's answer another's may still come.
constexpr Duration kNodesStall = std::chrono::milliseconds(150);
// A first function starts an engine; a node under load may take its time.
constexpr Duration kDeployTimeoutMin = std::chrono::seconds(30);
// A node that waits answers a little after what it was told to wait.
constexpr Duration kReplyMargin = std::chrono::seconds(5);
// How long one waits for an answer before one asks again, a little longer each time: often enough that of two
// nodes the frozen one is not asked each time.
constexpr Duration kAskAgainMin = std::chrono::milliseconds(250);
constexpr Duration kAskAgainMax = std::chrono::seconds(1);
constexpr const char* kNotKept = "not kept: it is gone when its node ends, as no node keeps desired state";

Errc code_of(std::string_view status) {
  if (status == "404") return Errc::NotFound;
  if (status == "400") return Errc::InvalidArgument;
  if (status == "403") return Errc::PermissionDenied;
  if (status == "409") return Errc::AlreadyExists;
  if (status == "408" || status == "504") return Errc::TimedOut;
  return Errc::Unavailable;
}

// A node says its errors in headers and, in more words, in the body.
Status check_answer(const client::OwnedMessage& answer) {
  const client::Message view = answer.view();
  const std::string_view code = view.header("Nats-Service-Error-Code");
  if (code.empty()) return {};
  std::string text(view.header("Nats-Service-Error"));
  if (auto body = workload::decode_control_error(answer.payload); body && !body->error.empty()) {
    text = body->error;
  }
  return Error{code_of(code), text};
}

// As nodes have it: it becomes a subject token.
bool is_namespace(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

Error nobody() {
  return {Errc::Unavailable,
          "no workload node answers; start one with 'brokkr up' or 'brokkr node up'"};
}

Error plain(Error error) {
  if (error.code == Errc::NoResponders) return nobody();
  return error;
}

}  // namespace

Flag namespace_flag() {
  return {"namespace,ns", "Namespace of the workloads", Kind::Text, "", "default", "NEX_NAMESPACE"};
}

Result<std::unique_ptr<WorkloadClient>> WorkloadClient::connect(const Context& context,
                                                                const Values& values) {
  std::string ns = values.text("namespace");
  if (ns.empty()) ns = workload::kDefaultNamespace;
  if (!is_namespace(ns)) {
    return Error{Errc::InvalidArgument,
                 "namespace \"" + ns + "\" is not valid: letters, digits, - and _ only"};
  }
  auto session = cli::connect(context, values);
  if (!session) return session.error();
  std::unique_ptr<WorkloadClient> workloads(new WorkloadClient());
  workloads->session_ = std::move(*session);
  workloads->ns_ = std::move(ns);
  workloads->timeout_ = values.duration("timeout");
  return workloads;
}

Result<client::OwnedMessage> WorkloadClient::ask(const std::string& subject, std::string_view body,
                                                 Duration more) {
  auto answer = session_->request(subject, body, timeout_ + more);
  if (!answer) return plain(answer.error());
  if (Status fine = check_answer(*answer); !fine) return fine.error();
  return answer;
}

Result<std::vector<client::OwnedMessage>> WorkloadClient::ask_all(const std::string& subject,
                                                                  std::string_view body) {
  client::ManyOptions many;
  many.timeout = timeout_;
  many.stall = kNodesStall;
  return session_->request_many(subject, body, many);
}

Result<std::vector<workload::NodePing>> WorkloadClient::nodes() {
  auto answers = ask_all(workload::control_subject(workload::kSystemNamespace, "PING"), "{}");
  if (!answers) return answers.error();
  std::vector<workload::NodePing> nodes;
  for (const auto& answer : *answers) {
    auto node = workload::decode_node_ping(answer.payload);
    if (node) nodes.push_back(std::move(*node));
  }
  if (nodes.empty()) return nobody();
  std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) {
    return std::tie(a.name, a.node_id) < std::tie(b.name, b.node_id);
  });
  return nodes;
}

Result<workload::NodePing> WorkloadClient::node(std::string_view wanted) {
  auto found = nodes();
  if (!found) return found.error();
  std::vector<std::string> names;
  for (workload::NodePing& one : *found) {
    if (wanted.empty() || one.node_id == wanted || one.name == wanted) {
      if (!wanted.empty() || found->size() == 1) return std::move(one);
    }
    names.push_back(one.name.empty() ? one.node_id : one.name);
  }
  std::string list;
  for (const std::string& name : names) (list += list.empty() ? "" : ", ") += name;
  if (wanted.empty()) return Error{Errc::InvalidArgument, "several nodes answer, say which: " + list};
  return Error{Errc::NotFound, "no node \"" + std::string(wanted) + "\"; there is " + list};
}

Result<workload::NodeInfo> WorkloadClient::node_info(const std::string& node_id) {
  auto answer = ask(workload::control_subject(workload::kSystemNamespace, "INFO", node_id), "{}");
  if (!answer) return answer.error();
  return workload::decode_node_info(answer->payload);
}

Result<workload::LameduckReply> WorkloadClient::lameduck(const std::string& node_id,
                                                         const std::string& delay) {
  auto answer = ask(workload::control_subject(workload::kSystemNamespace, "LAMEDUCK", node_id),
                    workload::encode(workload::LameduckRequest{delay, {}}));
  if (!answer) return answer.error();
  return workload::decode_lameduck_reply(answer->payload);
}

Result<client::OwnedMessage> WorkloadClient::ask_any(const std::string& subject, std::string body, Duration total,
                                                     const Callback<std::string()>& next_body) {
  client::Connection& connection = session_->connection();
  const MonotonicTime deadline = session_->clock().now() + total;
  std::vector<client::RequestId> requests;
  size_t open = 0;
  std::optional<Result<client::OwnedMessage>> answer;
  const auto on_answer = [&](const Result<client::Message>& result) {
    --open;
    // One that cannot now may be followed by one that can.
    const bool is_unable = result && result->header("Nats-Service-Error-Code") == "503";
    if (answer || ((!result || is_unable) && open > 0)) return;
    if (result) {
      answer.emplace(client::OwnedMessage(*result));
    } else {
      answer.emplace(result.error());
    }
  };
  Duration pause = std::clamp<Duration>(total / 20, kAskAgainMin, kAskAgainMax);
  while (!answer && !body.empty()) {
    const Duration rest = deadline - session_->clock().now();
    if (rest <= Duration::zero()) break;
    auto started = connection.request(subject, body, rest, on_answer);
    if (!started) {
      answer.emplace(started.error());
      break;
    }
    ++open;
    requests.push_back(*started);
    client::run_until(session_->loop(), std::min(pause, rest), [&] { return answer.has_value(); });
    pause += pause / 16;
    if (!answer) body = next_body ? next_body() : std::string();
  }
  const Duration rest = deadline - session_->clock().now() + kAskAgainMin;
  if (!answer) client::run_until(session_->loop(), rest, [&] { return answer.has_value(); });
  for (const client::RequestId request : requests) connection.cancel(request);
  if (!answer) return Error{Errc::TimedOut, "no node answered in time"};
  return std::move(*answer);
}

Result<workload::RolloutStatus> WorkloadClient::apply(workload::ApplyRequest request,
                                                      const Callback<Status(workload::ApplyRequest&)>& renew) {
  request.request_id = Nuid(session_->random()).next();
  const auto run = workload::decode_run_request(request.deploy.run_request);
  const bool may_repeat = renew || (run && run->workload_jwt.empty());
  auto answer = ask_any(workload::control_subject(request.deploy.ns, "APPLY"), workload::encode(request),
                        timeout_ + std::chrono::milliseconds(request.wait_ms) + kReplyMargin, [&]() -> std::string {
                          if (!may_repeat || (renew && !renew(request))) return {};
                          return workload::encode(request);
                        });
  if (answer) {
    if (Status fine = check_answer(*answer); !fine) return fine.error();
    return workload::decode_rollout_status(answer->payload);
  }
  if (answer.error().code != Errc::NoResponders) return answer.error();
  // Nobody keeps desired state here: no JetStream, or nodes of another make.
  auto status = deploy_one(request);
  if (status) status->message = kNotKept;
  return status;
}

Result<workload::RolloutStatus> WorkloadClient::deploy_one(const workload::ApplyRequest& request) {
  auto reply = deploy(request.deploy, request.node);
  if (!reply) return reply.error();
  workload::RolloutStatus status;
  status.id = reply->id;
  status.ns = request.deploy.ns;
  status.name = reply->name;
  status.workload_type = request.deploy.workload_type;
  status.workload_lifecycle = request.deploy.workload_lifecycle;
  status.replicas = status.updated = status.running = 1;
  status.state = "complete";
  workload::SlotStatus& slot = status.slots.emplace_back();
  slot.node = reply->node_id;
  slot.workload_id = reply->id;
  slot.state = "running";
  return status;
}

Result<workload::RolloutStatus> WorkloadClient::change(std::string_view verb, const std::string& workload,
                                                       std::string_view body, uint64_t wait_ms) {
  auto answer = ask(workload::control_subject(ns_, verb, workload), body,
                    std::chrono::milliseconds(wait_ms) + kReplyMargin);
  if (!answer) return answer.error();
  return workload::decode_rollout_status(answer->payload);
}

Result<workload::RolloutStatus> WorkloadClient::status(const std::string& workload) {
  auto answer = ask_any(workload::control_subject(ns_, "STATUS", workload), "{}", timeout_, [] { return std::string("{}"); });
  if (!answer) return plain(answer.error());
  if (Status fine = check_answer(*answer); !fine) return fine.error();
  return workload::decode_rollout_status(answer->payload);
}

Result<workload::RolloutStatus> WorkloadClient::scale(const std::string& workload,
                                                      const workload::ScaleRequest& request) {
  return change("SCALE", workload, workload::encode(request), request.wait_ms);
}

Result<workload::RolloutStatus> WorkloadClient::rollback(const std::string& workload,
                                                         const workload::RollbackRequest& request) {
  return change("ROLLBACK", workload, workload::encode(request), request.wait_ms);
}

Result<workload::RolloutStatus> WorkloadClient::move(const std::string& workload,
                                                     const workload::MoveRequest& request) {
  return change("MOVE", workload, workload::encode(request), request.wait_ms);
}

Result<std::vector<workload::RolloutStatus>> WorkloadClient::statuses() {
  auto answers = ask_all(workload::control_subject(ns_, "STATUS"), "{}");
  if (!answers) return answers.error();
  std::vector<workload::RolloutStatus> found;
  for (const auto& answer : *answers) {
    if (Status fine = check_answer(answer); !fine) return fine.error();
    auto part = workload::decode_rollout_statuses(answer.payload);
    if (!part) return part.error();
    for (auto& one : *part) found.push_back(std::move(one));
  }
  return found;
}

Result<workload::DeployRequest> WorkloadClient::clone(const std::string& workload, const std::string& xkey) {
  if (Status there = look_for(workload); !there) return there.error();
  auto answer = ask(workload::control_subject(ns_, "CLONE", workload),
                    workload::encode(workload::CloneRequest{ns_, xkey}));
  if (!answer) return answer.error();
  auto reply = workload::decode_clone_reply(answer->payload);
  if (!reply) return reply.error();
  return std::move(reply->start_workload_request);
}

Result<workload::LameduckReply> WorkloadClient::drain(const std::string& node_id,
                                                      const workload::DrainRequest& request) {
  auto answer = ask(workload::control_subject(workload::kSystemNamespace, "DRAIN", node_id),
                    workload::encode(request), kReplyMargin);
  if (!answer) return answer.error();
  return workload::decode_lameduck_reply(answer->payload);
}

Result<workload::NamespacesReply> WorkloadClient::namespaces(const workload::NamespacesRequest& request) {
  auto answer = ask(workload::control_subject(workload::kSystemNamespace, "NAMESPACES"), workload::encode(request));
  if (!answer) return answer.error();
  return workload::decode_namespaces_reply(answer->payload);
}

Result<std::vector<workload::InvocationsReply>> WorkloadClient::invocations(
    const std::string& workload, const workload::InvocationsRequest& request) {
  if (Status there = look_for(workload); !there) return there.error();
  auto answers = ask_all(workload::control_subject(ns_, "INVOCATIONS", workload), workload::encode(request));
  if (!answers) return answers.error();
  std::vector<workload::InvocationsReply> found;
  for (const auto& answer : *answers) {
    if (Status fine = check_answer(answer); !fine) return fine.error();
    auto one = workload::decode_invocations_reply(answer.payload);
    if (!one) return one.error();
    found.push_back(std::move(*one));
  }
  return found;
}

Result<workload::SecretsReply> WorkloadClient::secrets(const workload::SecretsRequest& request) {
  const std::string body = workload::encode(request);
  const bool is_question = request.action == workload::SecretsRequest::Action::List;
  auto answer = ask_any(workload::control_subject(ns_, "SECRETS"), body, timeout_,
                        [&] { return is_question ? body : std::string(); });
  if (!answer) return plain(answer.error());
  if (Status fine = check_answer(*answer); !fine) return fine.error();
  return workload::decode_secrets_reply(answer->payload);
}

Result<workload::DeployReply> WorkloadClient::deploy(const workload::DeployRequest& request,
                                                     const std::string& wanted) {
  const std::string body = workload::encode(request);
  const auto limit = session_->connection().server_info().max_payload;
  if (limit > 0 && body.size() > static_cast<uint64_t>(limit)) {
    return Error{Errc::LimitExceeded,
                 "the artifact makes a message of " + format_bytes(body.size()) +
                     ", the server takes " + format_bytes(static_cast<uint64_t>(limit)) +
                     "; larger artifacts need JetStream"};
  }
  std::string bidder;
  if (!wanted.empty()) {
    auto chosen = node(wanted);
    if (!chosen) return chosen.error();
    bidder = chosen->node_id;
  } else {
    workload::AuctionRequest auction;
    auction.auction_id = session_->connection().make_inbox();
    auction.agent_type = request.workload_type;
    auction.tags = request.tags;
    const std::string question = workload::encode(auction);
    auto bid = ask_any(workload::control_subject(request.ns.empty() ? ns_ : request.ns, "AUCTION"), question, timeout_,
                       [&] { return question; });
    if (!bid && bid.error().code == Errc::TimedOut) {
      return Error{Errc::Unavailable, "no node takes workloads of type " + request.workload_type};
    }
    if (!bid) return plain(bid.error());
    if (Status fine = check_answer(*bid); !fine) return fine.error();
    auto reply = workload::decode_auction_reply(bid->payload);
    if (!reply) return reply.error();
    bidder = reply->bidder_id;
  }
  auto answer = session_->request(workload::control_subject(request.ns.empty() ? ns_ : request.ns, "ADEPLOY", bidder), body,
                                  std::max(timeout_, kDeployTimeoutMin));
  if (!answer) return plain(answer.error());
  if (Status fine = check_answer(*answer); !fine) return fine.error();
  return workload::decode_deploy_reply(answer->payload);
}

Result<std::vector<workload::WorkloadSummary>> WorkloadClient::list(
    const std::vector<std::string>& filter) {
  workload::WorkloadPingRequest request{ns_, filter};
  auto answers = ask_all(workload::control_subject(ns_, "WPING"), workload::encode(request));
  if (!answers) return answers.error();
  std::vector<workload::WorkloadSummary> found;
  for (const auto& answer : *answers) {
    if (Status fine = check_answer(answer); !fine) return fine.error();
    auto part = workload::decode_workload_summaries(answer.payload);
    if (!part) return part.error();
    for (workload::WorkloadSummary& one : *part) found.push_back(std::move(one));
  }
  if (found.empty()) {
    // Nothing there and nobody there are different answers.
    if (auto there = nodes(); !there) return there.error();
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
  return found;
}

// Nodes without the workload stay silent, so it is looked for first.
Result<workload::WorkloadInfo> WorkloadClient::info(const std::string& wanted) {
  auto found = list({wanted});
  if (!found) return found.error();
  if (found->empty()) {
    return Error{Errc::NotFound, "no workload \"" + wanted + "\" in namespace \"" + ns_ + "\""};
  }
  return info_of(found->front().id);
}

Result<workload::WorkloadInfo> WorkloadClient::info_of(const std::string& id) {
  auto answer = ask(workload::control_subject(ns_, "WINFO", id),
                    workload::encode(workload::WorkloadPingRequest{ns_, {}}));
  if (!answer) return answer.error();
  return workload::decode_workload_info(answer->payload);
}

Result<workload::WorkloadLog> WorkloadClient::log(const std::string& id,
                                                  Callback<void()> on_answer) {
  std::optional<Result<client::OwnedMessage>> answer;
  auto started = session_->connection().request(
      workload::control_subject(ns_, "WLOGS", id), "{}", timeout_,
      [&](const Result<client::Message>& result) {
        if (result) {
          answer.emplace(client::OwnedMessage(*result));
        } else {
          answer.emplace(result.error());
        }
        on_answer();
      });
  if (!started) return started.error();
  client::run_until(session_->loop(), timeout_ + std::chrono::seconds(1), [&] { return answer.has_value(); });
  if (!answer) {
    session_->connection().cancel(*started);
    return Error{Errc::TimedOut, "no answer about the log of " + id};
  }
  if (!*answer) return plain(answer->error());
  if (Status fine = check_answer(**answer); !fine) return fine.error();
  return workload::decode_workload_log((*answer)->payload);
}

// Nodes are silent about what they do not have.
Status WorkloadClient::look_for(const std::string& wanted) {
  auto found = list({wanted});
  if (!found) return found.error();
  // One that is wanted but runs nowhere is known too.
  if (!found->empty() || status(wanted)) return {};
  return Error{Errc::NotFound, "no workload \"" + wanted + "\" in namespace \"" + ns_ + "\""};
}

Result<workload::UndeployReply> WorkloadClient::stop(const std::string& wanted) {
  if (Status there = look_for(wanted); !there) return there.error();
  auto answer = ask(workload::control_subject(ns_, "UNDEPLOY", wanted),
                    workload::encode(workload::UndeployRequest{ns_}), kReplyMargin);
  if (!answer) return answer.error();
  return workload::decode_undeploy_reply(answer->payload);
}

}  // namespace brokkr::cli
