#include "workload/host_services/object_transfer.h"

#include <algorithm>

#include "base/bytes.h"
#include "client/headers.h"
#include "client/object_names.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

constexpr uint64_t kChunkBytes = 128 << 10;
constexpr uint64_t kWindowBytes = 2 << 20;
constexpr size_t kBufferedBytesMax = 4U << 20;
constexpr std::string_view kObjectDigest = "SHA-256=";

uint64_t window_of(uint64_t chunk_bytes) {
  return std::clamp<uint64_t>(kWindowBytes / std::max<uint64_t>(chunk_bytes, 1), 2, 128);
}

}  // namespace

ObjectDownload::ObjectDownload(const client::ObjectStore& store, client::ObjectInfo info)
    : store_(store), info_(std::move(info)) {}

void ObjectDownload::read(ReadHandler handler) {
  if (!is_started_) start();
  reader_ = std::move(handler);
  give();
}

void ObjectDownload::start() {
  is_started_ = true;
  if (info_.size == 0) return check();
  client::OrderedOptions options;
  options.filter_subjects = {store_.chunk_subject(info_.nuid)};
  options.messages_max = window_of(info_.max_chunk_size == 0 ? kChunkBytes : info_.max_chunk_size);
  consumer_ = client::OrderedConsumer::start(
      store_.jetstream(), store_.stream(), std::move(options),
      {.on_start =
           [this](const client::ConsumerInfo& started) {
             if (started.num_pending == 0) check();
           },
       .on_message = [this](const client::Message& message,
                            const client::Delivery& delivery) { on_chunk(message, delivery); },
       .on_trouble = {},
       .on_end = [this](const client::ApiError& error) { end(error); }});
}

void ObjectDownload::on_chunk(const client::Message& message, const client::Delivery& delivery) {
  digest_.update(message.payload);
  received_ += message.payload.size();
  buffer_.append(message.payload);
  if (received_ >= info_.size || delivery.num_pending == 0) return check();
  if (buffer_.size() > kBufferedBytesMax && !is_paused_) {
    is_paused_ = true;
    consumer_->pause();
  }
  give();
}

void ObjectDownload::check() {
  if (received_ != info_.size) {
    return end(client::ApiError{{Errc::Corrupt, "object \"" + info_.name + "\" has " +
                                                    std::to_string(received_) + " of " +
                                                    std::to_string(info_.size) + " bytes"}});
  }
  const std::string_view text = info_.digest;
  if (text.starts_with(kObjectDigest) &&
      base64_decode(text.substr(kObjectDigest.size())) != digest_.finish()) {
    return end(client::ApiError{{Errc::Corrupt, "the object's digest does not match"}});
  }
  end({});
}

void ObjectDownload::end(std::optional<client::ApiError> failure) {
  if (is_ended_) return;
  is_ended_ = true;
  failure_ = std::move(failure);
  const auto consumer = std::move(consumer_);
  give();
}

void ObjectDownload::give() {
  if (!reader_ || (buffer_.empty() && !is_ended_)) return;
  const ReadHandler reader = std::move(reader_);
  reader_ = {};
  if (failure_ && buffer_.empty()) return reader(*failure_);
  std::string piece = buffer_.substr(0, kReadBytesMax);
  buffer_.erase(0, piece.size());
  if (is_paused_ && buffer_.size() <= kBufferedBytesMax / 2 && consumer_ != nullptr) {
    is_paused_ = false;
    consumer_->resume();
  }
  reader(std::move(piece));
}

// Publishes' acknowledgements keep it alive.
struct ObjectUpload::State : std::enable_shared_from_this<State> {
  State(const client::ObjectStore& into, client::ObjectMeta meta)
      : store(into), publisher(into.jetstream(), window_of(kChunkBytes)) {
    static_cast<client::ObjectMeta&>(info) = std::move(meta);
    info.max_chunk_size = kChunkBytes;
    info.bucket = store.bucket();
    const std::string inbox = store.jetstream().connection().make_inbox();
    info.nuid = inbox.substr(inbox.rfind('.') + 1);
  }

  // Sends what makes whole chunks, and the rest at the end.
  void pump() {
    const size_t at_least = is_committing ? 1 : kChunkBytes;
    is_pumping = true;
    size_t at = 0;
    while (!failure && buffer.size() - at >= at_least && publisher.has_room()) {
      const auto chunk = std::string_view(buffer).substr(at, kChunkBytes);
      at += chunk.size();
      send(chunk);
    }
    buffer.erase(0, at);
    is_pumping = false;
    advance();
  }

