// What the configuration says of users, made ready for asking.
#include <algorithm>
#include <utility>

#include "auth/authenticator.h"
#include "auth/callout.h"
#include "auth/operator_mode.h"
#include "config/options.h"
#include "crypto/nkey.h"

namespace brokkr::auth {
namespace {

PermissionRules::Side copy_side(const config::PermissionRules::Side& side) {
  return {side.has_allow, side.allow, side.deny};
}

std::shared_ptr<const Permissions> compile(const config::PermissionRules& rules,
                                           bool denies_callout_subject) {
  PermissionRules made{copy_side(rules.publish), copy_side(rules.subscribe), rules.allow_responses,
                       rules.responses_max, rules.responses_ttl};
  if (denies_callout_subject) made.publish.deny.emplace_back(kCalloutSubject);
  return std::make_shared<Permissions>(std::move(made));
}

// `callout_account`: who is in it could ask as the server, and let in anybody.
std::shared_ptr<const User> make_user(const config::UserEntry& entry,
                                      std::string_view callout_account) {
  auto user = std::make_shared<User>();
  user->name = entry.name;
  user->nkey = entry.nkey;
  user->account = entry.account;
  user->password = entry.password;
  const bool is_asked = entry.account == callout_account;
  if (entry.permissions || is_asked) {
    user->permissions = compile(entry.permissions.value_or(config::PermissionRules{}), is_asked);
  }
  user->allowed_connection_types = entry.allowed_connection_types;
  user->is_proxy_required = entry.proxy_required;
  return user;
}

std::shared_ptr<const User> make_simple_user(std::string name, std::string password,
                                             std::string account = "$G") {
  auto user = std::make_shared<User>();
  user->name = std::move(name);
  user->account = account.empty() ? "$G" : std::move(account);
  user->password = std::move(password);
  return user;
}

bool is_plain(const std::string& password) { return !password.empty() && !is_bcrypt(password); }

}  // namespace

Result<std::shared_ptr<const Authenticator>> Authenticator::make(const config::Options& options,
                                                                 const Authenticator* previous,
                                                                 WallTime now) {
  auto made = std::make_shared<Authenticator>();
  made->accounts_ = AccountTable::make(
      describe_accounts(options), previous == nullptr ? nullptr : previous->accounts().get());
  if (!made->accounts_->problems().empty()) {
    return Error{Errc::InvalidArgument, made->accounts_->problems().front()};
  }
  if (Status mode = made->add_operator_mode(options, previous, now); !mode) return mode.error();
  if (Status callout = made->add_callout(options); !callout) return callout.error();
  if (Status users = made->add_users(options); !users) return users.error();
  made->add_simple(options);
  made->has_rules_ |= options.authorization.needs_later_kind;
  made->add_websocket(options);
  made->add_leafnodes(options);
  if (Status added = made->add_no_auth_users(options); !added) return added.error();
  made->needs_nonce_ = !made->nkeys_.empty() || !options.leafnodes.nkey.empty() ||
                       made->operator_ != nullptr || options.authorization.always_enable_nonce;
  return std::shared_ptr<const Authenticator>(std::move(made));
}

Status Authenticator::add_operator_mode(const config::Options& options,
                                        const Authenticator* previous, WallTime now) {
  auto mode = make_operator_mode(options, now);
  if (!mode) return mode.error();
  operator_ = std::move(*mode);
  if (operator_ == nullptr) return {};
  has_rules_ = true;
  add_jwt_accounts(previous == nullptr ? nullptr : previous->accounts().get(), now);
  return {};
}

// What is wrong with the imports of one account is no reason to keep out the others.
void Authenticator::add_jwt_accounts(const AccountTable* previous, WallTime now) {
  if (operator_ == nullptr) return;
  const int64_t seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  std::vector<AccountDescription> descriptions;
  for (const auto& [id, account] : operator_->accounts()) {
    descriptions.push_back(describe(*account, operator_->accounts(), seconds));
  }
  accounts_ = AccountTable::make(descriptions, previous);
}

Status Authenticator::add_callout(const config::Options& options) {
  account_names_ = {"$G"};
  for (const config::Account& account : options.accounts) account_names_.insert(account.name);
  if (!options.authorization.callout) return {};
  const config::AuthCallout& from = *options.authorization.callout;
  if (!crypto::is_public_key(from.issuer, crypto::NkeyType::Account)) {
    return Error{Errc::InvalidArgument,
                 "Expected callout user to be a valid public account nkey, got \"" + from.issuer +
                     "\""};
  }
  if (!from.xkey.empty() && !crypto::is_public_key(from.xkey, crypto::NkeyType::Curve)) {
    return Error{Errc::InvalidArgument,
                 "Expected callout xkey to be a valid public xkey, got \"" + from.xkey + "\""};
  }
  auto rule = std::make_shared<CalloutRule>();
  rule->account = from.account.empty() ? "$G" : from.account;
  rule->issuer = from.issuer;
  rule->xkey = from.xkey;
  rule->delegated_accounts = from.allowed_accounts;
  rule->auth_users = from.auth_users;
  callout_ = std::move(rule);
  has_rules_ = true;
  return {};
}

Status Authenticator::add_users(const config::Options& options) {
  const std::string callout_account = callout_ == nullptr ? "" : callout_->account;
  for (const config::UserEntry& entry : options.authorization.users) {
    has_rules_ = true;
    has_plain_passwords_ |= is_plain(entry.password);
    if (!entry.nkey.empty()) {
      if (!crypto::is_public_key(entry.nkey, crypto::NkeyType::User)) {
        return Error{Errc::InvalidArgument, "Not a valid public nkey for a user"};
      }
      if (!nkeys_.emplace(entry.nkey, make_user(entry, callout_account)).second) {
        return Error{Errc::InvalidArgument, "Duplicate nkey \"" + entry.nkey + "\" detected"};
      }
    } else if (!users_.emplace(entry.name, make_user(entry, callout_account)).second) {
      return Error{Errc::InvalidArgument, "Duplicate user \"" + entry.name + "\" detected"};
    }
  }
  listener(Port::Client).maps_certificates = options.tls && options.tls->verify_and_map;
  return {};
}

void Authenticator::add_simple(const config::Options& options) {
  const config::Authorization& from = options.authorization;
  is_proxy_required_ = from.proxy_required;
  Listener simple;
  if (!from.token.empty()) {
    simple.token = make_simple_user({}, from.token);
    has_plain_passwords_ |= is_plain(from.token);
  } else if (!from.user.empty() && from.users.empty()) {
    simple.simple = make_simple_user(from.user, from.password);
    has_plain_passwords_ |= is_plain(from.password);
  }
  has_rules_ |= simple.token != nullptr || simple.simple != nullptr;
  for (Listener& one : listeners_) {
    one.token = simple.token;
    one.simple = simple.simple;
  }
}

void Authenticator::add_websocket(const config::Options& options) {
  const config::WebsocketOptions& from = options.websocket;
  Listener& here = listener(Port::Websocket);
  here.maps_certificates = from.tls && from.tls->verify_and_map;
  if (!from.has_own_authorization()) return;
  here.has_own = true;
  here.token = from.token.empty() ? nullptr : make_simple_user({}, from.token);
  here.simple = from.user.empty() ? nullptr : make_simple_user(from.user, from.password);
  has_plain_passwords_ |= is_plain(from.token) || is_plain(from.password);
}

void Authenticator::add_leafnodes(const config::Options& options) {
  const config::LeafnodeOptions& from = options.leafnodes;
  Listener& here = listener(Port::Leaf);
  here.maps_certificates = from.tls && from.tls->verify_and_map;
  if (!from.account.empty()) here.default_user = make_simple_user({}, {}, from.account);
  if (from.user.empty() && from.nkey.empty() && from.users.empty()) return;
  here.has_own = true;
  here.token = nullptr;
  auto simple = std::make_shared<User>();
  simple->name = from.user;
  simple->nkey = from.nkey;
  simple->account = from.account.empty() ? "$G" : from.account;
  simple->password = from.password;
  simple->is_proxy_required = from.proxy_required;
  has_plain_passwords_ |= is_plain(from.password);
  here.nkey = from.user.empty() ? from.nkey : "";
  here.simple = from.user.empty() && from.nkey.empty() ? nullptr : std::move(simple);
  for (const config::LeafUser& user : from.users) {
    auto added = std::make_shared<User>();
    added->name = user.name;
    added->account = user.account.empty() ? "$G" : user.account;
    added->password = user.password;
    added->is_proxy_required = user.proxy_required || from.proxy_required;
    has_plain_passwords_ |= is_plain(user.password);
    here.users.emplace(user.name, std::move(added));
  }
}

// Users of the system account alone, and no word of who else may come: the others come in as before.
// An `authorization` block of any kind is such a word.
bool Authenticator::is_for_system_only(const config::Options& options) const {
  const std::string system =
      options.system_account.empty() ? std::string("$SYS") : options.system_account;
  return !options.no_system_account && !options.authorization.is_block_present &&
         options.accounts.size() == 1 && options.accounts.front().name == system &&
         listener(Port::Client).token == nullptr &&
         listener(Port::Client).simple == nullptr && !options.operator_mode.is_on();
}

Status Authenticator::add_no_auth_users(const config::Options& options) {
  const auto find = [this, &options](const std::string& name) -> Result<std::shared_ptr<const User>> {
    auto user = options.authorization.users.empty() ? nullptr : find_user(name);
    if (user != nullptr) return user;
    return Error{Errc::InvalidArgument,
                 "no_auth_user: \"" + name +
                     "\" not present as user in authorization block or account configuration"};
  };
  std::shared_ptr<const User> usual;
  if (!options.authorization.no_auth_user.empty()) {
    auto found = find(options.authorization.no_auth_user);
    if (!found) return found.error();
    usual = *found;
  } else if (has_rules_ && is_for_system_only(options)) {
    usual = make_simple_user({}, {});
    is_implicit_no_auth_user_ = true;
  }
  for (Listener& one : listeners_) one.no_auth_user = usual;
  Listener& websocket = listener(Port::Websocket);
  if (websocket.has_own) websocket.no_auth_user = nullptr;
  if (options.websocket.no_auth_user.empty()) return {};
  auto own = find(options.websocket.no_auth_user);
  if (!own) return own.error();
  if (websocket.has_own) websocket.no_auth_user = *own;
  leaf_websocket_no_auth_user_ = *own;
  return {};
}

}  // namespace brokkr::auth
