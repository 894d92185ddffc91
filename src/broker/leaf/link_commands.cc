// What a leaf link does with each command: nats-core.md section 5.1.
#include <algorithm>

#include "auth/authenticator.h"
#include "auth/permissions.h"
#include "base/bytes.h"
#include "broker/account_routes.h"
#include "broker/error_text.h"
#include "broker/identity/callouts.h"
#include "broker/leaf/dialer.h"
#include "broker/leaf/leafs.h"
#include "broker/leaf/link.h"
#include "broker/message_trace.h"
#include "broker/nonce.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "protocol/encode.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

constexpr Duration kAnswerTimeout = std::chrono::seconds(2);
constexpr Duration kFirstLeafPingAfter = std::chrono::seconds(1);
// After what will be the same when asked again.
constexpr Duration kLongDelay = std::chrono::seconds(30);
constexpr Duration kVersionDelay = std::chrono::seconds(5);
constexpr size_t kAckDotsMin = 8;  // of an ack subject, before what is appended to it
constexpr std::string_view kAckPrefix = "$JS.ACK.";

// What is JetStream's own is reached through its domain, never directly: both sides may have one.
const std::vector<std::string> kJetStreamSubjects = {"$JS.API.>", "$KV.>", "$OBJ.>"};
const std::vector<std::string> kSystemJetStreamSubjects = {"$JSC.>", "$NRG.>"};

bool is_internal_reply(std::string_view subject) {
  return subject.starts_with("_R_.") || subject.starts_with(kAckPrefix);
}

// Where the '@' is that parts an ack subject from what the message is to be shown under; npos if not.
size_t shown_subject_at(std::string_view reply) {
  if (!reply.starts_with(kAckPrefix)) return std::string_view::npos;
  size_t dots = 0;
  for (size_t i = 0; i < reply.size(); ++i) {
    if (reply[i] == '.') ++dots;
    if (reply[i] == '@' && dots >= kAckDotsMin) {
      return i + 1 < reply.size() ? i : std::string_view::npos;
    }
  }
  return std::string_view::npos;
}

protocol::LeafSubjects subjects_of(const auth::PermissionRules::Side& side) {
  return {side.has_allow, side.allow, side.deny};
}

std::string subscription_key(const protocol::LeafCommand& command) {
  std::string key(command.subject);
  if (!command.queue.empty()) key.append(" ").append(command.queue);
  return key;
}

}  // namespace

bool LeafLink::may_come_now(protocol::LeafVerb verb) const {
  switch (verb) {
    case protocol::LeafVerb::Info:
    case protocol::LeafVerb::Err:
    case protocol::LeafVerb::Ok: return true;
    case protocol::LeafVerb::Ping:
    case protocol::LeafVerb::Pong: return state_ != State::AwaitingConnect;
    case protocol::LeafVerb::Connect: return state_ == State::AwaitingConnect;
    case protocol::LeafVerb::Sub:
    case protocol::LeafVerb::Unsub:
    case protocol::LeafVerb::Msg:
    case protocol::LeafVerb::Hmsg: return state_ == State::Open;
  }
  return false;
}

void LeafLink::handle(const protocol::LeafCommand& command) {
  if (!may_come_now(command.verb)) {
    if (!was_opened_) ++leafs_.shard().stats().auth_errors;
    leafs_.log().info(log_name() + " - Leafnode sent a command out of order");
    return close_later("Protocol Violation", "Authorization Violation");
  }
  switch (command.verb) {
    case protocol::LeafVerb::Info: return handle_info(command.arguments);
    case protocol::LeafVerb::Connect: return handle_connect(command.arguments);
    case protocol::LeafVerb::Sub: return handle_sub(command);
    case protocol::LeafVerb::Unsub: return handle_unsub(command);
    case protocol::LeafVerb::Msg:
    case protocol::LeafVerb::Hmsg: return handle_message(command);
    case protocol::LeafVerb::Ping:
      trace("->>", "PONG");
      return send_text(protocol::kPong);
    case protocol::LeafVerb::Pong: return handle_pong();
    case protocol::LeafVerb::Err: return handle_error(command.arguments);
    case protocol::LeafVerb::Ok: return;
  }
}

