#include "broker/message_trace.h"

#include <algorithm>

#include "auth/account_rules.h"
#include "auth/permissions.h"
#include "base/bytes.h"
#include "base/json.h"
#include "broker/connection.h"
#include "broker/leaf/link.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/system/identity.h"
#include "broker/system/system_services.h"
#include "protocol/encode.h"
#include "protocol/header_edit.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

constexpr std::string_view kDestination = "Nats-Trace-Dest";
constexpr std::string_view kOnly = "Nats-Trace-Only";
constexpr std::string_view kOrigin = "Nats-Trace-Origin-Account";
constexpr std::string_view kHop = "Nats-Trace-Hop";
constexpr std::string_view kTraceParent = "traceparent";
// No subject, so that nobody is asked for by it.
constexpr std::string_view kDisabled = "trace disabled";
constexpr uint8_t kSampled = 1;
constexpr int kPerCent = 100;

// "00-<trace>-<span>-01": the last part's lowest bit says that it is sampled.
bool is_sampled(std::string_view value) {
  const auto parts = split(value, '-');
  if (parts.size() != 4 || parts[3].size() != 2) return false;
  uint8_t flags = 0;
  for (const char c : parts[3]) {
    const char lower = to_lower(c);
    const bool is_digit = lower >= '0' && lower <= '9';
    if (!is_digit && (lower < 'a' || lower > 'f')) return false;
    flags = static_cast<uint8_t>(flags << 4 | (is_digit ? lower - '0' : lower - 'a' + 10));
  }
  return flags < 0x80 && (flags & kSampled) != 0;
}

std::string_view strip_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

json::Writer begin_event(std::string_view type, WallTime time) {
  json::Writer out;
  out.begin_object().field("type", type).field("ts", format_rfc3339(time));
  return out;
}

bool is_true(std::string_view value) {
  const std::string lower = to_lower(value);
  return lower == "1" || lower == "true" || lower == "on";
}

// Where the account wants messages with an external trace told, if this one is among the share it
// wants; empty: not at all.
std::string external_destination(Shard& shard, const Account& account) {
  const auto rules = shard.server().account_rules(account.name());
  if (rules == nullptr || rules->settings.trace_destination.empty()) return {};
  const int sampling = rules->settings.trace_sampling;
  const bool is_wanted = sampling <= 0 || sampling >= kPerCent ||
                         shard.random().below(kPerCent) < static_cast<uint64_t>(sampling);
  return is_wanted ? rules->settings.trace_destination : std::string();
}

}  // namespace

bool may_hold_trace_wish(std::string_view block) {
  size_t at = block.find('\n');
  while (at != std::string_view::npos && at + 1 < block.size()) {
    const std::string_view line = block.substr(at + 1);
    if (line.starts_with("Nats-Trace-")) return true;
    if (to_lower(line.front()) == 't' && line.size() > kTraceParent.size() &&
        equals_ignore_case(line.substr(0, kTraceParent.size()), kTraceParent)) {
      return true;
    }
    at = block.find('\n', at + 1);
  }
  return false;
}

TraceWish read_trace_wish(std::string_view block) {
  TraceWish wish;
  bool is_external = false;
  size_t at = block.find("\r\n");
  while (at != std::string_view::npos) {
    const size_t begin = at + 2;
    at = block.find("\r\n", begin);
    if (at == std::string_view::npos) break;
    const std::string_view line = block.substr(begin, at - begin);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = strip_blanks(line.substr(colon + 1));
    if (name.empty() || value.empty()) continue;
    if (equals_ignore_case(name, kTraceParent)) is_external = is_external || is_sampled(value);
    if (name == kDestination && wish.destination.empty()) {
      if (value == kDisabled) return {};
      wish.destination = value;
    }
    wish.headers[std::string(name)].emplace_back(value);
  }
  wish.is_external = is_external && wish.destination.empty();
  if (wish.destination.empty() && !is_external) return {};
  const auto only = wish.headers.find(kOnly);
  wish.is_only = !wish.is_external && only != wish.headers.end() && is_true(only->second.front());
  wish.has_origin = wish.headers.contains(kOrigin);
  return wish;
}

