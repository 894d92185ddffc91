// Acknowledgements of every kind, and what happens without them.
#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "jetstream/consumer_router.h"
#include "jetstream/stream_consumer.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kAck = "+ACK";
constexpr std::string_view kOldAck = "+OK";
constexpr std::string_view kNak = "-NAK";
constexpr std::string_view kInProgress = "+WPI";
constexpr std::string_view kNext = "+NXT";
constexpr std::string_view kTerm = "+TERM";
constexpr const char* kDeletedReason = "Unacknowledged message was deleted";
// Deliveries that come due together are delivered again together.
constexpr int64_t kAckWaitDelayNs = 1'000'000;

// The delay in "-NAK {"delay":5000}" or "-NAK 5s"; absent when there is none that makes sense.
std::optional<Duration> parse_nak_delay(std::string_view text) {
  text = trim(text);
  if (text.empty()) return {};
  Duration delay{};
  if (text[0] != '{') {
    if (!parse_go_duration(text, delay)) return {};
    return delay;
  }
  const Result<json::Value> value = json::parse(text);
  if (!value) return {};
  const json::Value* member = value->find("delay");
  if (member == nullptr) return Duration();
  const std::optional<int64_t> ns = member->as_int();
  if (!ns) return {};
  return Duration(*ns);
}

}  // namespace

bool StreamConsumer::takes_acks() const {
  return config_.ack_policy == AckPolicy::Explicit || config_.ack_policy == AckPolicy::All;
}

void StreamConsumer::on_ack(const AckSubject& ack, std::string_view body, std::string_view reply) {
  if (has_ended_) return;
  if (inactive_after_ > Duration()) last_request_ = now();
  bool is_answered = ack.stream_seq != 0;
  if (body.empty() || body == kAck || body == kOldAck) {
    is_answered = acknowledge(ack.stream_seq, ack.consumer_seq, ack.deliveries, true);
  } else if (body.starts_with(kNext)) {
    acknowledge(ack.stream_seq, ack.consumer_seq, ack.deliveries, true);
    return on_pull_request(reply, {}, body.substr(kNext.size()));
  } else if (body.starts_with(kNak)) {
    negative_acknowledge(ack, body);
  } else if (body == kInProgress) {
    in_progress(ack.stream_seq);
  } else if (body.starts_with(kTerm)) {
    is_answered = terminate(ack.stream_seq, ack.consumer_seq, ack.deliveries,
                            trim(body.substr(kTerm.size())));
  }
  if (is_answered && !reply.empty()) stream_.account().router().answer_when_durable(reply);
}

bool StreamConsumer::is_acks_full() const {
  return config_.max_ack_pending > 0 && config_.ack_policy != AckPolicy::None &&
         state_->pending().size() >= static_cast<size_t>(config_.max_ack_pending);
}

// False when the sequence was never delivered, which is not answered.
bool StreamConsumer::acknowledge(uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries,
                                 bool is_sampled) {
  if (stream_seq >= next_seq_ && !config_.flow_control) return false;
  switch (config_.ack_policy) {
    case AckPolicy::Explicit: acknowledge_explicit(stream_seq, consumer_seq, deliveries, is_sampled); break;
    case AckPolicy::All:
    case AckPolicy::FlowControl: acknowledge_all(stream_seq, consumer_seq); break;
    case AckPolicy::None: return false;
  }
  state_->set_acked_at(now_ns());
  unblock();
  return true;
}

void StreamConsumer::acknowledge_explicit(uint64_t stream_seq, uint64_t consumer_seq,
                                          uint64_t deliveries, bool is_sampled) {
  const store::Pending* pending = state_->pending().find(stream_seq);
  if (pending != nullptr) {
    if (is_sampled && sample_percent_ > 0) sample(*pending, deliveries);
    consumer_seq = pending->consumer_seq;
    settle(stream_seq);
    move_ack_floor(consumer_seq, stream_seq);
  } else if (state_->state().exhausted.find(stream_seq) != nullptr) {
    state_->settled(stream_seq);
  } else {
    return;
  }
  if (stream_.config().retention != Retention::Limits) stream_.on_settled(*this, stream_seq);
}