// --- the start -------------------------------------------------------------------------------

void LeafLink::send_info(bool is_answer) {
  protocol::LeafInfo info = leafs_.make_info();
  info.client_id = id_;
  if (is_answer) {
    info.connect_info = true;
    info.remote_account = account_->name();
    info.acc_is_sys = leafs_.is_system_account(*account_);
    if (user_ != nullptr && user_->permissions != nullptr) {
      info.import_ = subjects_of(user_->permissions->rules().subscribe);
      info.export_ = subjects_of(user_->permissions->rules().publish);
    }
  } else {
    nonce_ = make_nonce();
    info.nonce = nonce_;
  }
  send_text(protocol::make_leaf_info_line(info));
}

void LeafLink::handle_info(std::string_view json) {
  trace("<<-", "INFO " + std::string(json));
  // Who dials may offer to compress. Nothing is answered: it goes on without.
  if (!is_solicited_) return;
  auto info = protocol::parse_leaf_info(json);
  if (!info) {
    leafs_.log().error(log_name() + " - Leafnode remote sent a bad INFO: " + info.error().text);
    return close_later("Parse Error");
  }
  if (state_ == State::AwaitingInfo) return handle_first_info(*info);
  if (dialer_ != nullptr) dialer_->on_discovered(*info);
  if (!info->remote_account.empty()) remote_account_ = info->remote_account;
  if (state_ != State::AwaitingAnswer || !info->connect_info) return;
  incoming_.add(info->import_ ? &*info->import_ : nullptr);
  announced_.add(info->import_ ? &*info->import_ : nullptr);
  outgoing_.add(info->export_ ? &*info->export_ : nullptr);
  open();
}

void LeafLink::handle_first_info(const protocol::LeafInfo& info) {
  remote_protocol_ = info.proto;
  if (info.client_id == 0 || (!info.has_leafnode_urls && !info.info_on_connect)) {
    leafs_.log().error(log_name() + " - attempted to connect to wrong port");
    return close_later("Incorrect Port");
  }
  if (info.cluster.find(' ') != std::string::npos) {
    leafs_.log().error(log_name() + " - cluster name cannot contain spaces");
    return close_later("Protocol Violation", "cluster name cannot contain spaces");
  }
  if (starts_tls(info)) return;
  nonce_ = info.nonce;
  remote_id_ = info.server_id;
  remote_name_ = info.server_name.empty() ? info.server_id : info.server_name;
  remote_domain_ = info.domain;
  remote_cluster_ = info.cluster;
  wants_headers_ = info.headers && leafs_.settings().headers;
  if (info.max_payload > 0) payload_max_ = static_cast<uint64_t>(info.max_payload);
  if (dialer_ == nullptr) return close_later("Client Closed");
  dialer_->on_discovered(info);
  account_ = &leafs_.shard().account(dialer_->account_name());
  is_spoke_ = !dialer_->config().hub;
  is_isolated_ = leafs_.options().isolate_interest || dialer_->config().isolate;
  send_connect();
  if (state_ == State::Closed) return;
  if (!info.info_on_connect) return open();
  state_ = State::AwaitingAnswer;
  timer_.start(kAnswerTimeout);
}

void LeafLink::send_connect() {
  const Settings& settings = leafs_.settings();
  protocol::LeafConnect connect;
  connect.version = kServerVersion;
  connect.server_id = settings.server_id;
  connect.name = settings.server_name;
  connect.domain = settings.jetstream_domain;
  connect.is_hub = dialer_->config().hub;
  connect.cluster = leafs_.cluster_name();
  connect.headers = wants_headers_;
  connect.jetstream = settings.jetstream_api_level > 0;
  connect.deny_pub = dialer_->config().deny_imports;
  connect.isolate = dialer_->config().request_isolation;
  connect.remote_account = account_->name();
  connect.protocol = kLeafProtocol;
  if (Status added = dialer_->add_credentials(connect, nonce_); !added) {
    leafs_.log().error(log_name() + " - Leafnode credentials: " + added.error().text);
    return close_later("Authentication Failure");
  }
  trace("->>", "CONNECT");
  send_text(protocol::make_leaf_connect_line(connect));
}

