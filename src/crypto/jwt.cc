#include "crypto/jwt.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"
#include "crypto/claims_json.h"
#include "crypto/digest.h"

namespace brokkr::crypto {
namespace {

constexpr std::string_view kHeader = R"({"typ":"JWT","alg":"ed25519-nkey"})";

Error token_error(std::string text) { return {Errc::Syntax, "token: " + std::move(text)}; }

struct Parts {
  std::string_view header;
  std::string_view payload;
  std::string_view signature;
  std::string_view signed_text;  // header and payload
};

Result<Parts> split_token(std::string_view token) {
  if (token.size() > kTokenBytesMax) {
    return Error{Errc::LimitExceeded, "token: " + std::to_string(token.size()) + " bytes exceed " +
                                          std::to_string(kTokenBytesMax)};
  }
  const auto parts = split(token, '.');
  if (parts.size() != 3) return token_error("expected 3 parts, found " + std::to_string(parts.size()));
  return Parts{parts[0], parts[1], parts[2], token.substr(0, parts[0].size() + 1 + parts[1].size())};
}

Result<json::Value> parse_part(std::string_view text, const char* what) {
  const auto bytes = base64url_decode_strict(text);
  if (!bytes) return token_error(std::string(what) + " is not base64url");
  auto value = json::parse(*bytes);
  if (!value) return token_error(std::string(what) + ": " + value.error().text);
  if (!value->is_object()) return token_error(std::string(what) + " is not an object");
  return value;
}

// True when the older algorithm signed.
Result<bool> check_header(std::string_view text) {
  const auto header = parse_part(text, "header");
  if (!header) return header.error();
  const std::string_view type = header->get_string("typ");
  if (!equals_ignore_case(type, "JWT")) return token_error("not supported type \"" + std::string(type) + "\"");
  const std::string_view algorithm = header->get_string("alg");
  if (equals_ignore_case(algorithm, "ed25519-nkey")) return false;
  if (equals_ignore_case(algorithm, "ed25519")) return true;
  return token_error("unexpected \"" + std::string(algorithm) + "\" algorithm");
}

struct Kind {
  std::string name;
  int64_t version = 0;
};

Result<Kind> kind_of_payload(const json::Value& payload) {
  // The older layout names the type beside "nats".
  if (const std::string_view old = payload.get_string("type"); !old.empty()) return Kind{std::string(old), 1};
  const json::Value* const nats = payload.find("nats");
  if (nats == nullptr || !nats->is_object()) return Kind{};
  Kind kind{std::string(nats->get_string("type")), nats->get_int("version")};
  if (kind.version > kClaimsVersion) return token_error("made by a newer version");
  return kind;
}

template <typename T>
struct Rules;
template <>
struct Rules<OperatorClaims> {
  static constexpr const char* kName = "operator";
  static constexpr std::initializer_list<NkeyType> kIssuers = {NkeyType::Operator};
};
template <>
struct Rules<AccountClaims> {
  static constexpr const char* kName = "account";
  static constexpr std::initializer_list<NkeyType> kIssuers = {NkeyType::Account, NkeyType::Operator};
};
template <>
struct Rules<UserClaims> {
  static constexpr const char* kName = "user";
  static constexpr std::initializer_list<NkeyType> kIssuers = {NkeyType::Account};
};
template <>
struct Rules<ActivationClaims> {
  static constexpr const char* kName = "activation";
  static constexpr std::initializer_list<NkeyType> kIssuers = {NkeyType::Account, NkeyType::Operator};
};
template <>
struct Rules<AuthorizationRequestClaims> {
  static constexpr const char* kName = "authorization_request";
  static constexpr std::initializer_list<NkeyType> kIssuers = {NkeyType::Server};
};
template <>
struct Rules<AuthorizationResponseClaims> {
  static constexpr const char* kName = "authorization_response";
  static constexpr std::initializer_list<NkeyType> kIssuers = {NkeyType::Account};
};
template <>
struct Rules<GenericClaims> {
  static constexpr const char* kName = "generic";
  static constexpr std::initializer_list<NkeyType> kIssuers = {};  // anybody
};

template <typename T>
bool may_issue(NkeyType type) {
  const auto& issuers = Rules<T>::kIssuers;
  return issuers.size() == 0 || std::find(issuers.begin(), issuers.end(), type) != issuers.end();
}

// Requests and answers of an auth callout had no version 1, so theirs is not looked at.
template <typename T>
constexpr bool kHasVersions = !std::is_same_v<T, GenericClaims> && !std::is_same_v<T, AuthorizationRequestClaims> &&
                              !std::is_same_v<T, AuthorizationResponseClaims>;

template <typename T>
Result<T> load(const Parts& parts, const json::Value& payload, int64_t version, bool is_old) {
  if (kHasVersions<T> && version != 1 && version != 2) {
    return token_error("claims of version " + std::to_string(version) + " are not supported");
  }
  T claims;
  if (auto read = read_claims(payload, version, claims); !read) return read.error();
  const auto issuer = parse_public_key(claims.iss);
  if (!issuer) return token_error("the issuer is not a public key");
  const auto signature = base64url_decode_strict(parts.signature);
  if (!signature) return token_error("signature is not base64url");
  const std::string_view signed_text = is_old ? parts.payload : parts.signed_text;
  if (!verify_signature(claims.iss, signed_text, *signature)) {
    return Error{Errc::PermissionDenied, "token: the signature is not " + claims.iss + "'s"};
  }
  if (!may_issue<T>(issuer->type)) {
    return token_error("an issuer of type " + std::string(to_string(issuer->type)) + " may not issue " +
                       Rules<T>::kName + " claims");
  }
  return claims;
}

template <typename T>
Result<Claims> load_any(const Parts& parts, const json::Value& payload, int64_t version, bool is_old) {
  auto claims = load<T>(parts, payload, version, is_old);
  if (!claims) return claims.error();
  return Claims(std::move(*claims));
}

template <typename T>
Result<T> decode_kind(std::string_view token) {
  auto claims = decode_jwt(token);
  if (!claims) return claims.error();
  if (T* const wanted = std::get_if<T>(&*claims)) return std::move(*wanted);
  return token_error(std::string("holds ") + kind_of(*claims) + " claims, not " + Rules<T>::kName);
}

Status check_subject(std::string_view subject, NkeyType type) {
  if (is_public_key(subject, type)) return {};
  return Error{Errc::InvalidArgument,
               "claims: the subject is not a public key of type " + std::string(to_string(type))};
}

std::string digest_id(const ClaimsData& data) {
  json::Writer out(json::Writer::Options{});
  out.begin_object();
  write_data(out, data);
  out.end_object();
  return base32_encode(sha512_256(out.text()));
}

template <typename T>
Result<std::string> sign_claims(T& claims, const KeyPair& signer, int64_t now) {
  if (claims.sub.empty()) return Error{Errc::InvalidArgument, "claims: the subject is not set"};
  if (!may_issue<T>(signer.type())) {
    return Error{Errc::InvalidArgument, "claims: a key of type " + std::string(to_string(signer.type())) +
                                            " may not issue " + Rules<T>::kName + " claims"};
  }
  claims.iss = signer.public_key();
  claims.iat = now;
  claims.jti.clear();
  claims.jti = digest_id(claims);
  json::Writer payload(json::Writer::Options{});
  write_claims(payload, claims);
  std::string token = base64url_encode(kHeader) + "." + base64url_encode(payload.text());
  token += "." + base64url_encode(signer.sign(token));
  return token;
}

template <typename T>
Result<std::string> encode_typed(T& claims, const KeyPair& signer, int64_t now) {
  claims.type = Rules<T>::kName;
  claims.version = kClaimsVersion;
  return sign_claims(claims, signer, now);
}

// The data of generic claims with the version readers look for.
Result<std::string> with_version(const std::string& data) {
  const auto value = json::parse(data.empty() ? "{}" : data);
  if (!value) return value.error();
  if (!value->is_object()) return Error{Errc::InvalidArgument, "claims: the data is not an object"};
  json::Writer out(json::Writer::Options{});
  out.begin_object();
  for (const auto& [name, member] : value->members()) {
    if (name != "version") out.key(name).value(member);
  }
  out.field("version", kClaimsVersion).end_object();
  return out.take();
}

}  // namespace

Result<Claims> decode_jwt(std::string_view token) {
  const auto parts = split_token(token);
  if (!parts) return parts.error();
  const auto is_old_algorithm = check_header(parts->header);
  if (!is_old_algorithm) return is_old_algorithm.error();
  const auto payload = parse_part(parts->payload, "claims");
  if (!payload) return payload.error();
  const auto kind = kind_of_payload(*payload);
  if (!kind) return kind.error();
  const int64_t version = kind->version;
  const bool is_old = version <= 1;
  if (kind->name == "operator") return load_any<OperatorClaims>(*parts, *payload, version, is_old);
  if (kind->name == "account") return load_any<AccountClaims>(*parts, *payload, version, is_old);
  if (kind->name == "user") return load_any<UserClaims>(*parts, *payload, version, is_old);
  if (kind->name == "activation") return load_any<ActivationClaims>(*parts, *payload, version, is_old);
  if (kind->name == "authorization_request") {
    return load_any<AuthorizationRequestClaims>(*parts, *payload, version, is_old);
  }
  if (kind->name == "authorization_response") {
    return load_any<AuthorizationResponseClaims>(*parts, *payload, version, is_old);
  }
  if (kind->name == "cluster" || kind->name == "server") return token_error(kind->name + " claims are not supported");
  return load_any<GenericClaims>(*parts, *payload, version, *is_old_algorithm);
}

Result<OperatorClaims> decode_operator(std::string_view token) { return decode_kind<OperatorClaims>(token); }
Result<AccountClaims> decode_account(std::string_view token) { return decode_kind<AccountClaims>(token); }
Result<UserClaims> decode_user(std::string_view token) { return decode_kind<UserClaims>(token); }
Result<ActivationClaims> decode_activation(std::string_view token) {
  return decode_kind<ActivationClaims>(token);
}
Result<AuthorizationRequestClaims> decode_authorization_request(std::string_view token) {
  return decode_kind<AuthorizationRequestClaims>(token);
}
Result<AuthorizationResponseClaims> decode_authorization_response(std::string_view token) {
  return decode_kind<AuthorizationResponseClaims>(token);
}

Result<GenericClaims> decode_generic(std::string_view token) {
  const auto parts = split_token(token);
  if (!parts) return parts.error();
  const auto is_old = check_header(parts->header);
  if (!is_old) return is_old.error();
  const auto payload = parse_part(parts->payload, "claims");
  if (!payload) return payload.error();
  return load<GenericClaims>(*parts, *payload, 0, *is_old);
}

Result<std::string> encode_jwt(OperatorClaims& claims, const KeyPair& signer, int64_t now) {
  if (auto subject = check_subject(claims.sub, NkeyType::Operator); !subject) return subject.error();
  return encode_typed(claims, signer, now);
}

Result<std::string> encode_jwt(AccountClaims& claims, const KeyPair& signer, int64_t now) {
  if (auto subject = check_subject(claims.sub, NkeyType::Account); !subject) return subject.error();
  const auto by_subject = [](const auto& a, const auto& b) { return a.subject < b.subject; };
  std::stable_sort(claims.exports.begin(), claims.exports.end(), by_subject);
  std::stable_sort(claims.imports.begin(), claims.imports.end(), by_subject);
  return encode_typed(claims, signer, now);
}

Result<std::string> encode_jwt(UserClaims& claims, const KeyPair& signer, int64_t now) {
  if (auto subject = check_subject(claims.sub, NkeyType::User); !subject) return subject.error();
  return encode_typed(claims, signer, now);
}

Result<std::string> encode_jwt(ActivationClaims& claims, const KeyPair& signer, int64_t now) {
  if (auto subject = check_subject(claims.sub, NkeyType::Account); !subject) return subject.error();
  return encode_typed(claims, signer, now);
}

Result<std::string> encode_jwt(AuthorizationRequestClaims& claims, const KeyPair& signer, int64_t now) {
  return encode_typed(claims, signer, now);
}

Result<std::string> encode_jwt(AuthorizationResponseClaims& claims, const KeyPair& signer, int64_t now) {
  return encode_typed(claims, signer, now);
}

Result<std::string> encode_jwt(GenericClaims& claims, const KeyPair& signer, int64_t now) {
  auto data = with_version(claims.data);
  if (!data) return data.error();
  claims.data = std::move(*data);
  return sign_claims(claims, signer, now);
}

const char* kind_of(const Claims& claims) {
  return std::visit([](const auto& it) { return Rules<std::decay_t<decltype(it)>>::kName; }, claims);
}

const ClaimsData& data_of(const Claims& claims) {
  return std::visit([](const auto& it) -> const ClaimsData& { return it; }, claims);
}

std::string claims_json(const Claims& claims, bool indented) {
  json::Writer out(json::Writer::Options{.indent = indented ? 2 : 0});
  std::visit([&](const auto& it) { write_claims(out, it); }, claims);
  return out.take();
}

AccountClaims make_account_claims(std::string_view subject) {
  AccountClaims claims;
  claims.sub = subject;
  claims.limits.nats = {kNoLimit, kNoLimit, kNoLimit};
  claims.limits.account = {.imports = kNoLimit, .exports = kNoLimit, .wildcards = true, .disallow_bearer = false,
                           .conn = kNoLimit, .leaf = kNoLimit};
  return claims;
}

UserClaims make_user_claims(std::string_view subject) {
  UserClaims claims;
  claims.sub = subject;
  claims.user.limits = {kNoLimit, kNoLimit, kNoLimit};
  return claims;
}

UserScope make_user_scope(std::string_view signing_key) {
  UserScope scope;
  scope.key = signing_key;
  scope.template_.limits = {kNoLimit, kNoLimit, kNoLimit};
  return scope;
}

}  // namespace brokkr::crypto
