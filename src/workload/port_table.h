#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/socket.h"
#include "workload/run_request.h"

namespace brokkr::workload {

// The ports of this machine that workloads have published. Replicas of one workload on one node share a
// port, and so does a new version with the one it replaces: each connection goes to one of those that
// are live, in turn. Loop-confined; outlives its leases.
class PortTable {
 public:
  class Lease;
  explicit PortTable(io::Loop& loop) : loop_(loop) {}
  ~PortTable();
  PortTable(const PortTable&) = delete;
  PortTable& operator=(const PortTable&) = delete;

  // `owner` is who may share it: namespace and name of a workload. `on_connection` gets descriptors and
  // owns them. Fails with AlreadyExists when another workload has it, or System (in use, not allowed).
  Result<std::unique_ptr<Lease>> take(const std::string& owner, const PublishedPort& port,
                                      Callback<void(int fd)> on_connection);

 private:
  struct Entry {
    std::string owner;
    std::unique_ptr<io::Listener> listener;
    std::vector<Lease*> leases;
    size_t turn = 0;
  };
  void on_accept(const std::string& key, int fd);
  void give_back(Lease& lease);

  io::Loop& loop_;
  std::map<std::string, Entry> entries_;  // by "host:port"
};

// Gives the port back when destroyed. Loop-confined.
class PortTable::Lease {
 public:
  ~Lease() { table_.give_back(*this); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  // Connections come only while it is live.
  void set_live(bool is_live) { is_live_ = is_live; }
  // With the number the kernel chose when any free one was wanted.
  const PublishedPort& port() const { return port_; }

 private:
  friend class PortTable;
  Lease(PortTable& table, std::string key, const PublishedPort& port, Callback<void(int)> handler)
      : table_(table), key_(std::move(key)), port_(port), on_connection_(std::move(handler)) {}
  PortTable& table_;
  const std::string key_;
  const PublishedPort port_;
  Callback<void(int fd)> on_connection_;
  bool is_live_ = false;
};

}  // namespace brokkr::workload
