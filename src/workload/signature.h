#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "crypto/nkey.h"
#include "workload/control.h"
#include "workload/run_request.h"

// Signed deploys. An issuer, the holder of an account nkey (seed SA…), signs with each deployment
// a token that says what exactly may run, where and until when; it travels as `workload_jwt` of the
// run request. A node takes a token once. Pure but for UsedTokens, which is Loop-confined.
namespace brokkr::workload {

// How long a token is good for when its signer says nothing, and at most.
constexpr Duration kSignatureLifetime = std::chrono::minutes(5);
constexpr Duration kSignatureLifetimeMax = std::chrono::hours(24);
// Clocks of signer and node may differ so much.
constexpr Duration kSignatureLeeway = std::chrono::seconds(30);

// What an issuer vouches for.
struct DeploySignature {
  std::string issuer;  // "A…"
  std::string jti;     // each token's own
  std::string ns;
  std::string name;
  std::string workload_type;
  std::string workload_lifecycle;
  std::string sha256;  // of the artifact
  std::string run_request_digest;
  int64_t not_before = 0;  // seconds since 1970
  int64_t expires = 0;
};

// SHA-256 in hex over the run request without its token, whatever way it was written.
std::string run_request_digest(const RunRequest&);

// The token for this deployment, of which `run` is the run request. `nonce` makes it the only one.
// Fails with InvalidArgument when the issuer's key is no account key, or the artifact has no digest.
Result<std::string> sign_deploy(const DeployRequest&, const RunRequest& run, const crypto::KeyPair& issuer,
                                WallTime now, Duration lifetime, std::string_view nonce);

// Checks the token in `run` against the deployment in namespace `ns` and gives what it says. Fails
// with PermissionDenied in words that say what does not fit. `issuers` are the account keys that
// count; empty means that any signature will do.
Result<DeploySignature> verify_deploy(std::string_view ns, const DeployRequest&, const RunRequest& run,
                                      const Words& issuers, WallTime now);

// Tokens that were used, as long as they could be used again. Where JetStream is, the key of
// NEX_DEPLOYS says the same for all nodes; this is for the node alone.
class UsedTokens {
 public:
  // False when it was used before, or when more than `kTokensMax` live ones were.
  bool use(const DeploySignature&, WallTime now);
  static constexpr size_t kTokensMax = 100'000;

 private:
  std::set<std::pair<int64_t, std::string>> by_expiry_;
  std::set<std::string, std::less<>> tokens_;
};

// The key of NEX_DEPLOYS that a token takes: "<ns>.<jti>".
std::string used_token_key(const DeploySignature&);

}  // namespace brokkr::workload
