#include "workload/host_services/object_store.h"

#include <functional>
#include <optional>

#include "base/bytes.h"
#include "client/headers.h"
#include "workload/hops.h"

namespace brokkr::workload {
namespace {

constexpr size_t kListingBytesMax = 4U << 20;
constexpr size_t kObjectNameBytesMax = 4096;
constexpr int kLinksFollowedMax = 8;

struct ObjectCall {
  std::string bucket, method, name, bytes;
  client::ObjectMeta meta;
  std::string hops;
  const HostCaller* caller = nullptr;  // compared only
  bool is_retry = false;
};

std::string describe(const client::ObjectInfo& info) {
  std::string json = client::make_object_json(info);
  // The field's own clients keep the time out of what they store and add it for readers.
  const std::string_view empty = "\"mtime\":\"0001-01-01T00:00:00Z\"";
  const size_t at = json.find(empty);
  if (at == std::string::npos || info.mod_time == WallTime()) return json;
  return json.replace(at, empty.size(), "\"mtime\":\"" + format_rfc3339(info.mod_time) + "\"");
}

runtime::HostReply description_reply(const client::ObjectInfo& info) {
  runtime::HostReply reply;
  reply.payload = describe(info);
  return reply;
}

runtime::HostReply handle_reply(uint64_t handle) {
  runtime::HostReply reply;
  client::HeaderWriter headers;
  headers.add("Handle", std::to_string(handle));
  reply.headers = headers.take();
  return reply;
}

using RetryObjects = std::function<bool(const client::ApiError&)>;

client::ApiError object_missing(const std::string& name) {
  return {{Errc::NotFound, "object \"" + name + "\" not found"}, 404, 0};
}

// The description of what a name stands for, links within the bucket followed. A link into another
// bucket is refused: what is there is not this bucket's to give.
void find_object(const client::ObjectStore& store, const std::string& name, int depth,
                 client::ApiHandler<client::ObjectInfo> handler) {
  store.info(name, [store, name, depth, handler = std::move(handler)](
                       client::ApiResult<client::ObjectInfo> found) mutable {
    if (!found) {
      const bool is_missing = found.error().code == Errc::NotFound && !is_bucket_gone(found.error());
      return handler(is_missing ? object_missing(name) : found.error());
    }
    if (!found->link) return handler(std::move(found));
    if (found->link->bucket != store.bucket() || found->link->name.empty()) {
      return handler(Error{Errc::PermissionDenied, "\"" + name + "\" is a link to another bucket"});
    }
    if (depth >= kLinksFollowedMax) return handler(Error{Errc::LimitExceeded, "too many links"});
    find_object(store, found->link->name, depth + 1, std::move(handler));
  });
}

void list_objects(const client::ObjectStore& store, const Answer& answer, const RetryObjects& retry) {
  struct Listing {
    std::unique_ptr<client::ObjectWatch> watch;
    runtime::HostReply reply;
  };
  auto listing = std::make_shared<Listing>();
  const auto end = [listing, answer](const runtime::HostReply& reply) {
    answer.send(reply);
    const auto watch = std::move(listing->watch);
  };
  listing->watch = client::ObjectWatch::start(
      store, {.ignore_deletes = true},
      {.on_object =
           [listing, end](const client::ObjectInfo& info) {
             if (listing->watch == nullptr) return;
             const std::string text = describe(info);
             if (listing->reply.more.size() + text.size() > kListingBytesMax) {
               return end(refusal(413, "too many objects to list"));
             }
             append_record(listing->reply.more, text);
           },
       .on_initial_done =
           [listing, end] {
             if (listing->watch != nullptr) end(listing->reply);
           },
       .on_end =
           [listing, answer, retry](const client::ApiError& error) {
             const auto watch = std::move(listing->watch);
             if (watch != nullptr && !retry(error)) answer.fail(error);
           }});
  answer.on_cancel([listing] { const auto watch = std::move(listing->watch); });
}

// A whole object; the download goes with the answer.
void get_object(const client::ObjectStore& store, client::ObjectInfo info, const Answer& answer) {
  if (info.size > ObjectStoreService::kWholeBytesMax) {
    return answer.fail(413, "object \"" + info.name + "\" has " + std::to_string(info.size) +
                                " bytes: read it as a stream");
  }
  struct Whole {
    std::unique_ptr<ObjectDownload> download;
    runtime::HostReply reply;
    std::function<void()> next;
  };
  auto whole = std::make_shared<Whole>();
  whole->reply.more = describe(info);
  whole->download = std::make_unique<ObjectDownload>(store, std::move(info));
  const auto drop = [whole] {
    const auto download = std::move(whole->download);
    const auto next = std::move(whole->next);
    whole->next = nullptr;
  };
  whole->next = [whole, answer, drop] {
    whole->download->read([whole, answer, drop](client::ApiResult<std::string> piece) {
      if (piece && !piece->empty() && answer.is_open()) {
        whole->reply.payload += *piece;
        const auto next = whole->next;
        return next();
      }
      const auto keep = whole;
      drop();
      if (!piece) return answer.fail(piece.error());
      answer.send(keep->reply);
    });
  };
  answer.on_cancel(drop);
  const auto first = whole->next;
  first();
}

// A whole object; the upload goes with its handlers. The bytes are kept for the case that the bucket has
// gone and all is tried again.
void put_object(const client::ObjectStore& store, const ObjectCall& call, const Answer& answer,
                const std::function<void(client::ApiResult<client::ObjectInfo>)>& described) {
  const auto upload = std::make_shared<ObjectUpload>(store, call.meta);
  upload->set_hops(call.hops);
  answer.on_cancel([upload] { upload->drop_handler(); });
  upload->write(call.bytes, [upload, described](client::ApiResult<client::Done> written) {
    if (!written) return described(written.error());
    upload->commit([upload, described](client::ApiResult<client::ObjectInfo> info) {
      described(std::move(info));
    });
  });
}

}  // namespace

struct ObjectStoreService::State : std::enable_shared_from_this<State> {
  struct Handle {
    const HostCaller* caller;
    MonotonicTime used;
    std::unique_ptr<ObjectDownload> download;
    std::unique_ptr<ObjectUpload> upload;
  };

