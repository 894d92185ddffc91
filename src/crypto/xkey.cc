#include "crypto/xkey.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"
#include "crypto/digest.h"

namespace brokkr::crypto {
namespace {

constexpr std::string_view kBoxVersion = "xkv1";
constexpr size_t kBoxHead = kBoxVersion.size() + crypto_box_NONCEBYTES;

using SharedKey = std::array<uint8_t, crypto_box_BEFORENMBYTES>;

// The key two peers share. A key of all zeros, or another of small order, would make one anybody
// can compute.
Status share_key(const KeyBytes& secret, std::string_view peer_text, SharedKey& out) {
  const auto peer = parse_public_key(peer_text);
  const bool is_curve = peer && peer->type == NkeyType::Curve;
  const bool is_zero = is_curve && sodium_is_zero(peer->bytes.data(), peer->bytes.size()) == 1;
  if (!is_curve || is_zero || crypto_box_beforenm(out.data(), peer->bytes.data(), secret.data()) != 0) {
    return Error{Errc::InvalidArgument, "not a usable public xkey: " + std::string(peer_text.substr(0, 80))};
  }
  return {};
}

const unsigned char* box_bytes(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

Result<CurveKey> CurveKey::from_seed(std::string_view text) {
  auto seed = parse_seed(trim(text));
  if (!seed) return seed.error();
  if (seed->type != NkeyType::Curve) return Error{Errc::Syntax, "not the seed of a curve key"};
  CurveKey key = from_raw_seed(seed->bytes);
  sodium_memzero(seed->bytes.data(), seed->bytes.size());
  return key;
}

CurveKey CurveKey::generate() {
  KeyBytes seed;
  fill_secure(seed);
  CurveKey key = from_raw_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  return key;
}

CurveKey CurveKey::from_raw_seed(const KeyBytes& seed) {
  CurveKey key;
  key.secret_ = seed;
  KeyBytes public_bytes;
  CHECK(crypto_scalarmult_base(public_bytes.data(), seed.data()) == 0);
  key.public_key_ = format_public_key(NkeyType::Curve, public_bytes);
  return key;
}

CurveKey::CurveKey(CurveKey&& other) noexcept { *this = std::move(other); }

CurveKey& CurveKey::operator=(CurveKey&& other) noexcept {
  if (this == &other) return *this;
  public_key_ = std::move(other.public_key_);
  secret_ = other.secret_;
  sodium_memzero(other.secret_.data(), other.secret_.size());
  other.public_key_.clear();
  return *this;
}

CurveKey::~CurveKey() { sodium_memzero(secret_.data(), secret_.size()); }

std::string CurveKey::seed() const { return format_seed(NkeyType::Curve, secret_); }

Result<std::string> CurveKey::seal(std::string_view data, std::string_view recipient) const {
  SharedKey shared;
  if (auto made = share_key(secret_, recipient, shared); !made) return made.error();
  std::string out(kBoxVersion);
  out += random_bytes(crypto_box_NONCEBYTES);
  out.resize(kBoxHead + crypto_box_MACBYTES + data.size());
  auto* const bytes = reinterpret_cast<unsigned char*>(out.data());
  CHECK(crypto_box_easy_afternm(bytes + kBoxHead, box_bytes(data), data.size(), bytes + kBoxVersion.size(),
                                shared.data()) == 0);
  sodium_memzero(shared.data(), shared.size());
  return out;
}

Result<std::string> CurveKey::open(std::string_view box, std::string_view sender) const {
  if (box.size() < kBoxHead + crypto_box_MACBYTES) return Error{Errc::Corrupt, "xkey box: too short"};
  if (box.substr(0, kBoxVersion.size()) != kBoxVersion) return Error{Errc::Corrupt, "xkey box: not version xkv1"};
  SharedKey shared;
  if (auto made = share_key(secret_, sender, shared); !made) return made.error();
  std::string out(box.size() - kBoxHead - crypto_box_MACBYTES, '\0');
  const int opened = crypto_box_open_easy_afternm(
      reinterpret_cast<unsigned char*>(out.data()), box_bytes(box.substr(kBoxHead)), box.size() - kBoxHead,
      box_bytes(box.substr(kBoxVersion.size())), shared.data());
  sodium_memzero(shared.data(), shared.size());
  if (opened != 0) return Error{Errc::Corrupt, "xkey box: cannot be opened with this key and sender"};
  return out;
}

}  // namespace brokkr::crypto
