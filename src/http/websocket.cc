#include "http/websocket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "http/websocket_pool.h"

namespace brokkr::http {
namespace {

using io::IoResult;

// Pongs that wait while the peer does not read; those beyond are not sent.
constexpr size_t kControlBytesMax = 4096;

class WebSocketStream final : public WebSocketTransport, private io::TransportHandler, private io::Task {
 public:
  WebSocketStream(io::Loop& loop, std::unique_ptr<io::Transport> inner,
                  std::shared_ptr<WebSocketPool> pool, const WebSocketSettings& settings,
                  std::string_view early)
      : loop_(loop),
        inner_(std::move(inner)),
        pool_(std::move(pool)),
        settings_(settings),
        reader_({settings.masks_required, settings.compression}),
        held_(early) {}

  void listen(io::TransportHandler* handler, bool readable, bool writable) override;
  IoResult read(char* into, size_t bytes) override;
  IoResult write(const char* from, size_t bytes) override;
  void end_writing() override;
  const io::Peer& peer() const override { return inner_->peer(); }
  int fd() const override { return inner_->fd(); }

  void set_close(CloseStatus status, std::string_view text) override;
  const std::string& error() const override { return error_; }
  bool uses_compression() const override { return settings_.compression; }

 private:
  // Where payload goes, and how much of it is there.
  struct Room {
    char* into;
    size_t bytes;
    size_t used = 0;
    size_t left() const { return bytes - used; }
  };
  // Bytes of the peer that are not used yet.
  using Raw = std::span<char>;

  void on_readable() override;
  void on_writable() override;
  void run() override;
  void update_inner();
  bool has_more_to_read() const { return held_at_ < held_.size() || expands_more_ || is_ended_; }

  void take(Raw& raw, Room& room);
  bool begin_frame(Raw& raw);
  bool take_control(Raw& raw);
  bool take_plain(Raw& raw, Room& room);
  bool take_compressed(Raw& raw, Room& room);
  void unmask(Raw raw, size_t count);
  void advance(Raw& raw, size_t count);
  void handle_control();
  void fail(CloseStatus status, std::string text);

  void append_frame(std::string& out, Opcode opcode, std::string_view payload, bool is_final,
                    bool is_compressed);
  void append_message(std::string& out, std::string_view message);
  IoResult::Kind send(std::string_view frames);
  IoResult::Kind send_pending();

  io::Loop& loop_;
  std::unique_ptr<io::Transport> inner_;
  std::shared_ptr<WebSocketPool> pool_;
  const WebSocketSettings settings_;
  io::TransportHandler* handler_ = nullptr;
  bool wants_read_ = false;
  bool wants_write_ = false;

  FrameReader reader_;
  bool in_payload_ = false;
  uint64_t payload_at_ = 0;      // bytes of the frame's payload that are used up
  size_t unmasked_ = 0;          // at the front of what is raw: unmasked already
  bool is_compressed_ = false;   // the message at hand
  bool expands_more_ = false;    // the inflater stopped for want of room
  bool is_ended_ = false;        // nothing more is read
  IoResult end_{IoResult::Kind::Closed, 0, 0};
  uint64_t inflated_ = 0;        // bytes of the message at hand
  std::unique_ptr<MessageInflater> inflater_;
  std::string control_;          // payload of the control frame at hand
  std::string held_;             // received, and there was no room for what it holds
  size_t held_at_ = 0;

