#include "jetstream/ingest.h"

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

// A publisher is held back when this much of its stream waits for the disk.
constexpr size_t kWaitingMax = 64 << 10;
constexpr size_t kWaitingBytesMax = 16 << 20;
constexpr size_t kMessageOverhead = 64;
constexpr Duration kHoldBack = std::chrono::milliseconds(2);
constexpr Duration kHoldBackBusy = std::chrono::milliseconds(10);
constexpr size_t kHeadersMax = 65535;
constexpr size_t kFileRecordMax = 32 << 20;
constexpr uint16_t kInsufficientResources = 10023;
constexpr std::string_view kTooManyRequests = "NATS/1.0 429 Too Many Requests\r\n\r\n";

}  // namespace

std::string& Incoming::own_headers() {
  if (!owns_headers_) {
    header_text_.assign(headers);
    owns_headers_ = true;
  }
  return header_text_;
}

void Incoming::set_body(std::string text) {
  body_text_ = std::move(text);
  body = body_text_;
}

Ingest::Ingest(Stream& stream)
    : stream_(stream), batches_(stream, *this), visible_seq_(stream.messages().visible_seq()) {}

Ingest::~Ingest() = default;

void Ingest::configure() {
  const StreamConfig& config = stream_.config();
  const std::string& domain = stream_.account().jetstream().options().domain;
  json::Writer name;
  name.string(config.name);
  std::string prefix = "{\"stream\":" + name.text() + ",";
  if (!domain.empty()) prefix += "\"domain\":\"" + domain + "\",";
  outbox_.set_ack_prefix(prefix + "\"seq\":");

  const auto make = [](std::string_view source, std::string_view destination) {
    auto made = subject::Transform::make(source, destination);
    return made ? std::optional<subject::Transform>(std::move(*made)) : std::nullopt;
  };
  transform_.reset();
  republish_.reset();
  if (config.subject_transform) {
    transform_ = make(config.subject_transform->source, config.subject_transform->destination);
  }
  if (config.republish) republish_ = make(config.republish->source, config.republish->destination);
  may_answer_ = !config.no_ack;
  is_plain_ = !transform_ && !republish_ && !config.sealed && !config.allow_msg_counter &&
              config.retention != Retention::Interest;
  plain_body_max_ = config.max_msg_size > 0 ? static_cast<size_t>(config.max_msg_size) : kFileRecordMax / 2;
  if (!config.allow_atomic) batches_.clear();
}

void Ingest::end() {
  batches_.clear();
  if (outbox_.empty()) return;
  // What is on its way to the disk is answered all the same.
  JetStream& jetstream = stream_.account().jetstream();
  auto rest = std::make_shared<Outbox>(std::move(outbox_));
  outbox_ = Outbox();
  jetstream.store().when_durable(
      [rest, &shard = jetstream.shard(), &interest = stream_.account().interest()] {
        rest->release(UINT64_MAX, shard, interest);
      },
      [rest, &shard = jetstream.shard(), &interest = stream_.account().interest(),
       refusal = error_ack(api_error(kInsufficientResources))] {
        rest->fail({}, refusal, shard, interest);
      });
}

void Ingest::on_store_failed() {
  outbox_.fail({}, error_ack(api_error(kInsufficientResources)), stream_.account().jetstream().shard(),
               stream_.account().interest());
}

int64_t Ingest::now_ns() const {
  return stream_.account().jetstream().now().time_since_epoch().count();
}

std::string Ingest::apply_transform(std::string_view subject) const {
  return transform_ ? transform_->apply(subject) : std::string();
}

void Ingest::publish(std::string_view subject, std::string_view reply, std::string_view headers,
                     std::string_view body, const broker::Connection* from) {
  if (!may_answer_) reply = {};
  if (headers.empty() && is_plain_ && body.size() <= plain_body_max_ &&
      has_room(subject.size() + body.size())) {
    return publish_plain(subject, reply, body, from);
  }
  std::string status_free;
  Incoming in;
  in.reply = reply;
  in.headers = without_status(headers, status_free);
  in.body = body;
  in.fields = PublishHeaders(in.headers);
  if (const std::string_view batch = in.fields.get(HeaderKey::BatchId); !batch.empty()) {
    return batches_.add(in.fields, subject, reply, in.headers, body);
  }
  const std::string transformed = apply_transform(subject);
  in.subject = transformed.empty() ? subject : std::string_view(transformed);
  auto stored = process(in);
  if (!stored) return refuse(in, stored.error(), from);
  waiting_bytes_ += in.headers.size() + in.body.size() + kMessageOverhead;
  if (*stored != 0) acknowledge(in, *stored);
  hold_back(from);
}

