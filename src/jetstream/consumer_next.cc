// Which message a consumer delivers next, and how many are left after it.
#include <algorithm>
#include <chrono>
#include <utility>

#include "jetstream/stream_consumer.h"
#include "protocol/headers.h"
#include "store/store.h"

namespace brokkr::jetstream {
namespace {

// A client that has this share of max_pending queued gets nothing more for a moment.
constexpr uint64_t kOutputShare = 8;
constexpr Duration kOutputPause = std::chrono::milliseconds(1);
// What one consumer may deliver before the others have their turn.
constexpr size_t kTurnMessagesMax = 1024;
constexpr size_t kTurnBytesMax = 1 << 20;

}  // namespace

void StreamConsumer::run() {
  if (has_ended_) return;
  turn_messages_ = 0;
  turn_bytes_ = 0;
  process_gone();
  if (is_paused()) {
    if (pull_ != nullptr && pull_->no_wait_count() > 0) tend_requests(true, false);
    return;
  }
  if (pull_ != nullptr) {
    deliver_to_requests();
  } else {
    deliver_to_subject();
  }
}

// False when the turn's share is used up; the rest follows in the next.
bool StreamConsumer::may_deliver_more() {
  if (held_until_ > now()) return false;
  if (turn_messages_ < kTurnMessagesMax && turn_bytes_ < kTurnBytesMax) return true;
  wake();
  return false;
}

StreamConsumer::Next StreamConsumer::next_message(Candidate& out) {
  is_blocked_ = false;
  num_pending();  // looks at the stream, which ends what a loaded record points to
  if (redelivery_count_ == 0) {
    redeliveries_.clear();  // all that is left of it is stale
  } else if (next_redelivery(out)) {
    return Next::Message;
  }
  if (is_acks_full()) {
    is_blocked_ = true;
    return Next::TooManyPending;
  }
  return skip_at_ < skip_list_.size() ? next_of_skip_list(out) : next_new(out);
}

bool StreamConsumer::next_redelivery(Candidate& out) {
  while (!redeliveries_.empty()) {
    const uint64_t seq = redeliveries_.front();
    store::Pending* pending = state_->find_pending(seq);
    if (pending == nullptr || !pending->is_queued) {
      redeliveries_.pop_front();
      continue;
    }
    if (give_up_if_exhausted(*pending)) continue;  // it is stale now
    Result<store::Record> record = messages_.load(seq);
    if (!record && record.error().code != Errc::NotFound && record.error().code != Errc::Corrupt) {
      return false;
    }
    if (!record) {
      const Gone gone{seq, pending->consumer_seq, pending->deliveries};
      terminate(gone.stream_seq, gone.consumer_seq, gone.deliveries,
                "Unacknowledged message was deleted");
      continue;
    }
    out.record = *record;
    out.deliveries = pending->deliveries + 1;
    out.seq_after = 0;
    return true;
  }
  redelivery_count_ = 0;
  return false;
}

StreamConsumer::Next StreamConsumer::next_of_skip_list(Candidate& out) {
  while (skip_at_ < skip_list_.size()) {
    const uint64_t seq = skip_list_[skip_at_];
    if (seq > messages_.visible_seq()) return Next::End;
    Result<store::Record> record = messages_.load(seq);
    if (record) {
      out.record = *record;
      out.deliveries = 1;
      out.seq_after = skip_at_ + 1 < skip_list_.size() ? seq + 1 : skip_resume_ + 1;
      return Next::Message;
    }
    if (++skip_at_ == skip_list_.size()) next_seq_ = std::max(next_seq_, skip_resume_ + 1);
  }
  skip_list_ = {};
  skip_at_ = 0;
  return next_new(out);
}

StreamConsumer::Next StreamConsumer::next_new(Candidate& out) {
  const uint64_t visible = messages_.visible_seq();
  while (next_seq_ <= visible) {
    Result<store::Record> record = messages_.load_next(*filter_, next_seq_, visible);
    if (record) {
      out.record = *record;
      out.deliveries = 1;
      out.seq_after = record->seq + 1;
      return Next::Message;
    }
    if (record.error().code == Errc::Corrupt) continue;  // it is not there any more
    if (record.error().code != Errc::NotFound) return Next::Error;
    next_seq_ = visible + 1;
  }
  return Next::End;
}

void StreamConsumer::mark_delivered(const Candidate& candidate) {
  const uint64_t seq = candidate.record.seq;
  const bool is_pending = config_.ack_policy != AckPolicy::None;
  const uint64_t consumer_seq = next_delivery_++;
  if (candidate.seq_after == 0) {
    store::Pending* pending = state_->find_pending(seq);
    if (pending->is_queued) {
      pending->is_queued = false;
      --redelivery_count_;
    }
    if (!redeliveries_.empty() && redeliveries_.front() == seq) redeliveries_.pop_front();
    if (pending->deliveries == 1) ++redelivered_;
  } else {
    num_pending();
    if (pending_count_ > 0) --pending_count_;
    next_seq_ = candidate.seq_after;
    if (skip_at_ < skip_list_.size()) ++skip_at_;
  }
  state_->delivered(consumer_seq, seq, candidate.deliveries, now_ns(), is_pending);
  ++turn_messages_;
  turn_bytes_ += candidate.record.counted_bytes();
  if (is_pending) {
    track(seq);
    return;
  }
  state_->set_ack_floor({consumer_seq, seq});
  if (stream_.config().retention != Retention::Limits) stream_.on_settled(*this, seq);
}

// Exact: what was counted is kept up to date, what has come since is counted now.
uint64_t StreamConsumer::num_pending() {
  const uint64_t last = messages_.last_seq();
  if (!is_counted_) {
    if (skip_at_ < skip_list_.size()) {
      pending_count_ = messages_.count(*filter_, skip_resume_ + 1);
      const store::SubjectFilter all(messages_, {});
      for (size_t i = skip_at_; i < skip_list_.size(); ++i) {
        if (messages_.next_seq(all, skip_list_[i], skip_list_[i]) != 0) ++pending_count_;
      }
    } else {
      pending_count_ = messages_.count(*filter_, next_seq_);
    }
    is_counted_ = true;
    counted_to_ = last;
  } else if (counted_to_ < last) {
    pending_count_ += messages_.count(*filter_, std::max(counted_to_ + 1, next_seq_));
    counted_to_ = last;
  }
  return pending_count_;
}

void StreamConsumer::write_ack_reply(const Candidate& candidate) {
  uint64_t left = pending_count_;
  if (candidate.seq_after != 0 && left > 0) --left;
  ack_text_.resize(ack_prefix_.size() + kAckNumbersBytesMax);
  ack_text_.replace(0, ack_prefix_.size(), ack_prefix_);
  const char* end = write_ack_numbers(ack_text_.data() + ack_prefix_.size(), candidate.deliveries,
                                      candidate.record.seq, next_delivery_,
                                      candidate.record.timestamp_ns, left);
  ack_text_.resize(static_cast<size_t>(end - ack_text_.data()));
}

bool StreamConsumer::send(const Candidate& candidate, std::string_view route,
                          std::string_view pin_id) {
  std::string_view headers;
  std::string_view body;
  shape(candidate, pin_id, headers, body);
  // Whoever takes it may store it again, after which the record is no longer good.
  subject_text_ = candidate.record.subject;
  if (!stream_.account().deliver(route, subject_text_, ack_text_, headers, body)) return false;
  broker::Shard& shard = stream_.account().jetstream().shard();
  if (shard.deepest_output() > shard.settings().max_pending / kOutputShare) {
    held_until_ = now() + kOutputPause;
    arm(held_until_);
  }
  shard.flush_if_flooded();
  return true;
}

size_t StreamConsumer::size_of(const Candidate& candidate) const {
  const store::Record& record = candidate.record;
  size_t headers = record.headers.size();
  size_t body = record.body.size();
  if (config_.headers_only) {
    headers = (headers == 0 ? 12 : headers) + 17 + std::to_string(body).size();
    body = 0;
  }
  return record.subject.size() + ack_text_.size() + headers + body;
}

void StreamConsumer::shape(const Candidate& candidate, std::string_view pin_id,
                           std::string_view& headers, std::string_view& body) {
  headers = candidate.record.headers;
  body = candidate.record.body;
  if (!config_.headers_only && pin_id.empty()) return;
  header_text_ = headers.empty() ? std::string_view("NATS/1.0\r\n\r\n") : headers;
  const auto add = [this](std::string_view line, std::string_view value) {
    header_text_.resize(header_text_.size() - 2);
    header_text_.append(line).append(value).append("\r\n\r\n");
  };
  if (config_.headers_only) {
    add("Nats-Msg-Size: ", std::to_string(body.size()));
    body = {};
  }
  if (!pin_id.empty()) add("Nats-Pin-Id: ", pin_id);
  headers = header_text_;
}

}  // namespace brokkr::jetstream
