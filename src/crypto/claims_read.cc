#include <string>
#include <utility>

#include "base/bytes.h"
#include "crypto/claims_json.h"

namespace brokkr::crypto {
namespace {

using json::Value;

// Reads members of one object into fields. A member that is absent or null leaves its field; the
// first of a wrong kind is kept as the error, and the rest is not read.
class ObjectReader {
 public:
  ObjectReader(const Value* object, std::string path, std::string& error)
      : object_(object), path_(std::move(path)), error_(error) {
    if (object_ != nullptr && object_->is_null()) object_ = nullptr;
    if (object_ != nullptr && !object_->is_object()) refuse("", "an object");
  }

  const Value* find(std::string_view name) const {
    if (object_ == nullptr || !error_.empty()) return nullptr;
    const Value* const found = object_->find(name);
    return found != nullptr && found->is_null() ? nullptr : found;
  }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  // `found` false without having looked: nothing to read.
  ObjectReader object(std::string_view name) const { return {find(name), path_of(name), error_}; }
  ObjectReader at(const Value& item, std::string_view name, size_t index) const {
    return {&item, path_of(name) + "[" + std::to_string(index) + "]", error_};
  }

  ObjectReader& read(std::string_view name, std::string& out) {
    if (const Value* const found = find(name)) {
      if (!found->is_string()) return refuse(name, "a string");
      out = found->as_string();
    }
    return *this;
  }
  ObjectReader& read(std::string_view name, bool& out) {
    if (const Value* const found = find(name)) {
      if (!found->is_bool()) return refuse(name, "true or false");
      out = *found->as_bool();
    }
    return *this;
  }
  ObjectReader& read(std::string_view name, int64_t& out) {
    if (const Value* const found = find(name)) {
      const auto number = found->as_int();
      if (!is_integer(*found) || !number) return refuse(name, "an integer");
      out = *number;
    }
    return *this;
  }
  ObjectReader& read(std::string_view name, uint64_t& out) {
    if (const Value* const found = find(name)) {
      const auto number = found->as_uint();
      if (!is_integer(*found) || !number) return refuse(name, "an integer of 0 or more");
      out = *number;
    }
    return *this;
  }
  ObjectReader& read(std::string_view name, Texts& out) {
    if (const Value* const found = find(name)) read_texts(*found, name, out);
    return *this;
  }
  ObjectReader& read(std::string_view name, ExportType& out) {
    if (const Value* const found = find(name)) {
      const std::string_view text = found->as_string();
      if (text == "stream") out = ExportType::Stream;
      else if (text == "service") out = ExportType::Service;
      else return refuse(name, "\"stream\" or \"service\"");
    }
    return *this;
  }

  void read_texts(const Value& list, std::string_view name, Texts& out) {
    if (!list.is_array()) {
      refuse(name, "a list");
      return;
    }
    out.clear();
    for (const Value& item : list.items()) {
      if (!item.is_string()) {
        refuse(name, "a list of strings");
        return;
      }
      out.emplace_back(item.as_string());
    }
  }

  // Calls `item(reader, value, index)` for each; every item must be an object.
  template <typename Visit>
  ObjectReader& each_object(std::string_view name, Visit visit) {
    const Value* const found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_array()) return refuse(name, "a list");
    size_t index = 0;
    for (const Value& item : found->items()) {
      // A null entry has crashed servers; it says nothing, so it is refused.
      if (!item.is_object()) return refuse(name, "a list of objects");
      visit(at(item, name, index++));
    }
    return *this;
  }
  template <typename Visit>
  ObjectReader& each_member(std::string_view name, Visit visit) {
    const Value* const found = find(name);
    if (found == nullptr) return *this;
    if (!found->is_object()) return refuse(name, "an object");
    for (const auto& [key, value] : found->members()) visit(key, value);
    return *this;
  }

  ObjectReader& refuse(std::string_view name, std::string_view wanted) {
    if (error_.empty()) error_ = (name.empty() ? path_ : path_of(name)) + " is not " + std::string(wanted);
    return *this;
  }