void Ingest::publish_plain(std::string_view subject, std::string_view reply, std::string_view body,
                           const broker::Connection* from) {
  store::NewMessage message;
  message.subject = subject;
  message.body = body;
  message.timestamp_ns = now_ns();
  auto stored = stream_.messages().append(message);
  if (!stored) {
    if (stored.error().code == Errc::Unavailable) return refuse_busy(reply, from);
    return reply_error(reply, store_error(stored.error()));
  }
  stream_.on_stored(message.timestamp_ns, 0);
  waiting_bytes_ += body.size() + kMessageOverhead;
  if (!reply.empty()) outbox_.put_ack(*stored, reply, *stored);
  hold_back(from);
}

std::optional<uint64_t> Ingest::add_sourced(std::string_view subject, std::string_view headers,
                                            std::string_view body) {
  Incoming in;
  in.headers = headers;
  in.body = body;
  in.fields = PublishHeaders(headers);
  in.is_sourced = true;
  const std::string transformed = apply_transform(subject);
  in.subject = transformed.empty() ? subject : std::string_view(transformed);
  is_busy_ = false;
  auto stored = process(in);
  if (!stored) return std::nullopt;
  return *stored;
}

bool Ingest::add_mirrored(uint64_t seq, int64_t timestamp_ns, std::string_view subject,
                          std::string_view headers, std::string_view body) {
  Incoming in;
  in.subject = subject;
  in.headers = headers;
  in.body = body;
  in.fields = PublishHeaders(headers);
  in.is_sourced = true;
  if (!check_resources(in)) return false;
  store::NewMessage message;
  message.timestamp_ns = timestamp_ns;
  if (!find_ttl(in, timestamp_ns, message.expires_at)) message.expires_at = 0;
  (void)check_rollup(in);
  const uint64_t last_before =
      wants_republish(subject) ? stream_.messages().last_seq_of(subject) : 0;
  message.subject = in.subject;
  message.headers = in.headers;
  message.body = in.body;
  if (!stream_.messages().append_at(seq, message)) return false;
  after_stored(in, seq, timestamp_ns, last_before, message.expires_at);
  return true;
}

void Ingest::on_visible(uint64_t seq) {
  if (seq > visible_seq_) {
    const uint64_t last = stream_.messages().last_seq();
    waiting_bytes_ = waiting_bytes_ / (last - visible_seq_) * (last - seq);
    visible_seq_ = seq;
  }
  if (outbox_.empty()) return;
  outbox_.release(seq, stream_.account().jetstream().shard(), stream_.account().interest());
}

// --- answers ---------------------------------------------------------------------------------

std::string Ingest::error_ack(const ApiError& error) const {
  json::Writer out;
  out.begin_object().key("error").begin_object();
  out.field("code", uint64_t{error.code}).field("err_code", uint64_t{error.err_code});
  out.field("description", error.description).end_object();
  out.field("stream", stream_.name()).field("seq", uint64_t{0}).end_object();
  return out.take();
}

void Ingest::reply_error(std::string_view reply, const ApiError& error) {
  if (reply.empty()) return;
  if (error.err_code == kInsufficientResources) {
    // What was published before may wait for the very space that is missing.
    stream_.account().publish(reply, {}, {}, error_ack(error));
    return;
  }
  // Behind the acknowledgements of what was published before, and true also after a crash.
  outbox_.put(stream_.messages().last_seq(), reply, {}, error_ack(error));
}

void Ingest::refuse(const Incoming& in, const ApiError& error, const broker::Connection* from) {
  if (is_busy_) {
    is_busy_ = false;
    return refuse_busy(in.reply, from);
  }
  reply_error(in.reply, error);
  hold_back(from);
}

// Too much waits for the disk: the message is dropped, and whoever sent it is held back. Once the
// store has failed, trying again is no use.
void Ingest::refuse_busy(std::string_view reply, const broker::Connection* from) {
  if (stream_.account().jetstream().store().failure() != nullptr) {
    return reply_error(reply, api_error(kInsufficientResources));
  }
  if (!reply.empty()) {
    stream_.account().publish(reply, {}, kTooManyRequests, error_ack(api_error(10167)));
  }
  stream_.stall(from, kHoldBackBusy);
}

