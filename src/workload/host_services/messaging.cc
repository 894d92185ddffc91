#include "workload/host_services/messaging.h"

#include <algorithm>

#include "client/headers.h"
#include "subject/subject.h"
#include "workload/outgoing_headers.h"

namespace brokkr::workload {
namespace {

constexpr size_t kRepliesMax = 1024;
constexpr size_t kRepliesBytesMax = 4U << 20;
// Without a time-out of its own, collecting ends when replies stop coming for so long.
constexpr auto kRepliesStall = std::chrono::milliseconds(300);
// One function may not fill the output buffer all of the node's traffic shares.
constexpr size_t kUnsentBytesMax = 32U << 20;

// What bodies of JetStream requests name is not looked at here, so functions have kv and objectStore
// instead; and "$SRV" is heard by the services of every namespace.
bool is_allowed(const Access& access, std::string_view subject) {
  return !subject.starts_with("$JS.") && !subject.starts_with("$SRV.") &&
         access.may_publish(subject);
}

struct Collected {
  runtime::HostReply reply;
  size_t count = 0;
};

}  // namespace

void MessagingService::serve(const runtime::HostCall& asked, const HostCaller& caller,
                             Duration timeout, bool is_own_timeout, const Answer& answer) {
  if (!subject::is_valid_literal(asked.target)) {
    return answer.fail(400, "invalid subject \"" + std::string(asked.target) + "\"");
  }
  if (!asked.headers.empty() && !client::Headers::parse(asked.headers)) {
    return answer.fail(400, "the headers are not a header block");
  }
  const std::string headers = outgoing_headers(asked.headers);
  runtime::HostCall call = asked;
  call.headers = headers;
  const bool is_publish = call.method == "publish";
  const bool is_answering = is_publish && caller.has_reply_subject(call.target) &&
                            access_->may_answer(call.target);
  if (!is_answering && !is_allowed(*access_, call.target)) {
    return answer.fail(403, "functions may not use \"" + std::string(call.target) + "\"");
  }
  if (connection_.pending_bytes() > kUnsentBytesMax) {
    return answer.fail(503, "too much waits to be sent");
  }
  if (is_publish) return publish(call, caller, answer);
  if (call.method == "request") return request(call, timeout, answer);
  if (call.method == "requestMany") return request_many(call, timeout, is_own_timeout, answer);
  answer.fail(501, "messaging has no method " + std::string(call.method));
}

// Whoever answers publishes to the reply subject with rights of its own, so a function may not name
// one it could not use itself; of inboxes only those it is asked to answer at, since the node's own is
// everybody's on it.
void MessagingService::publish(const runtime::HostCall& call, const HostCaller& caller,
                               const Answer& answer) {
  if (!call.key.empty()) {
    if (!subject::is_valid_literal(call.key)) {
      return answer.fail(400, "invalid subject \"" + std::string(call.key) + "\"");
    }
    const bool is_passed_on = caller.has_reply_subject(call.key) && access_->may_answer(call.key);
    if (!is_passed_on && (call.key.starts_with('$') || !is_allowed(*access_, call.key))) {
      return answer.fail(403, "functions may not use \"" + std::string(call.key) + "\"");
    }
  }
  const Status sent = connection_.publish(call.target, call.payload,
                                          {.reply = call.key, .headers = call.headers});
  if (!sent) return answer.fail(sent.error());
  answer.send({});
}

void MessagingService::request(const runtime::HostCall& call, Duration timeout,
                               const Answer& answer) {
  const auto started = connection_.request(
      call.target, call.payload, timeout,
      [answer](const Result<client::Message>& result) {
        if (!result) return answer.fail(result.error());
        runtime::HostReply reply;
        reply.headers = result->headers;
        reply.payload = result->payload;
        answer.send(reply);
      },
      call.headers);
  if (!started) return answer.fail(started.error());
  answer.on_cancel([this, id = *started] { connection_.cancel(id); });
}

void MessagingService::request_many(const runtime::HostCall& call, Duration timeout,
                                    bool is_own_timeout, const Answer& answer) {
  client::ManyOptions many;
  many.timeout = timeout;
  many.replies_max =
      call.replies_max == 0 ? kRepliesMax : std::min<uint64_t>(call.replies_max, kRepliesMax);
  many.until_empty = call.replies_max == 0;
  if (!is_own_timeout) many.stall = kRepliesStall;
  const auto collected = std::make_shared<Collected>();
  const auto started = connection_.request_many(
      call.target, call.payload, many,
      [collected](const client::Message& message) {
        runtime::HostReply& reply = collected->reply;
        if (reply.more.size() + message.payload.size() > kRepliesBytesMax) return;
        if (collected->count++ != 0) return append_record(reply.more, message.payload);
        reply.headers = message.headers;
        reply.payload = message.payload;
      },
      [collected, answer](const Status& status) {
        if (!status && collected->count == 0) return answer.fail(status.error());
        answer.send(collected->reply);
      },
      call.headers);
  if (!started) return answer.fail(started.error());
  answer.on_cancel([this, id = *started] { connection_.cancel(id); });
}

}  // namespace brokkr::workload
