#include "auth/authenticator.h"

#include <algorithm>
#include <utility>

#include "auth/callout.h"
#include "auth/certificate_user.h"
#include "auth/operator_mode.h"
#include "auth/signature.h"
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

bool brings_nothing(const Credentials& credentials) {
  return credentials.user.empty() && credentials.password.empty() && credentials.token.empty() &&
         credentials.nkey.empty() && credentials.jwt.empty() && credentials.signature.empty();
}

}  // namespace

Verdict Verdict::refuse(std::string reason) {
  Verdict verdict;
  verdict.reason = std::move(reason);
  return verdict;
}

Verdict Verdict::accept(std::shared_ptr<const User> user) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::Accepted;
  verdict.user = std::move(user);
  return verdict;
}

Revision Revision::refuse(std::string reason, Cause cause) {
  Revision revision;
  revision.cause = cause;
  revision.reason = std::move(reason);
  return revision;
}

Revision Revision::keep(std::shared_ptr<const User> user) {
  Revision revision;
  revision.kind = Kind::Kept;
  revision.user = std::move(user);
  return revision;
}

std::shared_ptr<const Authenticator> Authenticator::with_operator_mode(
    std::shared_ptr<const OperatorMode> mode, WallTime now) const {
  auto next = std::make_shared<Authenticator>(*this);
  next->operator_ = std::move(mode);
  next->add_jwt_accounts(accounts_.get(), now);
  return next;
}

std::shared_ptr<const Authenticator> Authenticator::open_to_all() {
  return std::make_shared<const Authenticator>();
}

Authenticator::Port Authenticator::port_of(std::string_view connection_type) {
  if (connection_type == "WEBSOCKET") return Port::Websocket;
  return connection_type.starts_with("LEAFNODE") ? Port::Leaf : Port::Client;
}

const std::shared_ptr<const User>& Authenticator::no_auth_user_for(
    std::string_view connection_type) const {
  if (connection_type == "LEAFNODE_WS" && leaf_websocket_no_auth_user_ != nullptr) {
    return leaf_websocket_no_auth_user_;
  }
  return listener(port_of(connection_type)).no_auth_user;
}

bool Authenticator::is_required(std::string_view connection_type) const {
  const Listener& here = listener(port_of(connection_type));
  const bool has_rules = has_rules_ || here.has_own;
  return has_rules && (no_auth_user_for(connection_type) == nullptr || is_implicit_no_auth_user_);
}

std::shared_ptr<const User> Authenticator::find_user(std::string_view name) const {
  if (const auto found = users_.find(name); found != users_.end()) return found->second;
  if (const auto found = nkeys_.find(name); found != nkeys_.end()) return found->second;
  const auto& simple = listener(Port::Client).simple;
  return simple != nullptr && simple->name == name ? simple : nullptr;
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
  if (equal_in_constant_time(user->password, given)) return Verdict::accept(std::move(user));
  return Verdict::refuse(user->name.empty() ? "wrong token"
                                            : "wrong password for user \"" + user->name + "\"");
}

Verdict Authenticator::check(const Credentials& credentials) const {
  const Port port = port_of(credentials.connection_type);
  const bool is_own_leaf = port == Port::Leaf && listener(port).has_own;
  if (operator_ != nullptr && !is_own_leaf) return operator_->check(credentials);
  Verdict verdict = check_configured(credentials);
  if (callout_ == nullptr || is_own_leaf) return verdict;
  return with_callout(std::move(verdict), credentials);
}

