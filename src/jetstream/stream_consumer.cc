#include "jetstream/stream_consumer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/random.h"
#include "jetstream/consumer_router.h"
#include "jetstream/consumer_rules.h"
#include "store/store.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

using namespace std::chrono_literals;

// How long an ephemeral consumer lives without anybody, unless it says.
constexpr Duration kEphemeralThreshold = 5s;
constexpr Duration kJitterMin = 100ms;
constexpr uint64_t kJitterMs = 900;
constexpr MonotonicTime kNever = MonotonicTime::max();

int64_t clock_offset(JetStream& jetstream) {
  return jetstream.now().time_since_epoch().count() -
         jetstream.loop().clock().now().time_since_epoch().count();
}

}  // namespace

StreamConsumer::StreamConsumer(Stream& stream, ConsumerConfig config, store::ConsumerStore& state,
                               WallTime created, bool is_fresh)
    : stream_(stream),
      messages_(stream.messages()),
      name_(state.name()),
      key_(stream.name() + "." + name_),
      ack_prefix_(std::string(kAckPrefix) + key_),
      created_(created),
      config_(std::move(config)),
      state_(&state),
      clock_offset_ns_(clock_offset(stream.account().jetstream())) {
  set_filter();
  set_inactive_threshold();
  if (is_fresh) {
    select_start();
    save_config();
  } else {
    restore();
  }
  start_delivering();
}

StreamConsumer::~StreamConsumer() {
  if (!has_ended_) stream_.account().router().remove(*this);
}

void StreamConsumer::start_delivering() {
  std::string reason;
  sample_percent_ = config_.sample_freq.empty()
                        ? 0
                        : parse_sample_frequency(config_.sample_freq, reason).value_or(0);
  last_request_ = now();
  if (config_.replay_policy == ReplayPolicy::Original) {
    is_replaying_ = true;
    replay_until_ = messages_.last_seq();
  }
  if (config_.is_push()) {
    set_up_push();
  } else {
    pull_ = std::make_unique<PullQueue>(static_cast<size_t>(std::max<int64_t>(config_.max_waiting, 0)));
  }
  stream_.account().router().add(*this);
  if (is_paused()) {
    pause_ends_ = monotonic(config_.pause_until->time_since_epoch().count());
  }
  if (inactive_after_ > Duration() && !is_bound()) inactivity_check_ = now() + inactive_after_;
  rearm();
  if (is_bound()) wake();
}

void StreamConsumer::set_filter() {
  filter_ = std::make_unique<store::SubjectFilter>(messages_, config_.filters());
}

// --- time

int64_t StreamConsumer::now_ns() const { return now().time_since_epoch().count() + clock_offset_ns_; }

MonotonicTime StreamConsumer::monotonic(int64_t wall_ns) const {
  return MonotonicTime(Duration(wall_ns - clock_offset_ns_));
}

bool StreamConsumer::is_paused() const {
  return config_.pause_until && config_.pause_until->time_since_epoch().count() > now_ns();
}

void StreamConsumer::arm(MonotonicTime at) {
  if (timer_ == nullptr) {
    timer_ = std::make_unique<io::Timer>(stream_.account().jetstream().loop(), [this] { on_timer(); });
  }
  if (!timer_->is_armed() || at < timer_->deadline()) timer_->start_at(at);
}

// Arms the timer for whatever comes first. What is set on the way arms it by itself.
void StreamConsumer::rearm() {
  MonotonicTime next = kNever;
  const auto consider = [&next](MonotonicTime at) {
    if (at != MonotonicTime() && at < next) next = at;
  };
  if (const int64_t due = deadlines_.next_ns(); due != INT64_MAX) consider(monotonic(due));
  consider(inactivity_check_);
  consider(pause_ends_);
  consider(pin_ends_);
  consider(held_until_);
  if (pull_ != nullptr) {
    for (const PullRequest* request = pull_->front(); request != nullptr; request = request->next) {
      consider(request->expires);
      consider(request->heartbeat_at);
    }
  }
  if (push_ != nullptr) {
    if (push_->send_after > now()) consider(push_->send_after);
    if (push_->is_active && config_.idle_heartbeat > Duration()) {
      consider(push_->last_sent + config_.idle_heartbeat);
    }
  }
  if (next != kNever) arm(next);
}

void StreamConsumer::on_timer() {
  const MonotonicTime time = now();
  expire_acks();
  if (pause_ends_ != MonotonicTime() && pause_ends_ <= time) {
    pause_ends_ = {};
    advise_pause();
    wake();
  }
  if (pin_ends_ != MonotonicTime() && pin_ends_ <= time) {
    drop_pin();
    advise_pin(config_.priority_groups.front(), "timeout");
    wake();
  }
  if (held_until_ != MonotonicTime() && held_until_ <= time) {
    held_until_ = {};
    wake();
  }
  // Whatever ends one request ends also those that would not have waited.
  if (pull_ != nullptr && is_request_due()) tend_requests(!is_scheduled(), true);
  if (push_ != nullptr) tend_push();
  if (inactivity_check_ != MonotonicTime() && inactivity_check_ <= time) {
    inactivity_check_ = {};
    check_inactivity();  // may be the end of this object
    return;
  }
  rearm();
}

