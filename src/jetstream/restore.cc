#include "jetstream/restore.h"

#include <deque>
#include <utility>

#include "base/bytes.h"
#include "io/loop.h"
#include "jetstream/account.h"
#include "jetstream/archive.h"
#include "jetstream/consumer_config.h"
#include "jetstream/go_json.h"
#include "jetstream/jetstream.h"
#include "jetstream/publish_headers.h"
#include "jetstream/s2.h"
#include "jetstream/stream_json.h"
#include "jetstream/stream_rules.h"
#include "store/store.h"

namespace brokkr::jetstream {
namespace {

constexpr const char* kRestoreType = "stream_restore_response";
constexpr const char* kRestoredType = "stream_create_response";
constexpr Duration kRestoreStallMax = std::chrono::seconds(5);
// Chunks that wait to be read; who sends more without waiting for answers is refused.
constexpr size_t kQueuedMax = 64 << 20;

store::SequencePair read_pair(const json::Value& state, std::string_view name) {
  store::SequencePair pair;
  if (const json::Value* found = state.find(name)) {
    if (const json::Value* seq = found->find("consumer_seq")) pair.consumer = seq->as_uint().value_or(0);
    if (const json::Value* seq = found->find("stream_seq")) pair.stream = seq->as_uint().value_or(0);
  }
  return pair;
}

store::ConsumerState read_consumer_state(const json::Value& value) {
  store::ConsumerState state;
  state.delivered = read_pair(value, "delivered");
  state.ack_floor = read_pair(value, "ack_floor");
  if (const json::Value* pending = value.find("pending")) {
    for (const auto& [seq, entry] : pending->members()) {
      const json::Value* const consumer_seq = entry.find("sequence");
      store::Pending one;
      one.stream_seq = parse_uint(seq).value_or(0);
      one.consumer_seq = consumer_seq == nullptr ? 0 : consumer_seq->as_uint().value_or(0);
      one.timestamp_ns = entry.get_int("ts");
      if (one.stream_seq != 0) state.pending.put(one);
    }
  }
  if (const json::Value* redelivered = value.find("redelivered")) {
    for (const auto& [seq, count] : redelivered->members()) {
      store::Pending* const one = state.pending.find(parse_uint(seq).value_or(0));
      if (one != nullptr) one->deliveries = static_cast<uint32_t>(count.as_uint().value_or(0)) + 1;
    }
  }
  return state;
}

// Takes in an archive chunk by chunk. Until all of it is there the store keeps the messages without a
// configuration, which is how the next start knows that they belong to no stream.
class Restore final : public Transfer, private ArchiveSink, private io::Task {
 public:
  Restore(Transfers& owner, const ApiRequest& request, StreamConfig config, WallTime created,
          const json::Value* state, store::Stream& messages)
      : owner_(owner),
        request_(request),
        account_(request.account()),
        config_(std::move(config)),
        created_(created),
        messages_(&messages),
        started_(account_.jetstream().now()),
        reader_(ArchiveReader::make(*this)),
        stall_(account_.jetstream().loop(), [this] { fail("no chunk came for too long"); }) {
    if (state != nullptr) read_state(*state);
    deliver_ = "$JS.SNAPSHOT.RESTORE." + config_.name + "." + account_.jetstream().next_id();
    chunks_ = account_.jetstream().shard().subscribe(
        account_.interest(), deliver_, {}, [this](const broker::Message& message) { on_chunk(message); });
    stall_.start(kRestoreStallMax);
  }
  ~Restore() override {
    if (messages_ != nullptr) account_.jetstream().store().delete_stream(*messages_);
  }
  const std::string& deliver_subject() const { return deliver_; }

 private:
  struct Chunk {
    std::string reply;
    std::string bytes;
  };

  void on_chunk(const broker::Message& message) {
    if (is_over_) return;
    chunks_waiting_.push_back({std::string(message.reply), std::string(message.payload.substr(message.header_size))});
    waiting_bytes_ += message.payload.size();
    stall_.start(kRestoreStallMax);
    account_.jetstream().loop().schedule(*this);
  }

