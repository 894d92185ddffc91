#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <functional>

#include "io/tls.h"
#include "io/tls_certificate.h"
#include "io/tls_memory.h"
#include "io/tls_names.h"

namespace brokkr::io {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free>>;
using CertificatePtr = std::unique_ptr<X509, Freed<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

void free_chain(STACK_OF(X509)* chain) { sk_X509_pop_free(chain, X509_free); }
using ChainPtr = std::unique_ptr<STACK_OF(X509), Freed<free_chain>>;

struct LoadedPair {
  CertificatePtr certificate;
  ChainPtr chain;
  KeyPtr key;
};

constexpr size_t kPemFileBytesMax = 16 << 20;
constexpr unsigned char kSessionContext[] = "brokkr";

Error tls_file_error(std::string_view what, const std::string& name, std::string_view why) {
  std::string text(what);
  if (!name.empty()) text.append(" \"").append(name).append("\"");
  return {Errc::InvalidArgument, text.append(": ").append(why)};
}

Result<std::string> read_pem(std::string_view what, const std::string& name) {
  std::FILE* file = std::fopen(name.c_str(), "rbe");
  if (file == nullptr) return tls_file_error(what, name, system_error("open", errno).text);
  std::string text;
  char part[8192];
  size_t size = 0;
  while ((size = std::fread(part, 1, sizeof part, file)) > 0 && text.size() < kPemFileBytesMax) {
    text.append(part, size);
  }
  const bool is_broken = std::ferror(file) != 0;
  const int error_number = errno;
  std::fclose(file);
  if (is_broken) return tls_file_error(what, name, system_error("read", error_number).text);
  return text;
}

// A key with a passphrase is refused rather than asked about on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<LoadedPair> load_pair(const TlsKeyPair& pair) {
  const std::string certificate_name = pair.is_text ? "" : pair.certificate;
  const std::string key_name = pair.is_text ? "" : pair.key;
  auto text = pair.is_text ? Result<std::string>(pair.certificate)
                           : read_pem("certificate file", pair.certificate);
  if (!text) return text.error();
  LoadedPair loaded;
  ERR_clear_error();
  const BioPtr pem(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  loaded.certificate.reset(PEM_read_bio_X509_AUX(pem.get(), nullptr, no_passphrase, nullptr));
  if (loaded.certificate == nullptr) {
    return tls_file_error("certificate file", certificate_name,
                          "no certificate in it: " + openssl_error("not PEM"));
  }
  loaded.chain.reset(sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(pem.get(), nullptr, no_passphrase, nullptr)) {
    sk_X509_push(loaded.chain.get(), next);
  }
  ERR_clear_error();  // the end of the file counts as one

  auto key_text = pair.is_text ? Result<std::string>(pair.key) : read_pem("key file", pair.key);
  if (!key_text) return key_text.error();
  const BioPtr key_pem(BIO_new_mem_buf(key_text->data(), static_cast<int>(key_text->size())));
  loaded.key.reset(PEM_read_bio_PrivateKey(key_pem.get(), nullptr, no_passphrase, nullptr));
  if (loaded.key == nullptr) {
    return tls_file_error("key file", key_name,
                          "no private key without a passphrase in it: " + openssl_error("not PEM"));
  }
  if (X509_check_private_key(loaded.certificate.get(), loaded.key.get()) != 1) {
    ERR_clear_error();
    return tls_file_error("key file", key_name,
                          "does not belong to certificate \"" + certificate_name + "\"");
  }
  return loaded;
}

int64_t end_of(const X509* certificate) {
  std::tm when{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1) return 0;
  return static_cast<int64_t>(timegm(&when));
}

bool fits_name(X509* certificate, const char* name) {
  return X509_check_host(certificate, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
}

// The OpenSSL side of a context.
class LoadedContext final : public TlsContext {
 public:
  explicit LoadedContext(bool is_server) {
    HandshakeMemory::install();
    is_server_ = is_server;
    native_ = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    CHECK(native_ != nullptr);
  }
  ~LoadedContext() override { SSL_CTX_free(native_); }

  Status load(const TlsSettings& settings) {
    settings_ = settings;
    for (const std::function<Status()>& step : std::initializer_list<std::function<Status()>>{
             [this] { return set_rules(); }, [this] { return set_certificates(); },
             [this] { return set_trust(); }}) {
      if (Status done = step(); !done) return done;
    }
    return {};
  }

 private:
  Status set_rules() {
    int version = 0;
    if (settings_.min_version.empty() || settings_.min_version == "1.2") version = TLS1_2_VERSION;
    if (settings_.min_version == "1.3") version = TLS1_3_VERSION;
    if (version == 0) {
      return Error{Errc::InvalidArgument,
                   "TLS version \"" + settings_.min_version + "\" is not supported, 1.2 and 1.3 are"};
    }
    SSL_CTX_set_min_proto_version(native_, version);
    SSL_CTX_set_options(native_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(native_, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(native_, 1);
    // Sessions are resumed by tickets only, which cost no memory here.
    SSL_CTX_set_session_cache_mode(native_, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(native_, kSessionContext, sizeof kSessionContext - 1);
    if (is_server_) SSL_CTX_set_num_tickets(native_, 1);
    const auto ciphers = cipher_lists(settings_.cipher_suites);
    if (!ciphers) return ciphers.error();
    if (SSL_CTX_set_cipher_list(native_, ciphers->tls12.c_str()) != 1 ||
        SSL_CTX_set_ciphersuites(native_, ciphers->tls13.c_str()) != 1) {
      return Error{Errc::InvalidArgument, "cipher suites: " + openssl_error("not usable")};
    }
    const auto groups = group_list(settings_.curves);
    if (!groups) return groups.error();
    if (!groups->empty() && SSL_CTX_set1_groups_list(native_, groups->c_str()) != 1) {
      return Error{Errc::InvalidArgument, "curves: " + openssl_error("not usable")};
    }
    return {};
  }

  Status set_certificates() {
    for (const TlsKeyPair& pair : settings_.certificates) {
      auto loaded = load_pair(pair);
      if (!loaded) return loaded.error();
      pairs_.push_back(std::move(*loaded));
    }
    if (pairs_.empty()) {
      if (!is_server_) return {};
      return Error{Errc::InvalidArgument, "a TLS server needs a certificate and its key"};
    }
    not_after_ = end_of(pairs_.front().certificate.get());
    const LoadedPair& first = pairs_.front();
    if (SSL_CTX_use_cert_and_key(native_, first.certificate.get(), first.key.get(),
                                 first.chain.get(), 1) != 1) {
      return tls_file_error("certificate file", settings_.certificates.front().certificate,
                            openssl_error("cannot be used"));
    }
    if (is_server_ && pairs_.size() > 1) SSL_CTX_set_cert_cb(native_, choose_certificates, this);
    return {};
  }

  static int choose_certificates(SSL* ssl, void* self) {
    static_cast<const LoadedContext*>(self)->choose(ssl);
    return 1;
  }

  // Gives the handshake one certificate of each key type; which type is used depends on what the
  // client can check.
  void choose(SSL* ssl) const {
    const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    bool fits_any = false;
    for (const LoadedPair& pair : pairs_) {
      fits_any = fits_any || (name != nullptr && fits_name(pair.certificate.get(), name));
    }
    SSL_certs_clear(ssl);
    for (const LoadedPair& pair : pairs_) {
      if (fits_any && !fits_name(pair.certificate.get(), name)) continue;
      // Refused, as wanted, when there is one of this key type already.
      SSL_use_cert_and_key(ssl, pair.certificate.get(), pair.key.get(), pair.chain.get(), 0);
    }
    ERR_clear_error();
  }

  Status set_trust() {
    if (is_server_ && !settings_.verify_client) return {};
    if (!is_server_ && settings_.insecure) return {};
    const int must_show = is_server_ ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(native_, SSL_VERIFY_PEER | must_show, nullptr);
    if (settings_.ca.empty()) {
      SSL_CTX_set_default_verify_paths(native_);
      return {};
    }
    // Whatever is in the file is trusted, be it a root or not.
    X509_STORE_set_flags(SSL_CTX_get_cert_store(native_), X509_V_FLAG_PARTIAL_CHAIN);
    const std::string name = settings_.ca_is_text ? "" : settings_.ca;
    auto text = settings_.ca_is_text ? Result<std::string>(settings_.ca)
                                     : read_pem("CA file", settings_.ca);
    if (!text) return text.error();
    ERR_clear_error();
    const BioPtr pem(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
    X509_STORE* store = SSL_CTX_get_cert_store(native_);
    size_t count = 0;
    while (CertificatePtr ca{PEM_read_bio_X509(pem.get(), nullptr, no_passphrase, nullptr)}) {
      X509_STORE_add_cert(store, ca.get());
      if (is_server_) SSL_CTX_add_client_CA(native_, ca.get());
      ++count;
    }
    const std::string reason = openssl_error("not PEM");
    if (count == 0) return tls_file_error("CA file", name, "no certificate in it: " + reason);
    return {};
  }

  std::vector<LoadedPair> pairs_;
};

Result<std::shared_ptr<const TlsContext>> load_context(bool is_server, const TlsSettings& settings) {
  auto context = std::make_shared<LoadedContext>(is_server);
  if (Status loaded = context->load(settings); !loaded) return loaded.error();
  return std::shared_ptr<const TlsContext>(std::move(context));
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::server(const TlsSettings& settings) {
  return load_context(true, settings);
}

Result<std::shared_ptr<const TlsContext>> TlsContext::client(const TlsSettings& settings) {
  return load_context(false, settings);
}

}  // namespace brokkr::io