void StreamConsumer::set_inactive_threshold() {
  const bool is_ephemeral = !config_.is_durable();
  if (is_ephemeral && config_.inactive_threshold <= Duration()) {
    config_.inactive_threshold = kEphemeralThreshold;
    inactive_after_ = kEphemeralThreshold;
  } else {
    inactive_after_ = config_.inactive_threshold;
    if (config_.is_push() || inactive_after_ <= Duration()) return;
  }
  Random& random = stream_.account().jetstream().random();
  inactive_after_ += kJitterMin + std::chrono::milliseconds(random.below(kJitterMs));
}

// Deletes the consumer when nobody has used it for long enough.
void StreamConsumer::check_inactivity() {
  const MonotonicTime time = now();
  MonotonicTime again{};
  if (config_.is_push()) {
    if (is_bound()) return rearm();
  } else if (last_request_ + inactive_after_ > time) {
    again = last_request_ + inactive_after_;
  } else {
    tend_requests(true, true);
    if (!pull_->empty()) again = time + inactive_after_;
    // Somebody may be at work on what was delivered last.
    int64_t latest = 0;
    for (const store::Pending* p = state_->pending().first(); p != nullptr; p = state_->pending().next(*p)) {
      latest = std::max(latest, p->timestamp_ns + config_.wait_after(p->deliveries).count());
    }
    if (latest > 0) again = std::max(again, monotonic(latest) + inactive_after_);
  }
  if (again > time) {
    inactivity_check_ = again;
    return rearm();
  }
  stream_.remove_consumer(*this, End::Inactive);
}

// --- where it starts

void StreamConsumer::restart_at(uint64_t seq, uint64_t consumer_seq) {
  next_seq_ = seq;
  next_delivery_ = consumer_seq;
  store::ConsumerState state;
  state.delivered = {consumer_seq - 1, seq - 1};
  state.ack_floor = state.delivered;
  state_->reset(std::move(state));
  deadlines_.clear();
  redeliveries_.clear();
  redelivery_count_ = 0;
  redelivered_ = 0;
  is_blocked_ = false;
  forget_num_pending();
}

// When everything the filter chooses is at `start` or later: to the first of it.
uint64_t StreamConsumer::skip_to_filtered(uint64_t start) {
  const uint64_t last = messages_.last_seq();
  uint64_t nearest = last;
  for (const std::string& pattern : filter_->patterns()) {
    const uint64_t first = messages_.next_seq(store::SubjectFilter(messages_, {pattern}), 0);
    if (first >= start && first != 0) nearest = std::min(nearest, first);
  }
  return !filter_->is_all() && nearest > start && nearest < last ? nearest : start;
}

void StreamConsumer::select_start() {
  const uint64_t first = std::max<uint64_t>(messages_.first_seq(), 1);
  const uint64_t last = messages_.last_seq();
  uint64_t start = first;
  switch (config_.deliver_policy) {
    case DeliverPolicy::Last:
      start = last;
      if (!filter_->is_all()) {
        start = 0;
        for (const std::string& pattern : filter_->patterns()) {
          start = std::max(start, messages_.last_seq_of(pattern));
        }
      }
      break;
    case DeliverPolicy::New: start = last + 1; break;
    case DeliverPolicy::ByStartSequence: start = config_.opt_start_seq; break;
    case DeliverPolicy::ByStartTime:
      start = messages_.seq_at(*config_.opt_start_time);
      start = skip_to_filtered(start);
      break;
    case DeliverPolicy::LastPerSubject:
      // With one message a subject the stream itself is the list.
      if (stream_.config().max_msgs_per_subject == 1) break;
      messages_.last_seqs(*filter_, UINT64_MAX, SIZE_MAX, skip_list_);
      skip_resume_ = last;
      start = skip_list_.empty() ? last : skip_list_.front();
      break;
    default: break;
  }
  if (config_.deliver_policy != DeliverPolicy::ByStartSequence) start = std::min(start, last + 1);
  restart_at(std::max({start, first, uint64_t{1}}), 1);
}

