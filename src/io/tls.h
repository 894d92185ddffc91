#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/transport.h"

struct ssl_ctx_st;

namespace brokkr::io {

// A certificate chain with its private key, both PEM: in files, or as text when `is_text`.
struct TlsKeyPair {
  std::string certificate;
  std::string key;
  bool is_text = false;
};

// How one side of TLS behaves; the defaults are those of nats-server and its clients.
struct TlsSettings {
  // The first of each key type that fits the name asked for (SNI) is shown; the first of each key
  // type when none fits. Servers need at least one.
  std::vector<TlsKeyPair> certificates;
  // The authorities that are trusted: a PEM file (or PEM text when `ca_is_text`). Empty: those of the
  // machine.
  std::string ca;
  bool ca_is_text = false;
  // Servers: clients must show a certificate that leads to `ca`.
  bool verify_client = false;
  // Clients: the server's certificate is not checked, nor its name.
  bool insecure = false;
  // The peer's certificate must have one of these as lower-case hex SHA-256 of its
  // SubjectPublicKeyInfo. Empty: any.
  std::vector<std::string> pinned_certs;
  std::string min_version = "1.2";          // or "1.3"
  std::vector<std::string> cipher_suites;   // IANA's (and Go's) names or OpenSSL's; empty: the good ones
  std::vector<std::string> curves;          // Go's names ("CurveP256") or OpenSSL's ("P-256")
};

// What one certificate says.
struct TlsCertificate {
  std::string subject;      // RFC 2253: "CN=alice,O=Brokkr"
  std::string spki_sha256;  // of the SubjectPublicKeyInfo, lower-case hex
  std::string sha256;       // of the whole certificate, lower-case hex
  std::vector<std::string> emails;
  std::vector<std::string> dns_names;
  std::vector<std::string> uris;
};

// What a finished handshake has agreed on.
struct TlsFacts {
  std::string version;  // "1.3"
  std::string cipher;   // IANA's name
  bool is_verified = false;  // the peer's chain leads to a trusted authority
  std::vector<TlsCertificate> peer_chain;  // as sent, the peer's own first; empty when it showed none
};

// Certificates and rules, loaded. A reload makes another context; streams keep the one they began
// with. Immutable, Thread-safe.
class TlsContext {
 public:
  // Fail with InvalidArgument, naming the file and what is wrong with it.
  static Result<std::shared_ptr<const TlsContext>> server(const TlsSettings& settings);
  static Result<std::shared_ptr<const TlsContext>> client(const TlsSettings& settings);
  virtual ~TlsContext() = default;

  const TlsSettings& settings() const { return settings_; }
  bool is_server() const { return is_server_; }
  // When the first certificate ends, in seconds since 1970; 0 without a certificate.
  int64_t not_after() const { return not_after_; }
  ssl_ctx_st* native() const { return native_; }

 protected:
  TlsContext() = default;
  TlsSettings settings_;
  bool is_server_ = false;
  int64_t not_after_ = 0;
  ssl_ctx_st* native_ = nullptr;
};

// A stream inside a stream. Until the handshake is over, reads and writes answer WouldBlock; once it
// has failed, Failed. What the peer sent right behind its handshake is announced by on_readable as
// any other input is. A handshake may bring in at most kHandshakeBytesMax and a first message of
// kClientHelloBytesMax, and holds no memory worth speaking of before its first bytes. The
// destructor closes the stream under it. Loop-confined.
class TlsTransport : public Transport {
 public:
  static constexpr size_t kHandshakeBytesMax = 128 << 10;
  static constexpr size_t kClientHelloBytesMax = 16 << 10;

  // `done` is called once, from the loop, never from within: with the reason when it failed. It may
  // destroy the transport. There is no time-out; destroying the transport gives up.
  virtual void start_handshake(Callback<void(const Status&)> done) = 0;
  // The peer of a server began with something that is no TLS, for an answer in plain text on
  // `inner`.
  virtual bool is_plain_text() const = 0;
  virtual Transport& inner() = 0;
  // Empty before the handshake is over.
  virtual const TlsFacts& facts() const = 0;
  // Why the stream has failed, during the handshake or after it; empty while it has not.
  virtual const std::string& failure() const = 0;
};

// `early` are bytes of the peer that have been read from `inner` already.
std::unique_ptr<TlsTransport> wrap_tls_server(Loop& loop, std::unique_ptr<Transport> inner,
                                              std::shared_ptr<const TlsContext> context,
                                              std::string_view early = {});
// `server_name` is asked for (SNI, unless it is an address) and must be the certificate's.
std::unique_ptr<TlsTransport> wrap_tls_client(Loop& loop, std::unique_ptr<Transport> inner,
                                              std::shared_ptr<const TlsContext> context,
                                              const std::string& server_name,
                                              std::string_view early = {});

}  // namespace brokkr::io