std::string without_trace_wish(std::string_view block) {
  std::string out;
  size_t begin = 0;
  while (begin < block.size()) {
    const size_t end = std::min(block.find("\r\n", begin), block.size() - 2) + 2;
    const std::string_view line = block.substr(begin, end - begin);
    begin = end;
    if (line == "\r\n") break;
    if (line.starts_with(kDestination) && line.substr(kDestination.size()).starts_with(":")) continue;
    out.append(line);
  }
  out.append(kDestination).append(": ").append(kDisabled).append("\r\n\r\n");
  return out;
}

MessageTrace::MessageTrace(TraceWish wish, size_t message_size, Ingress ingress)
    : wish_(std::move(wish)), message_size_(message_size), ingress_(std::move(ingress)) {}

void MessageTrace::fail(std::string_view error) {
  const std::lock_guard lock(mutex_);
  error_ = error;
}

void MessageTrace::add(std::string event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
}

void MessageTrace::add_mapping(std::string_view to, WallTime now) {
  json::Writer out = begin_event("sm", now);
  out.field("to", to).end_object();
  add(out.take());
}

void MessageTrace::add_stream_export(std::string_view account, std::string_view to, WallTime now) {
  json::Writer out = begin_event("se", now);
  out.field("acc", account).field("to", to).end_object();
  add(out.take());
}

void MessageTrace::add_service_import(std::string_view account, std::string_view from,
                                      std::string_view to, WallTime now) {
  json::Writer out = begin_event("si", now);
  out.field("acc", account).field("from", from).field("to", to).end_object();
  add(out.take());
}

void MessageTrace::add_jetstream(std::string_view stream, std::string_view subject,
                                 bool no_interest, std::string_view error, WallTime now) {
  json::Writer out = begin_event("js", now);
  out.field("stream", stream);
  if (!subject.empty()) out.field("subject", subject);
  if (no_interest) out.field("nointerest", true);
  if (!error.empty()) out.field("error", error);
  out.end_object();
  add(out.take());
}

void MessageTrace::add_egress(const Egress& egress, WallTime now) {
  json::Writer out = begin_event("eg", now);
  out.field("kind", static_cast<int>(egress.kind)).field("cid", egress.id);
  const auto text = [&out](std::string_view name, std::string_view value) {
    if (!value.empty()) out.field(name, value);
  };
  text("name", egress.name);
  text("hop", egress.hop);
  if (egress.account != ingress_.account) text("acc", egress.account);
  text("sub", egress.subscription);
  text("queue", egress.queue);
  text("error", egress.error);
  out.end_object();
  add(out.take());
}

std::string MessageTrace::next_hop() {
  const std::lock_guard lock(mutex_);
  const auto before = wish_.headers.find(kHop);
  const bool is_first = ingress_.kind == Kind::Client || before == wish_.headers.end();
  return (is_first ? "" : before->second.front() + ".") + std::to_string(++hops_);
}

std::string MessageTrace::render(Shard& shard) {
  const std::lock_guard lock(mutex_);
  json::Writer out;
  out.begin_object().key("server").begin_object();
  shard.server().system().identity().write(out);
  out.end_object().key("request").begin_object().key("header").begin_object();
  for (const auto& [name, values] : wish_.headers) {
    out.key(name).begin_array();
    for (const std::string& value : values)
      out.string(value);
    out.end_array();
  }
  out.end_object();
  if (message_size_ != 0) out.field("msgsize", uint64_t{message_size_});
  out.end_object();
  if (hops_ != 0) out.field("hops", uint64_t{hops_});
  json::Writer first = begin_event("in", ingress_.time);
  first.field("kind", static_cast<int>(ingress_.kind)).field("cid", ingress_.id);
  if (!ingress_.name.empty()) first.field("name", ingress_.name);
  first.field("acc", ingress_.account).field("subj", ingress_.subject);
  if (!error_.empty()) first.field("error", error_);
  first.end_object();
  out.key("events").begin_array().raw(first.text());
  for (const std::string& event : events_)
    out.raw(event);
  out.end_array().end_object();
  return out.take();
}

