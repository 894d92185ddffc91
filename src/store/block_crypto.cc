#include "store/block_crypto.h"

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"

namespace brokkr::store {

class FileKey {
 public:
  FileKey(Cipher used, std::span<const uint8_t> bytes) : cipher(used) {
    CHECK(bytes.size() == secret.size());
    std::memcpy(secret.data(), bytes.data(), secret.size());
  }
  ~FileKey() { OPENSSL_cleanse(secret.data(), secret.size()); }
  FileKey(const FileKey&) = delete;
  FileKey& operator=(const FileKey&) = delete;

  const Cipher cipher;
  std::array<uint8_t, 32> secret{};
};

namespace {

constexpr size_t kAeadNonceBytes = 12;
constexpr size_t kAeadTagBytes = 16;
constexpr size_t kKeyBytes = 32;
using Nonce = std::array<uint8_t, kAeadNonceBytes>;
using Secret = std::array<uint8_t, kKeyBytes>;

// version, cipher, key id, nonce, encrypted key, tag
constexpr uint8_t kWrapVersion = 1;
constexpr size_t kWrapIdBytes = 4;
constexpr size_t kWrapHeadBytes = 2 + kWrapIdBytes + kAeadNonceBytes;
constexpr size_t kWrapBytes = kWrapHeadBytes + kKeyBytes + kAeadTagBytes;

const uint8_t* unsigned_bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

const EVP_CIPHER* evp_cipher(Cipher cipher) {
  return cipher == Cipher::ChaCha20Poly1305 ? EVP_chacha20_poly1305() : EVP_aes_256_gcm();
}

struct CipherContextDeleter {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, CipherContextDeleter>;

CipherContext start_cipher(Cipher cipher, const Secret& secret, const Nonce& nonce,
                           std::string_view bound, bool is_sealing) {
  CipherContext context(EVP_CIPHER_CTX_new());
  CHECK(context != nullptr);
  int length = 0;
  CHECK(EVP_CipherInit_ex(context.get(), evp_cipher(cipher), nullptr, secret.data(), nonce.data(),
                          is_sealing ? 1 : 0) == 1);
  CHECK(EVP_CipherUpdate(context.get(), nullptr, &length, unsigned_bytes(bound),
                         static_cast<int>(bound.size())) == 1);
  return context;
}

void encrypt_bytes(Cipher cipher, const Secret& secret, const Nonce& nonce, std::string_view bound,
                   std::span<char> bytes, char* tag) {
  const CipherContext context = start_cipher(cipher, secret, nonce, bound, true);
  auto* const data = reinterpret_cast<uint8_t*>(bytes.data());
  int length = 0;
  CHECK(EVP_CipherUpdate(context.get(), data, &length, data, static_cast<int>(bytes.size())) == 1);
  uint8_t none[kAeadTagBytes];
  CHECK(EVP_CipherFinal_ex(context.get(), none, &length) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kAeadTagBytes, tag) == 1);
}

bool decrypt_bytes(Cipher cipher, const Secret& secret, const Nonce& nonce, std::string_view bound,
                   std::string_view bytes, std::string_view tag, char* out) {
  const CipherContext context = start_cipher(cipher, secret, nonce, bound, false);
  int length = 0;
  CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kAeadTagBytes,
                            const_cast<char*>(tag.data())) == 1);
  CHECK(EVP_CipherUpdate(context.get(), reinterpret_cast<uint8_t*>(out), &length,
                         unsigned_bytes(bytes), static_cast<int>(bytes.size())) == 1);
  uint8_t none[kAeadTagBytes];
  return EVP_CipherFinal_ex(context.get(), none, &length) == 1;
}

// HKDF with SHA-256 and no salt.
void derive(std::string_view key, std::string_view purpose, std::span<uint8_t> out) {
  EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  CHECK(kdf != nullptr);
  EVP_KDF_CTX* const context = EVP_KDF_CTX_new(kdf);
  CHECK(context != nullptr);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<char*>(key.data()),
                                        key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, const_cast<char*>(purpose.data()),
                                        purpose.size()),
      OSSL_PARAM_construct_end()};
  CHECK(EVP_KDF_derive(context, out.data(), out.size(), parameters) == 1);
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
}

struct WrappingKey {
  explicit WrappingKey(std::string_view key) {
    derive(key, "brokkr store: wrap file keys", secret);
    derive(key, "brokkr store: key id", id);
  }
  std::string_view id_text() const { return {reinterpret_cast<const char*>(id.data()), id.size()}; }
  ~WrappingKey() { OPENSSL_cleanse(secret.data(), secret.size()); }
  Secret secret{};
  std::array<uint8_t, kWrapIdBytes> id{};
};

