// The control API of a node: one handler an endpoint.
#include <algorithm>
#include <string>
#include <tuple>

#include "base/bytes.h"
#include "base/json.h"
#include "subject/subject.h"
#include "workload/image_reference.h"
#include "workload/json_members.h"
#include "workload/node.h"

namespace brokkr::workload {
namespace {

constexpr size_t kNamespaceToken = 2;  // $NEX.SVC.<ns>.control.<verb>.<argument>
constexpr size_t kArgumentToken = 5;
constexpr auto kUndeployGrace = std::chrono::seconds(2);
// How many deploys wait how long to learn whether there is JetStream.
constexpr size_t kUndecidedMax = 256;
// Shorter than anybody waits for a deploy, longer than a cluster needs to choose its leaders.
constexpr auto kUndecidedTime = std::chrono::seconds(8);
constexpr Duration kHeartbeatInterval = std::chrono::seconds(10);
// Of one message of a reply in several.
constexpr size_t kReplyBytesMax = 400U << 10;
// Errors repeat what they are about; one that is as long as the request would not fit an answer twice.
constexpr size_t kErrorBytesMax = 4096;
constexpr size_t kErrorLineMax = 512;

std::string_view namespace_of(const client::ServiceRequest& request) {
  return subject::token_at(request.message().subject, kNamespaceToken);
}

std::string_view argument_of(const client::ServiceRequest& request) {
  return subject::token_at(request.message().subject, kArgumentToken);
}

// Never half a UTF-8 character.
std::string shorten(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

// Sends a list in as many messages as it takes.
template <typename Item>
void send_in_parts(client::Connection& connection, client::ServiceRequest& request,
                   const std::vector<Item>& items) {
  const std::string reply(request.message().reply);
  if (!reply.starts_with('_')) return;  // as the service has it
  std::vector<Item> part;
  size_t bytes = 0;
  for (const Item& item : items) {
    const size_t size = encode(std::vector<Item>{item}).size();
    if (bytes + size > kReplyBytesMax && !part.empty()) {
      // Those before the last go around the service, whose answers are one a request.
      const Status sent = connection.publish(reply, encode(part));
      if (!sent) break;
      part.clear();
      bytes = 0;
    }
    bytes += size;
    part.push_back(item);
  }
  const Status sent = request.respond(encode(part));
  if (!sent) part.clear();
}

}  // namespace

Result<std::string> namespace_meant(const client::ServiceRequest& request, const std::string& named) {
  const std::string_view said = namespace_of(request);
  if (named.empty() || named == said) return std::string(said);
  if (said == kSystemNamespace) return named;
  return Error{Errc::PermissionDenied,
               "namespace \"" + named + "\" is not that of the subject, \"" + std::string(said) + "\""};
}

Status Node::add_endpoint(std::string name, std::string_view ns, std::string_view verb,
                          std::string_view argument,
                          void (Node::*handler)(client::ServiceRequest)) {
  client::Service::Endpoint endpoint;
  endpoint.name = std::move(name);
  endpoint.subject = control_subject(ns, verb, argument);
  // Every node hears every request; those that a request does not concern stay silent.
  endpoint.is_queue_disabled = true;
  const auto added = service_->add_endpoint(
      std::move(endpoint),
      [this, handler, span = std::string(verb)](client::ServiceRequest request) {
        if (control_spans_ != nullptr) control_spans_->begin(request.message(), span);
        (this->*handler)(std::move(request));
      });
  return added ? Status() : Status(added.error());
}

Status Node::add_endpoints() {
  const std::string_view system = kSystemNamespace;
  const struct {
    const char* name;
    std::string_view ns;
    const char* verb;
    std::string_view argument;
    void (Node::*handler)(client::ServiceRequest);
  } endpoints[] = {
      {"PingNexus", system, "PING", {}, &Node::on_ping},
      {"PingNode", system, "PING", id_, &Node::on_ping},
      {"PlacementTags", system, "PTAGS", {}, &Node::on_tags},
      {"AgentIdByName", system, "AGENTID", id_, &Node::on_agent_id},
      {"GetNodeInfo", system, "INFO", id_, &Node::on_info},
      {"SetLameduck", system, "LAMEDUCK", id_, &Node::on_lameduck},
      {"AuctionRequest", "*", "AUCTION", {}, &Node::on_auction},
      {"AuctionDeployWorkload", "*", "ADEPLOY", id_, &Node::on_deploy},
      {"StopWorkload", "*", "UNDEPLOY", "*", &Node::on_undeploy},
      {"NamespacePing", "*", "WPING", {}, &Node::on_workload_ping},
      {"WorkloadPing", "*", "WPING", "*", &Node::on_workload_ping},
      {"WorkloadInfo", "*", "WINFO", "*", &Node::on_workload_info},
      {"WorkloadLog", "*", "WLOGS", "*", &Node::on_workload_log},
      {"Invocations", "*", "INVOCATIONS", "*", &Node::on_invocations},
      {"CloneWorkload", "*", "CLONE", "*", &Node::on_clone},
      {"DrainNode", system, "DRAIN", id_, &Node::on_drain},
  };
  for (const auto& e : endpoints) {
    if (Status s = add_endpoint(e.name, e.ns, e.verb, e.argument, e.handler); !s) return s;
  }
  return {};
}

void Node::respond(client::ServiceRequest& request, const std::string& body) {
  if (control_spans_ != nullptr) control_spans_->end(request.reply(), 200, {});
  if (const Status sent = request.respond(body); !sent) {
    deps_.log.debug("workload: a control reply was not sent: " + sent.error().text);
  }
}

void Node::respond_error(client::ServiceRequest& request, int code, const ControlError& error) {
  // The description becomes a header: one line.
  const std::string line = shorten(error.error.substr(0, error.error.find_first_of("\r\n")), kErrorLineMax);
  if (control_spans_ != nullptr) control_spans_->end(request.reply(), code, line);
  const Status sent =
      request.respond_error(code, line, encode(ControlError{error.error_id, shorten(error.error, kErrorBytesMax)}));
  if (!sent) deps_.log.debug("workload: a control reply was not sent: " + sent.error().text);
}

void Node::on_ping(client::ServiceRequest request) {
  const auto wanted = decode_node_ping_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  if (!has_tags(wanted->filter)) return;
  const NodeInfo facts = info();
  NodePing ping;
  ping.node_id = id_;
  ping.xkey = facts.xkey;
  ping.version = options_.version;
  ping.start_time = format_rfc3339(started_wall_);
  ping.tags = facts.tags;
  ping.state = facts.state;
  ping.agent_count = static_cast<uint32_t>(facts.agents.size());
  ping.name = options_.name;
  ping.nexus = options_.nexus;
  ping.workload_count = static_cast<uint32_t>(names_.size());
  respond(request, encode(ping));
}

void Node::on_tags(client::ServiceRequest request) {
  json::Writer out;
  out.begin_object();
  for (const auto& [tag, value] : tags()) out.field(tag, value);
  respond(request, out.end_object().take());
}

// The id of the agent of that name, as bare text; agents are part of the node, one for each type.
void Node::on_agent_id(client::ServiceRequest request) {
  const std::string name(request.message().payload);
  if (name.empty()) return respond_error(request, 400, {"bad-request", "agent name is required"});
  for (const AgentSummary& agent : info().agents) {
    if (agent.name == name) return respond(request, agent.agent_id);
  }
}

void Node::beat() {
  heartbeat_.start(kHeartbeatInterval);
  std::string registrations;
  for (const std::string& type : factory_->types()) {
    registrations += (registrations.empty() ? "" : ", ") + id_ + "-" + type + " [" + type + "]";
  }
  json::Writer out;
  out.begin_object().field("registrations", registrations).end_object();
  const Status sent = connection_->publish(control_subject(kSystemNamespace, "HEARTBEAT", id_), out.text());
  if (!sent) deps_.log.debug("workload: heartbeat not sent: " + sent.error().text);
}

void Node::start_feeds() {
  json::Writer event;
  event.begin_object().field("type", "io.synadia.nex.event.nexnode_started").field("id", id_);
  event.field("name", options_.name).field("nexus", options_.nexus);
  write_pairs(event, "tags", tags());
  publish_node_event("NODESTARTED", event.end_object().text());
  if (v1_feed_ != nullptr) v1_feed_->node_started();
  beat();
  if (options_.metrics_interval <= Duration::zero()) return;
  metrics_feed_ = std::make_unique<MetricsFeed>(
      MetricsFeed::Deps{deps_.loop, *connection_,
                        [this] {
                          std::vector<std::string> ids;
                          for (const auto& [id, workload] : workloads_) ids.push_back(id);
                          return ids;
                        },
                        [this](const std::string& id) -> const Workload* {
                          const auto found = workloads_.find(id);
                          return found == workloads_.end() ? nullptr : found->second.get();
                        }},
      id_, options_.metrics_interval);
}

// Nex has its node's id where others have a namespace; here they are also where operators look.
void Node::publish_node_event(std::string_view type, std::string_view json) {
  publish_event(kSystemNamespace, type, json);
  publish_event(id_, type, json);
}

void Node::on_info(client::ServiceRequest request) { respond(request, encode(info())); }

void Node::on_lameduck(client::ServiceRequest request) {
  const auto wanted = decode_lameduck_request(request.message().payload);
  Duration delay{};
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  if (!parse_go_duration(wanted->delay, delay) || delay < Duration::zero()) {
    return respond_error(request, 400, {"bad-request", "\"delay\" is no duration"});
  }
  if (!has_tags(wanted->tag)) return;
  become_lame(delay);
  respond(request, encode(LameduckReply{true, "functions stop in " + format_go_duration(delay)}));
}

void Node::become_lame(Duration delay) {
  state_ = State::Lameduck;
  plane_->set_draining(true);
  lameduck_.start(delay);
  json::Writer event;
  event.begin_object().field("id", id_);
  // When it is to be empty.
  event.field("time", format_rfc3339(deps_.loop.clock().wall_now() + delay));
  publish_node_event("NODELAMEDUCKSET", event.end_object().text());
  if (v1_feed_ != nullptr) v1_feed_->node_entered_lameduck();
}

void Node::on_drain(client::ServiceRequest request) {
  const auto wanted = decode_drain_request(request.message().payload);
  Duration delay{};
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  if (!parse_go_duration(wanted->delay, delay) || delay < Duration::zero()) {
    return respond_error(request, 400, {"bad-request", "\"delay\" is no duration"});
  }
  if (!wanted->is_cancelled) {
    become_lame(delay);
    return respond(request, encode(LameduckReply{true, "what nobody takes stops in " +
                                                           format_go_duration(delay)}));
  }
  if (state_ == State::Lameduck) {
    state_ = State::Running;
    lameduck_.stop();
    plane_->set_draining(false);
  }
  respond(request, encode(LameduckReply{true, "the node takes work"}));
}

void Node::on_auction(client::ServiceRequest request) {
  const auto wanted = decode_auction_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  // A node that cannot do it does not bid.
  if (state_ != State::Running || workloads_.size() >= options_.workloads_max) return;
  const Words lives = factory_->lifecycles(wanted->agent_type);
  if (lives.empty()) return;
  if (!has_tags(wanted->tags)) return;
  AuctionReply bid;
  bid.bidder_id = bid.node_id = id_;
  bid.xkey = identity_.xkey().public_key();
  bid.supported_lifecycles = lives;
  bid.start_request_schema = run_request_schema();
  respond(request, encode(bid));
}

Result<Deployment> Node::plan(std::string_view ns, const DeployRequest& request,
                              std::string& error_id) {
  if (state_ != State::Running) {
    error_id = "not-accepting";
    return Error{Errc::Unavailable, "the node takes no more workloads"};
  }
  if (workloads_.size() >= options_.workloads_max) {
    error_id = "no-capacity";
    return Error{Errc::Unavailable,
                 "the node has " + std::to_string(workloads_.size()) + " workloads, its limit"};
  }
  return factory_->plan(ns, request, error_id);
}

void Node::refuse(client::ServiceRequest& request, const Refusal& refusal) {
  const Errc code = refusal.error.code;
  const int status = refusal.error_id == "not-started"                        ? 500
                     : code == Errc::Unavailable || code == Errc::System      ? 503
                     : code == Errc::NotFound                                 ? 404
                     : refusal.error_id == "bad-signature"                    ? 403
                                                                              : 400;
  respond_error(request, status, {refusal.error_id, refusal.error.text});
}

void Node::on_deploy(client::ServiceRequest request) {
  const auto wanted = decode_deploy_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const auto ns = namespace_meant(request, wanted->ns);
  if (!ns) return respond_error(request, 403, {"other-namespace", ns.error().text});
  std::string error_id;
  Result<Deployment> planned = plan(*ns, *wanted, error_id);
  if (!planned) return refuse(request, {error_id, planned.error()});
  const auto pending = std::make_shared<client::ServiceRequest>(std::move(request));
  admit(std::move(*planned), *wanted, [this, pending](Result<Deployment> ready, const std::string& id) {
    if (!ready) return refuse(*pending, {id, ready.error()});
    const auto go_on = [this, pending, deployment = std::make_shared<Deployment>(std::move(*ready))] {
      if (plane_->is_ready()) return deploy_as_desired(std::move(*deployment), pending);
      // An acknowledged deploy must be there after a restart.
      if (plane_->is_probing()) {
        return refuse(*pending, {"not-ready", {Errc::Unavailable, "JetStream does not answer"}});
      }
      deploy_directly(std::move(*deployment), pending);
    };
    if (!plane_->is_probing() || undecided_.size() >= kUndecidedMax) return go_on();
    undecided_.emplace_back(go_on);
    if (!undecided_limit_.is_armed()) undecided_limit_.start(kUndecidedTime);
  });
}

void Node::prepare(Deployment deployment, Prepared done) {
  if (!SecretStore::needs_resolving(deployment.run)) return prepare_artifact(std::move(deployment), std::move(done));
  // Only whether they can be opened; they are when the program starts.
  const std::string ns = deployment.identity.ns;
  const RunRequest run = deployment.run;
  secrets_->resolve(ns, run, [this, deployment = std::move(deployment), done = std::move(done)](Result<Pairs> opened) mutable {
    if (!opened) return done(opened.error(), "no-secret");
    prepare_artifact(std::move(deployment), std::move(done));
  });
}

void Node::prepare_artifact(Deployment deployment, Prepared done) {
  if (!deployment.run.artifact.empty()) {
    std::string bytes = std::move(deployment.run.artifact);
    std::string error_id;
    if (Status s = factory_->take_artifact(deployment, std::move(bytes), error_id); !s) {
      return done(s.error(), error_id);
    }
    return done(std::move(deployment), {});
  }
  const auto uri = parse_artifact_uri(deployment.run.uri);
  if (!uri) return done(uri.error(), "bad-artifact");
  // An image is looked up while its workload is starting.
  if (uri->kind == ArtifactUri::Kind::Image) return done(std::move(deployment), {});
  const WorkloadIdentity& identity = deployment.identity;
  const std::string ns = identity.ns;
  auto access = Access::make({ns, identity.name}, Grants{}, namespaces_);
  // What the desired state names was fetched for this namespace when it was deployed.
  const bool is_of_record = identity.generation != 0;
  source_->fetch(*uri, {ns, std::move(access), node_folders_of(ns, options_.node_files, namespaces_.records),
                        may_read_uploads(ns, namespaces_.records), is_of_record},
                 [this, deployment = std::move(deployment),
                  done = std::move(done)](Result<std::string> bytes) mutable {
                   if (!bytes) return done(bytes.error(), "no-artifact");
                   std::string error_id;
                   const Status taken =
                       factory_->take_artifact(deployment, std::move(*bytes), error_id);
                   if (!taken) return done(taken.error(), error_id);
                   done(std::move(deployment), {});
                 });
}

void Node::on_undeploy(client::ServiceRequest request) {
  const auto wanted = decode_undeploy_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const auto meant = namespace_meant(request, wanted->ns);
  if (!meant) return respond_error(request, 403, {"other-namespace", meant.error().text});
  const std::string& ns = *meant;
  const std::string argument(argument_of(request));
  if (plane_->is_ready()) {
    if (const auto* view = plane_->scheduler().find(ns, argument); view != nullptr) {
      if (!is_responder(*view)) return;
      return remove_desired(*view, std::make_shared<client::ServiceRequest>(std::move(request)));
    }
  }
  const Workload* workload = find(ns, argument);
  if (workload == nullptr) return;
  UndeployReply reply;
  reply.id = workload->identity().id;
  reply.workload_type = workload->identity().workload_type;
  reply.stopped = true;
  reply.message = "stopped";
  const std::string id = reply.id;
  const bool is_function = workload->identity().workload_lifecycle == "function";
  retire(id, is_function ? Duration(kUndeployGrace) : Duration::zero(), [this, reply = std::move(reply), request = std::move(request)]() mutable {
    respond(request, encode(reply));
  });
}

void Node::on_workload_ping(client::ServiceRequest request) {
  const auto wanted = decode_workload_ping_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  // What `system` names beside its own is no restriction: it sees all.
  const auto meant = namespace_meant(request, wanted->ns);
  if (!meant) return respond_error(request, 403, {"other-namespace", meant.error().text});
  const std::string_view ns = namespace_of(request);
  std::vector<std::string> filter = wanted->filter;
  const std::string_view argument = argument_of(request);
  if (!argument.empty()) filter.emplace_back(argument);
  plane_->look();
  std::vector<WorkloadSummary> summaries;
  for (const auto& [id, workload] : workloads_) {
    const WorkloadIdentity& identity = workload->identity();
    // The system namespace sees all.
    if (identity.ns != ns && ns != kSystemNamespace) continue;
    if (!is_listed(*workload)) continue;
    const bool is_wanted = filter.empty() || std::any_of(filter.begin(), filter.end(), [&](auto& f) {
      return f == identity.id || f == identity.name;
    });
    if (is_wanted) summaries.push_back(workload->summary());
  }
  if (summaries.empty() && !argument.empty()) return;
  std::sort(summaries.begin(), summaries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.ns, a.name, a.id) < std::tie(b.ns, b.name, b.id);
  });
  send_in_parts(*connection_, request, summaries);
}

void Node::on_workload_info(client::ServiceRequest request) {
  const Workload* workload = find(namespace_of(request), argument_of(request));
  if (workload == nullptr) return;
  WorkloadInfo facts = workload->info();
  facts.node_id = id_;
  respond(request, encode(facts));
}

void Node::on_workload_log(client::ServiceRequest request) {
  const Workload* workload = find(namespace_of(request), argument_of(request));
  if (workload != nullptr) respond(request, encode(workload->log()));
}

void Node::on_invocations(client::ServiceRequest request) {
  const auto wanted = decode_invocations_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  std::vector<const Workload*> found = find_all(namespace_of(request), argument_of(request));
  const std::string reply_to(request.message().reply);
  if (found.empty() || !reply_to.starts_with('_')) return;
  for (const Workload* workload : found) {
    InvocationsReply reply{workload->identity().id, workload->identity().name, id_, workload->identity().slot, {}};
    if (workload->invocations() != nullptr) {
      reply.invocations = workload->invocations()->list(wanted->limit, wanted->errors);
    }
    if (workload == found.back()) return respond(request, encode(reply));
    // Those before the last go around the service, whose answers are one a request.
    if (!connection_->publish(reply_to, encode(reply))) return;
  }
}

}  // namespace brokkr::workload
