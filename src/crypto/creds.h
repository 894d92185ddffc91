#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "crypto/nkey.h"

// Credentials files: a user's token and the seed that goes with it, each between lines of dashes.
// Pure. Errors never quote what a file holds.
namespace brokkr::crypto {

inline constexpr size_t kCredsBytesMax = 4 * 1024 * 1024;

struct Creds {
  std::string jwt;
  KeyPair key;
};

// A credentials file: both parts are needed, and the seed must be a user's.
Result<Creds> parse_creds(std::string_view contents);

// The token of a credentials file, of a decorated token, or the bare text.
Result<std::string> parse_jwt_file(std::string_view contents);

// The key pair of a credentials file, of a decorated seed, or of the first line that is a seed.
Result<KeyPair> parse_seed_file(std::string_view contents);

// "-----BEGIN NATS USER JWT-----" and so on; `kind` as kind_of says it.
std::string decorate_jwt(std::string_view kind, std::string_view token);
std::string decorate_seed(const KeyPair&);

// A credentials file. Fails when the token is no user's or the key is not its subject's.
Result<std::string> format_creds(std::string_view token, const KeyPair& user);

}  // namespace brokkr::crypto