class TwoKeyRing final : public Keyring {
 public:
  TwoKeyRing(Cipher cipher, std::string_view key, std::string_view previous) : cipher_(cipher) {
    keys_.push_back(std::make_unique<WrappingKey>(key));
    if (!previous.empty()) keys_.push_back(std::make_unique<WrappingKey>(previous));
  }

  std::shared_ptr<const FileKey> create(std::string_view context, std::string& wrapped) override {
    Secret secret;
    Nonce nonce;
    fill_secure(secret);
    fill_secure(nonce);
    wrapped.assign({static_cast<char>(kWrapVersion), static_cast<char>(cipher_)});
    wrapped.append(keys_[0]->id_text());
    wrapped.append(reinterpret_cast<const char*>(nonce.data()), nonce.size());
    std::string body(reinterpret_cast<const char*>(secret.data()), secret.size());
    char tag[kAeadTagBytes];
    encrypt_bytes(cipher_, keys_[0]->secret, nonce, bound_text(wrapped, context), body, tag);
    wrapped.append(body).append(tag, sizeof tag);
    auto key = std::make_shared<const FileKey>(cipher_, secret);
    OPENSSL_cleanse(secret.data(), secret.size());
    return key;
  }

  Result<std::shared_ptr<const FileKey>> open(std::string_view context,
                                              std::string_view wrapped) override {
    if (wrapped.size() != kWrapBytes || static_cast<uint8_t>(wrapped[0]) != kWrapVersion ||
        (wrapped[1] != static_cast<char>(Cipher::Aes256Gcm) &&
         wrapped[1] != static_cast<char>(Cipher::ChaCha20Poly1305))) {
      return Error{Errc::Corrupt, "not a wrapped key"};
    }
    const auto cipher = static_cast<Cipher>(wrapped[1]);
    Nonce nonce;
    std::memcpy(nonce.data(), &wrapped[2 + kWrapIdBytes], nonce.size());
    for (const auto& key : keys_) {
      Secret secret;
      if (decrypt_bytes(
              cipher, key->secret, nonce, bound_text(wrapped.substr(0, kWrapHeadBytes), context),
              wrapped.substr(kWrapHeadBytes, kKeyBytes), wrapped.substr(kWrapHeadBytes + kKeyBytes),
              reinterpret_cast<char*>(secret.data()))) {
        auto file_key = std::make_shared<const FileKey>(cipher, secret);
        OPENSSL_cleanse(secret.data(), secret.size());
        return std::shared_ptr<const FileKey>(std::move(file_key));
      }
    }
    std::string text =
        "encrypted with another key (" + hex_encode(wrapped.substr(2, kWrapIdBytes)) + ") than";
    text += keys_.size() > 1 ? " the configured ones (" : " the configured one (";
    text += hex_encode(keys_[0]->id_text());
    if (keys_.size() > 1) text += ", previously " + hex_encode(keys_[1]->id_text());
    return Error{Errc::PermissionDenied, text + ")"};
  }

 private:
  static std::string bound_text(std::string_view head, std::string_view context) {
    return std::string(head).append(context);
  }
  const Cipher cipher_;
  std::vector<std::unique_ptr<WrappingKey>> keys_;
};

Nonce block_nonce(uint64_t number) {
  Nonce nonce{};
  std::memcpy(nonce.data(), &number, sizeof number);
  return nonce;
}

}  // namespace

Result<std::unique_ptr<Keyring>> Keyring::make(Cipher cipher, std::string_view key,
                                               std::string_view previous) {
  if (cipher == Cipher::None) return Error{Errc::InvalidArgument, "encryption needs a cipher"};
  if (key.empty()) return Error{Errc::InvalidArgument, "encryption needs a key"};
  return std::unique_ptr<Keyring>(std::make_unique<TwoKeyRing>(cipher, key, previous));
}

Cipher cipher_of(const FileKey& key) {
  return key.cipher;
}

void seal(const FileKey& key, uint64_t nonce, std::string_view context, std::span<char> bytes,
          char* tag) {
  encrypt_bytes(key.cipher, key.secret, block_nonce(nonce), context, bytes, tag);
}

bool unseal(const FileKey& key, uint64_t nonce, std::string_view context, std::string_view bytes,
            std::string_view tag, char* out) {
  return decrypt_bytes(key.cipher, key.secret, block_nonce(nonce), context, bytes, tag, out);
}

}  // namespace brokkr::store
