#include "jetstream/snapshot.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "io/loop.h"
#include "jetstream/account.h"
#include "jetstream/archive.h"
#include "jetstream/go_json.h"
#include "jetstream/jetstream.h"
#include "jetstream/restore.h"
#include "jetstream/s2.h"
#include "jetstream/stream_json.h"
#include "jetstream/transfers.h"
#include "store/stream.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

constexpr const char* kSnapshotType = "stream_snapshot_response";
constexpr size_t kChunkUsual = 128 << 10;
constexpr size_t kChunkMin = 1 << 10;
constexpr size_t kChunkMax = 1 << 20;
constexpr size_t kWindowUsual = 8 << 20;
constexpr size_t kWindowMax = 32 << 20;
// What one turn of the loop may read and pack.
constexpr size_t kTurnBytes = 512 << 10;
constexpr Duration kStallMax = std::chrono::seconds(5);
constexpr Duration kReceiverPoll = std::chrono::milliseconds(10);
constexpr int kReceiverPolls = 200;
constexpr std::string_view kNoInterest = "NATS/1.0 408 No Interest\r\n\r\n";

struct SnapshotParameters {
  std::string deliver_subject;
  bool no_consumers = false;
  int chunk_size = 0;
  int window_size = 0;
  bool check = false;
};

// {"delivered":{…},"ack_floor":{…},"pending":{…},"redelivered":{…}}, as nats-server archives it.
void write_consumer_state(json::Writer& out, const store::ConsumerState& state) {
  const auto write_pair = [&](const char* name, const store::SequencePair& pair) {
    out.key(name).begin_object();
    out.field("consumer_seq", pair.consumer).field("stream_seq", pair.stream).end_object();
  };
  out.begin_object();
  write_pair("delivered", state.delivered);
  write_pair("ack_floor", state.ack_floor);
  bool has_redelivered = false;
  if (!state.pending.empty()) {
    out.key("pending").begin_object();
    for (const store::Pending* p = state.pending.first(); p != nullptr; p = state.pending.next(*p)) {
      has_redelivered = has_redelivered || p->deliveries > 1;
      out.key(std::to_string(p->stream_seq)).begin_object();
      out.field("sequence", p->consumer_seq).field("ts", p->timestamp_ns).end_object();
    }
    out.end_object();
  }
  if (has_redelivered) {
    out.key("redelivered").begin_object();
    for (const store::Pending* p = state.pending.first(); p != nullptr; p = state.pending.next(*p)) {
      if (p->deliveries > 1) out.field(std::to_string(p->stream_seq), uint64_t{p->deliveries} - 1);
    }
    out.end_object();
  }
  out.end_object();
}

// Sends a stream's archive in chunks, as many at a time as the receiver's window allows.
class Snapshot final : public Transfer, private io::Task {
 public:
  Snapshot(Transfers& owner, const ApiRequest& request, Stream& stream, const SnapshotParameters& parameters)
      : owner_(owner),
        account_(request.account()),
        stream_name_(stream.name()),
        created_(stream.created()),
        client_(request.client()),
        deliver_(parameters.deliver_subject),
        chunk_(static_cast<size_t>(parameters.chunk_size)),
        window_(static_cast<size_t>(parameters.window_size)),
        started_(account_.jetstream().now()),
        next_seq_(stream.messages().first_seq()),
        last_seq_(stream.messages().last_seq()),
        stall_(account_.jetstream().loop(), [this] { on_timer(); }) {
    JetStream& jetstream = account_.jetstream();
    ack_prefix_ = "$JS.SNAPSHOT.ACK." + stream_name_ + "." + jetstream.next_id();
    window_ = std::max(window_, chunk_);
    acks_ = jetstream.shard().subscribe(account_.interest(), ack_prefix_ + ".>", {},
                                        [this](const broker::Message& message) { on_ack(message.subject); });
    begin(stream, parameters.no_consumers);
    wait_for_receiver();
  }

 private:
  void begin(Stream& stream, bool no_consumers) {
    std::string text;
    begin_archive(text);
    StreamInfoOptions options;
    // nats-server reads as many consumers as this says.
    options.with_consumers = !no_consumers;
    json::Writer state;
    write_stream_state(state, stream, options);
    const int64_t created = created_.time_since_epoch().count();
    add_archive_file("state.json", created, state.take(), text);
    if (!no_consumers) {
      for (const auto& [name, consumer] : stream.consumers()) add_consumer(stream, *consumer, created, text);
    }
    packer_.add(text, packed_);
  }