  State(io::Loop& l, const client::JetStream& jetstream, std::shared_ptr<const Access> access,
        const HostServiceOptions& o)
      : loop(l), js(jetstream), options(o), sweep(l, [this] { close_idle(); }) {
    set_access(std::move(access));
  }

  void set_access(std::shared_ptr<const Access> access) {
    buckets.emplace(js, std::move(access), options);
  }

  void open_and_run(const std::shared_ptr<ObjectCall>& call, const Answer& answer) {
    buckets->open(call->bucket, [weak = weak_from_this(), call,
                                answer](client::ApiResult<client::ObjectStore> store) {
      const auto self = weak.lock();
      if (self == nullptr || !answer.is_open()) return;
      if (!store) return answer.fail(store.error());
      const RetryObjects retry = [weak, call, answer](const client::ApiError& error) {
        const auto again = weak.lock();
        if (again == nullptr || !is_bucket_gone(error)) return false;
        again->buckets->forget(call->bucket);
        if (call->is_retry || !answer.is_open()) return false;
        call->is_retry = true;
        again->open_and_run(call, answer);
        return true;
      };
      self->run_on(*store, call, answer, retry);
    });
  }

  void run_on(const client::ObjectStore& store, const std::shared_ptr<ObjectCall>& call,
              const Answer& answer, const RetryObjects& retry) {
    const auto described = [answer, retry](client::ApiResult<client::ObjectInfo> info) {
      if (info) return answer.send(description_reply(*info));
      if (!retry(info.error())) answer.fail(info.error());
    };
    if (call->method == "list") return list_objects(store, answer, retry);
    if (call->method == "put") return put_object(store, *call, answer, described);
    if (call->method == "openWrite") {
      return open_handle(call->caller, answer, handle_reply,
                         {nullptr, {}, nullptr, std::make_unique<ObjectUpload>(store, call->meta)});
    }
    find_object(store, call->name, 0,
                [weak = weak_from_this(), store, call, answer, retry,
                 described](client::ApiResult<client::ObjectInfo> info) {
                  const auto self = weak.lock();
                  if (self == nullptr || !answer.is_open()) return;
                  if (!info || call->method == "info") return described(std::move(info));
                  self->run_on_object(store, *call, *info, answer);
                });
  }

  void run_on_object(const client::ObjectStore& store, const ObjectCall& call,
                     const client::ObjectInfo& info, const Answer& answer) {
    if (call.method == "get") return get_object(store, info, answer);
    if (call.method == "delete") {
      return store.remove(call.name, [answer](client::ApiResult<client::Done> done) {
        if (!done) return answer.fail(done.error());
        answer.send({});
      });
    }
    open_handle(
        call.caller, answer,
        [&info](uint64_t number) {
          runtime::HostReply reply = handle_reply(number);
          reply.payload = describe(info);
          return reply;
        },
        {nullptr, {}, std::make_unique<ObjectDownload>(store, info), nullptr});
  }

  void open_handle(const HostCaller* caller, const Answer& answer,
                   const std::function<runtime::HostReply(uint64_t)>& make_reply, Handle handle) {
    if (handles.size() >= kHandlesMax) return answer.fail(429, "too many open objects");
    handle.caller = caller;
    handle.used = loop.clock().now();
    const uint64_t number = ++next_handle;
    handles.emplace(number, std::move(handle));
    if (!sweep.is_armed()) sweep.start(kHandleIdleMax);
    answer.send(make_reply(number));
  }

