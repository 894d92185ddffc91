// The control API of a node: one handler an endpoint, and the checks a deployment must pass.
#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/sha256.h"
#include "protocol/headers.h"
#include "subject/subject.h"
#include "workload/node.h"

namespace brokkr::workload {
namespace {

constexpr size_t kNamespaceToken = 2;  // $NEX.SVC.<ns>.control.<verb>.<argument>
constexpr size_t kArgumentToken = 5;
constexpr size_t kNameLengthMax = 128;
constexpr size_t kTriggersMax = 64;
constexpr size_t kEnvironmentBytesMax = 256U << 10;
constexpr std::string_view kWasmMagic("\0asm", 4);

struct Bound {
  uint64_t min;
  uint64_t max;
};
constexpr Bound kWallMs{10, 15 * 60 * 1000};
constexpr Bound kHeapBytes{8U << 20, 4ULL << 30};
constexpr Bound kReplyBytes{1, 32U << 20};
constexpr Bound kInFlight{1, 4096};
constexpr Bound kQueue{0, 65'536};
constexpr Bound kInstances{1, 64};
constexpr Bound kLogLines{1, 100'000};

// Names become subject tokens and queue groups.
bool is_valid_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameLengthMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

std::string_view namespace_of(const client::ServiceRequest& request) {
  return subject::token_at(request.message().subject, kNamespaceToken);
}

std::string_view argument_of(const client::ServiceRequest& request) {
  return subject::token_at(request.message().subject, kArgumentToken);
}

// Takes `wanted` when it is not 0, else `standard`; false when it is out of bounds.
template <typename T>
bool choose(T& into, T wanted, T standard, Bound bound) {
  into = wanted != 0 ? wanted : standard;
  return into >= bound.min && into <= bound.max;
}

Status choose_limits(RunLimits& limits, const RunLimits& wanted, const RunLimits& standard) {
  const auto out_of = [](const char* name, Bound bound) {
    return Error{Errc::LimitExceeded, std::string("limit ") + name + " must be " +
                                          std::to_string(bound.min) + " to " +
                                          std::to_string(bound.max)};
  };
  if (!choose(limits.wall_time_ms, wanted.wall_time_ms, standard.wall_time_ms, kWallMs)) {
    return out_of("wall_time_ms", kWallMs);
  }
  if (!choose(limits.heap_bytes, wanted.heap_bytes, standard.heap_bytes, kHeapBytes)) {
    return out_of("heap_bytes", kHeapBytes);
  }
  if (!choose(limits.reply_bytes, wanted.reply_bytes, standard.reply_bytes, kReplyBytes)) {
    return out_of("reply_bytes", kReplyBytes);
  }
  if (!choose(limits.in_flight, wanted.in_flight, standard.in_flight, kInFlight)) {
    return out_of("in_flight", kInFlight);
  }
  if (!choose(limits.queue, wanted.queue, standard.queue, kQueue)) return out_of("queue", kQueue);
  if (!choose(limits.max_instances, wanted.max_instances, standard.max_instances, kInstances)) {
    return out_of("max_instances", kInstances);
  }
  if (!choose(limits.log_lines_per_second, wanted.log_lines_per_second,
              standard.log_lines_per_second, kLogLines)) {
    return out_of("log_lines_per_second", kLogLines);
  }
  return {};
}

Status check_triggers(const std::vector<std::string>& subjects) {
  if (subjects.empty()) return Error{Errc::InvalidArgument, "a function needs a trigger subject"};
  if (subjects.size() > kTriggersMax) {
    return Error{Errc::LimitExceeded, "at most " + std::to_string(kTriggersMax) + " triggers"};
  }
  for (const std::string& subject : subjects) {
    if (!subject::is_valid(subject)) {
      return Error{Errc::InvalidSubject, "trigger subject \"" + subject + "\" is not valid"};
    }
    if (is_denied_subject(subject)) {
      return Error{Errc::PermissionDenied, "trigger subject \"" + subject +
                                               "\" is not allowed: it covers $SYS, $JS or $NEX"};
    }
  }
  return {};
}

Status check_artifact(const RunRequest& run, std::string_view type) {
  if (run.artifact.empty()) return Error{Errc::InvalidArgument, "the artifact is empty"};
  const bool is_wasm = run.artifact.starts_with(kWasmMagic);
  if (type == "wasm" && !is_wasm) {
    return Error{Errc::InvalidArgument, "the artifact is no WebAssembly module"};
  }
  if (type == "v8" && is_wasm) {
    return Error{Errc::InvalidArgument, "the artifact is a WebAssembly module: use type wasm"};
  }
  return {};
}

}  // namespace

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
      [this, handler](client::ServiceRequest request) { (this->*handler)(std::move(request)); });
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
      {"GetNodeInfo", system, "INFO", id_, &Node::on_info},
      {"SetLameduck", system, "LAMEDUCK", id_, &Node::on_lameduck},
      {"AuctionRequest", "*", "AUCTION", {}, &Node::on_auction},
      {"AuctionDeployWorkload", "*", "ADEPLOY", id_, &Node::on_deploy},
      {"StopWorkload", "*", "UNDEPLOY", "*", &Node::on_undeploy},
      {"NamespacePing", "*", "WPING", {}, &Node::on_workload_ping},
      {"WorkloadPing", "*", "WPING", "*", &Node::on_workload_ping},
      {"WorkloadInfo", "*", "WINFO", "*", &Node::on_workload_info},
      {"WorkloadLog", "*", "WLOGS", "*", &Node::on_workload_log},
  };
  for (const auto& e : endpoints) {
    if (Status s = add_endpoint(e.name, e.ns, e.verb, e.argument, e.handler); !s) return s;
  }
  return {};
}