 private:
  static bool is_integer(const Value& value) {
    return value.kind() == Value::Kind::Int || value.kind() == Value::Kind::Uint;
  }
  std::string path_of(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  }

  const Value* object_;
  std::string path_;
  std::string& error_;
};

void read_data(ObjectReader& in, ClaimsData& out) {
  in.read("aud", out.aud).read("exp", out.exp).read("jti", out.jti).read("iat", out.iat);
  in.read("iss", out.iss).read("name", out.name).read("nbf", out.nbf).read("sub", out.sub);
}

void read_generic(ObjectReader& in, GenericFields& out) {
  in.read("tags", out.tags).read("type", out.type).read("version", out.version);
}

void read_permissions(ObjectReader& in, Permissions& out) {
  in.object("pub").read("allow", out.pub.allow).read("deny", out.pub.deny);
  in.object("sub").read("allow", out.sub.allow).read("deny", out.sub.deny);
  if (in.has("resp")) {
    out.resp.emplace();
    in.object("resp").read("max", out.resp->max).read("ttl", out.resp->ttl_ns);
  }
}

void read_nats_limits(ObjectReader& in, NatsLimits& out) {
  in.read("subs", out.subs).read("data", out.data).read("payload", out.payload);
}

void read_networks(ObjectReader& in, Texts& out) {
  const Value* const found = in.find("src");
  if (found == nullptr) return;
  if (!found->is_string()) {
    in.read("src", out);
    return;
  }
  // The older form: one text with commas.
  out.clear();
  for (const std::string_view part : split(found->as_string(), ',')) {
    if (!trim(part).empty()) out.push_back(to_lower(trim(part)));
  }
}

void read_user_limits(ObjectReader& in, UserPermissionLimits& out) {
  read_permissions(in, out.permissions);
  read_networks(in, out.src);
  out.times.clear();
  in.each_object("times", [&](ObjectReader item) {
    item.read("start", out.times.emplace_back().start).read("end", out.times.back().end);
  });
  in.read("times_location", out.times_location);
  read_nats_limits(in, out.limits);
  in.read("bearer_token", out.bearer_token).read("proxy_required", out.proxy_required);
  in.read("allowed_connection_types", out.allowed_connection_types);
}

void read_revocations(ObjectReader& in, std::string_view name, Revocations& out) {
  in.each_member(name, [&](const std::string& key, const Value& value) {
    const auto second = value.as_int();
    if (!value.is_number() || !second) {
      in.refuse(name, "an object of integers");
    } else {
      out[key] = *second;
    }
  });
}

void read_export(ObjectReader& in, Export& out) {
  in.read("name", out.name).read("subject", out.subject).read("type", out.type);
  in.read("token_req", out.token_req).read("response_type", out.response_type);
  in.read("response_threshold", out.response_threshold_ns);
  in.read("account_token_position", out.account_token_position);
  in.read("advertise", out.advertise).read("allow_trace", out.allow_trace);
  in.read("description", out.description).read("info_url", out.info_url);
  read_revocations(in, "revocations", out.revocations);
  if (!in.has("service_latency")) return;
  ObjectReader latency = in.object("service_latency");
  out.latency.emplace();
  latency.read("results", out.latency->results);
  const Value* const sampling = latency.find("sampling");
  if (sampling != nullptr && sampling->is_string() && equals_ignore_case(sampling->as_string(), "headers")) return;
  latency.read("sampling", out.latency->sampling);
}

void read_import(ObjectReader& in, Import& out) {
  in.read("name", out.name).read("subject", out.subject).read("account", out.account);
  in.read("token", out.token).read("to", out.to).read("local_subject", out.local_subject);
  in.read("type", out.type).read("share", out.share).read("allow_trace", out.allow_trace);
}

void read_jetstream_limits(ObjectReader& in, JetStreamLimits& out) {
  in.read("mem_storage", out.mem_storage).read("disk_storage", out.disk_storage);
  in.read("streams", out.streams).read("consumer", out.consumer);
  in.read("max_ack_pending", out.max_ack_pending);
  in.read("mem_max_stream_bytes", out.mem_max_stream_bytes);
  in.read("disk_max_stream_bytes", out.disk_max_stream_bytes);
  in.read("max_bytes_required", out.max_bytes_required);
}

void read_account_limits(ObjectReader in, OperatorLimits& out) {
  read_nats_limits(in, out.nats);
  in.read("imports", out.account.imports).read("exports", out.account.exports);
  in.read("wildcards", out.account.wildcards).read("disallow_bearer", out.account.disallow_bearer);
  in.read("conn", out.account.conn).read("leaf", out.account.leaf);
  read_jetstream_limits(in, out.jetstream);
  in.each_member("tiered_limits", [&](const std::string& tier, const Value&) {
    ObjectReader tiers = in.object("tiered_limits");
    ObjectReader limits = tiers.object(tier);
    read_jetstream_limits(limits, out.tiers[tier]);
  });
  if (!out.tiers.empty()) out.jetstream = {};
}

void read_signing_keys(ObjectReader& in, SigningKeys& out) {
  const Value* const found = in.find("signing_keys");
  if (found == nullptr) return;
  if (!found->is_array()) {
    in.refuse("signing_keys", "a list");
    return;
  }
  size_t index = 0;
  for (const Value& item : found->items()) {
    if (item.is_string()) {
      out[std::string(item.as_string())] = std::nullopt;
    } else if (!item.is_object()) {
      in.refuse("signing_keys", "a list of keys and scopes");
    } else {
      ObjectReader entry = in.at(item, "signing_keys", index);
      UserScope scope;
      scope.template_.limits = {kNoLimit, kNoLimit, kNoLimit};
      // An unknown kind of scope would be a key without limits if it were passed over.
      if (item.get_string("kind") != "user_scope") entry.refuse("kind", "\"user_scope\"");
      entry.read("key", scope.key).read("role", scope.role).read("description", scope.description);
      ObjectReader limits = entry.object("template");
      read_user_limits(limits, scope.template_);
      std::string key = scope.key;
      out[std::move(key)] = std::move(scope);
    }
    ++index;
  }
}

void read_mappings(ObjectReader& in, AccountClaims& out) {
  in.each_member("mappings", [&](const std::string& subject, const Value&) {
    ObjectReader mappings = in.object("mappings");
    auto& list = out.mappings[subject];
    mappings.each_object(subject, [&](ObjectReader item) {
      auto& to = list.emplace_back();
      item.read("subject", to.subject).read("weight", to.weight).read("cluster", to.cluster);
      // Go keeps it in a byte.
      if (to.weight < 0 || to.weight > 255) item.refuse("weight", "between 0 and 255");
    });
  });
}

struct Sections {
  explicit Sections(const Value& root) : top(&root, "", error), nats(top.object("nats")) {}
  Status end() const {
    if (!error.empty()) return Error{Errc::Syntax, "claims: " + error};
    return {};
  }
  std::string error;
  ObjectReader top;
  ObjectReader nats;
};

// The common part of both layouts.
void read_head(Sections& in, int64_t version, ClaimsData& data, GenericFields& generic) {
  read_data(in.top, data);
  if (version == 1) {
    in.top.read("type", generic.type).read("tags", generic.tags);
    generic.version = 1;
  } else {
    read_generic(in.nats, generic);
  }
}

}  // namespace