  std::string pending_;          // whole frames, the first perhaps in part
  size_t pending_at_ = 0;
  std::string close_payload_;
  bool has_close_ = false;
  bool is_close_sent_ = false;
  std::string error_;
};

// --- waiting ---------------------------------------------------------------------------------

void WebSocketStream::listen(io::TransportHandler* handler, bool readable, bool writable) {
  handler_ = handler;
  wants_read_ = readable && handler != nullptr;
  wants_write_ = writable && handler != nullptr;
  update_inner();
  if (wants_read_ && has_more_to_read()) loop_.schedule(*this);
}

void WebSocketStream::update_inner() {
  const bool has_pending = pending_at_ < pending_.size();
  inner_->listen(handler_ != nullptr || has_pending ? this : nullptr, wants_read_,
                 wants_write_ || has_pending);
}

// The handler may destroy this from within; nothing is touched after it was called.
void WebSocketStream::on_readable() {
  if (handler_ != nullptr && wants_read_) handler_->on_readable();
}

void WebSocketStream::run() {
  if (handler_ != nullptr && wants_read_ && has_more_to_read()) handler_->on_readable();
}

void WebSocketStream::on_writable() {
  const IoResult::Kind sent = send_pending();
  if (sent == IoResult::Kind::WouldBlock) return;
  // Whoever writes next notices a stream that cannot be written to.
  if (sent != IoResult::Kind::Ok) pending_at_ = pending_.size();
  update_inner();
  if (handler_ != nullptr) handler_->on_writable();
}

// --- reading ---------------------------------------------------------------------------------

IoResult WebSocketStream::read(char* into, size_t bytes) {
  Room room{into, bytes};
  if (held_at_ < held_.size() || expands_more_) {
    Raw raw(held_.data() + held_at_, held_.size() - held_at_);
    take(raw, room);
    held_at_ = held_.size() - raw.size();
    if (raw.empty()) {
      std::string().swap(held_);
      held_at_ = 0;
    }
  } else if (!is_ended_) {
    // Plain payload only moves towards the front, so it can stay where it came; compressed payload
    // grows.
    const Raw target = settings_.compression ? pool_->input_buffer() : Raw(into, bytes);
    const IoResult got = inner_->read(target.data(), target.size());
    if (got.kind != IoResult::Kind::Ok) return got;
    Raw raw = target.first(got.bytes);
    take(raw, room);
    held_.assign(raw.begin(), raw.end());
  }
  if (is_ended_) std::string().swap(held_);
  if (send_pending() == IoResult::Kind::WouldBlock) update_inner();
  if (room.used == 0) return is_ended_ ? end_ : IoResult{IoResult::Kind::WouldBlock, 0, 0};
  if (wants_read_ && has_more_to_read()) loop_.schedule(*this);
  return {IoResult::Kind::Ok, room.used, 0};
}

// Uses as much of `raw` as there is room for.
void WebSocketStream::take(Raw& raw, Room& room) {
  while (!is_ended_) {
    if (!in_payload_ && !begin_frame(raw)) return;
    const bool is_whole = reader_.header().is_control() ? take_control(raw)
                          : is_compressed_              ? take_compressed(raw, room)
                                                        : take_plain(raw, room);
    if (!is_whole) return;
    in_payload_ = false;
  }
}

bool WebSocketStream::begin_frame(Raw& raw) {
  if (raw.empty()) return false;
  std::string_view view(raw.data(), raw.size());
  const FrameReader::Outcome outcome = reader_.next(view);
  raw = raw.last(view.size());
  if (outcome == FrameReader::Outcome::Error) fail(CloseStatus::ProtocolError, reader_.error());
  if (outcome != FrameReader::Outcome::Header) return false;
  const FrameHeader& header = reader_.header();
  in_payload_ = true;
  payload_at_ = 0;
  unmasked_ = 0;
  if (header.is_control()) {
    control_.clear();
  } else if (header.opcode != Opcode::Continuation) {
    is_compressed_ = header.is_compressed;
    inflated_ = 0;
    if (is_compressed_) inflater_ = pool_->take_inflater();
  }
  return true;
}

// Unmasks the first `count` bytes of the frame's payload in `raw`, each only once.
void WebSocketStream::unmask(Raw raw, size_t count) {
  if (reader_.header().is_masked && count > unmasked_) {
    apply_mask(reader_.header().mask, payload_at_ + unmasked_, raw.data() + unmasked_,
               count - unmasked_);
    unmasked_ = count;
  }
}

void WebSocketStream::advance(Raw& raw, size_t count) {
  raw = raw.subspan(count);
  payload_at_ += count;
  unmasked_ -= std::min(unmasked_, count);
}

bool WebSocketStream::take_control(Raw& raw) {
  const uint64_t left = reader_.header().length - payload_at_;
  const size_t n = static_cast<size_t>(std::min<uint64_t>(left, raw.size()));
  unmask(raw, n);
  control_.append(raw.data(), n);
  advance(raw, n);
  if (n < left) return false;
  handle_control();
  return true;
}

void WebSocketStream::handle_control() {
  switch (reader_.header().opcode) {
    case Opcode::Ping:
      if (is_close_sent_) break;  // nothing may follow it
      if (pending_.size() - pending_at_ >= kControlBytesMax) send_pending();
      if (pending_.size() - pending_at_ < kControlBytesMax) {
        append_frame(pending_, Opcode::Pong, control_, true, false);
      }
      break;
    case Opcode::Close: {
      CloseAnswer answer = answer_close(control_);
      close_payload_ = std::move(answer.payload);
      has_close_ = true;
      is_ended_ = true;
      if (answer.error.empty()) break;
      error_ = std::move(answer.error);
      end_ = {IoResult::Kind::Failed, 0, EPROTO};
      break;
    }
    default: break;  // a pong answers nothing we asked
  }
}

bool WebSocketStream::take_plain(Raw& raw, Room& room) {
  const uint64_t left = reader_.header().length - payload_at_;
  const auto n = static_cast<size_t>(
      std::min<uint64_t>(left, std::min(raw.size(), room.left())));
  unmask(raw, n);
  std::memmove(room.into + room.used, raw.data(), n);
  room.used += n;
  advance(raw, n);
  return n == left;
}

bool WebSocketStream::take_compressed(Raw& raw, Room& room) {
  const FrameHeader& header = reader_.header();
  const uint64_t left = header.length - payload_at_;
  const auto n = static_cast<size_t>(std::min<uint64_t>(left, raw.size()));
  const bool is_last = header.is_final && n == left;
  if (n == 0 && left > 0 && !expands_more_) return false;
  // One byte more than allowed is enough to know.
  const auto allowed = static_cast<size_t>(
      std::min<uint64_t>(room.left(), settings_.inflated_bytes_max - inflated_ + 1));
  if (allowed == 0) {
    expands_more_ = true;
    return false;
  }
  unmask(raw, n);
  const MessageInflater::Step step =
      inflater_->step({raw.data(), n}, is_last, room.into + room.used, allowed);
  advance(raw, step.taken);
  inflated_ += step.produced;
  expands_more_ = step.outcome == MessageInflater::Outcome::NeedsRoom;
  if (step.outcome == MessageInflater::Outcome::Corrupt) {
    fail(CloseStatus::InvalidPayload, "corrupt compressed message");
    return false;
  }
  if (inflated_ > settings_.inflated_bytes_max) {
    fail(CloseStatus::MessageTooBig, "maximum payload exceeded");
    return false;
  }
  room.used += step.produced;
  if (expands_more_) return false;
  if (step.outcome == MessageInflater::Outcome::Ended) pool_->give_inflater(std::move(inflater_));
  return step.taken == left;
}

void WebSocketStream::fail(CloseStatus status, std::string text) {
  is_ended_ = true;
  expands_more_ = false;
  end_ = {IoResult::Kind::Failed, 0, EPROTO};
  close_payload_ = make_close_payload(status, text);
  has_close_ = true;
  error_ = std::move(text);
}

// --- writing ---------------------------------------------------------------------------------

IoResult WebSocketStream::write(const char* from, size_t bytes) {
  if (is_close_sent_) return {IoResult::Kind::Closed, 0, 0};
  const IoResult::Kind before = send_pending();
  if (before != IoResult::Kind::Ok) return {before, 0, 0};
  const size_t n = std::min(bytes, kWriteMax);
  std::string& frames = pool_->output_buffer();
  append_message(frames, {from, n});
  const IoResult::Kind sent = send(frames);
  if (sent == IoResult::Kind::Closed || sent == IoResult::Kind::Failed) return {sent, 0, 0};
  if (sent == IoResult::Kind::WouldBlock) update_inner();
  return {IoResult::Kind::Ok, n, 0};
}

void WebSocketStream::append_message(std::string& out, std::string_view message) {
  const size_t frame_max = settings_.frame_bytes_max > 0 ? settings_.frame_bytes_max : message.size();
  if (settings_.compression && message.size() >= kCompressMin) {
    std::string& compressed = pool_->compressed_buffer();
    if (pool_->deflater().compress(message, compressed)) {
      std::string_view rest = compressed;
      const size_t part_max = settings_.fragments_compressed ? frame_max : rest.size();
      for (bool is_first = true; is_first || !rest.empty(); is_first = false) {
        const std::string_view part = rest.substr(0, part_max);
        rest.remove_prefix(part.size());
        append_frame(out, is_first ? Opcode::Binary : Opcode::Continuation, part, rest.empty(),
                     is_first);
      }
      return;
    }
  }
  // Browsers get what is long as several messages rather than fragments: they can pass those on.
  for (; !message.empty(); message.remove_prefix(std::min(frame_max, message.size()))) {
    append_frame(out, Opcode::Binary, message.substr(0, frame_max), true, false);
  }
}

void WebSocketStream::append_frame(std::string& out, Opcode opcode, std::string_view payload,
                                   bool is_final, bool is_compressed) {
  FrameHeader header;
  header.opcode = opcode;
  header.is_final = is_final;
  header.is_compressed = is_compressed;
  header.length = payload.size();
  header.is_masked = settings_.masks_output;
  if (header.is_masked) header.mask = pool_->next_mask();
  char bytes[kFrameHeaderMax];
  out.append(bytes, write_frame_header(header, bytes));
  out.append(payload);
  if (header.is_masked) {
    apply_mask(header.mask, 0, out.data() + out.size() - payload.size(), payload.size());
  }
}

// Sends, or keeps what cannot be sent now. Nothing is pending.
IoResult::Kind WebSocketStream::send(std::string_view frames) {
  while (!frames.empty()) {
    const IoResult sent = inner_->write(frames.data(), frames.size());
    if (sent.kind == IoResult::Kind::WouldBlock) pending_.assign(frames);
    if (sent.kind != IoResult::Kind::Ok) return sent.kind;
    frames.remove_prefix(sent.bytes);
  }
  return IoResult::Kind::Ok;
}

IoResult::Kind WebSocketStream::send_pending() {
  while (pending_at_ < pending_.size()) {
    const IoResult sent = inner_->write(pending_.data() + pending_at_, pending_.size() - pending_at_);
    if (sent.kind != IoResult::Kind::Ok) return sent.kind;
    pending_at_ += sent.bytes;
  }
  if (pending_at_ > 0) {
    std::string().swap(pending_);
    pending_at_ = 0;
  }
  return IoResult::Kind::Ok;
}

void WebSocketStream::set_close(CloseStatus status, std::string_view text) {
  if (has_close_) return;
  has_close_ = true;
  close_payload_ = make_close_payload(status, text);
}

void WebSocketStream::end_writing() {
  if (!is_close_sent_) {
    if (!has_close_) close_payload_ = make_close_payload(CloseStatus::Normal, {});
    is_close_sent_ = true;
    append_frame(pending_, Opcode::Close, close_payload_, true, false);
    send_pending();
  }
  inner_->end_writing();
}

}  // namespace

std::unique_ptr<WebSocketTransport> wrap_websocket(io::Loop& loop,
                                                   std::unique_ptr<io::Transport> inner,
                                                   std::shared_ptr<WebSocketPool> pool,
                                                   const WebSocketSettings& settings,
                                                   std::string_view early) {
  return std::make_unique<WebSocketStream>(loop, std::move(inner), std::move(pool), settings, early);
}

}  // namespace brokkr::http
