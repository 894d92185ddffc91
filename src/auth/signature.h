#pragma once

#include <string_view>

#include "base/result.h"

namespace brokkr::auth {

// Whether `signature` (base64, either alphabet) is that of `nonce` by the owner of the public nkey.
// The error says why not; it quotes nothing.
Status check_signature(std::string_view nkey, std::string_view nonce, std::string_view signature);

}  // namespace brokkr::auth