void LeafLink::handle_connect(std::string_view json) {
  trace("<<-", "CONNECT");
  auto connect = protocol::parse_leaf_connect(json);
  if (!connect) {
    leafs_.log().info(log_name() + " - Leafnode sent a bad CONNECT: " + connect.error().text);
    return close_later("Parse Error");
  }
  connect_ = std::move(*connect);
  if (check_connect(connect_)) authenticate();
}

bool LeafLink::check_connect(const protocol::LeafConnect& connect) {
  remote_protocol_ = connect.protocol;
  const auto refuse = [this](std::string_view reason, const std::string& text) {
    leafs_.log().error(log_name() + " - " + text);
    close_later(reason, text);
    return false;
  };
  if (!connect.lang.empty()) {
    return refuse("Incorrect Port", "attempted to connect to leaf node port");
  }
  if (!connect.gateway.empty()) {
    return refuse("Wrong Gateway",
                  "Rejecting connection from gateway \"" + connect.gateway + "\" on the leafnode port");
  }
  if (connect.cluster.find(' ') != std::string::npos) {
    return refuse("Protocol Violation", "cluster name cannot contain spaces");
  }
  const std::string own_cluster = leafs_.cluster_name();
  if (!own_cluster.empty() && connect.cluster == own_cluster) {
    return refuse("Cluster Names Identical", "remote leafnode has same cluster name");
  }
  return true;
}

auth::Credentials LeafLink::credentials() const {
  auth::Credentials credentials;
  credentials.user = connect_.user;
  credentials.password = connect_.pass;
  credentials.token = connect_.auth_token;
  credentials.nkey = connect_.nkey;
  credentials.jwt = connect_.jwt;
  credentials.signature = connect_.sig;
  credentials.nonce = nonce_;
  credentials.connection_type = connection_type_name(origin_.type);
  credentials.client_host = transport_->peer().host;
  credentials.now = leafs_.loop().clock().wall_now();
  credentials.is_account_fresh = is_account_fresh_;
  if (origin_.tls != nullptr && origin_.tls->is_verified) {
    credentials.tls_identity = &origin_.tls->identity;
  }
  return credentials;
}

void LeafLink::authenticate() { on_verdict(leafs_.check(credentials())); }

void LeafLink::on_account_loaded(const std::string& error) {
  if (state_ != State::Authenticating) return;
  is_account_fresh_ = true;
  const auth::Verdict verdict = leafs_.check(credentials());
  if (verdict.kind != auth::Verdict::Kind::NeedsAccount) return on_verdict(verdict);
  on_verdict(auth::Verdict::refuse("account \"" + verdict.account + "\": " +
                                   (error.empty() ? "not known" : error)));
}

// A user's time is over when the user's or the account's JWT is.
void LeafLink::watch_expiry() {
  if (user_ == nullptr || !user_->expires) return;
  if (expiry_timer_ == nullptr) {
    expiry_timer_ = std::make_unique<io::Timer>(leafs_.loop(), [this] {
      if (state_ == State::Closed) return;
      if (leafs_.loop().clock().wall_now() < *user_->expires) return watch_expiry();
      leafs_.log().info(log_name() + " - the time of the user is over");
      close_later("Authentication Expired", "User Authentication Expired");
    });
  }
  // Clocks are set anew and timers have an end: what is left is looked at again.
  constexpr Duration kLookAgain = std::chrono::minutes(10);
  const Duration left = *user_->expires - leafs_.loop().clock().wall_now();
  expiry_timer_->start(std::clamp<Duration>(left, Duration(0), kLookAgain));
}