// The more waits for the disk the longer its publishers do.
void Ingest::hold_back(const broker::Connection* from) {
  if (from == nullptr) return;
  if (outbox_.size() <= kWaitingMax && waiting_bytes_ <= kWaitingBytesMax) return;
  const auto excess = static_cast<int64_t>(
      std::min<uint64_t>(16, outbox_.size() / kWaitingMax + waiting_bytes_ / kWaitingBytesMax));
  stream_.stall(from, kHoldBack * excess * excess);
}

void Ingest::acknowledge(const Incoming& in, uint64_t seq) {
  if (in.reply.empty()) return;
  if (in.counter.empty()) return outbox_.put_ack(seq, in.reply, seq);
  std::string ack = outbox_.ack_prefix() + std::to_string(seq);
  ack.append(",\"val\":\"").append(in.counter).append("\"}");
  outbox_.put(seq, in.reply, {}, ack);
}

bool Ingest::answer_duplicate(const Incoming& in) {
  const std::string_view id = in.fields.get(HeaderKey::MsgId);
  if (id.empty() || stream_.config().mirror) return false;
  const auto known = stream_.messages().find_message_id(id);
  if (!known) return false;
  if (!in.reply.empty()) {
    const std::string ack =
        outbox_.ack_prefix() + std::to_string(*known) + ",\"duplicate\": true}";
    outbox_.put(stream_.messages().last_seq(), in.reply, {}, ack);
  }
  return true;
}

ApiError Ingest::store_error(const Error& error) const {
  if (error.code == Errc::OutOfSpace) return api_error(kInsufficientResources);
  if (error.code == Errc::Unavailable) return api_error(10167);
  return api_error(10077, error.text);
}

// --- the way in ------------------------------------------------------------------------------

ApiResult<uint64_t> Ingest::process(Incoming& in) {
  const StreamConfig& config = stream_.config();
  const size_t size = in.subject.size() + in.headers.size() + in.body.size();
  if (config.storage == StorageType::File && size + 34 > kFileRecordMax) {
    return api_error(10077, "message too large");
  }
  if (config.sealed) return api_error(10109);
  if (in.fields.has(HeaderKey::ClientInfo)) {
    remove_header(in.own_headers(), header_name(HeaderKey::ClientInfo));
    in.changed_headers();
  }
  if (!in.headers.empty()) {
    if (ApiStatus checked = check_headers(in); !checked) return checked.error();
    if (answer_duplicate(in)) return uint64_t{0};
    const std::string_view last_id = in.fields.get(HeaderKey::ExpectedLastMsgId);
    if (!last_id.empty() && last_id != stream_.messages().last_message_id()) {
      return api_error(10070, stream_.messages().last_message_id());
    }
    if (ApiStatus checked = check_rollup(in); !checked) return checked.error();
  }
  if (config.allow_msg_counter) {
    if (in.fields.get(HeaderKey::Incr).empty()) return api_error(10169);
    auto last = stream_.messages().load_last(in.subject);
    if (ApiStatus applied = apply_counter(in, last ? &*last : nullptr); !applied) {
      return applied.error();
    }
    const size_t max_payload = stream_.account().jetstream().shard().settings().max_payload;
    if (in.headers.size() + in.body.size() > max_payload) return api_error(10054);
  }
  if (ApiStatus checked = check_size(in); !checked) return checked.error();
  return keep(in);
}

ApiStatus Ingest::check_headers(Incoming& in) {
  if (ApiStatus checked = check_increment(in); !checked) return checked;
  const std::string_view stream = in.fields.get(HeaderKey::ExpectedStream);
  if (!stream.empty() && stream != stream_.name()) return api_error(10060);
  const int64_t ttl = parse_ttl(in.fields.get(HeaderKey::Ttl));
  if (!in.is_sourced && ttl != 0 && ttl != kTtlInvalid && !stream_.config().allow_msg_ttl) {
    return api_error(10166);
  }
  if (ApiStatus checked = check_expectations(in); !checked) return checked;
  if (in.is_sourced) return {};
  if (ApiStatus checked = check_schedule(in); !checked) return checked;
  if (!in.fields.get(HeaderKey::StreamSource).empty()) return api_error(10227);
  return {};
}

