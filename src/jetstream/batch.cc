#include "jetstream/batch.h"

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "jetstream/ingest.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kIdMax = 64;

// Of all streams of the process: batches under way and what they hold. Loop-confined, as the streams.
size_t total_batches = 0;
size_t total_bytes = 0;

size_t message_cost(std::string_view subject, std::string_view headers, std::string_view body) {
  return subject.size() + headers.size() + body.size() + 128;
}

}  // namespace

struct AtomicBatches::Batch final : UpkeepItem {
  Batch(AtomicBatches& all, std::string_view name) : owner(all), id(name) { ++total_batches; }
  ~Batch() override {
    --total_batches;
    total_bytes -= bytes;
  }
  void on_due(WallTime) override { owner.forget(*this, "timeout"); }

  AtomicBatches& owner;
  const std::string id;
  uint64_t last_seq = 0;
  size_t bytes = 0;
  std::vector<Message> messages;
};

// What the messages before one in its batch would change.
struct AtomicBatches::Diff {
  std::set<std::string, std::less<>> message_ids;
  struct Subject {
    uint64_t messages = 0;
    bool is_schedule = false;
  };
  std::map<std::string, Subject, std::less<>> subjects;
  std::map<std::string, uint64_t, std::less<>> expected;  // subject: the last sequence it had
  std::map<std::string, std::string, std::less<>> counters;  // subject: body and headers as stored
  std::map<std::string, std::string, std::less<>> counter_headers;
  uint64_t messages = 0;
  uint64_t bytes = 0;
};

AtomicBatches::AtomicBatches(Stream& stream, Ingest& ingest) : stream_(stream), ingest_(ingest) {}
AtomicBatches::~AtomicBatches() = default;

void AtomicBatches::clear() { batches_.clear(); }

void AtomicBatches::forget(Batch& batch, std::string_view reason) {
  const std::string id = batch.id;
  batches_.erase(id);
  if (!reason.empty()) advise_abandoned(id, reason);
}

void AtomicBatches::advise_abandoned(std::string_view id, std::string_view reason) {
  const std::string subject = "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED." + stream_.name();
  stream_.account().advise(subject, "io.nats.jetstream.advisory.v1.stream_batch_abandoned",
                           [&](json::Writer& out) {
                             out.field("stream", stream_.name());
                             const std::string& domain =
                                 stream_.account().jetstream().options().domain;
                             if (!domain.empty()) out.field("domain", domain);
                             out.field("batch", id).field("reason", reason);
                           });
}

ApiResult<AtomicBatches::Batch*> AtomicBatches::find_or_begin(std::string_view id, uint64_t seq,
                                                              bool ends_without_message) {
  const auto found = batches_.find(id);
  if (found != batches_.end()) return found->second.get();
  if (seq != 1) {
    const uint64_t size = ends_without_message ? seq - 1 : seq;
    if (size > kMessagesMax) return api_error(10199, std::to_string(kMessagesMax));
    return api_error(10176);
  }
  if (batches_.size() >= kBatchesMax || total_batches >= kBatchesTotalMax) return api_error(10210);
  auto batch = std::make_unique<Batch>(*this, id);
  Batch* const begun = batch.get();
  batches_.emplace(std::string(id), std::move(batch));
  return begun;
}

