// The bytes of objects, in and out, and watching a bucket.

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/sha256.h"
#include "client/object_names.h"
#include "client/object_store.h"
#include "client/stream_publisher.h"
#include "io/loop.h"

namespace brokkr::client {
namespace {

constexpr uint64_t kChunkSizeDefault = 128 << 10;
constexpr uint64_t kBytesOnTheirWayMax = 4 << 20;
constexpr std::string_view kDigestPrefix = "SHA-256=";
constexpr int kLinksMax = 8;
constexpr Duration kStallTime = std::chrono::seconds(2);  // without a chunk, until it is asked for

// How many chunks may be on their way at once.
uint64_t chunk_window(uint64_t chunk_size) {
  return std::clamp<uint64_t>(kBytesOnTheirWayMax / std::max<uint64_t>(chunk_size, 1), 2, 256);
}

}  // namespace

// One object on its way into the store. The handlers of what is in flight keep it alive.
struct ObjectPut : std::enable_shared_from_this<ObjectPut> {
  ObjectPut(const ObjectStore& into, const ObjectMeta& meta, ObjectReader source,
            ApiHandler<ObjectInfo> on_done)
      : store(into),
        reader(std::move(source)),
        handler(std::move(on_done)),
        chunk_size(meta.max_chunk_size == 0 ? kChunkSizeDefault : meta.max_chunk_size),
        publisher(into.jetstream(), chunk_window(chunk_size)) {
    static_cast<ObjectMeta&>(info) = meta;
    info.max_chunk_size = chunk_size;
    info.bucket = store.bucket();
    const std::string inbox = store.jetstream().connection().make_inbox();
    info.nuid = inbox.substr(inbox.rfind('.') + 1);
    buffer.resize(chunk_size);
  }

  void start() {
    store.info(
        info.name,
        [put = shared_from_this()](ApiResult<ObjectInfo> old) {
          if (!old && old.error().code != Errc::NotFound) return put->handler(old.error());
          if (old && !old->is_deleted && !old->link) put->old_nuid = old->nuid;
          put->pump();
        },
        true);
  }

  void pump() {
    is_pumping = true;
    while (!is_at_end && !failure && publisher.has_room()) send_chunk();
    is_pumping = false;
    if (publisher.in_flight() > 0) return;
    if (failure) return give_up();
    if (is_at_end) finish();
  }

  // Chunks are full but for the last, whatever pieces the reader gives.
  void send_chunk() {
    size_t filled = 0;
    while (filled < buffer.size()) {
      auto got = reader(std::span<char>(buffer).subspan(filled));
      if (!got) {
        failure = ApiError{got.error()};
        return;
      }
      if (*got == 0) {
        is_at_end = true;
        break;
      }
      filled += *got;
    }
    if (filled == 0) return;
    const std::string_view chunk(buffer.data(), filled);
    digest.update(chunk);
    info.size += filled;
    ++info.chunks;
    Status sent = publisher.publish(store.chunk_subject(info.nuid), chunk, {},
                                    [put = shared_from_this()](ApiResult<PubAck> ack) {
                                      if (!ack && !put->failure) put->failure = ack.error();
                                      if (!put->is_pumping) put->pump();
                                    });
    if (!sent) failure = ApiError{sent.error()};
  }

  void finish() {
    info.digest = std::string(kDigestPrefix) + base64url_padded(digest.finish());
    store.publish_meta(info, [put = shared_from_this()](ApiResult<ObjectInfo> written) {
      if (!written) {
        put->failure = written.error();
        return put->give_up();
      }
      if (put->old_nuid.empty()) return put->handler(std::move(written));
      put->store.js_.purge_stream(
          put->store.stream_, {put->store.chunk_subject(put->old_nuid)},
          [put, info = *written](ApiResult<uint64_t> purged) {
            if (!purged) return put->handler(purged.error());
            put->handler(info);
          });
    });
  }

  void give_up() {
    store.js_.purge_stream(store.stream_, {store.chunk_subject(info.nuid)},
                           [put = shared_from_this()](ApiResult<uint64_t>) {
                             put->handler(*put->failure);
                           });
  }

  const ObjectStore store;
  ObjectReader reader;
  ApiHandler<ObjectInfo> handler;
  ObjectInfo info;
  const uint64_t chunk_size;
  StreamPublisher publisher;
  Sha256 digest;
  std::vector<char> buffer;
  std::string old_nuid;
  std::optional<ApiError> failure;
  bool is_at_end = false;
  bool is_pumping = false;  // an acknowledgement that comes from within a publish is left to the loop
};

// One object on its way out. Its consumer's handlers keep it alive until `finish` takes that away.
struct ObjectGet : std::enable_shared_from_this<ObjectGet> {
  ObjectGet(ObjectInfo what, ObjectSink where, ApiHandler<ObjectInfo> on_done)
      : info(std::move(what)), sink(std::move(where)), handler(std::move(on_done)) {}