  // A chunk a turn. It is answered once it is on disk, so that the sender keeps our pace.
  void run() override {
    if (waiting_bytes_ > kQueuedMax) return fail("too many chunks at once");
    if (chunks_waiting_.empty()) return;
    const Chunk chunk = std::move(chunks_waiting_.front());
    chunks_waiting_.pop_front();
    waiting_bytes_ -= chunk.bytes.size();
    last_reply_ = chunk.reply;
    if (chunk.bytes.empty()) return finish();
    bytes_ += chunk.bytes.size();
    Status taken = unpacker_.add(chunk.bytes, [this](std::string_view plain) { return reader_->add(plain); });
    if (!taken) return fail(taken.error().text);
    if (!chunk.reply.empty()) {
      account_.jetstream().store().when_durable(
          [&account = account_, reply = chunk.reply] { account.publish(reply, {}, {}, {}); });
    }
    if (!chunks_waiting_.empty()) account_.jetstream().loop().schedule(*this);
  }

  // --- what the archive holds

  Status on_state(std::string_view json) override {
    const auto value = json::parse(json);
    if (!value) return Error{Errc::Corrupt, "state.json: " + value.error().text};
    read_state(*value);
    return {};
  }

  void read_state(const json::Value& state) {
    if (const json::Value* first = state.find("first_seq")) first_seq_ = first->as_uint().value_or(0);
    if (const json::Value* last = state.find("last_seq")) last_seq_ = last->as_uint().value_or(0);
  }

  Status on_consumer(std::string_view name, std::string_view json, const store::ConsumerState* state) override {
    const auto value = json::parse(json);
    if (!value) return Error{Errc::Corrupt, "consumer " + std::string(name) + ": " + value.error().text};
    // Version 1 has the configuration's members beside others.
    const json::Value* const inner = value->find("config");
    auto config = parse_consumer_config(inner == nullptr ? *value : *inner, false);
    if (!config) return Error{Errc::Corrupt, "consumer " + std::string(name) + ": " + config.error().description};
    if (config->name.empty()) config->name = name;
    std::string created(value->get_string("created", format_rfc3339(created_)));
    json::Writer out;
    out.begin_object().field("created", created).key("config");
    write_consumer_config(out, *config);
    out.end_object();
    const json::Value* const written = value->find("state");
    consumers_.push_back({std::string(name), out.take(), config->mem_storage, {}});
    if (state != nullptr) {
      consumers_.back().state = *state;
    } else if (written != nullptr) {
      consumers_.back().state = read_consumer_state(*written);
    }
    return {};
  }

  Status on_message(const ArchivedMessage& message) override {
    if (message.seq < first_seq_) return {};
    const PublishHeaders headers(message.headers);
    store::NewMessage stored;
    stored.subject = message.subject;
    stored.headers = message.headers;
    stored.body = message.body;
    stored.timestamp_ns = message.timestamp_ns;
    stored.message_id = headers.get(HeaderKey::MsgId);
    if (config_.allow_msg_ttl && headers.has(HeaderKey::Ttl)) {
      const int64_t ttl = parse_ttl(headers.get(HeaderKey::Ttl));
      if (ttl == kTtlNever) stored.expires_at = store::kNeverExpires;
      const int64_t sent_s = (message.timestamp_ns + 999'999'999) / 1'000'000'000;
      if (ttl > 0) stored.expires_at = static_cast<uint64_t>(sent_s + ttl);
    }
    return messages_->append_at(message.seq, stored);
  }

  // --- the end

  void finish() {
    Status whole = unpacker_.finish();
    if (whole) whole = reader_->finish();
    if (!whole) return fail(whole.error().text);
    if (account_.find_stream(config_.name) != nullptr) return refuse(api_error(10130));
    messages_->skip_to(last_seq_);
    for (Consumer& consumer : consumers_) {
      messages_->put_consumer(consumer.name, std::move(consumer.config), consumer.in_memory)
          .reset(std::move(consumer.state));
    }
    store::Stream& messages = *std::exchange(messages_, nullptr);
    messages.update(store_options(config_, account_.name(), created_));
    account_.restore_stream(messages);
    Stream* const stream = account_.find_stream(config_.name);
    if (stream == nullptr) return refuse(api_error(10062, "the stream could not be started"));
    complete();
    answer().respond_unaudited(kRestoredType, [&](json::Writer& out) {
      StreamInfoOptions options;
      write_stream_info(out, *stream, options);
    });
    end();
  }

