#include "crypto/nkey.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"
#include "crypto/digest.h"

namespace brokkr::crypto {
namespace {

struct TypeRow {
  NkeyType type;
  uint8_t prefix;  // the upper five bits are the first base32 character
  char letter;
  const char* name;
};

constexpr TypeRow kTypes[] = {
    {NkeyType::Operator, 14 << 3, 'O', "operator"}, {NkeyType::Account, 0, 'A', "account"},
    {NkeyType::User, 20 << 3, 'U', "user"},         {NkeyType::Server, 13 << 3, 'N', "server"},
    {NkeyType::Cluster, 2 << 3, 'C', "cluster"},    {NkeyType::Curve, 23 << 3, 'X', "curve"},
};
constexpr uint8_t kSeedPrefix = 18 << 3;
constexpr size_t kCrcBytes = 2;

const TypeRow& row_of(NkeyType type) { return kTypes[static_cast<size_t>(type)]; }

const TypeRow* find_prefix(uint8_t prefix) {
  const auto* const found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeRow& row) { return row.prefix == prefix; });
  return found == std::end(kTypes) ? nullptr : found;
}

// CRC-16/XMODEM.
uint16_t crc16(std::string_view bytes) {
  uint16_t crc = 0;
  for (const char c : bytes) {
    crc = static_cast<uint16_t>(crc ^ (static_cast<uint8_t>(c) << 8));
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
  }
  return crc;
}

std::string format_raw(std::string raw) {
  const uint16_t crc = crc16(raw);
  raw += static_cast<char>(crc & 0xff);
  raw += static_cast<char>(crc >> 8);
  std::string text = base32_encode(raw);
  wipe(raw);
  return text;
}

// The bytes before the checksum, when text and checksum are right.
std::optional<std::string> parse_raw(std::string_view text, size_t chars) {
  if (text.size() != chars) return std::nullopt;
  std::optional<std::string> raw = base32_decode(text);
  if (!raw) return std::nullopt;
  const size_t body = raw->size() - kCrcBytes;
  const auto low = static_cast<uint8_t>((*raw)[body]);
  const auto high = static_cast<uint8_t>((*raw)[body + 1]);
  if (crc16(std::string_view(*raw).substr(0, body)) != (low | (high << 8))) {
    wipe(*raw);
    return std::nullopt;
  }
  raw->resize(body);
  return raw;
}

KeyBytes key_bytes_of(std::string_view raw) {
  CHECK(raw.size() == kKeyBytes);
  KeyBytes out;
  std::copy(raw.begin(), raw.end(), out.begin());
  return out;
}

std::string_view view_of(const KeyBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const unsigned char* data_of(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

const char* to_string(NkeyType type) { return row_of(type).name; }
char letter_of(NkeyType type) { return row_of(type).letter; }

std::optional<PublicKey> parse_public_key(std::string_view text) {
  const auto raw = parse_raw(text, kPublicKeyChars);
  if (!raw) return std::nullopt;
  const TypeRow* const row = find_prefix(static_cast<uint8_t>((*raw)[0]));
  if (row == nullptr) return std::nullopt;
  return PublicKey{row->type, key_bytes_of(std::string_view(*raw).substr(1))};
}

bool is_public_key(std::string_view text, NkeyType type) {
  const auto key = parse_public_key(text);
  return key && key->type == type;
}

std::string format_public_key(NkeyType type, const KeyBytes& bytes) {
  return format_raw(static_cast<char>(row_of(type).prefix) + std::string(view_of(bytes)));
}

Result<Seed> parse_seed(std::string_view text) {
  auto raw = parse_raw(text, kSeedChars);
  if (!raw) return Error{Errc::Syntax, "not an nkey seed"};
  const auto first = static_cast<uint8_t>((*raw)[0]);
  const auto second = static_cast<uint8_t>((*raw)[1]);
  // The type's prefix begins in the low bits of the first byte, so that both characters can be read.
  const TypeRow* const row = find_prefix(static_cast<uint8_t>(((first & 7) << 5) | ((second & 248) >> 3)));
  const bool is_seed = (first & 248) == kSeedPrefix && (second & 7) == 0 && row != nullptr;
  if (!is_seed) {
    wipe(*raw);
    return Error{Errc::Syntax, "not an nkey seed"};
  }
  const Seed seed{row->type, key_bytes_of(std::string_view(*raw).substr(2))};
  wipe(*raw);
  return seed;
}

std::string format_seed(NkeyType type, const KeyBytes& bytes) {
  const uint8_t prefix = row_of(type).prefix;
  std::string raw;
  raw.reserve(kKeyBytes + 2 + kCrcBytes);
  raw += static_cast<char>(kSeedPrefix | (prefix >> 5));
  raw += static_cast<char>((prefix & 31) << 3);
  raw += view_of(bytes);
  return format_raw(std::move(raw));
}

bool verify_signature(std::string_view public_key, std::string_view data, std::string_view signature) {
  const auto key = parse_public_key(public_key);
  if (!key || key->type == NkeyType::Curve || signature.size() != kSignatureBytes) return false;
  return crypto_sign_verify_detached(data_of(signature), data_of(data), data.size(), key->bytes.data()) == 0;
}

Result<KeyPair> KeyPair::from_seed(std::string_view text) {
  auto seed = parse_seed(trim(text));
  if (!seed) return seed.error();
  if (seed->type == NkeyType::Curve) {
    return Error{Errc::Syntax, "the seed of a curve key does not sign"};
  }
  KeyPair pair = from_raw_seed(seed->type, seed->bytes);
  sodium_memzero(seed->bytes.data(), seed->bytes.size());
  return pair;
}

KeyPair KeyPair::generate(NkeyType type) {
  KeyBytes seed;
  fill_secure(seed);
  KeyPair pair = from_raw_seed(type, seed);
  sodium_memzero(seed.data(), seed.size());
  return pair;
}

KeyPair KeyPair::from_raw_seed(NkeyType type, const KeyBytes& seed) {
  CHECK(type != NkeyType::Curve);
  KeyPair pair;
  KeyBytes public_bytes;
  CHECK(crypto_sign_seed_keypair(public_bytes.data(), pair.secret_.data(), seed.data()) == 0);
  pair.type_ = type;
  pair.public_key_ = format_public_key(type, public_bytes);
  return pair;
}

KeyPair::KeyPair(KeyPair&& other) noexcept { *this = std::move(other); }

KeyPair& KeyPair::operator=(KeyPair&& other) noexcept {
  if (this == &other) return *this;
  type_ = other.type_;
  public_key_ = std::move(other.public_key_);
  secret_ = other.secret_;
  sodium_memzero(other.secret_.data(), other.secret_.size());
  other.public_key_.clear();
  return *this;
}

KeyPair::~KeyPair() { sodium_memzero(secret_.data(), secret_.size()); }

std::string KeyPair::seed() const {
  KeyBytes bytes;
  std::copy_n(secret_.begin(), kKeyBytes, bytes.begin());
  std::string text = format_seed(type_, bytes);
  sodium_memzero(bytes.data(), bytes.size());
  return text;
}

std::string KeyPair::sign(std::string_view data) const {
  CHECK(!public_key_.empty());
  std::string out(kSignatureBytes, '\0');
  crypto_sign_detached(reinterpret_cast<unsigned char*>(out.data()), nullptr, data_of(data), data.size(),
                       secret_.data());
  return out;
}

}  // namespace brokkr::crypto