// Everything delivered up to the sequence.
void StreamConsumer::acknowledge_all(uint64_t stream_seq, uint64_t consumer_seq) {
  const store::SequencePair floor = state_->state().ack_floor;
  if (consumer_seq <= floor.consumer || stream_seq <= floor.stream) return;
  const bool tells_stream = stream_.config().retention != Retention::Limits;
  std::vector<uint64_t> settled;
  while (const store::Pending* pending = state_->pending().first()) {
    const uint64_t seq = pending->stream_seq;
    if (seq > stream_seq) break;
    settle(seq);
    if (tells_stream) settled.push_back(seq);
  }
  state_->set_ack_floor({consumer_seq, stream_seq});
  for (const uint64_t seq : settled) stream_.on_settled(*this, seq);
}

// Takes a pending message out of all the books.
void StreamConsumer::settle(uint64_t stream_seq) {
  const store::Pending* pending = state_->pending().find(stream_seq);
  if (pending == nullptr) return;
  if (pending->deliveries > 1 && redelivered_ > 0) --redelivered_;
  if (pending->is_queued) --redelivery_count_;
  state_->settled(stream_seq);
}

void StreamConsumer::move_ack_floor(uint64_t consumer_seq, uint64_t stream_seq) {
  const store::ConsumerState& state = state_->state();
  if (state.pending.empty()) {
    redeliveries_.clear();
    return state_->set_ack_floor(state.delivered);
  }
  if (consumer_seq != state.ack_floor.consumer + 1) return;
  store::SequencePair floor{consumer_seq, stream_seq};
  const store::Pending* pending = state.pending.lower_bound(stream_seq + 1);
  if (pending != nullptr && state.delivered.consumer > consumer_seq) {
    floor = {pending->consumer_seq - 1, pending->stream_seq - 1};
  }
  state_->set_ack_floor(floor);
}

void StreamConsumer::negative_acknowledge(const AckSubject& ack, std::string_view body) {
  if (ack.consumer_seq <= state_->state().ack_floor.consumer || ack.consumer_seq > next_delivery_) return;
  store::Pending* pending = state_->find_pending(ack.stream_seq);
  if (pending == nullptr) return;
  Account& account = stream_.account();
  account.advise("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED." + key_, "io.nats.jetstream.advisory.v1.nak",
                 [&](json::Writer& out) {
                   out.field("stream", stream_.name());
                   out.field("consumer", name_);
                   out.field("consumer_seq", ack.consumer_seq);
                   out.field("stream_seq", ack.stream_seq);
                   out.field("deliveries", ack.deliveries);
                 });
  pending = state_->find_pending(ack.stream_seq);  // who hears of it may act
  if (pending == nullptr) return;
  const std::optional<Duration> delay = parse_nak_delay(body.substr(kNak.size()));
  if (!delay) return queue_redelivery(*pending);
  if (pending->is_queued) {
    // Its place is lost: it comes back behind those that wait by then.
    pending->is_queued = false;
    --redelivery_count_;
    std::erase(redeliveries_, ack.stream_seq);
  }
  const int64_t due = now_ns() + delay->count();
  state_->touch(ack.stream_seq, due - config_.wait_after(pending->deliveries).count());
  deadlines_.add(ack.stream_seq, due, state_->pending());
  arm(monotonic(due));
}

void StreamConsumer::in_progress(uint64_t stream_seq) { state_->touch(stream_seq, now_ns()); }

bool StreamConsumer::terminate(uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries,
                               std::string_view reason) {
  const bool is_answered = acknowledge(stream_seq, consumer_seq, deliveries, false);
  stream_.account().advise("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + key_,
                           "io.nats.jetstream.advisory.v1.terminated", [&](json::Writer& out) {
                             out.field("stream", stream_.name());
                             out.field("consumer", name_);
                             out.field("consumer_seq", consumer_seq);
                             out.field("stream_seq", stream_seq);
                             out.field("deliveries", deliveries);
                             if (!reason.empty()) out.field("reason", reason);
                           });
  return is_answered;
}