void Node::respond(client::ServiceRequest& request, const std::string& body) {
  if (const Status sent = request.respond(body); !sent) {
    deps_.log.debug("workload: a control reply was not sent: " + sent.error().text);
  }
}

void Node::respond_error(client::ServiceRequest& request, int code, const ControlError& error) {
  // The description becomes a header: one line.
  const std::string line = error.error.substr(0, error.error.find_first_of("\r\n"));
  const Status sent = request.respond_error(code, line, encode(error));
  if (!sent) deps_.log.debug("workload: a control reply was not sent: " + sent.error().text);
}

void Node::on_ping(client::ServiceRequest request) {
  const NodeInfo facts = info();
  NodePing ping;
  ping.node_id = id_;
  ping.xkey = xkey_.public_key();
  ping.version = options_.version;
  ping.start_time = format_rfc3339(started_wall_);
  ping.tags = options_.tags;
  ping.state = facts.state;
  ping.agent_count = static_cast<uint32_t>(facts.agents.size());
  ping.name = options_.name;
  ping.nexus = options_.nexus;
  ping.workload_count = static_cast<uint32_t>(names_.size());
  respond(request, encode(ping));
}

void Node::on_info(client::ServiceRequest request) { respond(request, encode(info())); }

void Node::on_lameduck(client::ServiceRequest request) {
  const auto wanted = decode_lameduck_request(request.message().payload);
  Duration delay{};
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  if (!parse_go_duration(wanted->delay, delay) || delay < Duration::zero()) {
    return respond_error(request, 400, {"bad-request", "\"delay\" is no duration"});
  }
  state_ = State::Lameduck;
  lameduck_.start(delay);
  json::Writer event;
  event.begin_object().field("id", id_);
  event.field("time", format_rfc3339(deps_.loop.clock().wall_now()));
  publish_event(kSystemNamespace, "NODELAMEDUCKSET", event.end_object().text());
  respond(request, encode(LameduckReply{true, "functions stop in " + format_go_duration(delay)}));
}

