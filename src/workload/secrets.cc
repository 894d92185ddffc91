#include "workload/secrets.h"

#include <string.h>

#include <algorithm>

#include "workload/json_members.h"

namespace brokkr::workload {
namespace {

constexpr size_t kSecretNameMax = 128;

// What a box holds: the value and what it is of.
std::string box_content(std::string_view ns, std::string_view name, std::string_view value) {
  std::string content(ns);
  content.append(1, '\0').append(name).append(1, '\0').append(value);
  return content;
}

constexpr std::pair<SecretsRequest::Action, std::string_view> kSecretActions[] = {
    {SecretsRequest::Action::List, "list"},
    {SecretsRequest::Action::Set, "set"},
    {SecretsRequest::Action::Remove, "remove"}};

void write_secret_record(json::Writer& out, const SecretRecord& record) {
  out.begin_object().field("sender", record.sender).field("updated", record.updated);
  write_pairs(out, "boxes", record.boxes);
  out.end_object();
}

}  // namespace

void wipe(std::string& text) {
  explicit_bzero(text.data(), text.size());
  text.clear();
}

bool is_secret_name(std::string_view name) {
  return !name.empty() && name.size() <= kSecretNameMax && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

std::string secret_key(std::string_view ns, std::string_view name) {
  return std::string(ns) + "." + std::string(name);
}

Result<SecretRecord> seal_secret(std::string_view ns, std::string_view name, std::string_view value,
                                 const crypto::CurveKey& sender, const Words& recipients, WallTime now) {
  if (!is_secret_name(name)) {
    return Error{Errc::InvalidArgument, "secret name \"" + std::string(name) +
                                            "\" is not valid: letters, digits, - and _ only"};
  }
  if (value.size() > kSecretBytesMax) {
    return Error{Errc::LimitExceeded, "a secret has at most " + format_bytes(kSecretBytesMax)};
  }
  SecretRecord record{sender.public_key(), format_rfc3339(now), {}};
  std::string content = box_content(ns, name, value);
  for (const std::string& recipient : recipients) {
    if (has_box_for(record, recipient)) continue;
    auto box = sender.seal(content, recipient);
    if (!box) {
      wipe(content);
      return box.error();
    }
    record.boxes.emplace_back(recipient, base64_encode(*box));
  }
  wipe(content);
  return record;
}

bool has_box_for(const SecretRecord& record, std::string_view xkey) {
  return std::any_of(record.boxes.begin(), record.boxes.end(), [&](const auto& box) { return box.first == xkey; });
}

Result<std::string> open_secret(std::string_view ns, std::string_view name, const SecretRecord& record,
                                const crypto::CurveKey& key) {
  const std::string what = "secret \"" + std::string(name) + "\"";
  for (const auto& [xkey, text] : record.boxes) {
    if (xkey != key.public_key()) continue;
    const auto box = base64_decode(text);
    if (!box) return Error{Errc::Corrupt, what + " is damaged"};
    auto content = key.open(*box, record.sender);
    if (!content) return Error{Errc::Corrupt, what + ": " + content.error().text};
    const std::string head = box_content(ns, name, {});
    if (!content->starts_with(head)) {
      wipe(*content);
      return Error{Errc::Corrupt, what + " is a copy of another one"};
    }
    std::string value = content->substr(head.size());
    wipe(*content);
    return value;
  }
  return Error{Errc::NotFound, what + " is not sealed to this node"};
}

Result<SecretRecord> reseal_secret(std::string_view ns, std::string_view name, const SecretRecord& record,
                                   const crypto::CurveKey& key, const Words& more) {
  auto value = open_secret(ns, name, record, key);
  if (!value) return value.error();
  Words recipients = more;
  for (const auto& [xkey, box] : record.boxes) recipients.push_back(xkey);
  auto again = seal_secret(ns, name, *value, key, recipients, WallTime{});
  wipe(*value);
  if (again) again->updated = record.updated;
  return again;
}

Result<std::string> seal_environment(const Pairs& environment, const crypto::CurveKey& sender,
                                     const Words& recipients) {
  json::Writer content;
  content.begin_object();
  for (const auto& [name, value] : environment) content.field(name, value);
  std::string text = content.end_object().take();
  Pairs boxes;
  for (const std::string& recipient : recipients) {
    auto box = sender.seal(text, recipient);
    if (!box) return box.error();
    boxes.emplace_back(recipient, base64_encode(*box));
  }
  wipe(text);
  json::Writer out;
  out.begin_object();
  for (const auto& [xkey, box] : boxes) out.field(xkey, box);
  return out.end_object().take();
}

Result<Pairs> open_environment(const RunRequest& run, const crypto::CurveKey& key) {
  if (run.sealed_environment.empty()) return Pairs{};
  std::string text = run.sealed_environment;
  if (text.starts_with("{")) {
    const auto boxes = json::parse(text);
    const json::Value* found = boxes ? boxes->find(key.public_key()) : nullptr;
    if (found == nullptr) return Error{Errc::PermissionDenied, "the environment is not sealed to this node"};
    text = found->as_string();
  }
  const auto box = base64_decode(text);
  if (!box) return Error{Errc::InvalidArgument, "\"sealed_environment\" is not valid base64"};
  auto content = key.open(*box, run.sender_xkey);
  if (!content) return Error{Errc::PermissionDenied, "the environment is not sealed to this node by the named sender"};
  const auto value = parse_object(*content);
  wipe(*content);
  if (!value) return Error{Errc::InvalidArgument, "the sealed environment is no JSON object"};
  Pairs environment;
  for (const auto& [name, member] : value->members()) {
    if (!member.is_string()) return Error{Errc::InvalidArgument, "the sealed environment is no object of strings"};
    environment.emplace_back(name, member.as_string());
  }
  return environment;
}

Words secret_names(const Pairs& environment) {
  Words names;
  for (const auto& [variable, value] : environment) {
    if (!value.starts_with(kSecretScheme)) continue;
    const std::string name = value.substr(kSecretScheme.size());
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string encode(const SecretsRequest& request) {
  json::Writer out;
  out.begin_object();
  for (const auto& [action, name] : kSecretActions) {
    if (action == request.action) out.field("action", name);
  }
  if (!request.name.empty()) out.field("name", request.name);
  if (request.action == SecretsRequest::Action::Set) write_secret_record(out.key("record"), request.record);
  return out.end_object().take();
}

Result<SecretsRequest> decode_secrets_request(std::string_view text) {
  const auto value = parse_object(text);
  if (!value) return value.error();
  SecretsRequest request;
  MemberReader in(*value);
  std::string action;
  in.read("action", action).read("name", request.name);
  const auto* known = std::find_if(std::begin(kSecretActions), std::end(kSecretActions),
                                   [&](const auto& one) { return one.second == action; });
  if (!action.empty() && known == std::end(kSecretActions)) in.fail("\"action\" must be list, set or remove");
  if (known != std::end(kSecretActions)) request.action = known->first;
  if (const json::Value* record = in.find("record")) {
    MemberReader part(*record);
    part.need("sender", request.record.sender).read("updated", request.record.updated);
    part.read("boxes", request.record.boxes);
    if (!part.status()) in.fail("record: " + part.status().error().text);
  }
  if (request.action == SecretsRequest::Action::Set && request.record.boxes.empty()) in.fail("\"record\" is missing or empty");
  if (request.action != SecretsRequest::Action::List && !is_secret_name(request.name)) {
    in.fail("secret name \"" + request.name + "\" is not valid: letters, digits, - and _ only");
  }
  return in.finish(std::move(request));
}

std::string encode(const SecretsReply& reply) {
  json::Writer out;
  out.begin_object().key("secrets").begin_array();
  for (const SecretFacts& one : reply.secrets) {
    out.begin_object().field("name", one.name).field("updated", one.updated);
    out.field("nodes", uint64_t{one.nodes}).end_object();
  }
  out.end_array();
  write_strings(out, "xkeys", reply.xkeys);
  return out.end_object().take();
}

Result<SecretsReply> decode_secrets_reply(std::string_view text) {
  const auto value = parse_object(text);
  if (!value) return value.error();
  SecretsReply reply;
  MemberReader in(*value);
  in.read("xkeys", reply.xkeys);
  if (const json::Value* list = in.find("secrets")) {
    for (const json::Value& item : list->items()) {
      MemberReader part(item);
      SecretFacts& one = reply.secrets.emplace_back();
      part.need("name", one.name).read("updated", one.updated).read("nodes", one.nodes);
      if (!part.status()) in.fail("secrets: " + part.status().error().text);
    }
  }
  return in.finish(std::move(reply));
}

}  // namespace brokkr::workload
