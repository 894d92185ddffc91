#include "http/websocket.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <gtest/gtest.h>

#include "http/websocket_deflate.h"

namespace brokkr::http {
namespace {

using io::IoResult;
using std::chrono::milliseconds;

std::string frame(Opcode opcode, std::string_view payload, bool is_final = true,
                  bool is_compressed = false, bool is_masked = true) {
  FrameHeader header;
  header.opcode = opcode;
  header.is_final = is_final;
  header.is_compressed = is_compressed;
  header.is_masked = is_masked;
  header.mask = {1, 2, 3, 4};
  header.length = payload.size();
  char bytes[kFrameHeaderMax];
  std::string text(bytes, write_frame_header(header, bytes));
  std::string body(payload);
  if (is_masked) apply_mask(header.mask, 0, body.data(), body.size());
  return text + body;
}

std::string compress(std::string_view message) {
  MessageDeflater deflater;
  std::string out;
  EXPECT_TRUE(deflater.compress(message, out));
  return out;
}

// What a peer was sent: the frames, apart.
struct SentFrame {
  FrameHeader header;
  std::string payload;
};
std::vector<SentFrame> parse_frames(std::string_view text) {
  std::vector<SentFrame> frames;
  FrameReader reader({false, true});
  while (!text.empty()) {
    if (reader.next(text) != FrameReader::Outcome::Header) {
      ADD_FAILURE() << "not a frame: " << reader.error();
      break;
    }
    SentFrame& sent = frames.emplace_back();
    sent.header = reader.header();
    sent.payload = text.substr(0, reader.header().length);
    text.remove_prefix(sent.payload.size());
    if (sent.header.is_masked) {
      apply_mask(sent.header.mask, 0, sent.payload.data(), sent.payload.size());
    }
  }
  return frames;
}

// Reads whatever comes, a little at a time.
struct Eater final : io::TransportHandler {
  explicit Eater(io::Transport& t, size_t bytes = 4096) : transport(t), room(bytes) {
    transport.listen(this, true, false);
  }
  void on_readable() override {
    const IoResult got = transport.read(room.data(), room.size());
    if (got.kind == IoResult::Kind::Ok) text.append(room.data(), got.bytes);
    if (got.kind == IoResult::Kind::Closed || got.kind == IoResult::Kind::Failed) {
      end = got.kind;
      transport.listen(nullptr, false, false);
    }
  }
  void on_writable() override { ++writable; }
  io::Transport& transport;
  std::vector<char> room;
  std::string text;
  IoResult::Kind end = IoResult::Kind::Ok;
  int writable = 0;
};

class WebSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
  }
  void open(const WebSocketSettings& settings, size_t pipe_bytes = 8 << 20,
            std::string_view early = {}) {
    auto [left, right] = io::make_pipe(*loop_, pipe_bytes);
    peer_ = std::move(left);
    stream_ = wrap_websocket(*loop_, std::move(right), pool_, settings, early);
  }
  bool run_until(const std::function<bool()>& done) {
    const MonotonicTime end = clock_.now() + std::chrono::seconds(5);
    while (!done() && clock_.now() < end) loop_->run_once(milliseconds(1));
    return done();
  }
  void turn() {
    for (int i = 0; i < 10; ++i) loop_->run_once(milliseconds(0));
  }
  void send(const std::string& bytes) {
    ASSERT_EQ(peer_->write(bytes.data(), bytes.size()).bytes, bytes.size());
  }
  // What the stream has sent so far and was not received yet.
  std::string received() {
    std::string text(1 << 20, '\0');
    const IoResult got = peer_->read(text.data(), text.size());
    text.resize(got.bytes);
    return text;
  }

  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::shared_ptr<WebSocketPool> pool_ = make_websocket_pool();
  std::unique_ptr<io::Transport> peer_;
  std::unique_ptr<WebSocketTransport> stream_;
};

TEST_F(WebSocketTest, FramesAreOneStreamOfBytes) {
  open({});
  Eater eater(*stream_);
  send(frame(Opcode::Binary, "PUB a ") + frame(Opcode::Text, "5\r\nhe") +
       frame(Opcode::Binary, "ll", false) + frame(Opcode::Ping, "") +
       frame(Opcode::Continuation, "o\r", false) + frame(Opcode::Continuation, "\n"));
  EXPECT_TRUE(run_until([&] { return eater.text == "PUB a 5\r\nhello\r\n"; })) << eater.text;
}

