#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace brokkr::config {

enum class TlsVersion : uint8_t { V1_2, V1_3 };

// The block `tls`, wherever it stands: what a listener shows and asks for, or what a connection
// going out shows and trusts. A value type. Files are named, not read.
struct TlsOptions {
  struct CertificatePair {
    std::string cert_file;
    std::string key_file;
    bool operator==(const CertificatePair&) const = default;
  };

  std::string cert_file;
  std::string key_file;
  std::vector<CertificatePair> certs;  // instead of cert_file and key_file; chosen by server name
  std::string ca_file;                 // empty: the system's

  bool verify = false;          // the peer must show a certificate signed by ca_file
  bool verify_and_map = false;  // and it says who the user is; implies verify
  bool insecure = false;        // going out: the peer's certificate is not checked

  Duration timeout = std::chrono::seconds(2);  // for the whole handshake
  // The handshake comes before INFO. With a fallback above zero INFO is sent after that time to
  // a client that has not begun one.
  bool handshake_first = false;
  Duration handshake_first_fallback{};

  TlsVersion min_version = TlsVersion::V1_2;
  std::vector<std::string> cipher_suites;      // TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; empty: ours
  bool allow_insecure_cipher_suites = false;
  std::vector<std::string> curve_preferences;  // X25519, CurveP256, ...; empty: ours
  // SHA-256 of the SubjectPublicKeyInfo of the peers let in, lower-case hex, sorted; empty: any.
  std::vector<std::string> pinned_certs;
  int64_t connection_rate_limit = 0;  // handshakes a second; 0: any number

  bool operator==(const TlsOptions&) const = default;
};

}  // namespace brokkr::config
