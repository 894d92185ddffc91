#include "io/tls_certificate.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>

namespace brokkr::io {
namespace {

std::string to_hex(const unsigned char* bytes, size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(size * 2);
  for (size_t i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string subject_of(X509* certificate) {
  const std::unique_ptr<BIO, int (*)(BIO*)> text(BIO_new(BIO_s_mem()), BIO_free);
  // UTF-8 stays as it is instead of being escaped byte for byte.
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0,
                     XN_FLAG_RFC2253 & ~static_cast<unsigned long>(ASN1_STRFLGS_ESC_MSB));
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<size_t>(size)};
}

void add_names(X509* certificate, TlsCertificate& into) {
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_EMAIL && name->type != GEN_DNS && name->type != GEN_URI) continue;
    const std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.ia5)),
                           static_cast<size_t>(ASN1_STRING_length(name->d.ia5)));
    if (name->type == GEN_EMAIL) into.emails.push_back(text);
    if (name->type == GEN_DNS) into.dns_names.push_back(text);
    if (name->type == GEN_URI) into.uris.push_back(text);
  }
  GENERAL_NAMES_free(names);
}

std::string version_of(const SSL* ssl) {
  switch (SSL_version(ssl)) {
    case TLS1_2_VERSION: return "1.2";
    case TLS1_3_VERSION: return "1.3";
    default: return SSL_get_version(ssl);
  }
}

}  // namespace

TlsCertificate describe_certificate(x509_st* certificate) {
  TlsCertificate facts;
  facts.subject = subject_of(certificate);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest, &size) == 1) facts.sha256 = to_hex(digest, size);
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (length > 0 &&
      EVP_Digest(der, static_cast<size_t>(length), digest, &size, EVP_sha256(), nullptr) == 1) {
    facts.spki_sha256 = to_hex(digest, size);
  }
  OPENSSL_free(der);
  add_names(certificate, facts);
  return facts;
}

TlsFacts describe_session(ssl_st* ssl) {
  TlsFacts facts;
  facts.version = version_of(ssl);
  const char* cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl));
  facts.cipher = cipher == nullptr ? "" : cipher;
  X509* own = SSL_get0_peer_certificate(ssl);
  if (own == nullptr) return facts;
  facts.is_verified = SSL_get_verify_result(ssl) == X509_V_OK;
  facts.peer_chain.push_back(describe_certificate(own));
  // A server's view of the chain leaves the client's own out, a client's has it in front.
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* link = sk_X509_value(chain, i);
    if (X509_cmp(link, own) != 0) facts.peer_chain.push_back(describe_certificate(link));
  }
  return facts;
}

std::string openssl_error(std::string_view otherwise) {
  std::string text;  // of the oldest: those after it are the consequences
  const char* data = nullptr;
  int flags = 0;
  while (const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &data, &flags)) {
    const char* reason = ERR_reason_error_string(code);
    if (reason == nullptr || !text.empty()) continue;
    text = reason;
    if ((flags & ERR_TXT_STRING) != 0 && data != nullptr && *data != '\0') {
      text.append(" (").append(data).append(")");
    }
  }
  return text.empty() ? std::string(otherwise) : text;
}

}  // namespace brokkr::io
