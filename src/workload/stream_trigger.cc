#include "workload/stream_trigger.h"

#include <algorithm>

#include "base/json.h"
#include "client/key_value.h"
#include "client/object_store.h"

namespace brokkr::workload {
namespace {

using client::ApiError;
using client::ApiResult;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kExpires = seconds(30);
constexpr Duration kHeartbeat = seconds(10);
constexpr Duration kStreamRetryMin = milliseconds(250);
constexpr Duration kStreamRetryMax = seconds(15);
constexpr Duration kNoCapacityPause = milliseconds(50);
constexpr uint32_t kAloneMax = 5;
constexpr std::string_view kTriggerNamespaceKey = "io.brokkr.namespace";
constexpr int64_t kTicksPerSchedule = 100;

client::StreamConfig schedule_stream(const std::string& name, const std::string& ns) {
  client::StreamConfig config;
  config.name = name;
  config.description = "ticks of schedules";
  config.subjects = {"$NEX.SCHEDULE." + ns + ".>"};
  config.max_msgs_per_subject = kTicksPerSchedule;
  config.max_age = std::chrono::hours(1);
  config.duplicate_window = std::chrono::minutes(2);
  config.metadata[std::string(kTriggerNamespaceKey)] = ns;
  return config;
}

}  // namespace

StreamTrigger::StreamTrigger(const Deps& deps, const Facts& facts, const Trigger& trigger)
    : deps_(deps), facts_(facts), trigger_(trigger), plan_(plan_trigger(facts, trigger)),
      js_(deps.connection), limit_(plan_.window), retry_(deps.loop, [this] { retry(); }),
      pump_(deps.loop, [this] { pump(); }), progress_(deps.loop, [this] { tell_progress(); }) {}

StreamTrigger::~StreamTrigger() {
  for (const auto& [id, item] : items_) {
    if (!client::nak(deps_.connection, item.message.reply)) return;
  }
}

void StreamTrigger::start(client::DoneHandler on_live) {
  on_live_ = std::move(on_live);
  // What the old server was asked for is asked for again.
  reconnects_ = deps_.connection.watch_reconnects([this] {
    if (fetch_ == nullptr || is_draining_) return;
    fetch_.reset();
    fetch();
  });
  find_stream();
}

void StreamTrigger::find_stream() {
  js_.stream_info(plan_.stream, [this, alive = std::weak_ptr(alive_)](auto result) {
    if (alive.expired() || is_draining_) return;
    if (result) return on_stream(*result);
    const bool is_absent = result.error().err_code == client::kStreamNotFoundError;
    if (!is_absent || trigger_.kind == Trigger::Kind::Stream) return fail(result.error());
    make_stream();
  });
}

// Buckets come into being with who watches them.
void StreamTrigger::make_stream() {
  const auto on_made = [this, alive = std::weak_ptr(alive_)](const auto& result) {
    if (alive.expired() || is_draining_) return;
    // Another replica may have been faster: what there is counts.
    if (!result && result.error().err_code != client::kStreamNameInUseError) {
      return fail(result.error());
    }
    find_consumer();
  };
  if (trigger_.kind == Trigger::Kind::KeyValue) {
    client::KeyValueConfig config;
    config.bucket = trigger_.bucket;
    return client::KeyValue::create(js_, config, [on_made](auto result) { on_made(result); });
  }
  if (trigger_.kind == Trigger::Kind::Object) {
    client::ObjectStoreConfig config;
    config.bucket = trigger_.bucket;
    return client::ObjectStore::create(js_, config, [on_made](auto result) { on_made(result); });
  }
  js_.create_stream(schedule_stream(plan_.stream, facts_.ns),
                    [on_made](auto result) { on_made(result); });
}

void StreamTrigger::on_stream(const client::StreamInfo& info) {
  is_work_queue_ = info.config.retention == client::Retention::WorkQueue;
  const auto owner = info.config.metadata.find(std::string(kTriggerNamespaceKey));
  if (owner != info.config.metadata.end() && owner->second != facts_.ns) {
    return fail(ApiError{{Errc::PermissionDenied,
                          "stream " + plan_.stream + " is of another namespace"}});
  }
  find_consumer();
}

void StreamTrigger::find_consumer() {
  js_.consumer_info(plan_.stream, plan_.consumer,
                    [this, alive = std::weak_ptr(alive_)](auto result) {
    if (alive.expired() || is_draining_) return;
    if (!result) {
      if (result.error().err_code != client::kConsumerNotFoundError) return fail(result.error());
      return put_consumer(nullptr);
    }
    if (result->config.description != plan_.description) {
      return fail(ApiError{{Errc::AlreadyExists, "consumer " + plan_.consumer + " of stream " +
                                                     plan_.stream + " is not this trigger's"}});
    }
    put_consumer(&result->config);
  });
}

void StreamTrigger::put_consumer(const client::ConsumerConfig* existing) {
  js_.create_consumer(
      plan_.stream, consumer_of(plan_, trigger_, existing, is_work_queue_),
      [this, alive = std::weak_ptr(alive_), is_update = existing != nullptr](auto result) {
        if (alive.expired() || is_draining_) return;
        if (!result && !is_update) return fail(result.error());
        if (!result) {
          deps_.log.warn("workload: " + plan_.description + " keeps its consumer as it was: " +
                         result.error().text);
        }
        on_ready();
      });
}

void StreamTrigger::on_ready() {
  retry_pause_ = {};
  fetch();
  if (const auto on_live = std::move(on_live_)) on_live({});
}

// Before it was live its function cannot start; afterwards it tries again for as long as it takes.
void StreamTrigger::fail(Failed error) {
  const std::string text = describe(trigger_) + ": " + error.text;
  if (const auto on_live = std::move(on_live_)) return on_live(Error{error.code, text});
  deps_.target.report("TRIGGERTROUBLE", text, {});
  retry_pause_ = std::clamp<Duration>(retry_pause_ * 2, kStreamRetryMin, kStreamRetryMax);
  retry_.start(retry_pause_);
}

void StreamTrigger::retry() { find_stream(); }

void StreamTrigger::drain(Callback<void()> done) {
  on_drained_ = std::move(done);
  is_draining_ = true;
  is_fetch_over_ = fetch_ == nullptr;
  retry_.stop();
  if (fetch_ != nullptr) {
    fetch_->drain([this] {
      is_fetch_over_ = true;
      check_drained();
    });
  }
  deps_.loop.post([this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) check_drained();
  });
}