CalloutClient LeafLink::callout_client() const {
  CalloutClient client;
  client.id = id_;
  client.host = transport_->peer().host;
  client.kind = "Leafnode";
  client.type = origin_.type;
  client.nonce = nonce_;
  client.connect.name = connect_.name;
  client.connect.version = connect_.version;
  client.connect.protocol = connect_.protocol;
  client.connect.user = connect_.user;
  client.connect.pass = connect_.pass;
  client.connect.auth_token = connect_.auth_token;
  client.connect.jwt = connect_.jwt;
  client.connect.nkey = connect_.nkey;
  client.connect.sig = connect_.sig;
  client.jwt = connect_.jwt;
  client.user_name = connect_.user;
  client.tls = origin_.tls;
  return client;
}

std::string LeafLink::reason_to_end() const {
  const auto& authenticator = leafs_.shard().authenticator();
  if (user_ == nullptr) {
    const bool is_closed = authenticator->is_required(connection_type_name(origin_.type));
    return is_closed ? "credentials are asked for now" : "";
  }
  const auth::Revision revision = authenticator->revise(*user_, credentials());
  if (revision.kind == auth::Revision::Kind::Refused) return revision.reason;
  const bool same = revision.user == nullptr || revision.user->account == user_->account;
  return same ? "" : "the user is in another account now";
}

void LeafLink::on_verdict(const auth::Verdict& verdict) {
  if (state_ == State::Closed) return;
  if (verdict.kind == auth::Verdict::Kind::NeedsBcrypt) {
    state_ = State::Authenticating;
    if (leafs_.check_password(*this, verdict)) return;
  }
  if (verdict.kind == auth::Verdict::Kind::NeedsAccount) {
    state_ = State::Authenticating;
    if (leafs_.await_account(*this, verdict.account)) return;
  }
  if (verdict.kind == auth::Verdict::Kind::NeedsCallout) {
    state_ = State::Authenticating;
    if (leafs_.ask_callout(*this, verdict)) return;
  }
  if (verdict.kind != auth::Verdict::Kind::Accepted) {
    ++leafs_.shard().stats().auth_errors;
    leafs_.log().info(log_name() + " - Leafnode authentication error: " + verdict.reason);
    return close_later("Authentication Failure", "Authorization Violation");
  }
  user_ = verdict.user;
  watch_expiry();
  account_ = user_ == nullptr ? &leafs_.shard().global_account()
                              : &leafs_.shard().account(user_->account);
  remote_id_ = connect_.server_id;
  remote_name_ = connect_.name.empty() ? connect_.server_id : connect_.name;
  remote_domain_ = connect_.domain;
  remote_cluster_ = connect_.cluster;
  remote_account_ = connect_.remote_account;
  wants_headers_ = connect_.headers && leafs_.settings().headers;
  is_spoke_ = connect_.is_hub;
  is_isolated_ = leafs_.options().isolate_interest || connect_.isolate;
  if (const std::string refusal = leafs_.reason_to_refuse(*this, connect_); !refusal.empty()) {
    leafs_.log().info(log_name() + " - " + refusal);
    state_ = State::AwaitingAnswer;
    send_info(true);
    return close_later("Connection Refused", refusal);
  }
  const bool was_waiting = state_ == State::Authenticating;
  open();
  if (was_waiting) resume();
}

// --- open ------------------------------------------------------------------------------------

void LeafLink::open() {
  state_ = State::Open;
  was_opened_ = true;
  last_activity_ = leafs_.loop().clock().wall_now();
  if (is_solicited_ && dialer_ != nullptr) {
    outgoing_.deny(dialer_->config().deny_exports);
    incoming_.deny(dialer_->config().deny_imports);
    announced_.deny(dialer_->config().deny_imports);
  } else {
    apply_user_rules();
  }
  deny_jetstream();
  leafs_.evict_duplicates(*this);
  if (!is_solicited_) send_info(true);
  leafs_.on_link_opened(*this);
  announce_everything();
  const Duration spread(static_cast<int64_t>(leafs_.random().below(200'000'000)));
  timer_.start(std::min<Duration>(kFirstLeafPingAfter + spread, leafs_.settings().ping_interval));
}

