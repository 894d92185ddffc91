#include "workload/gate_connection.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/bytes.h"
#include "crypto/nkey.h"
#include "protocol/encode.h"
#include "protocol/info.h"
#include "subject/subject.h"

namespace brokkr::workload {
namespace {

// Leaves room in the server's limit for what inboxes become there.
constexpr uint32_t kControlLineMax = 4096 - 64;
constexpr size_t kSubscriptionsMax = 16384;
constexpr size_t kSubscriptionBytesMax = 32U << 20;  // of one gate
constexpr size_t kPendingFactor = 4;  // of one connection's limit may wait in the whole gate
constexpr size_t kUpstreamPendingMin = 2U << 20;
constexpr size_t kPongsAwaitedMax = 256;
constexpr size_t kReconnectBufferMin = 256U << 10;
constexpr size_t kInputKeepMax = 4U << 10;
constexpr size_t kReadStepMin = 16U << 10;
constexpr size_t kReadStepMax = 256U << 10;
constexpr uint8_t kPingsOutMax = 2;
constexpr Duration kPingEvery = std::chrono::minutes(2);
constexpr Duration kAuthTimeout = std::chrono::seconds(2);
constexpr Duration kWriteDeadline = std::chrono::seconds(10);

std::string quoted(std::string_view what, std::string_view subject) {
  std::string text(what);
  return text.append("\"").append(subject).append("\"");
}

bool is_same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

// base64 of either alphabet, padded or not.
std::string decode_signature(std::string_view text) {
  std::string plain(text);
  std::replace(plain.begin(), plain.end(), '-', '+');
  std::replace(plain.begin(), plain.end(), '_', '/');
  while (plain.size() % 4 != 0) plain += '=';
  return base64_decode(plain).value_or(std::string());
}

std::string random_nonce() {
  std::array<uint8_t, 11> bytes{};
  fill_secure(bytes);
  return base64url_encode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// The bare 503 by which servers say that nobody listens.
bool is_no_responders(const client::Message& message) {
  return message.payload.empty() && message.headers.starts_with("NATS/1.0 503\r\n");
}

}  // namespace

client::Options copy_options(const client::Options& from) {
  client::Options out;
  out.servers = from.servers;
  out.name = from.name;
  out.user = from.user;
  out.password = from.password;
  out.token = from.token;
  out.tls = from.tls;
  out.credentials_file = from.credentials_file;
  out.nkey_seed_file = from.nkey_seed_file;
  out.jwt = from.jwt;
  out.nkey = from.nkey;
  out.inbox_prefix = from.inbox_prefix;
  out.connect_timeout = from.connect_timeout;
  out.ping_interval = from.ping_interval;
  out.pings_outstanding_max = from.pings_outstanding_max;
  out.reconnect_wait = from.reconnect_wait;
  out.reconnect_wait_max = from.reconnect_wait_max;
  out.reconnect_jitter = from.reconnect_jitter;
  out.randomize_servers = from.randomize_servers;
  out.ignore_discovered_servers = from.ignore_discovered_servers;
  out.retry_first_connect = true;
  out.reconnect_attempts_max = -1;
  if (from.make_transport) out.make_transport = [&from] { return from.make_transport(); };
  if (from.sign) out.sign = [&from](std::string_view nonce) { return from.sign(nonce); };
  return out;
}

GateConnection::GateConnection(GateShared& shared, uint64_t id,
                               std::unique_ptr<io::Transport> transport)
    : shared_(shared),
      id_(id),
      transport_(std::move(transport)),
      timer_(shared.deps.loop, [this] { on_timer(); }),
      write_timer_(shared.deps.loop, [this] { on_write_deadline(); }) {}

GateConnection::~GateConnection() {
  drop_subscriptions();
  shared_.pending_bytes -= counted_pending_;
  std::erase(shared_.dirty, this);
}

void GateConnection::begin() {
  state_ = State::AwaitingConnect;
  protocol::ServerInfo info = shared_.info;
  info.host = "0.0.0.0";
  info.port = 4222;
  info.ip.clear();
  info.connect_urls.clear();
  info.ws_connect_urls.clear();
  info.tls_required = info.tls_verify = info.tls_available = false;
  info.lame_duck_mode = info.connect_info = false;
  info.remote_account.clear();
  info.client_id = id_;
  info.client_ip = transport_->peer().host;
  info.nonce.clear();
  info.auth_required = !shared_.options.token.empty();
  if (!shared_.options.user_nkey.empty()) info.nonce = nonce_ = random_nonce();
  const auto payload_max = static_cast<uint32_t>(
      std::clamp<int64_t>(info.max_payload, 1, std::numeric_limits<int32_t>::max()));
  parser_.set_limits({.control_line_max = kControlLineMax, .payload_max = payload_max});
  send(protocol::make_info_line(info));
  timer_.start(info.auth_required ? kAuthTimeout : kPingEvery);
  listen();
}

void GateConnection::close_later(std::string_view error_text) {
  if (state_ == State::Closed) return;
  if (!error_text.empty()) send_error(error_text);
  if (state_ == State::Closed) return;  // that was more than may wait
  state_ = State::Closed;
  timer_.stop();
  write_timer_.stop();
  shared_.sweep();
}

// --- reading ---------------------------------------------------------------------------------

void GateConnection::listen() {
  transport_->listen(this, !is_reading_paused(), is_write_blocked_);
}

void GateConnection::on_readable() {
  if (is_reading_paused()) return;
  pings_out_ = 0;
  const size_t missing = input_needed_ - std::min(input_needed_, input_.size());
  if (missing > 0 && input_.size() >= kInputKeepMax) return read_into_partial(missing);
  const std::span<char> buffer = shared_.deps.loop.receive_buffer(input_.size());
  std::copy(input_.begin(), input_.end(), buffer.begin());
  const size_t kept = input_.size();
  const io::IoResult got = transport_->read(buffer.data() + kept, buffer.size() - kept);
  if (got.kind == io::IoResult::Kind::WouldBlock) return;
  if (got.kind != io::IoResult::Kind::Ok) return close_later();
  if (kept + got.bytes < input_needed_) {
    input_.append(buffer.data() + kept, got.bytes);
    return;
  }
  consume({buffer.data(), kept + got.bytes});
}

// The rest of something long goes where its beginning is, in steps that grow with what has come.
void GateConnection::read_into_partial(size_t missing) {
  const size_t kept = input_.size();
  input_.resize(kept + std::min(missing, std::clamp(kept, kReadStepMin, kReadStepMax)));
  const io::IoResult got = transport_->read(input_.data() + kept, input_.size() - kept);
  input_.resize(kept + got.bytes);
  if (got.kind == io::IoResult::Kind::WouldBlock) return;
  if (got.kind != io::IoResult::Kind::Ok) return close_later();
  if (input_.size() < input_needed_) return;
  std::string input;
  input.swap(input_);
  consume(input);
}

void GateConnection::consume(std::string_view input) {
  protocol::Command command;
  input_needed_ = 0;
  while (!input.empty() && !is_reading_paused()) {
    const protocol::ParseStatus status = parser_.next(input, command);
    if (status == protocol::ParseStatus::Partial) {
      input_needed_ = parser_.bytes_needed();
      break;
    }
    if (status == protocol::ParseStatus::Error) {
      return close_later(protocol::error_text(parser_.error()));
    }
    if (!handle(command)) {
      is_held_ = true;  // comes again when the server has taken more
      break;
    }
    input.remove_prefix(command.size);
  }
  if (state_ == State::Closed) return;
  input_.assign(input);
  if (input_.empty() && input_.capacity() > kInputKeepMax) std::string().swap(input_);
  if (is_reading_paused()) listen();
}

void GateConnection::resume_input() {
  if (!is_held_ || state_ == State::Closed) return;
  is_held_ = false;
  std::string input;
  input.swap(input_);
  consume(input);
  if (state_ != State::Closed) listen();
}

// Returns false when the command is to be handled again later.
bool GateConnection::handle(const protocol::Command& command) {
  if (command.verb == protocol::Verb::Connect) {
    handle_connect(command.arguments);
    return true;
  }
  if (state_ == State::AwaitingConnect) {
    // Without CONNECT a program has proved nothing and is served with CONNECT's defaults.
    if (!is_proven()) {
      close_later("Authorization Violation");
      return true;
    }
    open_upstream();
    if (state_ != State::Open) return true;
  }
  switch (command.verb) {
    case protocol::Verb::Pub:
    case protocol::Verb::Hpub: return handle_publish(command);
    case protocol::Verb::Sub:
      if (waits_for_server()) return false;
      handle_subscribe(command);
      break;
    case protocol::Verb::Unsub:
      if (waits_for_server()) return false;
      handle_unsubscribe(command);
      break;
    case protocol::Verb::Ping:
      if (waits_for_server()) return false;
      ask_for_pong(true);
      break;
    case protocol::Verb::Err: close_later(); break;
    case protocol::Verb::Pong:
    case protocol::Verb::Connect:
    case protocol::Verb::Info:
    case protocol::Verb::Ok: break;
  }
  return true;
}

void GateConnection::handle_connect(std::string_view json) {
  if (Status parsed = protocol::parse_connect(json, connect_); !parsed) return close_later();
  connect_received_ = true;
  if (connect_.protocol < 0 || connect_.protocol > 1) return close_later("invalid client protocol");
  if (connect_.no_responders && !(connect_.headers && shared_.info.headers)) {
    return close_later("no responders requires headers support");
  }
  if (!connect_.account.empty() || !is_proven()) return close_later("Authorization Violation");
  drop_subscriptions();  // CONNECT again begins anew
  upstream_.reset();
  open_upstream();
  send_ok();
}

bool GateConnection::is_proven() const {
  const Gate::Options& options = shared_.options;
  // A URL carries it as a token or as anybody's password.
  if (!options.token.empty() && !is_same_secret(connect_.auth_token, options.token) &&
      !is_same_secret(connect_.pass, options.token)) {
    return false;
  }
  if (options.user_nkey.empty()) return true;
  if (!connect_.nkey.empty() && connect_.nkey != options.user_nkey) return false;
  if (connect_.sig.empty()) return connect_.nkey.empty() && connect_.jwt.empty();
  return crypto::verify_signature(options.user_nkey, nonce_, decode_signature(connect_.sig));
}

// --- the server --------------------------------------------------------------------------------

void GateConnection::open_upstream() {
  client::Options options = copy_options(shared_.options.upstream);
  const Access::Names& names = shared_.access().names();
  options.name = names.ns + "/" + names.workload;
  if (!connect_.name.empty()) options.name += ": " + connect_.name.substr(0, 128);
  options.echo = connect_.echo;
  const size_t payload_max = parser_.limits().payload_max;
  options.pending_bytes_max = upstream_pending_max_ =
      std::max(kUpstreamPendingMin, 2 * (payload_max + kControlLineMax));
  options.reconnect_buffer_bytes_max =
      std::max(kReconnectBufferMin, payload_max + 2 * kControlLineMax);
  client::Events events;
  events.error = [this](const Error& error) { on_upstream_error(error); };
  events.closed = [this](const Error&) { close_later(); };
  events.drained_output = [this] { resume_input(); };
  events.reconnected = [this] { resume_input(); };
  auto opened = client::Connection::open(
      {shared_.deps.loop, shared_.deps.resolver, shared_.deps.random}, std::move(options),
      std::move(events));
  if (!opened) {
    shared_.deps.log.error("gate: " + opened.error().text);
    return close_later();
  }
  upstream_ = std::move(*opened);
  pongs_awaited_ = 0;
  state_ = State::Open;
  timer_.start(kPingEvery);
}

// The server itself may refuse what the node's user may not do.
void GateConnection::on_upstream_error(const Error& error) { send_error(error.text); }

// What is not a publish is taken in without a limit at the client, so it is held back here. The pong that
// is awaited then goes on with the input.
bool GateConnection::waits_for_server() {
  if (pongs_awaited_ >= kPongsAwaitedMax) return true;
  if (upstream_->pending_bytes() <= upstream_pending_max_) return false;
  if (pongs_awaited_ == 0) ask_for_pong(false);
  return true;
}

// The answer says that everything before has been taken in, so it waits for the server's.
void GateConnection::ask_for_pong(bool is_programs) {
  ++pongs_awaited_;
  upstream_->flush(Duration(0), [this, is_programs](const Status& flushed) {
    --pongs_awaited_;
    if (flushed) {
      if (is_programs) send(protocol::kPong);
      return resume_input();
    }
    if (state_ == State::Open && upstream_->state() != client::State::Closed) {
      ask_for_pong(is_programs);
    }
  });
}

// --- subscriptions -----------------------------------------------------------------------------

void GateConnection::handle_subscribe(const protocol::Command& command) {
  const std::string_view subject = command.subject;
  if (!subject::is_valid(subject)) return send_error("Invalid Subject");
  const bool is_inbox = Inboxes::is_inbox(subject);
  if (command.queue == "_sys_" || (!is_inbox && !shared_.access().may_subscribe(subject))) {
    return refuse("Permissions Violation for Subscription to ", subject,
                  command.queue.empty() ? "" : quoted(" using queue ", command.queue));
  }
  const size_t bytes = subject.size() + command.queue.size() + command.sid.size();
  if (subs_.size() + ending_.size() >= kSubscriptionsMax ||
      shared_.subscription_bytes + bytes > kSubscriptionBytesMax) {
    return send_error("maximum subscriptions exceeded");
  }
  if (!subs_.contains(command.sid)) add_subscription(command, is_inbox);
  send_ok();
}

void GateConnection::add_subscription(const protocol::Command& command, bool is_inbox) {
  auto sub = std::make_unique<Sub>();
  sub->sid = command.sid;
  sub->subject = command.subject;
  sub->queue = command.queue;
  auto made = upstream_->subscribe(
      is_inbox ? shared_.inboxes.to_server(sub->subject) : sub->subject,
      [this, raw = sub.get()](const client::Message& message) { deliver(*raw, message); },
      {.queue = sub->queue});
  if (!made) return close_later();
  sub->subscription = std::move(*made);
  shared_.subscription_bytes += sub->subject.size() + sub->queue.size() + sub->sid.size();
  if (is_inbox) {
    const std::string_view root = subject::token_at(sub->subject, 1);
    ++shared_.inbox_roots[root == ">" ? "*" : std::string(root)];
  }
  const std::string_view sid = sub->sid;
  subs_.emplace(sid, std::move(sub));
}

void GateConnection::handle_unsubscribe(const protocol::Command& command) {
  const auto found = subs_.find(command.sid);
  if (found != subs_.end()) {
    client::Subscription& subscription = *found->second->subscription;
    if (command.max_messages > subscription.delivered_count()) {
      subscription.unsubscribe_after(command.max_messages);
    } else {
      drain(found);
    }
  }
  send_ok();
}

// Ends it once the server has: what it had sent before is the program's.
void GateConnection::drain(Subs::iterator found) {
  std::unique_ptr<Sub> owned = std::move(found->second);
  subs_.erase(found);
  Sub* const sub = owned.get();
  ending_.emplace(sub, std::move(owned));
  sub->subscription->drain([this, sub](const Status&) {
    forget(*sub);
    ending_.erase(sub);
  });
}

// Gives back what is counted of it; the caller destroys it.
void GateConnection::forget(const Sub& sub) {
  shared_.subscription_bytes -= sub.subject.size() + sub.queue.size() + sub.sid.size();
  if (!Inboxes::is_inbox(sub.subject)) return;
  const std::string_view root = subject::token_at(sub.subject, 1);
  const auto counted = shared_.inbox_roots.find(root == ">" ? std::string_view("*") : root);
  if (--counted->second == 0) shared_.inbox_roots.erase(counted);
}

void GateConnection::drop_subscriptions() {
  for (const auto& [sid, sub] : subs_) forget(*sub);
  for (const auto& [raw, sub] : ending_) forget(*sub);
  subs_.clear();
  ending_.clear();
}

void GateConnection::on_access_changed() {
  publish_answers_.clear();
  for (auto at = subs_.begin(); at != subs_.end();) {
    const auto found = at++;
    const Sub& sub = *found->second;
    if (Inboxes::is_inbox(sub.subject) || shared_.access().may_subscribe(sub.subject)) continue;
    refuse("Permissions Violation for Subscription to ", sub.subject,
           sub.queue.empty() ? "" : quoted(" using queue ", sub.queue));
    forget(sub);
    subs_.erase(found);
  }
}

void GateConnection::deliver(Sub& sub, const client::Message& message) {
  if (state_ != State::Open) return;
  if (!connect_.no_responders && is_no_responders(message)) return;
  std::string subject_room;
  std::string reply_room;
  std::string_view subject = message.subject;
  std::string_view reply = message.reply;
  if (shared_.inboxes.is_ours(subject)) subject = shared_.inboxes.to_program(subject, subject_room);
  if (shared_.inboxes.is_ours(reply)) {
    reply = shared_.inboxes.to_program(reply, reply_room);
  } else if (!reply.empty() && shared_.access().may_answer(reply)) {
    shared_.replies.add(reply, shared_.deps.loop.now());
  }
  write_message(subject, sub.sid, reply, connect_.headers ? message.headers : "",
                message.payload);
  // The last of a limited number ends it; the client keeps the handler that runs alive.
  if (sub.subscription->is_active() || ending_.contains(&sub)) return;
  forget(sub);
  subs_.erase(sub.sid);
}

// --- writing -----------------------------------------------------------------------------------

void GateConnection::write_message(std::string_view subject, std::string_view sid,
                                   std::string_view reply, std::string_view headers,
                                   std::string_view payload) {
  const size_t size = headers.size() + payload.size();
  char* at = output_.make_room(protocol::message_line_size_max(subject, sid, reply) + size + 2);
  const protocol::SizeText total(size);
  if (headers.empty()) {
    at = protocol::write_msg_line(at, subject, sid, reply, total.view());
  } else {
    at = protocol::write_hmsg_line(at, subject, sid, reply,
                                   protocol::SizeText(headers.size()).view(), total.view());
    at = protocol::write_text(at, headers);
  }
  at = protocol::write_text(at, payload);
  output_.commit(protocol::write_text(at, protocol::kCrlf));
  ++shared_.counters.out_msgs;
  shared_.counters.out_bytes += size;
  mark_dirty();
}

void GateConnection::send(std::string_view text) {
  if (state_ == State::Closed) return;
  output_.append(text);
  mark_dirty();
}

void GateConnection::send_error(std::string_view text) {
  std::string line = "-ERR '";
  send(line.append(text).append("'\r\n"));
}

void GateConnection::refuse(std::string_view what, std::string_view subject,
                            std::string_view rest) {
  ++shared_.counters.violations;
  send_error(quoted(what, subject).append(rest));
}

void GateConnection::send_ok() {
  if (connect_.verbose) send(protocol::kOk);
}

void GateConnection::mark_dirty() {
  shared_.pending_bytes += output_.size() - counted_pending_;
  counted_pending_ = output_.size();
  if (!is_dirty_) {
    is_dirty_ = true;
    shared_.dirty.push_back(this);
  }
  const size_t limit = shared_.options.pending_bytes_max;
  if (output_.size() > limit || shared_.pending_bytes > kPendingFactor * limit) {
    if (state_ == State::Closed) return;
    shared_.deps.log.info("gate: slow consumer " + std::to_string(id_));
    close_later();
  }
}

void GateConnection::flush() {
  is_dirty_ = false;
  if (is_write_blocked_ && state_ != State::Closed) return;
  while (!output_.empty()) {
    const std::string_view bytes = output_.view();
    const io::IoResult result = transport_->write(bytes.data(), bytes.size());
    if (result.kind == io::IoResult::Kind::Ok) {
      output_.consume(result.bytes);
      sent_bytes_ += result.bytes;
      continue;
    }
    if (result.kind != io::IoResult::Kind::WouldBlock) close_later();
    break;
  }
  shared_.pending_bytes -= counted_pending_ - output_.size();
  counted_pending_ = output_.size();
  if (state_ == State::Closed) return;
  if (output_.empty()) return write_timer_.stop();
  is_write_blocked_ = true;
  if (!write_timer_.is_armed()) {
    sent_mark_ = sent_bytes_ + output_.size();
    write_timer_.start(kWriteDeadline);
  }
  listen();
}

void GateConnection::on_writable() {
  is_write_blocked_ = false;
  flush();
  if (state_ != State::Closed && !is_write_blocked_) listen();
}

void GateConnection::on_write_deadline() {
  if (output_.empty()) return;
  if (sent_bytes_ < sent_mark_) return close_later();
  sent_mark_ = sent_bytes_ + output_.size();
  write_timer_.start(kWriteDeadline);
}

void GateConnection::on_timer() {
  if (state_ != State::Open && !shared_.options.token.empty()) {
    return close_later("Authentication Timeout");
  }
  timer_.start(kPingEvery);
  if (pings_out_ >= kPingsOutMax) return close_later("Stale Connection");
  ++pings_out_;
  send(protocol::kPing);
}

}  // namespace brokkr::workload