  void use_handle(const runtime::HostCall& call, const HostCaller& caller, const Answer& answer) {
    const auto number = parse_uint(call.target);
    const auto found = number ? handles.find(*number) : handles.end();
    if (found == handles.end() || found->second.caller != &caller) {
      return answer.fail(404, "no such open object");
    }
    Handle& handle = found->second;
    handle.used = loop.clock().now();
    if (call.method == "close") {
      handles.erase(found);
      return answer.send({});
    }
    if (call.method == "read") {
      if (handle.download == nullptr) return answer.fail(400, "the object is open for writing");
      return read(handle, answer);
    }
    if (handle.upload == nullptr) return answer.fail(400, "the object is open for reading");
    if (handle.upload->is_busy()) return answer.fail(409, "a write is under way");
    if (call.method == "write") return write(*number, handle, call, answer);
    commit(*number, handle, answer);
  }

  void read(Handle& handle, const Answer& answer) {
    if (handle.download->is_reading()) return answer.fail(409, "a read is under way");
    answer.on_cancel([weak = weak_from_this(), download = handle.download.get()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      for (const auto& [number, other] : self->handles) {
        if (other.download.get() == download) return download->drop_read();
      }
    });
    handle.download->read([answer](client::ApiResult<std::string> piece) {
      if (!piece) return answer.fail(piece.error());
      runtime::HostReply reply;
      reply.payload = std::move(*piece);
      answer.send(reply);
    });
  }

  void write(uint64_t number, Handle& handle, const runtime::HostCall& call, const Answer& answer) {
    answer.on_cancel([weak = weak_from_this(), number] {
      if (const auto self = weak.lock()) self->handles.erase(number);
    });
    const auto headers = client::Headers::parse(call.headers);
    if (headers && headers->find(kHopsHeader)) {
      handle.upload->set_hops(std::string(headers->get(kHopsHeader)));
    }
    handle.upload->write(std::string(call.payload), [answer](client::ApiResult<client::Done> done) {
      if (!done) return answer.fail(done.error());
      answer.send({});
    });
  }

  void commit(uint64_t number, Handle& handle, const Answer& answer) {
    answer.on_cancel([weak = weak_from_this(), number] {
      if (const auto self = weak.lock()) self->handles.erase(number);
    });
    handle.upload->commit(
        [weak = weak_from_this(), number, answer](client::ApiResult<client::ObjectInfo> info) {
          const auto self = weak.lock();
          if (self == nullptr) return;
          if (!info) answer.fail(info.error());
          else answer.send(description_reply(*info));
          // Not from within the upload's own call.
          self->loop.post([weak, number] {
            if (const auto later = weak.lock()) later->handles.erase(number);
          });
        });
  }

  void close_idle() {
    const MonotonicTime now = loop.clock().now();
    std::erase_if(handles, [now](const auto& entry) {
      return now - entry.second.used >= kHandleIdleMax;
    });
    if (!handles.empty()) sweep.start(kHandleIdleMax / 4);
  }

  io::Loop& loop;
  const client::JetStream js;
  const HostServiceOptions& options;
  std::optional<Buckets<client::ObjectStore>> buckets;
  std::map<uint64_t, Handle> handles;
  uint64_t next_handle = 0;
  io::Timer sweep;
};

ObjectStoreService::ObjectStoreService(io::Loop& loop, const client::JetStream& js,
                                       std::shared_ptr<const Access> access,
                                       const HostServiceOptions& options)
    : state_(std::make_shared<State>(loop, js, std::move(access), options)) {}

ObjectStoreService::~ObjectStoreService() = default;

void ObjectStoreService::set_access(std::shared_ptr<const Access> access) {
  state_->set_access(std::move(access));
}

void ObjectStoreService::forget(const HostCaller& caller) {
  std::erase_if(state_->handles,
                [&](const auto& entry) { return entry.second.caller == &caller; });
}

void ObjectStoreService::serve(const runtime::HostCall& call, const HostCaller& caller,
                               const Answer& answer) {
  const std::string_view method = call.method;
  if (method == "read" || method == "write" || method == "commit" || method == "close") {
    return state_->use_handle(call, caller, answer);
  }
  const bool is_list = method == "list";
  const bool is_put = method == "put" || method == "openWrite";
  if (!is_list && !is_put && method != "get" && method != "info" && method != "delete" &&
      method != "openRead") {
    return answer.fail(501, "objectStore has no method " + std::string(method));
  }
  if (!is_list && (call.key.empty() || call.key.size() > kObjectNameBytesMax)) {
    return answer.fail(400, "an object's name has 1 to 4096 bytes");
  }
  const auto kept = std::make_shared<ObjectCall>(
      ObjectCall{std::string(call.target), std::string(method), std::string(call.key),
                 std::string(call.payload), {}, {}, &caller, false});
  kept->meta.name = call.key;
  if (!call.headers.empty()) {
    const auto headers = client::Headers::parse(call.headers);
    if (!headers) return answer.fail(400, "the headers are not a header block");
    for (const client::Header& header : *headers) {
      if (header.key == "Description") kept->meta.description = header.value;
      else if (header.key == kHopsHeader) kept->hops = header.value;
      else kept->meta.headers[std::string(header.key)].emplace_back(header.value);
    }
  }
  state_->open_and_run(kept, answer);
}

}  // namespace brokkr::workload
