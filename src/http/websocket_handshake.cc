#include <array>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "base/random.h"
#include "http/websocket.h"
#include "http/websocket_pool.h"

namespace brokkr::http {
namespace {

using io::IoResult;

// Bytes read and thrown away after a refusal: a socket closed with unread input is reset, and the
// reset may overtake the answer.
constexpr size_t kRefusalDrainReads = 8;
constexpr size_t kAnswerHeadMax = 32 << 10;

std::string text_of(const IoResult& result, std::string_view what) {
  std::string text(what);
  if (result.kind == IoResult::Kind::Closed) return text.append(": the other side has closed");
  return system_error(text.c_str(), result.error).text;
}

// What both sides do: bytes out, bytes in until somebody has seen enough, and not for ever.
class Exchange : public WebSocketHandshake, private io::TransportHandler {
 public:
  Exchange(io::Loop& loop, std::unique_ptr<io::Transport> inner, Duration timeout)
      : loop_(loop),
        inner_(std::move(inner)),
        timer_(loop, [this] { fail({Errc::TimedOut, "websocket handshake timeout"}); }) {
    timer_.start(timeout);
  }
  const io::Peer& peer() const override { return inner_->peer(); }

 protected:
  // All of `out_` is sent. May destroy this.
  virtual void on_sent() = 0;
  // May destroy this.
  virtual void on_bytes(std::string_view bytes) = 0;
  virtual void fail(Error error) = 0;

  void start() { update(); }
  void send(std::string bytes) {
    out_ = std::move(bytes);
    out_at_ = 0;
    is_sending_ = true;
    update();
  }
  std::unique_ptr<io::Transport> release() {
    timer_.stop();
    inner_->listen(nullptr, false, false);
    return std::move(inner_);
  }

  io::Loop& loop_;
  std::unique_ptr<io::Transport> inner_;

 private:
  void update() { inner_->listen(this, !is_sending_, is_sending_); }

  void on_readable() override {
    std::array<char, 4096> buffer;
    const IoResult got = inner_->read(buffer.data(), buffer.size());
    if (got.kind == IoResult::Kind::WouldBlock) return;
    if (got.kind == IoResult::Kind::Ok) return on_bytes({buffer.data(), got.bytes});
    fail({Errc::Closed, text_of(got, "websocket handshake")});
  }

  void on_writable() override {
    while (out_at_ < out_.size()) {
      const IoResult sent = inner_->write(out_.data() + out_at_, out_.size() - out_at_);
      if (sent.kind == IoResult::Kind::WouldBlock) return;
      if (sent.kind != IoResult::Kind::Ok) {
        return fail({Errc::Closed, text_of(sent, "websocket handshake")});
      }
      out_at_ += sent.bytes;
    }
    if (!is_sending_) return update();
    is_sending_ = false;
    update();
    on_sent();
  }

  std::string out_;
  size_t out_at_ = 0;
  bool is_sending_ = false;
  io::Timer timer_;
};

class Acceptance final : public Exchange {
 public:
  Acceptance(io::Loop& loop, std::unique_ptr<io::Transport> inner,
             std::shared_ptr<const UpgradeRules> rules, Duration timeout, AcceptDone done)
      : Exchange(loop, std::move(inner), timeout),
        rules_(std::move(rules)),
        reader_(*rules_),
        done_(std::move(done)) {
    start();
  }

 private:
  void on_bytes(std::string_view bytes) override {
    const UpgradeReader::Outcome outcome = reader_.next(bytes);
    if (outcome == UpgradeReader::Outcome::Partial) return;
    is_accepted_ = outcome == UpgradeReader::Outcome::Accepted;
    send(reader_.answer());
  }

  void on_sent() override {
    if (!is_accepted_) {
      inner_->end_writing();
      std::array<char, 4096> trash;
      for (size_t i = 0; i < kRefusalDrainReads; ++i) {
        if (inner_->read(trash.data(), trash.size()).kind != IoResult::Kind::Ok) break;
      }
      return fail({Errc::InvalidArgument, "websocket handshake error: " + reader_.reason()});
    }
    AcceptedWebSocket accepted{release(), reader_.request()};
    const AcceptDone done = std::move(done_);
    done(std::move(accepted));
  }

  void fail(Error error) override {
    release()->end_writing();
    const AcceptDone done = std::move(done_);
    done(std::move(error));
  }

  const std::shared_ptr<const UpgradeRules> rules_;
  UpgradeReader reader_;
  bool is_accepted_ = false;
  AcceptDone done_;
};

class Connecting final : public Exchange {
 public:
  Connecting(io::Loop& loop, std::unique_ptr<io::Transport> inner,
             std::shared_ptr<WebSocketPool> pool, const UpgradeOffer& offer, Duration timeout,
             ConnectDone done)
      : Exchange(loop, std::move(inner), timeout),
        pool_(std::move(pool)),
        offer_(offer),
        reader_(kAnswerHeadMax),
        done_(std::move(done)) {
    std::array<uint8_t, 16> random;
    fill_secure(random);
    key_ = base64_encode({reinterpret_cast<const char*>(random.data()), random.size()});
    send(make_upgrade_request(offer_, key_));
  }

 private:
  void on_sent() override {}

  void on_bytes(std::string_view bytes) override {
    switch (reader_.next(bytes)) {
      case HeadReader::Outcome::Partial: return;
      case HeadReader::Outcome::Complete: break;
      case HeadReader::Outcome::TooLarge:
      case HeadReader::Outcome::Malformed:
        return fail({Errc::Syntax, "websocket handshake: the server's answer is not HTTP"});
    }
    auto agreed = check_upgrade_answer(reader_.head(), offer_, key_);
    if (!agreed) return fail(agreed.error());
    WebSocketSettings settings;
    settings.compression = agreed->compression;
    settings.masks_required = false;
    settings.masks_output = !agreed->no_masking;
    const ConnectDone done = std::move(done_);
    done(wrap_websocket(loop_, release(), pool_, settings, bytes));
  }

  void fail(Error error) override {
    release();
    const ConnectDone done = std::move(done_);
    done(std::move(error));
  }

  const std::shared_ptr<WebSocketPool> pool_;
  const UpgradeOffer offer_;
  HeadReader reader_;
  std::string key_;
  ConnectDone done_;
};

}  // namespace

std::unique_ptr<WebSocketHandshake> accept_websocket(io::Loop& loop,
                                                     std::unique_ptr<io::Transport> inner,
                                                     std::shared_ptr<const UpgradeRules> rules,
                                                     Duration timeout, AcceptDone done) {
  return std::make_unique<Acceptance>(loop, std::move(inner), std::move(rules), timeout,
                                      std::move(done));
}

WebSocketSettings accepted_settings(const UpgradeRequest& request) {
  WebSocketSettings settings;
  settings.compression = request.compression;
  settings.masks_required = !request.no_masking;
  settings.frame_bytes_max = request.is_browser ? WebSocketTransport::kBrowserFrameBytes : 0;
  settings.fragments_compressed = request.fragments_compressed;
  return settings;
}

std::unique_ptr<WebSocketHandshake> connect_websocket(io::Loop& loop,
                                                      std::unique_ptr<io::Transport> inner,
                                                      std::shared_ptr<WebSocketPool> pool,
                                                      const UpgradeOffer& offer, Duration timeout,
                                                      ConnectDone done) {
  return std::make_unique<Connecting>(loop, std::move(inner), std::move(pool), offer, timeout,
                                      std::move(done));
}

}  // namespace brokkr::http