void StreamTrigger::check_drained() {
  if (!is_draining_ || !is_fetch_over_ || !items_.empty()) return;
  if (const auto done = std::move(on_drained_)) done();
}

// Asks for as much as there is room for, once half of it is free.
void StreamTrigger::fetch() {
  if (is_draining_ || fetch_ != nullptr || retry_.is_armed()) return;
  if (items_.size() > plan_.window / 2) return;
  client::PullOptions options;
  options.batch = plan_.window - items_.size();
  options.expires = kExpires;
  options.idle_heartbeat = kHeartbeat;
  auto started = client::Fetch::start(
      js_, plan_.stream, plan_.consumer, options,
      [this](const client::Message& m, const client::Delivery& d) { on_message(m, d); },
      [this](ApiResult<client::Done> result) { on_fetch_end(result); });
  if (!started) return retry_.start(kStreamRetryMax);
  fetch_ = std::move(*started);
}

void StreamTrigger::on_fetch_end(const ApiResult<client::Done>& result) {
  fetch_.reset();
  if (is_draining_) {
    is_fetch_over_ = true;
    return check_drained();
  }
  if (result || client::is_end_of_messages(result.error())) return fetch();
  // A silent server is asked again; whatever else, from the beginning.
  if (result.error().code == Errc::Closed) return;
  fail(result.error());
}

void StreamTrigger::on_message(const client::Message& message, const client::Delivery& delivery) {
  const uint64_t id = ++next_id_;
  Item& item = items_[id];
  item.message = client::OwnedMessage(message);
  item.delivery = client::parse_delivery(item.message.reply).value_or(delivery);
  item.told = deps_.loop.now();
  waiting_.push_back(id);
  if (!progress_.is_armed()) progress_.start(plan_.ack_wait / 3);
  pump();
}

void StreamTrigger::pump() {
  if (is_alone() || pump_.is_armed()) return;
  if (!suspects_.empty()) {
    if (running_ > 0) return;
    alone_ = suspects_.front();
    suspects_.pop_front();
    return run(alone_);
  }
  while (!waiting_.empty() && running_ < limit_) {
    const uint64_t id = waiting_.front();
    waiting_.pop_front();
    run(id);
  }
}

void StreamTrigger::run(uint64_t id) {
  const Item& item = items_.at(id);
  const client::Message message = item.message.view();
  const TriggerMessage seen = read_message(trigger_, message, item.delivery);
  ++running_;
  const auto deliveries = static_cast<uint16_t>(std::min<uint64_t>(item.delivery.delivered_count, UINT16_MAX));
  deps_.target.run({seen.subject, seen.headers, message.payload, deliveries},
                   [this, id, alive = std::weak_ptr(alive_)](const CallResult& result) {
                     if (!alive.expired()) on_result(id, result);
                   });
}

void StreamTrigger::on_result(uint64_t id, const CallResult& result) {
  --running_;
  const bool was_alone = std::exchange(alone_, alone_ == id ? 0 : alone_) == id;
  Item& item = items_.at(id);
  if (was_alone) ++item.alone;
  if (result.code == runtime::OutcomeCode::NoCapacity) {
    on_no_capacity(id);
  } else if (result.code == runtime::OutcomeCode::Ok) {
    if (limit_ < plan_.window) ++limit_;
    const Status sent = client::ack(deps_.connection, item.message.reply);
    if (!sent) deps_.log.debug("workload: not acknowledged: " + sent.error().text);
    forget(id);
  } else if (result.is_shared_fate && item.alone < kAloneMax) {
    suspects_.push_back(id);
  } else {
    on_failure(id, static_cast<uint16_t>(result.code), std::string(result.error));
  }
  if (!is_draining_) fetch();
  pump();
  check_drained();
}

