#include <algorithm>
#include <span>

#include "base/bytes.h"
#include "config/reader.h"

// The block `tls`, wherever it stands.
namespace brokkr::config {
namespace {

constexpr std::string_view kCipherSuites[] = {
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"};
constexpr std::string_view kInsecureCipherSuites[] = {
    "TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"};
constexpr std::string_view kCurves[] = {"X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024",
                                        "X25519", "CurveP256", "CurveP384", "CurveP521"};

bool holds(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A list of names from `known`; an empty one is an error.
void read_names(Reader& reader, const Value& value, std::string_view name,
                std::string_view what, FunctionRef<bool(std::string_view)> is_known,
                std::vector<std::string>& out) {
  reader.read_list(value, name, out);
  if (value.is_array() && value.items.empty()) {
    reader.fail(value.at, "'" + std::string(name) + "' cannot be empty");
  }
  for (const std::string& entry : out) {
    if (!is_known(entry)) {
      reader.fail(value.at, "unrecognized " + std::string(what) + " " + entry);
    }
  }
}

void read_ciphers(Reader& reader, const Value& value, TlsOptions& tls) {
  read_names(
      reader, value, "cipher_suites", "cipher",
      [](std::string_view name) {
        return holds(kCipherSuites, name) || holds(kInsecureCipherSuites, name);
      },
      tls.cipher_suites);
}

void read_pinned(Reader& reader, const Value& value, TlsOptions& tls) {
  std::vector<std::string> entries;
  reader.read_list(value, "pinned_certs", entries);
  for (std::string& entry : entries) {
    entry = to_lower(entry);
    const bool is_hash = entry.size() == 64 &&
                         entry.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!is_hash) {
      reader.fail(value.at, "'pinned_certs' key " + entry +
                                " does not look like hex-encoded sha256 of DER encoded "
                                "SubjectPublicKeyInfo");
    }
  }
  std::sort(entries.begin(), entries.end());
  entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  tls.pinned_certs = std::move(entries);
}

void read_handshake_first(Reader& reader, const Value& value, const std::string& name,
                          TlsOptions& tls) {
  tls.handshake_first_fallback = {};
  if (value.is_bool()) {
    tls.handshake_first = value.boolean;
    return;
  }
  if (!value.is_string()) return reader.fail_type(value, name, "a boolean or a string");
  const std::string word = to_lower(value.text);
  tls.handshake_first = word != "false" && word != "off";
  if (!tls.handshake_first || word == "true" || word == "on") return;
  if (word == "auto" || word == "auto_fallback") {
    tls.handshake_first_fallback = std::chrono::milliseconds(50);
  } else if (!parse_go_duration(value.text, tls.handshake_first_fallback)) {
    reader.fail(value.at, "field \"" + name + "\"'s value \"" + value.text + "\" is invalid");
  }
}

void read_min_version(Reader& reader, const Value& value, TlsOptions& tls) {
  if (!value.is_string()) {
    return reader.fail_type(value, "min_version", "a string like \"1.2\"");
  }
  if (value.text == "1.2") {
    tls.min_version = TlsVersion::V1_2;
  } else if (value.text == "1.3") {
    tls.min_version = TlsVersion::V1_3;
  } else if (value.text == "1.0" || value.text == "1.1") {
    reader.fail(value.at, "unsupported TLS version: TLS " + value.text);
  } else {
    reader.fail(value.at, "min_version: unknown version: " + value.text);
  }
}

// A file of PEM blocks that can be read, when files can be looked at.
void check_pem(Reader& reader, Position at, const std::string& path, std::string_view what) {
  if (reader.sources() == nullptr || path.empty()) return;
  const Result<std::string> text = reader.sources()->read_file(path);
  if (!text) {
    return reader.fail(at, std::string(what) + ": " + path + ": " + text.error().text);
  }
  if (text->find("-----BEGIN ") == std::string::npos) {
    reader.fail(at, std::string(what) + ": " + path + ": no PEM data");
  }
}

void read_file_name(Reader& reader, const Value& value, const std::string& name, std::string& out) {
  if (!value.is_string()) return reader.fail_type(value, name, "a file name");
  out = value.text;
  check_pem(reader, value.at, out, name);
}

void read_certificates(Reader& reader, const Value& value, const std::string& name,
                       TlsOptions& tls) {
  if (!value.is_array()) return reader.fail_type(value, name, "a list of maps");
  tls.certs.clear();
  for (const Value& item : value.items) {
    TlsOptions::CertificatePair pair;
    reader.for_each_member(item, name, [&](const std::string& key, const Member& member) {
      if (key != "cert_file" && key != "key_file") return false;
      read_file_name(reader, member.value, key, key == "cert_file" ? pair.cert_file : pair.key_file);
      return true;
    });
    if (item.is_map() && (pair.cert_file.empty() || pair.key_file.empty())) {
      reader.fail(item.at, "both 'cert_file' and 'key_file' options are required");
    }
    tls.certs.push_back(std::move(pair));
  }
}

bool read_switch_field(Reader& reader, const std::string& name, const Value& value,
                       TlsOptions& tls) {
  if (name == "insecure") {
    reader.read(value, name, tls.insecure);
  } else if (name == "verify") {
    bool verify = false;
    reader.read(value, name, verify);
    tls.verify = verify || tls.verify_and_map;
  } else if (name == "verify_and_map") {
    reader.read(value, name, tls.verify_and_map);
    tls.verify = tls.verify || tls.verify_and_map;
  } else if (name == "verify_cert_and_check_known_urls") {
    bool verify = false;
    reader.read(value, name, verify);
    if (verify) reader.fail(value.at, name + " not supported in this context");
  } else if (name == "allow_insecure_cipher_suites") {
    reader.read(value, name, tls.allow_insecure_cipher_suites);
  } else {
    return false;
  }
  return true;
}

bool read_foreign_field(Reader& reader, const std::string& name, const Value& value) {
  if (name == "cert_store" || name == "cert_match_by") {
    reader.fail(value.at, name + " not compatible with the operating system");
  } else if (name == "cert_match" || name == "ca_certs_match" || name == "cert_match_skip_invalid" ||
             name == "ocsp_peer") {
    reader.add_later("tls." + name);
  } else {
    return false;
  }
  return true;
}

bool read_tls_field(Reader& reader, const std::string& name, const Value& value, TlsOptions& tls) {
  if (name == "cert_file") {
    read_file_name(reader, value, name, tls.cert_file);
  } else if (name == "key_file") {
    read_file_name(reader, value, name, tls.key_file);
  } else if (name == "ca_file") {
    read_file_name(reader, value, name, tls.ca_file);
  } else if (name == "certs" || name == "certificates") {
    read_certificates(reader, value, name, tls);
  } else if (name == "cipher_suites") {
    read_ciphers(reader, value, tls);
  } else if (name == "curve_preferences") {
    read_names(
        reader, value, name, "curve preference",
        [](std::string_view curve) { return holds(kCurves, curve); }, tls.curve_preferences);
  } else if (name == "timeout") {
    Duration timeout{};
    reader.read_seconds(value, name, timeout);
    if (timeout < Duration::zero()) reader.fail(value.at, name + ": may not be negative");
    if (timeout > Duration::zero()) tls.timeout = timeout;
  } else if (name == "connection_rate_limit") {
    reader.read(value, name, tls.connection_rate_limit, INT64_MIN, INT64_MAX);
  } else if (name == "pinned_certs") {
    read_pinned(reader, value, tls);
  } else if (name == "handshake_first" || name == "first" || name == "immediate") {
    read_handshake_first(reader, value, name, tls);
  } else if (name == "min_version") {
    read_min_version(reader, value, tls);
  } else {
    return read_switch_field(reader, name, value, tls) || read_foreign_field(reader, name, value);
  }
  return true;
}

void check_tls(Reader& reader, Position at, const TlsOptions& tls) {
  if (!tls.certs.empty() && !tls.cert_file.empty()) {
    reader.fail(at, "cannot combine 'cert_file' option with 'certs' option");
  }
  if (!tls.cert_file.empty() && tls.key_file.empty()) {
    reader.fail(at, "missing 'key_file' in TLS configuration");
  }
  if (tls.cert_file.empty() && !tls.key_file.empty()) {
    reader.fail(at, "missing 'cert_file' in TLS configuration");
  }
  if (tls.allow_insecure_cipher_suites) return;
  for (const std::string& suite : tls.cipher_suites) {
    if (!holds(kInsecureCipherSuites, suite)) continue;
    reader.fail(at, "insecure cipher suites configured without 'allow_insecure_cipher_suites' "
                    "option set: " + suite);
  }
}

}  // namespace

void read_tls(Reader& reader, const Value& value, std::optional<TlsOptions>& out) {
  if (!value.is_map()) return reader.fail_type(value, "tls", "a map");
  TlsOptions tls;
  reader.for_each_member(value, "tls", [&](const std::string& name, const Member& member) {
    return read_tls_field(reader, name, member.value, tls);
  });
  check_tls(reader, value.at, tls);
  out = std::move(tls);
}

}  // namespace brokkr::config
