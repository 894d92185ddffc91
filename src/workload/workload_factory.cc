// Which deployments a node takes, and how they become workloads.
#include "workload/workload_factory.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/sha256.h"
#include "workload/function.h"
#include "workload/namespace_egress.h"
#include "workload/node_grants.h"
#include "workload/trigger_rights.h"

namespace brokkr::workload {
namespace {

constexpr size_t kNameLengthMax = 128;
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

Status check_artifact(std::string_view artifact, std::string_view type) {
  if (artifact.empty()) return Error{Errc::InvalidArgument, "the artifact is empty"};
  const bool is_wasm = artifact.starts_with(kWasmMagic);
  if (type == "wasm" && !is_wasm) {
    return Error{Errc::InvalidArgument, "the artifact is no WebAssembly module"};
  }
  if (type == "v8" && is_wasm) {
    return Error{Errc::InvalidArgument, "the artifact is a WebAssembly module: use type wasm"};
  }
  return {};
}

std::string join(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

bool is_function_type(std::string_view type) { return type == "v8" || type == "wasm"; }

}  // namespace

bool is_workload_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameLengthMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

WorkloadFactory::WorkloadFactory(const Deps& deps)
    : deps_(deps),
      host_services_(HostServices::make(deps.loop, deps.options.host_services)),
      programs_({deps.loop, deps.resolver, deps.random, deps.log, deps.connection, deps.cgroups,
                 deps.options, namespaces_, deps.v1_feed}),
      flusher_(deps.loop) {}

WorkloadFactory::~WorkloadFactory() = default;

Words WorkloadFactory::types() const { return {"v8", "wasm", "native", "oci"}; }

Words WorkloadFactory::lifecycles(std::string_view type) const {
  if (is_function_type(type)) return {"function"};
  if (ProgramFactory::is_program_type(type)) return {"service", "job"};
  return {};
}

Result<Deployment> WorkloadFactory::plan(std::string_view ns, const DeployRequest& request,
                                         std::string& error_id) const {
  error_id = "bad-request";
  const auto refuse = [&](const char* id, const Error& error) {
    error_id = id;
    return error;
  };
  const auto mistake = [](std::string text) { return Error{Errc::InvalidArgument, std::move(text)}; };
  if (!is_workload_name(ns)) return mistake("namespace \"" + std::string(ns) + "\" is not valid");
  if (!request.ns.empty() && request.ns != ns) {
    return mistake("namespace \"" + request.ns + "\" is not that of the subject, \"" +
                   std::string(ns) + "\"");
  }
  if (!is_workload_name(request.name)) {
    return mistake("name \"" + request.name + "\" is not valid: letters, digits, - and _ only");
  }
  const Words known = types();
  if (std::find(known.begin(), known.end(), request.workload_type) == known.end()) {
    return refuse("unknown-type", {Errc::Unsupported, "workload type \"" + request.workload_type +
                                                          "\" is not known here: " + join(known)});
  }
  const Words lives = lifecycles(request.workload_type);
  if (std::find(lives.begin(), lives.end(), request.workload_lifecycle) == lives.end()) {
    return refuse("unknown-lifecycle", {Errc::Unsupported, "lifecycle \"" +
                                            request.workload_lifecycle + "\": only " + join(lives)});
  }
  Result<RunRequest> run = decode_run_request(request.run_request);
  if (!run) return mistake("run_request: " + run.error().text);
  const bool is_function = is_function_type(request.workload_type);
  if (is_function) {
    if (Status s = check_triggers(ns, *run); !s) return refuse("bad-trigger", s.error());
    const auto rights = Access::make({std::string(ns), request.name}, {}, namespaces_);
    if (Status s = check_trigger_rights(*rights, *run); !s) return refuse("bad-trigger", s.error());
  } else if (Status s = programs_.check(*run, request.workload_lifecycle); !s) {
    return refuse("bad-request", s.error());
  }
  size_t environment_bytes = 0;
  for (const auto& [key, value] : run->environment) environment_bytes += key.size() + value.size();
  if (environment_bytes > kEnvironmentBytesMax) {
    return refuse("too-large", {Errc::LimitExceeded, "the environment exceeds 256 KiB"});
  }
  Deployment deployment;
  if (is_function) {
    const RunLimits wanted = run->limits;
    if (Status s = choose_limits(run->limits, wanted, deps_.options.limits); !s) {
      return refuse("bad-limits", s.error());
    }
  }
  if (Status s = check_declared_egress(run->egress, ns, namespaces_.records); !s) {
    return refuse("bad-egress", s.error());
  }
  if (run->artifact.empty() && run->uri.empty()) {
    return refuse("bad-artifact", mistake("the artifact is empty"));
  }
  if (Status s = check_node_grants(*run, ns); !s) return refuse("not-permitted", s.error());
  WorkloadIdentity& identity = deployment.identity;
  identity.ns = ns;
  identity.name = request.name;
  identity.description = request.description;
  identity.workload_type = request.workload_type;
  identity.workload_lifecycle = request.workload_lifecycle;
  identity.tags = request.tags;
  identity.metadata = request.metadata;
  deployment.run = std::move(*run);
  return deployment;
}

// What it names of this node itself; files are looked at when they are read.
Status WorkloadFactory::check_node_grants(const RunRequest& run, std::string_view ns) const {
  if (Status s = check_published_ports(run.ports, ns, namespaces_.records); !s) return s;
  if (run.isolation == Isolation::None && ns != kDefaultNamespace) {
    return Error{Errc::PermissionDenied, "namespace \"" + std::string(ns) +
                                             "\" runs nothing without a sandbox"};
  }
  if (!run.artifact.empty()) return {};
  const auto path = node_path_of(run.uri);
  if (!path) return {};
  return check_node_path(*path, node_folders_of(ns, deps_.options.node_files, namespaces_.records));
}

Status WorkloadFactory::take_artifact(Deployment& deployment, std::string bytes,
                                      std::string& error_id) {
  WorkloadIdentity& identity = deployment.identity;
  const bool is_function = is_function_type(identity.workload_type);
  error_id = "bad-artifact";
  if (bytes.empty()) return Error{Errc::InvalidArgument, "the artifact is empty"};
  if (is_function) {
    if (Status s = check_artifact(bytes, identity.workload_type); !s) return s;
  }
  const std::string digest = sha256_hex(bytes);
  if (!deployment.run.sha256.empty() && to_lower(deployment.run.sha256) != digest) {
    error_id = "sha256-mismatch";
    return Error{Errc::InvalidArgument,
                 "the artifact's sha256 is " + digest + ", not " + deployment.run.sha256};
  }
  error_id = "not-stored";
  if (const auto kept = deps_.artifacts.put(bytes); !kept) return kept.error();
  identity.sha256 = digest;
  identity.artifact_bytes = bytes.size();
  deployment.run.sha256 = digest;
  deployment.run.artifact.clear();
  deployment.artifact_file = deps_.artifacts.file_of(digest);
  if (is_function) deployment.artifact = std::move(bytes);
  return {};
}

Result<std::unique_ptr<Workload>> WorkloadFactory::make(Deployment deployment, WorkloadEvents events,
                                                        client::DoneHandler on_live) {
  const std::string& type = deployment.identity.workload_type;
  if (is_function_type(type)) {
    return make_function(std::move(deployment), std::move(events), std::move(on_live));
  }
  if (ProgramFactory::is_program_type(type)) {
    return programs_.make({std::move(deployment.identity), std::move(deployment.run),
                           std::move(deployment.artifact_file)},
                          namespaces_, std::move(events), std::move(on_live));
  }
  return Error{Errc::Unsupported, "workload type \"" + type + "\" is not known here"};
}

Result<std::unique_ptr<Workload>> WorkloadFactory::make_function(Deployment deployment,
                                                                 WorkloadEvents,
                                                                 client::DoneHandler on_live) {
  if (!host_services_) return host_services_.error();
  RunRequest& run = deployment.run;
  FunctionOptions options;
  auto egress = EgressPolicy::parse(run.egress);
  if (!egress) return egress.error();
  options.egress = std::move(*egress);
  options.grants = run.grants;
  const WorkloadIdentity& who = deployment.identity;
  options.rights = {Access::make({who.ns, who.name}, options.grants, namespaces_),
                    within_namespace(options.egress, who.ns, namespaces_.records)};
  options.namespace_access = Access::make({who.ns, who.name}, {}, namespaces_);
  static_cast<WorkloadIdentity&>(options) = std::move(deployment.identity);
  const bool is_wasm = options.workload_type == "wasm";
  options.limits = run.limits;
  options.trigger_subjects = std::move(run.trigger_subjects);
  for (Trigger& trigger : run.triggers) {
    if (trigger.kind == Trigger::Kind::Subject) {
      options.trigger_subjects.push_back(std::move(trigger.subject));
    } else {
      options.triggers.push_back(std::move(trigger));
    }
  }
  if (!run.is_broadcast) {
    options.queue_group = run.queue_group.empty() ? "nex." + options.ns + "." + options.name
                                                  : std::move(run.queue_group);
  }
  runtime::FunctionSpec& spec = options.instance.spec;
  spec.kind = is_wasm ? runtime::FunctionKind::Wasm : runtime::FunctionKind::V8;
  spec.name = options.name;
  spec.file_name = run.file_name.empty() ? options.name + (is_wasm ? ".wasm" : ".js")
                                         : std::move(run.file_name);
  spec.artifact = std::move(deployment.artifact);
  spec.environment = std::move(run.environment);
  spec.limits.wall_time = std::chrono::milliseconds(options.limits.wall_time_ms);
  spec.limits.heap_bytes_max = options.limits.heap_bytes;
  spec.limits.reply_bytes_max = options.limits.reply_bytes;
  options.instance.in_flight_max = options.limits.in_flight;
  options.instance.log_lines_per_second = options.limits.log_lines_per_second;
  // The heap, buffers and WebAssembly memory as large again, code and stack.
  options.instance.memory_bytes_max = 2 * options.limits.heap_bytes + (96U << 20);
  const Nursery& nursery = nursery_of(options.ns);
  const DeployedFunction::Deps deps{
      deps_.loop, deps_.log, deps_.connection, **host_services_,
      Instance::Deps{deps_.loop, *nursery.zygote, deps_.cgroups, flusher_, nursery.spare.get()},
      deps_.tracer,
      deps_.options.http_routes, deps_.v1_feed};
  return std::unique_ptr<Workload>(
      std::make_unique<DeployedFunction>(deps, std::move(options), std::move(on_live)));
}

WorkloadFactory::Nursery& WorkloadFactory::nursery_of(const std::string& ns) {
  Nursery& nursery = nurseries_[ns];
  if (nursery.zygote == nullptr) {
    Zygote::Options options;
    options.executable = deps_.options.executable;
    options.engine_path = deps_.options.engine_path;
    options.is_warm = deps_.options.is_warm;
    options.policy = deps_.options.sandbox;
    nursery.zygote = std::make_unique<Zygote>(deps_.loop, deps_.log, options, ns);
    if (options.is_warm) {
      nursery.spare = std::make_unique<SpareInstance>(deps_.loop, *nursery.zygote, deps_.cgroups);
    }
  }
  return nursery;
}

std::string WorkloadFactory::engine_version() const {
  std::string version;
  for (const auto& [ns, nursery] : nurseries_) {
    const std::string& known = nursery.zygote->facts().engine_version;
    if (!known.empty()) version = known;
  }
  return version;
}

void WorkloadFactory::shut_down() { nurseries_.clear(); }

}  // namespace brokkr::workload