TEST_F(WebSocketTest, BytesMayComeOneByOneAndRoomBeScarce) {
  for (const bool is_compressed : {false, true}) {
    WebSocketSettings settings;
    settings.compression = is_compressed;
    open(settings);
    Eater eater(*stream_, 3);
    std::string message;
    for (int i = 0; i < 200; ++i) message += "line " + std::to_string(i) + "\r\n";
    const std::string body = is_compressed ? compress(message) : message;
    const size_t half = body.size() / 2;
    const std::string bytes =
        frame(Opcode::Binary, std::string_view(body).substr(0, half), false, is_compressed) +
        frame(Opcode::Ping, "x") + frame(Opcode::Continuation, std::string_view(body).substr(half));
    for (const char byte : bytes) {
      send(std::string(1, byte));
      loop_->run_once(milliseconds(0));
    }
    EXPECT_TRUE(run_until([&] { return eater.text == message; }));
  }
}

TEST_F(WebSocketTest, EarlyBytesAreReadFirst) {
  const std::string early = frame(Opcode::Binary, "INFO {}\r\n");
  open({}, 8 << 20, early);
  Eater eater(*stream_);
  EXPECT_TRUE(run_until([&] { return eater.text == "INFO {}\r\n"; }));
}

TEST_F(WebSocketTest, PausedReaderIsToldLaterWhatIsThereAlready) {
  WebSocketSettings settings;
  settings.compression = true;
  open(settings);
  Eater eater(*stream_, 10);
  send(frame(Opcode::Binary, compress(std::string(1000, 'x')), true, true));
  ASSERT_TRUE(run_until([&] { return !eater.text.empty(); }));
  stream_->listen(&eater, false, false);
  turn();
  const size_t before = eater.text.size();
  turn();
  EXPECT_EQ(eater.text.size(), before);
  EXPECT_LT(before, 1000U);
  stream_->listen(&eater, true, false);
  EXPECT_TRUE(run_until([&] { return eater.text.size() == 1000; }));
}

TEST_F(WebSocketTest, PingsAreAnswered) {
  open({});
  Eater eater(*stream_);
  send(frame(Opcode::Ping, "are you there") + frame(Opcode::Pong, "unasked"));
  turn();
  const auto frames = parse_frames(received());
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].header.opcode, Opcode::Pong);
  EXPECT_EQ(frames[0].payload, "are you there");
  EXPECT_FALSE(frames[0].header.is_masked);
}

TEST_F(WebSocketTest, PingsOfAPeerThatDoesNotReadAreDropped) {
  open({}, 64 << 10);
  Eater eater(*stream_, 64 << 10);
  const std::string pings = [] {
    std::string text;
    for (int i = 0; i < 400; ++i) text += frame(Opcode::Ping, std::string(125, 'p'));
    return text;
  }();
  for (int round = 0; round < 10; ++round) {
    send(pings);
    turn();
  }
  size_t got = 0;
  for (std::string text = received(); !text.empty(); text = received()) {
    got += text.size();
    turn();
  }
  EXPECT_GT(got, size_t{60} << 10);
  EXPECT_LE(got, (64U << 10) + 2 * 4096U);
}

TEST_F(WebSocketTest, CloseIsAnsweredWhenTheOutputEnds) {
  open({});
  Eater eater(*stream_);
  send(frame(Opcode::Binary, "last") + frame(Opcode::Close, "\x03\xe8" "bye") +
       frame(Opcode::Binary, "beyond"));
  ASSERT_TRUE(run_until([&] { return eater.end == IoResult::Kind::Closed; }));
  EXPECT_EQ(eater.text, "last");
  stream_->write("reply", 5);
  stream_->set_close(CloseStatus::GoingAway, "other");
  stream_->end_writing();
  stream_->end_writing();
  EXPECT_EQ(stream_->write("x", 1).kind, IoResult::Kind::Closed);
  const auto frames = parse_frames(received());
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].payload, "reply");
  EXPECT_EQ(frames[1].header.opcode, Opcode::Close);
  EXPECT_EQ(frames[1].payload, "\x03\xe8" "bye");
}

