#include "client/sync.h"

#include <optional>

namespace brokkr::client {

bool run_until(io::Loop& loop, Duration timeout, FunctionRef<bool()> done) {
  const MonotonicTime deadline = loop.clock().now() + timeout;
  while (!done()) {
    const Duration left = deadline - loop.clock().now();
    if (left <= Duration(0)) return false;
    loop.run_once(left);
  }
  return true;
}

Result<std::unique_ptr<Session>> Session::connect(Options options, Events events) {
  std::unique_ptr<Session> session(new Session());
  auto loop = io::Loop::open({}, session->clock_);
  if (!loop) return loop.error();
  session->loop_ = std::move(*loop);
  auto connection = Connection::open({*session->loop_, session->resolver_, session->random_},
                                     std::move(options), std::move(events));
  if (!connection) return connection.error();
  session->connection_ = std::move(*connection);
  while (!session->connection_->is_connected()) {
    if (session->connection_->state() == State::Closed) return session->connection_->last_error();
    session->loop_->run_once(std::chrono::seconds(1));
  }
  return session;
}

Session::~Session() {
  connection_.reset();
}

Result<OwnedMessage> Session::request(std::string_view subject, std::string_view payload,
                                      Duration timeout, std::string_view headers) {
  std::optional<Result<OwnedMessage>> answer;
  auto sent = connection_->request(
      subject, payload, timeout,
      [&answer](const Result<Message>& reply) {
        if (reply) {
          answer.emplace(OwnedMessage(*reply));
        } else {
          answer.emplace(reply.error());
        }
      },
      headers);
  if (!sent) return sent.error();
  while (!answer) loop_->run_once(timeout);
  return std::move(*answer);
}

Result<std::vector<OwnedMessage>> Session::request_many(std::string_view subject,
                                                        std::string_view payload,
                                                        const ManyOptions& options,
                                                        std::string_view headers) {
  std::vector<OwnedMessage> replies;
  std::optional<Status> end;
  auto sent = connection_->request_many(
      subject, payload, options, [&](const Message& reply) { replies.emplace_back(reply); },
      [&](const Status& status) { end = status; }, headers);
  if (!sent) return sent.error();
  while (!end) loop_->run_once(options.timeout);
  if (!*end && replies.empty() && end->error().code != Errc::NoResponders &&
      end->error().code != Errc::TimedOut) {
    return end->error();
  }
  return replies;
}

Status Session::flush(Duration timeout) {
  std::optional<Status> end;
  connection_->flush(timeout, [&](const Status& status) { end = status; });
  while (!end) loop_->run_once(timeout);
  return *end;
}

Result<Duration> Session::round_trip(Duration timeout) {
  const MonotonicTime start = clock_.now();
  if (Status flushed = flush(timeout); !flushed) return flushed.error();
  return Duration(clock_.now() - start);
}

}  // namespace brokkr::client
