// Watching a bucket, and what is done by watching: its keys, histories and the purge of deletions.

#include <utility>

#include "client/key_value.h"

namespace brokkr::client {
namespace {

// A watch that ends with what was there, kept alive by its own handlers until then.
struct Collection {
  std::unique_ptr<KeyWatch> watch;
  std::vector<KeyValueEntry> entries;
};
using CollectionHandler = ApiHandler<std::vector<KeyValueEntry>>;

void collect(const KeyValue& bucket, const KeyWatchOptions& options, CollectionHandler handler) {
  auto collection = std::make_shared<Collection>();
  auto shared = std::make_shared<CollectionHandler>(std::move(handler));
  // Taking the watch out first breaks the ring of ownership and makes the answer the last word.
  const auto finish = [collection, shared](const ApiError* error) {
    const auto watch = std::move(collection->watch);
    if (error != nullptr) return (*shared)(*error);
    (*shared)(std::move(collection->entries));
  };
  auto watch = KeyWatch::start(
      bucket, options,
      {.on_entry = [collection](const KeyValueEntry& entry) { collection->entries.push_back(entry); },
       .on_initial_done = [finish] { finish(nullptr); },
       .on_end = [finish](const ApiError& error) { finish(&error); }});
  if (!watch) return (*shared)(watch.error());
  collection->watch = std::move(*watch);
}

// Purges the deleted keys one after the other.
struct DeletePurge {
  JetStream js;
  std::string stream;
  std::vector<PurgeOptions> purges;
  ApiHandler<uint64_t> handler;
  size_t next = 0;
};

void purge_next(std::shared_ptr<DeletePurge> purge) {
  if (purge->next == purge->purges.size()) return purge->handler(uint64_t{purge->next});
  const PurgeOptions& options = purge->purges[purge->next++];
  purge->js.purge_stream(purge->stream, options, [purge](ApiResult<uint64_t> purged) {
    if (!purged) return purge->handler(purged.error());
    purge_next(purge);
  });
}

}  // namespace

KeyWatch::KeyWatch(const KeyValue& bucket, const KeyWatchOptions& options,
                   KeyWatchHandlers handlers)
    : bucket_(bucket), options_(options) {
  static_cast<KeyWatchHandlers&>(*handlers_) = std::move(handlers);
}

KeyWatch::~KeyWatch() { handlers_->is_gone = true; }

Result<std::unique_ptr<KeyWatch>> KeyWatch::start(const KeyValue& bucket,
                                                  const KeyWatchOptions& options,
                                                  KeyWatchHandlers handlers) {
  OrderedOptions ordered;
  for (const std::string& pattern : options.patterns) {
    if (!is_key_pattern(pattern)) {
      return Error{Errc::InvalidArgument, "invalid key \"" + pattern + "\""};
    }
    ordered.filter_subjects.push_back(bucket.subject_of(pattern));
  }
  if (options.include_history && options.updates_only) {
    return Error{Errc::InvalidArgument, "include history can not be used with updates only"};
  }
  ordered.deliver_policy = DeliverPolicy::LastPerSubject;
  if (options.include_history) ordered.deliver_policy = DeliverPolicy::All;
  if (options.updates_only) ordered.deliver_policy = DeliverPolicy::New;
  if (options.resume_from_revision > 0) {
    ordered.deliver_policy = DeliverPolicy::ByStartSequence;
    ordered.opt_start_seq = options.resume_from_revision;
  }
  ordered.headers_only = options.meta_only;
  std::unique_ptr<KeyWatch> watch(new KeyWatch(bucket, options, std::move(handlers)));
  KeyWatch* at = watch.get();
  watch->consumer_ = OrderedConsumer::start(
      bucket.jetstream(), bucket.stream(), std::move(ordered),
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

void KeyWatch::on_message(const Message& message, const Delivery& delivery) {
  KeyValueEntry entry = bucket_.make_entry(message.subject, message.headers, message.payload,
                                           delivery.stream_seq, delivery.time);
  entry.delta = delivery.num_pending;
  const auto handlers = handlers_;
  if (entry.operation == KeyOperation::Put || !options_.ignore_deletes) handlers->on_entry(entry);
  if (!handlers->is_gone && delivery.num_pending == 0) finish_initial();
}

void KeyWatch::finish_initial() {
  if (std::exchange(is_initial_done_, true)) return;
  const auto handlers = handlers_;
  if (handlers->on_initial_done) handlers->on_initial_done();
}

void KeyValue::keys(ApiHandler<std::vector<std::string>> handler,
                    std::vector<std::string> patterns) const {
  KeyWatchOptions options;
  if (!patterns.empty()) options.patterns = std::move(patterns);
  options.ignore_deletes = true;
  options.meta_only = true;
  collect(*this, options,
          [handler = std::move(handler)](ApiResult<std::vector<KeyValueEntry>> entries) {
            if (!entries) return handler(entries.error());
            std::vector<std::string> keys;
            for (KeyValueEntry& entry : *entries) keys.push_back(std::move(entry.key));
            handler(std::move(keys));
          });
}

void KeyValue::history(const std::string& key,
                       ApiHandler<std::vector<KeyValueEntry>> handler) const {
  KeyWatchOptions options;
  options.patterns = {key};
  options.include_history = true;
  collect(*this, options,
          [handler = std::move(handler)](ApiResult<std::vector<KeyValueEntry>> entries) {
            if (entries && entries->empty()) {
              return handler(ApiError{{Errc::NotFound, "key not found"}, 404, kMessageNotFoundError});
            }
            handler(std::move(entries));
          });
}

void KeyValue::purge_deletes(ApiHandler<uint64_t> handler, Duration marker_age) const {
  KeyWatchOptions options;
  options.meta_only = true;
  collect(*this, options,
          [bucket = *this, marker_age,
           handler = std::move(handler)](ApiResult<std::vector<KeyValueEntry>> entries) mutable {
            if (!entries) return handler(entries.error());
            auto purge = std::make_shared<DeletePurge>(
                DeletePurge{bucket.js_, bucket.stream_, {}, std::move(handler)});
            const WallTime now = bucket.js_.connection().loop().clock().wall_now();
            for (const KeyValueEntry& entry : *entries) {
              if (entry.operation == KeyOperation::Put) continue;
              const bool is_kept = marker_age > Duration(0) && now - entry.created < marker_age;
              purge->purges.push_back({bucket.subject_of(entry.key), 0, is_kept ? 1U : 0U});
            }
            purge_next(purge);
          });
}

}  // namespace brokkr::client
