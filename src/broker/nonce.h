#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/random.h"

namespace brokkr::broker {

// What a client is asked to sign: 11 random bytes in 15 characters, never the same again.
inline std::string make_nonce() {
  std::array<uint8_t, 11> bytes{};
  fill_secure(bytes);
  return base64url_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace brokkr::broker
