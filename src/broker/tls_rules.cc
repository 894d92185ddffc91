#include "broker/tls_rules.h"

#include "config/options_tls.h"

namespace brokkr::broker {
namespace {

io::TlsSettings tls_settings(const config::TlsOptions& options) {
  io::TlsSettings settings;
  for (const auto& pair : options.certs) {
    settings.certificates.push_back({pair.cert_file, pair.key_file, false});
  }
  if (options.certs.empty() && !options.cert_file.empty()) {
    settings.certificates.push_back({options.cert_file, options.key_file, false});
  }
  settings.ca = options.ca_file;
  settings.verify_client = options.verify || options.verify_and_map;
  settings.insecure = options.insecure;
  settings.pinned_certs = options.pinned_certs;
  settings.min_version = options.min_version == config::TlsVersion::V1_3 ? "1.3" : "1.2";
  settings.cipher_suites = options.cipher_suites;
  settings.curves = options.curve_preferences;
  return settings;
}

Error in_tls_block(const Error& error) { return {error.code, "tls: " + error.text}; }

}  // namespace

HandshakeRate::Answer HandshakeRate::ask(MonotonicTime now) {
  const int64_t second =
      std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count();
  if (window_.exchange(second, std::memory_order_relaxed) != second) {
    count_.store(0, std::memory_order_relaxed);
  }
  const int64_t before = count_.fetch_add(1, std::memory_order_relaxed);
  if (before < a_second_) return Answer::Allowed;
  return before == a_second_ ? Answer::FirstRefused : Answer::Refused;
}

Result<std::shared_ptr<const TlsRules>> make_tls_rules(const config::TlsOptions& options,
                                                       bool allow_non_tls) {
  auto context = io::TlsContext::server(tls_settings(options));
  if (!context) return in_tls_block(context.error());
  auto rules = std::make_shared<TlsRules>();
  rules->context = std::move(*context);
  rules->verify = options.verify || options.verify_and_map;
  rules->verify_and_map = options.verify_and_map;
  rules->allow_non_tls = allow_non_tls;
  rules->handshake_first = options.handshake_first;
  rules->handshake_first_fallback = options.handshake_first_fallback;
  rules->timeout = options.timeout;
  if (options.connection_rate_limit > 0) {
    rules->rate = std::make_shared<HandshakeRate>(options.connection_rate_limit);
  }
  return std::shared_ptr<const TlsRules>(std::move(rules));
}

Result<std::shared_ptr<const io::TlsContext>> make_tls_client(const config::TlsOptions& options) {
  auto context = io::TlsContext::client(tls_settings(options));
  if (!context) return in_tls_block(context.error());
  return context;
}

std::shared_ptr<const TlsFacts> keep_facts(const io::TlsFacts& facts, const TlsRules& rules,
                                           bool was_first) {
  auto kept = std::make_shared<TlsFacts>();
  kept->version = facts.version;
  kept->cipher = facts.cipher;
  kept->was_first = was_first;
  for (const io::TlsCertificate& each : facts.peer_chain) {
    kept->peer_certificates.push_back({each.subject, each.spki_sha256, each.sha256});
  }
  kept->is_verified = rules.verify && facts.is_verified && !facts.peer_chain.empty();
  if (kept->is_verified) {
    const io::TlsCertificate& own = facts.peer_chain.front();
    kept->identity = {own.emails, own.dns_names, own.uris, own.subject};
  }
  return kept;
}

}  // namespace brokkr::broker