// It did not run, so nothing is known about it. A function that cannot keep up gets less at once.
void StreamTrigger::on_no_capacity(uint64_t id) {
  if (is_draining_) return come_again(id, {});
  waiting_.push_front(id);
  if (pump_.is_armed()) return;
  limit_ = std::max<uint32_t>(limit_ / 2, 1);
  pump_.start(kNoCapacityPause);
}

void StreamTrigger::on_failure(uint64_t id, uint16_t code, const std::string& error) {
  const Item& item = items_.at(id);
  if (item.delivery.delivered_count < plan_.max_deliver) {
    return come_again(id, pause_after(plan_, item.delivery.delivered_count));
  }
  if (!plan_.dead_letter.empty()) return publish_dead_letter(id, code, error, true);
  const Status sent = client::ack_term(deps_.connection, item.message.reply, error);
  if (!sent) deps_.log.debug("workload: not given up: " + sent.error().text);
  deps_.target.report("TRIGGERGAVEUP", describe(trigger_) + ": gave up: " + error, {});
  forget(id);
}

// One subject for each message: the server takes the first dead letter and no other, however often a
// node is lost between this and the message's end.
void StreamTrigger::publish_dead_letter(uint64_t id, uint16_t code, const std::string& error,
                                        bool may_create) {
  const Item& item = items_.at(id);
  const std::string workload = facts_.ns + "/" + facts_.name;
  const std::string sequence = std::to_string(item.delivery.stream_seq);
  const std::string headers =
      dead_letter_headers(item.message.view(), item.delivery,
                          {workload, error, code, deps_.loop.clock().wall_now()});
  const std::string subject = plan_.dead_letter_subject + "." + sequence;
  const std::string msg_id = plan_.consumer + "." + plan_.stream + "." + sequence;
  client::StreamPublishOptions options;
  options.headers = headers;
  options.msg_id = msg_id;
  options.expected_stream = plan_.dead_letter;
  options.expected_last_subject_seq = 0;
  js_.publish(subject, item.message.payload, options,
              [this, id, code, error, may_create, alive = std::weak_ptr(alive_)](auto result) {
    if (alive.expired()) return;
    const int err_code = result ? 0 : result.error().err_code;
    const bool is_there = err_code == client::kWrongLastSequenceError ||
                          err_code == client::kWrongLastSequenceConstantError;
    if (result || is_there) return on_dead_letter(id, error);
    Item& failed = items_.at(id);
    if (result.error().code == Errc::LimitExceeded && !failed.message.payload.empty()) {
      // With what the dead letter says besides it is too large: the stream has its bytes.
      failed.message.payload.clear();
      return publish_dead_letter(id, code, error, may_create);
    }
    if (may_create && err_code == 0) {
      return js_.create_stream(dead_letter_stream(facts_.ns, plan_.dead_letter),
                               [this, id, code, error, alive](auto) {
        if (!alive.expired()) publish_dead_letter(id, code, error, false);
      });
    }
    deps_.target.report("TRIGGERTROUBLE",
                        "dead letter not stored in " + plan_.dead_letter + ", the message stays: " +
                            result.error().text, {});
    come_again(id, plan_.backoff.back());
    check_drained();
  });
}

void StreamTrigger::on_dead_letter(uint64_t id, const std::string& error) {
  const Item& item = items_.at(id);
  const Status sent = client::ack_term(deps_.connection, item.message.reply, error);
  if (!sent) deps_.log.debug("workload: not given up: " + sent.error().text);
  json::Writer members;
  members.begin_object().field("stream", item.delivery.stream);
  members.field("sequence", item.delivery.stream_seq);
  members.field("deliveries", item.delivery.delivered_count);
  members.field("dead_letter", plan_.dead_letter).end_object();
  std::string text = members.take();
  text.front() = ',';
  text.pop_back();
  deps_.target.report("MESSAGEDEADLETTERED", error, text);
  forget(id);
  if (!is_draining_) fetch();
  check_drained();
}

void StreamTrigger::come_again(uint64_t id, Duration pause) {
  const Status sent = client::nak(deps_.connection, items_.at(id).message.reply, pause);
  if (!sent) deps_.log.debug("workload: not given back: " + sent.error().text);
  forget(id);
}

void StreamTrigger::forget(uint64_t id) { items_.erase(id); }

// The server hears of every message that is not answered yet, so that it gives it to nobody else.
void StreamTrigger::tell_progress() {
  if (items_.empty()) return;
  const MonotonicTime now = deps_.loop.now();
  for (auto& [id, item] : items_) {
    if (now - item.told < plan_.ack_wait / 4) continue;
    item.told = now;
    if (!client::ack_in_progress(deps_.connection, item.message.reply)) break;
  }
  progress_.start(plan_.ack_wait / 3);
}

}  // namespace brokkr::workload
