// How a connection gets its user: nats-core.md sections 1.3 and 3.
#include "auth/authenticator.h"

#include <algorithm>

#include "auth/account_rules.h"
#include "auth/permissions.h"
#include "broker/connection.h"
#include "broker/error_text.h"
#include "broker/identity/account_loader.h"
#include "broker/identity/callouts.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "protocol/encode.h"

namespace brokkr::broker {
namespace {

constexpr Duration kFirstPingAfter = std::chrono::seconds(2);

}  // namespace

void Connection::handle_connect(std::string_view json) {
  if (Status parsed = protocol::parse_connect(json, connect_); !parsed) {
    return close_later(CloseReason::ParseError);
  }
  if (state_ == State::Open) remove_all_subscriptions();  // CONNECT again begins anew
  connect_received_ = true;
  last_activity_ = shard_.loop().clock().wall_now();
  if (connect_.protocol < 0 || connect_.protocol > 1) {
    return close_later(CloseReason::BadClientProtocolVersion, "invalid client protocol");
  }
  if (connect_.no_responders && !(connect_.headers && shard_.settings().headers)) {
    return close_later(CloseReason::NoRespondersRequiresHeaders,
                       "no responders requires headers support");
  }
  wants_headers_ = connect_.headers && shard_.settings().headers;
  if (!connect_.account.empty()) {
    ++shard_.stats().auth_errors;
    return close_later(CloseReason::AuthenticationFailure, "Authorization Violation");
  }
  authenticate();
}

// Views into this connection: good until it ends or says CONNECT again.
auth::Credentials Connection::credentials() const {
  auth::Credentials credentials;
  credentials.user = connect_.user;
  credentials.password = connect_.pass;
  credentials.token = connect_.auth_token;
  credentials.nkey = connect_.nkey;
  credentials.jwt = connect_.jwt;
  credentials.signature = connect_.sig;
  credentials.nonce = nonce_;
  credentials.connection_type = connection_type_name(type());
  credentials.client_host = peer().host;
  credentials.now = shard_.loop().clock().wall_now();
  credentials.is_account_fresh = is_account_fresh_;
  if (origin_.tls != nullptr && origin_.tls->is_verified) {
    credentials.tls_identity = &origin_.tls->identity;
  }
  // Cookies stand for what CONNECT did not bring.
  if (const WebSocketFacts* web = origin_.websocket.get()) {
    const auto fill = [](std::string_view& field, const std::string& cookie) {
      if (field.empty()) field = cookie;
    };
    fill(credentials.jwt, web->jwt);
    fill(credentials.user, web->user);
    fill(credentials.password, web->password);
    fill(credentials.token, web->token);
  }
  return credentials;
}

void Connection::authenticate() {
  if (type() == ConnectionType::InProcess) return accept_user();
  act_on(shard_.authenticator()->check(credentials()));
}

// Goes on at once, or when somebody else has answered.
void Connection::act_on(auth::Verdict verdict) {
  using Kind = auth::Verdict::Kind;
  if (verdict.kind == Kind::Accepted || verdict.kind == Kind::Refused) return on_verdict(verdict);
  state_ = State::Authenticating;
  auth::Verdict busy;
  if (verdict.kind == Kind::NeedsBcrypt) {
    if (shard_.server().check_password(shard_, id_, std::move(verdict))) return;
    busy.reason = "too many password checks are waiting";
  } else if (verdict.kind == Kind::NeedsAccount) {
    AccountLoader& loader = shard_.server().account_loader();
    if (is_account_fresh_) {
      busy.reason = "account \"" + verdict.account + "\" is not known";
    } else if (loader.await(shard_, verdict.account,
                            [&shard = shard_, id = id_](const std::string& error) {
                               if (Connection* one = shard.find_connection(id)) {
                                 one->on_account_loaded(error);
                               }
                               shard.sweep();
                             })) {
      return;
    } else {
      busy.reason = "too many account look-ups are waiting";
    }
  } else {
    const bool is_asked = shard_.callouts().ask(
        callout_client(), verdict, [&shard = shard_, id = id_](const auth::Verdict& answer) {
          if (Connection* one = shard.find_connection(id)) one->on_callout_answer(answer);
        });
    if (is_asked) return;
    busy.reason = "too many auth callouts are waiting";
  }
  on_verdict(busy);
}

void Connection::on_account_loaded(const std::string& error) {
  if (state_ != State::Authenticating) return;
  is_account_fresh_ = true;
  // Whatever is there now decides; without it the reason is the loader's.
  auth::Verdict verdict = shard_.authenticator()->check(credentials());
  if (verdict.kind == auth::Verdict::Kind::NeedsAccount) {
    verdict = auth::Verdict::refuse("account \"" + verdict.account + "\": " +
                                    (error.empty() ? "not known" : error));
  }
  act_on(std::move(verdict));
}

CalloutClient Connection::callout_client() const {
  const auth::Credentials shown = credentials();
  CalloutClient client;
  client.id = id_;
  client.host = peer().host;
  client.type = type();
  client.nonce = nonce_;
  client.connect = connect_;
  client.connect.user = shown.user;
  client.connect.pass = shown.password;
  client.connect.auth_token = shown.token;
  client.jwt = shown.jwt;
  client.user_name = shown_user();
  client.tls = origin_.tls;
  return client;
}

void Connection::on_callout_answer(const auth::Verdict& verdict) {
  if (state_ == State::Authenticating) on_verdict(verdict);
}

void Connection::refuse(const std::string& reason) {
  ++shard_.stats().auth_errors;
  shard_.log().error(log_name() + " - authentication error: " + reason);
  close_later(CloseReason::AuthenticationFailure, "Authorization Violation");
}

void Connection::on_verdict(const auth::Verdict& verdict) {
  const bool was_waiting = state_ == State::Authenticating;
  if (verdict.kind != auth::Verdict::Kind::Accepted) return refuse(verdict.reason);
  user_ = verdict.user;
  if (was_waiting && user_ != nullptr) {
    // The rules may have changed since the question was asked.
    auth::Revision revision = shard_.authenticator()->revise(*user_, credentials());
    if (revision.kind == auth::Revision::Kind::Refused) return refuse(revision.reason);
    user_ = std::move(revision.user);
  }
  is_account_fresh_ = false;
  accept_user();
  if (was_waiting) resume_input();
}

// What `user_`, who may be nobody in particular, is allowed.
void Connection::apply_user() {
  permissions_ = user_ == nullptr ? nullptr : user_->permissions;
  reply_grants_.reset();
  publish_answers_.reset();
  if (permissions_ != nullptr && permissions_->allows_responses()) {
    reply_grants_ = std::make_unique<auth::ReplyGrants>(*permissions_);
  }
  limits_ = {};
  const auto narrow = [](uint64_t& limit, int64_t by) {
    if (by >= 0) limit = std::min(limit, static_cast<uint64_t>(by));
  };
  const uint32_t subscriptions = shard_.settings().max_subscriptions;
  if (subscriptions > 0) limits_.max_subscriptions = subscriptions;
  if (const auth::AccountRules* rules = account_->rules()) {
    narrow(limits_.max_payload, rules->settings.max_payload);
  }
  if (user_ != nullptr) {
    narrow(limits_.max_payload, user_->max_payload);
    narrow(limits_.max_subscriptions, user_->max_subscriptions);
  }
  watch_expiry();
}

// Clocks are set anew and timers have an end: what is left is looked at again.
void Connection::watch_expiry() {
  if (user_ == nullptr || !user_->expires) {
    expiry_timer_.reset();
    return;
  }
  if (expiry_timer_ == nullptr) {
    expiry_timer_ = std::make_unique<io::Timer>(shard_.loop(), [this] { on_expiry_timer(); });
  }
  constexpr Duration kLookAgain = std::chrono::minutes(10);
  const Duration left = *user_->expires - shard_.loop().clock().wall_now();
  expiry_timer_->start(std::clamp<Duration>(left, Duration(0), kLookAgain));
}

void Connection::on_expiry_timer() {
  if (state_ == State::Closed) return;
  if (shard_.loop().clock().wall_now() < *user_->expires) return watch_expiry();
  shard_.log().info(log_name() + " - the time of the user is over");
  close_later(CloseReason::AuthenticationExpired, user_->expires_with_account
                                                      ? "Account Authentication Expired"
                                                      : "User Authentication Expired");
  shard_.sweep();
}

// Opens the connection for `user_`, who may be nobody in particular.
void Connection::accept_user() {
  account_ = user_ == nullptr ? &shard_.global_account() : &shard_.account(user_->account);
  if (!join_account()) {
    return close_later(CloseReason::AccountConnectionsExceeded,
                       "maximum account active connections exceeded");
  }
  apply_user();
  state_ = State::Open;
  was_open_ = true;
  shard_.on_registered(*this);
  if (connect_received_) {
    send_ok();
    // An estimate until the first PONG.
    round_trip_ =
        std::max<Duration>(shard_.loop().clock().wall_now() - start_time_, Duration(1));
    // The first PING measures the round trip; a little apart, so that clients that connected
    // together are not asked together.
    const Duration spread(static_cast<int64_t>(shard_.random().below(400'000'000)));
    timer_.start(std::min<Duration>(kFirstPingAfter + spread, ping_interval()));
  }
}

// Ends the connection of a user who was let in and may stay no longer.
void Connection::dismiss(const auth::Revision& revision) {
  using Cause = auth::Revision::Cause;
  if (revision.cause == Cause::Violation) return refuse(revision.reason);
  shard_.log().info(log_name() + " - " + revision.reason);
  if (revision.cause == Cause::Revoked) {
    return close_later(CloseReason::Revocation, "User Authentication Revoked");
  }
  close_later(CloseReason::AuthenticationExpired,
              revision.cause == Cause::Expired ? "User Authentication Expired"
                                               : "Account Authentication Expired");
}

void Connection::revise_user() {
  if (state_ != State::Open || type() == ConnectionType::InProcess) return;
  if (user_ == nullptr) {
    if (needs_credentials()) refuse("credentials are needed now");
    return;
  }
  const auth::Revision revision = shard_.authenticator()->revise(*user_, credentials());
  if (revision.kind == auth::Revision::Kind::Refused) return dismiss(revision);
  user_ = revision.user;
  apply_user();
  refresh_permissions();
}

// Drops subscriptions that are no longer permitted.
void Connection::refresh_permissions() {
  if (permissions_ == nullptr) return;
  std::vector<Subscription*> denied;
  std::vector<Subscription*> changed;
  subscriptions_.for_each([&](Subscription& subscription) {
    const std::string_view pattern = subscription.pattern();
    const std::string_view queue = subscription.queue();
    if (!permissions_->may_subscribe(pattern, queue)) return denied.push_back(&subscription);
    const bool is_filtered = permissions_->needs_delivery_filter(pattern, queue);
    if (subscription.has_delivery_filter != is_filtered) changed.push_back(&subscription);
  });
  for (Subscription* subscription : changed) {
    // The other loops count filtered members apart, so it leaves as the one and comes as the other.
    const std::string pattern(subscription->pattern());
    const std::string queue(subscription->queue());
    shard_.remove_interest(*account_, *subscription);
    subscription->has_delivery_filter = !subscription->has_delivery_filter;
    shard_.add_interest(*account_, pattern, queue, *subscription);
  }
  for (Subscription* subscription : denied) {
    send_error(quoted("Permissions Violation for Subscription to ", subscription->pattern(),
                      " (sid \"" + subscription->sid + "\")"));
    remove_subscription(subscription);
  }
}

}  // namespace brokkr::broker
