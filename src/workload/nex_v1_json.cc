#include "workload/nex_v1_json.h"

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "crypto/jwt.h"
#include "workload/json_members.h"

namespace brokkr::workload::v1 {
namespace {

using json::Value;
using json::Writer;

void open_envelope(Writer& out, std::string_view kind) {
  out.begin_object().field("type", "io.nats.nex.v1." + std::string(kind) + "_response").key("data");
}

std::string close_envelope(Writer& out) { return out.end_object().take(); }

// Total, free and available memory in kB, as /proc has it.
void write_memory(Writer& out) {
  FILE* file = fopen("/proc/meminfo", "re");
  if (file == nullptr) return;
  out.key("memory").begin_object();
  char line[128];
  while (fgets(line, sizeof line, file) != nullptr) {
    unsigned long long value = 0;
    if (sscanf(line, "MemTotal: %llu", &value) == 1) out.field("total", uint64_t{value});
    if (sscanf(line, "MemFree: %llu", &value) == 1) out.field("free", uint64_t{value});
    if (sscanf(line, "MemAvailable: %llu", &value) == 1) out.field("available", uint64_t{value});
  }
  out.end_object();
  fclose(file);
}

bool has_tag(const Pairs& tags, std::string_view name, std::string_view value) {
  return std::any_of(tags.begin(), tags.end(), [&](const auto& tag) {
    return tag.first == name && equals_ignore_case(tag.second, value);
  });
}

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// "nats://BUCKET/key" from Go's URL object or from a text.
Result<std::string> location_of(const Value* location) {
  const Error wrong{Errc::InvalidArgument, "\"location\" is missing or no URL"};
  if (location == nullptr) return wrong;
  std::string text(location->as_string());
  if (location->is_object()) {
    text = std::string(location->get_string("Scheme")) + "://" + std::string(location->get_string("Host")) +
           std::string(location->get_string("Path"));
  }
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos || scheme == 0) return wrong;
  // "nats://BUCKET//key" is what a path that begins with a slash comes to.
  const size_t slash = text.find('/', scheme + 3);
  while (slash != std::string::npos && text.substr(slash + 1, 1) == "/") text.erase(slash + 1, 1);
  return text;
}

Result<Value> parse_request(std::string_view text) {
  auto value = json::parse(text);
  if (!value) return Error{Errc::Syntax, "the request is no JSON: " + value.error().text};
  if (!value->is_object()) return Error{Errc::Syntax, "the request is not a JSON object"};
  return value;
}

}  // namespace

std::string ping_response(const NodeFacts& facts, std::string_view kind) {
  Writer out;
  open_envelope(out, kind);
  out.begin_object().field("node_id", facts.node_id).field("nexus", facts.nexus);
  out.field("version", facts.version).field("uptime", facts.uptime).field("target_xkey", facts.xkey);
  write_pairs(out, "tags", facts.tags);
  out.field("running_machines", uint64_t{facts.workloads.size()}).end_object();
  return close_envelope(out);
}

std::string workload_ping_response(const NodeFacts& facts) {
  Writer out;
  open_envelope(out, "ping");
  out.begin_object().field("node_id", facts.node_id).field("target_xkey", facts.xkey).field("version", facts.version);
  write_pairs(out, "tags", facts.tags);
  out.field("uptime", facts.uptime).key("running_machines").begin_array();
  for (const WorkloadInfo& info : facts.workloads) {
    out.begin_object().field("id", info.summary.id).field("namespace", info.summary.ns);
    out.field("name", info.summary.name).field("type", info.summary.workload_type).end_object();
  }
  out.end_array().end_object();
  return close_envelope(out);
}

