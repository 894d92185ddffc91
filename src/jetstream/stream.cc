#include "jetstream/stream.h"

#include <algorithm>

#include "broker/message_trace.h"
#include "jetstream/direct_get.h"
#include "jetstream/ingest.h"
#include "jetstream/jetstream.h"
#include "jetstream/publish_headers.h"
#include "jetstream/schedules.h"
#include "jetstream/sources.h"

namespace brokkr::jetstream {
namespace {

// Expired messages are looked for no more often than this.
constexpr Duration kExpiryPause = std::chrono::milliseconds(100);
// Messages looked at in one turn while searching for those nobody needs.
constexpr size_t kSweepStep = 2000;
constexpr size_t kDeferredMax = 10'000;

}  // namespace

store::StreamOptions store_options(const StreamConfig& config, std::string_view account,
                                   WallTime created) {
  store::StreamOptions options;
  options.account = account;
  options.name = config.name;
  options.config = stream_config_json(config);
  options.storage =
      config.storage == StorageType::File ? store::Storage::File : store::Storage::Memory;
  options.compression =
      config.compression == StoreCompression::S2 ? store::Compression::Zstd : store::Compression::None;
  options.async_persist = config.persist_mode == PersistMode::Async;
  options.first_seq = std::max<uint64_t>(config.first_seq, 1);
  options.created = created;
  options.limits.max_msgs = config.max_msgs;
  options.limits.max_bytes = config.max_bytes;
  options.limits.max_msgs_per_subject = config.max_msgs_per_subject;
  options.limits.max_age = config.max_age;
  options.limits.discard_new = config.discard == Discard::New;
  options.limits.discard_new_per_subject = config.discard_new_per_subject;
  options.limits.duplicate_window = config.duplicate_window;
  return options;
}

// A message that came while the stream was at work on another.
struct Stream::Deferred {
  std::string subject;
  std::string reply;
  std::string headers;
  std::string body;
};

// Held while the stream or its store is being changed.
class Stream::Busy {
 public:
  // `may_finish`: at the end of the outermost one, what waited is done at once; else in the next turn.
  Busy(Stream& stream, bool may_finish) : stream_(stream), may_finish_(may_finish) {
    ++stream_.busy_;
  }
  ~Busy() {
    if (--stream_.busy_ > 0) return;
    if (stream_.deferred_.empty() && !stream_.is_visible_news_) return;
    if (may_finish_) {
      stream_.run_deferred();
    } else {
      stream_.account_.jetstream().loop().schedule(*stream_.deferred_task_);
    }
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  Stream& stream_;
  const bool may_finish_;
};

// Removes messages whose time has come.
class Stream::Expiry final : public UpkeepItem {
 public:
  explicit Expiry(Stream& stream) : stream_(stream) {}
  void on_due(WallTime now) override {
    const auto next = [&] {
      const Busy busy(stream_, false);
      return stream_.messages_.expire(now);
    }();
    if (next) {
      stream_.account_.jetstream().upkeep().call_at(*this, std::max(*next, now + kExpiryPause));
    }
    stream_.place_markers();
  }

 private:
  Stream& stream_;
};

// Goes through all messages, some in each turn, and removes those no consumer needs.
class Stream::Sweep final : public io::Task {
 public:
  explicit Sweep(Stream& stream) : all_(stream.messages_, {}), stream_(stream) {}
  void begin() {
    next_ = stream_.messages_.first_seq();
    until_ = stream_.messages_.last_seq();
    run();
  }
  void run() override {
    const Busy busy(stream_, false);
    for (size_t i = 0; i < kSweepStep; ++i) {
      auto message = stream_.messages_.load_next(all_, next_, until_);
      if (!message) return;
      next_ = message->seq + 1;
      if (!stream_.is_needed(message->seq, message->subject, nullptr)) {
        stream_.messages_.remove(message->seq, store::Removal::Acknowledged);
      }
    }
    stream_.account_.jetstream().loop().schedule(*this);
  }

