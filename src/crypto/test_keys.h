#pragma once

#include <cstdio>
#include <string>

#include "crypto/nkey.h"

// Keys made of one byte repeated, and files other tools wrote with them, for the room's tests.
namespace brokkr::crypto::testing {

inline KeyPair key(NkeyType type, uint8_t byte) {
  KeyBytes seed;
  seed.fill(byte);
  return KeyPair::from_raw_seed(type, seed);
}

inline KeyPair operator_key() { return key(NkeyType::Operator, 1); }
inline KeyPair operator_signing_key() { return key(NkeyType::Operator, 7); }
inline KeyPair account_key() { return key(NkeyType::Account, 2); }
inline KeyPair scoped_key() { return key(NkeyType::Account, 4); }
inline KeyPair other_account_key() { return key(NkeyType::Account, 6); }
inline KeyPair user_key() { return key(NkeyType::User, 3); }
inline KeyPair server_key() { return key(NkeyType::Server, 5); }

// A file of testdata/, written with the reference libraries; empty when there is none.
inline std::string read_testdata(const std::string& name) {
  std::string text;
  std::string path = CRYPTO_TESTDATA;
  path.append("/").append(name);
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return text;
  char chunk[4096];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) text.append(chunk, n);
  std::fclose(file);
  return text;
}

}  // namespace brokkr::crypto::testing
