#include "auth/authenticator.h"

#include <algorithm>
#include <utility>

#include "config/options.h"

namespace brokkr::auth {
namespace {

// Takes the same time wherever the texts differ; only the length shows.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  }
  return difference == 0;
}

PermissionRules::Side copy_side(const config::PermissionRules::Side& side) {
  return {side.has_allow, side.allow, side.deny};
}

std::shared_ptr<const Permissions> compile(const config::PermissionRules& rules) {
  return std::make_shared<Permissions>(PermissionRules{
      copy_side(rules.publish), copy_side(rules.subscribe), rules.allow_responses,
      rules.responses_max, rules.responses_ttl});
}

std::shared_ptr<const User> make_user(const config::UserEntry& entry) {
  auto user = std::make_shared<User>();
  user->name = entry.name;
  user->account = entry.account;
  user->password = entry.password;
  if (entry.permissions) user->permissions = compile(*entry.permissions);
  user->allowed_connection_types = entry.allowed_connection_types;
  return user;
}

std::shared_ptr<const User> make_simple_user(std::string name, std::string password) {
  auto user = std::make_shared<User>();
  user->name = std::move(name);
  user->account = "$G";
  user->password = std::move(password);
  return user;
}

bool is_plain(const std::string& password) { return !password.empty() && !is_bcrypt(password); }

Verdict refuse(std::string reason) {
  Verdict verdict;
  verdict.reason = std::move(reason);
  return verdict;
}

Verdict accept(std::shared_ptr<const User> user) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::Accepted;
  verdict.user = std::move(user);
  return verdict;
}

}  // namespace

Result<std::shared_ptr<const Authenticator>> Authenticator::make(const config::Options& options) {
  const config::Authorization& from = options.authorization;
  auto made = std::make_shared<Authenticator>();
  for (const config::UserEntry& entry : from.users) {
    made->has_rules_ = true;
    if (entry.name.empty()) continue;  // An nkey: nobody can prove to hold it yet.
    made->has_plain_passwords_ |= is_plain(entry.password);
    if (!made->users_.emplace(entry.name, make_user(entry)).second) {
      return Error{Errc::InvalidArgument, "Duplicate user \"" + entry.name + "\" detected"};
    }
  }
  if (!from.token.empty()) {
    made->token_user_ = make_simple_user({}, from.token);
    made->has_plain_passwords_ |= is_plain(from.token);
  } else if (!from.user.empty() && from.users.empty()) {
    made->users_.emplace(from.user, make_simple_user(from.user, from.password));
    made->has_plain_passwords_ |= is_plain(from.password);
  }
  made->has_rules_ |=
      made->token_user_ != nullptr || !made->users_.empty() || from.needs_later_kind;
  if (!from.no_auth_user.empty()) {
    made->no_auth_user_ = from.users.empty() ? nullptr : made->find_user(from.no_auth_user);
    if (made->no_auth_user_ == nullptr) {
      return Error{Errc::InvalidArgument,
                   "no_auth_user: \"" + from.no_auth_user +
                       "\" not present as user in authorization block or account configuration"};
    }
  }
  return std::shared_ptr<const Authenticator>(std::move(made));
}

std::shared_ptr<const Authenticator> Authenticator::open_to_all() {
  return std::make_shared<const Authenticator>();
}

std::shared_ptr<const User> Authenticator::find_user(std::string_view name) const {
  const auto found = users_.find(name);
  return found == users_.end() ? nullptr : found->second;
}

bool Authenticator::may_use(const User& user, std::string_view connection_type) {
  const auto& allowed = user.allowed_connection_types;
  return allowed.empty() || std::find(allowed.begin(), allowed.end(), connection_type) !=
                                allowed.end();
}

Verdict Authenticator::compare(std::shared_ptr<const User> user, std::string_view given) {
  if (is_bcrypt(user->password)) {
    Verdict verdict;
    verdict.kind = Verdict::Kind::NeedsBcrypt;
    verdict.hash = user->password;
    verdict.password = given;
    verdict.user = std::move(user);
    return verdict;
  }
  if (equal_in_constant_time(user->password, given)) return accept(std::move(user));
  return refuse(user->name.empty() ? "wrong token"
                                   : "wrong password for user \"" + user->name + "\"");
}

Verdict Authenticator::check(const Credentials& credentials) const {
  if (!has_rules_) return accept(nullptr);
  std::shared_ptr<const User> user;
  if (!credentials.user.empty()) {
    user = find_user(credentials.user);
    if (user == nullptr && (token_user_ == nullptr || !users_.empty())) {
      return refuse("user \"" + std::string(credentials.user) + "\" is not known");
    }
  } else if (credentials.password.empty() && credentials.token.empty()) {
    user = no_auth_user_;
    if (user != nullptr && may_use(*user, credentials.connection_type)) return accept(user);
  }
  if (user != nullptr && !may_use(*user, credentials.connection_type)) {
    return refuse("user \"" + user->name + "\" may not connect as " +
                  std::string(credentials.connection_type));
  }
  if (user != nullptr) return compare(std::move(user), credentials.password);
  if (token_user_ != nullptr) return compare(token_user_, credentials.token);
  return refuse("no credentials that this server asks for");
}

}  // namespace brokkr::auth
