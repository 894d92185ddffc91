#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "crypto/claims.h"
#include "crypto/nkey.h"

// Tokens of NATS operator mode: JWTs signed with nkeys. Pure.
namespace brokkr::crypto {

inline constexpr size_t kTokenBytesMax = 1024 * 1024;
inline constexpr int64_t kClaimsVersion = 2;

using Claims = std::variant<GenericClaims, OperatorClaims, AccountClaims, UserClaims, ActivationClaims,
                            AuthorizationRequestClaims, AuthorizationResponseClaims>;

// Decodes one token of any kind and verifies that its issuer signed it and is of a type that may
// issue this kind. It does not say that the issuer is trusted, that the token is in time
// (validate.h) or not revoked. Claims of version 1 are read too. Fails with Syntax, LimitExceeded
// or PermissionDenied (the signature).
Result<Claims> decode_jwt(std::string_view token);

// The same for one kind; another kind fails with Syntax.
Result<OperatorClaims> decode_operator(std::string_view token);
Result<AccountClaims> decode_account(std::string_view token);
Result<UserClaims> decode_user(std::string_view token);
Result<ActivationClaims> decode_activation(std::string_view token);
Result<AuthorizationRequestClaims> decode_authorization_request(std::string_view token);
Result<AuthorizationResponseClaims> decode_authorization_response(std::string_view token);
Result<GenericClaims> decode_generic(std::string_view token);

// Signs the claims: sets iss, iat (`now`, seconds), jti, type and version, sorts what readers expect
// sorted. Fails with InvalidArgument when the signer or the subject is of a wrong type.
Result<std::string> encode_jwt(OperatorClaims&, const KeyPair& signer, int64_t now);
Result<std::string> encode_jwt(AccountClaims&, const KeyPair& signer, int64_t now);
Result<std::string> encode_jwt(UserClaims&, const KeyPair& signer, int64_t now);
Result<std::string> encode_jwt(ActivationClaims&, const KeyPair& signer, int64_t now);
Result<std::string> encode_jwt(AuthorizationRequestClaims&, const KeyPair& signer, int64_t now);
Result<std::string> encode_jwt(AuthorizationResponseClaims&, const KeyPair& signer, int64_t now);
Result<std::string> encode_jwt(GenericClaims&, const KeyPair& signer, int64_t now);

// "operator", "account", ..., "generic".
const char* kind_of(const Claims&);
const ClaimsData& data_of(const Claims&);

// The claims as the payload of a token has them.
std::string claims_json(const Claims&, bool indented = false);

// Fresh claims with the limits tools start from: everything unlimited, JetStream off.
AccountClaims make_account_claims(std::string_view subject);
UserClaims make_user_claims(std::string_view subject);
UserScope make_user_scope(std::string_view signing_key);

}  // namespace brokkr::crypto
