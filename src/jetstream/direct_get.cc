#include "jetstream/direct_get.h"

#include <algorithm>

#include "base/bytes.h"
#include "jetstream/jetstream.h"
#include "jetstream/publish_headers.h"
#include "jetstream/stream.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kApi = "$JS.API.DIRECT.GET.";
constexpr size_t kResultsMax = 1024;
// One batch sends so much in a turn of the loop, and pauses while its requester has not taken it.
constexpr size_t kTurnMessages = 256;
constexpr size_t kTurnBytes = 256 << 10;
constexpr uint64_t kPendingMax = 4 << 20;
constexpr Duration kPause = std::chrono::milliseconds(2);
constexpr size_t kBatchesMax = 1000;
// Answers that wait for the disk: beyond this requesters pause, beyond twice as much they are refused.
constexpr std::string_view kStorageFailed = "NATS/1.0 500 Storage Failed\r\n\r\n";
constexpr size_t kAnswerBytesMax = 32 << 20;

// Go reads a JSON number into an unsigned integer, or fails.
bool read_uint(const json::Value* value, uint64_t& out) {
  if (value == nullptr || value->is_null()) return true;
  const auto number = value->as_uint();
  if (number) out = *number;
  return number.has_value();
}

bool read_count(const json::Value* value, uint64_t& out) {
  if (value == nullptr || value->is_null()) return true;
  const auto number = value->as_int();
  if (number) out = *number < 0 ? 0 : static_cast<uint64_t>(*number);
  return number.has_value();
}

bool read_text(const json::Value* value, std::string& out) {
  if (value == nullptr || value->is_null()) return true;
  out = value->as_string();
  return value->is_string();
}

bool read_time(const json::Value* value, std::optional<WallTime>& out) {
  if (value == nullptr || value->is_null()) return true;
  WallTime at;
  if (!value->is_string() || !parse_rfc3339(value->as_string(), at)) return false;
  out = at;
  return true;
}

bool wants_higher_level(std::string_view headers) {
  const std::string_view level = PublishHeaders(headers).get(HeaderKey::RequiredApiLevel);
  if (level.empty()) return false;
  const auto wanted = parse_int(level);
  return !wanted || *wanted > kApiLevel;
}

// What follows "$JS.API.DIRECT.GET.<stream>."; empty when nothing does.
std::string_view subject_of(std::string_view request) {
  for (int dots = 0; dots < 5; ++dots) {
    const size_t dot = request.find('.');
    if (dot == std::string_view::npos) return {};
    request.remove_prefix(dot + 1);
  }
  return request;
}

}  // namespace

// A request for several messages, under way.
class DirectGet::Batch final : public io::Task {
 public:
  Batch(DirectGet& owner, Request request)
      : request_(std::move(request)),
        owner_(owner),
        messages_(owner.stream_.messages()),
        last_at_start_(messages_.last_seq()),
        pause_(owner.stream_.account().jetstream().loop(), [this] { run(); }) {}

  bool is_done() const { return is_done_; }

  void begin_run_of(uint64_t seq) {
    std::vector<std::string> patterns;
    if (!request_.next_by_subject.empty()) patterns.push_back(request_.next_by_subject);
    filter_ = std::make_unique<store::SubjectFilter>(messages_, std::move(patterns));
    next_seq_ = seq;
    pending_ = messages_.count(*filter_, seq);
    run();
  }
  void begin_list(std::vector<uint64_t> seqs, uint64_t up_to_seq) {
    seqs_ = std::move(seqs);
    up_to_seq_ = up_to_seq;
    is_list_ = true;
    pending_ = seqs_.size();
    run();
  }

  void run() override {
    broker::Shard& shard = owner_.stream_.account().jetstream().shard();
    if (request_.requester != 0) {
      broker::Connection* to = shard.find_connection(request_.requester);
      if (to == nullptr || !to->is_open()) return finish();
      if (to->pending_bytes() > kPendingMax) return pause_.start(kPause);
    }
    const uint64_t bytes_before = sent_bytes_;
    for (size_t i = 0; i < kTurnMessages && sent_bytes_ - bytes_before < kTurnBytes; ++i) {
      if (!(is_list_ ? send_listed() : send_next())) return finish();
    }
    owner_.stream_.account().jetstream().loop().schedule(*this);
  }

