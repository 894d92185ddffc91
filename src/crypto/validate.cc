#include "crypto/validate.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/bytes.h"
#include "crypto/nkey.h"

namespace brokkr::crypto {
namespace {

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

void check_entry(std::string_view entry, bool may_have_queue, Issues& issues) {
  const auto words = split(entry, ' ');
  if (words.size() > 2) {
    issues.add_error("permission subject " + quoted(entry) + " contains too many spaces");
    return;
  }
  for (const std::string_view word : words) check_subject(word, issues);
  if (words.size() == 2 && !may_have_queue) {
    issues.add_error("permission subject " + quoted(entry) + " is not allowed to contain a queue");
  }
}

void check_permission(const Permission& permission, bool may_have_queue, Issues& issues) {
  for (const std::string& entry : permission.allow) check_entry(entry, may_have_queue, issues);
  for (const std::string& entry : permission.deny) check_entry(entry, may_have_queue, issues);
}

void check_issuer_account(std::string_view account, Issues& issues) {
  if (!account.empty() && !is_public_key(account, NkeyType::Account)) {
    issues.add_error("issuer_account is not an account public key");
  }
}

bool is_url_scheme_of_service(std::string_view scheme) {
  for (const char* known : {"nats", "tls", "ws", "wss"}) {
    if (equals_ignore_case(scheme, known)) return true;
  }
  return false;
}

void check_service_url(std::string_view url, Issues& issues) {
  if (url.empty()) return;
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos || !is_url_scheme_of_service(url.substr(0, colon))) {
    issues.add_error("operator service url " + quoted(url) +
                     " - protocol not supported (only 'nats', 'tls', 'ws', 'wss' only)");
    return;
  }
  const std::string_view rest = url.substr(colon + 3);
  if (rest.find('@') != std::string_view::npos) {
    issues.add_error("operator service url " + quoted(url) + " - credentials are not supported");
  }
  if (rest.find('/') != std::string_view::npos) issues.add_error("operator service url " + quoted(url) + " - paths are not supported");
}

void check_server_version(std::string_view version, Issues& issues) {
  if (version.empty()) return;
  const auto parts = split(version, '.');
  const bool is_numeric = std::all_of(parts.begin(), parts.end(), [](auto part) { return parse_uint(part).has_value(); });
  if (parts.size() != 3 || !is_numeric) {
    issues.add_error("asserted server version " + quoted(version) + " is not <major>.<minor>.<update>");
  }
}

}  // namespace

bool Issues::is_blocking(bool include_time) const {
  return std::any_of(list_.begin(), list_.end(), [&](const Issue& issue) {
    return issue.kind == Issue::Kind::Error || (include_time && issue.kind == Issue::Kind::Time);
  });
}

std::string Issues::text() const {
  std::string out;
  for (const Issue& issue : list_) {
    if (issue.kind == Issue::Kind::Warning) continue;
    if (!out.empty()) out += "; ";
    out += issue.text;
  }
  return out;
}

bool is_network(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string address(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  const auto length = parse_uint(digits);
  if (!length || digits.size() > 3 || (digits.size() > 1 && digits[0] == '0')) return false;
  unsigned char bytes[16];
  if (inet_pton(AF_INET, address.c_str(), bytes) == 1) return *length <= 32;
  return inet_pton(AF_INET6, address.c_str(), bytes) == 1 && *length <= 128;
}

bool is_time_of_day(std::string_view text) {
  const auto parts = split(text, ':');
  if (parts.size() != 3) return false;
  constexpr uint64_t kEnds[] = {24, 60, 60};
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto number = parse_uint(parts[i]);
    // The hour may have one digit, as Go reads it.
    const bool has_digits = parts[i].size() == 2 || (i == 0 && parts[i].size() == 1);
    if (!number || !has_digits || *number >= kEnds[i]) return false;
  }
  return true;
}

bool has_wildcards(std::string_view subject) {
  const auto tokens = split(subject, '.');
  return tokens.back() == ">" || std::find(tokens.begin(), tokens.end(), "*") != tokens.end();
}

