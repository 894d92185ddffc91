#include "workload/host_calls.h"

#include <algorithm>
#include <unordered_map>

#include "subject/subject.h"

namespace brokkr::workload {
namespace {

constexpr size_t kOpenCallsMax = 1024;
constexpr size_t kRepliesMax = 1024;
constexpr size_t kMoreBytesMax = 4U << 20;
// Without a time-out of its own, collecting ends when replies stop coming for so long.
constexpr auto kStall = std::chrono::milliseconds(300);
constexpr std::string_view kDenied[] = {"$SYS.>", "$JS.>", "$NEX.>"};

runtime::HostReply failure(uint16_t code, std::string error) {
  return {code, std::move(error), {}, {}, {}};
}

// In the terms of HTTP, as the interface has it.
runtime::HostReply failure_of(const Error& error) {
  switch (error.code) {
    case Errc::NoResponders: return failure(503, "no responders");
    case Errc::TimedOut: return failure(408, "timed out");
    case Errc::InvalidSubject:
    case Errc::InvalidArgument: return failure(400, error.text);
    case Errc::PermissionDenied: return failure(403, error.text);
    case Errc::LimitExceeded: return failure(413, error.text);
    default: return failure(500, error.text);
  }
}

void append_more(runtime::HostReply& reply, std::string_view payload) {
  const auto size = static_cast<uint32_t>(payload.size());
  reply.more.append(reinterpret_cast<const char*>(&size), sizeof size);
  reply.more.append(payload);
}

}  // namespace

bool is_denied_subject(std::string_view subject) {
  return std::any_of(std::begin(kDenied), std::end(kDenied), [subject](std::string_view denied) {
    return subject::collide(denied, subject);
  });
}

// Open calls by a number of ours: replies may come when the instance or all of this is gone.
struct HostCalls::State {
  struct Open {
    Instance* instance;
    uint64_t id;
    client::RequestId request{};
    runtime::HostReply reply;
    size_t replies = 0;
  };
  explicit State(client::Connection& c) : connection(c) {}

  void finish(uint64_t number, const runtime::HostReply& reply) {
    const auto found = open.find(number);
    if (found == open.end()) return;
    found->second.instance->reply_to_host_call(found->second.id, reply);
    open.erase(found);
  }

  client::Connection& connection;
  std::unordered_map<uint64_t, Open> open;
  uint64_t next = 1;
};

HostCalls::HostCalls(io::Loop&, client::Connection& connection)
    : state_(std::make_shared<State>(connection)) {}

HostCalls::~HostCalls() {
  for (const auto& [number, open] : state_->open) state_->connection.cancel(open.request);
}

void HostCalls::forget(Instance& instance) {
  std::erase_if(state_->open, [&](const auto& entry) {
    if (entry.second.instance != &instance) return false;
    state_->connection.cancel(entry.second.request);
    return true;
  });
}

void HostCalls::serve(Instance& instance, const HostCallRequest& request, Duration time_limit) {
  const runtime::HostCall& call = request.call;
  const auto refuse = [&](uint16_t code, std::string text) {
    instance.reply_to_host_call(request.id, failure(code, std::move(text)));
  };
  if (call.service != "messaging") {
    return refuse(501, std::string(call.service) + " comes with a later release");
  }
  if (!subject::is_valid_literal(call.target)) {
    return refuse(400, "invalid subject \"" + std::string(call.target) + "\"");
  }
  if (is_denied_subject(call.target)) {
    return refuse(403, "functions may not use \"" + std::string(call.target) + "\"");
  }
  if (call.method == "publish") {
    const Status sent = state_->connection.publish(call.target, call.payload,
                                                   {.reply = call.key, .headers = call.headers});
    instance.reply_to_host_call(request.id,
                                sent ? runtime::HostReply() : failure_of(sent.error()));
    return;
  }
  if (state_->open.size() >= kOpenCallsMax) return refuse(503, "too many host calls under way");
  // Leaves the function a moment to make something of the failure.
  Duration timeout = time_limit * 9 / 10;
  if (call.timeout_ms > 0) {
    const int64_t limit_ms = std::chrono::ceil<std::chrono::milliseconds>(time_limit).count();
    timeout = std::chrono::milliseconds(std::min(call.timeout_ms, limit_ms));
  }
  const uint64_t number = state_->next++;
  const std::weak_ptr<State> weak = state_;
  Result<client::RequestId> started = Error{Errc::Unsupported, "no such method"};
  if (call.method == "request") {
    started = state_->connection.request(
        call.target, call.payload, timeout,
        [weak, number](const Result<client::Message>& result) {
          const auto state = weak.lock();
          if (state == nullptr) return;
          if (!result) return state->finish(number, failure_of(result.error()));
          runtime::HostReply reply;
          reply.headers = result->headers;
          reply.payload = result->payload;
          state->finish(number, reply);
        },
        call.headers);
  } else if (call.method == "requestMany") {
    client::ManyOptions many;
    many.timeout = timeout;
    many.replies_max = call.replies_max == 0
                           ? kRepliesMax
                           : std::min<uint64_t>(call.replies_max, kRepliesMax);
    many.until_empty = call.replies_max == 0;
    if (call.timeout_ms <= 0) many.stall = kStall;
    started = state_->connection.request_many(
        call.target, call.payload, many,
        [weak, number](const client::Message& message) {
          const auto state = weak.lock();
          if (state == nullptr) return;
          const auto found = state->open.find(number);
          if (found == state->open.end()) return;
          State::Open& open = found->second;
          if (open.reply.more.size() + message.payload.size() > kMoreBytesMax) return;
          if (open.replies++ == 0) {
            open.reply.headers = message.headers;
            open.reply.payload = message.payload;
          } else {
            append_more(open.reply, message.payload);
          }
        },
        [weak, number](const Status& status) {
          const auto state = weak.lock();
          if (state == nullptr) return;
          const auto found = state->open.find(number);
          if (found == state->open.end()) return;
          if (!status && found->second.replies == 0) {
            return state->finish(number, failure_of(status.error()));
          }
          const runtime::HostReply reply = std::move(found->second.reply);
          state->finish(number, reply);
        },
        call.headers);
  }
  if (!started) {
    const bool is_unknown = started.error().code == Errc::Unsupported;
    const runtime::HostReply reply =
        is_unknown ? failure(501, "messaging has no method " + std::string(call.method))
                   : failure_of(started.error());
    return instance.reply_to_host_call(request.id, reply);
  }
  state_->open.emplace(number, State::Open{&instance, request.id, *started, {}, 0});
}

}  // namespace brokkr::workload
