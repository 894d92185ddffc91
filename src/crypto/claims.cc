#include "crypto/claims.h"

#include <algorithm>

namespace brokkr::crypto {
namespace {

bool allows_storage(const JetStreamLimits& limits) {
  return limits.mem_storage != 0 || limits.disk_storage != 0;
}

}  // namespace

const char* to_string(ExportType type) {
  switch (type) {
    case ExportType::Stream: return "stream";
    case ExportType::Service: return "service";
    case ExportType::Unknown: break;
  }
  return "unknown";
}

bool is_revoked(const Revocations& revocations, std::string_view public_key, int64_t issued_at) {
  const auto covers = [&](std::string_view key) {
    const auto found = revocations.find(key);
    return found != revocations.end() && found->second >= issued_at;
  };
  return covers("*") || covers(public_key);
}

bool OperatorLimits::is_jetstream_enabled() const {
  if (tiers.empty()) return allows_storage(jetstream);
  return std::any_of(tiers.begin(), tiers.end(), [](const auto& tier) { return allows_storage(tier.second); });
}

bool OperatorLimits::is_empty() const {
  return nats == NatsLimits{} && account == AccountLimits{} && jetstream == JetStreamLimits{} && tiers.empty();
}

bool AccountClaims::did_sign(std::string_view issuer, std::string_view issuer_account) const {
  return issuer == sub || (issuer_account == sub && signing_keys.contains(issuer));
}

bool OperatorClaims::did_sign(std::string_view issuer, std::string_view subject) const {
  if (issuer == sub) return !strict_signing_key_usage || subject == sub;
  return std::find(signing_keys.begin(), signing_keys.end(), issuer) != signing_keys.end();
}

}  // namespace brokkr::crypto
