#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "broker/origin.h"
#include "http/websocket.h"
#include "io/transport.h"

namespace brokkr::protocol {
struct ServerInfo;
}

namespace brokkr::broker {

class Connection;
class Server;
class Shard;
struct WebSocketRules;

// Streams of one loop on their way to become WebSocket connections: until their handshake is over
// they are no clients and no leaves, and only so many may be at it. Loop-confined; part of its Shard.
class WebSocketDoor {
 public:
  // Beyond this many the one that has been at it longest makes room.
  static constexpr size_t kEnteringMax = 1024;

  explicit WebSocketDoor(Shard& shard);
  ~WebSocketDoor();
  WebSocketDoor(const WebSocketDoor&) = delete;
  WebSocketDoor& operator=(const WebSocketDoor&) = delete;

  // Takes a connected socket. When its handshake is done the shard or the leaf acceptor adopts it.
  void admit(int fd);
  // Gives up those that are not through yet.
  void close();

 private:
  struct Entering;
  void begin_handshake(uint64_t id);
  void on_handshake(uint64_t id, const Status& done);
  void begin_upgrade(uint64_t id);
  void on_upgraded(uint64_t id, Result<http::AcceptedWebSocket> accepted);
  void enter(http::AcceptedWebSocket accepted, const Entering& entering);
  void enter_as_leaf(std::unique_ptr<io::Transport> stream, http::WebSocketSettings settings,
                     Origin origin);

  Shard& shard_;
  const std::shared_ptr<http::WebSocketPool> pool_;
  std::map<uint64_t, std::unique_ptr<Entering>> entering_;  // in order of arrival
  uint64_t next_id_ = 0;
};

// What INFO tells a client that came in by WebSocket of where it is.
void describe_websocket(const Server& server, protocol::ServerInfo& info);
// Chooses what the close frame of a connection that ends will say.
void set_close_frame(const Connection& connection, io::Transport& transport);
// The rule of WebSocket the other side has broken, or empty.
const std::string& websocket_error(const Connection& connection, const io::Transport& transport);

}  // namespace brokkr::broker