 private:
  store::SubjectFilter all_;
  Stream& stream_;
  uint64_t next_ = 0;
  uint64_t until_ = 0;
};

namespace {

// Runs a member function in the loop's next turn.
template <typename Work>
class StreamTask final : public io::Task {
 public:
  explicit StreamTask(Work work) : work_(std::move(work)) {}
  void run() override { work_(); }

 private:
  Work work_;
};

}  // namespace

Stream::Stream(Account& account, StreamConfig config, store::Stream& messages, WallTime created)
    : account_(account),
      config_(std::move(config)),
      messages_(messages),
      created_(created),
      told_visible_(messages.visible_seq()),
      ingest_(std::make_unique<Ingest>(*this)),
      expiry_(std::make_unique<Expiry>(*this)) {
  auto run = [this] { run_deferred(); };
  deferred_task_ = std::make_unique<StreamTask<decltype(run)>>(run);
  messages_.set_observer(this);
  ingest_->configure();
  subscribe();
  apply_services();
  if (config_.max_age > Duration{} || config_.allow_msg_ttl) {
    account_.jetstream().upkeep().call_at(*expiry_, account_.jetstream().now());
  }
}

Stream::~Stream() {
  subscriptions_.clear();
  consumers_.clear();
  messages_.set_observer(nullptr);
}

void Stream::subscribe() {
  subscriptions_.clear();
  broker::Shard& shard = account_.jetstream().shard();
  for (const std::string& subject : config_.subjects) {
    subscriptions_.push_back(
        shard.subscribe(account_.interest(), subject, {},
                        [this](const broker::Message& message) { capture(message); }));
    subscriptions_.back()->take_traces();
  }
}

// Makes and drops the parts that only some configurations have.
void Stream::apply_services() {
  if (config_.allow_msg_schedules && schedules_ == nullptr) {
    schedules_ = std::make_unique<Schedules>(*this);
  }
  if (!config_.allow_direct && !config_.mirror_direct) {
    direct_get_.reset();
  } else if (direct_get_ == nullptr) {
    direct_get_ = std::make_unique<DirectGet>(*this);
  }
  if (direct_get_ != nullptr) direct_get_->configure();
  if (!config_.mirror && config_.sources.empty()) {
    sources_.reset();
  } else if (sources_ == nullptr) {
    sources_ = std::make_unique<Sources>(*this);
  }
  if (sources_ != nullptr) sources_->configure();
}

void Stream::update(StreamConfig config) {
  const StreamConfig old = std::exchange(config_, std::move(config));
  {
    const Busy busy(*this, false);
    messages_.update(store_options(config_, account_.name(), created_));
  }
  ingest_->configure();
  if (config_.subjects != old.subjects) subscribe();
  apply_services();
  if (config_.max_age > Duration{} || config_.allow_msg_ttl) {
    account_.jetstream().upkeep().call_by(*expiry_, account_.jetstream().now());
  }
  if (config_.retention != old.retention) on_interest_changed();
}

void Stream::end(Consumer::End reason) {
  is_ended_ = true;
  subscriptions_.clear();
  sources_.reset();
  direct_get_.reset();
  schedules_.reset();
  sweep_.reset();
  ingest_->end();
  deferred_.clear();
  account_.jetstream().upkeep().cancel(*expiry_);
  for (auto& [name, consumer] : consumers_) consumer->end(reason);
  consumers_.clear();
}

// --- publishes -------------------------------------------------------------------------------

void Stream::capture(const broker::Message& message) {
  if (message.trace != nullptr) return capture_traced(message);
  ingest(message.subject, message.reply, message.payload.substr(0, message.header_size),
         message.payload.substr(message.header_size), message.from);
}

// Told of and, unless that was all that was wanted, stored; what is stored is not traced again when
// it is delivered.
void Stream::capture_traced(const broker::Message& message) {
  const std::string transformed = ingest_->apply_transform(message.subject);
  message.trace->add_jetstream(config_.name, transformed.empty() ? message.subject : transformed,
                               false, {}, account_.jetstream().shard().loop().clock().wall_now());
  if (message.trace->is_only()) return;
  const std::string headers =
      broker::without_trace_wish(message.payload.substr(0, message.header_size));
  ingest(message.subject, message.reply, headers, message.payload.substr(message.header_size),
         message.from);
}

void Stream::ingest(std::string_view subject, std::string_view reply, std::string_view headers,
                    std::string_view body, const broker::Connection* from) {
  if (is_ended_) return;
  if (busy_ > 0) {
    // Said by a consumer, say, about a message this stream is removing, and captured by it.
    if (deferred_.size() >= kDeferredMax) return;
    deferred_.push_back(
        {std::string(subject), std::string(reply), std::string(headers), std::string(body)});
    return;
  }
  {
    const Busy busy(*this, true);
    ingest_->publish(subject, reply, headers, body, from);
  }
  ingest_->on_visible(messages_.visible_seq());
}

std::optional<uint64_t> Stream::add_sourced(std::string_view subject, std::string_view headers,
                                            std::string_view body) {
  const Busy busy(*this, false);
  return ingest_->add_sourced(subject, headers, body);
}

bool Stream::add_mirrored(uint64_t seq, int64_t timestamp_ns, std::string_view subject,
                          std::string_view headers, std::string_view body) {
  const Busy busy(*this, false);
  return ingest_->add_mirrored(seq, timestamp_ns, subject, headers, body);
}

void Stream::run_deferred() {
  if (is_visible_news_) tell_visible();
  while (!deferred_.empty() && busy_ == 0 && !is_ended_) {
    std::vector<Deferred> deferred;
    deferred.swap(deferred_);
    for (const Deferred& message : deferred) {
      ingest(message.subject, message.reply, message.headers, message.body, nullptr);
    }
  }
}

void Stream::stall(const broker::Connection* from, Duration how_long) {
  if (from == nullptr) return;
  broker::Connection* connection = account_.jetstream().shard().find_connection(from->id());
  if (connection != nullptr) connection->stall(how_long);
}

// --- the store's news ------------------------------------------------------------------------

void Stream::on_store_failed() {
  ingest_->on_store_failed();
}

void Stream::on_visible(uint64_t) {
  is_visible_news_ = true;
  if (busy_ == 0) tell_visible();
}

void Stream::tell_visible() {
  is_visible_news_ = false;
  const uint64_t seq = messages_.visible_seq();
  ingest_->on_visible(seq);
  if (seq <= told_visible_) return;
  told_visible_ = seq;
  for (auto next = consumers_.begin(); next != consumers_.end();) {
    Consumer& consumer = *(next++)->second;
    consumer.on_visible(seq);
  }
}

void Stream::on_removed(uint64_t seq, std::string_view subject, store::Removal why) {
  const Busy busy(*this, false);
  if (why == store::Removal::Deleted || why == store::Removal::Purged) is_removal_news_ = true;
  if (schedules_ != nullptr) schedules_->on_removed(seq, subject);
  for (auto& [name, consumer] : consumers_) consumer->on_removed(seq, subject, why);
}

void Stream::on_purged(std::string_view filter, uint64_t below) {
  const Busy busy(*this, false);
  is_removal_news_ = true;
  if (schedules_ != nullptr) schedules_->on_purged(filter, below);
  for (auto& [name, consumer] : consumers_) consumer->on_purged(filter, below);
}

store::Lsn Stream::durable_after() {
  if (config_.storage == StorageType::Memory) return 0;
  const store::Store& store = account_.jetstream().store();
  if (is_removal_news_) {
    is_removal_news_ = false;
    removed_at_ = store.appended();
  }
  if (messages_.visible_seq() < messages_.last_seq()) return store.appended();
  return removed_at_ > store.durable() ? removed_at_ : 0;
}

// --- the end of a message's life -------------------------------------------------------------

void Stream::on_stored(int64_t timestamp_ns, uint64_t expires_at) {
  const bool has_age = config_.max_age > Duration{};
  if (expires_at == store::kNeverExpires || (!has_age && expires_at == 0)) return;
  WallTime at = WallTime::max();
  if (has_age) at = WallTime(Duration(timestamp_ns)) + config_.max_age;
  if (expires_at != 0) {
    at = std::min(at, store::expiry_time(timestamp_ns, expires_at));
  }
  account_.jetstream().upkeep().call_by(*expiry_, at);
}

void Stream::on_schedule_stored(uint64_t seq, std::string_view subject, std::string_view headers,
                                int64_t timestamp_ns) {
  if (schedules_ != nullptr) schedules_->add(seq, subject, headers, timestamp_ns);
}

// The last message of a subject gives way to a marker, so that whoever watches hears of it.
bool Stream::on_expiring(const store::Record& message) {
  if (config_.subject_delete_marker_ttl <= Duration{}) return false;
  const PublishHeaders fields(message.headers);
  if (!fields.get(HeaderKey::MarkerReason).empty()) return false;
  if (fields.get(HeaderKey::KvOperation) == "PURGE") return false;
  if (messages_.count_of(message.subject) != 1) return false;
  markers_.emplace_back(message.subject);
  return true;
}

void Stream::place_markers() {
  if (markers_.empty()) return;
  std::vector<std::string> subjects;
  subjects.swap(markers_);
  const auto ttl = std::chrono::floor<std::chrono::seconds>(config_.subject_delete_marker_ttl);
  std::string headers = "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: ";
  headers.append(format_go_duration(ttl)).append("\r\nNats-Rollup: sub\r\n\r\n");
  for (const std::string& subject : subjects) {
    // Whatever came in the meantime is newer than the end of what was there.
    if (messages_.count_of(subject) == 1) (void)add_sourced(subject, headers, {});
  }
}

// --- consumers -------------------------------------------------------------------------------

Consumer* Stream::find_consumer(std::string_view name) {
  const auto found = consumers_.find(name);
  return found == consumers_.end() ? nullptr : found->second.get();
}

void Stream::add_consumer(std::unique_ptr<Consumer> consumer) {
  const std::string name = consumer->name();
  consumers_[name] = std::move(consumer);
}

void Stream::remove_consumer(Consumer& consumer, Consumer::End reason) {
  const auto found = consumers_.find(consumer.name());
  if (found == consumers_.end() || found->second.get() != &consumer) return;
  const std::unique_ptr<Consumer> removed = std::move(found->second);
  consumers_.erase(found);
  removed->end(reason);
  messages_.delete_consumer(removed->name());
  if (config_.retention == Retention::Interest) on_interest_changed();
}

bool Stream::is_needed(uint64_t seq, std::string_view subject, const Consumer* except) {
  return std::any_of(consumers_.begin(), consumers_.end(), [&](const auto& entry) {
    return entry.second.get() != except && entry.second->needs(seq, subject);
  });
}

void Stream::on_settled(Consumer& consumer, uint64_t seq) {
  if (config_.retention == Retention::Limits || seq < messages_.first_seq()) return;
  const Busy busy(*this, false);
  if (consumers_.size() > 1) {
    auto message = messages_.load(seq);
    if (!message) return;
    // Needed as long as the views live.
    const std::string subject(message->subject);
    if (is_needed(seq, subject, &consumer)) return;
  }
  messages_.remove(seq, store::Removal::Acknowledged);
}

void Stream::on_interest_changed() {
  if (config_.retention != Retention::Interest || is_ended_) return;
  if (sweep_ == nullptr) sweep_ = std::make_unique<Sweep>(*this);
  sweep_->begin();
}

void Stream::hurry_sources() {
  if (sources_ != nullptr) sources_->hurry();
}

void Stream::write_sources(json::Writer& out) {
  if (sources_ != nullptr) sources_->write_info(out);
}

}  // namespace brokkr::jetstream
