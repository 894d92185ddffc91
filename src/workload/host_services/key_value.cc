#include "workload/host_services/key_value.h"

#include <functional>

#include "base/bytes.h"
#include "client/headers.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

constexpr size_t kKeysMax = 100'000;
constexpr size_t kListBytesMax = 4U << 20;
constexpr size_t kKeyBytesMax = 4096;
constexpr size_t kWatchedMax = 1000;

// A call as it is kept while its bucket is being opened.
struct KeyCall {
  std::string bucket, method, key, value;
  std::optional<uint64_t> revision;
  uint32_t limit = 0;
  bool is_retry = false;
  client::KeyWatchOptions watch;
  std::string stored_headers;  // how far the message that led to the value has come
};

std::string entry_headers(const client::KeyValueEntry& entry) {
  client::HeaderWriter headers;
  headers.add("Revision", std::to_string(entry.revision));
  headers.add("Operation", client::to_string(entry.operation));
  const auto created = std::chrono::duration_cast<std::chrono::milliseconds>(
      entry.created.time_since_epoch());
  headers.add("Created", std::to_string(created.count()));
  return headers.take();
}

runtime::HostReply revision_reply(uint64_t revision) {
  runtime::HostReply reply;
  client::HeaderWriter headers;
  headers.add("Revision", std::to_string(revision));
  reply.headers = headers.take();
  return reply;
}

// Whether the call is tried again after the error.
using Retry = std::function<bool(const client::ApiError&)>;

// One listing under way; its handlers own it.
struct KeyListing {
  std::unique_ptr<client::KeyWatch> watch;
  runtime::HostReply reply;
  size_t count = 0;
};

void list_keys(const client::KeyValue& bucket, const KeyCall& call, const Answer& answer,
               const Retry& retry) {
  auto listing = std::make_shared<KeyListing>();
  client::KeyWatchOptions options;
  options.ignore_deletes = true;
  options.meta_only = true;
  if (!call.key.empty()) options.patterns = {call.key};
  const size_t limit = call.limit == 0 ? kKeysMax : std::min<size_t>(call.limit, kKeysMax);
  const bool is_cut_wanted = call.limit != 0;
  // Destroying the watch from its handler is allowed; the listing goes with it.
  const auto end = [listing, answer](const runtime::HostReply& reply) {
    answer.send(reply);
    const auto watch = std::move(listing->watch);
  };
  auto started = client::KeyWatch::start(
      bucket, options,
      {.on_entry =
           [listing, limit, is_cut_wanted, end](const client::KeyValueEntry& entry) {
             if (listing->watch == nullptr) return;
             if (listing->reply.more.size() + entry.key.size() > kListBytesMax ||
                 (!is_cut_wanted && listing->count >= limit)) {
               return end(refusal(413, "too many keys: name a filter or a limit"));
             }
             append_record(listing->reply.more, entry.key);
             if (++listing->count >= limit && is_cut_wanted) end(listing->reply);
           },
       .on_initial_done =
           [listing, end] {
             if (listing->watch != nullptr) end(listing->reply);
           },
       .on_end =
           [listing, retry, answer](const client::ApiError& error) {
             const auto watch = std::move(listing->watch);
             if (watch != nullptr && !retry(error)) answer.fail(error);
           }});
  if (!started) return answer.fail(started.error());
  listing->watch = std::move(*started);
  answer.on_cancel([listing] { const auto watch = std::move(listing->watch); });
}

// One look at what has changed; its handlers own it.
struct KeyLook {
  std::unique_ptr<client::KeyWatch> watch;
  runtime::HostReply reply;
  uint64_t revision = 0;
  size_t count = 0;
  bool is_initial_done = false;
};

