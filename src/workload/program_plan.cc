#include "workload/program_plan.h"

#include <algorithm>
#include <map>

#include "workload/inner_names.h"

namespace brokkr::workload {
namespace {

constexpr uint64_t kMemoryMin = 1U << 20;
constexpr size_t kPortsMax = 64;
constexpr size_t kVolumesMax = 32;
constexpr size_t kEgressMax = 200;
constexpr uint16_t kNamePort = 53;
constexpr const char* kProgramPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Of the addresses a sandbox uses: the broker is .1, declared hosts follow.
const std::string kSandboxNetwork = "192.168.127.";

Error program_mistake(std::string text) { return {Errc::InvalidArgument, std::move(text)}; }

// Volumes become folders.
bool is_volume_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

bool is_inner_path(std::string_view path) {
  return path.size() > 1 && path[0] == '/' && path.find("/../") == std::string_view::npos &&
         !path.ends_with("/..") && path.find('\0') == std::string_view::npos;
}

Status check_environment(const Pairs& environment) {
  for (const auto& [key, value] : environment) {
    const bool is_good = !key.empty() && key.find_first_of(std::string_view("=\0", 2)) == key.npos &&
                         value.find('\0') == value.npos;
    if (!is_good) return program_mistake("environment variable \"" + key + "\" is not valid");
  }
  return {};
}

Status check_volumes(const RunRequest& run) {
  if (run.volumes.size() > kVolumesMax) {
    return Error{Errc::LimitExceeded, "at most " + std::to_string(kVolumesMax) + " volumes"};
  }
  for (const auto& [name, path] : run.volumes) {
    if (!is_volume_name(name)) return program_mistake("volume name \"" + name + "\" is not valid");
    if (!is_inner_path(parse_volume_place(path).path)) {
      return program_mistake("volume " + name + ": \"" + path + "\" is no absolute path");
    }
  }
  if (!run.volumes.empty() && run.isolation == Isolation::None) {
    return Error{Errc::Unsupported, "volumes need a sandbox"};
  }
  return {};
}

bool is_range(const EgressPolicy::Entry& entry) {
  if (entry.prefix >= 0) return entry.prefix < static_cast<int>(entry.network.bytes.size()) * 8;
  return entry.host.starts_with('*');
}

std::vector<uint16_t> ports_of(const EgressPolicy::Entry& entry) {
  if (entry.port == 0) return {80, 443};
  return {entry.port};
}

Status check_egress_entry(const EgressPolicy::Entry& entry, const std::string& text, const RunRequest& run) {
  const bool is_address = entry.prefix >= 0;
  const bool is_ipv6 = is_address && entry.network.bytes.size() == 16;
  if (run.isolation == Isolation::MicroVm && (is_range(entry) || is_ipv6)) {
    return Error{Errc::Unsupported,
                 "egress \"" + text + "\": a microVM needs each host or IPv4 address named"};
  }
  if (is_range(entry)) {
    const auto ports = ports_of(entry);
    for (const PublishedPort& port : run.ports) {
      if (std::find(ports.begin(), ports.end(), port.port) == ports.end()) continue;
      return program_mistake("egress \"" + text + "\" takes port " + std::to_string(port.port) +
                             ", which the program is to listen on: give the entry another port");
    }
    return {};
  }
  if (!is_address) return {};
  if (entry.network.text().starts_with(kSandboxNetwork)) {
    return program_mistake("egress to " + entry.network.text() + ": the sandbox itself uses " +
                           kSandboxNetwork + "0/24");
  }
  const bool is_any = entry.network.bytes.find_first_not_of('\0') == std::string::npos;
  const bool is_link_local = is_ipv6 && entry.network.bytes.starts_with("\xfe\x80");
  if (is_any || is_link_local) {
    return program_mistake("egress \"" + text + "\": nothing can be connected to there");
  }
  return {};
}

Status check_egress(const EgressPolicy& policy, const RunRequest& run) {
  if (policy.entries().size() > kEgressMax) {
    return Error{Errc::LimitExceeded, "at most " + std::to_string(kEgressMax) + " egress entries"};
  }
  for (size_t i = 0; i < policy.entries().size(); ++i) {
    if (Status s = check_egress_entry(policy.entries()[i], run.egress[i], run); !s) return s;
  }
  return {};
}

Status check_health(const HealthCheck& health) {
  if (health.kind == HealthCheck::Kind::Command && health.command.empty()) {
    return program_mistake("the health check has no command");
  }
  if (health.kind == HealthCheck::Kind::Tcp && health.port == 0) {
    return program_mistake("the health check has no port");
  }
  const bool is_name_good = health.service.find_first_of(" .*>\t\r\n") == std::string::npos;
  if (health.kind == HealthCheck::Kind::Service && (health.service.empty() || !is_name_good)) {
    return program_mistake("the health check's service \"" + health.service + "\" is not valid");
  }
  return {};
}

// Adds a listener unless it is there.
void add_listener(ProgramPlan& plan, sandbox::InnerListener listener, EgressTarget target) {
  for (const sandbox::InnerListener& known : plan.spec.listeners) {
    if (known.address == listener.address && known.port == listener.port && !known.is_datagram) return;
  }
  plan.spec.listeners.push_back(std::move(listener));
  plan.egress.push_back(std::move(target));
}

// Where a pattern or a network leads: to listeners for any address. Names get theirs when they are
// asked for.
void add_egress_range(ProgramPlan& plan, const EgressPolicy::Entry& entry, bool has_ipv6) {
  const bool is_everything = entry.host == "*";
  const bool is_ipv6 = entry.prefix >= 0 && entry.network.bytes.size() == 16;
  std::vector<std::string> networks;
  // Of a network of IPv6 too: any name may lead there.
  networks.emplace_back(InnerNames::kNetwork);
  if (is_everything) networks.emplace_back("0.0.0.0/0");
  if (is_everything && has_ipv6) networks.emplace_back("::/0");
  if (entry.prefix >= 0) networks.push_back(entry.network.text() + "/" + std::to_string(entry.prefix));
  for (std::string& network : networks) {
    auto& known = plan.spec.networks;
    if (std::find(known.begin(), known.end(), network) == known.end()) known.push_back(std::move(network));
  }
  for (const uint16_t port : ports_of(entry)) {
    add_listener(plan, {"0.0.0.0", port, ""}, {"", port});
    if (is_ipv6 || (is_everything && has_ipv6)) add_listener(plan, {"::", port, ""}, {"", port});
  }
}

// The listeners that stand for the declared places, each host at an address of its own.
void add_egress(ProgramPlan& plan, const std::vector<std::string>& texts, bool has_ipv6) {
  std::map<std::string, std::string> addresses;  // by host
  const auto& entries = plan.policy.entries();
  for (size_t i = 0; i < entries.size(); ++i) {
    const EgressPolicy::Entry& entry = entries[i];
    if (is_range(entry)) {
      plan.egress_ranges.push_back(texts[i]);
      add_egress_range(plan, entry, has_ipv6);
      continue;
    }
    const bool is_address = entry.prefix >= 0;
    const std::string host = is_address ? entry.network.text() : entry.host;
    std::string& address = addresses[host];
    if (address.empty() && is_address) address = host;
    if (address.empty()) address = kSandboxNetwork + std::to_string(addresses.size() + 1);
    for (const uint16_t port : ports_of(entry)) {
      add_listener(plan, {address, port, is_address ? "" : host}, {host, port});
    }
  }
  if (plan.egress_ranges.empty()) return;
  plan.names_listener = plan.spec.listeners.size();
  plan.spec.listeners.push_back({kGateAddress, kNamePort, "", true});
}

Words command_of(const RunRequest& run, const ProgramSource& source) {
  Words words = run.entrypoint.empty() ? source.image.config.entrypoint : run.entrypoint;
  // Another entry point does not take the command of the one it replaces.
  const bool takes_command = run.argv.empty() && run.entrypoint.empty();
  const Words& rest = takes_command ? source.image.config.command : run.argv;
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

void add_image_environment(Pairs& into, const std::vector<std::string>& variables) {
  for (const std::string& variable : variables) {
    const size_t equals = variable.find('=');
    if (equals == 0 || equals == std::string::npos) continue;
    into.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
  }
}

sandbox::ProgramLimits choose_resources(const Resources& wanted, const Resources& standard) {
  sandbox::ProgramLimits limits;
  const auto choose = [](auto value, auto otherwise) { return value != 0 ? value : otherwise; };
  limits.memory_bytes = choose(wanted.memory_bytes, standard.memory_bytes);
  limits.cpu_millis = choose(wanted.cpu_millis, standard.cpu_millis);
  limits.pids = choose(wanted.pids, standard.pids);
  limits.io_bytes_per_second = choose(wanted.io_bytes_per_second, standard.io_bytes_per_second);
  limits.disk_bytes = choose(wanted.disk_bytes, standard.disk_bytes);
  return limits;
}

Status fill_command(ProgramPlan& plan, const RunRequest& run, const ProgramSource& source) {
  sandbox::ProgramSpec& spec = plan.spec;
  if (!source.file.empty()) {
    if (!run.entrypoint.empty()) return program_mistake("an entry point is for images only");
    spec.executable = source.file;
    spec.arguments = {plan.file_name};
    spec.arguments.insert(spec.arguments.end(), run.argv.begin(), run.argv.end());
    return {};
  }
  // As the image specification has it; the sandbox sees to it that this root is nobody outside.
  if (spec.user.empty()) spec.user = "0:0";
  if (source.is_awaited) return {};
  spec.lower = source.image.lower;
  spec.arguments = command_of(run, source);
  if (spec.arguments.empty() || spec.arguments[0].empty()) {
    return program_mistake("the image names no command: give one with argv");
  }
  return {};
}

}  // namespace

VolumePlace parse_volume_place(std::string_view text) {
  constexpr std::string_view kReadOnly = ":ro";
  const bool is_writable = !text.ends_with(kReadOnly);
  if (!is_writable) text.remove_suffix(kReadOnly.size());
  return {std::string(text), is_writable};
}

Status check_program(const RunRequest& run, std::string_view lifecycle) {
  if (lifecycle != "service" && lifecycle != "job") {
    return Error{Errc::Unsupported, "a program is a service or a job, not a " + std::string(lifecycle)};
  }
  if (run.resources.memory_bytes != 0 && run.resources.memory_bytes < kMemoryMin) {
    return Error{Errc::LimitExceeded, "memory_bytes must be at least 1 MiB"};
  }
  if (run.ports.size() > kPortsMax) {
    return Error{Errc::LimitExceeded, "at most " + std::to_string(kPortsMax) + " ports"};
  }
  for (const PublishedPort& port : run.ports) {
    if (port.port == 0) return program_mistake("a published port needs a port inside");
  }
  if (Status s = check_environment(run.environment); !s) return s;
  if (Status s = check_volumes(run); !s) return s;
  if (Status s = check_health(run.health); !s) return s;
  auto policy = EgressPolicy::parse(run.egress, false);
  if (!policy) return policy.error();
  return check_egress(*policy, run);
}

bool needs_ipv6(const EgressPolicy& policy) {
  return std::any_of(policy.entries().begin(), policy.entries().end(), [](const EgressPolicy::Entry& entry) {
    return entry.prefix >= 0 && entry.network.bytes.size() == 16;
  });
}

Result<ProgramPlan> plan_program(const WorkloadIdentity& identity, const RunRequest& run,
                                 const ProgramSource& source, const ProgramDefaults& defaults) {
  if (Status s = check_program(run, identity.workload_lifecycle); !s) return s.error();
  ProgramPlan plan;
  plan.file_name = run.file_name.empty() ? identity.name : run.file_name;
  plan.file_name = plan.file_name.substr(plan.file_name.rfind('/') + 1);
  if (plan.file_name.empty() || plan.file_name[0] == '.') plan.file_name = identity.name;
  const sandbox::ImageConfig& config = source.image.config;
  sandbox::ProgramSpec& spec = plan.spec;
  spec.user = !run.user.empty() ? run.user : config.user;
  if (Status s = fill_command(plan, run, source); !s) return s.error();
  spec.name = identity.name;
  spec.working_folder = !run.workdir.empty() ? run.workdir : config.working_folder;
  if (spec.working_folder.empty()) spec.working_folder = "/";
  spec.limits = choose_resources(run.resources, defaults.resources);
  spec.policy = defaults.policy;
  for (const auto& [name, path] : run.volumes) {
    VolumePlace place = parse_volume_place(path);
    spec.binds.push_back({defaults.data_folder + "/volumes/" + identity.ns + "/" + identity.name +
                              "/" + name, std::move(place.path), place.is_writable});
  }
  spec.listeners.push_back({kGateAddress, kGatePort, "broker"});
  plan.policy = *EgressPolicy::parse(run.egress, false);
  add_egress(plan, run.egress, defaults.has_ipv6);
  plan.environment = {{"PATH", kProgramPath}, {"HOME", "/tmp"}, {"TMPDIR", "/tmp"}};
  // An image knows its users' homes itself.
  if (source.file.empty()) plan.environment = {{"PATH", kProgramPath}, {"HOME", "/"}};
  add_image_environment(plan.environment, config.environment);
  plan.declared = run.environment;
  plan.ports = run.ports;
  plan.restart = RestartBackoff::choose(run.restart, identity.workload_lifecycle == "job");
  plan.health = run.health;
  plan.isolation = run.isolation == Isolation::Default ? Isolation::Sandbox : run.isolation;
  if (identity.workload_type == "microvm") plan.isolation = Isolation::MicroVm;
  plan.stop_grace = run.stop_grace_ns > 0 ? Duration(run.stop_grace_ns) : defaults.stop_grace;
  plan.log_lines_per_second = run.limits.log_lines_per_second != 0 ? run.limits.log_lines_per_second
                                                                   : defaults.log_lines_per_second;
  return plan;
}

std::vector<std::string> merge_environment(std::initializer_list<const Pairs*> lists) {
  std::vector<std::string> order;
  std::map<std::string, std::string> values;
  for (const Pairs* list : lists) {
    for (const auto& [key, value] : *list) {
      if (values.find(key) == values.end()) order.push_back(key);
      values[key] = value;
    }
  }
  std::vector<std::string> variables;
  for (const std::string& key : order) variables.push_back(key + "=" + values[key]);
  return variables;
}

}  // namespace brokkr::workload