std::string info_response(const NodeFacts& facts) {
  Writer out;
  open_envelope(out, "info");
  out.begin_object().field("version", facts.version).field("uptime", facts.uptime).field("public_xkey", facts.xkey);
  write_pairs(out, "tags", facts.tags);
  write_memory(out);
  out.key("machines").begin_array();
  for (const WorkloadInfo& info : facts.workloads) {
    out.begin_object().field("id", info.summary.id);
    out.field("healthy", info.summary.workload_state == "running" || info.summary.workload_state == "warm");
    out.field("uptime", info.summary.runtime).field("namespace", info.summary.ns).key("workload").begin_object();
    out.field("name", info.summary.name).field("description", info.description);
    out.field("runtime", info.summary.runtime).field("type", info.summary.workload_type);
    out.field("hash", info.sha256).end_object().end_object();
  }
  out.end_array();
  write_strings(out, "supported_workload_types", facts.types);
  out.end_object();
  return close_envelope(out);
}

std::string run_response(std::string_view id, std::string_view issuer, std::string_view name) {
  Writer out;
  open_envelope(out, "run");
  out.begin_object().field("started", true).field("id", id).field("issuer", issuer).field("name", name).end_object();
  return close_envelope(out);
}

std::string stop_response(std::string_view id, std::string_view issuer, std::string_view name) {
  Writer out;
  open_envelope(out, "stop");
  out.begin_object().field("stopped", true).field("id", id).field("issuer", issuer).field("name", name).end_object();
  return close_envelope(out);
}

std::string lameduck_response(std::string_view node_id, bool is_success) {
  Writer out;
  open_envelope(out, "lameduck");
  out.begin_object().field("node_id", node_id).field("success", is_success).end_object();
  return close_envelope(out);
}

std::string failure(std::string_view kind, std::string_view text) {
  Writer out;
  open_envelope(out, kind);
  return out.string("").field("error", text).end_object().take();
}

Auction decode_auction(std::string_view text) {
  Auction auction;
  const auto value = json::parse(text);
  if (!value || !value->is_object()) return auction;
  MemberReader in(*value);
  in.read("arch", auction.arch).read("os", auction.os).read("tags", auction.tags);
  in.read("workload_types", auction.types);
  if (const Value* sandboxed = in.find("sandboxed")) {
    auction.is_sandboxed_said = sandboxed->is_bool();
    auction.is_sandboxed = sandboxed->as_bool().value_or(true);
  }
  return in.status() ? auction : Auction{};
}

bool is_viable(const Auction& auction, const NodeFacts& facts, bool is_sandboxed) {
  if (!auction.arch.empty() && !has_tag(facts.tags, "nex.arch", auction.arch)) return false;
  if (!auction.os.empty() && !has_tag(facts.tags, "nex.os", auction.os)) return false;
  if (auction.is_sandboxed_said && auction.is_sandboxed != is_sandboxed) return false;
  return std::all_of(auction.tags.begin(), auction.tags.end(),
                     [&](const auto& tag) { return has_tag(facts.tags, tag.first, tag.second); }) &&
         std::all_of(auction.types.begin(), auction.types.end(), [&](const auto& type) {
           return std::find(facts.types.begin(), facts.types.end(), type) != facts.types.end();
         });
}

Result<Token> decode_token(std::string_view jwt, const Words& issuers) {
  const auto claims = crypto::decode_generic(jwt);
  if (!claims) return Error{Errc::PermissionDenied, "workload token: " + claims.error().text};
  if (!crypto::is_public_key(claims->iss, crypto::NkeyType::Account)) {
    return Error{Errc::PermissionDenied, "workload token: the issuer is no account"};
  }
  if (!issuers.empty() && std::find(issuers.begin(), issuers.end(), claims->iss) == issuers.end()) {
    return Error{Errc::PermissionDenied, "workload token: issuer " + claims->iss + " is not allowed here"};
  }
  Token token{claims->iss, claims->sub, claims->jti, claims->iat, {}};
  const auto data = json::parse(claims->data);
  if (data) token.hash = data->get_string("hash");
  return token;
}