void Node::on_auction(client::ServiceRequest request) {
  const auto wanted = decode_auction_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  // A node that cannot do it does not bid.
  if (state_ != State::Running || functions_.size() >= options_.functions_max) return;
  if (wanted->agent_type != "v8" && wanted->agent_type != "wasm") return;
  const bool has_tags = std::all_of(wanted->tags.begin(), wanted->tags.end(), [&](const auto& tag) {
    return std::find(options_.tags.begin(), options_.tags.end(), tag) != options_.tags.end();
  });
  if (!has_tags) return;
  AuctionReply bid;
  bid.bidder_id = bid.node_id = id_;
  bid.xkey = xkey_.public_key();
  bid.supported_lifecycles = {"function"};
  respond(request, encode(bid));
}

Result<FunctionOptions> Node::plan(std::string_view ns, const DeployRequest& request,
                                   std::string& error_id) {
  error_id = "bad-request";
  const auto refuse = [&](const char* id, const Error& error) {
    error_id = id;
    return error;
  };
  const auto mistake = [](std::string text) { return Error{Errc::InvalidArgument, std::move(text)}; };
  if (state_ != State::Running) {
    return refuse("not-accepting", {Errc::Unavailable, "the node takes no more workloads"});
  }
  if (functions_.size() >= options_.functions_max) {
    return refuse("no-capacity", {Errc::Unavailable, "the node has " +
                                      std::to_string(functions_.size()) + " workloads, its limit"});
  }
  if (!is_valid_name(ns)) return mistake("namespace \"" + std::string(ns) + "\" is not valid");
  if (!request.ns.empty() && request.ns != ns) {
    return mistake("namespace \"" + request.ns + "\" is not that of the subject, \"" +
                   std::string(ns) + "\"");
  }
  if (!is_valid_name(request.name)) {
    return mistake("name \"" + request.name + "\" is not valid: letters, digits, - and _ only");
  }
  const bool is_wasm = request.workload_type == "wasm";
  if (!is_wasm && request.workload_type != "v8") {
    return refuse("unknown-type", {Errc::Unsupported, "workload type \"" + request.workload_type +
                                                          "\" is not known here: v8 or wasm"});
  }
  if (request.workload_lifecycle != "function") {
    return refuse("unknown-lifecycle", {Errc::Unsupported, "lifecycle \"" +
                                            request.workload_lifecycle + "\": only function"});
  }
  Result<RunRequest> run = decode_run_request(request.run_request);
  if (!run) {
    return mistake("run_request: " + run.error().text);
  }
  if (Status s = check_artifact(*run, request.workload_type); !s) {
    return refuse("bad-artifact", s.error());
  }
  const std::string digest = sha256_hex(run->artifact);
  if (!run->sha256.empty() && to_lower(run->sha256) != digest) {
    return refuse("sha256-mismatch", mistake("the artifact's sha256 is " + digest + ", not " +
                                             run->sha256));
  }
  if (Status s = check_triggers(run->trigger_subjects); !s) return refuse("bad-trigger", s.error());
  size_t environment_bytes = 0;
  for (const auto& [key, value] : run->environment) environment_bytes += key.size() + value.size();
  if (environment_bytes > kEnvironmentBytesMax) {
    return refuse("too-large", {Errc::LimitExceeded, "the environment exceeds 256 KiB"});
  }
  FunctionOptions options;
  if (Status s = choose_limits(options.limits, run->limits, options_.limits); !s) {
    return refuse("bad-limits", s.error());
  }
  if (const auto kept = artifacts_->put(run->artifact); !kept) {
    return refuse("not-stored", kept.error());
  }
  options.id = Nuid(deps_.random).next();
  options.ns = ns;
  options.name = request.name;
  options.description = request.description;
  options.workload_type = request.workload_type;
  options.sha256 = digest;
  options.artifact_bytes = run->artifact.size();
  options.trigger_subjects = std::move(run->trigger_subjects);
  if (!run->is_broadcast) {
    options.queue_group = run->queue_group.empty()
                              ? "nex." + options.ns + "." + options.name
                              : run->queue_group;
  }
  options.tags = request.tags;
  options.metadata = request.metadata;
  runtime::FunctionSpec& spec = options.instance.spec;
  spec.kind = is_wasm ? runtime::FunctionKind::Wasm : runtime::FunctionKind::V8;
  spec.name = options.name;
  spec.file_name = run->file_name.empty() ? options.name + (is_wasm ? ".wasm" : ".js")
                                          : run->file_name;
  spec.artifact = std::move(run->artifact);
  spec.environment = std::move(run->environment);
  spec.limits.wall_time = std::chrono::milliseconds(options.limits.wall_time_ms);
  spec.limits.heap_bytes_max = options.limits.heap_bytes;
  spec.limits.reply_bytes_max = options.limits.reply_bytes;
  options.instance.in_flight_max = options.limits.in_flight;
  options.instance.log_lines_per_second = options.limits.log_lines_per_second;
  // The heap, buffers and WebAssembly memory as large again, code and stack.
  options.instance.memory_bytes_max = 2 * options.limits.heap_bytes + (96U << 20);
  return options;
}

