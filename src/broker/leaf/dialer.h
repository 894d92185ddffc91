#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "broker/leaf/url.h"
#include "broker/origin.h"
#include "config/options.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/tls.h"
#include "protocol/leaf_info.h"

namespace brokkr::http {
class WebSocketHandshake;
}

namespace brokkr::broker {

class LeafLink;
class Leafs;

// One configured remote: keeps one link to it, and dials again when it ends. Owned by Leafs and
// confined to the main loop.
class LeafDialer {
 public:
  // Fails with InvalidArgument on URLs, certificates and keys that cannot be.
  static Result<std::unique_ptr<LeafDialer>> make(Leafs& leafs, config::LeafRemote config);
  ~LeafDialer();
  LeafDialer(const LeafDialer&) = delete;
  LeafDialer& operator=(const LeafDialer&) = delete;

  void start();
  const config::LeafRemote& config() const { return config_; }
  std::string account_name() const;
  // What is being dialled, or was.
  const LeafUrl& url() const { return url_; }
  LeafLink* link() const { return link_; }
  Duration first_info_timeout() const;
  // Of the handshake, for links that have one.
  const std::shared_ptr<const io::TlsContext>& tls() const { return tls_; }
  Duration tls_timeout() const;
  bool wants_tls() const { return config_.tls.has_value() || url_.is_tls; }
  // The handshake comes before INFO.
  bool wants_tls_first() const { return config_.tls && config_.tls->handshake_first; }
  // Fills in who this server is to the other side, which asked to sign `nonce`.
  Status add_credentials(protocol::LeafConnect& connect, std::string_view nonce) const;

  // The other side tells where else it can be reached.
  void on_discovered(const protocol::LeafInfo& info);
  // The next attempt waits at least so long.
  void delay_next(Duration delay);
  void on_link_opened();
  void on_link_ended();

 private:
  LeafDialer(Leafs& leafs, config::LeafRemote config);
  void dial();
  void dial_again();
  void shuffle();
  void on_connected(Result<std::unique_ptr<io::Transport>> connected);
  void begin_tls(std::unique_ptr<io::Transport> inner);
  void begin_websocket(std::unique_ptr<io::Transport> inner, Origin origin);
  void begin_link(std::unique_ptr<io::Transport> transport, Origin origin);
  void fail_attempt(const std::string& why);
  void pick_url();
  Duration timeout() const;

  Leafs& leafs_;
  const config::LeafRemote config_;
  std::shared_ptr<const io::TlsContext> tls_;
  std::vector<LeafUrl> configured_;
  std::vector<LeafUrl> urls_;  // configured, then discovered
  size_t next_url_ = 0;
  LeafUrl url_;
  // From the configured URL that was dialled last, for those discovered, which bring none.
  LeafUrl identity_;
  LeafLink* link_ = nullptr;
  std::unique_ptr<io::Connector> connector_;
  std::unique_ptr<io::TlsTransport> tls_stream_;  // before a WebSocket's handshake
  std::unique_ptr<http::WebSocketHandshake> websocket_;
  io::Timer tls_timer_;
  io::Timer timer_;
  Duration delay_{};
  int64_t attempts_ = 0;  // since the last open link
};

}  // namespace brokkr::broker