void AtomicBatches::add(const PublishHeaders& fields, std::string_view subject,
                        std::string_view reply, std::string_view headers, std::string_view body) {
  const auto refuse = [&](const ApiError& error) { ingest_.reply_error(reply, error); };
  const StreamConfig& config = stream_.config();
  Incoming in;
  in.subject = subject;
  in.headers = headers;
  in.body = body;
  if (config.sealed) return refuse(api_error(10109));
  if (ApiStatus checked = ingest_.check_resources(in); !checked) return refuse(checked.error());
  const int64_t max = config.max_msg_size;
  if (max > 0 && headers.size() + body.size() > static_cast<uint64_t>(max)) {
    return refuse(api_error(10054));
  }
  if (!config.allow_atomic) return refuse(api_error(10174));
  const std::string_view id = fields.get(HeaderKey::BatchId);
  if (id.size() > kIdMax) return refuse(api_error(10179));
  const std::string_view seq_text = fields.get(HeaderKey::BatchSequence);
  const uint64_t seq = parse_sequence(seq_text);
  if (seq_text.empty() || seq == UINT64_MAX) return refuse(api_error(10175));
  const bool commits = fields.has(HeaderKey::BatchCommit);
  const bool is_end = fields.get(HeaderKey::BatchCommit) == "eob";
  const bool is_bad_commit = commits && !is_end && fields.get(HeaderKey::BatchCommit) != "1";

  auto found = find_or_begin(id, seq, is_end);
  if (!found) return refuse(found.error());
  Batch& batch = **found;
  if (is_bad_commit) {
    forget(batch, {});
    return refuse(api_error(10200));
  }
  std::string own_headers;
  if (const std::string_view level = fields.get(HeaderKey::RequiredApiLevel); !level.empty()) {
    const auto wanted = parse_int(level);
    if (!wanted || *wanted > kApiLevel) {
      forget(batch, "unsupported");
      return refuse(api_error(10185));
    }
    own_headers = headers;
    remove_header(own_headers, header_name(HeaderKey::RequiredApiLevel));
    headers = own_headers;
  }
  stream_.account().jetstream().upkeep().call_at(batch, stream_.account().jetstream().now() + kTimeout);
  if (++batch.last_seq != seq || (seq == 1 && is_end)) {
    forget(batch, "incomplete");
    return refuse(api_error(10176));
  }
  if ((is_end ? seq - 1 : seq) > kMessagesMax) {
    forget(batch, "large");
    return refuse(api_error(10199, std::to_string(kMessagesMax)));
  }
  if (!is_end) {
    const size_t cost = message_cost(subject, headers, body);
    if (total_bytes + cost > kBytesMax) {
      forget(batch, "large");
      return refuse(api_error(10210));
    }
    total_bytes += cost;
    batch.bytes += cost;
    batch.messages.push_back({std::string(subject), std::string(headers), std::string(body)});
  }
  if (commits) return commit(batch, reply);
  // Nothing is promised by it, so it need not wait for the disk; order is kept all the same.
  if (!reply.empty()) ingest_.outbox().put(stream_.messages().last_seq(), reply, {}, {});
}