Status read_claims(const Value& root, int64_t version, OperatorClaims& out) {
  Sections in(root);
  read_head(in, version, out, out);
  in.nats.read("signing_keys", out.signing_keys).read("account_server_url", out.account_server_url);
  in.nats.read("operator_service_urls", out.operator_service_urls).read("system_account", out.system_account);
  in.nats.read("assert_server_version", out.assert_server_version);
  in.nats.read("strict_signing_key_usage", out.strict_signing_key_usage);
  return in.end();
}

Status read_claims(const Value& root, int64_t version, AccountClaims& out) {
  Sections in(root);
  read_head(in, version, out, out);
  in.nats.each_object("imports", [&](ObjectReader item) { read_import(item, out.imports.emplace_back()); });
  in.nats.each_object("exports", [&](ObjectReader item) { read_export(item, out.exports.emplace_back()); });
  read_account_limits(in.nats.object("limits"), out.limits);
  if (version == 1) out.limits.jetstream = {};
  read_signing_keys(in.nats, out.signing_keys);
  read_revocations(in.nats, "revocations", out.revocations);
  ObjectReader permissions = in.nats.object("default_permissions");
  read_permissions(permissions, out.default_permissions);
  read_mappings(in.nats, out);
  in.nats.object("authorization")
      .read("auth_users", out.authorization.auth_users)
      .read("allowed_accounts", out.authorization.allowed_accounts)
      .read("xkey", out.authorization.xkey);
  if (in.nats.has("trace")) {
    out.trace.emplace();
    in.nats.object("trace").read("dest", out.trace->dest).read("sampling", out.trace->sampling);
  }
  in.nats.read("cluster_traffic", out.cluster_traffic);
  in.nats.read("description", out.description).read("info_url", out.info_url);
  return in.end();
}

