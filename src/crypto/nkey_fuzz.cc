// Goal: one key has one text. Any text that parses is written again as itself; any box or signature
// that is not ours is refused without harm.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "crypto/digest.h"
#include "crypto/nkey.h"
#include "crypto/xkey.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr::crypto;
  if (size > 500) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (const auto key = parse_public_key(input)) CHECK(format_public_key(key->type, key->bytes) == input);
  if (const auto seed = parse_seed(input)) CHECK(format_seed(seed->type, seed->bytes) == input);
  if (const auto pair = KeyPair::from_seed(input)) {
    CHECK(verify_signature(pair->public_key(), "x", pair->sign("x")));
  }
  if (const auto bytes = base32_decode(input)) CHECK(base32_encode(*bytes) == input);
  static const KeyPair user = KeyPair::from_raw_seed(NkeyType::User, KeyBytes{3});
  CHECK(!verify_signature(user.public_key(), "data", input));
  static const CurveKey curve = CurveKey::from_raw_seed(KeyBytes{9});
  static const CurveKey peer = CurveKey::from_raw_seed(KeyBytes{10});
  CHECK(!curve.open(input, peer.public_key()));
  CHECK(!curve.open(input, input));
  return 0;
}