  void start(const ObjectStore& from) {
    store = from;
    if (sink.on_start) sink.on_start(info);
    if (info.size == 0) return check();
    stalled.emplace(from.js_.connection().loop(), [this] { ask_for_rest(); });
    stalled->start(kStallTime);
    OrderedOptions options;
    options.filter_subjects = {from.chunk_subject(info.nuid)};
    options.messages_max =
        chunk_window(info.max_chunk_size == 0 ? kChunkSizeDefault : info.max_chunk_size);
    consumer = OrderedConsumer::start(
        from.js_, from.stream_, std::move(options),
        {.on_start =
             [get = shared_from_this()](const ConsumerInfo& started) {
               if (started.num_pending == 0) get->on_no_more();
             },
         .on_message = [get = shared_from_this()](
                           const Message& message,
                           const Delivery& delivery) { get->on_chunk(message, delivery); },
         .on_trouble = {},
         .on_end = [get = shared_from_this()](const ApiError& error) { get->finish(error); }});
  }

  void on_chunk(const Message& message, const Delivery& delivery) {
    digest.update(message.payload);
    received += message.payload.size();
    last_seq = delivery.stream_seq;
    stalled->start(kStallTime);
    if (received > info.size) return check();
    if (Status taken = sink.on_chunk(message.payload); !taken) return finish(taken.error());
    if (received == info.size) return check();
    if (delivery.num_pending == 0) on_no_more();
  }

  // The consumer's server has nothing after `last_seq`. If it lags behind the stream's leader, the rest is
  // on its way.
  void on_no_more() {
    if (!store->may_lag_) return check();
    ask_for_rest();
  }

  // Also when nothing came for a while: chunks that were removed after the consumer had counted them never do.
  void ask_for_rest() {
    stalled->start(kStallTime);
    GetOptions last;
    last.last_by_subj = store->chunk_subject(info.nuid);
    store->js_.get_message(store->stream_, last, [get = shared_from_this(), before = received](
                                                     const ApiResult<StoredMessage>& message) {
      if (get->is_finished || get->received != before) return;
      if (!message && message.error().http_code != 404) return get->finish(message.error());
      if (!message || message->seq <= get->last_seq) get->check();
    });
  }

  void check() {
    if (received != info.size) {
      return finish(Error{Errc::Corrupt, "object \"" + info.name + "\" has " +
                                             std::to_string(received) + " of " +
                                             std::to_string(info.size) + " bytes"});
    }
    const std::string_view text = info.digest;
    if (text.starts_with(kDigestPrefix) &&
        base64_decode(text.substr(kDigestPrefix.size())) != digest.finish()) {
      return finish(Error{Errc::Corrupt, "received a corrupt object, digests do not match"});
    }
    finish(info);
  }

  void finish(ApiResult<ObjectInfo> result) {
    const auto keep = shared_from_this();
    const auto ended = std::move(consumer);
    is_finished = true;
    if (stalled) stalled->stop();
    handler(std::move(result));
  }