// Checks every message against what is stored, then stores all at once.
void AtomicBatches::commit(Batch& committed, std::string_view reply) {
  const std::unique_ptr<Batch> batch = std::move(batches_.find(committed.id)->second);
  batches_.erase(committed.id);
  if (batch->last_seq > batch->messages.size()) {
    // Ended by a message of its own, which is not stored: the last one gets the header of a commit.
    std::string& headers = batch->messages.back().headers;
    append_header(headers, header_name(HeaderKey::BatchCommit), "1");
  }
  Diff diff;
  std::vector<Incoming> all(batch->messages.size());
  std::vector<std::string> transformed(batch->messages.size());
  std::vector<store::NewMessage> messages(batch->messages.size());
  for (size_t i = 0; i < all.size(); ++i) {
    Incoming& in = all[i];
    const Message& message = batch->messages[i];
    transformed[i] = ingest_.apply_transform(message.subject);
    in.subject = transformed[i].empty() ? std::string_view(message.subject) : transformed[i];
    in.headers = message.headers;
    in.body = message.body;
    in.fields = PublishHeaders(message.headers);
    if (ApiStatus checked = check(in, diff); !checked) {
      return ingest_.reply_error(reply, checked.error());
    }
  }
  const int64_t now = ingest_.now_ns();
  std::vector<uint64_t> before(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    Incoming& in = all[i];
    if (ApiStatus found = ingest_.find_ttl(in, now, messages[i].expires_at); !found) {
      return ingest_.reply_error(reply, found.error());
    }
    messages[i].subject = in.subject;
    messages[i].headers = in.headers;
    messages[i].body = in.body;
    messages[i].timestamp_ns = now;
    messages[i].message_id = in.fields.get(HeaderKey::MsgId);
    messages[i].is_rollup = in.is_rollup_sub || in.is_rollup_all;
    if (ingest_.wants_republish(in.subject)) {
      before[i] = stream_.messages().last_seq_of(in.subject);
      for (size_t j = 0; j < i; ++j) {
        if (all[j].subject == in.subject) before[i] = stream_.messages().last_seq() + 1 + j;
      }
    }
  }
  const bool needs_interest = stream_.config().retention == Retention::Interest;
  auto stored = stream_.messages().append_batch(messages);
  if (!stored) return ingest_.reply_error(reply, ingest_.store_error(stored.error()));
  const uint64_t first = *stored - all.size() + 1;
  for (size_t i = 0; i < all.size(); ++i) {
    if (needs_interest && !ingest_.has_interest(all[i].subject)) {
      stream_.messages().remove(first + i, store::Removal::Acknowledged);
      continue;
    }
    ingest_.after_stored(all[i], first + i, now, before[i], messages[i].expires_at);
  }
  if (reply.empty()) return;
  std::string ack = ingest_.outbox().ack_prefix() + std::to_string(*stored) + ",\"batch\":";
  json::append_quoted(ack, batch->id, false);
  ack.append(",\"count\":").append(std::to_string(all.size())).append("}");
  ingest_.outbox().put(*stored, reply, {}, ack);
}

ApiStatus AtomicBatches::check(Incoming& in, Diff& diff) {
  const StreamConfig& config = stream_.config();
  if (in.fields.has(HeaderKey::ClientInfo)) {
    remove_header(in.own_headers(), header_name(HeaderKey::ClientInfo));
    in.changed_headers();
  }
  if (!in.fields.get(HeaderKey::ExpectedLastMsgId).empty()) {
    return api_error(10177, header_name(HeaderKey::ExpectedLastMsgId));
  }
  if (ApiStatus checked = check_message(in, diff); !checked) return checked;
  if (config.allow_msg_counter) {
    if (in.fields.get(HeaderKey::Incr).empty()) return api_error(10169);
    store::Record before;
    const auto staged = diff.counters.find(in.subject);
    auto last = stream_.messages().load_last(in.subject);
    if (staged != diff.counters.end()) {
      before.body = staged->second;
      before.headers = diff.counter_headers[staged->first];
    } else if (last) {
      before = *last;
    }
    const bool has_before = staged != diff.counters.end() || last;
    if (ApiStatus applied = ingest_.apply_counter(in, has_before ? &before : nullptr); !applied) {
      return applied;
    }
    diff.counters[std::string(in.subject)] = in.body;
    diff.counter_headers[std::string(in.subject)] = in.headers;
    if (ApiStatus checked = ingest_.check_size(in); !checked) return checked;
  }
  if (ApiStatus checked = check_expectations(in, diff); !checked) return checked;
  if (ApiStatus checked = ingest_.check_schedule(in); !checked) return checked;
  if (ApiStatus checked = check_rollup(in, diff); !checked) return checked;
  Diff::Subject& subject = diff.subjects[std::string(in.subject)];
  ++subject.messages;
  subject.is_schedule = in.has_schedule;
  return check_limits(in, diff);
}

ApiStatus AtomicBatches::check_message(Incoming& in, Diff& diff) {
  if (ApiStatus checked = ingest_.check_size(in); !checked) return checked;
  if (ApiStatus checked = ingest_.check_increment(in); !checked) return checked;
  const std::string_view expected = in.fields.get(HeaderKey::ExpectedStream);
  if (!expected.empty() && expected != stream_.name()) return api_error(10060);
  const int64_t ttl = parse_ttl(in.fields.get(HeaderKey::Ttl));
  if (ttl != 0 && !stream_.config().allow_msg_ttl) return api_error(10166);
  if (ttl == kTtlInvalid) return api_error(10165);
  const std::string_view id = in.fields.get(HeaderKey::MsgId);
  if (!id.empty() && (!diff.message_ids.emplace(id).second || stream_.messages().find_message_id(id))) {
    return api_error(10201);
  }
  if (!in.fields.get(HeaderKey::StreamSource).empty()) return api_error(10227);
  return {};
}

