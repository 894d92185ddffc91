// Delivery to a subject: interest, flow control, pace, heartbeats.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include "base/bytes.h"
#include "jetstream/stream_consumer.h"
#include "protocol/headers.h"

namespace brokkr::jetstream {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kWindowMax = 32 << 20;
constexpr int64_t kWindowStart = kWindowMax / 16;
// A recorded gap shorter than this is not waited for.
constexpr Duration kReplayGapMin = 1ms;
// After a message that nobody took although somebody subscribes.
constexpr Duration kNobodyTook = 250ms;
constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// Of a NATS header, or 0.
uint64_t header_number(const protocol::Headers& headers, std::string_view key) {
  return parse_uint(trim(headers.get(key))).value_or(0);
}

}  // namespace

void StreamConsumer::set_up_push() {
  push_ = std::make_unique<Push>();
  if (config_.flow_control) push_->window = kWindowStart;
  set_rate();
  push_->last_sent = now();
  Account& account = stream_.account();
  push_->watch = account.jetstream().shard().watch_interest(
      account.interest(), config_.deliver_subject, config_.deliver_group,
      [this](bool is_interested) { on_interest(is_interested); });
  push_->is_active = push_->watch->is_interested();
}

void StreamConsumer::set_rate() {
  Push& push = *push_;
  push.rate = static_cast<double>(config_.rate_limit_bps / 8);
  const int64_t message_max = stream_.config().max_msg_size;
  const uint32_t payload_max = stream_.account().jetstream().shard().settings().max_payload;
  push.burst = static_cast<double>(message_max > 0 ? message_max : payload_max);
  push.tokens = push.burst;
  push.tokens_at = now();
}

void StreamConsumer::on_interest(bool is_interested) {
  Push& push = *push_;
  push.is_active = is_interested;
  if (push.is_active) {
    inactivity_check_ = {};
    push.send_after = {};
    push.last_sent = now();
    rearm();
    return wake();
  }
  if (inactive_after_ > Duration() && inactivity_check_ == MonotonicTime()) {
    inactivity_check_ = now() + inactive_after_;
    arm(inactivity_check_);
  }
}

void StreamConsumer::deliver_to_subject() {
  while (may_push()) {
    if (!may_deliver_more()) return;
    Candidate candidate;
    const Next next = next_message(candidate);
    if (next == Next::Error) return arm(now() + 1s);
    if (next != Next::Message) {
      if (is_replaying_ && next_seq_ > replay_until_) is_replaying_ = false;
      return;
    }
    push_message(candidate);
  }
}

bool StreamConsumer::may_push() {
  const Push& push = *push_;
  if (!push.is_active) return false;
  if (push.window > 0 && push.bytes_out > push.window) return false;
  return push.send_after == MonotonicTime() || push.send_after <= now();
}

// Sends the message, or sets the time to try again.
void StreamConsumer::push_message(const Candidate& candidate) {
  Push& push = *push_;
  const MonotonicTime time = now();
  write_ack_reply(candidate);
  const auto postpone = [&](Duration by) {
    push.send_after = time + by;
    arm(push.send_after);
  };
  const auto size = static_cast<double>(size_of(candidate));
  if (is_replaying_ && replay_timestamp_ns_ > 0 && push.send_after == MonotonicTime()) {
    const Duration gap(candidate.record.timestamp_ns - replay_timestamp_ns_);
    if (gap > kReplayGapMin) return postpone(gap);
  }
  if (push.rate > 0) {
    const double passed = std::chrono::duration<double>(time - push.tokens_at).count();
    push.tokens = std::min(push.burst, push.tokens + passed * push.rate);
    push.tokens_at = time;
    const double missing = std::min(size, push.burst) - push.tokens;
    if (missing > 0) {
      return postpone(std::chrono::ceil<Duration>(std::chrono::duration<double>(missing / push.rate)));
    }
  }
  if (!send(candidate, config_.deliver_subject, {})) {
    push.is_active = false;
    on_interest(push.watch->is_interested());
    return postpone(kNobodyTook);
  }
  push.send_after = {};
  push.tokens -= size;
  push.last_sent = time;
  replay_timestamp_ns_ = candidate.record.timestamp_ns;
  const auto bytes = static_cast<int64_t>(size);
  push.bytes_out += bytes;
  mark_delivered(candidate);
  if (push.window == 0) return;
  const bool is_full = config_.ack_policy == AckPolicy::FlowControl && is_acks_full();
  if (push.asked.empty()) {
    if (push.bytes_out > push.window / 2 || is_full) ask_flow_control();
  } else if (push.bytes_out - push.bytes_asked >= push.window) {
    push.bytes_asked += bytes;
  }
}

void StreamConsumer::ask_flow_control() {
  Push& push = *push_;
  push.asked = "$JS.FC." + key_ + ".";
  uint64_t random = stream_.account().jetstream().random().next();
  for (int i = 0; i < 4; ++i, random /= kDigits.size()) push.asked += kDigits[random % kDigits.size()];
  push.bytes_asked = push.bytes_out;
  stream_.account().deliver(config_.deliver_subject, config_.deliver_subject, push.asked,
                            "NATS/1.0 100 FlowControl Request\r\n\r\n", {});
}

void StreamConsumer::on_flow_control(std::string_view subject, std::string_view headers) {
  if (push_ == nullptr || subject != push_->asked) return;
  Push& push = *push_;
  push.window = std::min(push.window * 2, kWindowMax);
  push.bytes_out = std::max<int64_t>(push.bytes_out - push.bytes_asked, 0);
  push.bytes_asked = 0;
  push.asked.clear();
  wake();
  if (config_.ack_policy != AckPolicy::FlowControl || headers.empty()) return;
  const auto block = protocol::Headers::parse(headers);
  if (!block) return;
  const uint64_t stream_seq = header_number(*block, "Nats-Last-Stream");
  if (stream_seq > 0) acknowledge(stream_seq, header_number(*block, "Nats-Last-Consumer"), 1, false);
}

void StreamConsumer::send_heartbeat(std::string_view to) {
  char more[128];
  char* end = more;
  const auto put = [&end](std::string_view text) { end = std::copy(text.begin(), text.end(), end); };
  put("Nats-Last-Consumer: ");
  end = std::to_chars(end, end + 20, next_delivery_ - 1).ptr;
  put("\r\nNats-Last-Stream: ");
  end = std::to_chars(end, end + 20, next_seq_ - 1).ptr;
  put("\r\n");
  std::string lines(more, end);
  if (push_ != nullptr && !push_->asked.empty()) {
    lines.append("Nats-Consumer-Stalled: ").append(push_->asked).append("\r\n");
  }
  send_status(to, "100 Idle Heartbeat", lines);
}

// What is due by the clock.
void StreamConsumer::tend_push() {
  Push& push = *push_;
  const MonotonicTime time = now();
  if (push.send_after != MonotonicTime() && push.send_after <= time) wake();
  if (!push.is_active || config_.idle_heartbeat <= Duration()) return;
  if (push.last_sent + config_.idle_heartbeat > time) return;
  push.last_sent = time;
  send_heartbeat(config_.deliver_subject);
  if (config_.ack_policy == AckPolicy::FlowControl && !state_->pending().empty() && push.asked.empty()) {
    ask_flow_control();
  }
}

}  // namespace brokkr::jetstream