// Of an accepted link: its user publishes what comes in and subscribes to what goes out.
void LeafLink::apply_user_rules() {
  outgoing_.deny(connect_.deny_pub);
  if (user_ == nullptr || user_->permissions == nullptr) return;
  const auth::PermissionRules& rules = user_->permissions->rules();
  const protocol::LeafSubjects publish = subjects_of(rules.publish);
  const protocol::LeafSubjects subscribe = subjects_of(rules.subscribe);
  incoming_.add(&publish);
  announced_.add(&publish);
  outgoing_.add(&subscribe);
}

// A request to JetStream is for the one of its own side unless it names a domain.
void LeafLink::deny_jetstream() {
  const Settings& settings = leafs_.settings();
  const bool is_system = leafs_.is_system_account(*account_);
  const bool differ = settings.jetstream_domain != remote_domain_;
  outgoing_.deny(kJetStreamSubjects);
  announced_.deny(kJetStreamSubjects);
  if (is_solicited_) incoming_.deny(kJetStreamSubjects);
  if (is_system) {
    outgoing_.deny(kSystemJetStreamSubjects);
    announced_.deny(kSystemJetStreamSubjects);
    if (is_solicited_) incoming_.deny(kSystemJetStreamSubjects);
    leafs_.log().info(log_name() + " - System account connected from " + remote_name_);
    leafs_.log().info(log_name() + " - JetStream not extended, domains differ");
  } else if (differ) {
    leafs_.log().info(log_name() + " - JetStream using domains: local \"" +
                      settings.jetstream_domain + "\", remote \"" + remote_domain_ + "\"");
  }
  // What is meant for this domain stays here, should the other side have one of the same name.
  if (differ && !settings.jetstream_domain.empty() && settings.jetstream_api_level > 0) {
    outgoing_.deny({"$JS." + settings.jetstream_domain + ".API.>"});
  }
}

void LeafLink::handle_sub(const protocol::LeafCommand& command) {
  trace("<<-", "LS+ " + subscription_key(command));
  const std::string_view subject = command.subject;
  const bool is_loop_subject = subject.starts_with(kLoopSubjectPrefix);
  if (!subject::is_valid(subject)) return close_later("Protocol Violation", "Invalid Subject");
  if (is_loop_subject && subject == leafs_.loop_subject(*account_)) {
    if (dialer_ != nullptr) dialer_->delay_next(kLongDelay);
    const std::string text = quoted("Loop detected for leafnode account=", account_->name(),
                                    ". Delaying attempt to reconnect for 30s");
    leafs_.log().error(log_name() + " - " + text);
    return close_later("Protocol Violation", text);
  }
  if (!is_loop_subject && subject::is_literal(subject) && !outgoing_.allows(subject)) {
    const bool is_forbidden = !is_solicited_ && user_ != nullptr && user_->permissions != nullptr &&
                              !user_->permissions->may_subscribe(subject, command.queue);
    if (is_forbidden && !is_spoke_) violate("Subscription", subject);
    return;
  }
  const std::string key = subscription_key(command);
  const uint64_t weight = command.queue.empty() ? 1 : command.weight;
  if (const auto known = subscriptions_.find(key); known != subscriptions_.end()) {
    Subscription& subscription = *known->second;
    const auto change = static_cast<int64_t>(weight) - static_cast<int64_t>(subscription.delivered);
    subscription.delivered = weight;
    if (change != 0 && account_->observer() != nullptr) {
      account_->observer()->on_interest_changed(*account_, subject, command.queue, subscription,
                                                change);
    }
    return;
  }
  const uint32_t limit = leafs_.settings().max_subscriptions;
  if (limit > 0 && subscriptions_.size() >= limit) {
    return close_later("Maximum Subscriptions Exceeded", "maximum subscriptions exceeded");
  }
  auto subscription = std::make_unique<Subscription>();
  subscription->kind = Subscription::Kind::Leaf;
  subscription->leaf = this;
  subscription->delivered = weight;
  // Other loops ask their own members first.
  subscription->has_delivery_filter = !command.queue.empty();
  leafs_.shard().add_interest(*account_, subject, command.queue, *subscription);
  subscriptions_.emplace(key, std::move(subscription));
}