bool is_contained_in(std::string_view subject, std::string_view other) {
  const auto mine = split(subject, '.');
  const auto others = split(other, '.');
  if (mine.size() > others.size() && others.back() != ">") return false;
  if (mine.size() < others.size()) return false;
  for (size_t i = 0; i < others.size(); ++i) {
    if (i + 1 == others.size() && others[i] == ">") return true;
    if (others[i] != mine[i] && (others[i] != "*" || mine[i] == ">")) return false;
  }
  return true;
}

void check_times(const ClaimsData& data, int64_t now, Issues& issues) {
  if (data.exp > 0 && now > data.exp) issues.add_time("claim is expired");
  if (data.nbf > 0 && data.nbf > now) issues.add_time("claim is not yet valid");
}

void check_subject(std::string_view subject, Issues& issues) {
  if (subject.empty()) {
    issues.add_error("subject cannot be empty");
    return;
  }
  if (subject.find(' ') != std::string_view::npos) issues.add_error("subject " + quoted(subject) + " cannot have spaces");
  if (subject.front() == '.' || subject.back() == '.') {
    issues.add_error("subject " + quoted(subject) + " cannot start or end with a `.`");
  }
  if (subject.find("..") != std::string_view::npos) {
    issues.add_error("subject " + quoted(subject) + " cannot contain consecutive `.`");
  }
}

void check_permissions(const Permissions& permissions, Issues& issues) {
  check_permission(permissions.sub, true, issues);
  check_permission(permissions.pub, false, issues);
}

void check_user_limits(const UserPermissionLimits& user, Issues& issues) {
  check_permissions(user.permissions, issues);
  for (const std::string& network : user.src) {
    if (!is_network(network)) issues.add_error("invalid cidr " + quoted(network) + " in user src limits");
  }
  for (const TimeRange& range : user.times) {
    if (!is_time_of_day(range.start)) issues.add_error("start in time range is invalid " + quoted(range.start));
    if (!is_time_of_day(range.end)) issues.add_error("end in time range is invalid " + quoted(range.end));
  }
}

Issues validate(const OperatorClaims& claims, int64_t now) {
  Issues issues;
  check_times(claims, now, issues);
  if (!claims.account_server_url.empty() && claims.account_server_url.find(':') == std::string::npos) {
    issues.add_error("account server url " + quoted(claims.account_server_url) + " requires a protocol");
  }
  for (const std::string& url : claims.operator_service_urls) check_service_url(url, issues);
  for (const std::string& key : claims.signing_keys) {
    if (!is_public_key(key, NkeyType::Operator)) issues.add_error(key + " is not an operator public key");
  }
  if (!claims.system_account.empty() && !is_public_key(claims.system_account, NkeyType::Account)) {
    issues.add_error(claims.system_account + " is not an account public key");
  }
  check_server_version(claims.assert_server_version, issues);
  return issues;
}

Issues validate(const UserClaims& claims, int64_t now) {
  Issues issues;
  check_times(claims, now, issues);
  check_user_limits(claims.user, issues);
  check_issuer_account(claims.issuer_account, issues);
  return issues;
}

Issues validate(const ActivationClaims& claims, int64_t now) {
  Issues issues;
  check_times(claims, now, issues);
  if (claims.import_type == ExportType::Unknown) issues.add_error("invalid import type: \"unknown\"");
  check_subject(claims.import_subject, issues);
  check_issuer_account(claims.issuer_account, issues);
  return issues;
}

Issues validate(const AuthorizationRequestClaims& claims, int64_t now) {
  Issues issues;
  if (claims.user_nkey.empty()) {
    issues.add_error("user nkey is required");
  } else if (!is_public_key(claims.user_nkey, NkeyType::User)) {
    issues.add_error("user nkey " + quoted(claims.user_nkey) + " is not a valid user public key");
  }
  check_times(claims, now, issues);
  return issues;
}

Issues validate(const AuthorizationResponseClaims& claims, int64_t now) {
  Issues issues;
  if (!is_public_key(claims.sub, NkeyType::User)) issues.add_error("subject must be a user public key");
  if (!is_public_key(claims.aud, NkeyType::Server)) issues.add_error("audience must be a server public key");
  if (claims.error.empty() && claims.jwt.empty()) issues.add_error("error or jwt is required");
  if (!claims.error.empty() && !claims.jwt.empty()) issues.add_error("only error or jwt can be set");
  check_issuer_account(claims.issuer_account, issues);
  check_times(claims, now, issues);
  return issues;
}

}  // namespace brokkr::crypto