void StreamConsumer::restore() {
  const store::ConsumerState& state = state_->state();
  // A stream that lost its last messages gives their sequences away again.
  const uint64_t last = messages_.last_seq();
  if (state.delivered.stream > last && config_.deliver_policy != DeliverPolicy::ByStartSequence) {
    store::ConsumerState mended = state;
    while (const store::Pending* p = mended.pending.lower_bound(last + 1)) mended.pending.erase(p->stream_seq);
    while (const store::Pending* p = mended.exhausted.lower_bound(last + 1)) mended.exhausted.erase(p->stream_seq);
    mended.delivered.stream = last;
    if (mended.ack_floor.stream > last) mended.ack_floor = {mended.delivered.consumer, last};
    state_->reset(std::move(mended));
  }
  next_seq_ = state.delivered.stream + 1;
  next_delivery_ = state.delivered.consumer + 1;
  for (store::Pending* p = state_->pending().first(); p != nullptr; p = state_->pending().next(*p)) {
    p->is_queued = false;
    if (p->deliveries > 1) ++redelivered_;
    deadlines_.add(p->stream_seq, p->timestamp_ns + config_.wait_after(p->deliveries).count(),
                   state_->pending());
  }
  std::vector<uint64_t> lost;
  for (const store::Pending* p = state_->pending().first(); p != nullptr; p = state_->pending().next(*p)) {
    if (p->stream_seq >= messages_.first_seq()) break;
    lost.push_back(p->stream_seq);
  }
  for (const uint64_t seq : lost) {
    const store::Pending* pending = state_->pending().find(seq);
    const uint64_t consumer_seq = pending->consumer_seq;
    settle(seq);
    move_ack_floor(consumer_seq, seq);
  }
}

void StreamConsumer::save_config() {
  json::Writer out;
  out.begin_object();
  out.field("created", format_rfc3339(created_));
  out.key("config");
  write_consumer_config(out, config_);
  out.end_object();
  state_ = &messages_.put_consumer(name_, out.take(), state_->in_memory());
}

// --- what the stream says

void StreamConsumer::on_visible(uint64_t) {
  if (pull_ != nullptr ? !pull_->empty() : push_->is_active) wake();
}

void StreamConsumer::on_removed(uint64_t seq, std::string_view subject, store::Removal) {
  if (is_counted_ && seq >= next_seq_ && seq <= counted_to_ && filter_->matches(subject)) {
    if (skip_at_ < skip_list_.size() && seq <= skip_resume_) {
      const auto begin = skip_list_.begin() + static_cast<ptrdiff_t>(skip_at_);
      if (std::binary_search(begin, skip_list_.end(), seq)) --pending_count_;
    } else if (pending_count_ > 0) {
      --pending_count_;
    }
  }
  const store::Pending* pending = state_->pending().find(seq);
  if (pending != nullptr) {
    gone_.push_back({seq, pending->consumer_seq, pending->deliveries});
    wake();
  } else if (!state_->state().exhausted.empty()) {
    state_->settled(seq);
  }
}

void StreamConsumer::on_purged(std::string_view filter, uint64_t) {
  forget_num_pending();
  const std::vector<std::string>& patterns = filter_->patterns();
  const uint64_t first = messages_.first_seq();
  const auto any_pattern = [&](auto holds) { return std::any_of(patterns.begin(), patterns.end(), holds); };
  if (filter.empty()) return move_past_purge(first, false);
  if (any_pattern([&](const std::string& each) { return subject::is_subset(each, filter); })) {
    const store::SubjectFilter purged(messages_, {std::string(filter)});
    const uint64_t next = messages_.next_seq(purged, first);
    return move_past_purge(next != 0 ? next : messages_.last_seq() + 1, false);
  }
  if (patterns.empty() || any_pattern([&](const std::string& each) { return subject::is_subset(filter, each); })) {
    move_past_purge(first, true);
  }
}

// Everything before `start` that this consumer would get is gone; when the purge was narrower than
// its filter also some after it.
void StreamConsumer::move_past_purge(uint64_t start, bool is_wider) {
  store::ConsumerState state = state_->state();
  next_seq_ = std::max(next_seq_, start);
  if (state.ack_floor.stream < start && start > 0) {
    state.ack_floor.stream = start - 1;
    const store::SubjectFilter all(messages_, {});
    for (store::PendingMap* map : {&state.pending, &state.exhausted}) {
      for (uint64_t seq = 0; const store::Pending* p = map->lower_bound(seq);) {
        seq = p->stream_seq + 1;
        const bool is_gone = p->stream_seq < start ||
                             (is_wider && messages_.next_seq(all, p->stream_seq, p->stream_seq) == 0);
        if (!is_gone) continue;
        if (map == &state.pending) {
          state.ack_floor.consumer = std::max(state.ack_floor.consumer, p->consumer_seq);
          state.acked_at_ns = now_ns();
          if (p->deliveries > 1) --redelivered_;
          if (p->is_queued) --redelivery_count_;
        }
        map->erase(p->stream_seq);
      }
    }
  }
  state.delivered.stream = std::max(state.delivered.stream, next_seq_ - 1);
  if (state.pending.empty()) state.ack_floor = {next_delivery_ - 1, next_seq_ - 1};
  state_->reset(std::move(state));
  unblock();
}

