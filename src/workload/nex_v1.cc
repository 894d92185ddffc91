#include "workload/nex_v1.h"

#include <algorithm>

#include "base/bytes.h"

namespace brokkr::workload {
namespace {

constexpr Duration kNodeTimeout = std::chrono::seconds(35);

}  // namespace

NexV1::NexV1(const Deps& deps, Options options)
    : deps_(deps), options_(std::move(options)) {}

NexV1::~NexV1() { *alive_ = false; }

Result<std::unique_ptr<NexV1>> NexV1::start(const Deps& deps, Options options) {
  std::unique_ptr<NexV1> v1(new NexV1(deps, std::move(options)));
  const std::string& id = v1->options_.node_id;
  const std::pair<std::string, void (NexV1::*)(const client::Message&)> subjects[] = {
      {"$NEX.PING", &NexV1::on_ping},
      {"$NEX.PING." + id, &NexV1::on_ping},
      {"$NEX.AUCTION", &NexV1::on_auction},
      {"$NEX.WPING.>", &NexV1::on_workload_ping},
      {"$NEX.INFO.*." + id, &NexV1::on_info},
      {"$NEX.DEPLOY.*." + id, &NexV1::on_deploy},
      {"$NEX.RUN.*." + id, &NexV1::on_deploy},
      {"$NEX.STOP.*." + id, &NexV1::on_stop},
      {"$NEX.LAMEDUCK." + id, &NexV1::on_lameduck},
  };
  for (const auto& [subject, handler] : subjects) {
    if (Status s = v1->subscribe(subject, handler); !s) return s.error();
  }
  return v1;
}

Status NexV1::subscribe(std::string subject, void (NexV1::*handler)(const client::Message&)) {
  auto subscription = deps_.connection.subscribe(
      subject, [this, handler](const client::Message& message) { (this->*handler)(message); });
  if (!subscription) return subscription.error();
  subscriptions_.push_back(std::move(*subscription));
  return {};
}

void NexV1::respond(const std::string& reply, const std::string& body) {
  if (!reply.starts_with('_')) return;  // no inbox: the answer would be a message in our name
  if (const Status sent = deps_.connection.publish(reply, body); !sent) {
    deps_.log.debug("workload: a reply to nex was not sent: " + sent.error().text);
  }
}

void NexV1::ask_node(const std::string& subject, const std::string& body, Callback<void(Result<std::string>)> then) {
  auto shared = std::make_shared<Callback<void(Result<std::string>)>>(std::move(then));
  auto started = deps_.connection.request(
      subject, body, kNodeTimeout, [alive = alive_, shared](const Result<client::Message>& answer) {
        if (!*alive) return;
        if (!answer) return (*shared)(answer.error());
        const std::string_view code = answer->header("Nats-Service-Error-Code");
        if (code.empty()) return (*shared)(std::string(answer->payload));
        const auto error = decode_control_error(answer->payload);
        (*shared)(Error{Errc::Unavailable, error ? error->error : std::string(answer->header("Nats-Service-Error"))});
      });
  if (!started) (*shared)(started.error());
}

void NexV1::on_ping(const client::Message& message) { respond(std::string(message.reply), v1::ping_response(options_.facts(), "ping")); }

void NexV1::on_auction(const client::Message& message) {
  // Silence says no.
  if (!options_.takes_work()) return;
  const v1::NodeFacts node = options_.facts();
  if (!v1::is_viable(v1::decode_auction(message.payload), node, options_.is_sandboxed)) return;
  respond(std::string(message.reply), v1::ping_response(node, "auction"));
}

// "$NEX.WPING.<ns>" and "$NEX.WPING.<ns>.<workload id or name>"; silence when nothing is meant.
void NexV1::on_workload_ping(const client::Message& message) {
  v1::NodeFacts node = options_.facts();
  const std::string_view ns = message.token(2);
  const std::string_view wanted = message.token(3);
  std::erase_if(node.workloads, [&](const WorkloadInfo& one) {
    return one.summary.ns != ns || (!wanted.empty() && one.summary.id != wanted && one.summary.name != wanted);
  });
  if (!node.workloads.empty()) respond(std::string(message.reply), v1::workload_ping_response(node));
}

void NexV1::on_info(const client::Message& message) {
  v1::NodeFacts node = options_.facts();
  const std::string_view ns = message.token(2);
  std::erase_if(node.workloads, [&](const WorkloadInfo& one) { return one.summary.ns != ns; });
  respond(std::string(message.reply), v1::info_response(node));
}

void NexV1::on_deploy(const client::Message& message) {
  const std::string reply(message.reply);
  auto deploy = v1::decode_deploy(message.payload, options_.issuers);
  if (!deploy) return respond(reply, v1::failure("run", deploy.error().text));
  deploy->request.ns = message.token(2);
  deploy->request.run_request = encode(deploy->run);
  ask_node(control_subject(deploy->request.ns, "ADEPLOY", options_.node_id), encode(deploy->request),
           [this, reply, token = deploy->token](const Result<std::string>& body) {
             const auto done = body ? decode_deploy_reply(*body) : Result<DeployReply>(body.error());
             if (!done) return respond(reply, v1::failure("run", done.error().text));
             forget_gone();
             deployed_[done->id] = token;
             respond(reply, v1::run_response(done->id, token.issuer, done->name));
           });
}

void NexV1::forget_gone() {
  const auto workloads = options_.facts().workloads;
  std::erase_if(deployed_, [&](const auto& entry) {
    return std::none_of(workloads.begin(), workloads.end(),
                        [&](const WorkloadInfo& one) { return one.summary.id == entry.first; });
  });
}

void NexV1::on_stop(const client::Message& message) {
  const std::string reply(message.reply);
  const auto stop = v1::decode_stop(message.payload, options_.issuers);
  if (!stop) return respond(reply, v1::failure("stop", stop.error().text));
  const auto workloads = options_.facts().workloads;
  const auto found = std::find_if(workloads.begin(), workloads.end(), [&](const WorkloadInfo& one) {
    return one.summary.id == stop->workload_id && one.summary.ns == message.token(2);
  });
  if (found == workloads.end()) return respond(reply, v1::failure("stop", "No such workload"));
  const auto known = deployed_.find(stop->workload_id);
  // What another way deployed nobody signed in words of 0.2.7; the name must be right at least.
  const v1::Token before = known != deployed_.end() ? known->second
                                                    : v1::Token{stop->token.issuer, found->summary.name, "", 0, ""};
  if (Status fine = v1::check_stop(stop->token, before); !fine) {
    return respond(reply, v1::failure("stop", "Invalid stop request: " + fine.error().text));
  }
  ask_node(control_subject(found->summary.ns, "UNDEPLOY", stop->workload_id), encode(UndeployRequest{found->summary.ns}),
           [this, reply, id = stop->workload_id, token = stop->token](const Result<std::string>& body) {
             if (!body) return respond(reply, v1::failure("stop", "Failed to stop workload: " + body.error().text));
             deployed_.erase(id);
             respond(reply, v1::stop_response(id, token.issuer, token.subject));
           });
}

void NexV1::on_lameduck(const client::Message& message) {
  ask_node(control_subject(kSystemNamespace, "LAMEDUCK", options_.node_id), encode(LameduckRequest{}),
           [this, reply = std::string(message.reply)](const Result<std::string>& body) {
             if (!body) return respond(reply, v1::failure("lameduck", body.error().text));
             respond(reply, v1::lameduck_response(options_.node_id, true));
           });
}

}  // namespace brokkr::workload