  const ObjectInfo info;
  std::optional<ObjectStore> store;
  ObjectSink sink;
  ApiHandler<ObjectInfo> handler;
  std::unique_ptr<OrderedConsumer> consumer;
  Sha256 digest;
  std::optional<io::Timer> stalled;
  uint64_t received = 0;
  uint64_t last_seq = 0;  // of the last chunk that came
  bool is_finished = false;
};

void ObjectStore::put(const ObjectMeta& meta, ObjectReader reader,
                      ApiHandler<ObjectInfo> handler) const {
  if (meta.name.empty()) return handler(Error{Errc::InvalidArgument, "name is required"});
  if (meta.link) {
    return handler(Error{Errc::InvalidArgument, "link cannot be set when putting the object in bucket"});
  }
  std::make_shared<ObjectPut>(*this, meta, std::move(reader), std::move(handler))->start();
}

void ObjectStore::put_bytes(const ObjectMeta& meta, std::string bytes,
                            ApiHandler<ObjectInfo> handler) const {
  put(meta,
      [bytes = std::move(bytes), at = size_t{0}](std::span<char> out) mutable -> Result<size_t> {
        const size_t size = bytes.copy(out.data(), out.size(), at);
        at += size;
        return size;
      },
      std::move(handler));
}

void ObjectStore::get(const std::string& name, ObjectSink sink,
                      ApiHandler<ObjectInfo> handler) const {
  get_linked(name, 0, std::move(sink), std::move(handler));
}

void ObjectStore::get_linked(const std::string& name, int depth, ObjectSink sink,
                             ApiHandler<ObjectInfo> handler) const {
  if (depth > kLinksMax) return handler(Error{Errc::LimitExceeded, "too many links"});
  info(name, [store = *this, depth, sink = std::move(sink),
              handler = std::move(handler)](ApiResult<ObjectInfo> found) mutable {
    if (!found) return handler(found.error());
    if (!found->link) {
      return std::make_shared<ObjectGet>(std::move(*found), std::move(sink), std::move(handler))
          ->start(store);
    }
    const ObjectLink link = *found->link;
    if (link.name.empty()) {
      return handler(Error{Errc::InvalidArgument, "invalid Get, object is a link to a bucket"});
    }
    if (link.bucket == store.bucket_) {
      return store.get_linked(link.name, depth + 1, std::move(sink), std::move(handler));
    }
    open(store.js_, link.bucket,
         [link, depth, sink = std::move(sink),
          handler = std::move(handler)](ApiResult<ObjectStore> other) mutable {
           if (!other) return handler(other.error());
           other->get_linked(link.name, depth + 1, std::move(sink), std::move(handler));
         });
  });
}

void ObjectStore::get_bytes(const std::string& name, uint64_t bytes_max,
                            ApiHandler<std::string> handler) const {
  auto bytes = std::make_shared<std::string>();
  ObjectSink sink;
  sink.on_chunk = [bytes, bytes_max](std::string_view chunk) -> Status {
    if (bytes->size() + chunk.size() > bytes_max) {
      return Error{Errc::LimitExceeded, "object has more than " + std::to_string(bytes_max) + " bytes"};
    }
    bytes->append(chunk);
    return {};
  };
  get(name, std::move(sink),
      [bytes, handler = std::move(handler)](ApiResult<ObjectInfo> info) {
        if (!info) return handler(info.error());
        handler(std::move(*bytes));
      });
}

ObjectWatch::ObjectWatch(const ObjectWatchOptions& options, ObjectWatchHandlers handlers)
    : options_(options) {
  static_cast<ObjectWatchHandlers&>(*handlers_) = std::move(handlers);
}

ObjectWatch::~ObjectWatch() { handlers_->is_gone = true; }

std::unique_ptr<ObjectWatch> ObjectWatch::start(const ObjectStore& store,
                                                const ObjectWatchOptions& options,
                                                ObjectWatchHandlers handlers) {
  OrderedOptions ordered;
  ordered.filter_subjects = {"$O." + store.bucket() + ".M.>"};
  ordered.deliver_policy = DeliverPolicy::LastPerSubject;
  if (options.include_history) ordered.deliver_policy = DeliverPolicy::All;
  if (options.updates_only) ordered.deliver_policy = DeliverPolicy::New;
  std::unique_ptr<ObjectWatch> watch(new ObjectWatch(options, std::move(handlers)));
  ObjectWatch* at = watch.get();
  watch->consumer_ = OrderedConsumer::start(
      store.jetstream(), store.stream(), std::move(ordered),
      {.on_start =
           [at](const ConsumerInfo& info) {
             if (info.num_pending == 0 || at->options_.updates_only) at->finish_initial();
           },
       .on_message = [at](const Message& message,
                          const Delivery& delivery) { at->on_message(message, delivery); },
       .on_trouble = {},
       .on_end =
           [at](const ApiError& error) {
             const auto owned = at->handlers_;
             if (owned->on_end) owned->on_end(error);
           }});
  return watch;
}

void ObjectWatch::on_message(const Message& message, const Delivery& delivery) {
  const auto handlers = handlers_;
  auto info = parse_object_info(message.payload);
  if (info && !(info->is_deleted && options_.ignore_deletes)) {
    info->mod_time = delivery.time;
    handlers->on_object(*info);
  }
  if (!handlers->is_gone && delivery.num_pending == 0) finish_initial();
}

void ObjectWatch::finish_initial() {
  if (std::exchange(is_initial_done_, true)) return;
  const auto handlers = handlers_;
  if (handlers->on_initial_done) handlers->on_initial_done();
}

void ObjectStore::list(ApiHandler<std::vector<ObjectInfo>> handler, bool with_deleted) const {
  struct Listing {
    std::unique_ptr<ObjectWatch> watch;
    std::vector<ObjectInfo> objects;
  };
  auto listing = std::make_shared<Listing>();
  auto shared = std::make_shared<ApiHandler<std::vector<ObjectInfo>>>(std::move(handler));
  const auto finish = [listing, shared](const ApiError* error) {
    const auto watch = std::move(listing->watch);
    if (error != nullptr) return (*shared)(*error);
    (*shared)(std::move(listing->objects));
  };
  listing->watch = ObjectWatch::start(
      *this, {.ignore_deletes = !with_deleted},
      {.on_object = [listing](const ObjectInfo& info) { listing->objects.push_back(info); },
       .on_initial_done = [finish] { finish(nullptr); },
       .on_end = [finish](const ApiError& error) { finish(&error); }});
}

}  // namespace brokkr::client
