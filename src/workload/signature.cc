#include "workload/signature.h"

#include <algorithm>

#include "base/sha256.h"
#include "crypto/jwt.h"
#include "workload/json_members.h"

namespace brokkr::workload {
namespace {

constexpr std::string_view kTokenType = "brokkr-deploy";

int64_t seconds_of(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

int64_t seconds_of(Duration time) { return std::chrono::duration_cast<std::chrono::seconds>(time).count(); }

Error refused(std::string text) { return {Errc::PermissionDenied, "signature: " + std::move(text)}; }

// A digest that pins what runs: of the bytes, or of the image the place names.
std::string artifact_digest(const RunRequest& run) {
  if (!run.sha256.empty()) return run.sha256;
  if (!run.artifact.empty()) return sha256_hex(run.artifact);
  const size_t digest = run.uri.find("@sha256:");
  if (digest != std::string::npos) return run.uri.substr(digest + 8);
  return run.uri.starts_with("sha256://") ? run.uri.substr(9) : "";
}

Status check_times(const DeploySignature& said, int64_t issued, WallTime now) {
  const int64_t seconds = seconds_of(now);
  const int64_t leeway = seconds_of(kSignatureLeeway);
  if (said.expires == 0) return refused("the token never expires");
  if (said.expires + leeway <= seconds) {
    return refused("the token expired " + std::to_string(seconds - said.expires) + " seconds ago");
  }
  if (std::max(said.not_before, issued) > seconds + leeway) return refused("the token is not valid yet");
  if (said.expires - seconds > seconds_of(kSignatureLifetimeMax) + leeway) {
    return refused("the token is valid for longer than a day");
  }
  return {};
}

}  // namespace

std::string run_request_digest(const RunRequest& run) {
  if (run.workload_jwt.empty()) return sha256_hex(encode(run));
  RunRequest bare = run;
  bare.workload_jwt.clear();
  return sha256_hex(encode(bare));
}

Result<std::string> sign_deploy(const DeployRequest& request, const RunRequest& run,
                                const crypto::KeyPair& issuer, WallTime now, Duration lifetime,
                                std::string_view nonce) {
  if (issuer.type() != crypto::NkeyType::Account) {
    return Error{Errc::InvalidArgument, "an issuer's key is an account seed (SA…), this is one of type " +
                                            std::string(crypto::to_string(issuer.type()))};
  }
  const std::string sha256 = artifact_digest(run);
  if (sha256.empty()) {
    return Error{Errc::InvalidArgument,
                 "only an artifact of a known digest can be signed; say its SHA-256, or an image by digest"};
  }
  crypto::GenericClaims claims;
  claims.sub = request.name;
  claims.nbf = seconds_of(now) - 1;
  claims.exp = seconds_of(now) + std::max<int64_t>(1, seconds_of(std::min(lifetime, kSignatureLifetimeMax)));
  json::Writer data;
  data.begin_object().field("type", kTokenType).field("namespace", request.ns).field("name", request.name);
  data.field("workload_type", request.workload_type);
  data.field("workload_lifecycle", request.workload_lifecycle);
  data.field("sha256", sha256).field("run_request", run_request_digest(run));
  claims.data = data.field("nonce", nonce).end_object().take();
  return crypto::encode_jwt(claims, issuer, seconds_of(now));
}

Result<DeploySignature> verify_deploy(std::string_view ns, const DeployRequest& request, const RunRequest& run,
                                      const Words& issuers, WallTime now) {
  if (run.workload_jwt.empty()) return refused("the deployment is not signed");
  const auto claims = crypto::decode_generic(run.workload_jwt);
  if (!claims) return refused(claims.error().text);
  if (!crypto::is_public_key(claims->iss, crypto::NkeyType::Account)) return refused("the issuer is no account");
  if (!issuers.empty() && std::find(issuers.begin(), issuers.end(), claims->iss) == issuers.end()) {
    return refused("issuer " + claims->iss + " is not allowed here");
  }
  const auto data = parse_object(claims->data);
  if (!data) return refused(data.error().text);
  DeploySignature said;
  said.issuer = claims->iss;
  said.jti = claims->jti;
  said.not_before = claims->nbf;
  said.expires = claims->exp;
  std::string type;
  std::string nonce;
  MemberReader in(*data);
  in.read("type", type).read("nonce", nonce).read("namespace", said.ns).read("name", said.name);
  in.read("workload_type", said.workload_type).read("workload_lifecycle", said.workload_lifecycle);
  in.read("sha256", said.sha256).read("run_request", said.run_request_digest);
  if (!in.status()) return refused(in.status().error().text);
  if (type != kTokenType || said.jti.empty()) return refused("the token is not one of a deployment");
  // Of two tokens in one second only the data differs, which a jti does not cover.
  said.jti += "." + nonce;
  if (said.ns != ns) return refused("the token is for namespace \"" + said.ns + "\", not \"" + std::string(ns) + "\"");
  if (said.name != request.name) return refused("the token is for workload \"" + said.name + "\"");
  if (said.workload_type != request.workload_type) return refused("the token is for type \"" + said.workload_type + "\"");
  if (said.workload_lifecycle != request.workload_lifecycle) {
    return refused("the token is for lifecycle \"" + said.workload_lifecycle + "\"");
  }
  if (Status in_time = check_times(said, claims->iat, now); !in_time) return in_time.error();
  if (said.sha256.empty() || said.sha256 != artifact_digest(run) ||
      (!run.artifact.empty() && sha256_hex(run.artifact) != said.sha256)) {
    return refused("the artifact is not the one that was signed");
  }
  if (said.run_request_digest != run_request_digest(run)) return refused("the run request is not the one that was signed");
  return said;
}

bool UsedTokens::use(const DeploySignature& token, WallTime now) {
  const int64_t seconds = seconds_of(now) - seconds_of(kSignatureLeeway);
  while (!by_expiry_.empty() && by_expiry_.begin()->first < seconds) {
    tokens_.erase(by_expiry_.begin()->second);
    by_expiry_.erase(by_expiry_.begin());
  }
  // Forgetting a live one would let it in again.
  if (tokens_.size() >= kTokensMax) return false;
  const std::string key = used_token_key(token);
  if (!tokens_.insert(key).second) return false;
  by_expiry_.emplace(token.expires, key);
  return true;
}

// From a foreign signer the jti may be anything: its hash makes a key of it.
std::string used_token_key(const DeploySignature& token) {
  return token.ns + "." + sha256_hex(token.issuer + " " + token.jti).substr(0, 40);
}

}  // namespace brokkr::workload
