#include <crypt.h>

#include <memory>

#include "auth/authenticator.h"

namespace brokkr::auth {
namespace {

constexpr size_t kPrefixLength = 4;  // "$2a$"
constexpr size_t kHashLength = 60;

bool is_decimal_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool is_bcrypt(std::string_view text) {
  if (text.size() < 7 || text[0] != '$' || text[1] != '2' || text[3] != '$' || text[6] != '$') {
    return false;
  }
  const bool is_known = std::string_view("abxy").find(text[2]) != std::string_view::npos;
  return is_known && is_decimal_digit(text[4]) && is_decimal_digit(text[5]);
}

bool bcrypt_matches(const std::string& hash, const std::string& password) {
  if (!is_bcrypt(hash) || hash.size() != kHashLength) return false;
  // The C function would not see what follows a NUL.
  if (password.find('\0') != std::string::npos) return false;
  // All but 2x name the same algorithm; libcrypt adds a countermeasure to 2a that changes results.
  const std::string setting = hash[2] == 'x' ? hash : "$2b$" + hash.substr(kPrefixLength);
  const auto data = std::make_unique<crypt_data>();
  const char* const made = crypt_r(password.c_str(), setting.c_str(), data.get());
  if (made == nullptr) return false;
  const std::string_view result(made);
  if (result.size() != kHashLength) return false;
  unsigned char difference = 0;
  for (size_t i = kPrefixLength; i < kHashLength; ++i) {
    difference = static_cast<unsigned char>(difference | (result[i] ^ hash[i]));
  }
  return difference == 0;
}

}  // namespace brokkr::auth