// Everybody is asked for but those who answer, and the users of accounts that are not delegated.
Verdict Authenticator::with_callout(Verdict verdict, const Credentials& credentials) const {
  std::string_view who;
  if (verdict.user != nullptr) {
    who = verdict.user->nkey.empty() ? verdict.user->name : verdict.user->nkey;
  } else if (nkeys_.contains(credentials.nkey)) {
    who = credentials.nkey;
  } else if (credentials.token.empty() && find_user(credentials.user) != nullptr) {
    who = credentials.user;
  }
  const auto holds = [](const std::vector<std::string>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  if (!who.empty() && holds(callout_->auth_users, who)) return verdict;
  const bool is_leaf = port_of(credentials.connection_type) == Port::Leaf;
  const auto& delegated = callout_->delegated_accounts;
  if (!is_leaf && verdict.user != nullptr && verdict.user->account != "$G" && !delegated.empty() &&
      !holds(delegated, verdict.user->account)) {
    return verdict;
  }
  Verdict question;
  question.kind = Verdict::Kind::NeedsCallout;
  question.callout = callout_;
  return question;
}

Verdict Authenticator::check_configured(const Credentials& credentials) const {
  const Listener& here = listener(port_of(credentials.connection_type));
  const bool is_leaf = port_of(credentials.connection_type) == Port::Leaf;
  if (is_leaf && here.has_own) return check_own_leaf(here, credentials);
  if (!has_rules_ && !here.has_own) return Verdict::accept(here.default_user);
  // Only who brings nothing at all is the no_auth_user: a wrong secret never falls back to it.
  std::shared_ptr<const User> user;
  const std::shared_ptr<const User>& stand_in = no_auth_user_for(credentials.connection_type);
  const bool is_no_auth_user = stand_in != nullptr && brings_nothing(credentials);
  const bool maps = here.maps_certificates && !users_.empty();
  if (is_no_auth_user && (!stand_in->nkey.empty() || !maps)) {
    user = stand_in;
  } else if (!credentials.nkey.empty() && !nkeys_.empty()) {
    const auto found = nkeys_.find(credentials.nkey);
    if (found == nkeys_.end()) {
      return Verdict::refuse("nkey \"" + std::string(credentials.nkey) + "\" is not known");
    }
    return check_nkey(found->second, credentials);
  } else if (maps) {
    return check_by_certificate(users_, credentials);
  } else if (!credentials.user.empty() && !users_.empty()) {
    const auto found = users_.find(credentials.user);
    if (found == users_.end()) {
      return Verdict::refuse("user \"" + std::string(credentials.user) + "\" is not known");
    }
    user = found->second;
  }
  if (user == nullptr) return check_simple(here, credentials);
  if (!may_use(*user, credentials.connection_type)) {
    return Verdict::refuse("user \"" + user->name + user->nkey + "\" may not connect as " +
                           std::string(credentials.connection_type));
  }
  if (user->is_proxy_required) {
    return Verdict::refuse("user \"" + user->name + user->nkey + "\" must come through a proxy");
  }
  if (is_no_auth_user) return Verdict::accept(std::move(user));
  if (user->password.empty() && is_certificate_user(*user)) {
    return Verdict::refuse("user \"" + user->name + "\" must show a certificate");
  }
  return compare(std::move(user), credentials.password);
}

Verdict Authenticator::check_nkey(std::shared_ptr<const User> user,
                                  const Credentials& credentials) const {
  if (!may_use(*user, credentials.connection_type)) {
    return Verdict::refuse("nkey \"" + user->nkey + "\" may not connect as " +
                           std::string(credentials.connection_type));
  }
  if (user->is_proxy_required) {
    return Verdict::refuse("nkey \"" + user->nkey + "\" must come through a proxy");
  }
  if (Status proof = check_signature(user->nkey, credentials.nonce, credentials.signature); !proof) {
    return Verdict::refuse("nkey \"" + user->nkey + "\": " + proof.error().text);
  }
  return Verdict::accept(std::move(user));
}

Verdict Authenticator::check_simple(const Listener& here, const Credentials& credentials) const {
  const std::shared_ptr<const User>& user = here.simple;
  if (is_proxy_required_ && (user != nullptr || here.token != nullptr)) {
    return Verdict::refuse("connections must come through a proxy");
  }
  if (here.token != nullptr) return compare(here.token, credentials.token);
  if (user != nullptr && credentials.user == user->name) return compare(user, credentials.password);
  if (user != nullptr && !credentials.user.empty()) {
    return Verdict::refuse("user \"" + std::string(credentials.user) + "\" is not known");
  }
  return Verdict::refuse("no credentials that this server asks for");
}

Verdict Authenticator::check_by_certificate(const Users& users,
                                            const Credentials& credentials) const {
  if (credentials.tls_identity == nullptr) {
    return Verdict::refuse("no verified certificate that says who the user is");
  }
  std::vector<const User*> candidates;
  for (const auto& [name, user] : users) {
    if (may_use(*user, credentials.connection_type)) candidates.push_back(user.get());
  }
  const User* const found = find_certificate_user(*credentials.tls_identity, candidates);
  if (found == nullptr) {
    return Verdict::refuse("no user for the certificate of \"" +
                           credentials.tls_identity->subject + "\"");
  }
  if (found->is_proxy_required) {
    return Verdict::refuse("user \"" + found->name + "\" must come through a proxy");
  }
  return compare(users.find(found->name)->second, credentials.password);
}

// A user without a password whom some listener takes from certificates is nobody for those who just
// say the name.
bool Authenticator::is_certificate_user(const User& user) const {
  if (&user == listener(Port::Client).no_auth_user.get()) return false;
  return (listener(Port::Client).maps_certificates && may_use(user, "STANDARD")) ||
         (listener(Port::Websocket).maps_certificates && may_use(user, "WEBSOCKET")) ||
         (listener(Port::Leaf).maps_certificates && !listener(Port::Leaf).has_own &&
          (may_use(user, "LEAFNODE") || may_use(user, "LEAFNODE_WS")));
}

Verdict Authenticator::check_own_leaf(const Listener& here, const Credentials& credentials) const {
  if (!here.nkey.empty()) {
    if (credentials.nkey != here.nkey) {
      return Verdict::refuse("nkey \"" + std::string(credentials.nkey) + "\" is not known");
    }
    return check_nkey(here.simple, credentials);
  }
  if (here.maps_certificates && !here.users.empty()) {
    return check_by_certificate(here.users, credentials);
  }
  std::shared_ptr<const User> user = here.simple;
  if (user == nullptr || user->name != credentials.user) {
    const auto found = here.users.find(credentials.user);
    if (found == here.users.end()) {
      return Verdict::refuse("leaf user \"" + std::string(credentials.user) + "\" is not known");
    }
    user = found->second;
  }
  if (user->is_proxy_required) {
    return Verdict::refuse("user \"" + user->name + "\" must come through a proxy");
  }
  return compare(std::move(user), credentials.password);
}

Revision Authenticator::revise(const User& user, const Credentials& credentials) const {
  const Port port = port_of(credentials.connection_type);
  const bool is_own_leaf = port == Port::Leaf && listener(port).has_own;
  if (operator_ != nullptr && !is_own_leaf) return operator_->revise(user, credentials);
  if (!user.is_from_callout) return revise_configured(user, credentials);
  if (callout_ == nullptr || callout_->issuer != user.issuer_key) {
    return Revision::refuse("the auth callout that let the user in is gone");
  }
  if (!account_names_.contains(user.account)) {
    return Revision::refuse("account \"" + user.account + "\" is gone");
  }
  return Revision::keep(std::make_shared<User>(user));
}

Revision Authenticator::revise_configured(const User& user, const Credentials& credentials) const {
  const Listener& here = listener(port_of(credentials.connection_type));
  std::shared_ptr<const User> now;
  if (user.name.empty() && user.nkey.empty()) {
    now = here.token != nullptr       ? here.token
          : is_implicit_no_auth_user_ ? here.no_auth_user
                                      : here.default_user;
  } else if (port_of(credentials.connection_type) == Port::Leaf && here.has_own) {
    const auto found = here.users.find(user.name);
    now = found != here.users.end() ? found->second : here.simple;
  } else {
    now = find_user(user.nkey.empty() ? user.name : user.nkey);
    if (now == nullptr && here.simple != nullptr && here.simple->name == user.name) {
      now = here.simple;
    }
  }
  const std::string who = "user \"" + user.name + user.nkey + "\"";
  if (now == nullptr || now->nkey != user.nkey || now->name != user.name) {
    return Revision::refuse(who + " is no longer known");
  }
  if (now->password != user.password) {
    return Revision::refuse("the password of " + who + " has changed");
  }
  if (now->account != user.account) {
    return Revision::refuse(who + " belongs to another account now");
  }
  if (!may_use(*now, credentials.connection_type)) {
    return Revision::refuse(who + " may no longer connect as " +
                            std::string(credentials.connection_type));
  }
  return Revision::keep(std::move(now));
}

}  // namespace brokkr::auth
