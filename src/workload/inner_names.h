#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/loop.h"
#include "sandbox/program_sockets.h"
#include "workload/egress.h"

namespace brokkr::workload {

// The name server of a program that may connect to more than it could name: patterns and networks. Each
// name it may ask for gets an address of its own out of 198.18.0.0/16, which leads to the node; who
// connects there is taken to the name, so that the real look-up and the decision are the node's, for each
// connection. It knows the last kNamesMax names. Loop-confined.
class InnerNames {
 public:
  static constexpr size_t kNamesMax = 4096;
  static constexpr const char* kNetwork = "198.18.0.0/16";

  // `may_resolve` gets names in lower case; `hosts` are those that have an IPv4 address inside.
  InnerNames(io::Loop& loop, std::function<bool(std::string_view)> may_resolve,
             std::map<std::string, std::string> hosts);
  ~InnerNames();
  InnerNames(const InnerNames&) = delete;
  InnerNames& operator=(const InnerNames&) = delete;

  // Answers what comes to this UDP socket, which is ours from here on and replaces the one before.
  void attach(int fd);
  // The name whose address that is.
  std::optional<std::string> find(const NetAddress& address) const;
  // The reply to a query; empty when it gets none.
  std::string answer(std::string_view query);

 private:
  void on_readable();
  std::optional<NetAddress> address_of(const std::string& name);

  io::Loop& loop_;
  const std::function<bool(std::string_view)> may_resolve_;
  const std::map<std::string, std::string> hosts_;
  std::unique_ptr<sandbox::WatchedSocket> socket_;
  std::map<std::string, uint32_t> numbers_;  // by name
  std::map<uint32_t, std::string> names_;
  uint32_t next_ = 0;
};

}  // namespace brokkr::workload
