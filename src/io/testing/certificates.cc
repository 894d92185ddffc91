#include "io/testing/certificates.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace brokkr::io {
namespace {

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

std::string pem_of(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  return text_of(bio);
}

std::string pem_of(EVP_PKEY* key) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_of(bio);
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* make_certificate(const TestCertificate& wanted, EVP_PKEY* key) {
  X509* made = X509_new();
  static long serial = 0;
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
  constexpr long kDay = 86400;
  const long end = wanted.valid_days * kDay;
  X509_gmtime_adj(X509_getm_notBefore(made), end < 0 ? end - kDay : -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), end);
  for (const auto& [name, value] : wanted.subject) {
    CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(made), name.c_str(), MBSTRING_UTF8,
                                     reinterpret_cast<const unsigned char*>(value.c_str()), -1, -1,
                                     0) == 1);
  }
  X509_set_pubkey(made, key);
  return made;
}

}  // namespace

struct TestAuthority::State {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

TestAuthority::TestAuthority(const std::string& name) : state_(std::make_unique<State>()) {
  TestCertificate own;
  own.subject = {{"CN", name}};
  state_->key = EVP_EC_gen("P-256");
  state_->certificate = make_certificate(own, state_->key);
  X509* made = state_->certificate;
  X509_set_issuer_name(made, X509_get_subject_name(made));
  add_extension(made, made, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(made, made, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(made, made, NID_subject_key_identifier, "hash");
  CHECK(X509_sign(made, state_->key, EVP_sha256()) > 0);
}

TestAuthority::~TestAuthority() {
  X509_free(state_->certificate);
  EVP_PKEY_free(state_->key);
}

std::string TestAuthority::certificate() const { return pem_of(state_->certificate); }

TlsKeyPair TestAuthority::issue(const TestCertificate& wanted) const {
  EVP_PKEY* key = wanted.is_rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
  X509* made = make_certificate(wanted, key);
  X509_set_issuer_name(made, X509_get_subject_name(state_->certificate));
  add_extension(made, state_->certificate, NID_ext_key_usage, "serverAuth,clientAuth");
  std::string names;
  for (const std::string& name : wanted.alt_names) names += (names.empty() ? "" : ",") + name;
  if (!names.empty()) add_extension(made, state_->certificate, NID_subject_alt_name, names);
  CHECK(X509_sign(made, state_->key, EVP_sha256()) > 0);
  TlsKeyPair pair{pem_of(made), pem_of(key), true};
  X509_free(made);
  EVP_PKEY_free(key);
  return pair;
}

TlsKeyPair TestAuthority::issue_server() const {
  TestCertificate wanted;
  wanted.subject = {{"CN", "localhost"}};
  wanted.alt_names = {"DNS:localhost", "IP:127.0.0.1", "IP:::1"};
  return issue(wanted);
}

TlsKeyPair TestAuthority::issue_client(const std::string& name) const {
  TestCertificate wanted;
  wanted.subject = {{"CN", name}};
  return issue(wanted);
}

}  // namespace brokkr::io
