#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "client/options.h"
#include "io/loop.h"
#include "io/worker.h"
#include "workload/access.h"

namespace brokkr::workload {

// A program's way to the broker. It speaks the server's side of the NATS client protocol to the program
// and is a NATS client of the real server, one connection there per connection here, with the node's
// identity. Every publish and subscribe is checked against the workload's Access; what is refused gets
// nats-server's words ("-ERR 'Permissions Violation for Publish to "x"'"), and replies to requests the
// program was given are let through. So least privilege needs nothing of the server's configuration
// and holds on Brokkr and on nats-server alike. A lost server connection is repaired behind the
// program's back. Loop-confined.
class Gate {
 public:
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    Random& random;
    Log& log;
  };
  // How programs prove themselves where the channel does not: Channel trusts whoever connects (only the
  // workload can: its own network namespace); Token demands `token` (a program without sandbox);
  // Nkey is asked for with a nonce, and checked when a program answers it.
  struct Options {
    client::Options upstream;      // the node's own way to the server
    std::shared_ptr<const Access> access;
    std::string token;             // empty: the channel is proof enough
    std::string user_nkey;         // public key; a signature of another key is refused
    uint32_t connections_max = 64;
    size_t pending_bytes_max = 16U << 20;  // towards the program; more closes it as a slow consumer
  };
  struct Counters {
    uint64_t connections = 0;
    uint64_t in_msgs = 0;   // from the program
    uint64_t out_msgs = 0;
    uint64_t in_bytes = 0;
    uint64_t out_bytes = 0;
    uint64_t violations = 0;
  };

  static std::unique_ptr<Gate> make(const Deps&, Options);
  virtual ~Gate() = default;  // closes every connection
  // Takes over a connected stream socket.
  virtual void accept(int fd) = 0;
  // Namespaces changed; open subscriptions that are no longer allowed end with an error.
  virtual void set_access(std::shared_ptr<const Access>) = 0;
  virtual Counters counters() const = 0;
  // Gives the program a request as if it had come from the server, and calls `answered` when the program
  // replies: nobody else hears of it or can answer. Ends an earlier question. NotFound when no
  // subscription of the program takes it.
  virtual Status ask(std::string_view subject, Callback<void()> answered) = 0;
};

}  // namespace brokkr::workload