  static void add_consumer(Stream& stream, Consumer& consumer, int64_t created, std::string& text) {
    const store::ConsumerStore* kept = stream.messages().find_consumer(consumer.name());
    if (kept == nullptr || consumer.config().direct) return;
    json::Writer out;
    out.begin_object().key("config");
    write_consumer_config(out, consumer.config());
    out.key("state");
    write_consumer_state(out, kept->state());
    out.end_object();
    add_archive_file("consumers/" + consumer.name(), created, out.take(), text);
  }

  // Clients subscribe when they have the answer; a wildcard that covers all their inboxes does not
  // count. After two seconds whatever listens must do.
  void wait_for_receiver() {
    const subject::Match match = account_.interest().interest().match(deliver_);
    const bool is_there = std::any_of(match.begin(), match.end(), [this](const subject::Interest* interest) {
      return interest->pattern() == deliver_;
    });
    if (is_there || ++polls_ > kReceiverPolls) return account_.jetstream().loop().schedule(*this);
    stall_.start(kReceiverPoll);
  }

  void on_timer() {
    if (!has_sent_) return wait_for_receiver();
    stop("NATS/1.0 408 No Flow Response\r\n\r\n");
  }

  // Packs and sends until the window is full, the turn has had enough, or all is sent.
  void run() override {
    if (!account_.has_interest(deliver_)) return stop(kNoInterest);
    if (!has_sent_) stall_.start(kStallMax);
    has_sent_ = true;
    for (size_t packed = 0; outstanding_ < window_;) {
      if (packed_.size() - sent_ >= chunk_ || is_packed_) {
        // nats-server says so only after chunks that were to be answered.
        if (!send_chunk()) return stop(index_ > 0 ? "NATS/1.0 204\r\n\r\n" : "");
        continue;
      }
      if (packed >= kTurnBytes) return account_.jetstream().loop().schedule(*this);
      const auto more = pack();
      if (!more) return stop("NATS/1.0 500 stream is gone\r\n\r\n");
      packed += *more;
    }
  }

  // The next messages into the archive; how many bytes.
  std::optional<size_t> pack() {
    Stream* const stream = account_.find_stream(stream_name_);
    if (stream == nullptr || stream->created() != created_) return std::nullopt;
    const store::SubjectFilter all(stream->messages(), {});
    std::string text;
    while (text.size() < kChunkUsual) {
      auto record = stream->messages().load_next(all, next_seq_, last_seq_);
      if (!record) {
        if (record.error().code != Errc::NotFound) return std::nullopt;
        end_archive(text);
        packer_.add(text, packed_);
        packer_.finish(packed_);
        is_packed_ = true;
        return text.size();
      }
      next_seq_ = record->seq + 1;
      add_archive_message({record->seq, record->timestamp_ns, record->subject, record->headers, record->body}, text);
    }
    packer_.add(text, packed_);
    return text.size();
  }

  // False when nothing is left to send.
  bool send_chunk() {
    const std::string_view rest = std::string_view(packed_).substr(sent_);
    if (rest.empty()) return false;
    const std::string_view chunk = rest.substr(0, chunk_);
    std::string reply;
    // The last one, if shorter, is not answered.
    if (chunk.size() == chunk_) {
      reply = ack_prefix_ + "." + std::to_string(chunk.size()) + "." + std::to_string(++index_);
      outstanding_ += chunk.size();
    }
    account_.publish(deliver_, reply, {}, chunk);
    sent_ += chunk.size();
    if (sent_ >= kTurnBytes) {
      packed_.erase(0, sent_);
      sent_ = 0;
    }
    return true;
  }

  // "….<bytes>.<index>"
  void on_ack(std::string_view subject) {
    if (is_over_) return;
    subject.remove_prefix(std::min(subject.size(), ack_prefix_.size() + 1));
    const auto bytes = parse_uint(subject.substr(0, subject.find('.')));
    if (!bytes) return;
    outstanding_ -= std::min<size_t>(outstanding_, *bytes);
    stall_.start(kStallMax);
    account_.jetstream().loop().schedule(*this);
  }

