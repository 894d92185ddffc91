#include "client/connection.h"

#include "client/core.h"

namespace brokkr::client {

const char* to_string(State state) {
  switch (state) {
    case State::Connecting: return "connecting";
    case State::Handshake: return "handshake";
    case State::Connected: return "connected";
    case State::Draining: return "draining";
    case State::Waiting: return "waiting";
    case State::Closed: return "closed";
  }
  return "?";
}

Subscription::~Subscription() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  if (core_ != nullptr) core_->unsubscribe(*this);
}

ReconnectWatch::~ReconnectWatch() {
  if (core_ != nullptr) core_->forget(*this);
}

void Subscription::unsubscribe() {
  if (core_ != nullptr) core_->unsubscribe(*this);
}

void Subscription::unsubscribe_after(uint64_t messages) {
  if (core_ != nullptr) core_->unsubscribe_after(*this, messages);
}

void Subscription::drain(DoneHandler done) {
  if (core_ != nullptr) return core_->drain(*this, std::move(done));
  if (done) done(Error{Errc::Closed, "subscription has ended"});
}

Result<std::unique_ptr<Connection>> Connection::open(const Deps& deps, Options options,
                                                     Events events) {
  std::vector<KnownServer> servers;
  if (options.make_transport) {
    servers.emplace_back();
  } else {
    for (const std::string& text : options.servers) {
      auto urls = parse_server_urls(text);
      if (!urls) return urls.error();
      for (ServerUrl& url : *urls) servers.push_back({std::move(url)});
    }
    if (servers.empty()) return Error{Errc::InvalidArgument, "no server url"};
  }
  std::unique_ptr<Connection> connection(new Connection());
  connection->core_ =
      std::make_unique<Core>(deps, std::move(options), std::move(events), std::move(servers));
  connection->core_->start();
  return connection;
}

Connection::~Connection() {
  Core::abandon(std::move(core_));
}

Status Connection::publish(std::string_view subject, std::string_view payload,
                           const PublishOptions& options) {
  return core_->publish(subject, payload, options);
}
Result<std::unique_ptr<Subscription>> Connection::subscribe(std::string_view subject,
                                                            MessageHandler handler,
                                                            const SubscribeOptions& options) {
  return core_->subscribe(subject, std::move(handler), options);
}
Result<RequestId> Connection::request(std::string_view subject, std::string_view payload,
                                      Duration timeout, ReplyHandler handler,
                                      std::string_view headers) {
  return core_->request(subject, payload, timeout, std::move(handler), headers);
}
Result<RequestId> Connection::request_many(std::string_view subject, std::string_view payload,
                                           const ManyOptions& options, MessageHandler on_reply,
                                           DoneHandler on_end, std::string_view headers) {
  return core_->request_many(subject, payload, options, std::move(on_reply), std::move(on_end),
                             headers);
}
void Connection::cancel(RequestId id) { core_->cancel(id); }
void Connection::flush(Duration timeout, DoneHandler done) {
  core_->flush(timeout, std::move(done));
}
void Connection::drain(DoneHandler done) { core_->drain(std::move(done)); }
void Connection::close() { core_->close(); }
std::unique_ptr<ReconnectWatch> Connection::watch_reconnects(Callback<void()> handler,
                                                             Callback<void()> on_gone) {
  return core_->watch_reconnects(std::move(handler), std::move(on_gone));
}
State Connection::state() const { return core_->state(); }
const protocol::ServerInfo& Connection::server_info() const { return core_->server_info(); }
std::string Connection::server_text() const { return core_->server_text(); }
const Stats& Connection::stats() const { return core_->stats(); }
size_t Connection::pending_bytes() const { return core_->pending_bytes(); }
const Error& Connection::last_error() const { return core_->last_error(); }
std::string Connection::make_inbox() { return core_->make_inbox(); }
io::Loop& Connection::loop() const { return core_->loop(); }

}  // namespace brokkr::client