void watch_keys(const client::KeyValue& bucket, const KeyCall& call, const Answer& answer,
                const Retry& retry) {
  auto look = std::make_shared<KeyLook>();
  client::KeyWatchOptions options = call.watch;
  if (!call.key.empty()) options.patterns = {call.key};
  // Of what comes by revision the rest can be asked for.
  const bool can_go_on = options.resume_from_revision > 0 || options.include_history;
  const auto end = [look, answer] {
    client::HeaderWriter headers;
    headers.add("Revision", std::to_string(look->revision));
    look->reply.headers = headers.take();
    answer.send(look->reply);
    const auto watch = std::move(look->watch);
  };
  auto started = client::KeyWatch::start(
      bucket, options,
      {.on_entry =
           [look, can_go_on, answer, end](const client::KeyValueEntry& entry) {
             if (look->watch == nullptr) return;
             const size_t bytes = look->reply.more.size() + entry.key.size() + entry.value.size();
             if (bytes > kListBytesMax && look->count > 0) {
               if (can_go_on) return end();
               answer.fail(413, "too much at once: name a filter");
               const auto watch = std::move(look->watch);
               return;
             }
             append_record(look->reply.more, entry.key);
             append_record(look->reply.more, entry_headers(entry));
             append_record(look->reply.more, entry.value);
             look->revision = std::max(look->revision, entry.revision);
             ++look->count;
             if (look->is_initial_done || (can_go_on && look->count >= kWatchedMax)) end();
           },
       .on_initial_done =
           [look, end] {
             look->is_initial_done = true;
             if (look->watch != nullptr && look->count > 0) end();
           },
       .on_end =
           [look, retry, answer](const client::ApiError& error) {
             const auto watch = std::move(look->watch);
             if (watch != nullptr && !retry(error)) answer.fail(error);
           }});
  if (!started) return answer.fail(started.error());
  look->watch = std::move(*started);
  answer.on_cancel([look] { const auto watch = std::move(look->watch); });
}

// The options of a watch; false when there are others.
bool read_watch(std::string_view words, client::KeyWatchOptions& options) {
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(' '));
    words.remove_prefix(std::min(words.size(), word.size() + 1));
    if (word == "history") options.include_history = true;
    else if (word == "updates") options.updates_only = true;
    else if (word == "no-deletes") options.ignore_deletes = true;
    else if (word == "no-values") options.meta_only = true;
    else if (!word.empty()) return false;
  }
  return !(options.include_history && options.updates_only);
}

void list_history(const client::KeyValue& bucket, const KeyCall& call, const Answer& answer) {
  bucket.history(call.key, [answer](client::ApiResult<std::vector<client::KeyValueEntry>> entries) {
    if (!entries) return answer.fail(entries.error());
    runtime::HostReply reply;
    for (const client::KeyValueEntry& entry : *entries) {
      if (reply.more.size() + entry.value.size() > kListBytesMax) {
        return answer.fail(413, "the key's history is too large");
      }
      append_record(reply.more, entry_headers(entry));
      append_record(reply.more, entry.value);
    }
    answer.send(reply);
  });
}

void get_entry(const client::KeyValue& bucket, const KeyCall& call, const Answer& answer,
               const Retry& retry) {
  auto handler = [answer, retry, key = call.key](client::ApiResult<client::KeyValueEntry> entry) {
    if (!entry) {
      if (retry(entry.error())) return;
      if (entry.error().code == Errc::NotFound) {
        return answer.fail(404, "key \"" + key + "\" not found");
      }
      return answer.fail(entry.error());
    }
    runtime::HostReply reply;
    reply.headers = entry_headers(*entry);
    reply.payload = std::move(entry->value);
    answer.send(reply);
  };
  if (call.revision) return bucket.get_revision(call.key, *call.revision, std::move(handler));
  bucket.get(call.key, std::move(handler));
}