void StreamConsumer::sample(const store::Pending& pending, uint64_t deliveries) {
  Account& account = stream_.account();
  if (sample_percent_ < 100 &&
      account.jetstream().random().below(100) >= static_cast<uint64_t>(sample_percent_)) {
    return;
  }
  const store::Pending sampled = pending;
  account.advise("$JS.EVENT.METRIC.CONSUMER.ACK." + key_, "io.nats.jetstream.metric.v1.consumer_ack",
                 [&](json::Writer& out) {
                   out.field("stream", stream_.name());
                   out.field("consumer", name_);
                   out.field("consumer_seq", sampled.consumer_seq);
                   out.field("stream_seq", sampled.stream_seq);
                   out.field("ack_time", now_ns() - sampled.timestamp_ns);
                   out.field("deliveries", deliveries);
                 });
}

// --- without acknowledgement

void StreamConsumer::track(uint64_t stream_seq) {
  const store::Pending* pending = state_->pending().find(stream_seq);
  const Duration wait = config_.wait_after(pending->deliveries);
  if (wait <= Duration()) return;  // waits for ever
  const int64_t due = pending->timestamp_ns + wait.count() + kAckWaitDelayNs;
  deadlines_.add(stream_seq, due, state_->pending());
  arm(monotonic(due));
}

void StreamConsumer::expire_acks() {
  const int64_t time = now_ns();
  std::vector<uint64_t> expired;
  uint64_t seq = 0;
  while (deadlines_.take_due(time, seq)) {
    store::Pending* pending = state_->find_pending(seq);
    if (pending == nullptr || pending->is_queued) continue;
    const Duration wait = config_.wait_after(pending->deliveries);
    if (wait <= Duration()) continue;
    const int64_t due = pending->timestamp_ns + wait.count();
    if (due > time) {
      deadlines_.add(seq, due, state_->pending());
    } else if (config_.max_deliver != 1 || !give_up_if_exhausted(*pending)) {
      // One that has had enough is given up when it would be delivered again.
      expired.push_back(seq);
    }
  }
  if (expired.empty()) return;
  std::sort(expired.begin(), expired.end());
  expired.erase(std::unique(expired.begin(), expired.end()), expired.end());
  for (const uint64_t each : expired) {
    if (store::Pending* pending = state_->find_pending(each)) queue_redelivery(*pending);
  }
}

void StreamConsumer::queue_redelivery(store::Pending& pending) {
  if (!pending.is_queued) {
    pending.is_queued = true;
    ++redelivery_count_;
    redeliveries_.push_back(pending.stream_seq);
  }
  wake();
}

bool StreamConsumer::give_up_if_exhausted(store::Pending& pending) {
  if (!is_exhausted(pending)) return false;
  const store::Pending given_up = pending;
  if (given_up.is_queued) --redelivery_count_;
  if (given_up.deliveries > 1) --redelivered_;
  state_->exhausted(given_up.stream_seq);  // which does not move the floor
  unblock();
  stream_.account().advise("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + key_,
                           "io.nats.jetstream.advisory.v1.max_deliver", [&](json::Writer& out) {
                             out.field("stream", stream_.name());
                             out.field("consumer", name_);
                             out.field("stream_seq", given_up.stream_seq);
                             out.field("deliveries", uint64_t{given_up.deliveries});
                           });
  return true;
}

void StreamConsumer::process_gone() {
  while (!gone_.empty()) {
    const Gone gone = gone_.back();
    gone_.pop_back();
    if (state_->pending().find(gone.stream_seq) == nullptr) continue;
    terminate(gone.stream_seq, gone.consumer_seq, gone.deliveries, kDeletedReason);
  }
}

}  // namespace brokkr::jetstream
