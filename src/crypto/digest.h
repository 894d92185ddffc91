#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// Digests and the strict text encodings of keys and tokens. Pure.
namespace brokkr::crypto {

// The 32 bytes of the digest.
std::string sha256(std::string_view bytes);
std::string sha512_256(std::string_view bytes);

// `size` bytes from the kernel's generator. Thread-safe.
std::string random_bytes(size_t size);

// RFC 4648 section 6 without padding.
std::string base32_encode(std::string_view bytes);
// Upper case only, no padding, no white space, and the bits past the last byte must be zero: one
// value has one text.
std::optional<std::string> base32_decode(std::string_view text);

// RFC 4648 section 5, as strict as base32_decode.
std::optional<std::string> base64url_decode_strict(std::string_view text);

// Compares without telling by its duration where two texts differ (their lengths may show).
bool equals_constant_time(std::string_view, std::string_view);

// Overwrites what a text held, in a way the compiler keeps.
void wipe(std::string& secret);

}  // namespace brokkr::crypto
