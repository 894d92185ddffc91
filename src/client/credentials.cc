#include "client/credentials.h"

#include <cerrno>
#include <cstdio>

#include "base/bytes.h"
#include "crypto/creds.h"
#include "crypto/digest.h"
#include "crypto/nkey.h"

namespace brokkr::client {
namespace {

// A file that holds a secret: whoever asks for it wipes the text.
Result<std::string> read_secret_file(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return system_error(("open " + path).c_str(), errno);
  std::string text;
  char chunk[4096];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) {
    text.append(chunk, n);
    if (text.size() > crypto::kCredsBytesMax) break;
  }
  const bool is_whole = std::ferror(file) == 0;
  std::fclose(file);
  if (!is_whole) return system_error(("read " + path).c_str(), EIO);
  return text;
}

Error in_file(const std::string& path, const Error& error) { return {error.code, path + ": " + error.text}; }

std::string signed_nonce(const crypto::KeyPair& key, std::string_view nonce) {
  return nonce.empty() ? std::string() : base64url_encode(key.sign(nonce));
}

Status add_creds_file(const std::string& path, std::string_view nonce, protocol::ConnectOptions& connect) {
  auto text = read_secret_file(path);
  if (!text) return text.error();
  auto creds = crypto::parse_creds(*text);
  crypto::wipe(*text);
  if (!creds) return in_file(path, creds.error());
  connect.jwt = std::move(creds->jwt);
  connect.sig = signed_nonce(creds->key, nonce);
  return {};
}

Error no_nonce() { return {Errc::Unsupported, "nkeys not supported by the server"}; }

Status add_seed_file(const std::string& path, std::string_view nonce, protocol::ConnectOptions& connect) {
  if (nonce.empty()) return no_nonce();
  auto text = read_secret_file(path);
  if (!text) return text.error();
  auto key = crypto::parse_seed_file(*text);
  crypto::wipe(*text);
  if (!key) return in_file(path, key.error());
  connect.nkey = key->public_key();
  connect.sig = signed_nonce(*key, nonce);
  return {};
}

Status add_own_proof(const Options& options, std::string_view nonce, protocol::ConnectOptions& connect) {
  connect.jwt = options.jwt;
  connect.nkey = options.nkey;
  if (!options.sign) return {};
  if (nonce.empty()) return options.nkey.empty() ? Status() : Status(no_nonce());
  auto signature = options.sign(nonce);
  if (!signature) return signature.error();
  connect.sig = base64url_encode(*signature);
  return {};
}

}  // namespace

Status add_credentials(const Options& options, std::string_view nonce, protocol::ConnectOptions& connect) {
  if (!options.credentials_file.empty()) return add_creds_file(options.credentials_file, nonce, connect);
  if (!options.nkey_seed_file.empty()) return add_seed_file(options.nkey_seed_file, nonce, connect);
  return add_own_proof(options, nonce, connect);
}

}  // namespace brokkr::client