TEST_F(WebSocketTest, BrokenRuleEndsTheStreamAndIsTold) {
  open({});
  Eater eater(*stream_);
  send(frame(Opcode::Binary, "ok") + frame(Opcode::Binary, "naked", true, false, false));
  ASSERT_TRUE(run_until([&] { return eater.end == IoResult::Kind::Failed; }));
  EXPECT_EQ(eater.text, "ok");
  EXPECT_EQ(stream_->error(), "mask bit missing");
  stream_->end_writing();
  const auto frames = parse_frames(received());
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].payload, "\x03\xea" "mask bit missing");
}

TEST_F(WebSocketTest, ServerMaySetTheCloseStatus) {
  open({});
  stream_->set_close(CloseStatus::PolicyViolation, "Slow Consumer");
  stream_->end_writing();
  EXPECT_EQ(parse_frames(received()).at(0).payload, "\x03\xf0" "Slow Consumer");
}

TEST_F(WebSocketTest, CompressionBombEndsAtItsBound) {
  WebSocketSettings settings;
  settings.compression = true;
  settings.inflated_bytes_max = 100'000;
  open(settings);
  Eater eater(*stream_);
  send(frame(Opcode::Binary, compress(std::string(100'000, ' ')), true, true));
  EXPECT_TRUE(run_until([&] { return eater.text.size() == 100'000; }));
  send(frame(Opcode::Binary, compress(std::string(10'000'000, ' ')), true, true));
  ASSERT_TRUE(run_until([&] { return eater.end == IoResult::Kind::Failed; }));
  EXPECT_LE(eater.text.size(), 200'000U);
  EXPECT_EQ(stream_->error(), "maximum payload exceeded");
  stream_->end_writing();
  EXPECT_EQ(parse_frames(received()).at(0).payload, "\x03\xf1" "maximum payload exceeded");
}

TEST_F(WebSocketTest, CorruptMessageEndsTheStream) {
  WebSocketSettings settings;
  settings.compression = true;
  open(settings);
  Eater eater(*stream_);
  send(frame(Opcode::Binary, "\xff\xff\xff", true, true));
  ASSERT_TRUE(run_until([&] { return eater.end == IoResult::Kind::Failed; }));
  EXPECT_EQ(stream_->error(), "corrupt compressed message");
}

TEST_F(WebSocketTest, OutputIsOneFrameAWriteAndCompressedWhenLong) {
  WebSocketSettings settings;
  settings.compression = true;
  open(settings);
  const std::string text(200, 'x');
  stream_->write(text.data(), 64);
  stream_->write(text.data(), 65);
  const auto frames = parse_frames(received());
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].header.opcode, Opcode::Binary);
  EXPECT_FALSE(frames[0].header.is_compressed);
  EXPECT_EQ(frames[0].payload.size(), 64U);
  EXPECT_TRUE(frames[1].header.is_compressed);
  EXPECT_LT(frames[1].payload.size(), 30U);
}

TEST_F(WebSocketTest, BrowsersGetSmallFrames) {
  std::string noise;
  uint32_t state = 1;
  while (noise.size() < 60'000) {
    state = state * 1664525 + 1013904223;
    noise.push_back(static_cast<char>('a' + (state >> 28)));
  }
  for (const bool compression : {false, true}) {
    for (const bool is_safari : {false, true}) {
      WebSocketSettings settings;
      settings.compression = compression;
      settings.frame_bytes_max = WebSocketTransport::kBrowserFrameBytes;
      settings.fragments_compressed = !is_safari;
      open(settings);
      ASSERT_EQ(stream_->write(noise.data(), noise.size()).bytes, noise.size());
      const auto frames = parse_frames(received());
      const bool is_whole = compression && is_safari;
      EXPECT_EQ(frames.size() == 1, is_whole);
      for (const SentFrame& sent : frames) {
        if (!is_whole) {
          EXPECT_LE(sent.payload.size(), 4096U);
        }
        // Without compression each frame is a message; with it they are fragments of one.
        EXPECT_TRUE(compression || sent.header.is_final);
        EXPECT_EQ(sent.header.is_compressed, compression && &sent == &frames.front());
      }
    }
  }
}

TEST_F(WebSocketTest, WriterIsHeldBackByAPeerThatDoesNotRead) {
  open({}, 1000);
  Eater writer(*stream_);
  const std::string text(900, 'x');
  EXPECT_EQ(stream_->write(text.data(), 900).bytes, 900U);
  EXPECT_EQ(stream_->write(text.data(), 900).bytes, 900U);  // taken, most of it kept
  EXPECT_EQ(stream_->write(text.data(), 900).kind, IoResult::Kind::WouldBlock);
  stream_->listen(&writer, true, true);
  turn();
  EXPECT_EQ(writer.writable, 0);
  std::string got = received();
  ASSERT_TRUE(run_until([&] { return writer.writable > 0; }));
  got += received();
  const auto frames = parse_frames(got);
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[1].payload, text);
}

TEST_F(WebSocketTest, ClosedPeerIsNoticedByReaderAndWriter) {
  open({});
  Eater eater(*stream_);
  peer_.reset();
  EXPECT_TRUE(run_until([&] { return eater.end == IoResult::Kind::Closed; }));
  EXPECT_EQ(stream_->write("x", 1).kind, IoResult::Kind::Closed);
}

// Both handshakes against each other, and bytes both ways.
TEST_F(WebSocketTest, ClientAndServerMeet) {
  for (const bool compression : {false, true}) {
    for (const bool no_masking : {false, true}) {
      auto [left, right] = io::make_pipe(*loop_);
      auto rules = std::make_shared<UpgradeRules>();
      rules->compression = compression;
      std::unique_ptr<WebSocketTransport> server;
      std::unique_ptr<WebSocketTransport> client;
      const auto accepting = accept_websocket(
          *loop_, std::move(left), rules, std::chrono::seconds(5), [&](auto accepted) {
            ASSERT_TRUE(accepted) << accepted.error().text;
            server = wrap_websocket(*loop_, std::move(accepted->inner), pool_,
                                    accepted_settings(accepted->request));
            server->write("INFO {}\r\n", 9);
          });
      UpgradeOffer offer;
      offer.host = "localhost";
      offer.compression = true;
      offer.no_masking = no_masking;
      const auto connecting =
          connect_websocket(*loop_, std::move(right), pool_, offer, std::chrono::seconds(5),
                            [&](auto connected) {
                              ASSERT_TRUE(connected) << connected.error().text;
                              client = std::move(*connected);
                            });
      ASSERT_TRUE(run_until([&] { return client != nullptr && server != nullptr; }));
      EXPECT_EQ(client->uses_compression(), compression);
      EXPECT_EQ(server->uses_compression(), compression);
      Eater at_client(*client);
      Eater at_server(*server);
      const std::string text(100'000, 'm');
      for (size_t sent = 0; sent < text.size();) {
        sent += client->write(text.data() + sent, text.size() - sent).bytes;
      }
      EXPECT_TRUE(run_until([&] { return at_server.text == text; }));
      EXPECT_TRUE(run_until([&] { return at_client.text == "INFO {}\r\n"; }));
      client->end_writing();
      EXPECT_TRUE(run_until([&] { return at_server.end == IoResult::Kind::Closed; }));
    }
  }
}

TEST_F(WebSocketTest, HandshakesEndInTime) {
  auto [left, right] = io::make_pipe(*loop_);
  std::string server_error;
  const auto accepting =
      accept_websocket(*loop_, std::move(left), std::make_shared<UpgradeRules>(), milliseconds(20),
                       [&](auto accepted) { server_error = accepted.error().text; });
  right->write("GET / HT", 8);
  EXPECT_TRUE(run_until([&] { return !server_error.empty(); }));
  EXPECT_EQ(server_error, "websocket handshake timeout");
}

TEST_F(WebSocketTest, RefusedClientIsToldBothWays) {
  auto [left, right] = io::make_pipe(*loop_);
  std::string server_error;
  std::string client_error;
  const auto accepting = accept_websocket(
      *loop_, std::move(left), std::make_shared<UpgradeRules>(), std::chrono::seconds(5),
      [&](auto accepted) { server_error = accepted.error().text; });
  UpgradeOffer offer;
  offer.host = "h";
  offer.path = "/mqtt";
  const auto connecting =
      connect_websocket(*loop_, std::move(right), pool_, offer, std::chrono::seconds(5),
                        [&](auto connected) { client_error = connected.error().text; });
  EXPECT_TRUE(run_until([&] { return !server_error.empty() && !client_error.empty(); }));
  EXPECT_EQ(server_error, "websocket handshake error: mqtt websocket endpoint not enabled");
  EXPECT_EQ(client_error, "websocket handshake: the server answered \"HTTP/1.1 404 Not Found\"");
}

}  // namespace
}  // namespace brokkr::http
