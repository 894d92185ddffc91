// What clients are told about a consumer.
#include <string>

#include "jetstream/consumer_rules.h"
#include "jetstream/stream_consumer.h"

namespace brokkr::jetstream {
namespace {

constexpr const char* kNoTime = "0001-01-01T00:00:00Z";

void write_sequences(json::Writer& out, const char* name, store::SequencePair pair, int64_t at_ns) {
  out.key(name).begin_object();
  out.field("consumer_seq", pair.consumer);
  out.field("stream_seq", pair.stream);
  if (at_ns != 0) out.field("last_active", format_rfc3339(WallTime(Duration(at_ns))));
  out.end_object();
}

}  // namespace

void StreamConsumer::write_info(json::Writer& out) {
  write_info(out, with_server_metadata(config_));
}

void StreamConsumer::write_listed(json::Writer& out) {
  write_info(out, config_);
}

void StreamConsumer::write_info(json::Writer& out, const ConsumerConfig& shown) {
  const store::ConsumerState& state = state_->state();
  if (pull_ != nullptr && !pull_->empty()) tend_requests(false, true);
  out.field("stream_name", stream_.name());
  out.field("name", name_);
  out.field("created", format_rfc3339(created_));
  out.key("config");
  write_consumer_config(out, shown);
  write_sequences(out, "delivered", state.delivered, state.delivered_at_ns);
  write_sequences(out, "ack_floor", state.ack_floor, state.acked_at_ns);
  out.field("num_ack_pending", static_cast<uint64_t>(state.pending.size()));
  const uint64_t redelivered = redelivered_ + state.exhausted.size();
  out.field("num_redelivered", config_.max_deliver == 1 ? 0 : redelivered);
  out.field("num_waiting", static_cast<uint64_t>(pull_ == nullptr ? 0 : pull_->size()));
  out.field("num_pending", num_pending());
  if (is_bound()) out.field("push_bound", true);
  if (is_paused()) {
    out.field("paused", true);
    out.field("pause_remaining", config_.pause_until->time_since_epoch().count() - now_ns());
  }
  out.field("ts", format_rfc3339(stream_.account().jetstream().now()));
  if (config_.priority_groups.empty()) return;
  out.key("priority_groups").begin_array().begin_object();
  out.field("group", config_.priority_groups.front());
  if (!pin_id_.empty()) out.field("pinned_client_id", pin_id_);
  out.field("pinned_ts", pin_id_.empty() ? kNoTime : format_rfc3339(pinned_at_));
  out.end_object().end_array();
}

void StreamConsumer::advise_pause() {
  stream_.account().advise("$JS.EVENT.ADVISORY.CONSUMER.PAUSE." + key_,
                           "io.nats.jetstream.advisory.v1.consumer_pause", [this](json::Writer& out) {
                             out.field("stream", stream_.name());
                             out.field("consumer", name_);
                             out.field("paused", is_paused());
                             out.field("pause_until", config_.pause_until
                                                          ? format_rfc3339(*config_.pause_until)
                                                          : std::string(kNoTime));
                           });
}

void StreamConsumer::advise_created(bool is_created) {
  const char* subject = is_created ? "$JS.EVENT.ADVISORY.CONSUMER.CREATED." : "$JS.EVENT.ADVISORY.CONSUMER.DELETED.";
  stream_.account().advise(subject + key_, "io.nats.jetstream.advisory.v1.consumer_action",
                           [&](json::Writer& out) {
                             out.field("stream", stream_.name());
                             out.field("consumer", name_);
                             out.field("action", is_created ? "create" : "delete");
                           });
}

// Without a reason: somebody was pinned.
void StreamConsumer::advise_pin(std::string_view group, std::string_view reason) {
  const bool is_pinned = reason.empty();
  const std::string subject = std::string("$JS.EVENT.ADVISORY.CONSUMER.") + (is_pinned ? "PINNED." : "UNPINNED.") + key_;
  stream_.account().advise(subject,
                           is_pinned ? "io.nats.jetstream.advisory.v1.consumer_group_pinned"
                                     : "io.nats.jetstream.advisory.v1.consumer_group_unpinned",
                           [&](json::Writer& out) {
                             out.field("account", stream_.account().name());
                             out.field("stream", stream_.name());
                             out.field("consumer", name_);
                             out.field("group", group);
                             if (is_pinned) {
                               out.field("pinned_id", pin_id_);
                             } else {
                               out.field("reason", reason);
                             }
                           });
}

}  // namespace brokkr::jetstream
