#pragma once

#include <string>
#include <string_view>

namespace brokkr {

// The SHA-256 of `bytes` as 64 lower-case hexadecimal characters. Pure.
std::string sha256_hex(std::string_view bytes);

}  // namespace brokkr