ApiStatus Ingest::check_expectations(const Incoming& in) const {
  store::Stream& messages = stream_.messages();
  const std::string_view of = in.fields.get(HeaderKey::ExpectedLastSubjectSeqOf);
  const std::string_view expected = in.fields.get(HeaderKey::ExpectedLastSubjectSeq);
  if (!expected.empty()) {
    const uint64_t last = messages.last_seq_of(of.empty() ? in.subject : of);
    if (last != parse_sequence(expected)) return api_error(10071, std::to_string(last));
  } else if (!of.empty()) {
    return api_error(10193);
  }
  const std::string_view last_seq = in.fields.get(HeaderKey::ExpectedLastSeq);
  if (!last_seq.empty() && parse_sequence(last_seq) != messages.last_seq()) {
    return api_error(10071, std::to_string(messages.last_seq()));
  }
  return {};
}

ApiStatus Ingest::check_rollup(Incoming& in) const {
  const StreamConfig& config = stream_.config();
  std::string_view value = in.fields.get(HeaderKey::Rollup);
  if (value.empty() && in.has_schedule) value = "sub";
  if (value.empty()) return {};
  const bool is_allowed = config.allow_rollup_hdrs && !config.deny_purge;
  if (!is_allowed && !in.is_sourced) return api_error(10111, "rollup not permitted");
  const std::string lower = to_lower(value);
  in.is_rollup_sub = lower == "sub";
  in.is_rollup_all = lower == "all";
  if (in.is_rollup_sub || in.is_rollup_all) return {};
  std::string text = "rollup value invalid: ";
  json::append_quoted(text, lower, false);
  return api_error(10111, text);
}

ApiStatus Ingest::check_size(const Incoming& in) const {
  const int64_t max = stream_.config().max_msg_size;
  if (max > 0 && in.headers.size() + in.body.size() > static_cast<uint64_t>(max)) {
    return api_error(10054);
  }
  if (in.headers.size() > kHeadersMax) return api_error(10097);
  return {};
}

// Whether neither limit is near; if not, `check_resources` finds the words.
bool Ingest::has_room(size_t bytes) const {
  Account& account = stream_.account();
  const bool is_file = stream_.config().storage == StorageType::File;
  const AccountLimits& limits = account.limits();
  return (is_file ? limits.max_storage : limits.max_memory) < 0 &&
         account.jetstream().take_room(is_file, bytes + 30);
}

// What the server may use in all and what the account may.
ApiStatus Ingest::check_resources(const Incoming& in) const {
  Account& account = stream_.account();
  const bool is_file = stream_.config().storage == StorageType::File;
  const uint64_t size = 30 + in.subject.size() + in.headers.size() + in.body.size();
  if (!account.jetstream().take_room(is_file, size)) return api_error(kInsufficientResources);
  const int64_t account_max = is_file ? account.limits().max_storage : account.limits().max_memory;
  if (account_max < 0) return {};
  uint64_t used = size;
  for (const auto& [name, stream] : account.streams()) {
    if ((stream->config().storage == StorageType::File) == is_file) {
      used += stream->messages().bytes();
    }
  }
  if (used > static_cast<uint64_t>(account_max)) return api_error(10002);
  return {};
}

ApiStatus Ingest::find_ttl(Incoming& in, int64_t now_ns, uint64_t& expires_at) const {
  const StreamConfig& config = stream_.config();
  int64_t ttl = parse_ttl(in.fields.get(HeaderKey::Ttl));
  if (ttl == kTtlInvalid) return api_error(10165);
  expires_at = 0;
  if (!config.allow_msg_ttl) return {};
  if (ttl == kTtlNever) expires_at = store::kNeverExpires;
  if (ttl <= 0) return {};
  const auto marker_ttl =
      std::chrono::duration_cast<std::chrono::seconds>(config.subject_delete_marker_ttl).count();
  // A shorter one could hide a marker that is there already.
  if (ttl < marker_ttl && config.max_msgs_per_subject != 1) {
    ttl = marker_ttl;
    std::string& headers = in.own_headers();
    remove_header(headers, header_name(HeaderKey::Ttl));
    append_header(headers, header_name(HeaderKey::Ttl), std::to_string(ttl));
    in.changed_headers();
  }
  // Whole seconds, not before the time is really up.
  constexpr int64_t kSecond = 1'000'000'000;
  const int64_t now_s = now_ns / kSecond + (now_ns % kSecond == 0 ? 0 : 1);
  const auto most = static_cast<int64_t>(store::kNeverExpires >> 2);
  expires_at = static_cast<uint64_t>(ttl > most - now_s ? most : now_s + ttl);
  return {};
}

