#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/transport.h"
#include "io/worker.h"

namespace brokkr::io {

// Where to listen or connect: a host and port, or a unix socket's path.
struct Address {
  std::string host;  // name or number; empty means every interface when listening
  uint16_t port = 0;
  std::string path;  // not empty: a unix socket
  std::string text() const;
};

// "host:port", "[::1]:4222", ":4222", "unix:/path".
Result<Address> parse_address(std::string_view text, uint16_t default_port);

// Accepts connections for as long as it lives. Loop-confined.
class Listener {
 public:
  // `on_accept` receives each connected, non-blocking, close-on-exec descriptor and owns it.
  // Fails with System, naming the address, when it cannot be bound.
  static Result<std::unique_ptr<Listener>> open(Loop&, const Address&,
                                                Callback<void(int fd)> on_accept);
  virtual ~Listener() = default;
  // The address with the port the kernel chose.
  virtual const Address& address() const = 0;
  // Stops accepting; the backlog waits.
  virtual void pause() = 0;
  virtual void resume() = 0;
};

// A connection being made: resolves the name on `resolver`'s thread, then tries each address in
// turn. Destroying it gives up silently. Loop-confined.
class Connector {
 public:
  using Done = Callback<void(Result<std::unique_ptr<Transport>>)>;
  // `done` is called once, later, never from within `start`.
  static std::unique_ptr<Connector> start(Loop&, Worker& resolver, Address, Duration timeout, Done);
  virtual ~Connector() = default;
};

// The number of descriptors this process may have, raised to the hard limit first.
uint64_t raise_descriptor_limit();

}  // namespace brokkr::io
