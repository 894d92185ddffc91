#include "crypto/claims_json.h"

namespace brokkr::crypto {
namespace {

using json::Writer;

// Go's omitempty: what says nothing is not written.
void put(Writer& out, std::string_view name, const std::string& value) {
  if (!value.empty()) out.field(name, value);
}
void put(Writer& out, std::string_view name, int64_t value) {
  if (value != 0) out.field(name, value);
}
void put(Writer& out, std::string_view name, uint64_t value) {
  if (value != 0) out.field(name, value);
}
void put(Writer& out, std::string_view name, bool value) {
  if (value) out.field(name, value);
}

void put_list(Writer& out, const Texts& values) {
  out.begin_array();
  for (const std::string& value : values) out.string(value);
  out.end_array();
}

void put(Writer& out, std::string_view name, const Texts& values) {
  if (values.empty()) return;
  out.key(name);
  put_list(out, values);
}

void put(Writer& out, std::string_view name, ExportType type) {
  if (type != ExportType::Unknown) out.field(name, to_string(type));
}

void put(Writer& out, std::string_view name, const Revocations& revocations) {
  if (revocations.empty()) return;
  out.key(name).begin_object();
  for (const auto& [key, second] : revocations) out.field(key, second);
  out.end_object();
}

void put_generic(Writer& out, const GenericFields& generic) {
  put(out, "tags", generic.tags);
  put(out, "type", generic.type);
  put(out, "version", generic.version);
}

void put_permission(Writer& out, std::string_view name, const Permission& permission) {
  out.key(name).begin_object();
  put(out, "allow", permission.allow);
  put(out, "deny", permission.deny);
  out.end_object();
}

void put_permissions(Writer& out, const Permissions& permissions) {
  put_permission(out, "pub", permissions.pub);
  put_permission(out, "sub", permissions.sub);
  if (!permissions.resp) return;
  out.key("resp").begin_object().field("max", permissions.resp->max).field("ttl", permissions.resp->ttl_ns);
  out.end_object();
}

void put_nats_limits(Writer& out, const NatsLimits& limits) {
  put(out, "subs", limits.subs);
  put(out, "data", limits.data);
  put(out, "payload", limits.payload);
}

// In a scope a limit that is absent means none, so that 0 has to be written.
void put_scope_limits(Writer& out, const NatsLimits& limits) {
  out.field("subs", limits.subs).field("data", limits.data).field("payload", limits.payload);
}

void put_user_limits(Writer& out, const UserPermissionLimits& user, bool in_scope) {
  put_permissions(out, user.permissions);
  put(out, "src", user.src);
  if (!user.times.empty()) {
    out.key("times").begin_array();
    for (const TimeRange& range : user.times) {
      out.begin_object();
      put(out, "start", range.start);
      put(out, "end", range.end);
      out.end_object();
    }
    out.end_array();
  }
  put(out, "times_location", user.times_location);
  in_scope ? put_scope_limits(out, user.limits) : put_nats_limits(out, user.limits);
  put(out, "bearer_token", user.bearer_token);
  put(out, "proxy_required", user.proxy_required);
  put(out, "allowed_connection_types", user.allowed_connection_types);
}

void put_import(Writer& out, const Import& import) {
  out.begin_object();
  put(out, "name", import.name);
  put(out, "subject", import.subject);
  put(out, "account", import.account);
  put(out, "token", import.token);
  put(out, "to", import.to);
  put(out, "local_subject", import.local_subject);
  put(out, "type", import.type);
  put(out, "share", import.share);
  put(out, "allow_trace", import.allow_trace);
  out.end_object();
}

void put_export(Writer& out, const Export& exported) {
  out.begin_object();
  put(out, "name", exported.name);
  put(out, "subject", exported.subject);
  put(out, "type", exported.type);
  put(out, "token_req", exported.token_req);
  put(out, "revocations", exported.revocations);
  put(out, "response_type", exported.response_type);
  put(out, "response_threshold", exported.response_threshold_ns);
  if (exported.latency) {
    out.key("service_latency").begin_object().key("sampling");
    if (exported.latency->sampling == 0) out.string("headers");
    else out.number(exported.latency->sampling);
    out.field("results", exported.latency->results).end_object();
  }
  put(out, "account_token_position", exported.account_token_position);
  put(out, "advertise", exported.advertise);
  put(out, "allow_trace", exported.allow_trace);
  put(out, "description", exported.description);
  put(out, "info_url", exported.info_url);
  out.end_object();
}

void put_jetstream_limits(Writer& out, const JetStreamLimits& limits) {
  put(out, "mem_storage", limits.mem_storage);
  put(out, "disk_storage", limits.disk_storage);
  put(out, "streams", limits.streams);
  put(out, "consumer", limits.consumer);
  put(out, "max_ack_pending", limits.max_ack_pending);
  put(out, "mem_max_stream_bytes", limits.mem_max_stream_bytes);
  put(out, "disk_max_stream_bytes", limits.disk_max_stream_bytes);
  put(out, "max_bytes_required", limits.max_bytes_required);
}

void put_account_limits(Writer& out, const OperatorLimits& limits) {
  out.key("limits").begin_object();
  put_nats_limits(out, limits.nats);
  put(out, "imports", limits.account.imports);
  put(out, "exports", limits.account.exports);
  put(out, "wildcards", limits.account.wildcards);
  put(out, "disallow_bearer", limits.account.disallow_bearer);
  put(out, "conn", limits.account.conn);
  put(out, "leaf", limits.account.leaf);
  put_jetstream_limits(out, limits.jetstream);
  if (!limits.tiers.empty()) {
    out.key("tiered_limits").begin_object();
    for (const auto& [name, tier] : limits.tiers) {
      out.key(name).begin_object();
      put_jetstream_limits(out, tier);
      out.end_object();
    }
    out.end_object();
  }
  out.end_object();
}

void put_signing_keys(Writer& out, const SigningKeys& keys) {
  if (keys.empty()) return;
  out.key("signing_keys").begin_array();
  for (const auto& [key, scope] : keys) {
    if (!scope) {
      out.string(key);
      continue;
    }
    out.begin_object().field("kind", "user_scope").field("key", scope->key).field("role", scope->role);
    out.key("template").begin_object();
    put_user_limits(out, scope->template_, true);
    out.end_object().field("description", scope->description).end_object();
  }
  out.end_array();
}

void put_mappings(Writer& out, const AccountClaims& claims) {
  if (claims.mappings.empty()) return;
  out.key("mappings").begin_object();
  for (const auto& [subject, list] : claims.mappings) {
    out.key(subject).begin_array();
    for (const WeightedMapping& to : list) {
      out.begin_object().field("subject", to.subject);
      put(out, "weight", to.weight);
      put(out, "cluster", to.cluster);
      out.end_object();
    }
    out.end_array();
  }
  out.end_object();
}

void open_claims(Writer& out, const ClaimsData& data) {
  out.begin_object();
  write_data(out, data);
  out.key("nats").begin_object();
}

void close_claims(Writer& out, const GenericFields& generic) {
  put_generic(out, generic);
  out.end_object().end_object();
}

}  // namespace

void write_data(Writer& out, const ClaimsData& data) {
  put(out, "aud", data.aud);
  put(out, "exp", data.exp);
  put(out, "jti", data.jti);
  put(out, "iat", data.iat);
  put(out, "iss", data.iss);
  put(out, "name", data.name);
  put(out, "nbf", data.nbf);
  put(out, "sub", data.sub);
}

void write_claims(Writer& out, const OperatorClaims& claims) {
  open_claims(out, claims);
  put(out, "signing_keys", claims.signing_keys);
  put(out, "account_server_url", claims.account_server_url);
  put(out, "operator_service_urls", claims.operator_service_urls);
  put(out, "system_account", claims.system_account);
  put(out, "assert_server_version", claims.assert_server_version);
  put(out, "strict_signing_key_usage", claims.strict_signing_key_usage);
  close_claims(out, claims);
}

void write_claims(Writer& out, const AccountClaims& claims) {
  open_claims(out, claims);
  if (!claims.imports.empty()) {
    out.key("imports").begin_array();
    for (const Import& import : claims.imports) put_import(out, import);
    out.end_array();
  }
  if (!claims.exports.empty()) {
    out.key("exports").begin_array();
    for (const Export& exported : claims.exports) put_export(out, exported);
    out.end_array();
  }
  put_account_limits(out, claims.limits);
  put_signing_keys(out, claims.signing_keys);
  put(out, "revocations", claims.revocations);
  out.key("default_permissions").begin_object();
  put_permissions(out, claims.default_permissions);
  out.end_object();
  put_mappings(out, claims);
  out.key("authorization").begin_object();
  put(out, "auth_users", claims.authorization.auth_users);
  put(out, "allowed_accounts", claims.authorization.allowed_accounts);
  put(out, "xkey", claims.authorization.xkey);
  out.end_object();
  if (claims.trace) {
    out.key("trace").begin_object();
    put(out, "dest", claims.trace->dest);
    put(out, "sampling", claims.trace->sampling);
    out.end_object();
  }
  put(out, "cluster_traffic", claims.cluster_traffic);
  put(out, "description", claims.description);
  put(out, "info_url", claims.info_url);
  close_claims(out, claims);
}

void write_claims(Writer& out, const UserClaims& claims) {
  open_claims(out, claims);
  put_user_limits(out, claims.user, false);
  put(out, "issuer_account", claims.issuer_account);
  close_claims(out, claims);
}

void write_claims(Writer& out, const ActivationClaims& claims) {
  open_claims(out, claims);
  put(out, "subject", claims.import_subject);
  put(out, "kind", claims.import_type);
  put(out, "issuer_account", claims.issuer_account);
  close_claims(out, claims);
}

void write_claims(Writer& out, const AuthorizationRequestClaims& claims) {
  open_claims(out, claims);
  const auto& server = claims.server;
  out.key("server_id").begin_object();
  out.field("name", server.name).field("host", server.host).field("id", server.id);
  put(out, "version", server.version);
  put(out, "cluster", server.cluster);
  put(out, "tags", server.tags);
  put(out, "xkey", server.xkey);
  out.end_object().field("user_nkey", claims.user_nkey);

  const auto& client = claims.client;
  out.key("client_info").begin_object();
  put(out, "host", client.host);
  put(out, "id", client.id);
  put(out, "user", client.user);
  put(out, "name", client.name);
  put(out, "tags", client.tags);
  put(out, "name_tag", client.name_tag);
  put(out, "kind", client.kind);
  put(out, "type", client.type);
  put(out, "mqtt_id", client.mqtt_id);
  put(out, "nonce", client.nonce);
  out.end_object();

  const auto& connect = claims.connect;
  out.key("connect_opts").begin_object();
  put(out, "jwt", connect.jwt);
  put(out, "nkey", connect.nkey);
  put(out, "sig", connect.sig);
  put(out, "auth_token", connect.auth_token);
  put(out, "user", connect.user);
  put(out, "pass", connect.pass);
  put(out, "name", connect.name);
  put(out, "lang", connect.lang);
  put(out, "version", connect.version);
  out.field("protocol", connect.protocol).end_object();

  if (claims.tls) {
    out.key("client_tls").begin_object();
    put(out, "version", claims.tls->version);
    put(out, "cipher", claims.tls->cipher);
    put(out, "certs", claims.tls->certs);
    if (!claims.tls->verified_chains.empty()) {
      out.key("verified_chains").begin_array();
      for (const Texts& chain : claims.tls->verified_chains) put_list(out, chain);
      out.end_array();
    }
    out.end_object();
  }
  put(out, "request_nonce", claims.request_nonce);
  close_claims(out, claims);
}

void write_claims(Writer& out, const AuthorizationResponseClaims& claims) {
  open_claims(out, claims);
  put(out, "jwt", claims.jwt);
  put(out, "error", claims.error);
  put(out, "issuer_account", claims.issuer_account);
  close_claims(out, claims);
}

void write_claims(Writer& out, const GenericClaims& claims) {
  out.begin_object();
  write_data(out, claims);
  out.key("nats").raw(claims.data).end_object();
}

}  // namespace brokkr::crypto
