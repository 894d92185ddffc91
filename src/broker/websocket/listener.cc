#include <utility>

#include "broker/server.h"
#include "broker/websocket/door.h"
#include "broker/websocket/rules.h"

namespace brokkr::broker {

Status Server::listen_websocket(const io::Address& address) {
  const std::shared_ptr<const WebSocketRules> rules = snapshot()->settings->websocket;
  if (rules == nullptr) return Error{Errc::InvalidArgument, "there are no rules for websockets"};
  auto listener =
      io::Listener::open(main_loop_, address, [this](int fd) { on_accept_websocket(fd); });
  if (!listener) {
    return Error{listener.error().code,
                 "Unable to listen for websocket connections: " + listener.error().text};
  }
  io::Address bound = (*listener)->address();
  listeners_.push_back(std::move(*listener));
  Snapshot next = *snapshot();
  next.websocket_addresses.push_back(bound);
  swap_snapshot(std::move(next));
  if (bound.host.empty()) bound.host = "0.0.0.0";
  const bool is_tls = rules->upgrade->is_tls;
  log_.info("Listening for websocket clients on " + std::string(is_tls ? "wss://" : "ws://") +
            bound.text());
  if (!is_tls) log_.warn("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
  return {};
}

void Server::on_accept_websocket(int fd) {
  // A stream inside TLS cannot change its loop, and a leaf has to be on the main one.
  const std::shared_ptr<const WebSocketRules> rules = snapshot()->settings->websocket;
  const bool may_move = !has_leaf_acceptor() || rules == nullptr || !rules->upgrade->is_tls;
  const size_t target = may_move ? next_shard_++ % shards_.size() : 0;
  if (target == 0) return shards_[0]->websocket_door().admit(fd);
  loops_[target]->post([shard = shards_[target].get(), fd] { shard->websocket_door().admit(fd); });
}

void Server::set_leaf_acceptor(LeafAcceptor acceptor) {
  has_leaf_acceptor_.store(static_cast<bool>(acceptor), std::memory_order_relaxed);
  leaf_acceptor_ = std::move(acceptor);
}

void Server::accept_leaf(std::unique_ptr<io::Transport> stream, Origin origin) {
  if (leaf_acceptor_) leaf_acceptor_(std::move(stream), std::move(origin));
}

}  // namespace brokkr::broker