Result<Deploy> decode_deploy(std::string_view text, const Words& issuers) {
  const auto value = parse_request(text);
  if (!value) return value.error();
  Deploy deploy;
  MemberReader in(*value);
  std::string jwt;
  bool is_essential = false;
  in.read("argv", deploy.run.argv).read("description", deploy.request.description);
  in.need("type", deploy.request.workload_type).read("essential", is_essential).need("workload_jwt", jwt);
  in.read("environment", deploy.run.sealed_environment).read("sender_public_key", deploy.run.sender_xkey);
  in.read("trigger_subjects", deploy.run.trigger_subjects);
  if (!in.status()) return in.status().error();
  auto location = location_of(in.find("location"));
  if (!location) return location.error();
  auto token = decode_token(jwt, issuers);
  if (!token) return token.error();
  deploy.token = std::move(*token);
  deploy.run.uri = std::move(*location);
  // The CLI of 0.2.7 writes a placeholder there.
  if (is_digest(deploy.token.hash)) deploy.run.sha256 = deploy.token.hash;
  deploy.run.file_name = deploy.run.uri.substr(deploy.run.uri.rfind('/') + 1);
  deploy.request.name = deploy.token.subject;
  const std::string& type = deploy.request.workload_type;
  deploy.request.workload_lifecycle = type == "v8" || type == "wasm" ? "function" : "service";
  if (deploy.request.workload_lifecycle == "service") {
    deploy.run.restart.kind = is_essential ? RestartPolicy::Kind::Always : RestartPolicy::Kind::Never;
  }
  return deploy;
}

Result<Stop> decode_stop(std::string_view text, const Words& issuers) {
  const auto value = parse_request(text);
  if (!value) return value.error();
  Stop stop;
  std::string jwt;
  MemberReader in(*value);
  in.need("workload_id", stop.workload_id).need("workload_jwt", jwt);
  if (!in.status()) return in.status().error();
  auto token = decode_token(jwt, issuers);
  if (!token) return token.error();
  stop.token = std::move(*token);
  return stop;
}

Status check_stop(const Token& stop, const Token& deploy) {
  if (stop.subject != deploy.subject) {
    return Error{Errc::PermissionDenied, "the token is for workload \"" + stop.subject + "\""};
  }
  if (stop.issuer != deploy.issuer) return Error{Errc::PermissionDenied, "the workload is another issuer's"};
  if (stop.jti == deploy.jti || stop.issued == deploy.issued) {
    return Error{Errc::PermissionDenied, "the token is cloned or captured: its id and time must be its own"};
  }
  return {};
}

std::string event_subject(std::string_view ns, std::string_view type) {
  std::string subject("$NEX.events.");
  return subject.append(ns).append(".").append(type);
}

std::string log_subject(std::string_view ns, std::string_view node_id, std::string_view workload, std::string_view id) {
  std::string subject("$NEX.logs.");
  return subject.append(ns).append(".").append(node_id).append(".").append(workload).append(".").append(id);
}

std::string cloud_event(std::string_view id, std::string_view time, std::string_view type, std::string_view source,
                        std::string_view ns, std::string_view data) {
  Writer out;
  out.begin_object().field("specversion", "1.0").field("id", id).field("source", source).field("type", type);
  out.field("datacontenttype", "application/json").field("time", time).field("namespace", ns);
  return out.key("data").raw(data).end_object().take();
}

std::string node_started_data(const NodeFacts& facts) {
  Writer out;
  out.begin_object().field("version", facts.version).field("id", facts.node_id);
  write_pairs(out, "tags", facts.tags);
  return out.end_object().take();
}

std::string heartbeat_data(const NodeFacts& facts) {
  Writer out;
  out.begin_object().field("version", facts.version).field("node_id", facts.node_id);
  out.field("nexus", facts.nexus).field("uptime", facts.uptime);
  write_pairs(out, "tags", facts.tags);
  return out.field("running_machines", uint64_t{facts.workloads.size()}).end_object().take();
}

std::string log_body(LogLevel level, std::string_view text, std::string_view id) {
  constexpr std::string_view kLevels[] = {"DEBUG", "INFO", "ERROR"};
  Writer out;
  out.begin_object().field("text", text).field("level", kLevels[static_cast<size_t>(level)]);
  return out.field("id", id).end_object().take();
}

}  // namespace brokkr::workload::v1
