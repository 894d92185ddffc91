// Goal: no token makes the decoder read out of bounds or stand still, and what it reads it can
// write.
//
// The first byte chooses: a whole token, or the JSON of claims that gets signed here, so that the
// readers behind the signature are reached. Invariants:
//   - a token that decodes has a public key as its issuer and can be validated
//   - its claims, written and read again, give the same JSON
//   - templates of a scope expand without a wildcard from the values
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/bytes.h"
#include "base/check.h"
#include "base/json.h"
#include "crypto/claims_json.h"
#include "crypto/creds.h"
#include "crypto/jwt.h"
#include "crypto/user_template.h"
#include "crypto/validate.h"

namespace brokkr::crypto {
namespace {

template <typename T>
std::string json_of(const T& claims) {
  json::Writer out(json::Writer::Options{});
  write_claims(out, claims);
  return out.take();
}

void check_scopes(const AccountClaims& claims) {
  const Texts tags = {"a:1", "a:*", "b:x.y"};
  for (const auto& [key, scope] : claims.signing_keys) {
    if (!scope) continue;
    const TemplateValues values{"na me", claims.sub, ">", claims.iss, tags, tags};
    const auto out = expand_user_template(scope->template_, values);
    if (out) CHECK(out->permissions.pub.allow.size() <= kTemplateSubjectsMax + scope->template_.permissions.pub.allow.size());
  }
}

template <typename T>
void check_read(const json::Value& root, int64_t version) {
  T claims;
  if (!read_claims(root, version, claims)) return;
  const std::string first = json_of(claims);
  const auto value = json::parse(first);
  CHECK(static_cast<bool>(value));
  T again;
  CHECK(static_cast<bool>(read_claims(*value, 2, again)));
  if constexpr (std::is_same_v<T, AccountClaims>) check_scopes(claims);
  if constexpr (!std::is_same_v<T, GenericClaims>) {
    CHECK(json_of(again) == first);
    (void)validate(claims, 1);
  }
}

void fuzz_claims(std::string_view text, int64_t version) {
  const auto root = json::parse(text);
  if (!root) return;
  check_read<OperatorClaims>(*root, version);
  check_read<AccountClaims>(*root, version);
  check_read<UserClaims>(*root, version);
  check_read<ActivationClaims>(*root, version);
  check_read<AuthorizationRequestClaims>(*root, version);
  check_read<AuthorizationResponseClaims>(*root, version);
  check_read<GenericClaims>(*root, version);
}

void fuzz_signed(std::string_view payload) {
  static const KeyPair server = KeyPair::from_raw_seed(NkeyType::Server, KeyBytes{5});
  const std::string header = R"({"typ":"JWT","alg":"ed25519-nkey"})";
  std::string token = base64url_encode(header) + "." + base64url_encode(payload);
  token += "." + base64url_encode(server.sign(token));
  if (const auto claims = decode_jwt(token)) CHECK(data_of(*claims).iss == server.public_key());
}

}  // namespace
}  // namespace brokkr::crypto

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::crypto;
  if (size < 1 || size > 20000) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      if (const auto claims = decode_jwt(input)) CHECK(parse_public_key(data_of(*claims).iss).has_value());
      (void)decode_generic(input);
      break;
    case 1: fuzz_claims(input, 2); break;
    case 2: fuzz_claims(input, 1); break;
    case 3: fuzz_signed(input); break;
    case 4:
      (void)parse_creds(input);
      (void)parse_jwt_file(input);
      (void)parse_seed_file(input);
      break;
  }
  return 0;
}
