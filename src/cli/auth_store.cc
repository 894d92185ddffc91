#include "cli/auth_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/files.h"
#include "crypto/creds.h"
#include "crypto/validate.h"

namespace brokkr::cli {
namespace {

constexpr size_t kTokenFileMax = 2 << 20;

// A name that stays one folder.
Status check_entity_name(std::string_view name) {
  const bool is_bad = name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
                      trim(name) != name;
  if (is_bad) return Error{Errc::InvalidArgument, "invalid name \"" + std::string(name) + "\""};
  return {};
}

Result<std::string> read_token(const std::string& path) {
  auto text = read_file(path, kTokenFileMax);
  if (!text) return text.error();
  return crypto::parse_jwt_file(*text);
}

Error in_token(const std::string& path, const Error& error) { return {error.code, path + ": " + error.text}; }

Result<StoredUser> load_user(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name + ".jwt";
  auto token = read_token(path);
  if (!token) return in_token(path, token.error());
  auto claims = crypto::decode_user(*token);
  if (!claims) return in_token(path, claims.error());
  return StoredUser{name, std::move(*token), std::move(*claims)};
}

Result<StoredAccount> load_account(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name + ".jwt";
  auto token = read_token(path);
  if (!token) return in_token(path, token.error());
  auto claims = crypto::decode_account(*token);
  if (!claims) return in_token(path, claims.error());
  StoredAccount account{name, std::move(*token), std::move(*claims), {}};
  const auto files = list_folder(folder + "/users");
  if (!files) return account;
  for (const std::string& file : *files) {
    if (!file.ends_with(".jwt")) continue;
    auto user = load_user(folder + "/users", file.substr(0, file.size() - 4));
    if (!user) return user.error();
    account.users.push_back(std::move(*user));
  }
  return account;
}

template <typename T>
Status check_claims(const T& claims) {
  const crypto::Issues issues = crypto::validate(claims, unix_now());
  if (!issues.is_blocking()) return {};
  return Error{Errc::InvalidArgument, issues.text()};
}

}  // namespace

StoredUser* StoredAccount::find_user(std::string_view wanted) {
  const auto found = std::find_if(users.begin(), users.end(), [&](const StoredUser& user) {
    return user.name == wanted || user.claims.sub == wanted;
  });
  return found == users.end() ? nullptr : &*found;
}

const crypto::UserScope* StoredAccount::scope_of(const crypto::UserClaims& user) const {
  const auto found = claims.signing_keys.find(user.iss);
  return found == claims.signing_keys.end() || !found->second ? nullptr : &*found->second;
}

StoredAccount* StoredOperator::find_account(std::string_view wanted) {
  const auto found = std::find_if(accounts.begin(), accounts.end(), [&](const StoredAccount& account) {
    return account.name == wanted || account.claims.sub == wanted;
  });
  return found == accounts.end() ? nullptr : &*found;
}

const StoredAccount* StoredOperator::system_account() const {
  for (const StoredAccount& account : accounts) {
    if (account.claims.sub == claims.system_account) return &account;
  }
  return nullptr;
}

AuthStore::AuthStore() : root_(data_home() + "/nats/nsc") {}

Result<StoredOperator> AuthStore::load(const std::string& name) const {
  const std::string folder = root_ + "/stores/" + name;
  // nsc names the token's file after the store.
  const std::string path = folder + "/" + name + ".jwt";
  auto token = read_token(path);
  if (!token) return in_token(path, token.error());
  auto claims = crypto::decode_operator(*token);
  if (!claims) return in_token(path, claims.error());
  StoredOperator out{name, std::move(*token), std::move(*claims), {}};
  const auto names = list_folder(folder + "/accounts");
  if (!names) return out;
  for (const std::string& account_name : *names) {
    if (!is_folder(folder + "/accounts/" + account_name)) continue;
    auto account = load_account(folder + "/accounts/" + account_name, account_name);
    if (!account) return account.error();
    out.accounts.push_back(std::move(*account));
  }
  return out;
}

Result<std::vector<StoredOperator>> AuthStore::operators() const {
  std::vector<StoredOperator> out;
  const auto names = list_folder(root_ + "/stores");
  if (!names) return out;
  for (const std::string& name : *names) {
    if (!is_file(root_ + "/stores/" + name + "/.nsc")) continue;
    auto loaded = load(name);
    if (!loaded) return loaded.error();
    out.push_back(std::move(*loaded));
  }
  return out;
}

Status AuthStore::create(const StoredOperator& op, const crypto::KeyPair& key) const {
  if (Status valid = check_entity_name(op.name); !valid) return valid;
  if (is_folder(folder_of(op))) {
    return Error{Errc::AlreadyExists, "operator " + op.name + " already exist"};
  }
  const std::string gitignore = root_ + "/keys/.gitignore";
  if (!is_file(gitignore)) {
    const Status written =
        replace_file(gitignore, "# ignore all nk files \n**/*.nk\n\n# ignore all creds files\n**/*.creds\n");
    if (!written) return written;
  }
  if (Status made = make_folders(root_ + "/keys/creds"); !made) return made;
  if (Status kept = add_key(key); !kept) return kept;
  json::Writer about;
  about.begin_object().field("managed", false).field("name", op.name).field("kind", "operator");
  about.field("version", "1").end_object();
  if (Status written = replace_file(folder_of(op) + "/.nsc", about.text()); !written) return written;
  return make_folders(folder_of(op) + "/accounts");
}

Status AuthStore::save(StoredOperator& op) const {
  if (Status valid = check_claims(op.claims); !valid) return valid;
  const auto signer = key(op.claims.sub);
  if (!signer) return signer.error();
  auto token = crypto::encode_jwt(op.claims, *signer, unix_now());
  if (!token) return token.error();
  op.token = std::move(*token);
  return write_token(op);
}

Status AuthStore::save(const StoredOperator& op, StoredAccount& account) const {
  if (Status valid = check_entity_name(account.name); !valid) return valid;
  if (Status valid = check_claims(account.claims); !valid) return valid;
  const auto& keys = op.claims.signing_keys;
  const bool is_known = std::find(keys.begin(), keys.end(), account.claims.iss) != keys.end();
  std::string issuer = is_known ? account.claims.iss : op.claims.sub;
  // An operator that wants its signing keys used does not sign itself.
  if (!is_known && op.claims.strict_signing_key_usage && !keys.empty()) issuer = keys.front();
  const auto signer = key(issuer);
  if (!signer) return signer.error();
  auto token = crypto::encode_jwt(account.claims, *signer, unix_now());
  if (!token) return token.error();
  account.token = std::move(*token);
  return write_token(op, account);
}

Status AuthStore::save(const StoredOperator& op, const StoredAccount& account, StoredUser& user) const {
  if (Status valid = check_entity_name(user.name); !valid) return valid;
  if (Status valid = check_claims(user.claims); !valid) return valid;
  const bool is_by_key = account.claims.signing_keys.contains(user.claims.iss);
  const auto signer = key(is_by_key ? user.claims.iss : account.claims.sub);
  if (!signer) return signer.error();
  user.claims.issuer_account = is_by_key ? account.claims.sub : "";
  auto token = crypto::encode_jwt(user.claims, *signer, unix_now());
  if (!token) return token.error();
  user.token = std::move(*token);
  return write_token(op, account, user);
}

Status AuthStore::write_token(const StoredOperator& op) const {
  return replace_file(folder_of(op) + "/" + op.name + ".jwt", op.token);
}

Status AuthStore::write_token(const StoredOperator& op, const StoredAccount& account) const {
  return replace_file(folder_of(op) + "/accounts/" + account.name + "/" + account.name + ".jwt", account.token);
}

Status AuthStore::write_token(const StoredOperator& op, const StoredAccount& account, const StoredUser& user) const {
  return replace_file(folder_of(op) + "/accounts/" + account.name + "/users/" + user.name + ".jwt", user.token);
}

Status AuthStore::remove(const StoredOperator& op, const StoredAccount& account, const StoredUser& user) const {
  const std::string path = folder_of(op) + "/accounts/" + account.name + "/users/" + user.name + ".jwt";
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return system_error(path.c_str(), errno);
  return remove_key(user.claims.sub);
}

Result<crypto::KeyPair> AuthStore::key(std::string_view public_key) const {
  const auto text = read_file(key_path(public_key), 4096);
  if (!text) return Error{Errc::NotFound, "the private key of " + std::string(public_key) + " is not available"};
  auto pair = crypto::parse_seed_file(*text);
  if (!pair) return in_token(key_path(public_key), pair.error());
  if (pair->public_key() != public_key) {
    return Error{Errc::Corrupt, key_path(public_key) + ": holds another key"};
  }
  return pair;
}

Status AuthStore::add_key(const crypto::KeyPair& pair) const {
  return replace_file(key_path(pair.public_key()), pair.seed());
}

Status AuthStore::remove_key(std::string_view public_key) const {
  const std::string path = key_path(public_key);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return system_error(path.c_str(), errno);
  return {};
}

std::string AuthStore::selected_operator() {
  const auto text = read_file(config_home() + "/nats/cli/config.json", 65536);
  const auto parsed = text ? json::parse(*text) : Result<json::Value>(text.error());
  return parsed ? std::string(parsed->get_string("select_operator")) : std::string();
}

Status AuthStore::select_operator(std::string_view name) {
  json::Writer out;
  out.begin_object().field("select_operator", name).end_object();
  return replace_file(config_home() + "/nats/cli/config.json", out.text());
}

std::string AuthStore::folder_of(const StoredOperator& op) const { return root_ + "/stores/" + op.name; }

std::string AuthStore::key_path(std::string_view public_key) const {
  const std::string key(public_key);
  if (key.size() < 3) return root_ + "/keys/keys/none";
  return root_ + "/keys/keys/" + key.substr(0, 1) + "/" + key.substr(1, 2) + "/" + key + ".nk";
}

Result<std::string> make_creds(const AuthStore& store, const StoredUser& user, int64_t expires) {
  const auto key = store.key(user.claims.sub);
  if (!key) return Error{Errc::NotFound, "user private key is not available"};
  if (expires == 0) return crypto::format_creds(user.token, *key);
  const auto signer = store.key(user.claims.iss);
  if (!signer) return signer.error();
  crypto::UserClaims claims = user.claims;
  claims.exp = expires;
  const auto token = crypto::encode_jwt(claims, *signer, unix_now());
  if (!token) return token.error();
  return crypto::format_creds(*token, *key);
}

int64_t unix_now() { return static_cast<int64_t>(std::time(nullptr)); }

}  // namespace brokkr::cli