 private:
  // False when that was all.
  bool send_next() {
    auto message = messages_.load_next(*filter_, next_seq_);
    if (!message) {
      if (sent_ == 0) {
        owner_.send_status(request_.reply, "404 Message Not Found");
        is_answered_ = true;
      }
      return false;
    }
    next_seq_ = message->seq + 1;
    if (pending_ > 0) --pending_;
    return send(*message) && sent_ < request_.batch;
  }
  bool send_listed() {
    while (at_ < seqs_.size()) {
      const uint64_t seq = seqs_[at_++];
      --pending_;
      if (seq < request_.seq) continue;
      auto message = messages_.load(seq);
      if (!message) {
        owner_.send_status(request_.reply, "404 Message Not Found");
        is_answered_ = true;
        return false;
      }
      return send(*message) && (request_.batch == 0 || sent_ < request_.batch);
    }
    return false;
  }
  bool send(const store::Record& message) {
    std::string more = "Nats-Num-Pending: " + std::to_string(pending_);
    more.append("\r\nNats-Last-Sequence: ").append(std::to_string(last_sent_)).append("\r\n");
    last_sent_ = message.seq;
    ++sent_;
    sent_bytes_ += message.subject.size() + message.headers.size() + message.body.size();
    owner_.send_message(request_, message, more);
    return sent_bytes_ < request_.max_bytes;
  }
  void finish() {
    is_done_ = true;
    if (!is_answered_) {
      if (!is_list_ && messages_.last_seq() > last_at_start_) {
        pending_ = messages_.count(*filter_, next_seq_);
      }
      std::string status = "204 EOB\r\nNats-Num-Pending: " + std::to_string(pending_);
      status.append("\r\nNats-Last-Sequence: ").append(std::to_string(last_sent_));
      if (is_list_) status.append("\r\nNats-UpTo-Sequence: ").append(std::to_string(up_to_seq_));
      owner_.send_status(request_.reply, status);
    }
  }

  const Request request_;
  DirectGet& owner_;
  store::Stream& messages_;
  const uint64_t last_at_start_;
  io::Timer pause_;
  std::unique_ptr<store::SubjectFilter> filter_;
  uint64_t next_seq_ = 0;
  std::vector<uint64_t> seqs_;
  size_t at_ = 0;
  bool is_list_ = false;
  uint64_t up_to_seq_ = 0;
  uint64_t pending_ = 0;
  uint64_t last_sent_ = 0;
  uint64_t sent_ = 0;
  uint64_t sent_bytes_ = 0;
  bool is_answered_ = false;
  bool is_done_ = false;
};

DirectGet::DirectGet(Stream& stream)
    : stream_(stream), self_(std::make_shared<DirectGet*>(this)) {}

DirectGet::~DirectGet() { *self_ = nullptr; }

void DirectGet::configure() {
  const StreamConfig& config = stream_.config();
  std::vector<std::string> subjects;
  if (config.allow_direct) subjects.push_back(std::string(kApi) + config.name);
  if (config.mirror_direct && config.mirror) {
    subjects.push_back(std::string(kApi) + config.mirror->name);
  }
  if (subjects == subjects_) return;
  subjects_ = subjects;
  subscriptions_.clear();
  Account& account = stream_.account();
  for (const std::string& subject : subjects) {
    for (const bool is_subject_form : {false, true}) {
      subscriptions_.push_back(account.jetstream().shard().subscribe(
          account.interest(), is_subject_form ? subject + ".>" : subject, "_sys_",
          [this, is_subject_form](const broker::Message& message) {
            on_request(message, is_subject_form);
          }));
    }
  }
}

