#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/nkey.h"

namespace brokkr::crypto {

// A pair of curve keys (X25519) for boxes only one peer can open. A box is "xkv1", a nonce of 24
// bytes, then NaCl's crypto_box: what nkeys of every client language write and read. The secret is
// overwritten when the object ends or is moved from. Loop-confined; the const calls from any thread.
class CurveKey {
 public:
  static Result<CurveKey> from_seed(std::string_view text);
  static CurveKey generate();
  static CurveKey from_raw_seed(const KeyBytes& seed);

  CurveKey(CurveKey&&) noexcept;
  CurveKey& operator=(CurveKey&&) noexcept;
  CurveKey(const CurveKey&) = delete;
  CurveKey& operator=(const CurveKey&) = delete;
  ~CurveKey();

  const std::string& public_key() const { return public_key_; }
  std::string seed() const;

  // Fails with InvalidArgument when `recipient` is no curve key or a weak one (all zero, small order).
  Result<std::string> seal(std::string_view data, std::string_view recipient) const;
  // Fails with InvalidArgument for such a `sender`, with Corrupt for bytes that are no box of that
  // sender to this key.
  Result<std::string> open(std::string_view box, std::string_view sender) const;

 private:
  CurveKey() = default;
  std::string public_key_;
  KeyBytes secret_{};
};

}  // namespace brokkr::crypto