ApiStatus AtomicBatches::check_expectations(Incoming& in, Diff& diff) {
  const std::string_view last_seq = in.fields.get(HeaderKey::ExpectedLastSeq);
  if (!last_seq.empty()) {
    const uint64_t staged = stream_.messages().last_seq() + diff.messages;
    if (parse_sequence(last_seq) != staged) return api_error(10071, std::to_string(staged));
    if (!diff.subjects.empty()) return api_error(10164);
  }
  const std::string_view of = in.fields.get(HeaderKey::ExpectedLastSubjectSeqOf);
  const std::string_view expected = in.fields.get(HeaderKey::ExpectedLastSubjectSeq);
  if (expected.empty()) return of.empty() ? ApiStatus() : ApiStatus(api_error(10193));
  const std::string_view subject = of.empty() ? in.subject : of;
  if (diff.subjects.contains(subject)) return api_error(10164);
  auto known = diff.expected.find(subject);
  if (known == diff.expected.end()) {
    const uint64_t last = stream_.messages().last_seq_of(subject);
    known = diff.expected.emplace(std::string(subject), last).first;
  }
  if (known->second != parse_sequence(expected)) {
    return api_error(10071, std::to_string(known->second));
  }
  return {};
}

ApiStatus AtomicBatches::check_rollup(Incoming& in, Diff& diff) {
  const std::string value =
      in.has_schedule ? "sub" : to_lower(in.fields.get(HeaderKey::Rollup));
  if (value.empty()) return {};
  if (!stream_.config().allow_rollup_hdrs || stream_.config().deny_purge) {
    return api_error(10111, "rollup not permitted");
  }
  if (value == "sub") {
    if (diff.subjects.contains(in.subject)) return api_error(10111, "batch rollup sub invalid");
    in.is_rollup_sub = true;
    return {};
  }
  if (value == "all") {
    if (!diff.subjects.empty()) return api_error(10111, "batch rollup all invalid");
    in.is_rollup_all = true;
    return {};
  }
  std::string text = "rollup value invalid: ";
  json::append_quoted(text, value, false);
  return api_error(10111, text);
}

// With discard "new" nothing may give way, so the batch as a whole must fit.
ApiStatus AtomicBatches::check_limits(const Incoming& in, Diff& diff) {
  const StreamConfig& config = stream_.config();
  ++diff.messages;
  store::Record record;
  record.subject = in.subject;
  record.headers = in.headers;
  record.body = in.body;
  diff.bytes += record.counted_bytes();
  if (config.discard != Discard::New) return {};
  store::Stream& messages = stream_.messages();
  if (config.max_msgs > 0 &&
      messages.messages() + diff.messages > static_cast<uint64_t>(config.max_msgs)) {
    return api_error(10077, "maximum messages exceeded");
  }
  if (config.max_bytes > 0 &&
      messages.bytes() + diff.bytes > static_cast<uint64_t>(config.max_bytes)) {
    return api_error(10077, "maximum bytes exceeded");
  }
  if (config.discard_new_per_subject && config.max_msgs_per_subject > 0 && !in.is_rollup_sub &&
      !in.is_rollup_all) {
    const uint64_t staged = diff.subjects.find(in.subject)->second.messages;
    if (messages.count_of(in.subject) + staged > static_cast<uint64_t>(config.max_msgs_per_subject)) {
      return api_error(10077, "maximum messages per subject exceeded");
    }
  }
  return {};
}

}  // namespace brokkr::jetstream
