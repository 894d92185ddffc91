#include "crypto/digest.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <array>
#include <span>

#include "base/check.h"
#include "base/random.h"

namespace brokkr::crypto {
namespace {

constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
constexpr std::string_view kBase64Url =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string digest_of(const EVP_MD* kind, std::string_view bytes) {
  std::string out(32, '\0');
  unsigned size = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(out.data()), &size, kind,
                   nullptr) == 1);
  CHECK(size == out.size());
  return out;
}

using Places = std::array<int8_t, 256>;

constexpr Places places_of(std::string_view alphabet) {
  Places out{};
  for (auto& place : out) place = -1;
  for (size_t i = 0; i < alphabet.size(); ++i) {
    out[static_cast<uint8_t>(alphabet[i])] = static_cast<int8_t>(i);
  }
  return out;
}

constexpr Places kBase32Places = places_of(kBase32);
constexpr Places kBase64UrlPlaces = places_of(kBase64Url);

std::optional<std::string> decode_bits(std::string_view text, const Places& places, unsigned width) {
  std::string out;
  out.reserve(text.size() * width / 8);
  uint32_t pending = 0;
  unsigned held = 0;
  for (const char c : text) {
    const int8_t place = places[static_cast<uint8_t>(c)];
    if (place < 0) return std::nullopt;
    pending = (pending << width) | static_cast<uint32_t>(place);
    held += width;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>((pending >> held) & 0xff);
    }
    pending &= (1U << held) - 1;
  }
  // A whole character of unused bits is one character too many.
  if (held >= width || pending != 0) return std::nullopt;
  return out;
}

}  // namespace

std::string sha256(std::string_view bytes) { return digest_of(EVP_sha256(), bytes); }
std::string sha512_256(std::string_view bytes) { return digest_of(EVP_sha512_256(), bytes); }

std::string random_bytes(size_t size) {
  std::string out(size, '\0');
  fill_secure(std::span(reinterpret_cast<uint8_t*>(out.data()), out.size()));
  return out;
}

std::string base32_encode(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 8 / 5 + 1);
  uint32_t pending = 0;
  unsigned held = 0;
  for (const char c : bytes) {
    pending = (pending << 8) | static_cast<uint8_t>(c);
    for (held += 8; held >= 5; held -= 5) out += kBase32[(pending >> (held - 5)) & 31];
    pending &= (1U << held) - 1;
  }
  if (held > 0) out += kBase32[(pending << (5 - held)) & 31];
  return out;
}

std::optional<std::string> base32_decode(std::string_view text) {
  return decode_bits(text, kBase32Places, 5);
}

std::optional<std::string> base64url_decode_strict(std::string_view text) {
  return decode_bits(text, kBase64UrlPlaces, 6);
}

bool equals_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

void wipe(std::string& secret) {
  sodium_memzero(secret.data(), secret.size());
  secret.clear();
}

}  // namespace brokkr::crypto
