#include "auth/account_claims.h"

#include <algorithm>

#include "auth/callout.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"
#include "crypto/validate.h"

namespace brokkr::auth {
namespace {

PermissionRules::Side side_of(const crypto::Permission& from) {
  return {!from.allow.empty(), from.allow, from.deny};
}

config::ResponseType response_type_of(std::string_view text) {
  if (text == "Stream") return config::ResponseType::Streamed;
  if (text == "Chunked") return config::ResponseType::Chunked;
  return config::ResponseType::Singleton;
}

int64_t limit_or_none(int64_t value) { return value > 0 ? value : -1; }

config::AccountJetStream jetstream_of(const crypto::JetStreamLimits& from) {
  config::AccountJetStream out;
  out.max_memory = from.mem_storage;
  out.max_storage = from.disk_storage;
  out.max_streams = from.streams;
  out.max_consumers = from.consumer;
  out.max_ack_pending = limit_or_none(from.max_ack_pending);
  out.memory_max_stream_bytes = limit_or_none(from.mem_max_stream_bytes);
  out.storage_max_stream_bytes = limit_or_none(from.disk_max_stream_bytes);
  out.max_bytes_required = from.max_bytes_required;
  return out;
}

// Tiers count copies; with a single server there is one of each.
std::optional<config::AccountJetStream> jetstream_of(const crypto::OperatorLimits& limits) {
  if (!limits.is_jetstream_enabled()) return std::nullopt;
  if (limits.tiers.empty()) return jetstream_of(limits.jetstream);
  const auto first = limits.tiers.find("R1");
  return jetstream_of(first != limits.tiers.end() ? first->second : limits.tiers.begin()->second);
}

void add_export(const crypto::Export& from, AccountDescription& out) {
  const auto position = static_cast<uint32_t>(from.account_token_position);
  const bool is_service = from.type == crypto::ExportType::Service;
  if (is_service) {
    config::ServiceExport made;
    made.subject = from.subject;
    made.account_token_position = position;
    made.response_type = response_type_of(from.response_type);
    made.response_threshold = Duration(from.response_threshold_ns);
    if (from.latency) {
      made.latency = config::ServiceLatency{from.latency->results,
                                            static_cast<int>(from.latency->sampling)};
    }
    made.allow_trace = from.allow_trace;
    out.settings.service_exports.push_back(std::move(made));
  } else {
    out.settings.stream_exports.push_back({from.subject, {}, position});
  }
  if (!from.token_req) return;
  AccountDescription::PrivateExport made{from.subject, is_service, {}};
  made.revoked.insert(from.revocations.begin(), from.revocations.end());
  out.private_exports.push_back(std::move(made));
}

// Old references name a wildcard by "$1" as we do; a bare wildcard in `to` of old claims is kept.
void add_import(const crypto::Import& from, AccountDescription& out) {
  if (from.type == crypto::ExportType::Stream) {
    config::StreamImport made;
    made.account = from.account;
    made.subject = from.subject;
    made.to = from.local_subject;
    if (from.local_subject.empty()) made.prefix = from.to;
    made.allow_trace = from.allow_trace;
    out.settings.stream_imports.push_back(std::move(made));
    return;
  }
  // Old claims of services had it the other way round: `subject` is local, `to` the exporter's.
  config::ServiceImport made;
  made.account = from.account;
  made.subject = !from.local_subject.empty() || from.to.empty() ? from.subject : from.to;
  made.to = from.local_subject.empty() ? from.subject : from.local_subject;
  made.share = from.share;
  out.settings.service_imports.push_back(std::move(made));
}

// Absent when the token does not let `importer` import.
std::optional<Activation> activation_of(const crypto::Import& from, const JwtAccount& importer,
                                        const JwtAccounts& all, int64_t now) {
  if (from.token.empty()) return std::nullopt;
  const auto claims = crypto::decode_activation(from.token);
  if (!claims || crypto::validate(*claims, now).is_blocking()) return std::nullopt;
  const auto exporter = all.find(from.account);
  if (exporter == all.end() || claims->sub != importer.id()) return std::nullopt;
  if (!exporter->second->claims.did_sign(claims->iss, claims->issuer_account)) return std::nullopt;
  // Without an issuer account the account itself must have signed.
  if (claims->issuer_account.empty() && claims->iss != from.account) return std::nullopt;
  if (claims->import_type != from.type) return std::nullopt;
  return Activation{from.account, claims->import_subject,
                    from.type == crypto::ExportType::Service, claims->iat};
}

void add_mappings(const crypto::AccountClaims& claims, config::Account& out) {
  for (const auto& [source, destinations] : claims.mappings) {
    config::SubjectMapping mapping;
    mapping.source = source;
    for (const crypto::WeightedMapping& to : destinations) {
      const int64_t weight = to.weight == 0 ? 100 : to.weight;
      mapping.destinations.push_back({to.subject, static_cast<int>(weight), to.cluster});
    }
    out.mappings.push_back(std::move(mapping));
  }
}

}  // namespace

std::shared_ptr<const Permissions> compile_permissions(const crypto::Permissions& from,
                                                       bool denies_callout_subject) {
  if (from == crypto::Permissions{} && !denies_callout_subject) return nullptr;
  PermissionRules rules;
  rules.publish = side_of(from.pub);
  rules.subscribe = side_of(from.sub);
  if (denies_callout_subject) rules.publish.deny.emplace_back(kCalloutSubject);
  if (from.resp) {
    rules.allow_responses = true;
    if (from.resp->max != 0) rules.responses_max = from.resp->max;
    if (from.resp->ttl_ns != 0) rules.responses_ttl = Duration(from.resp->ttl_ns);
    // Who may only answer may publish nothing else.
    if (from.pub == crypto::Permission{}) rules.publish.has_allow = true;
  }
  return std::make_shared<Permissions>(std::move(rules));
}

Result<std::shared_ptr<const JwtAccount>> read_jwt_account(std::string_view id,
                                                           std::string_view jwt) {
  auto claims = crypto::decode_account(jwt);
  if (!claims) return claims.error();
  if (claims->sub != id || !crypto::is_public_key(id, crypto::NkeyType::Account)) {
    return Error{Errc::PermissionDenied, "the JWT is of another account"};
  }
  auto account = std::make_shared<JwtAccount>();
  account->jwt = jwt;
  account->claims = std::move(*claims);
  account->default_permissions = compile_permissions(account->claims.default_permissions);
  return std::shared_ptr<const JwtAccount>(std::move(account));
}

AccountDescription describe(const JwtAccount& account, const JwtAccounts& all, int64_t now) {
  const crypto::AccountClaims& claims = account.claims;
  AccountDescription out;
  config::Account& settings = out.settings;
  settings.name = claims.sub;
  out.display_name = claims.name;
  settings.nkey = claims.sub;
  settings.jetstream = jetstream_of(claims.limits);
  settings.max_connections = claims.limits.account.conn;
  settings.max_leafnodes = claims.limits.account.leaf;
  settings.max_subscriptions = claims.limits.nats.subs;
  settings.max_payload = claims.limits.nats.payload;
  for (const crypto::Export& one : claims.exports) add_export(one, out);
  for (const crypto::Import& one : claims.imports) {
    add_import(one, out);
    if (auto activation = activation_of(one, account, all, now)) {
      out.activations.push_back(std::move(*activation));
    }
  }
  add_mappings(claims, settings);
  if (claims.trace && !claims.trace->dest.empty()) {
    settings.trace_destination = claims.trace->dest;
    const int64_t sampling = claims.trace->sampling;
    settings.trace_sampling = sampling <= 0 || sampling > 100 ? 100 : static_cast<int>(sampling);
  }
  return out;
}

std::vector<std::string> exporters_of(const JwtAccount& account) {
  std::vector<std::string> out;
  for (const crypto::Import& one : account.claims.imports) out.push_back(one.account);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace brokkr::auth
