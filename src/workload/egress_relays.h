#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/worker.h"
#include "workload/egress.h"
#include "workload/relay.h"

namespace brokkr::workload {

// One place outside a program may connect to.
struct EgressTarget {
  std::string host;  // a name or an address
  uint16_t port = 0;
};

// "host:port", the host in brackets where it has colons.
std::string to_text(const EgressTarget& target);

// The address at which a connection was taken; without bytes when it has none.
NetAddress inner_address_of(int fd);

// The addresses of a host, each once. Blocks on the resolver: for a worker thread.
Result<std::vector<NetAddress>> resolve_host(const std::string& host);

// Takes a program's connections to the outside further: looks the name up, asks the policy for each
// address, connects, and carries the bytes. What is refused or fails is closed and told. Loop-confined.
class EgressRelays final {
 public:
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    // Whether the messages' own servers are there: whoever went to them directly would have the rights
    // of a stranger instead of its own.
    Callback<bool(const NetAddress&, uint16_t port)> is_server;
  };
  struct Counters {
    uint64_t connections = 0;
    uint64_t refused = 0;  // by policy
    uint64_t failed = 0;
  };
  // `on_trouble` gets one line for people.
  EgressRelays(Deps deps, EgressPolicy policy, Callback<void(const std::string&)> on_trouble);
  ~EgressRelays();
  EgressRelays(const EgressRelays&) = delete;
  EgressRelays& operator=(const EgressRelays&) = delete;

  // The program has connected; the descriptor is ours from here on.
  void accept(const EgressTarget& target, int fd);
  // For connections from here on.
  void set_policy(EgressPolicy policy) { policy_ = std::move(policy); }
  // Closes all.
  void clear();
  const EgressPolicy& policy() const { return policy_; }
  const Counters& counters() const { return counters_; }

 private:
  struct Opening {
    EgressTarget target;
    std::unique_ptr<io::Transport> inner;
    std::vector<NetAddress> addresses;
    size_t next = 0;
    std::string last_error;
    std::unique_ptr<io::Connector> connector;
  };
  void on_resolved(uint64_t number, const Result<std::vector<NetAddress>>& found);
  void connect_next(uint64_t number);
  void give_up(uint64_t number, const std::string& why);

  const Deps deps_;
  EgressPolicy policy_;
  Callback<void(const std::string&)> on_trouble_;
  Counters counters_;
  uint64_t next_ = 1;
  std::unordered_map<uint64_t, std::unique_ptr<Opening>> openings_;
  // Connectors that have called back, until their turn is over.
  std::vector<std::unique_ptr<Opening>> done_;
  io::Timer bury_;
  RelaySet relays_;
  std::shared_ptr<EgressRelays*> self_;
};

}  // namespace brokkr::workload
