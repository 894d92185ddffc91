#include "workload/run_request.h"

#include <cmath>
#include <optional>

#include "base/clock.h"
#include "workload/json_members.h"

namespace brokkr::workload {
namespace {

using json::Value;
using json::Writer;

// So that the sums over the replicas of a namespace, which quotas are held against, cannot wrap.
constexpr uint64_t kResourceBytesMax = 16ULL << 40;
constexpr uint32_t kCpuMillisMax = 1'000'000;

template <typename Enum>
struct EnumName {
  Enum value;
  std::string_view name;
};

constexpr EnumName<Trigger::Kind> kTriggerKinds[] = {
    {Trigger::Kind::Subject, "subject"},   {Trigger::Kind::Stream, "stream"},
    {Trigger::Kind::KeyValue, "kv"},       {Trigger::Kind::Object, "object"},
    {Trigger::Kind::Schedule, "schedule"}, {Trigger::Kind::Http, "http"}};
constexpr EnumName<HealthCheck::Kind> kHealthKinds[] = {{HealthCheck::Kind::None, "none"},
                                                       {HealthCheck::Kind::Command, "command"},
                                                       {HealthCheck::Kind::Tcp, "tcp"},
                                                       {HealthCheck::Kind::Service, "service"}};
constexpr EnumName<RestartPolicy::Kind> kRestartKinds[] = {
    {RestartPolicy::Kind::Default, "default"},
    {RestartPolicy::Kind::Always, "always"},
    {RestartPolicy::Kind::OnFailure, "on-failure"},
    {RestartPolicy::Kind::Never, "never"}};
constexpr EnumName<Isolation> kIsolations[] = {{Isolation::Default, "default"},
                                               {Isolation::Sandbox, "sandbox"},
                                               {Isolation::MicroVm, "microvm"},
                                               {Isolation::None, "none"}};

template <typename Enum, size_t N>
std::string_view name_of(const EnumName<Enum> (&names)[N], Enum value) {
  for (const auto& one : names) {
    if (one.value == value) return one.name;
  }
  return {};
}

template <typename Enum, size_t N>
std::string listed(const EnumName<Enum> (&names)[N]) {
  std::string out;
  for (const auto& one : names) (out += out.empty() ? "" : ", ").append(one.name);
  return out;
}

template <typename Enum, size_t N>
void read_name(MemberReader& in, std::string_view member, const EnumName<Enum> (&names)[N], Enum& into) {
  std::string text;
  in.read(member, text);
  if (text.empty()) return;
  for (const auto& one : names) {
    if (one.name == text) {
      into = one.value;
      return;
    }
  }
  in.fail("\"" + std::string(member) + "\" is \"" + text + "\", it may be " + listed(names));
}

std::string quoted(std::string_view name) { return "\"" + std::string(name) + "\""; }

// The object member `name`, if there: `read` fills it; mistakes inside get the member's name.
template <typename Read>
void read_part(MemberReader& in, std::string_view name, const Read& read) {
  const Value* found = in.find(name);
  if (found == nullptr) return;
  if (!found->is_object()) return in.fail(quoted(name) + " must be an object");
  MemberReader part(*found);
  read(part);
  if (!part.status()) in.fail(std::string(name) + ": " + part.status().error().text);
}

bool duration_of(const Value& value, int64_t& into) {
  if (value.is_string()) {
    Duration parsed{};
    if (!parse_go_duration(value.as_string(), parsed) || parsed.count() < 0) return false;
    into = parsed.count();
    return true;
  }
  const auto number = value.as_int();
  if (!number || *number < 0) return false;
  into = *number;
  return true;
}

// "interval": "5s", or "interval_ns": 5000000000.
void read_duration(MemberReader& in, const std::string& name, int64_t& into) {
  for (const std::string& member : {name, name + "_ns"}) {
    const Value* found = in.find(member);
    if (found != nullptr && !duration_of(*found, into)) {
      in.fail(quoted(member) + " must be a duration such as \"5s\", or nanoseconds");
    }
  }
}

// "memory": "64MiB", or "memory_bytes": 67108864.
void read_size(MemberReader& in, const std::string& name, uint64_t& into) {
  for (const std::string& member : {name, name + "_bytes"}) {
    const Value* found = in.find(member);
    if (found == nullptr) continue;
    const auto number = found->as_uint();
    if (number) {
      into = *number;
    } else if (!found->is_string() || !parse_byte_size(found->as_string(), into)) {
      in.fail(quoted(member) + " must be a number of bytes or a size such as \"64MiB\"");
    }
  }
}

void read_cpu(MemberReader& in, uint32_t& into) {
  in.read("cpu_millis", into);
  const Value* found = in.find("cpu");
  if (found == nullptr) return;
  if (found->is_string() && parse_cpu(found->as_string(), into)) return;
  const auto number = found->as_double();
  if (!found->is_number() || !number || !(*number >= 0) || *number > 1'000'000) {
    return in.fail("\"cpu\" must be a number of CPUs such as 0.5 or \"500m\"");
  }
  into = static_cast<uint32_t>(std::lround(*number * 1000));
}

// A list of words; a single word may stand without brackets.
void read_words(MemberReader& in, std::string_view name, Words& into) {
  const Value* found = in.find(name);
  if (found != nullptr && found->is_string()) {
    into.emplace_back(found->as_string());
    return;
  }
  in.read(name, into);
}

void read_limits(MemberReader& in, RunLimits& limits) {
  in.read("limits", limits);
  read_part(in, "limits", [&](MemberReader& part) {
    int64_t wall_ns = 0;
    read_duration(part, "wall_time", wall_ns);
    if (wall_ns > 0) limits.wall_time_ms = (static_cast<uint64_t>(wall_ns) + 999'999) / 1'000'000;
    for (const auto& [name, member] : {std::pair{"heap", &limits.heap_bytes}, {"reply", &limits.reply_bytes}}) {
      if (part.find(name) != nullptr) read_size(part, name, *member);
    }
  });
}

void read_resources(MemberReader& in, Resources& resources) {
  read_part(in, "resources", [&](MemberReader& part) {
    read_size(part, "memory", resources.memory_bytes);
    read_cpu(part, resources.cpu_millis);
    part.read("pids", resources.pids);
    read_size(part, "disk", resources.disk_bytes);
    read_size(part, "io", resources.io_bytes_per_second);
    part.read("io_bytes_per_second", resources.io_bytes_per_second);
    const std::string most = " is more than any machine has";
    if (resources.memory_bytes > kResourceBytesMax) part.fail("\"memory_bytes\"" + most);
    if (resources.disk_bytes > kResourceBytesMax) part.fail("\"disk_bytes\"" + most);
    if (resources.cpu_millis > kCpuMillisMax) part.fail("\"cpu_millis\"" + most);
  });
}

// Without "type" the members say what it is.
Trigger::Kind implied_kind(const MemberReader& in) {
  if (in.find("schedule") != nullptr) return Trigger::Kind::Schedule;
  if (in.find("path") != nullptr) return Trigger::Kind::Http;
  if (in.find("stream") != nullptr) return Trigger::Kind::Stream;
  if (in.find("bucket") != nullptr) return Trigger::Kind::KeyValue;
  return Trigger::Kind::Subject;
}

void read_trigger(MemberReader& in, Trigger& trigger) {
  trigger.kind = implied_kind(in);
  read_name(in, "type", kTriggerKinds, trigger.kind);
  in.read("subject", trigger.subject).read("stream", trigger.stream).read("bucket", trigger.bucket);
  in.read("key", trigger.key).read("schedule", trigger.schedule).read("path", trigger.path);
  in.read("max_deliver", trigger.max_deliver).read("dead_letter", trigger.dead_letter);
  in.read("start", trigger.start).read("keep", trigger.is_kept);
  read_duration(in, "ack_wait", trigger.ack_wait_ns);
  for (const char* name : {"backoff", "backoff_ns"}) {
    const Value* found = in.find(name);
    if (found == nullptr) continue;
    const std::string wrong = quoted(name) + " must be an array of durations such as [\"1s\", \"10s\"]";
    if (!found->is_array()) return in.fail(wrong);
    for (const Value& value : found->items()) {
      if (!duration_of(value, trigger.backoff_ns.emplace_back())) return in.fail(wrong);
    }
  }
  std::string needed;
  switch (trigger.kind) {
    case Trigger::Kind::Subject: in.need("subject", needed); break;
    case Trigger::Kind::Stream: in.need("stream", needed); break;
    case Trigger::Kind::KeyValue:
    case Trigger::Kind::Object: in.need("bucket", needed); break;
    case Trigger::Kind::Schedule: in.need("schedule", needed); break;
    case Trigger::Kind::Http:
      in.need("path", needed);
      if (!needed.starts_with("/")) in.fail("\"path\" must start with /");
      break;
  }
}

void read_triggers(MemberReader& in, std::vector<Trigger>& triggers) {
  const Value* found = in.find("triggers");
  if (found == nullptr) return;
  if (!found->is_array()) return in.fail("\"triggers\" must be an array");
  for (const Value& value : found->items()) {
    const std::string name = "triggers[" + std::to_string(triggers.size()) + "]";
    Trigger& trigger = triggers.emplace_back();
    if (value.is_string()) {
      trigger.subject = value.as_string();
      continue;
    }
    if (!value.is_object()) return in.fail(name + " must be an object or a subject");
    MemberReader part(value);
    read_trigger(part, trigger);
    if (!part.status()) return in.fail(name + ": " + part.status().error().text);
  }
}

void read_grants(MemberReader& in, Grants& grants) {
  read_part(in, "grants", [&](MemberReader& part) {
    grants.is_declared = true;
    read_words(part, "publish", grants.publish);
    read_words(part, "subscribe", grants.subscribe);
    read_words(part, "buckets", grants.buckets);
    read_words(part, "object_buckets", grants.object_buckets);
    read_words(part, "streams", grants.streams);
    read_words(part, "secrets", grants.secrets);
  });
}

Result<PublishedPort> port_of(const Value& value) {
  if (value.is_string()) return parse_published_port(value.as_string());
  if (const auto number = value.as_uint()) return parse_published_port(std::to_string(*number));
  if (!value.is_object()) {
    return Error{Errc::InvalidArgument, "a port is a number or a text such as \"8080:80\""};
  }
  MemberReader in(value);
  PublishedPort port;
  in.read("host", port.host).read("host_port", port.host_port).read("port", port.port);
  if (in.status() && port.port == 0) in.fail("\"port\" is missing or 0");
  return in.finish(port);
}

// `expose_ports` is what Nex calls them.
void read_ports(MemberReader& in, std::vector<PublishedPort>& ports) {
  for (const char* name : {"ports", "expose_ports"}) {
    const Value* found = in.find(name);
    if (found == nullptr) continue;
    if (!found->is_array()) return in.fail(quoted(name) + " must be an array");
    for (size_t i = 0; i < found->items().size(); ++i) {
      auto port = port_of(found->items()[i]);
      if (!port) return in.fail(std::string(name) + "[" + std::to_string(i) + "]: " + port.error().text);
      ports.push_back(std::move(*port));
    }
  }
}

void read_restart(MemberReader& in, RestartPolicy& restart) {
  const Value* found = in.find("restart");
  if (found == nullptr) return;
  if (found->is_string()) return read_name(in, "restart", kRestartKinds, restart.kind);
  read_part(in, "restart", [&](MemberReader& part) {
    read_name(part, "policy", kRestartKinds, restart.kind);
    part.read("attempts_max", restart.attempts_max);
    read_duration(part, "backoff", restart.backoff_ns);
    read_duration(part, "backoff_max", restart.backoff_max_ns);
    read_duration(part, "reset_after", restart.reset_after_ns);
  });
}

void read_health(MemberReader& in, HealthCheck& health) {
  read_part(in, "health", [&](MemberReader& part) {
    if (part.find("command") != nullptr) health.kind = HealthCheck::Kind::Command;
    if (part.find("port") != nullptr) health.kind = HealthCheck::Kind::Tcp;
    if (part.find("service") != nullptr) health.kind = HealthCheck::Kind::Service;
    read_name(part, "type", kHealthKinds, health.kind);
    part.read("command", health.command).read("port", health.port).read("service", health.service);
    part.read("retries", health.retries);
    read_duration(part, "interval", health.interval_ns);
    read_duration(part, "timeout", health.timeout_ns);
    read_duration(part, "start_period", health.start_period_ns);
    const auto need = [&](HealthCheck::Kind kind, const char* member, bool is_there) {
      if (health.kind == kind && !is_there) part.fail(quoted(member) + " is missing or empty");
    };
    need(HealthCheck::Kind::Command, "command", !health.command.empty());
    need(HealthCheck::Kind::Tcp, "port", health.port != 0);
    need(HealthCheck::Kind::Service, "service", !health.service.empty());
  });
}

class Emitter {
 public:
  explicit Emitter(Writer& out) : out_(out) {}
  Emitter& text(std::string_view name, std::string_view value) {
    if (!value.empty()) out_.field(name, value);
    return *this;
  }
  Emitter& count(std::string_view name, uint64_t value) {
    if (value != 0) out_.field(name, value);
    return *this;
  }
  Emitter& nanos(std::string_view name, int64_t value) {
    if (value != 0) out_.field(name, value);
    return *this;
  }
  Emitter& words(std::string_view name, const Words& value) {
    if (!value.empty()) write_strings(out_, name, value);
    return *this;
  }
  Emitter& pairs(std::string_view name, const Pairs& value) {
    if (!value.empty()) write_pairs(out_, name, value);
    return *this;
  }

 private:
  Writer& out_;
};

void write_trigger(Writer& out, const Trigger& trigger) {
  out.begin_object().field("type", name_of(kTriggerKinds, trigger.kind));
  Emitter emit(out);
  emit.text("subject", trigger.subject).text("stream", trigger.stream).text("bucket", trigger.bucket);
  emit.text("key", trigger.key).text("schedule", trigger.schedule).text("path", trigger.path);
  emit.count("max_deliver", trigger.max_deliver);
  if (!trigger.backoff_ns.empty()) {
    out.key("backoff_ns").begin_array();
    for (const int64_t pause : trigger.backoff_ns) out.number(pause);
    out.end_array();
  }
  emit.nanos("ack_wait_ns", trigger.ack_wait_ns).text("dead_letter", trigger.dead_letter);
  emit.text("start", trigger.start);
  if (trigger.is_kept) out.field("keep", true);
  out.end_object();
}

void write_run_limits(Writer& out, const RunLimits& limits) {
  if (limits.wall_time_ms == 0 && limits.heap_bytes == 0 && limits.reply_bytes == 0 && limits.in_flight == 0 &&
      limits.queue == 0 && limits.max_instances == 0 && limits.log_lines_per_second == 0) {
    return;
  }
  write_limits(out, "limits", limits);
}

void write_resources(Writer& out, const Resources& resources) {
  if (resources.memory_bytes == 0 && resources.cpu_millis == 0 && resources.pids == 0 &&
      resources.io_bytes_per_second == 0 && resources.disk_bytes == 0) {
    return;
  }
  out.key("resources").begin_object();
  Emitter(out)
      .count("memory_bytes", resources.memory_bytes)
      .count("cpu_millis", resources.cpu_millis)
      .count("pids", resources.pids)
      .count("io_bytes_per_second", resources.io_bytes_per_second)
      .count("disk_bytes", resources.disk_bytes);
  out.end_object();
}

void write_grants(Writer& out, const Grants& grants) {
  if (!grants.is_declared) return;
  out.key("grants").begin_object();
  Emitter(out)
      .words("publish", grants.publish)
      .words("subscribe", grants.subscribe)
      .words("buckets", grants.buckets)
      .words("object_buckets", grants.object_buckets)
      .words("streams", grants.streams)
      .words("secrets", grants.secrets);
  out.end_object();
}

void write_restart(Writer& out, const RestartPolicy& restart) {
  if (restart.kind == RestartPolicy::Kind::Default && restart.attempts_max == 0 && restart.backoff_ns == 0 &&
      restart.backoff_max_ns == 0 && restart.reset_after_ns == 0) {
    return;
  }
  out.key("restart").begin_object();
  out.field("policy", name_of(kRestartKinds, restart.kind));
  Emitter(out)
      .count("attempts_max", restart.attempts_max)
      .nanos("backoff_ns", restart.backoff_ns)
      .nanos("backoff_max_ns", restart.backoff_max_ns)
      .nanos("reset_after_ns", restart.reset_after_ns);
  out.end_object();
}

void write_health(Writer& out, const HealthCheck& health) {
  if (health.kind == HealthCheck::Kind::None) return;
  out.key("health").begin_object().field("type", name_of(kHealthKinds, health.kind));
  Emitter(out)
      .words("command", health.command)
      .count("port", health.port)
      .text("service", health.service)
      .nanos("interval_ns", health.interval_ns)
      .nanos("timeout_ns", health.timeout_ns)
      .nanos("start_period_ns", health.start_period_ns)
      .count("retries", health.retries);
  out.end_object();
}

void write_ports(Writer& out, const std::vector<PublishedPort>& ports) {
  if (ports.empty()) return;
  out.key("ports").begin_array();
  for (const PublishedPort& port : ports) {
    out.begin_object().field("host", port.host);
    out.field("host_port", uint64_t{port.host_port}).field("port", uint64_t{port.port}).end_object();
  }
  out.end_array();
}

std::optional<uint16_t> port_number(std::string_view text, bool may_be_zero) {
  const auto number = parse_uint(text);
  if (!number || *number > 65535 || (*number == 0 && !may_be_zero)) return std::nullopt;
  return static_cast<uint16_t>(*number);
}

}  // namespace

bool parse_byte_size(std::string_view text, uint64_t& into) {
  text = trim(text);
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto number = parse_double(text.substr(0, digits));
  const std::string unit = to_lower(trim(text.substr(digits)));
  if (!number || digits == 0) return false;
  const size_t power = unit.empty() ? 0 : std::string_view("bkmgt").find(unit[0]);
  if (power == std::string_view::npos) return false;
  const bool is_known = unit.size() <= 1 || (power > 0 && (unit.substr(1) == "b" || unit.substr(1) == "ib"));
  const double bytes = std::ldexp(*number, static_cast<int>(10 * power));
  if (!is_known || !(bytes >= 0) || bytes >= 9.2e18) return false;
  into = static_cast<uint64_t>(bytes);
  return true;
}

bool parse_cpu(std::string_view text, uint32_t& into) {
  text = trim(text);
  const bool is_millis = text.ends_with("m");
  if (is_millis) text.remove_suffix(1);
  const auto number = parse_double(text);
  if (!number || !(*number >= 0) || *number > 1'000'000) return false;
  into = static_cast<uint32_t>(std::lround(is_millis ? *number : *number * 1000));
  return true;
}

Result<PublishedPort> parse_published_port(std::string_view text) {
  const auto wrong = [whole = std::string(text)](const char* why) {
    return Error{Errc::InvalidArgument, "port \"" + whole + "\" " + why};
  };
  std::string_view rest = text;
  if (const size_t slash = rest.rfind('/'); slash != std::string_view::npos) {
    if (rest.substr(slash) != "/tcp") return wrong("is not TCP, the only kind that is published");
    rest = rest.substr(0, slash);
  }
  PublishedPort port;
  const size_t last = rest.rfind(':');
  const auto inside = port_number(last == std::string_view::npos ? rest : rest.substr(last + 1), false);
  if (!inside) return wrong("is not of the form [[HOST:]HOST_PORT:]PORT");
  port.port = *inside;
  port.host_port = *inside;
  if (last == std::string_view::npos) return port;
  rest = rest.substr(0, last);
  const size_t before = rest.rfind(':');
  const auto outside = port_number(before == std::string_view::npos ? rest : rest.substr(before + 1), true);
  if (!outside) return wrong("is not of the form [[HOST:]HOST_PORT:]PORT");
  port.host_port = *outside;
  if (before == std::string_view::npos) return port;
  rest = rest.substr(0, before);
  if (rest.starts_with("[") && rest.ends_with("]")) rest = rest.substr(1, rest.size() - 2);
  if (rest.empty()) return wrong("has an empty host address");
  port.host = rest;
  return port;
}

std::string encode(const RunRequest& request) {
  Writer out;
  out.begin_object();
  Emitter emit(out);
  emit.text("artifact", base64_encode(request.artifact)).text("uri", request.uri);
  emit.text("sha256", request.sha256).text("file_name", request.file_name);
  emit.words("trigger_subjects", request.trigger_subjects);
  if (!request.triggers.empty()) {
    out.key("triggers").begin_array();
    for (const Trigger& trigger : request.triggers) write_trigger(out, trigger);
    out.end_array();
  }
  emit.text("queue_group", request.queue_group);
  if (request.is_broadcast) out.field("broadcast", true);
  emit.words("argv", request.argv).words("entrypoint", request.entrypoint);
  emit.text("workdir", request.workdir).text("user", request.user);
  emit.pairs("environment", request.environment);
  emit.text("sealed_environment", request.sealed_environment).text("sender_xkey", request.sender_xkey);
  emit.pairs("volumes", request.volumes);
  write_run_limits(out, request.limits);
  write_resources(out, request.resources);
  if (request.isolation != Isolation::Default) out.field("isolation", name_of(kIsolations, request.isolation));
  write_grants(out, request.grants);
  emit.words("egress", request.egress);
  write_ports(out, request.ports);
  write_restart(out, request.restart);
  write_health(out, request.health);
  emit.nanos("stop_grace_ns", request.stop_grace_ns).text("workload_jwt", request.workload_jwt);
  return out.end_object().take();
}

Result<RunRequest> decode_run_request(std::string_view text) {
  const Result<Value> value = parse_object(text);
  if (!value) return value.error();
  RunRequest request;
  MemberReader in(*value);
  std::string encoded;
  in.read("artifact", encoded).read("uri", request.uri).read("sha256", request.sha256);
  in.read("file_name", request.file_name);
  read_words(in, "trigger_subjects", request.trigger_subjects);
  read_triggers(in, request.triggers);
  in.read("queue_group", request.queue_group).read("broadcast", request.is_broadcast);
  in.read("argv", request.argv).read("entrypoint", request.entrypoint);
  in.read("workdir", request.workdir).read("user", request.user);
  in.read("environment", request.environment).read("sealed_environment", request.sealed_environment);
  in.read("sender_xkey", request.sender_xkey).read("volumes", request.volumes);
  read_limits(in, request.limits);
  read_resources(in, request.resources);
  read_name(in, "isolation", kIsolations, request.isolation);
  read_grants(in, request.grants);
  read_words(in, "egress", request.egress);
  read_ports(in, request.ports);
  read_restart(in, request.restart);
  read_health(in, request.health);
  read_duration(in, "stop_grace", request.stop_grace_ns);
  in.read("workload_jwt", request.workload_jwt);
  if (!in.status()) return in.status().error();
  std::optional<std::string> artifact = base64_decode(encoded);
  if (!artifact) return Error{Errc::InvalidArgument, "\"artifact\" is not valid base64"};
  request.artifact = std::move(*artifact);
  return request;
}

}  // namespace brokkr::workload