void MessageTrace::release(Shard& shard) {
  if (holds_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::string text = render(shard);
  shard.publish(shard.account(ingress_.account), wish_.destination, {}, {}, text);
  delete this;
}

std::optional<bool> Shard::trace_delivery(const Subscription& subscription, const Message& message,
                                          const Connection* from) {
  const Connection& to = *subscription.connection;
  MessageTrace::Egress egress;
  egress.id = to.id();
  egress.name = to.connect_options().name;
  egress.account = to.account()->name();
  if (subscription.is_added()) {
    egress.subscription = subscription.pattern();
    egress.queue = subscription.queue();
  }
  if (!to.is_open()) {
    egress.error = MessageTrace::kClientClosed;
  } else if (&to == from && !to.wants_echo()) {
    egress.error = MessageTrace::kNoEcho;
  } else if (subscription.has_delivery_filter &&
             !to.permissions()->may_receive(message.subject, subscription.queue())) {
    egress.error = MessageTrace::kDenied;
  } else if (subscription.is_closing) {
    egress.error = MessageTrace::kSubscriptionClosed;
  }
  message.trace->add_egress(egress, loop_.clock().wall_now());
  if (!egress.error.empty()) return false;
  return message.trace->is_only() ? std::optional<bool>(true) : std::nullopt;
}

TraceScope::~TraceScope() {
  if (trace_ != nullptr) trace_->release(shard_);
}

bool TraceScope::begin(Connection& from, std::string_view subject, std::string_view header_block,
                       size_t message_size) {
  if (!may_hold_trace_wish(header_block)) return true;
  MessageTrace::Ingress ingress;
  ingress.id = from.id();
  ingress.name = from.connect_options().name;
  ingress.subject = subject;
  return begin(std::move(ingress), *from.account(), header_block, message_size,
               [&from](std::string_view destination) {
                 if (from.may_trace_to(destination)) return true;
                 from.send_error("Permissions Violation for Publish to \"" +
                                 std::string(destination) + "\"");
                 return false;
               });
}

bool TraceScope::begin(MessageTrace::Ingress ingress, const Account& account,
                       std::string_view header_block, size_t message_size,
                       FunctionRef<bool(std::string_view subject)> may_write) {
  if (!may_hold_trace_wish(header_block)) return true;
  TraceWish wish = read_trace_wish(header_block);
  const bool is_only = wish.is_only;
  if (wish.is_external) wish.destination = external_destination(shard_, account);
  if (wish.destination.empty()) return !is_only;
  const std::string who = "cid:" + std::to_string(ingress.id) + " - ";
  if (wish.has_origin) {
    shard_.log().error(who + "Message tracing disabled because of header \"" +
                       std::string(kOrigin) + "\"");
    return !is_only;
  }
  if (!subject::is_valid_literal(wish.destination)) {
    shard_.log().error(who + "Destination \"" + wish.destination +
                       "\" is not valid, won't be able to trace events");
    return !is_only;
  }
  if (!may_write(wish.destination)) return false;
  ingress.account = account.name();
  ingress.time = shard_.loop().clock().wall_now();
  trace_ = new MessageTrace(std::move(wish), message_size, std::move(ingress));
  return true;
}

// A leaf gets the message even when it is only traced: the other server goes on telling.
void Shard::send_traced_to_leaf(LeafLink& link, const Message& message, std::string_view queues) {
  MessageTrace::Egress egress;
  egress.kind = MessageTrace::Kind::Leaf;
  egress.id = link.id();
  egress.name = link.remote_name();
  if (!link.is_remote_tracing()) {
    // It would deliver what is only to be traced.
    const bool is_only = message.trace->is_only();
    egress.error = is_only ? MessageTrace::kRemoteUnable : MessageTrace::kRemoteSilent;
    message.trace->add_egress(egress, loop_.clock().wall_now());
    if (!is_only) link.send_message(message, queues);
    return;
  }
  egress.hop = message.trace->next_hop();
  std::string bytes(message.payload.substr(0, message.header_size));
  protocol::set_header(bytes, kHop, egress.hop);
  Message onward = message;
  onward.header_size = static_cast<uint32_t>(bytes.size());
  bytes.append(message.payload.substr(message.header_size)).append("\r\n");
  onward.payload = std::string_view(bytes).substr(0, bytes.size() - 2);
  const protocol::SizeText size_text(onward.payload.size());
  onward.size_text = size_text.view();
  message.trace->add_egress(egress, loop_.clock().wall_now());
  link.send_message(onward, queues);
}

}  // namespace brokkr::broker
