#pragma once

#include "base/json.h"
#include "base/result.h"
#include "crypto/claims.h"

// The JSON of claims, for jwt.cc. Unknown members are ignored; a member of a wrong kind fails with
// Syntax and its path. Pure.
namespace brokkr::crypto {

// `version` 1 is the older layout, where type, tags and issuer_account are beside "nats".
Status read_claims(const json::Value& root, int64_t version, OperatorClaims&);
Status read_claims(const json::Value& root, int64_t version, AccountClaims&);
Status read_claims(const json::Value& root, int64_t version, UserClaims&);
Status read_claims(const json::Value& root, int64_t version, ActivationClaims&);
Status read_claims(const json::Value& root, int64_t version, AuthorizationRequestClaims&);
Status read_claims(const json::Value& root, int64_t version, AuthorizationResponseClaims&);
Status read_claims(const json::Value& root, int64_t version, GenericClaims&);

// The fields every token has, into an open object.
void write_data(json::Writer&, const ClaimsData&);

void write_claims(json::Writer&, const OperatorClaims&);
void write_claims(json::Writer&, const AccountClaims&);
void write_claims(json::Writer&, const UserClaims&);
void write_claims(json::Writer&, const ActivationClaims&);
void write_claims(json::Writer&, const AuthorizationRequestClaims&);
void write_claims(json::Writer&, const AuthorizationResponseClaims&);
void write_claims(json::Writer&, const GenericClaims&);

}  // namespace brokkr::crypto