void run_on(const client::KeyValue& opened, const KeyCall& call, const Answer& answer,
            const Retry& retry) {
  const std::string& method = call.method;
  if (method == "keys") return list_keys(opened, call, answer, retry);
  if (method == "watch") return watch_keys(opened, call, answer, retry);
  if (method == "history") return list_history(opened, call, answer);
  if (method == "get") return get_entry(opened, call, answer, retry);
  const client::KeyValue bucket = opened.with_headers(call.stored_headers);
  const auto written = [answer, retry](client::ApiResult<uint64_t> revision) {
    if (revision) return answer.send(revision_reply(*revision));
    if (!retry(revision.error())) answer.fail(revision.error());
  };
  const auto removed = [answer, retry](client::ApiResult<client::Done> done) {
    if (done) return answer.send({});
    if (!retry(done.error())) answer.fail(done.error());
  };
  if (method == "set" || method == "put") {
    return bucket.put(call.key, call.value, written);
  }
  if (method == "create") return bucket.create_key(call.key, call.value, written);
  if (method == "update") {
    if (!call.revision) return answer.fail(400, "update needs a revision");
    return bucket.update_key(call.key, call.value, *call.revision, written);
  }
  if (method == "delete") return bucket.delete_key(call.key, removed, call.revision);
  bucket.purge_key(call.key, removed, {}, call.revision);
}

// A bucket that was deleted since it was opened is opened once more.
void open_and_run(const std::shared_ptr<Buckets<client::KeyValue>>& buckets,
                  const std::shared_ptr<KeyCall>& call, const Answer& answer) {
  buckets->open(call->bucket, [weak = std::weak_ptr(buckets), call,
                               answer](client::ApiResult<client::KeyValue> store) {
    if (!store) return answer.fail(store.error());
    if (!answer.is_open()) return;
    const Retry retry = [weak, call, answer](const client::ApiError& error) {
      const auto again = weak.lock();
      if (again == nullptr || !is_bucket_gone(error)) return false;
      again->forget(call->bucket);
      if (call->is_retry || !answer.is_open()) return false;
      call->is_retry = true;
      open_and_run(again, call, answer);
      return true;
    };
    run_on(*store, *call, answer, retry);
  });
}

bool is_method(std::string_view method) {
  constexpr std::string_view kMethods[] = {"get",    "set",   "put",  "create", "update",
                                           "delete", "purge", "keys", "history", "watch"};
  return std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
}

}  // namespace

void KeyValueService::serve(const runtime::HostCall& call, const Answer& answer) {
  if (!is_method(call.method)) {
    return answer.fail(501, "kv has no method " + std::string(call.method));
  }
  const bool is_listing = call.method == "keys" || call.method == "watch";
  const bool is_key_good = is_listing ? call.key.empty() || client::is_key_pattern(call.key)
                                      : client::is_key(call.key);
  if (!is_key_good || call.key.size() > kKeyBytesMax) {
    return answer.fail(400, "invalid key \"" + std::string(call.key.substr(0, 100)) + "\"");
  }
  const auto kept = std::make_shared<KeyCall>(
      KeyCall{std::string(call.target), std::string(call.method), std::string(call.key),
              std::string(call.payload), {}, call.replies_max, false, {}, {}});
  if (!call.headers.empty()) {
    const auto headers = client::Headers::parse(call.headers);
    if (!headers) return answer.fail(400, "the headers are not a header block");
    if (const auto hops = headers->find(kHopsHeader)) {
      kept->stored_headers = client::with_header({}, kHopsHeader, *hops);
    }
    if (const auto text = headers->find("Revision")) {
      kept->revision = parse_uint(*text);
      if (!kept->revision) return answer.fail(400, "the revision is not a number");
    }
    if (const auto words = headers->find("Watch"); words && !read_watch(*words, kept->watch)) {
      return answer.fail(400, "a watch has no option \"" + std::string(words->substr(0, 100)) + "\"");
    }
  }
  if (kept->revision && *kept->revision > 0) {
    kept->watch.resume_from_revision = *kept->revision + 1;
    kept->watch.include_history = kept->watch.updates_only = false;
  }
  open_and_run(buckets_, kept, answer);
}

}  // namespace brokkr::workload