  void stop(std::string_view status) {
    if (is_over_) return;
    is_over_ = true;
    stall_.stop();
    account_.publish(deliver_, {}, status, {});
    account_.advise("$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE." + stream_name_,
                    "io.nats.jetstream.advisory.v1.snapshot_complete", [&](json::Writer& out) {
                      out.field("stream", stream_name_);
                      out.field("start", format_rfc3339(started_));
                      out.field("end", format_rfc3339(account_.jetstream().now()));
                      if (!client_.empty()) out.key("client").raw(client_);
                    });
    owner_.end(*this);
  }

  Transfers& owner_;
  Account& account_;
  const std::string stream_name_;
  const WallTime created_;
  const std::string client_;
  const std::string deliver_;
  const size_t chunk_;
  size_t window_;
  const WallTime started_;
  uint64_t next_seq_;
  const uint64_t last_seq_;
  io::Timer stall_;
  std::string ack_prefix_;
  std::unique_ptr<broker::InternalSubscription> acks_;
  S2Writer packer_;
  std::string packed_;  // from `sent_` on not sent yet
  size_t sent_ = 0;
  bool is_packed_ = false;
  bool is_over_ = false;
  bool has_sent_ = false;
  int polls_ = 0;
  size_t outstanding_ = 0;
  uint64_t index_ = 0;
};

bool read_parameters(const ApiRequest& request, SnapshotParameters& out) {
  auto body = request.parse_body();
  if (!body) {
    request.respond_error(kSnapshotType, body.error());
    return false;
  }
  StructReader reader(request.is_strict());
  reader.read(*body, "JSApiStreamSnapshotRequest", [&](JsonMember& member) {
    return member("deliver_subject", out.deliver_subject) || member("no_consumers", out.no_consumers) ||
           member("chunk_size", out.chunk_size) || member("window_size", out.window_size) ||
           member("jsck", out.check);
  });
  const ApiStatus read = reader.status();
  if (!read) request.respond_error(kSnapshotType, read.error());
  return static_cast<bool>(read);
}

int within(int wanted, size_t usual, size_t least, size_t most) {
  if (wanted <= 0) return static_cast<int>(usual);
  return static_cast<int>(std::clamp(static_cast<size_t>(wanted), least, most));
}

}  // namespace

Transfers::Transfers(Account& account) : account_(account) {}

Transfers::~Transfers() = default;

void Transfers::start_snapshot(const ApiRequest& request) {
  SnapshotParameters parameters;
  if (request.has_empty_body()) return request.respond_error(kSnapshotType, api_error(10003));
  if (!read_parameters(request, parameters)) return;
  Stream* const stream = account_.find_stream(request.token(2));
  if (stream == nullptr) return request.respond_error(kSnapshotType, api_error(10059));
  if (!subject::is_valid_literal(parameters.deliver_subject)) {
    return request.respond_error(kSnapshotType, api_error(10015));
  }
  parameters.chunk_size = within(parameters.chunk_size, kChunkUsual, kChunkMin, kChunkMax);
  parameters.window_size = within(parameters.window_size, kWindowUsual, kChunkMin, kWindowMax);
  request.respond(kSnapshotType, [&](json::Writer& out) {
    out.key("config");
    write_stream_config(out, stream->config());
    out.key("state");
    write_stream_state(out, *stream, {});
  });
  account_.advise("$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_CREATE." + stream->name(),
                  "io.nats.jetstream.advisory.v1.snapshot_create", [&](json::Writer& out) {
                    out.field("stream", stream->name());
                    out.key("state");
                    write_stream_state(out, *stream, {});
                    if (!request.client().empty()) out.key("client").raw(request.client());
                  });
  transfers_.push_back(std::make_unique<Snapshot>(*this, request, *stream, parameters));
}

void Transfers::start_restore(const ApiRequest& request) {
  if (auto restore = make_restore(*this, request)) transfers_.push_back(std::move(restore));
}

void Transfers::end(const Transfer& transfer) {
  std::erase_if(transfers_, [&](const auto& each) { return each.get() == &transfer; });
}

void handle_snapshot_request(const ApiRequest& request) {
  request.account().transfers().start_snapshot(request);
}

void handle_restore_request(const ApiRequest& request) {
  request.account().transfers().start_restore(request);
}

}  // namespace brokkr::jetstream