  void fail(const std::string& why) { refuse(api_error(10062, why)); }

  void refuse(const ApiError& error) {
    if (is_over_) return;
    if (!last_reply_.empty()) answer().respond_error(kRestoredType, error);
    account_.jetstream().log().warn("Restore of stream '" + account_.name() + " > " + config_.name +
                                    "' failed: " + error.description);
    end();
  }

  ApiRequest answer() const {
    return {account_, request_.subject(), last_reply_, {}, {}, request_.client()};
  }

  void complete() {
    account_.advise("$JS.EVENT.ADVISORY.STREAM.RESTORE_COMPLETE." + config_.name,
                    "io.nats.jetstream.advisory.v1.restore_complete", [&](json::Writer& out) {
                      out.field("stream", config_.name);
                      out.field("start", format_rfc3339(started_));
                      out.field("end", format_rfc3339(account_.jetstream().now()));
                      out.field("bytes", bytes_);
                      if (!request_.client().empty()) out.key("client").raw(request_.client());
                    });
  }

  void end() {
    is_over_ = true;
    stall_.stop();
    owner_.end(*this);
  }

  struct Consumer {
    std::string name;
    std::string config;
    bool in_memory = false;
    store::ConsumerState state;
  };

  Transfers& owner_;
  const ApiRequest request_;
  Account& account_;
  StreamConfig config_;
  const WallTime created_;
  store::Stream* messages_;  // ours until all is there
  const WallTime started_;
  S2Reader unpacker_;
  std::unique_ptr<ArchiveReader> reader_;
  std::vector<Consumer> consumers_;
  uint64_t first_seq_ = 0;
  uint64_t last_seq_ = 0;
  uint64_t bytes_ = 0;
  std::string deliver_;
  std::deque<Chunk> chunks_waiting_;
  size_t waiting_bytes_ = 0;
  std::string last_reply_;
  bool is_over_ = false;
  io::Timer stall_;
  std::unique_ptr<broker::InternalSubscription> chunks_;
};

// The checked configuration and the state the request tells of.
ApiResult<StreamConfig> read_config(const ApiRequest& request, const json::Value& body) {
  const json::Value* const object = body.find("config");
  if (object == nullptr || !object->is_object()) return api_error(10003);
  auto config = parse_stream_config(*object, false);
  if (!config) return config.error();
  if (config->name != request.token(2)) return api_error(10056);
  Account& account = request.account();
  if (account.find_stream(config->name) != nullptr) return api_error(10130);
  if (auto status = check_stream_config(*config, account, false); !status) return status.error();
  if (auto status = account.check_new_stream(*config); !status) return status.error();
  return config;
}

}  // namespace

std::unique_ptr<Transfer> make_restore(Transfers& owner, const ApiRequest& request) {
  Account& account = request.account();
  const auto refuse = [&](const ApiError& error) {
    request.respond_error(kRestoreType, error);
    return nullptr;
  };
  if (request.has_empty_body()) return refuse(api_error(10003));
  auto body = request.parse_body();
  if (!body) return refuse(body.error());
  auto config = read_config(request, *body);
  if (!config) return refuse(config.error());
  const WallTime created = account.jetstream().now();
  store::StreamOptions options = store_options(*config, account.name(), created);
  options.config.clear();
  options.first_seq = 1;
  options.limits = {};
  options.limits.duplicate_window = config->duplicate_window;
  auto messages = account.jetstream().store().create_stream(std::move(options));
  if (!messages) return refuse(api_error(10062, messages.error().text));
  auto restore = std::make_unique<Restore>(owner, request, std::move(*config), created, body->find("state"), **messages);
  account.advise("$JS.EVENT.ADVISORY.STREAM.RESTORE_CREATE." + std::string(request.token(2)),
                 "io.nats.jetstream.advisory.v1.restore_create", [&](json::Writer& out) {
                   out.field("stream", request.token(2));
                   if (!request.client().empty()) out.key("client").raw(request.client());
                 });
  request.respond(kRestoreType, [&](json::Writer& out) {
    out.field("deliver_subject", restore->deliver_subject());
  });
  return restore;
}

}  // namespace brokkr::jetstream
