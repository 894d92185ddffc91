#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "crypto/jwt.h"
#include "crypto/validate.h"

namespace brokkr::crypto {
namespace {

constexpr size_t kInfoBytesMax = 8 * 1024;

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

void check_info(std::string_view description, std::string_view url, Issues& issues) {
  if (description.size() > kInfoBytesMax) issues.add_error("description is too long");
  if (url.empty()) return;
  const size_t colon = url.find("://");
  if (url.size() > kInfoBytesMax) issues.add_error("info url is too long");
  if (colon == 0 || colon == std::string_view::npos || colon + 3 == url.size()) {
    issues.add_error("info url " + in_quotes(url) + " has no hostname or scheme");
  }
}

size_t count_stars(std::string_view subject) {
  const auto tokens = split(subject, '.');
  return static_cast<size_t>(std::count(tokens.begin(), tokens.end(), "*"));
}

// "$3" is 3; absent for what is no reference.
std::optional<uint64_t> reference_of(std::string_view token) {
  if (token.size() < 2 || token[0] != '$') return std::nullopt;
  return parse_uint(token.substr(1));
}

bool ends_full(std::string_view subject) { return subject == ">" || subject.ends_with(".>"); }

void check_renaming(std::string_view to, std::string_view from, Issues& issues) {
  check_subject(to, issues);
  if (ends_full(to) != ends_full(from)) {
    issues.add_error("both, renaming subject and subject, need to end or not end in >");
  }
  const size_t stars = count_stars(from);
  size_t named = 0;
  for (const std::string_view token : split(to, '.')) {
    const auto reference = reference_of(token);
    if (token == "*") ++named;
    if (!reference) continue;
    if (*reference > stars) {
      issues.add_error("reference " + std::string(token) + " in " + in_quotes(to) + " has no * in " + in_quotes(from));
    } else {
      ++named;
    }
  }
  if (named != stars) issues.add_error("subject does not contain enough * or reference wildcards $[0-9]");
}

std::string without_references(std::string_view subject) {
  std::string out;
  for (const std::string_view token : split(subject, '.')) {
    if (!out.empty()) out += '.';
    out += reference_of(token) ? "*" : token;
  }
  return out;
}

void check_activation(const Import& import, const ActivationClaims& token, std::string_view importer, Issues& issues) {
  if (token.iss != import.account && token.issuer_account != import.account) {
    issues.add_error("activation token doesn't match account for import " + in_quotes(import.subject));
  }
  if (token.sub != importer) {
    issues.add_error("activation token doesn't match account it is being included in, " + in_quotes(import.subject));
  }
  if (token.import_type != import.type) {
    issues.add_error(std::string("mismatch between token import type ") + to_string(token.import_type) +
                     " and type of import " + to_string(import.type));
  }
  // The time of a token is looked at when it is used, not when it is stored.
  const Issues own = validate(token, 0);
  for (const Issue& issue : own.list()) {
    if (issue.kind == Issue::Kind::Error) issues.add_error(issue.text);
  }
  const std::string& subject = import.type == ExportType::Service && !import.to.empty() ? import.to : import.subject;
  if (!is_contained_in(subject, token.import_subject)) {
    issues.add_error("activation token import subject " + in_quotes(token.import_subject) + " doesn't match import " +
                     in_quotes(import.subject));
  }
}

void check_import(const Import& import, std::string_view importer, Issues& issues) {
  const bool is_service = import.type == ExportType::Service;
  if (import.type == ExportType::Unknown) issues.add_error("invalid import type: \"unknown\"");
  if (is_service && import.allow_trace) issues.add_error("allow_trace only valid for stream import");
  if (import.account.empty()) issues.add_error("account to import from is not specified");
  if (!import.to.empty()) issues.add_warning("the field to has been deprecated (use local_subject instead)");
  check_subject(import.subject, issues);
  if (!import.local_subject.empty()) {
    check_renaming(import.local_subject, import.subject, issues);
    if (!import.to.empty()) issues.add_error("local subject replaces to");
  }
  if (import.share && !is_service) {
    issues.add_error("sharing information is only valid for services: " + in_quotes(import.subject));
  }
  if (import.token.empty()) return;
  const auto token = decode_activation(import.token);
  if (!token) {
    issues.add_error("import " + in_quotes(import.subject) + " contains an invalid activation token");
  } else {
    check_activation(import, *token, importer, issues);
  }
}

// Where requests of this account go in.
std::string entrance_of(const Import& import) {
  if (!import.to.empty()) return import.to;
  return import.local_subject.empty() ? import.subject : without_references(import.local_subject);
}

void check_imports(const AccountClaims& claims, Issues& issues) {
  std::map<std::string_view, std::vector<std::string>> entrances;  // by exporting account
  for (const Import& import : claims.imports) {
    if (import.type == ExportType::Service) {
      const std::string entrance = entrance_of(import);
      auto& others = entrances[import.account];
      for (const std::string& other : others) {
        if (is_contained_in(entrance, other) || is_contained_in(other, entrance)) {
          issues.add_error("overlapping subject namespace for " + in_quotes(entrance) + " and " + in_quotes(other) +
                           " in same account " + in_quotes(import.account));
        }
      }
      others.push_back(entrance);
    }
    check_import(import, claims.sub, issues);
  }
}

void check_token_position(const Export& exported, Issues& issues) {
  if (exported.account_token_position == 0) return;
  const auto tokens = split(exported.subject, '.');
  const std::string at = "account token position " + std::to_string(exported.account_token_position);
  if (!has_wildcards(exported.subject)) {
    issues.add_error("account token position can only be used with wildcard subjects: " + exported.subject);
  } else if (exported.account_token_position > tokens.size()) {
    issues.add_error(at + " exceeds length of subject " + in_quotes(exported.subject));
  } else if (tokens[exported.account_token_position - 1] != "*") {
    issues.add_error(at + " must match a * in: " + exported.subject);
  }
}

void check_export(const Export& exported, Issues& issues) {
  const bool is_service = exported.type == ExportType::Service;
  const std::string& response = exported.response_type;
  if (exported.type == ExportType::Unknown) issues.add_error("invalid export type: \"unknown\"");
  const bool is_known = response.empty() || response == "Singleton" || response == "Stream" || response == "Chunked";
  if (is_service && !is_known) issues.add_error("invalid response type for service: " + in_quotes(response));
  if (exported.type == ExportType::Stream) {
    if (!response.empty()) issues.add_error("invalid response type for stream: " + in_quotes(response));
    if (exported.allow_trace) issues.add_error("allow_trace only valid for service export");
  }
  if (exported.latency) {
    if (!is_service) issues.add_error("latency tracking only permitted for services");
    if (exported.latency->sampling < 0 || exported.latency->sampling > 100) {
      issues.add_error("sampling percentage needs to be between 1-100");
    }
    check_subject(exported.latency->results, issues);
    if (has_wildcards(exported.latency->results)) issues.add_error("results subject can not contain wildcards");
  }
  if (exported.response_threshold_ns < 0) issues.add_error("negative response threshold is invalid");
  if (exported.response_threshold_ns > 0 && !is_service) {
    issues.add_error("response threshold only valid for services");
  }
  check_subject(exported.subject, issues);
  check_token_position(exported, issues);
  check_info(exported.description, exported.info_url, issues);
}

void check_exports(const AccountClaims& claims, Issues& issues) {
  const auto& list = claims.exports;
  for (const Export& exported : list) check_export(exported, issues);
  for (size_t i = 0; i < list.size(); ++i) {
    for (size_t j = 0; j < list.size(); ++j) {
      if (i == j || list[i].type != list[j].type || !is_contained_in(list[i].subject, list[j].subject)) continue;
      issues.add_error(std::string(to_string(list[i].type)) + " export subject " + in_quotes(list[j].subject) +
                       " already exports " + in_quotes(list[i].subject));
      break;
    }
  }
}

void check_mappings(const AccountClaims& claims, Issues& issues) {
  for (const auto& [from, list] : claims.mappings) {
    check_subject(from, issues);
    std::map<std::string_view, int64_t> totals;  // by cluster
    for (const WeightedMapping& to : list) {
      check_subject(to.subject, issues);
      totals[to.cluster] += to.weight == 0 ? 100 : to.weight;
    }
    for (const auto& [cluster, total] : totals) {
      if (total > 100) issues.add_error("mapping " + in_quotes(from) + " exceeds 100% among all its destinations");
    }
  }
}

void check_authorization(const ExternalAuthorization& external, Issues& issues) {
  const auto& accounts = external.allowed_accounts;
  if (!accounts.empty() && external.auth_users.empty()) {
    issues.add_error("external authorization cannot have accounts without users specified");
  }
  for (const std::string& user : external.auth_users) {
    if (!is_public_key(user, NkeyType::User)) {
      issues.add_error("auth user " + in_quotes(user) + " is not a valid user public key");
    }
  }
  for (const std::string& account : accounts) {
    if (account == "*" && accounts.size() > 1) {
      issues.add_error("allowed accounts can only be a list of accounts or \"*\"");
    } else if (account != "*" && !is_public_key(account, NkeyType::Account)) {
      issues.add_error("account " + in_quotes(account) + " is not a valid account public key");
    }
  }
  if (!external.xkey.empty() && !is_public_key(external.xkey, NkeyType::Curve)) {
    issues.add_error("xkey " + in_quotes(external.xkey) + " is not a valid public xkey");
  }
}

void check_limits(const AccountClaims& claims, Issues& issues) {
  const OperatorLimits& limits = claims.limits;
  if (!limits.tiers.empty()) {
    if (limits.jetstream != JetStreamLimits{}) {
      issues.add_error("JetStream limits and tiered JetStream limits are mutually exclusive");
    }
    if (limits.tiers.contains("")) issues.add_error("tiered JetStream limits can not contain a blank tier name");
  }
  const auto exceeds = [](size_t count, int64_t limit) {
    return limit != kNoLimit && static_cast<int64_t>(count) > limit;
  };
  if (exceeds(claims.imports.size(), limits.account.imports)) {
    issues.add_error("the account contains more imports than allowed by the operator");
  }
  if (exceeds(claims.exports.size(), limits.account.exports)) {
    issues.add_error("the account contains more exports than allowed by the operator");
  }
  if (limits.account.exports == kNoLimit || limits.account.wildcards) return;
  for (const Export& exported : claims.exports) {
    if (has_wildcards(exported.subject)) {
      issues.add_error("the account contains wildcard exports that are not allowed by the operator");
    }
  }
}

void check_trace(const MsgTrace& trace, Issues& issues) {
  check_subject(trace.dest, issues);
  if (has_wildcards(trace.dest)) {
    issues.add_error("the account trace destination " + in_quotes(trace.dest) + " is not a valid publish subject");
  }
  if (trace.sampling < 0 || trace.sampling > 100) {
    issues.add_error("the account trace sampling " + std::to_string(trace.sampling) + " is not in the range [1..100]");
  }
}

void check_signing_keys(const SigningKeys& keys, Issues& issues) {
  for (const auto& [key, scope] : keys) {
    if (!is_public_key(key, NkeyType::Account)) issues.add_error(in_quotes(key) + " is not a valid account signing key");
  }
}

}  // namespace

Issues validate(const AccountClaims& claims, int64_t now) {
  Issues issues;
  check_times(claims, now, issues);
  check_imports(claims, issues);
  check_exports(claims, issues);
  check_limits(claims, issues);
  check_permissions(claims.default_permissions, issues);
  check_mappings(claims, issues);
  check_authorization(claims.authorization, issues);
  if (claims.trace) check_trace(*claims.trace, issues);
  check_signing_keys(claims.signing_keys, issues);
  check_info(claims.description, claims.info_url, issues);
  const std::string& traffic = claims.cluster_traffic;
  if (!traffic.empty() && traffic != "system" && traffic != "owner") {
    issues.add_error("unknown cluster traffic option: " + in_quotes(traffic));
  }
  if (is_public_key(claims.iss, NkeyType::Account) && !claims.limits.is_empty()) {
    issues.add_warning("self-signed account JWTs shouldn't contain operator limits");
  }
  return issues;
}

}  // namespace brokkr::crypto
