#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brokkr::crypto {

// Whose identity a key is; the first letter of its text says it.
enum class NkeyType : uint8_t {
  Operator,  // O
  Account,   // A
  User,      // U
  Server,    // N
  Cluster,   // C
  Curve,     // X, for boxes (xkey.h), not for signatures
};

inline constexpr size_t kKeyBytes = 32;
inline constexpr size_t kSignatureBytes = 64;
inline constexpr size_t kPublicKeyChars = 56;
inline constexpr size_t kSeedChars = 58;

using KeyBytes = std::array<uint8_t, kKeyBytes>;

// "operator", "account", ...
const char* to_string(NkeyType);
// 'O', 'A', ...
char letter_of(NkeyType);

// A public key as it travels: base32 of a type byte, 32 key bytes and a CRC16.
struct PublicKey {
  NkeyType type;
  KeyBytes bytes;
};

// Absent unless the text is exactly one public key: right length, alphabet, type and checksum.
std::optional<PublicKey> parse_public_key(std::string_view text);
bool is_public_key(std::string_view text, NkeyType);
std::string format_public_key(NkeyType, const KeyBytes&);

// A seed is the secret: 'S', the type's letter, 32 bytes and a CRC16 in base32. The error never
// quotes the text.
struct Seed {
  NkeyType type;
  KeyBytes bytes;
};
Result<Seed> parse_seed(std::string_view text);
std::string format_seed(NkeyType, const KeyBytes&);

// True when `signature` (64 raw bytes) is `public_key`'s Ed25519 signature of `data`. False for
// curve keys and for keys of small order.
bool verify_signature(std::string_view public_key, std::string_view data, std::string_view signature);

// A signing key pair. The secret is overwritten when the object ends or is moved from. Loop-confined;
// sign and the texts may be asked from any thread while nobody moves it.
class KeyPair {
 public:
  // `text` may have white space around it. Fails with Syntax for all that is no seed of a signing key.
  static Result<KeyPair> from_seed(std::string_view text);
  // From the kernel's generator. `type` is not Curve.
  static KeyPair generate(NkeyType type);
  static KeyPair from_raw_seed(NkeyType type, const KeyBytes& seed);

  KeyPair(KeyPair&&) noexcept;
  KeyPair& operator=(KeyPair&&) noexcept;
  KeyPair(const KeyPair&) = delete;
  KeyPair& operator=(const KeyPair&) = delete;
  ~KeyPair();

  NkeyType type() const { return type_; }
  const std::string& public_key() const { return public_key_; }
  // The secret as text; the caller wipes it.
  std::string seed() const;
  // 64 raw bytes.
  std::string sign(std::string_view data) const;

 private:
  KeyPair() = default;
  NkeyType type_ = NkeyType::User;
  std::string public_key_;
  std::array<uint8_t, 64> secret_{};  // seed, then public key, as libsodium keeps them
};

}  // namespace brokkr::crypto