bool Ingest::has_interest(std::string_view subject) const {
  return std::any_of(stream_.consumers().begin(), stream_.consumers().end(),
                     [&](const auto& entry) { return entry.second->wants(subject); });
}

ApiResult<uint64_t> Ingest::keep(Incoming& in) {
  if (ApiStatus checked = check_resources(in); !checked) return checked.error();
  if (stream_.config().retention == Retention::Interest && !has_interest(in.subject)) {
    return skip(in);
  }
  store::NewMessage message;
  message.timestamp_ns = now_ns();
  if (ApiStatus found = find_ttl(in, message.timestamp_ns, message.expires_at); !found) {
    return found.error();
  }
  const uint64_t last_before =
      wants_republish(in.subject) ? stream_.messages().last_seq_of(in.subject) : 0;
  message.subject = in.subject;
  message.headers = in.headers;
  message.body = in.body;
  message.message_id = in.fields.get(HeaderKey::MsgId);
  message.is_rollup = in.is_rollup_sub || in.is_rollup_all;
  auto stored = stream_.messages().append(message);
  if (!stored) {
    is_busy_ = stored.error().code == Errc::Unavailable;
    return store_error(stored.error());
  }
  after_stored(in, *stored, message.timestamp_ns, last_before, message.expires_at);
  return *stored;
}

// Nobody will ask for the message, but it has a sequence and an acknowledgement.
uint64_t Ingest::skip(const Incoming& in) {
  const uint64_t seq = stream_.messages().last_seq() + 1;
  stream_.messages().skip_to(seq, in.fields.get(HeaderKey::MsgId));
  return in.reply.empty() ? 0 : seq;
}

void Ingest::after_stored(const Incoming& in, uint64_t seq, int64_t now_ns, uint64_t last_before,
                          uint64_t expires_at) {
  stream_.on_stored(now_ns, expires_at);
  const StreamConfig& config = stream_.config();
  if (config.allow_rollup_hdrs && !config.deny_purge) {
    if (in.is_rollup_sub) (void)stream_.messages().purge({in.subject, 0, 1});
    if (in.is_rollup_all) (void)stream_.messages().purge({{}, 0, 1});
    const std::string_view scheduler = in.fields.get(HeaderKey::Scheduler);
    if (in.fields.get(HeaderKey::ScheduleNext) == "purge" && !scheduler.empty()) {
      (void)stream_.messages().purge({scheduler, 0, 0});
    }
  }
  if (in.has_schedule) stream_.on_schedule_stored(seq, in.subject, in.headers, now_ns);
  if (republish_) republish(in, seq, now_ns, last_before);
}

// --- republish -------------------------------------------------------------------------------

bool Ingest::wants_republish(std::string_view subject) const {
  return republish_ && subject::matches(republish_->source().empty() ? ">" : republish_->source(),
                                        subject);
}

void Ingest::republish(const Incoming& in, uint64_t seq, int64_t now_ns, uint64_t last_before) {
  const std::string to = republish_->apply(in.subject);
  if (to.empty() || !subject::is_valid_literal(to)) return;
  const bool headers_only = stream_.config().republish->headers_only;
  std::string headers(in.headers);
  if (headers.empty()) headers = "NATS/1.0\r\n\r\n";
  headers.resize(headers.size() - 2);
  headers.append("Nats-Stream: ").append(stream_.name());
  headers.append("\r\nNats-Subject: ").append(in.subject);
  headers.append("\r\nNats-Sequence: ").append(std::to_string(seq));
  headers.append("\r\nNats-Time-Stamp: ").append(format_rfc3339(WallTime(Duration(now_ns))));
  headers.append("\r\nNats-Last-Sequence: ").append(std::to_string(last_before));
  if (headers_only) headers.append("\r\nNats-Msg-Size: ").append(std::to_string(in.body.size()));
  headers.append("\r\n\r\n");
  outbox_.put(seq, to, headers, headers_only ? std::string_view() : in.body, false);
}

}  // namespace brokkr::jetstream
