#include "jetstream/sources.h"

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "jetstream/ack_subject.h"
#include "jetstream/jetstream.h"
#include "jetstream/publish_headers.h"
#include "jetstream/stream.h"
#include "subject/transform.h"

namespace brokkr::jetstream {
namespace {

constexpr Duration kHealthCheck = std::chrono::seconds(10);   // silence that means a lost consumer
constexpr Duration kHeartbeat = std::chrono::seconds(1);
constexpr Duration kAnswerTimeout = std::chrono::seconds(30);
constexpr Duration kRetryAfter = std::chrono::seconds(2);     // no more requests than this
constexpr Duration kRetryMax = std::chrono::minutes(2);
constexpr Duration kLinkSettles = std::chrono::milliseconds(250);  // until interest has come over it
constexpr int kQuickRetries = 2;  // after a link has come
constexpr Duration kBusyPause = std::chrono::milliseconds(200);
constexpr int64_t kAckWaitNs = 22LL * 3600 * 1'000'000'000;
constexpr std::string_view kControl = "NATS/1.0 100 ";
constexpr std::string_view kHeaderEnd = "\r\n";
constexpr std::string_view kApiPrefix = "$JS.API";
constexpr int64_t kScanMax = 1'000'000;  // stored messages looked at for the position of an origin

// What the reply subject of a delivered message says.
struct Delivered {
  std::string_view consumer;
  uint64_t deliveries = 0;
  uint64_t stream_seq = 0;
  uint64_t consumer_seq = 0;
  int64_t timestamp_ns = 0;
  uint64_t pending = 0;
};

std::optional<Delivered> parse_delivered(std::string_view reply) {
  const auto tokens = split(reply, '.');
  const bool is_short = tokens.size() == 9;
  if ((!is_short && tokens.size() < 11) || tokens[0] != "$JS" || tokens[1] != "ACK") {
    return std::nullopt;
  }
  const size_t at = is_short ? 3 : 5;
  Delivered out;
  out.consumer = tokens[at];
  uint64_t numbers[5] = {};
  for (size_t i = 0; i < 5; ++i) {
    const auto number = parse_uint(tokens[at + 1 + i]);
    if (!number) return std::nullopt;
    numbers[i] = *number;
  }
  out.deliveries = numbers[0];
  out.stream_seq = numbers[1];
  out.consumer_seq = numbers[2];
  out.timestamp_ns = static_cast<int64_t>(numbers[3]);
  out.pending = numbers[4];
  return out;
}

// The value of a header that is no concern of a publish; empty when absent.
std::string_view find_header(std::string_view block, std::string_view key) {
  const std::string line = "\r\n" + std::string(key) + ":";
  size_t at = block.find(line);
  if (at == std::string_view::npos) return {};
  at += line.size();
  while (at < block.size() && block[at] == ' ') ++at;
  return block.substr(at, block.find(kHeaderEnd, at) - at);
}

// Without what was meant for the origin only: expectations, batches and, of a copy of a copy, where
// the first one came from.
std::string copied_headers(std::string_view block, bool drops_source) {
  std::string out;
  size_t at = block.find(kHeaderEnd);
  while (at != std::string_view::npos) {
    at += kHeaderEnd.size();
    const size_t end = block.find(kHeaderEnd, at);
    const std::string_view line = block.substr(at, end == std::string_view::npos ? end : end - at);
    at = end;
    if (line.empty() || line.starts_with("Nats-Expected-") || line.starts_with("Nats-Batch-")) {
      continue;
    }
    if (drops_source && line.starts_with("Nats-Stream-Source:")) continue;
    if (out.empty()) out = "NATS/1.0\r\n";
    out.append(line).append(kHeaderEnd);
  }
  if (!out.empty()) out.append(kHeaderEnd);
  return out;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::string source_index_name(const StreamSource& source) {
  std::string name = source.name;
  if (source.external) name += ":" + name_hash(source.external->api);
  const auto or_all = [](const std::string& text) { return text.empty() ? std::string(">") : text; };
  std::string filter = or_all(source.filter_subject);
  std::string destination = ">";
  if (!source.subject_transforms.empty()) {
    filter.clear();
    destination.clear();
    for (const SubjectTransformConfig& transform : source.subject_transforms) {
      if (!filter.empty()) filter += '\f', destination += '\f';
      filter += or_all(transform.source);
      destination += or_all(transform.destination);
    }
  }
  return name + " " + filter + " " + destination;
}

// Follows one origin.
//
//   Idle --(due)--> Requesting --(answer)--> Following --(silence, gap)--> Idle
//
// Subscriptions come and go in `on_due` only, which never runs within a delivery.
class Sources::Feed final : public UpkeepItem {
 public:
  Feed(Stream& stream, StreamSource config, bool is_mirror)
      : config_(std::move(config)),
        index_name_(source_index_name(config_)),
        stream_(stream),
        is_mirror_(is_mirror),
        self_(std::make_shared<Feed*>(this)) {
    for (const SubjectTransformConfig& transform : config_.subject_transforms) {
      // One without destination only filters.
      auto made = subject::Transform::make(
          transform.source, transform.destination.empty() ? ">" : transform.destination);
      if (made && !transform.destination.empty()) transforms_.push_back(std::move(*made));
    }
    call_in({});
  }
  ~Feed() override { *self_ = nullptr; }

  const StreamSource& config() const { return config_; }
  const std::string& index_name() const { return index_name_; }
  void set_position(uint64_t seq) { stream_seq_ = seq; }
  uint64_t position() const { return stream_seq_; }

  // A link to another server is there: an origin behind it need not be waited for any longer.
  void hurry() {
    const bool is_heard = state_ == State::Following && now() - heard_at_ < 2 * kHeartbeat;
    if (!config_.external || is_heard) return;
    hurries_ = true;
    call_in(kLinkSettles);
  }

  void on_due(WallTime now) override {
    if (hurries_) {
      hurries_ = false;
      fails_ = -kQuickRetries;
      return start_over(now);
    }
    switch (state_) {
      case State::Idle: return request(now);
      case State::Requesting:
        if (answer_) return follow(now);
        return fail(now, {500, is_mirror_ ? uint16_t{10029} : uint16_t{10045}, "no answer"}, false);
      case State::Following:
        if (wants_retry_ || now - heard_at_ > kHealthCheck) return start_over(now);
        return call_at(std::min(heard_at_ + kHealthCheck, now + kHealthCheck) + kHeartbeat);
    }
  }

  void write_info(json::Writer& out) const {
    out.begin_object().field("name", config_.name);
    if (config_.external) {
      out.key("external").begin_object();
      out.field("api", config_.external->api).field("deliver", config_.external->deliver);
      out.end_object();
    }
    const bool was_heard = heard_at_ != WallTime();
    out.field("lag", lag_);
    out.field("active", was_heard ? int64_t{(this->now() - heard_at_).count()} : int64_t{-1});
    if (error_) {
      out.key("error").begin_object().field("code", uint64_t{error_->code});
      out.field("err_code", uint64_t{error_->err_code}).field("description", error_->description);
      out.end_object();
    }
    // A mirror's is told once the origin has been asked for it.
    const bool is_asked = !is_mirror_ || requested_at_ != WallTime();
    if (is_asked && !config_.filter_subject.empty()) {
      out.field("filter_subject", config_.filter_subject);
    }
    if (!config_.subject_transforms.empty()) {
      out.key("subject_transforms").begin_array();
      for (const SubjectTransformConfig& transform : config_.subject_transforms) {
        out.begin_object().field("src", transform.source).field("dest", transform.destination);
        out.end_object();
      }
      out.end_array();
    }
    out.end_object();
  }

 private:
  enum class State : uint8_t { Idle, Requesting, Following };
  struct Answer {
    std::optional<ApiError> error;
    std::string consumer;
    std::string deliver_subject;
    uint64_t delivered = 0;
  };

  JetStream& jetstream() const { return stream_.account().jetstream(); }
  WallTime now() const { return jetstream().now(); }
  void call_at(WallTime at) { jetstream().upkeep().call_at(*this, at); }
  void call_in(Duration delay) { call_at(now() + delay); }
  std::unique_ptr<broker::InternalSubscription> subscribe(std::string_view subject,
                                                          broker::InternalSubscription::Handler handler) {
    return jetstream().shard().subscribe(stream_.account().interest(), subject, {},
                                         std::move(handler));
  }
  std::string random_name() { return name_hash(Nuid(jetstream().random()).next()); }

  // --- the consumer at the origin
  void request(WallTime now) {
    if (now - requested_at_ < kRetryAfter && requested_at_ <= now) {
      return call_at(requested_at_ + kRetryAfter);
    }
    requested_at_ = now;
    answer_.reset();
    wants_retry_ = false;
    const std::string id = name_hash(stream_.account().name() + ">" + stream_.name() + ">" + index_name_);
    const std::string name = (is_mirror_ ? "JS_MIRROR_" : "JS_SRC_") + id + "_" + random_name();
    std::string filter;
    const std::string body = make_request(name, filter);
    std::string subject = "$JS.API.CONSUMER.CREATE." + config_.name;
    if (!filter.empty()) subject += "." + name + "." + filter;
    if (config_.external) {
      subject = config_.external->api + subject.substr(kApiPrefix.size());
      subject = replace_all(std::move(subject), "..", ".");
    }
    const std::string reply = "_INBOX." + std::string(Nuid(jetstream().random()).next());
    answers_ = subscribe(reply, [this](const broker::Message& message) { on_answer(message); });
    state_ = State::Requesting;
    call_in(kAnswerTimeout);
    if (!stream_.account().publish(subject, reply, {}, body)) {
      // Nobody there: no use in waiting for an answer.
      answer_ = Answer{ApiError{503, 10035, "no JetStream answers at " + subject}, {}, {}, 0};
      call_in({});
    }
  }

  std::string make_request(const std::string& name, std::string& filter) {
    const bool has_prefix = config_.external && !config_.external->deliver.empty();
    std::string deliver = has_prefix ? config_.external->deliver : std::string("$JS");
    deliver += (is_mirror_ ? ".M." : ".S.") + random_name();
    deliver = replace_all(std::move(deliver), "..", ".");
    json::Writer out;
    out.begin_object().field("stream_name", config_.name).key("config").begin_object();
    out.field("name", name).field("deliver_subject", deliver);
    write_start(out);
    out.field("ack_policy", "none").field("ack_wait", kAckWaitNs).field("max_deliver", 1);
    std::vector<std::string> filters;
    if (!config_.filter_subject.empty()) filters.push_back(config_.filter_subject);
    for (const SubjectTransformConfig& transform : config_.subject_transforms) {
      filters.push_back(transform.source);
    }
    if (filters.size() == 1) {
      filter = filters[0];
      out.field("filter_subject", filter);
    } else if (!filters.empty()) {
      out.key("filter_subjects").begin_array();
      for (const std::string& one : filters) out.string(one);
      out.end_array();
    }
    out.field("replay_policy", "instant").field("flow_control", true);
    out.field("idle_heartbeat", int64_t{kHeartbeat.count()});
    out.field("inactive_threshold", int64_t{Duration(kHealthCheck).count()});
    out.field("num_replicas", 0).field("direct", true);
    out.end_object().end_object();
    return out.take();
  }

  // Where the origin is to begin: behind what is here, or where the configuration says.
  void write_start(json::Writer& out) {
    store::Stream& messages = stream_.messages();
    const bool is_new = is_mirror_ ? messages.last_seq() == 0 : stream_seq_ == 0;
    const uint64_t next = (is_mirror_ ? messages.last_seq() : stream_seq_) + 1;
    if (!is_new) {
      out.field("deliver_policy", "by_start_sequence").field("opt_start_seq", next);
    } else if (config_.opt_start_seq > 0) {
      out.field("deliver_policy", "by_start_sequence").field("opt_start_seq", config_.opt_start_seq);
    } else if (config_.opt_start_time) {
      WallTime from = *config_.opt_start_time;
      const int64_t last_ns = messages.state().last.timestamp_ns;
      // What came before the last message here has been seen.
      if (!is_mirror_ && last_ns != 0) from = std::max(from, WallTime(Duration(last_ns)));
      out.field("deliver_policy", "by_start_time").field("opt_start_time", format_rfc3339(from));
    } else if (const store::StreamState state = messages.state();
               !is_mirror_ && state.first.seq > 1 && state.last.timestamp_ns != 0) {
      // Everything from the origin has gone, and with it the position.
      out.field("deliver_policy", "by_start_time");
      out.field("opt_start_time", format_rfc3339(WallTime(Duration(state.last.timestamp_ns))));
    } else {
      out.field("deliver_policy", "all");
    }
  }

  void on_answer(const broker::Message& message) {
    if (state_ != State::Requesting || answer_) return;
    Answer answer;
    const std::string_view body = message.payload.substr(message.header_size);
    auto parsed = json::parse(body);
    const json::Value* error = parsed ? parsed->find("error") : nullptr;
    const json::Value* config = parsed ? parsed->find("config") : nullptr;
    if (error != nullptr) {
      answer.error = ApiError{static_cast<uint16_t>(error->get_int("code")),
                              static_cast<uint16_t>(error->get_int("err_code")),
                              std::string(error->get_string("description"))};
    } else if (config == nullptr) {
      answer.error = ApiError{500, is_mirror_ ? uint16_t{10029} : uint16_t{10045},
                              "invalid consumer create response"};
    } else {
      answer.consumer = parsed->get_string("name");
      answer.deliver_subject = config->get_string("deliver_subject");
      const json::Value* delivered = parsed->find("delivered");
      if (delivered != nullptr) {
        answer.delivered = static_cast<uint64_t>(delivered->get_int("stream_seq"));
      }
    }
    answer_ = std::move(answer);
    call_in({});
  }

  void follow(WallTime now) {
    answers_.reset();
    if (answer_->error) return fail(now, *answer_->error, true);
    error_.reset();
    fails_ = 0;
    consumer_ = answer_->consumer;
    consumer_seq_ = 0;
    heard_at_ = now;
    store::Stream& messages = stream_.messages();
    if (is_mirror_) {
      if (answer_->delivered > messages.last_seq()) messages.skip_to(answer_->delivered);
      stream_seq_ = messages.last_seq();
    } else {
      stream_seq_ = std::max(stream_seq_, answer_->delivered);
    }
    state_ = State::Following;
    deliveries_ = subscribe(answer_->deliver_subject,
                            [this](const broker::Message& message) { on_message(message); });
    call_at(now + kHealthCheck + kHeartbeat);
  }

  void fail(WallTime now, ApiError error, bool was_answered) {
    answers_.reset();
    deliveries_.reset();
    state_ = State::Idle;
    if (!error_ || error_->description != error.description) {
      jetstream().log().warn("stream " + stream_.account().name() + " > " + stream_.name() +
                             " cannot follow " + config_.name + ": " + error.description);
    }
    error_ = std::move(error);
    ++fails_;
    Duration wait = kRetryAfter;
    if (!was_answered || config_.external) {
      wait = std::clamp<Duration>(kHealthCheck * fails_, kRetryAfter, kRetryMax);
    }
    call_at(now + wait);
  }

  void start_over(WallTime now) {
    answers_.reset();
    deliveries_.reset();
    consumer_.clear();
    state_ = State::Idle;
    request(now);
  }
  void retry_later(Duration delay = {}) {
    wants_retry_ = true;
    call_in(delay);
  }

  // --- what the consumer sends
  void on_message(const broker::Message& message) {
    if (state_ != State::Following || wants_retry_) return;
    heard_at_ = now();
    const std::string_view headers = message.payload.substr(0, message.header_size);
    const std::string_view body = message.payload.substr(message.header_size);
    if (body.empty() && headers.starts_with(kControl)) return on_control(headers, message.reply);
    const auto delivered = parse_delivered(message.reply);
    if (!delivered || delivered->consumer != consumer_ || delivered->deliveries > 1) return;
    if (delivered->stream_seq <= stream_seq_) {
      if (delivered->consumer_seq == consumer_seq_ + 1) ++consumer_seq_;
      return;
    }
    // Something was lost on the way: begin again behind what is here.
    if (delivered->consumer_seq != consumer_seq_ + 1) return retry_later();
    if (!keep(message.subject, headers, body, *delivered)) return retry_later(kBusyPause);
    consumer_seq_ = delivered->consumer_seq;
    stream_seq_ = delivered->stream_seq;
    lag_ = delivered->pending == 0 ? 0 : delivered->pending - 1;
  }

  void on_control(std::string_view headers, std::string_view reply) {
    if (!reply.empty()) return allow_more(std::string(reply));
    const auto last = parse_uint(find_header(headers, "Nats-Last-Consumer"));
    if (last && *last > 0 && *last != consumer_seq_) return retry_later();
    const std::string_view stalled = find_header(headers, "Nats-Consumer-Stalled");
    if (!stalled.empty()) allow_more(std::string(stalled));
  }

  // The origin may go on once what it sent is safe here; so it never runs ahead of the disk.
  void allow_more(std::string reply) {
    std::string headers = "NATS/1.0\r\nNats-Last-Consumer: " + std::to_string(consumer_seq_);
    headers.append("\r\nNats-Last-Stream: ").append(std::to_string(stream_seq_)).append("\r\n\r\n");
    jetstream().store().when_durable(
        [self = self_, reply = std::move(reply), headers = std::move(headers)] {
          if (*self != nullptr) (*self)->stream_.account().publish(reply, {}, headers, {});
        });
  }

  std::string transformed(std::string_view subject) const {
    for (const subject::Transform& transform : transforms_) {
      std::string out = transform.apply(subject);
      if (!out.empty()) return out;
    }
    return std::string(subject);
  }

  // False when it could not be stored and is to be asked for again.
  bool keep(std::string_view subject, std::string_view block, std::string_view body,
            const Delivered& delivered) {
    std::string headers = copied_headers(block, !is_mirror_);
    const std::string to = transformed(subject);
    if (is_mirror_) {
      return stream_.add_mirrored(delivered.stream_seq, delivered.timestamp_ns, to, headers, body);
    }
    const size_t name_end = index_name_.find(' ');
    std::string from = index_name_.substr(0, name_end) + " " + std::to_string(delivered.stream_seq);
    from.append(index_name_.substr(name_end)).append(" ").append(subject);
    append_header(headers, header_name(HeaderKey::StreamSource), from);
    return stream_.add_sourced(to, headers, body).has_value();
  }

  const StreamSource config_;
  const std::string index_name_;
  Stream& stream_;
  const bool is_mirror_;
  std::vector<subject::Transform> transforms_;
  State state_ = State::Idle;
  std::optional<Answer> answer_;
  bool wants_retry_ = false;
  bool hurries_ = false;
  WallTime requested_at_;
  WallTime heard_at_;
  int fails_ = 0;
  std::string consumer_;       // its name at the origin
  uint64_t stream_seq_ = 0;    // the origin's last sequence that is here
  uint64_t consumer_seq_ = 0;  // the last delivery
  uint64_t lag_ = 0;
  std::optional<ApiError> error_;
  std::shared_ptr<Feed*> self_;  // null once destroyed, for callbacks that come later
  std::unique_ptr<broker::InternalSubscription> answers_;
  std::unique_ptr<broker::InternalSubscription> deliveries_;
};

Sources::Sources(Stream& stream) : stream_(stream) {}
Sources::~Sources() = default;

void Sources::configure() {
  const StreamConfig& config = stream_.config();
  std::vector<StreamSource> wanted = config.sources;
  if (config.mirror) wanted = {*config.mirror};
  std::vector<std::unique_ptr<Feed>> feeds;
  bool has_new = false;
  for (const StreamSource& source : wanted) {
    const auto known = std::find_if(feeds_.begin(), feeds_.end(), [&](const auto& feed) {
      return feed != nullptr && feed->config() == source;
    });
    if (known != feeds_.end()) {
      feeds.push_back(std::move(*known));
    } else {
      feeds.push_back(std::make_unique<Feed>(stream_, source, config.mirror.has_value()));
      has_new = true;
    }
  }
  feeds_ = std::move(feeds);
  if (has_new && !config.mirror) find_positions();
}

// Looks backward through the stored messages for the last one of each origin.
void Sources::find_positions() {
  std::vector<Feed*> missing;
  for (const auto& feed : feeds_) {
    if (feed->position() == 0) missing.push_back(feed.get());
  }
  uint64_t until = UINT64_MAX;
  for (int64_t looked = 0; !missing.empty() && looked < kScanMax; ++looked) {
    auto message = stream_.messages().load_last(">", until);
    if (!message || message->seq == 0) return;
    until = message->seq - 1;
    const PublishHeaders fields(message->headers);
    const auto parts = split(fields.get(HeaderKey::StreamSource), ' ');
    if (parts.size() < 2) continue;
    const auto seq = parse_uint(parts[1]);
    std::string index_name(parts[0]);
    if (parts.size() >= 4) index_name.append(" ").append(parts[2]).append(" ").append(parts[3]);
    std::erase_if(missing, [&](Feed* feed) {
      const bool is_it = parts.size() >= 4
                             ? feed->index_name() == index_name
                             : feed->index_name().substr(0, feed->index_name().find(' ')) == index_name;
      if (is_it && seq) feed->set_position(*seq);
      return is_it;
    });
    if (until == 0) return;
  }
}

void Sources::hurry() {
  for (const auto& feed : feeds_) feed->hurry();
}

void Sources::write_info(json::Writer& out) {
  if (feeds_.empty()) return;
  if (stream_.config().mirror) {
    out.key("mirror");
    return feeds_[0]->write_info(out);
  }
  out.key("sources").begin_array();
  for (const auto& feed : feeds_) feed->write_info(out);
  out.end_array();
}

}  // namespace brokkr::jetstream
