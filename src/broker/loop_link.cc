#include "broker/loop_link.h"

#include <algorithm>
#include <cstring>

#include "auth/account_rules.h"
#include "broker/client_info.h"
#include "broker/message_trace.h"
#include "broker/shard.h"
#include "broker/turn_budget.h"

namespace brokkr::broker {
namespace {

// Frames of a batch: a kind byte, then fields. Texts have a 32-bit length in front, numbers are in
// the machine's order: a batch never leaves the process.
enum class FrameKind : char { Message = 'M', Interest = 'I', Version = 'V', Confirmed = 'C', NoTaker = 'N' };

constexpr uint8_t kRetryMark = 1;
constexpr uint8_t kTraceMark = 2;
constexpr char kFilteredMark = 'f';
constexpr char kKeySeparator = ' ';  // no subject, queue name or account name holds a blank

template <typename T>
void put_number(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

class FrameReader {
 public:
  explicit FrameReader(std::string_view bytes) : rest_(bytes) {}
  bool at_end() const { return rest_.empty(); }
  size_t left() const { return rest_.size(); }
  template <typename T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text() { return take(number<uint32_t>()); }
  std::string_view take(size_t bytes) {
    DCHECK(rest_.size() >= bytes);
    const std::string_view out = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return out;
  }

 private:
  std::string_view rest_;
};

// Whether the other loop may ask who made the request: JetStream tells in its advisories.
bool measures_services(const Account& account) {
  const auth::AccountRules* rules = account.rules();
  if (rules == nullptr) return false;
  const auto& exports = rules->settings.service_exports;
  return std::any_of(exports.begin(), exports.end(),
                     [](const config::ServiceExport& one) { return one.latency.has_value(); });
}

bool shows_client(const Account& account, const Message& message) {
  if (message.subject.starts_with("_R_.")) return message.from != nullptr && measures_services(account);
  return message.from != nullptr && message.subject.starts_with("$JS.") &&
         !message.subject.starts_with("$JS.ACK.") &&
         !message.subject.starts_with("$JS.API.CONSUMER.MSG.NEXT.") &&
         !message.subject.starts_with("$JS.API.DIRECT.GET.");
}

std::string make_key(const Account& account, std::string_view pattern, std::string_view queue,
                     bool is_filtered) {
  std::string key(account.name());
  key += kKeySeparator;
  key += pattern;
  key += kKeySeparator;
  key += queue;
  key += kKeySeparator;
  if (is_filtered && !queue.empty()) key += kFilteredMark;
  return key;
}

}  // namespace

LoopLinks::LoopLinks(Shard& shard, uint32_t index, uint32_t loops)
    : shard_(shard), index_(index), loops_(loops), in_flight_(loops), marks_(loops) {}

LoopLinks::~LoopLinks() {
  stop();
}

void LoopLinks::connect(const std::vector<LoopLinks*>& all) {
  peers_.resize(loops_);
  for (uint32_t i = 0; i < loops_; ++i) {
    if (i != index_) peers_[i].links = all[i];
  }
}

Status LoopLinks::start(io::Loop& loop) {
  if (is_alone()) return {};
  loop_ = &loop;
  // Before the sends of the turn: what a client is told has been handed to the other loops first.
  loop.add_hook(io::Phase::Append, *this);
  Status watched = loop.watch(mailbox_.fd(), io::kReadable, *this);
  is_watched_ = static_cast<bool>(watched);
  return watched;
}

void LoopLinks::stop() {
  if (loop_ == nullptr) return;
  loop_->remove_hook(*this);
  if (is_watched_) loop_->unwatch(mailbox_.fd());
  is_watched_ = false;
  loop_->cancel(continuation_);
  loop_ = nullptr;
  inbox_.clear();
  for (Peer& peer : peers_) {
    for (auto& [key, subscription] : peer.interest) {
      const std::string_view account = std::string_view(key).substr(0, key.find(kKeySeparator));
      if (subscription->is_added()) shard_.account(account).interest().remove(*subscription);
    }
    peer.interest.clear();
  }
}

// --- interest --------------------------------------------------------------------------------

void LoopLinks::on_interest_added(const Account& account, const Subscription& subscription) {
  if (!is_alone()) change_interest(account, subscription, 1);
}

void LoopLinks::on_interest_removed(const Account& account, const Subscription& subscription) {
  if (!is_alone()) change_interest(account, subscription, -1);
}

void LoopLinks::change_interest(const Account& account, const Subscription& subscription, int by) {
  const std::string_view queue = subscription.queue();
  std::string key =
      make_key(account, subscription.pattern(), queue, subscription.has_delivery_filter);
  LocalInterest& interest = local_[key];
  interest.count = by > 0 ? interest.count + 1 : interest.count - 1;
  // Of plain subscriptions the others only need to know whether there are any; of a queue group
  // how many, since each member has the same chance.
  const bool matters = !queue.empty() || (interest.count == 0) != (interest.announced == 0);
  if (!matters) return;
  ++version_;
  has_output_ = true;
  if (interest.is_dirty) return;
  interest.is_dirty = true;
  dirty_keys_.push_back(std::move(key));
}

void LoopLinks::announce_changes() {
  if (announced_version_ == version_) return;
  announced_version_ = version_;
  std::string frames;
  for (const std::string& key : dirty_keys_) {
    const auto found = local_.find(key);
    LocalInterest& interest = found->second;
    interest.is_dirty = false;
    if (interest.announced != interest.count) {
      frames += static_cast<char>(FrameKind::Interest);
      put_text(frames, key);
      put_number(frames, uint64_t{interest.count});
      interest.announced = interest.count;
    }
    if (interest.count == 0) local_.erase(found);
  }
  dirty_keys_.clear();
  frames += static_cast<char>(FrameKind::Version);
  put_number(frames, version_);
  for (Peer& peer : peers_) {
    if (peer.links != nullptr) peer.out += frames;
  }
}

// `key` is "account pattern queue mark"; the queue may be empty, the mark tells filtered members.
void LoopLinks::handle_interest(uint32_t from, std::string_view key, uint64_t count) {
  const size_t first = key.find(kKeySeparator);
  const size_t second = key.find(kKeySeparator, first + 1);
  const std::string_view pattern = key.substr(first + 1, second - first - 1);
  const size_t third = key.find(kKeySeparator, second + 1);
  const std::string_view queue = key.substr(second + 1, third - second - 1);
  Account& account = shard_.account(key.substr(0, first));
  subject::InterestTree& tree = account.interest();
  auto& known = peers_[from].interest;
  auto found = known.find(key);
  const auto tell_observer = [&](const Subscription& which, int64_t change) {
    if (account.observer() == nullptr || change == 0) return;
    account.observer()->on_interest_changed(account, pattern, queue, which, change);
  };
  if (count == 0) {
    if (found == known.end()) return;
    tell_observer(*found->second, -static_cast<int64_t>(found->second->delivered));
    tree.remove(*found->second);
    account.remove_stand_in();
    known.erase(found);
    shard_.note_interest(account, pattern);
    return;
  }
  if (found == known.end()) {
    auto subscription = std::make_unique<Subscription>();
    subscription->kind = Subscription::Kind::OtherLoop;
    subscription->other_loop = from;
    subscription->has_delivery_filter = key.ends_with(kFilteredMark) && third + 2 == key.size();
    tree.add(pattern, queue, *subscription);
    account.add_stand_in();
    found = known.emplace(key, std::move(subscription)).first;
    shard_.note_interest(account, pattern);
  }
  const auto change = static_cast<int64_t>(count) - static_cast<int64_t>(found->second->delivered);
  found->second->delivered = count;
  tell_observer(*found->second, change);
}

void LoopLinks::handle_version(uint32_t from, uint64_t version) {
  std::string& out = peers_[from].out;
  out += static_cast<char>(FrameKind::Confirmed);
  put_number(out, version);
  has_output_ = true;
}

void LoopLinks::handle_confirmed(uint32_t from, uint64_t version) {
  peers_[from].confirmed = version;
  uint64_t known = version;
  for (const Peer& peer : peers_) {
    if (peer.links != nullptr) known = std::min(known, peer.confirmed);
  }
  if (known <= known_version_) return;
  known_version_ = known;
  confirmed_news_ = true;
}

// --- messages --------------------------------------------------------------------------------

void LoopLinks::mark_plain(uint32_t loop) {
  Mark& mark = marks_[loop];
  if (!mark.plain && mark.groups.empty()) marked_.push_back(loop);
  mark.plain = true;
}

void LoopLinks::mark_group(uint32_t loop, std::string_view pattern, std::string_view queue) {
  Mark& mark = marks_[loop];
  if (!mark.plain && mark.groups.empty()) marked_.push_back(loop);
  mark.groups.emplace_back(pattern, queue);
}

void LoopLinks::forward(const Account& account, const Message& message, ForwardOptions options) {
  // The other loop must know whom the publisher subscribed before: it may pass the message back.
  announce_changes();
  if (marked_.size() > 1 || message.reply.empty()) options.requester = 0;
  const std::string client = shows_client(account, message) ? client_info(*message.from) : "";
  for (const uint32_t loop : marked_) {
    Mark& mark = marks_[loop];
    std::string& out = peers_[loop].out;
    out += static_cast<char>(FrameKind::Message);
    put_text(out, account.name());
    put_text(out, message.subject);
    put_text(out, message.route);
    put_text(out, client.empty() ? message.client : client);
    put_text(out, message.reply);
    put_number(out, message.header_size);
    put_number(out, options.requester);
    put_number(out, static_cast<uint8_t>((options.is_retry ? kRetryMark : 0) |
                                         (message.trace != nullptr ? kTraceMark : 0)));
    if (message.trace != nullptr) {
      message.trace->hold();
      put_number(out, message.trace);
    }
    put_number(out, static_cast<uint8_t>(mark.plain));
    put_number(out, static_cast<uint32_t>(mark.groups.size()));
    for (const auto& [pattern, queue] : mark.groups) {
      put_text(out, pattern);
      put_text(out, queue);
    }
    put_text(out, {message.payload.data(), message.payload.size() + 2});
    mark.plain = false;
    mark.groups.clear();
  }
  marked_.clear();
  has_output_ = true;
}

LoopLinks::MarkHold::MarkHold(LoopLinks& links) : links_(links), is_holding_(links.has_marks()) {
  if (!is_holding_) return;
  marks_.resize(links_.loops_);
  marks_.swap(links_.marks_);
  marked_.swap(links_.marked_);
}

LoopLinks::MarkHold::~MarkHold() {
  if (!is_holding_) return;
  links_.marks_.swap(marks_);
  links_.marked_.swap(marked_);
}

bool LoopLinks::has_group_marks() const {
  for (const uint32_t loop : marked_) {
    if (!marks_[loop].groups.empty()) return true;
  }
  return false;
}

bool LoopLinks::is_congested() const {
  for (uint32_t loop = 0; loop < loops_; ++loop) {
    const uint64_t queued = loop == index_ ? 0 : peers_[loop].out.size();
    if (in_flight_[loop].load(std::memory_order_relaxed) + queued > kInFlightMax) return true;
  }
  return false;
}

void LoopLinks::on_turn_end() {
  if (confirmed_news_) {
    confirmed_news_ = false;
    shard_.on_interest_known(known_version_);
    shard_.sweep();
  }
  has_output_ = false;
  announce_changes();
  for (uint32_t loop = 0; loop < loops_; ++loop) {
    Peer& peer = peers_[loop];
    if (peer.links == nullptr || peer.out.empty()) continue;
    auto batch = std::make_unique<LoopBatch>();
    batch->from = index_;
    batch->in_flight = &in_flight_[loop];
    batch->bytes.swap(peer.out);
    in_flight_[loop].fetch_add(batch->bytes.size(), std::memory_order_relaxed);
    peer.links->mailbox_.put(std::move(batch));
  }
}

void LoopLinks::receive() {
  handle_inbox(nullptr);
}

void LoopLinks::on_ready(uint32_t) {
  TurnBudget budget(shard_.loop().clock());
  handle_inbox(&budget);
}

void LoopLinks::handle_inbox(TurnBudget* budget) {
  if (is_alone() || is_receiving_ || loop_ == nullptr) return;
  is_receiving_ = true;
  mailbox_.take_all([this](std::unique_ptr<LoopBatch> batch) {
    inbox_.push_back({std::move(batch)});
  });
  while (!inbox_.empty()) {
    Received& first = inbox_.front();
    if (!handle_batch(first, budget)) {
      loop_->schedule(continuation_);
      break;
    }
    first.batch->in_flight->fetch_sub(first.batch->bytes.size(), std::memory_order_relaxed);
    inbox_.pop_front();
  }
  is_receiving_ = false;
}

void LoopLinks::report_no_taker(uint32_t to, const ForwardedMessage& message) {
  Connection* requester = shard_.find_connection(message.requester);
  if (requester != nullptr) {  // it came back to where it was published
    if (requester->is_open()) shard_.answer_no_responders(*requester, message.subject, message.reply);
    return;
  }
  std::string& out = peers_[to].out;
  out += static_cast<char>(FrameKind::NoTaker);
  put_number(out, message.requester);
  put_text(out, message.subject);
  put_text(out, message.reply);
  has_output_ = true;
}

// False when the budget was spent before the batch's end.
bool LoopLinks::handle_batch(Received& received, TurnBudget* budget) {
  const LoopBatch& batch = *received.batch;
  FrameReader reader(std::string_view(batch.bytes).substr(received.handled));
  ForwardedMessage message;
  while (!reader.at_end()) {
    switch (static_cast<FrameKind>(reader.number<char>())) {
      case FrameKind::Message: {
        message.account = reader.text();
        message.subject = reader.text();
        message.route = reader.text();
        message.client = reader.text();
        message.reply = reader.text();
        message.header_size = reader.number<uint32_t>();
        message.requester = reader.number<uint64_t>();
        const auto marks = reader.number<uint8_t>();
        message.is_retry = (marks & kRetryMark) != 0;
        message.trace = (marks & kTraceMark) != 0 ? reader.number<MessageTrace*>() : nullptr;
        message.to_plain = reader.number<uint8_t>() != 0;
        message.groups.resize(reader.number<uint32_t>());
        for (auto& [pattern, queue] : message.groups) {
          pattern = reader.text();
          queue = reader.text();
        }
        message.payload = reader.text();
        message.payload.remove_suffix(2);
        handle_message(batch.from, message);
        break;
      }
      case FrameKind::Interest: {
        const std::string_view key = reader.text();
        handle_interest(batch.from, key, reader.number<uint64_t>());
        break;
      }
      case FrameKind::Version: handle_version(batch.from, reader.number<uint64_t>()); break;
      case FrameKind::Confirmed: handle_confirmed(batch.from, reader.number<uint64_t>()); break;
      case FrameKind::NoTaker: {
        const auto requester = reader.number<uint64_t>();
        const std::string_view subject = reader.text();
        const std::string_view reply = reader.text();
        Connection* from = shard_.find_connection(requester);
        if (from != nullptr && from->is_open()) shard_.answer_no_responders(*from, subject, reply);
        break;
      }
    }
    if (budget != nullptr && !reader.at_end() && budget->is_spent()) {
      received.handled = batch.bytes.size() - reader.left();
      return false;
    }
  }
  return true;
}

void LoopLinks::handle_message(uint32_t from, ForwardedMessage& message) {
  if (!shard_.deliver_forwarded(message) && message.requester != 0) report_no_taker(from, message);
  shard_.flush_if_flooded();
}

}  // namespace brokkr::broker
