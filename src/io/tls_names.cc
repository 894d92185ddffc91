#include "io/tls_names.h"

#include <openssl/obj_mac.h>
#include <openssl/ssl.h>

#include <array>
#include <string_view>
#include <utility>

namespace brokkr::io {
namespace {

// Forward secrecy and authenticated encryption first; CBC for the sake of old clients.
constexpr const char* kTls12Default =
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:"
    "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA";
constexpr const char* kTls13Default =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

constexpr std::array<std::pair<std::string_view, const char*>, 4> kGoCurves = {{
    {"CurveP256", "P-256"},
    {"CurveP384", "P-384"},
    {"CurveP521", "P-521"},
    {"X25519", "X25519"},
}};

void add_to_list(std::string& list, std::string_view name) {
  if (!list.empty()) list += ':';
  list += name;
}

// Whether OpenSSL can use a cipher of that name of its own.
bool is_usable(const std::string& name) {
  SSL_CTX* probe = SSL_CTX_new(TLS_method());
  const bool is_known = SSL_CTX_set_cipher_list(probe, name.c_str()) == 1;
  SSL_CTX_free(probe);
  return is_known;
}

bool is_tls13(std::string_view name) {
  return name.starts_with("TLS_AES_") || name.starts_with("TLS_CHACHA20_");
}

// OpenSSL's name for one of IANA's; Go has dropped the end of some.
std::string openssl_cipher(const std::string& name) {
  if (!name.starts_with("TLS_")) return name;
  for (const std::string& full : {name, name + "_SHA256"}) {
    const std::string found = OPENSSL_cipher_name(full.c_str());
    if (found != "(NONE)") return found;
  }
  return {};
}

}  // namespace

Result<CipherLists> cipher_lists(const std::vector<std::string>& names) {
  CipherLists lists;
  for (const std::string& name : names) {
    if (is_tls13(name)) {
      add_to_list(lists.tls13, name);
      continue;
    }
    const std::string own = openssl_cipher(name);
    if (own.empty() || own.find(':') != std::string::npos || !is_usable(own)) {
      return Error{Errc::InvalidArgument, "cipher suite \"" + name + "\" is not supported"};
    }
    add_to_list(lists.tls12, own);
  }
  if (lists.tls12.empty()) lists.tls12 = kTls12Default;
  if (lists.tls13.empty()) lists.tls13 = kTls13Default;
  return lists;
}

Result<std::string> group_list(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) {
    if (name.find("MLKEM") != std::string::npos) continue;
    std::string own = name;
    for (const auto& [go, openssl] : kGoCurves) {
      if (name == go) own = openssl;
    }
    SSL_CTX* probe = SSL_CTX_new(TLS_method());
    const bool is_known = own.find(':') == std::string::npos &&
                          SSL_CTX_set1_groups_list(probe, own.c_str()) == 1;
    SSL_CTX_free(probe);
    if (!is_known) {
      return Error{Errc::InvalidArgument, "curve \"" + name + "\" is not supported"};
    }
    add_to_list(list, own);
  }
  return list;
}

}  // namespace brokkr::io