Status read_claims(const Value& root, int64_t version, UserClaims& out) {
  Sections in(root);
  read_head(in, version, out, out);
  if (version == 1) out.user.limits = {kNoLimit, kNoLimit, kNoLimit};
  read_user_limits(in.nats, out.user);
  (version == 1 ? in.top : in.nats).read("issuer_account", out.issuer_account);
  return in.end();
}

Status read_claims(const Value& root, int64_t version, ActivationClaims& out) {
  Sections in(root);
  read_head(in, version, out, out);
  in.nats.read("subject", out.import_subject).read(version == 1 ? "type" : "kind", out.import_type);
  (version == 1 ? in.top : in.nats).read("issuer_account", out.issuer_account);
  return in.end();
}

Status read_claims(const Value& root, int64_t version, AuthorizationRequestClaims& out) {
  Sections in(root);
  read_head(in, version, out, out);
  auto& server = out.server;
  in.nats.object("server_id")
      .read("name", server.name).read("host", server.host).read("id", server.id)
      .read("version", server.version).read("cluster", server.cluster).read("tags", server.tags)
      .read("xkey", server.xkey);
  in.nats.read("user_nkey", out.user_nkey).read("request_nonce", out.request_nonce);
  auto& client = out.client;
  in.nats.object("client_info")
      .read("host", client.host).read("id", client.id).read("user", client.user).read("name", client.name)
      .read("tags", client.tags).read("name_tag", client.name_tag).read("kind", client.kind)
      .read("type", client.type).read("mqtt_id", client.mqtt_id).read("nonce", client.nonce);
  auto& connect = out.connect;
  in.nats.object("connect_opts")
      .read("jwt", connect.jwt).read("nkey", connect.nkey).read("sig", connect.sig)
      .read("auth_token", connect.auth_token).read("user", connect.user).read("pass", connect.pass)
      .read("name", connect.name).read("lang", connect.lang).read("version", connect.version)
      .read("protocol", connect.protocol);
  if (in.nats.has("client_tls")) {
    ObjectReader tls = in.nats.object("client_tls");
    out.tls.emplace();
    tls.read("version", out.tls->version).read("cipher", out.tls->cipher).read("certs", out.tls->certs);
    const Value* const chains = tls.find("verified_chains");
    if (chains != nullptr && !chains->is_array()) tls.refuse("verified_chains", "a list");
    for (size_t i = 0; chains != nullptr && i < chains->items().size(); ++i) {
      tls.read_texts(chains->items()[i], "verified_chains", out.tls->verified_chains.emplace_back());
    }
  }
  return in.end();
}

Status read_claims(const Value& root, int64_t version, AuthorizationResponseClaims& out) {
  Sections in(root);
  read_head(in, version, out, out);
  in.nats.read("jwt", out.jwt).read("error", out.error).read("issuer_account", out.issuer_account);
  return in.end();
}

Status read_claims(const Value& root, int64_t /*version*/, GenericClaims& out) {
  Sections in(root);
  read_data(in.top, out);
  if (const Value* const data = in.top.find("nats"); data != nullptr && data->is_object()) {
    json::Writer text(json::Writer::Options{});
    out.data = text.value(*data).take();
  }
  return in.end();
}

}  // namespace brokkr::crypto