void Node::on_deploy(client::ServiceRequest request) {
  const auto wanted = decode_deploy_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  std::string error_id;
  Result<FunctionOptions> options = plan(namespace_of(request), *wanted, error_id);
  if (!options) {
    const bool is_ours = options.error().code == Errc::Unavailable ||
                         options.error().code == Errc::System;
    return respond_error(request, is_ours ? 503 : 400, {error_id, options.error().text});
  }
  deploy(std::move(*options), std::move(request));
}

void Node::on_undeploy(client::ServiceRequest request) {
  DeployedFunction* function = find(namespace_of(request), argument_of(request));
  if (function == nullptr) return;
  UndeployReply reply;
  reply.id = function->options().id;
  reply.workload_type = function->options().workload_type;
  reply.stopped = true;
  reply.message = "stopped";
  const std::string id = reply.id;
  retire(id, [this, reply = std::move(reply), request = std::move(request)]() mutable {
    respond(request, encode(reply));
  });
}

void Node::on_workload_ping(client::ServiceRequest request) {
  const auto wanted = decode_workload_ping_request(request.message().payload);
  if (!wanted) return respond_error(request, 400, {"bad-request", wanted.error().text});
  const std::string_view ns = namespace_of(request);
  std::vector<std::string> filter = wanted->filter;
  const std::string_view argument = argument_of(request);
  if (!argument.empty()) filter.emplace_back(argument);
  std::vector<WorkloadSummary> summaries;
  for (const auto& [key, id] : names_) {
    const auto found = functions_.find(id);
    if (found == functions_.end()) continue;
    const FunctionOptions& options = found->second->options();
    // The system namespace sees all.
    if (options.ns != ns && ns != kSystemNamespace) continue;
    const bool is_wanted = filter.empty() || std::any_of(filter.begin(), filter.end(), [&](auto& f) {
      return f == options.id || f == options.name;
    });
    if (is_wanted) summaries.push_back(found->second->summary());
  }
  if (summaries.empty() && !argument.empty()) return;
  std::sort(summaries.begin(), summaries.end(), [](const auto& a, const auto& b) {
    return a.ns != b.ns ? a.ns < b.ns : a.name < b.name;
  });
  respond(request, encode(summaries));
}

void Node::on_workload_info(client::ServiceRequest request) {
  const DeployedFunction* function = find(namespace_of(request), argument_of(request));
  if (function == nullptr) return;
  WorkloadInfo facts = function->info();
  facts.node_id = id_;
  respond(request, encode(facts));
}

void Node::on_workload_log(client::ServiceRequest request) {
  const DeployedFunction* function = find(namespace_of(request), argument_of(request));
  if (function != nullptr) respond(request, encode(function->log()));
}

}  // namespace brokkr::workload
