// Goal: no bytes of a WebSocket peer make the stream read or write out of bounds, stand still, keep
// more than it may, or mean different things depending on how they were cut.
//
// The first byte chooses the settings, the second the cuts; the rest is what the peer sends.
// Invariants:
//   - the bytes read are the same for every way to cut input and room, or all ways end in an error
//   - no message is expanded beyond its bound
//   - what is sent back is whole frames, small ones, and a close frame last
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "http/websocket.h"

namespace brokkr::http {
namespace {

using io::IoResult;

constexpr uint64_t kInflatedMax = 5000;

// A peer whose bytes come `cut` at a time, and who takes `cut` at a time, every other time nothing.
class FuzzPeer final : public io::Transport {
 public:
  FuzzPeer(std::string_view input, size_t cut, std::string& sent)
      : input_(input), cut_(cut), sent_(sent) {}
  void listen(io::TransportHandler*, bool, bool) override {}
  IoResult read(char* into, size_t bytes) override {
    if (input_.empty()) return {IoResult::Kind::Closed, 0, 0};
    const size_t n = std::min({bytes, cut_, input_.size()});
    std::memcpy(into, input_.data(), n);
    input_.remove_prefix(n);
    return {IoResult::Kind::Ok, n, 0};
  }
  IoResult write(const char* from, size_t bytes) override {
    is_blocked_ = !is_blocked_;
    if (is_blocked_ && cut_ < 16) return {IoResult::Kind::WouldBlock, 0, 0};
    const size_t n = std::min(bytes, cut_);
    sent_.append(from, n);
    return {IoResult::Kind::Ok, n, 0};
  }
  const io::Peer& peer() const override { return peer_; }

 private:
  std::string_view input_;
  const size_t cut_;
  std::string& sent_;
  bool is_blocked_ = false;
  const io::Peer peer_{"fuzz", 0};
};

struct Seen {
  std::string bytes;
  bool is_failed = false;
};

void check_sent(std::string_view sent, bool is_masked) {
  FrameReader reader({is_masked, false});
  bool is_closed = false;
  while (!sent.empty()) {
    CHECK(!is_closed);
    if (reader.next(sent) != FrameReader::Outcome::Header) break;  // the peer did not take the rest
    CHECK(reader.header().is_control());
    is_closed = reader.header().opcode == Opcode::Close;
    sent.remove_prefix(std::min<size_t>(sent.size(), reader.header().length));
  }
}

Seen read_all(io::Loop& loop, const std::shared_ptr<WebSocketPool>& pool, std::string_view input,
              const WebSocketSettings& settings, size_t cut, size_t room) {
  Seen seen;
  std::string sent;
  // Some of it as bytes behind a handshake.
  const size_t early = std::min(input.size(), cut);
  const auto stream =
      wrap_websocket(loop, std::make_unique<FuzzPeer>(input.substr(early), cut, sent), pool, settings,
                     input.substr(0, early));
  for (size_t turns = 0;; ++turns) {
    CHECK(turns < 4'000'000);
    // Room of its own lets the address sanitizer see writes past the end.
    const auto buffer = std::make_unique<char[]>(room);
    const IoResult got = stream->read(buffer.get(), room);
    if (got.kind == IoResult::Kind::WouldBlock) continue;
    if (got.kind != IoResult::Kind::Ok) {
      seen.is_failed = got.kind == IoResult::Kind::Failed;
      CHECK(seen.is_failed == !stream->error().empty());
      break;
    }
    CHECK(got.bytes > 0 && got.bytes <= room);
    seen.bytes.append(buffer.get(), got.bytes);
  }
  stream->end_writing();
  check_sent(sent, settings.masks_output);
  return seen;
}

}  // namespace
}  // namespace brokkr::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace brokkr;
  using namespace brokkr::http;
  if (size < 2 || size > 4096) return 0;
  static SystemClock clock;
  static const std::unique_ptr<io::Loop> loop = std::move(*io::Loop::open({}, clock));
  static const std::shared_ptr<WebSocketPool> pool = make_websocket_pool();
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);
  WebSocketSettings settings;
  settings.compression = (data[0] & 1) != 0;
  settings.masks_required = (data[0] & 2) != 0;
  settings.masks_output = (data[0] & 4) != 0;
  settings.inflated_bytes_max = kInflatedMax;
  const size_t cut = 1U + data[1] % 32U;
  const Seen whole = read_all(*loop, pool, input, settings, 1 << 20, 1 << 16);
  const Seen in_cuts = read_all(*loop, pool, input, settings, cut, 1 + data[1] / 16U);
  CHECK(whole.is_failed == in_cuts.is_failed);
  if (!whole.is_failed) CHECK(whole.bytes == in_cuts.bytes);
  return 0;
}