bool DirectGet::parse_request(std::string_view body, Request& out) {
  auto parsed = json::parse(body);
  if (!parsed) return false;
  if (parsed->is_null()) return true;
  if (!parsed->is_object()) return false;
  const json::Value& json = *parsed;
  const json::Value* multi = json.find("multi_last");
  if (multi != nullptr && !multi->is_null()) {
    if (!multi->is_array()) return false;
    for (const json::Value& item : multi->items()) {
      if (!item.is_string()) return false;
      out.multi_last.emplace_back(item.as_string());
    }
  }
  const json::Value* no_headers = json.find("no_hdr");
  if (no_headers != nullptr && !no_headers->is_null()) {
    if (!no_headers->is_bool()) return false;
    out.no_headers = *no_headers->as_bool();
  }
  return read_uint(json.find("seq"), out.seq) &&
         read_text(json.find("last_by_subj"), out.last_by_subject) &&
         read_text(json.find("next_by_subj"), out.next_by_subject) &&
         read_count(json.find("batch"), out.batch) &&
         read_count(json.find("max_bytes"), out.max_bytes) &&
         read_time(json.find("start_time"), out.start_time) &&
         read_uint(json.find("up_to_seq"), out.up_to_seq) &&
         read_time(json.find("up_to_time"), out.up_to_time);
}

bool DirectGet::is_contradictory(const Request& request) {
  const bool has_last = !request.last_by_subject.empty();
  const bool has_next = !request.next_by_subject.empty();
  const bool has_multi = !request.multi_last.empty();
  return (request.seq > 0 && (has_last || request.start_time)) ||
         (has_last && (request.start_time || has_next || request.batch > 0 || has_multi)) ||
         (has_next && has_multi) || (request.up_to_seq > 0 && request.up_to_time);
}

void DirectGet::on_request(const broker::Message& message, bool is_subject_form) {
  if (message.reply.empty()) return;
  if (outbox_.bytes() > kAnswerBytesMax) {
    stream_.stall(message.from, kPause);
    if (outbox_.bytes() > 2 * kAnswerBytesMax) {
      constexpr std::string_view kRefused = "NATS/1.0 429 Too Many Requests\r\n\r\n";
      stream_.account().publish(message.reply, {}, kRefused, {});
      return;
    }
  }
  const std::string_view body = message.payload.substr(message.header_size);
  if (message.header_size > 0 && wants_higher_level(message.payload.substr(0, message.header_size))) {
    return send_status(message.reply, "412 Required Api Level");
  }
  if (body.empty() && !is_subject_form) return send_status(message.reply, "408 Empty Request");
  Request request;
  if (!body.empty() && !parse_request(body, request)) {
    return send_status(message.reply, "408 Malformed Request");
  }
  request.reply = message.reply;
  request.requester = message.from == nullptr ? 0 : message.from->id();
  const bool is_empty = request.seq == 0 && request.last_by_subject.empty() &&
                        request.next_by_subject.empty() && request.multi_last.empty() &&
                        !request.start_time;
  if (is_subject_form) {
    request.last_by_subject = subject_of(message.subject);
    if (request.last_by_subject.empty() || !is_empty || request.batch != 0 ||
        request.up_to_seq != 0 || request.up_to_time) {
      return send_status(message.reply, "408 Bad Request");
    }
  } else if (is_empty) {
    return send_status(message.reply, "408 Empty Request");
  }
  if (is_contradictory(request)) return send_status(message.reply, "408 Bad Request");
  if (request.max_bytes == 0) {
    request.max_bytes = stream_.account().jetstream().shard().settings().max_pending;
  }
  if (!request.multi_last.empty()) return begin_multi(std::move(request));
  if (request.start_time) request.seq = stream_.messages().seq_at(*request.start_time);
  if (request.batch > 0) return begin_batch(std::move(request));
  get_one(request);
}