void LeafLink::handle_unsub(const protocol::LeafCommand& command) {
  trace("<<-", "LS- " + subscription_key(command));
  const auto known = subscriptions_.find(subscription_key(command));
  if (known == subscriptions_.end()) return;
  leafs_.shard().remove_interest(*account_, *known->second);
  subscriptions_.erase(known);
}

void LeafLink::handle_message(const protocol::LeafCommand& command) {
  ++traffic_.in_msgs;
  traffic_.in_bytes += command.payload.size();
  last_activity_ = leafs_.loop().clock().wall_now();
  if (!is_internal_reply(command.subject) && !incoming_.allows(command.subject)) {
    if (!is_spoke_) violate("Publish", command.subject);
    return;
  }
  Message message;
  message.subject = command.subject;
  message.reply = command.reply;
  message.payload = command.payload;
  message.size_text = command.size_text;
  message.header_size = command.header_size;
  message.from_leaf = this;
  message.leaf_queues = command.queues;
  if (const size_t at = shown_subject_at(command.reply); at != std::string_view::npos) {
    message.route = command.subject;
    message.subject = command.reply.substr(at + 1);
    message.reply = command.reply.substr(0, at);
  }
  TraceScope trace(leafs_.shard());
  if (command.header_size > 0) {
    MessageTrace::Ingress ingress{MessageTrace::Kind::Leaf, id_, remote_name_, {},
                                  std::string(message.subject), {}};
    const bool is_routed = trace.begin(
        std::move(ingress), *account_, command.payload.substr(0, command.header_size),
        command.payload.size(),
        [this](std::string_view destination) { return incoming_.allows(destination); });
    if (!is_routed) return;
    message.trace = trace.get();
  }
  std::string mapped;
  if (account_->routes() != nullptr && account_->routes()->has_mappings()) {
    mapped = account_->routes()->map(message.routed_by());
    if (!mapped.empty() && message.trace != nullptr) {
      message.trace->add_mapping(mapped, leafs_.loop().clock().wall_now());
    }
    if (!mapped.empty()) {
      (message.route.empty() ? message.subject : message.route) = mapped;
      message.to_any_queue = command.queues.empty();
    }
  }
  leafs_.shard().publish(*account_, nullptr, message);
}

// The other side has to know what it may do, so it is wrong about it: it is cut off.
void LeafLink::violate(std::string_view action, std::string_view subject) {
  if (dialer_ != nullptr) dialer_->delay_next(kLongDelay);
  leafs_.log().error(log_name() + " - " +
                     quoted(std::string(action) + " Violation on ", subject,
                            " - Check other side configuration"));
  close_later("Protocol Violation",
              quoted("Permissions Violation for " + std::string(action) + " to ", subject));
}

void LeafLink::handle_error(std::string_view text) {
  leafs_.log().error(log_name() + " - Leafnode Error '" + std::string(text) + "'");
  const auto says = [text](std::string_view what) { return text.find(what) != text.npos; };
  Duration delay{};
  if (says("remote leafnode has same cluster name") || says("Permissions Violation")) {
    delay = kLongDelay;
  } else if (says("minimum version required")) {
    delay = kVersionDelay;
  } else if (says("Loop detected")) {
    delay = kLongDelay;
    close_later("Protocol Violation");
  }
  if (delay > Duration() && dialer_ != nullptr) dialer_->delay_next(delay);
}

}  // namespace brokkr::broker
