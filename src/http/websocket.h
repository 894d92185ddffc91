#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "http/websocket_frame.h"
#include "http/websocket_upgrade.h"
#include "io/loop.h"
#include "io/transport.h"

namespace brokkr::http {

// What the WebSocket streams of one loop share: compression tables and buffers that are only needed
// within a call. Streams keep it alive. Loop-confined.
class WebSocketPool;
std::shared_ptr<WebSocketPool> make_websocket_pool();

// How one end of a WebSocket behaves after its handshake.
struct WebSocketSettings {
  bool compression = false;
  bool masks_required = true;  // of the frames that come in; a masked frame is always understood
  bool masks_output = false;   // clients
  size_t frame_bytes_max = 0;  // of the frames that go out; 0: no limit
  bool fragments_compressed = true;  // a compressed message may be more than one frame
  // A message may grow to this when it is expanded. It bounds work, not memory: at no time is a
  // message kept, neither as it came nor expanded.
  uint64_t inflated_bytes_max = 2 << 20;
};

// A stream of bytes inside the binary messages of a WebSocket. Frames and messages have no meaning
// for what is read: text and binary, whole and in fragments, give the same bytes. Pings are answered,
// and while the peer does not read only the first ones. A broken rule ends the stream: the next read
// is Failed and the peer is told why when the writing ends. Beyond what one read brings in and one
// write puts out, nothing is kept. Loop-confined.
class WebSocketTransport : public io::Transport {
 public:
  // Messages shorter than this go out as they are.
  static constexpr size_t kCompressMin = 65;
  // What a write takes at most.
  static constexpr size_t kWriteMax = 64 << 10;
  // For clients that are browsers.
  static constexpr size_t kBrowserFrameBytes = 4096;

  // What the close frame says that `end_writing` sends, unless the peer's own close frame or a broken
  // rule has decided that already.
  virtual void set_close(CloseStatus status, std::string_view text) = 0;
  // The rule the peer has broken, or empty.
  virtual const std::string& error() const = 0;
  virtual bool uses_compression() const = 0;
};

// `early` are bytes that followed the handshake.
std::unique_ptr<WebSocketTransport> wrap_websocket(io::Loop& loop,
                                                   std::unique_ptr<io::Transport> inner,
                                                   std::shared_ptr<WebSocketPool> pool,
                                                   const WebSocketSettings& settings,
                                                   std::string_view early = {});

// A handshake under way, on either side. Destroying it gives up and closes the stream.
// Loop-confined.
class WebSocketHandshake {
 public:
  virtual ~WebSocketHandshake() = default;
  // Of the client; while the handshake lasts.
  virtual const io::Peer& peer() const = 0;
};

// The server's side came to an end: a stream and what was asked for, or why not. A client that is
// refused has been told already.
struct AcceptedWebSocket {
  std::unique_ptr<io::Transport> inner;  // to be wrapped with `accepted_settings`
  UpgradeRequest request;
};
using AcceptDone = Callback<void(Result<AcceptedWebSocket>)>;
// Waits for a request for at most `timeout`. `done` is called once, never from within; it may
// destroy the handshake.
std::unique_ptr<WebSocketHandshake> accept_websocket(io::Loop& loop,
                                                     std::unique_ptr<io::Transport> inner,
                                                     std::shared_ptr<const UpgradeRules> rules,
                                                     Duration timeout, AcceptDone done);
WebSocketSettings accepted_settings(const UpgradeRequest& request);

// The client's side, ready to use. `done` as above.
using ConnectDone = Callback<void(Result<std::unique_ptr<WebSocketTransport>>)>;
std::unique_ptr<WebSocketHandshake> connect_websocket(io::Loop& loop,
                                                      std::unique_ptr<io::Transport> inner,
                                                      std::shared_ptr<WebSocketPool> pool,
                                                      const UpgradeOffer& offer, Duration timeout,
                                                      ConnectDone done);

}  // namespace brokkr::http
