#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"

// Operators, accounts, users and their keys in the folders nsc keeps them in, so that nsc, the nats
// CLI and this program see the same ones:
//
//   stores/<operator>/.nsc, <operator>.jwt
//   stores/<operator>/accounts/<account>/<account>.jwt
//   stores/<operator>/accounts/<account>/users/<user>.jwt
//   keys/keys/<first letter>/<next two>/<public key>.nk
namespace brokkr::cli {

struct StoredUser {
  std::string name;
  std::string token;
  crypto::UserClaims claims;
};

struct StoredAccount {
  std::string name;
  std::string token;
  crypto::AccountClaims claims;
  std::vector<StoredUser> users;

  StoredUser* find_user(std::string_view name_or_key);
  // The scope of the key that signed the user; null for users without one.
  const crypto::UserScope* scope_of(const crypto::UserClaims&) const;
};

struct StoredOperator {
  std::string name;
  std::string token;
  crypto::OperatorClaims claims;
  std::vector<StoredAccount> accounts;

  StoredAccount* find_account(std::string_view name_or_key);
  const StoredAccount* system_account() const;
};

// Every change is written at once, tokens signed anew with the keys kept beside them. Confined to the
// main thread.
class AuthStore {
 public:
  AuthStore();

  Result<std::vector<StoredOperator>> operators() const;
  Result<StoredOperator> load(const std::string& name) const;

  // Fails when the folder is there already or the name is no file's.
  Status create(const StoredOperator&, const crypto::KeyPair&) const;
  // Sign the claims and write the token: with the key that signed before, else the parent's own.
  Status save(StoredOperator&) const;
  Status save(const StoredOperator&, StoredAccount&) const;
  Status save(const StoredOperator&, const StoredAccount&, StoredUser&) const;
  // As they are: what was signed elsewhere.
  Status write_token(const StoredOperator&) const;
  Status write_token(const StoredOperator&, const StoredAccount&) const;
  Status write_token(const StoredOperator&, const StoredAccount&, const StoredUser&) const;
  Status remove(const StoredOperator&, const StoredAccount&, const StoredUser&) const;

  // NotFound when the secret is not here.
  Result<crypto::KeyPair> key(std::string_view public_key) const;
  Status add_key(const crypto::KeyPair&) const;
  Status remove_key(std::string_view public_key) const;

  // The operator commands act on when none is named; empty when none was chosen.
  static std::string selected_operator();
  static Status select_operator(std::string_view name);

 private:
  std::string folder_of(const StoredOperator&) const;
  std::string key_path(std::string_view public_key) const;
  std::string root_;
};

// Credentials for a user of the store, valid for ever or until `expires` (seconds).
Result<std::string> make_creds(const AuthStore&, const StoredUser&, int64_t expires);

// Seconds since 1970.
int64_t unix_now();

}  // namespace brokkr::cli
