// Messages between accounts, and the accounts of a loop.
#include "auth/account_rules.h"
#include "auth/authenticator.h"
#include "broker/account_routes.h"
#include "broker/client_info.h"
#include "broker/delivery.h"
#include "broker/message_trace.h"
#include "broker/server.h"
#include "broker/service_replies.h"
#include "broker/shard.h"
#include "protocol/header_edit.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

// Accounts a request may pass through; the table of accounts has no cycles, this is the second bolt.
constexpr uint32_t kCrossingsMax = 32;
constexpr std::string_view kJetStreamPrefix = "$JS.";  // its advisories name the client
// Tells a service who asks. Only the server says it: what a client writes there is taken out.
constexpr std::string_view kRequestInfo = "Nats-Request-Info";

// Whose subscription it is; empty for the server's own.
std::string_view account_of(const Subscription& subscription) {
  if (subscription.kind != Subscription::Kind::Client) return {};
  return subscription.connection->account()->name();
}

}  // namespace

Account::Account(std::string name, uint64_t hash_seed)
    : name_(std::move(name)), interest_(hash_seed) {}

Account::~Account() = default;

void Account::set_routes(std::unique_ptr<AccountRoutes> routes) { routes_ = std::move(routes); }

Account& Shard::account(std::string_view name) {
  const auto found = accounts_by_name_.find(name);
  if (found != accounts_by_name_.end()) return *found->second;
  Account& made =
      *accounts_.emplace_back(std::make_unique<Account>(std::string(name), random_.next()));
  accounts_by_name_.emplace(made.name(), &made);
  apply_rules(made);
  return made;
}

// Makes the account's mappings and imports what the snapshot at hand says. May make other accounts.
void Shard::apply_rules(Account& account) {
  std::shared_ptr<const auth::AccountRules> rules = authenticator()->accounts()->find(account.name());
  if (rules.get() == account.rules()) return;
  if (rules != nullptr && account.rules() != nullptr && *rules == *account.rules()) return;
  if (account.routes() != nullptr) {
    replies_->forget(account);
    account.set_routes(nullptr);
  }
  account.set_rules(rules);
  if (rules == nullptr) return;
  if (rules->exports_services) replies_->listen(account);
  if (!rules->has_routes()) return;
  account.set_routes(std::make_unique<AccountRoutes>(*this, account, rules));
  // Those who subscribed before see the imports as if they came after.
  std::vector<Subscription*> known;
  account.interest().for_each([&](const subject::Interest& interest) {
    const auto add = [&](const subject::SubscriberList& list) {
      for (subject::Subscriber* one : list) known.push_back(static_cast<Subscription*>(one));
    };
    add(interest.subscribers());
    for (const auto* group = interest.first_group(); group != nullptr; group = group->next()) {
      add(group->members());
    }
  });
  for (Subscription* subscription : known) account.routes()->on_added(*subscription);
}

void Shard::drop_routes() {
  for (const auto& account : accounts_) account->set_routes(nullptr);
}

// The origin gets the message under its own account's subject. The text of a message that is routed
// by another subject than it shows stays as it is.
bool Shard::deliver_shadow(const ShadowSubscription& shadow, Delivery& delivery) {
  const Message& message = delivery.message;
  const std::string local = shadow.stream->subject.apply(message.routed_by());
  if (local.empty() || !subject::matches(shadow.origin->pattern(), local)) return false;
  Message shown = message;
  (message.route.empty() ? shown.subject : shown.route) = local;
  if (message.trace != nullptr) {
    message.trace->add_stream_export(account_of(*shadow.origin), local,
                                     loop_.clock().wall_now());
    if (!shadow.stream->rule.allow_trace) {
      if (message.trace->is_only()) return true;
      shown.trace = nullptr;
    }
  }
  Delivery inner(delivery.from, shown);
  const bool delivered = deliver(*shadow.origin, inner);
  send_to_leafs(inner);
  delivery.delivered_here |= inner.delivered_here;
  return delivered;
}

// Takes the message to every service that was found since `first`.
bool Shard::cross(size_t first, Connection* from, const Message& message) {
  const std::vector<ServiceRoute*> routes(crossings_.begin() + static_cast<std::ptrdiff_t>(first),
                                          crossings_.end());
  crossings_.resize(first);
  bool delivered = false;
  for (ServiceRoute* route : routes) delivered |= cross(*route, from, message);
  return delivered;
}

bool Shard::cross(ServiceRoute& service, Connection* from, const Message& message) {
  const std::string subject = service.subject.apply(message.routed_by());
  if (subject.empty()) return false;
  MessageTrace* trace = message.trace;
  if (trace != nullptr) {
    trace->add_service_import(service.exporter.name(), message.subject, subject,
                              loop_.clock().wall_now());
    if (!service.rule.allow_trace && trace->is_only()) return true;
    if (!service.rule.allow_trace) trace = nullptr;
  }
  if (crossing_ >= kCrossingsMax) {
    log_.error("request on \"" + std::string(message.subject) +
               "\" passes through too many accounts, it was dropped");
    return false;
  }
  std::string requester;
  if (from != nullptr) {
    requester = service.rule.share ? client_info(*from) : brief_client_info(*from);
  } else if (!message.client.empty() && service.rule.share) {
    requester = message.client;
  }
  Message request = message;
  request.subject = subject;
  request.route = {};
  request.trace = trace;
  std::string full;
  if (from != nullptr && subject.starts_with(kJetStreamPrefix)) full = client_info(*from);
  if (from != nullptr) request.client = full;
  request.from = nullptr;
  request.from_leaf = nullptr;
  request.leaf_queues = {};
  std::string reply;
  if (!message.reply.empty()) {
    reply = replies_->open(service, message, requester);
    if (reply.empty()) return false;  // the requester hears at once that nobody serves it
    request.reply = reply;
  }
  std::string headers(message.payload.substr(0, message.header_size));
  if (!headers.empty()) protocol::remove_header_any_case(headers, kRequestInfo);
  if (!requester.empty()) protocol::append_header(headers, kRequestInfo, requester);
  std::string bytes = std::move(headers);
  request.header_size = static_cast<uint32_t>(bytes.size());
  bytes.append(message.payload.substr(message.header_size)).append("\r\n");
  request.payload = std::string_view(bytes).substr(0, bytes.size() - 2);
  const protocol::SizeText size_text(request.payload.size());
  request.size_text = size_text.view();
  ++crossing_;
  const bool delivered = route(service.exporter, nullptr, request);
  --crossing_;
  if (!delivered && !reply.empty()) replies_->cancel(reply);
  return delivered;
}

void Shard::pass_on(Account& account, std::string_view subject, const Message& message) {
  Message onward = message;
  // A message that is routed by another subject than it shows stays what it shows.
  (message.route.empty() ? onward.subject : onward.route) = subject;
  onward.from = nullptr;
  route(account, nullptr, onward);
}

}  // namespace brokkr::broker