void DirectGet::get_one(const Request& request) {
  store::Stream& messages = stream_.messages();
  const auto answer = [&](Result<store::Record> found) {
    if (!found) return send_status(request.reply, "404 Message Not Found");
    send_message(request, *found, {});
  };
  if (!request.next_by_subject.empty()) {
    const store::SubjectFilter filter(messages, {request.next_by_subject});
    return answer(messages.load_next(filter, request.seq));
  }
  if (request.seq > 0) return answer(messages.load(request.seq));
  answer(messages.load_last(request.last_by_subject));
}

void DirectGet::begin_batch(Request request) {
  drop_finished();
  if (batches_.size() >= kBatchesMax) return send_status(request.reply, "503 Too Many Requests");
  const uint64_t seq = request.seq;
  Batch& batch = *batches_.emplace_back(std::make_unique<Batch>(*this, std::move(request)));
  batch.begin_run_of(seq);
}

void DirectGet::begin_multi(Request request) {
  store::Stream& messages = stream_.messages();
  uint64_t up_to = request.up_to_seq;
  if (request.up_to_time) {
    up_to = messages.seq_at(*request.up_to_time);
    if (up_to <= messages.first_seq()) return send_status(request.reply, "404 No Results");
    --up_to;
  }
  if (up_to == 0) up_to = messages.last_seq();
  const store::SubjectFilter filter(messages, request.multi_last);
  std::vector<uint64_t> seqs;
  if (!messages.last_seqs(filter, up_to, kResultsMax, seqs)) {
    return send_status(request.reply, "413 Too Many Results");
  }
  if (seqs.empty()) return send_status(request.reply, "404 No Results");
  drop_finished();
  if (batches_.size() >= kBatchesMax) return send_status(request.reply, "503 Too Many Requests");
  Batch& batch = *batches_.emplace_back(std::make_unique<Batch>(*this, std::move(request)));
  batch.begin_list(std::move(seqs), up_to);
}

void DirectGet::drop_finished() {
  std::erase_if(batches_, [](const auto& batch) { return batch->is_done(); });
}

void DirectGet::send_status(std::string_view reply, std::string_view status) {
  std::string headers = "NATS/1.0 ";
  headers.append(status).append("\r\n\r\n");
  send(reply, headers, {});
}

void DirectGet::send_message(const Request& request, const store::Record& message,
                             std::string_view more) {
  if (request.no_headers && request.multi_last.empty()) return send(request.reply, {}, message.body);
  std::string headers(message.headers);
  if (headers.size() > 2) {
    headers.resize(headers.size() - 2);
  } else {
    headers = "NATS/1.0\r\n";
  }
  headers.append("Nats-Stream: ").append(stream_.name());
  headers.append("\r\nNats-Subject: ").append(message.subject);
  headers.append("\r\nNats-Sequence: ").append(std::to_string(message.seq));
  headers.append("\r\nNats-Time-Stamp: ");
  headers.append(format_rfc3339(WallTime(Duration(message.timestamp_ns))));
  headers.append("\r\n").append(more).append("\r\n");
  send(request.reply, headers, message.body);
}

void DirectGet::send(std::string_view reply, std::string_view headers, std::string_view body) {
  const uint64_t after = stream_.durable_after();
  if (after == 0 && outbox_.empty()) {
    stream_.account().publish(reply, {}, headers, body);
    return;
  }
  store::Store& store = stream_.account().jetstream().store();
  outbox_.put(after, reply, headers, body);
  const uint64_t awaited = store.appended();
  if (awaited_ == awaited) return;
  awaited_ = awaited;
  store.when_durable(
      [self = self_] {
        if (*self != nullptr) (*self)->release();
      },
      [self = self_] {
        if (*self != nullptr) (*self)->fail();
      });
}

void DirectGet::fail() {
  outbox_.fail(kStorageFailed, {}, stream_.account().jetstream().shard(), stream_.account().interest());
}

void DirectGet::release() {
  JetStream& jetstream = stream_.account().jetstream();
  outbox_.release(jetstream.store().durable(), jetstream.shard(), stream_.account().interest());
}

}  // namespace brokkr::jetstream
