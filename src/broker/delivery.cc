// Routing: from a message to the output of everyone who is interested. The hot path.
#include <algorithm>

#include "auth/permissions.h"
#include "broker/delivery.h"
#include "broker/leaf/link.h"
#include "broker/message_trace.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/system/system_services.h"
#include "protocol/encode.h"

namespace brokkr::broker {
namespace {

constexpr std::string_view kNoResponders = "NATS/1.0 503\r\n";
// How a producer is held back when a client it feeds has this share of max_pending queued.
constexpr uint64_t kStallNumerator = 3;
constexpr uint64_t kStallDenominator = 4;
constexpr Duration kStall = std::chrono::milliseconds(2);
constexpr Duration kStallOver = std::chrono::milliseconds(5);
constexpr Duration kCongestionStall = std::chrono::milliseconds(1);

// How many subscriptions a member of a group is: another loop's stand-in is as many as it has. Those
// whose messages are filtered there come in only when nobody else takes the message: a refused one
// would come back behind later ones. So do leaves: a member near by is preferred.
uint64_t weight_of(const subject::Subscriber& member) {
  const auto& subscription = static_cast<const Subscription&>(member);
  if (subscription.kind == Subscription::Kind::Leaf) return 0;
  const bool is_other_loop = subscription.kind == Subscription::Kind::OtherLoop;
  if (is_other_loop && subscription.has_delivery_filter) return 0;
  return is_other_loop ? subscription.delivered : 1;
}

// A line of at most `size_max` bytes, as `write` puts it.
template <typename Write>
std::string make_line(size_t size_max, Write write) {
  std::string line(size_max, '\0');
  line.resize(static_cast<size_t>(write(line.data()) - line.data()));
  return line;
}

// The same straight into the output. Lines longer than a chunk of it exist where max_control_line
// allows them.
template <typename Write>
void put_line(OutputBuffer& out, size_t size_max, Write write) {
  if (size_max > OutputBuffer::kContiguousMax) return out.append(make_line(size_max, write));
  out.commit(write(out.reserve(size_max)));
}

bool has_queue(std::string_view queues, std::string_view name) {
  while (!queues.empty()) {
    if (protocol::next_queue(queues) == name) return true;
  }
  return false;
}

}  // namespace

bool Shard::publish(Account& account, Connection* from, const Message& message) {
  ++stats_.traffic.in_msgs;
  stats_.traffic.in_bytes += message.payload.size();
  if (from != nullptr && message.subject.starts_with(kSystemRequestPrefix) &&
      server_.system().take_request(*this, account, *from, message)) {
    return true;
  }
  return route(account, from, message);
}

bool Shard::route(Account& account, Connection* from, const Message& message) {
  const subject::Match match = account.interest().match(message.routed_by());
  Delivery delivery(from, message);
  const size_t first_crossing = crossings_.size();
  deepest_output_ = 0;
  if (!match.empty()) {
    ++delivering_;
    for (const subject::Interest* interest : match) {
      for (subject::Subscriber* subscriber : interest->subscribers()) {
        delivery.delivered |= deliver(static_cast<Subscription&>(*subscriber), delivery);
      }
      if (interest->first_group() != nullptr) gather_groups(*interest, message);
    }
    deliver_to_groups(delivery);
    --delivering_;
    send_to_leafs(delivery);
    finish_delivery(account, message, from, !delivery.delivered_here);
    if (crossings_.size() > first_crossing) delivery.delivered |= cross(first_crossing, from, message);
  }
  if (!delivery.delivered && from != nullptr && !message.reply.empty() &&
      from->wants_no_responders()) {
    answer_no_responders(*from, message.subject, message.reply);
  }
  return delivery.delivered;
}

// What may not happen while the matched interests are being walked.
void Shard::finish_delivery(Account& account, const Message& message, Connection* from,
                            bool only_other_loops) {
  if (links_.has_marks()) {
    if (from != nullptr && links_.has_group_marks()) from->on_forwarded_to_group();
    const bool wants_to_know = only_other_loops && from != nullptr && from->wants_no_responders();
    links_.forward(account, message, {wants_to_know ? from->id() : 0, false});
    if (from != nullptr && links_.is_congested()) from->stall(kCongestionStall);
  }
  if (delivering_ > 0 || ended_.empty()) return;
  for (const auto& [connection, subscription] : ended_) {
    connection->remove_subscription(subscription);
  }
  ended_.clear();
}

bool Shard::publish(Account& account, std::string_view subject, std::string_view reply,
                    std::string_view headers, std::string_view body) {
  return deliver(account, {}, subject, reply, headers, body);
}

bool Shard::deliver(Account& account, std::string_view route_subject, std::string_view subject,
                    std::string_view reply, std::string_view headers, std::string_view body) {
  std::string bytes = std::move(scratch_);  // a handler may publish from within
  bytes.clear();
  bytes.append(headers).append(body).append("\r\n");
  Message message;
  message.subject = subject;
  message.route = route_subject;
  message.reply = reply;
  message.payload = std::string_view(bytes).substr(0, bytes.size() - 2);
  const protocol::SizeText size_text(message.payload.size());
  message.size_text = size_text.view();
  message.header_size = static_cast<uint32_t>(headers.size());
  const bool delivered = route(account, nullptr, message);
  if (bytes.capacity() <= kScratchMax) scratch_ = std::move(bytes);
  return delivered;
}

bool Shard::deliver_forwarded(const ForwardedMessage& forwarded) {
  Account& target = account(forwarded.account);
  Message message;
  message.subject = forwarded.subject;
  message.route = forwarded.route;
  message.client = forwarded.client;
  message.reply = forwarded.reply;
  message.payload = forwarded.payload;
  message.header_size = forwarded.header_size;
  message.trace = forwarded.trace;
  const protocol::SizeText size_text(message.payload.size());
  message.size_text = size_text.view();
  Delivery delivery(nullptr, message);
  const subject::Match match = target.interest().match(message.routed_by());
  ++delivering_;
  for (const subject::Interest* interest : match) {
    if (!forwarded.to_plain) break;
    for (subject::Subscriber* subscriber : interest->subscribers()) {
      auto& subscription = static_cast<Subscription&>(*subscriber);
      // The loop the message came from has seen to services.
      if (subscription.kind == Subscription::Kind::OtherLoop) continue;
      if (subscription.kind == Subscription::Kind::Service) continue;
      delivery.delivered |= deliver(subscription, delivery);
    }
  }
  for (const auto& [pattern, queue] : forwarded.groups) {
    delivery.delivered |= deliver_to_chosen_group(match, pattern, queue, forwarded.is_retry, delivery);
  }
  --delivering_;
  send_to_leafs(delivery);
  if (links_.has_marks()) links_.forward(target, message, {forwarded.requester, true});
  finish_delivery(target, message, nullptr, false);
  if (message.trace != nullptr) message.trace->release(*this);
  return delivery.delivered;
}

bool Shard::deliver(Subscription& subscription, Delivery& delivery) {
  switch (subscription.kind) {
    case Subscription::Kind::Client: return deliver_to_client(subscription, delivery);
    case Subscription::Kind::Internal: {
      delivery.delivered_here = true;
      if (delivery.message.trace != nullptr && delivery.message.trace->is_only() &&
          !subscription.internal->takes_traces_) {
        return true;
      }
      const LoopLinks::MarkHold hold(links_);  // the handler may publish
      subscription.internal->handler_(delivery.message);
      return true;
    }
    case Subscription::Kind::Service:
      crossings_.push_back(subscription.service);
      return false;
    case Subscription::Kind::Shadow:
      return deliver_shadow(static_cast<ShadowSubscription&>(subscription), delivery);
    case Subscription::Kind::OtherLoop:
      links_.mark_plain(subscription.other_loop);
      return true;
    case Subscription::Kind::Leaf: return deliver_to_leaf(subscription, subscription.queue(), delivery);
  }
  return false;
}

bool Shard::deliver_to_client(Subscription& subscription, Delivery& delivery) {
  Connection& to = *subscription.connection;
  const Message& message = delivery.message;
  if (message.trace != nullptr) {
    if (const auto told = trace_delivery(subscription, message, delivery.from)) {
      delivery.delivered_here |= *told;
      return *told;
    }
  }
  if (!to.is_open() || subscription.is_closing) return false;
  if (&to == delivery.from && !to.wants_echo()) return false;
  if (subscription.has_delivery_filter &&
      !to.permissions()->may_receive(message.subject, subscription.queue())) {
    return false;
  }
  delivery.delivered_here = true;
  ++subscription.delivered;
  if (subscription.max_messages > 0 && subscription.delivered >= subscription.max_messages) {
    subscription.is_closing = true;
    ended_.emplace_back(&to, &subscription);
  }
  OutputBuffer& out = to.output();
  const bool with_headers = message.header_size > 0 && to.wants_headers();
  const std::string_view payload =
      message.header_size == 0 || with_headers ? message.payload : delivery.body();
  const size_t line_max =
      protocol::message_line_size_max(message.subject, subscription.sid, message.reply);
  const auto write_line = [&](char* line) {
    if (with_headers) {
      return protocol::write_hmsg_line(line, message.subject, subscription.sid, message.reply,
                                       delivery.header_text.view(), message.size_text);
    }
    const std::string_view size =
        message.header_size > 0 ? delivery.body_text.view() : message.size_text;
    return protocol::write_msg_line(line, message.subject, subscription.sid, message.reply, size);
  };
  put_line(out, line_max, write_line);
  // The CRLF that closed the publisher's payload closes this one.
  out.append({payload.data(), payload.size() + 2});
  queued_bytes_ += line_max + payload.size();
  deepest_output_ = std::max(deepest_output_, out.pending());
  ++stats_.traffic.out_msgs;
  stats_.traffic.out_bytes += payload.size();
  to.on_queued(payload.size());
  if (log_.is_on(LogLevel::Trace)) {
    to.trace_delivery(make_line(line_max, write_line), payload,
                      with_headers ? message.header_size : 0);
  }
  if (to.reply_grants() != nullptr && !message.reply.empty()) {
    to.reply_grants()->grant(message.reply, loop_.now());
  }
  if (delivery.from != nullptr && delivery.from != &to &&
      out.pending() * kStallDenominator > settings().max_pending * kStallNumerator) {
    stall_producer(*delivery.from, to);
  }
  return true;
}

void Shard::stall_producer(Connection& from, const Connection& slow) {
  if (settings().no_fast_producer_stall) return;
  from.stall(slow.pending_bytes() > settings().max_pending ? kStallOver : kStall);
}

// A queue group is one name, on however many patterns its members subscribed: gathers the lists of
// members that belong together, in order of their names.
void Shard::gather_groups(const subject::Interest& interest, const Message& message) {
  for (const subject::QueueGroup* group = interest.first_group(); group != nullptr;
       group = group->next()) {
    const bool is_chosen_there = message.from_leaf != nullptr && !message.to_any_queue;
    if (is_chosen_there && !has_queue(message.leaf_queues, group->name())) continue;
    groups_.push_back({group, interest.pattern()});
  }
}

void Shard::deliver_to_groups(Delivery& delivery) {
  if (groups_.empty()) return;
  // An internal subscription may publish from within, so the list is this call's own.
  std::vector<MatchedGroup> groups;
  groups.swap(groups_);
  if (groups.size() > 1) {
    std::stable_sort(groups.begin(), groups.end(), [](const MatchedGroup& a, const MatchedGroup& b) {
      return a.group->name() < b.group->name();
    });
  }
  for (size_t first = 0; first < groups.size();) {
    size_t last = first + 1;
    while (last < groups.size() && groups[last].group->name() == groups[first].group->name()) ++last;
    delivery.delivered |= deliver_to_group({groups.data() + first, last - first}, delivery);
    first = last;
  }
  groups.clear();
  if (groups_.empty()) groups_.swap(groups);  // keeps the memory
}

// One member: each of this loop's, and each that another loop stands for, has the same chance. A
// member that cannot take the message passes it to the next.
bool Shard::deliver_to_group(std::span<const MatchedGroup> lists, Delivery& delivery) {
  if (lists.size() == 1 && links_.is_alone()) {
    return deliver_to_local_member(lists[0].group->members(), delivery) ||
           deliver_to_leaf_member(lists, delivery);
  }
  uint64_t weight = 0;
  for (const MatchedGroup& list : lists) {
    for (const subject::Subscriber* member : list.group->members()) weight += weight_of(*member);
  }
  if (deliver_to_chosen(lists, random_.below(weight), delivery)) return true;
  for (const MatchedGroup& list : lists) {
    if (deliver_to_local_member(list.group->members(), delivery)) return true;
  }
  for (const bool filtered : {false, true}) {
    for (const MatchedGroup& list : lists) {
      for (subject::Subscriber* member : list.group->members()) {
        auto& subscription = static_cast<Subscription&>(*member);
        if (subscription.kind != Subscription::Kind::OtherLoop) continue;
        if (subscription.has_delivery_filter != filtered) continue;
        return deliver_to_member(subscription, list, delivery);
      }
    }
  }
  return deliver_to_leaf_member(lists, delivery);
}

// The member at `pick` when each is laid out as often as it counts.
bool Shard::deliver_to_chosen(std::span<const MatchedGroup> lists, uint64_t pick,
                              Delivery& delivery) {
  for (const MatchedGroup& list : lists) {
    for (subject::Subscriber* member : list.group->members()) {
      const uint64_t share = weight_of(*member);
      if (pick < share) return deliver_to_member(static_cast<Subscription&>(*member), list, delivery);
      pick -= share;
    }
  }
  return false;
}

bool Shard::deliver_to_member(Subscription& member, const MatchedGroup& list, Delivery& delivery) {
  if (member.kind != Subscription::Kind::OtherLoop) return deliver(member, delivery);
  links_.mark_group(member.other_loop, list.pattern, list.group->name());
  return true;
}

// Another loop chose this one's members of `queue`, on `pattern` in the first place. When none can
// take the message, those on other patterns may, and after them a third loop's.
bool Shard::deliver_to_chosen_group(const subject::Match& match, std::string_view pattern,
                                    std::string_view queue, bool is_retry, Delivery& delivery) {
  const auto find_group = [&](const subject::Interest& interest) {
    const subject::QueueGroup* group = interest.first_group();
    while (group != nullptr && group->name() != queue) group = group->next();
    return group;
  };
  for (const bool chosen : {true, false}) {
    for (const subject::Interest* interest : match) {
      if ((interest->pattern() == pattern) != chosen) continue;
      const subject::QueueGroup* group = find_group(*interest);
      if (group != nullptr && deliver_to_local_member(group->members(), delivery)) return true;
    }
  }
  for (const subject::Interest* interest : match) {
    const MatchedGroup list{find_group(*interest), interest->pattern()};
    if (list.group != nullptr && deliver_to_leaf_member({&list, 1}, delivery)) return true;
  }
  if (is_retry) return false;
  for (const subject::Interest* interest : match) {
    const subject::QueueGroup* group = find_group(*interest);
    if (group == nullptr) continue;
    for (const subject::Subscriber* member : group->members()) {
      const auto& subscription = static_cast<const Subscription&>(*member);
      if (subscription.kind != Subscription::Kind::OtherLoop) continue;
      links_.mark_group(subscription.other_loop, interest->pattern(), queue);
      return true;
    }
  }
  return false;
}

bool Shard::deliver_to_local_member(const subject::SubscriberList& members, Delivery& delivery) {
  const size_t start = members.size() == 1 ? 0 : random_.below(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    size_t at = start + i;
    if (at >= members.size()) at -= members.size();
    auto& subscription = static_cast<Subscription&>(*members[at]);
    if (subscription.kind == Subscription::Kind::OtherLoop ||
        subscription.kind == Subscription::Kind::Leaf) {
      continue;
    }
    if (deliver(subscription, delivery)) return true;
  }
  return false;
}

// --- leaves ----------------------------------------------------------------------------------

bool Shard::deliver_to_leaf(Subscription& subscription, std::string_view queue,
                            Delivery& delivery) {
  LeafLink& link = *subscription.leaf;
  if (!link.takes(delivery.message)) return false;
  auto target = std::find_if(delivery.leafs.begin(), delivery.leafs.end(),
                             [&](const Delivery::LeafTarget& each) { return each.link == &link; });
  if (target == delivery.leafs.end()) {
    target = delivery.leafs.insert(target, {&link, {}});
  }
  if (!queue.empty()) {
    if (!target->queues.empty()) target->queues += ' ';
    target->queues += queue;
  }
  delivery.delivered_here = true;
  return true;
}

// A leaf, each as likely as it has members.
bool Shard::deliver_to_leaf_member(std::span<const MatchedGroup> lists, Delivery& delivery) {
  Subscription* chosen = nullptr;
  uint64_t weight = 0;
  for (const MatchedGroup& list : lists) {
    for (subject::Subscriber* member : list.group->members()) {
      auto& subscription = static_cast<Subscription&>(*member);
      if (subscription.kind != Subscription::Kind::Leaf) continue;
      if (!subscription.leaf->takes(delivery.message)) continue;
      weight += subscription.delivered;
      if (random_.below(weight) < subscription.delivered) chosen = &subscription;
    }
  }
  return chosen != nullptr && deliver_to_leaf(*chosen, chosen->queue(), delivery);
}

void Shard::send_to_leafs(Delivery& delivery) {
  for (const Delivery::LeafTarget& target : delivery.leafs) {
    if (delivery.message.trace != nullptr) {
      send_traced_to_leaf(*target.link, delivery.message, target.queues);
    } else {
      target.link->send_message(delivery.message, target.queues);
    }
    ++stats_.traffic.out_msgs;
    stats_.traffic.out_bytes += delivery.message.payload.size();
    const uint64_t pending = target.link->pending_bytes();
    deepest_output_ = std::max(deepest_output_, pending);
    if (delivery.from != nullptr && !settings().no_fast_producer_stall &&
        pending * kStallDenominator > settings().max_pending * kStallNumerator) {
      delivery.from->stall(kStallOver);
    }
  }
}

// Tells a requester at once that nobody listens, on its own subscription for the reply.
void Shard::answer_no_responders(Connection& from, std::string_view subject,
                                 std::string_view reply) {
  Subscription* subscription = from.find_subscription_for(reply);
  if (subscription == nullptr) return;
  std::string headers(kNoResponders);
  headers.append("Nats-Subject: ").append(subject).append("\r\n\r\n");
  const protocol::SizeText size(headers.size());
  OutputBuffer& out = from.output();
  put_line(out, protocol::message_line_size_max(reply, subscription->sid, {}), [&](char* line) {
    return protocol::write_hmsg_line(line, reply, subscription->sid, {}, size.view(), size.view());
  });
  out.append(headers);
  out.append(protocol::kCrlf);
  from.on_told();
}

}  // namespace brokkr::broker
