#include "jetstream/account.h"

#include <algorithm>

#include "jetstream/consumer_api.h"
#include "jetstream/jetstream.h"
#include "jetstream/stream_rules.h"
#include "jetstream/transfers.h"
#include "subject/subject.h"

namespace brokkr::jetstream {
namespace {

constexpr int64_t kAnySize = 1;  // a stream without max_bytes must at least fit this

int64_t positive(int64_t bytes) {
  return std::max<int64_t>(bytes, 0);
}

bool exceeds(int64_t reserved, int64_t more, int64_t limit) {
  return reserved > limit || more > limit - reserved;
}

}  // namespace

Account::Account(JetStream& jetstream, broker::Account& account,
                 std::optional<AccountLimits> limits)
    : jetstream_(jetstream),
      account_(account),
      is_enabled_(limits.has_value()),
      limits_(limits.value_or(AccountLimits{})) {}

Account::~Account() = default;

void Account::set_limits(std::optional<AccountLimits> limits) {
  const bool was_enabled = is_enabled_;
  is_enabled_ = limits.has_value();
  limits_ = limits.value_or(AccountLimits{});
  if (!was_enabled || is_enabled_) return;
  for (const auto& [name, stream] : streams_) {
    claims_.remove(stream.get(), stream->config().subjects);
    stream->end(Consumer::End::ServerShutdown);
  }
  streams_.clear();
  reserved_memory_ = 0;
  reserved_storage_ = 0;
}

Stream* Account::find_stream(std::string_view name) {
  const auto found = streams_.find(name);
  return found == streams_.end() ? nullptr : found->second.get();
}

AccountUsage Account::usage() const {
  AccountUsage usage;
  usage.streams = streams_.size();
  usage.reserved_memory = reserved_memory_;
  usage.reserved_storage = reserved_storage_;
  for (const auto& [name, stream] : streams_) {
    const bool in_memory = stream->config().storage == StorageType::Memory;
    (in_memory ? usage.memory : usage.storage) += stream->messages().bytes();
    usage.consumers += stream->consumers().size();
  }
  return usage;
}

void Account::reserve(const StreamConfig& config, bool is_more) {
  const bool in_memory = config.storage == StorageType::Memory;
  uint64_t& reserved = in_memory ? reserved_memory_ : reserved_storage_;
  const auto bytes = static_cast<uint64_t>(positive(config.max_bytes));
  reserved = is_more ? reserved + bytes : reserved - bytes;
}

// Whether the account and the server have room for the stream, or for how much it grows.
ApiStatus Account::check_limits(const StreamConfig& config, const StreamConfig* old) const {
  if (config.max_consumers > 0 && limits_.max_consumers > 0 &&
      config.max_consumers > limits_.max_consumers) {
    return api_error(10026);
  }
  const bool in_memory = config.storage == StorageType::Memory;
  const uint16_t error = in_memory ? 10028 : 10047;
  const int64_t before = old == nullptr ? 0 : positive(old->max_bytes);
  int64_t more = config.max_bytes < 0 ? kAnySize : config.max_bytes;
  if (old != nullptr) more = std::max<int64_t>(positive(config.max_bytes) - before, 0);
  const auto reserved = static_cast<int64_t>(in_memory ? reserved_memory_ : reserved_storage_);
  const int64_t account_limit = in_memory ? limits_.max_memory : limits_.max_storage;
  if (account_limit >= 0 && exceeds(reserved, more, account_limit)) return api_error(error);
  const uint64_t on_server =
      in_memory ? jetstream_.reserved_memory() : jetstream_.reserved_storage();
  const uint64_t server_limit = in_memory ? jetstream_.max_memory() : jetstream_.max_storage();
  if (exceeds(static_cast<int64_t>(on_server), more, static_cast<int64_t>(server_limit))) {
    return api_error(error);
  }
  return {};
}

bool Account::do_subjects_overlap(const StreamConfig& config, const Stream* except) const {
  return std::any_of(config.subjects.begin(), config.subjects.end(),
                     [&](const std::string& subject) { return claims_.overlaps(subject, except); });
}

ApiResult<Stream*> Account::create_stream(StreamConfig config, bool is_pedantic) {
  Stream* const existing = find_stream(config.name);
  if (limits_.max_streams > 0 && existing == nullptr &&
      streams_.size() >= static_cast<size_t>(limits_.max_streams)) {
    return api_error(10027);
  }
  if (auto status = check_stream_config(config, *this, is_pedantic); !status) return status.error();
  if (auto status = check_replicas(config); !status) return status.error();
  if (existing != nullptr) {
    copy_stream_versions(config.metadata, existing->config().metadata);
    if (config == existing->config()) return existing;
    return api_error(10058);
  }
  if (auto status = check_new_stream(config); !status) return status.error();
  const WallTime created = jetstream_.now();
  const std::string stream_name = config.name;
  auto messages = jetstream_.store().create_stream(store_options(config, name(), created));
  if (!messages) {
    jetstream_.log().warn("Stream create failed for '" + name() + " > " + stream_name +
                          "': " + messages.error().text);
    return api_error(10049, "error creating store for stream");
  }
  reserve(config, true);
  auto made = std::make_unique<Stream>(*this, std::move(config), **messages, created);
  Stream* const stream = streams_.emplace(stream_name, std::move(made)).first->second.get();
  claims_.add(stream, stream->config().subjects);
  advise_stream(stream_name, "CREATED", "create");
  return stream;
}

ApiStatus Account::check_room(const StreamConfig& config) {
  Stream* const existing = find_stream(config.name);
  return check_limits(config, existing != nullptr ? &existing->config() : nullptr);
}

ApiStatus Account::check_new_stream(const StreamConfig& config) const {
  if (auto status = check_limits(config, nullptr); !status) return status;
  if (auto status = check_stream_origins(config); !status) return status;
  if (do_subjects_overlap(config, nullptr)) return api_error(10065);
  return {};
}

Transfers& Account::transfers() {
  if (transfers_ == nullptr) transfers_ = std::make_unique<Transfers>(*this);
  return *transfers_;
}

ApiStatus Account::update_stream(Stream& stream, StreamConfig config, bool is_pedantic) {
  if (auto status = check_stream_config(config, *this, is_pedantic); !status) return status;
  const StreamConfig& old = stream.config();
  if (auto status = check_stream_change(old, config); !status) return status;
  if (auto status = check_limits(config, &old); !status) return status;
  const ConsumerLimits& limits = config.consumer_limits;
  std::string violated;
  for (const auto& [consumer_name, consumer] : stream.consumers()) {
    const bool is_idle_longer =
        limits.inactive_threshold > Duration::zero() &&
        limits.inactive_threshold != old.consumer_limits.inactive_threshold &&
        consumer->config().inactive_threshold > limits.inactive_threshold;
    const bool has_more_pending = limits.max_ack_pending > 0 &&
                                  limits.max_ack_pending != old.consumer_limits.max_ack_pending &&
                                  consumer->config().max_ack_pending > limits.max_ack_pending;
    if (!is_idle_longer && !has_more_pending) continue;
    violated += (violated.empty() ? "" : ", ") + consumer_name;
  }
  if (!violated.empty()) {
    return api_error(10069, "change to limits violates consumers: " + violated);
  }
  if (do_subjects_overlap(config, &stream)) return api_error(10065);
  reserve(old, false);
  reserve(config, true);
  claims_.remove(&stream, old.subjects);
  stream.update(std::move(config));
  claims_.add(&stream, stream.config().subjects);
  advise_stream(stream.name(), "UPDATED", "modify");
  return {};
}

void Account::delete_stream(Stream& stream) {
  const std::string stream_name = stream.name();
  reserve(stream.config(), false);
  claims_.remove(&stream, stream.config().subjects);
  stream.end(Consumer::End::StreamDeleted);
  store::Stream& messages = stream.messages();
  streams_.erase(stream_name);
  jetstream_.store().delete_stream(messages);
  advise_stream(stream_name, "DELETED", "delete");
}

void Account::restore_stream(store::Stream& messages) {
  const store::StreamOptions& options = messages.options();
  const std::string label = "'" + name() + " > " + options.name + "'";
  const auto parsed = json::parse(options.config);
  ApiResult<StreamConfig> config = parsed ? parse_stream_config(*parsed, false)
                                          : ApiResult<StreamConfig>(api_error(10025));
  if (!config) {
    jetstream_.log().error("Stream " + label + " is kept but not served: its configuration cannot " +
                           "be understood: " + config.error().description);
    return;
  }
  reserve(*config, true);
  auto made = std::make_unique<Stream>(*this, std::move(*config), messages, options.created);
  Stream& stream = *made;
  claims_.add(&stream, stream.config().subjects);
  streams_.emplace(options.name, std::move(made));
  for (const auto& state : messages.consumers()) {
    if (auto consumer = restore_consumer(stream, *state); consumer != nullptr) {
      stream.add_consumer(std::move(consumer));
    }
  }
}

// --- messages of the account's own -----------------------------------------------------------

bool Account::publish(std::string_view subject, std::string_view reply, std::string_view headers,
                      std::string_view body) {
  return jetstream_.shard().deliver(account_, {}, subject, reply, headers, body);
}

bool Account::deliver(std::string_view route, std::string_view subject, std::string_view reply,
                      std::string_view headers, std::string_view body) {
  return jetstream_.shard().deliver(account_, route, subject, reply, headers, body);
}

bool Account::has_interest(std::string_view subject) const {
  return account_.has_interest(subject);
}

void Account::advise(std::string_view subject, std::string_view type,
                     FunctionRef<void(json::Writer&)> write) {
  if (!has_interest(subject)) return;
  json::Writer out;
  out.begin_object();
  out.field("type", type);
  out.field("id", jetstream_.next_id());
  out.field("timestamp", format_rfc3339(jetstream_.now()));
  write(out);
  if (!jetstream_.options().domain.empty()) out.field("domain", jetstream_.options().domain);
  out.end_object();
  publish(subject, {}, {}, out.text());
}

void Account::advise_stream(const std::string& stream, const char* what, const char* action) {
  advise("$JS.EVENT.ADVISORY.STREAM." + std::string(what) + "." + stream,
         "io.nats.jetstream.advisory.v1.stream_action", [&](json::Writer& out) {
           out.field("stream", stream).field("action", action);
         });
}

}  // namespace brokkr::jetstream