bool StreamConsumer::wants(std::string_view subject) const { return filter_->matches(subject); }

bool StreamConsumer::needs(uint64_t seq, std::string_view subject) const {
  if (!filter_->matches(subject)) return false;
  const store::ConsumerState& state = state_->state();
  if (state.exhausted.find(seq) != nullptr) return true;
  if (seq <= state.ack_floor.stream) return false;
  if (config_.ack_policy != AckPolicy::Explicit) return true;
  return seq >= next_seq_ || state.pending.find(seq) != nullptr;
}

// --- changes

void StreamConsumer::update(ConsumerConfig config) {
  const ConsumerConfig before = std::exchange(config_, std::move(config));
  set_inactive_threshold();
  save_config();
  std::string reason;
  if (config_.sample_freq != before.sample_freq) {
    sample_percent_ = config_.sample_freq.empty()
                          ? 0
                          : parse_sample_frequency(config_.sample_freq, reason).value_or(0);
  }
  if (config_.deliver_subject != before.deliver_subject || config_.deliver_group != before.deliver_group) {
    // What was delivered to the old subject is delivered again.
    if (config_.deliver_subject != before.deliver_subject) {
      for (store::Pending* p = state_->pending().first(); p != nullptr;) {
        const uint64_t after = p->stream_seq + 1;
        if (!p->is_queued && (config_.max_deliver != 1 || !give_up_if_exhausted(*p))) {
          queue_redelivery(*p);
        }
        p = state_->pending().lower_bound(after);
      }
    }
    push_.reset();
    set_up_push();
  }
  if (push_ != nullptr && config_.rate_limit_bps != before.rate_limit_bps) set_rate();
  if (config_.ack_wait != before.ack_wait || config_.backoff != before.backoff) {
    deadlines_.clear();
    for (const store::Pending* p = state_->pending().first(); p != nullptr; p = state_->pending().next(*p)) {
      if (p->is_queued) continue;
      deadlines_.add(p->stream_seq, p->timestamp_ns + config_.wait_after(p->deliveries).count(),
                     state_->pending());
    }
  }
  if (config_.inactive_threshold != before.inactive_threshold) {
    inactivity_check_ = {};
    if (inactive_after_ > Duration()) inactivity_check_ = now() + inactive_after_;
  }
  if (config_.pause_until != before.pause_until) {
    pause_ends_ = {};
    if (is_paused()) pause_ends_ = monotonic(config_.pause_until->time_since_epoch().count());
    advise_pause();
  }
  if (config_.filters() != before.filters()) {
    set_filter();
    forget_num_pending();
    skip_list_.clear();
    skip_at_ = 0;
    if (stream_.config().retention == Retention::Interest) stream_.on_interest_changed();
  }
  rearm();
  wake();
}

ApiResult<uint64_t> StreamConsumer::reset(uint64_t seq) {
  constexpr uint16_t kInvalidReset = 10204;
  if (seq == 0) {
    seq = state_->state().ack_floor.stream + 1;
  } else if (config_.deliver_policy == DeliverPolicy::ByStartSequence) {
    if (seq < config_.opt_start_seq) return api_error(kInvalidReset, "below start seq");
  } else if (config_.deliver_policy == DeliverPolicy::ByStartTime) {
    if (seq < messages_.seq_at(*config_.opt_start_time)) {
      return api_error(kInvalidReset, "below start time");
    }
  } else if (config_.deliver_policy != DeliverPolicy::All) {
    return api_error(kInvalidReset, "not allowed");
  }
  skip_list_.clear();
  skip_at_ = 0;
  gone_.clear();
  restart_at(seq, 1);
  if (stream_.config().retention == Retention::Interest) stream_.on_interest_changed();
  wake();
  return seq;
}

void StreamConsumer::end(End reason) {
  if (has_ended_) return;
  has_ended_ = true;
  stream_.account().router().remove(*this);
  if (pull_ != nullptr) {
    const bool is_shutdown = reason == End::ServerShutdown;
    while (!pull_->empty()) {
      end_request(*pull_->front(), is_shutdown ? "409 Server Shutdown" : "409 Consumer Deleted",
                  is_shutdown);
    }
  }
  if (reason == End::Deleted || reason == End::Inactive) advise_created(false);
  push_.reset();
  if (pull_ == nullptr) pull_ = std::make_unique<PullQueue>(0);  // nothing is delivered any more
  timer_.reset();
  stream_.account().jetstream().loop().cancel(*this);
}

}  // namespace brokkr::jetstream
