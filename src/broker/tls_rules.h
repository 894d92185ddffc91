#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "broker/origin.h"
#include "io/tls.h"

namespace brokkr::config {
struct TlsOptions;
}

namespace brokkr::broker {

// Counts handshakes so that a flood of them does not take the machine. Thread-safe; roughly right at
// the seconds' borders when several loops ask at once.
class HandshakeRate {
 public:
  enum class Answer : uint8_t { Allowed, FirstRefused, Refused };  // the first in its second

  explicit HandshakeRate(int64_t a_second) : a_second_(a_second) {}
  Answer ask(MonotonicTime now);
  int64_t a_second() const { return a_second_; }

 private:
  const int64_t a_second_;
  std::atomic<int64_t> window_{INT64_MIN};
  std::atomic<int64_t> count_{0};
};

// How a listener does TLS. Immutable; a reload makes another, for connections to come.
struct TlsRules {
  std::shared_ptr<const io::TlsContext> context;
  bool verify = false;           // clients show a certificate that is checked
  bool verify_and_map = false;   // and it says who they are
  bool allow_non_tls = false;    // the first byte decides
  bool handshake_first = false;  // before INFO
  Duration handshake_first_fallback{};  // INFO after so long without a first byte; zero: never
  Duration timeout = std::chrono::seconds(2);
  std::shared_ptr<HandshakeRate> rate;  // null: no limit
};

// Loads what the options name. Fails with InvalidArgument, naming the file and what is wrong.
Result<std::shared_ptr<const TlsRules>> make_tls_rules(const config::TlsOptions& options,
                                                       bool allow_non_tls = false);
// The same for connections that go out.
Result<std::shared_ptr<const io::TlsContext>> make_tls_client(const config::TlsOptions& options);

// What is kept of a handshake that `rules` governed; the certificate proves an identity only where
// it was checked.
std::shared_ptr<const TlsFacts> keep_facts(const io::TlsFacts& facts, const TlsRules& rules,
                                           bool was_first);

}  // namespace brokkr::broker