  void send(std::string_view chunk) {
    digest.update(chunk);
    info.size += chunk.size();
    ++info.chunks;
    const Status sent = publisher.publish(
        store.chunk_subject(info.nuid), chunk, {},
        [state = shared_from_this()](client::ApiResult<client::PubAck> ack) {
          if (!ack && !state->failure) state->failure = ack.error();
          if (!state->is_pumping && !state->is_abandoned) state->pump();
        });
    if (!sent && !failure) failure = client::ApiError{sent.error()};
  }

  void advance() {
    if (failure) {
      if (auto handler = std::move(on_room)) handler(*failure);
      on_room = {};
      if (auto handler = std::move(on_done)) handler(*failure);
      on_done = {};
      return;
    }
    if (buffer.size() < kChunkBytes && on_room) {
      const auto handler = std::move(on_room);
      on_room = {};
      return handler(client::Done{});
    }
    if (is_committing && buffer.empty() && publisher.in_flight() == 0 && !is_described) describe();
  }

  void describe() {
    is_described = true;
    info.digest = std::string(kObjectDigest) + client::base64url_padded(digest.finish());
    store.info(
        info.name,
        [state = shared_from_this()](client::ApiResult<client::ObjectInfo> old) {
          if (!old && old.error().code != Errc::NotFound) return state->give_up(old.error());
          if (old && !old->is_deleted && !old->link) state->old_nuid = old->nuid;
          state->publish_description();
        },
        true);
  }

  void publish_description() {
    if (is_abandoned) return;
    is_description_sent = true;
    client::HeaderWriter headers;
    headers.add("Nats-Rollup", "sub");
    if (!hops.empty()) headers.add(kHopsHeader, hops);
    const std::string block = headers.take();
    client::StreamPublishOptions options;
    options.headers = block;
    store.jetstream().publish(store.meta_subject(info.name), client::make_object_json(info), options,
                              [state = shared_from_this()](client::ApiResult<client::PubAck> ack) {
                                if (!ack) return state->give_up(ack.error());
                                state->finish();
                              });
  }

  void finish() {
    if (!old_nuid.empty()) {
      store.jetstream().purge_stream(store.stream(), {.filter = store.chunk_subject(old_nuid)},
                                     [](client::ApiResult<uint64_t>) {});
    }
    info.mod_time = store.jetstream().connection().loop().clock().wall_now();
    if (const auto handler = std::move(on_done)) handler(info);
    on_done = {};
  }

  void give_up(const client::ApiError& error) {
    failure = error;
    is_description_sent = false;
    if (is_abandoned) return remove_chunks();
    advance();
  }

  // Once the description is on its way the object may be there, whoever still wants it.
  void abandon() {
    is_abandoned = true;
    on_room = {};
    on_done = {};
    if (!is_description_sent) remove_chunks();
  }

  // Chunks whose acknowledgement is not there yet go as well: the server takes them in order.
  void remove_chunks() {
    if (info.chunks == 0) return;
    store.jetstream().purge_stream(store.stream(), {.filter = store.chunk_subject(info.nuid)},
                                   [](client::ApiResult<uint64_t>) {});
  }

  const client::ObjectStore store;
  std::string hops;
  client::ObjectInfo info;
  client::StreamPublisher publisher;
  Sha256 digest;
  std::string buffer;
  std::string old_nuid;
  client::ApiHandler<client::Done> on_room;
  client::ApiHandler<client::ObjectInfo> on_done;
  std::optional<client::ApiError> failure;
  bool is_pumping = false;
  bool is_committing = false;
  bool is_described = false;
  bool is_description_sent = false;
  bool is_abandoned = false;
};

ObjectUpload::ObjectUpload(const client::ObjectStore& store, client::ObjectMeta meta)
    : state_(std::make_shared<State>(store, std::move(meta))) {}

ObjectUpload::~ObjectUpload() { state_->abandon(); }

void ObjectUpload::set_hops(std::string hops) { state_->hops = std::move(hops); }

bool ObjectUpload::is_busy() const {
  return static_cast<bool>(state_->on_room) || state_->is_committing;
}

void ObjectUpload::write(std::string bytes, client::ApiHandler<client::Done> handler) {
  const auto state = state_;
  if (state->buffer.empty()) state->buffer = std::move(bytes);
  else state->buffer.append(bytes);
  state->on_room = std::move(handler);
  state->pump();
}

void ObjectUpload::commit(client::ApiHandler<client::ObjectInfo> handler) {
  const auto state = state_;
  state->is_committing = true;
  state->on_done = std::move(handler);
  state->pump();
}

void ObjectUpload::drop_handler() {
  state_->on_room = {};
  state_->on_done = {};
}

}  // namespace brokkr::workload
