#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace brokkr::workload {

// An address as the resolver gave it: 4 or 16 bytes in network order.
struct NetAddress {
  std::string bytes;
  static Result<NetAddress> parse(std::string_view text);
  std::string text() const;
};

// Where a workload may connect to beyond the broker. Without entries: any public address, for HTTP of
// functions; nothing, for programs. With entries: only what they name. Private (RFC 1918, 4193),
// loopback, link-local, metadata (169.254.169.254, fd00:ec2::254), multicast and reserved addresses,
// also when mapped into IPv6, need an entry that names the address, its network or the host. Decided
// after name resolution, for each address tried. Immutable. Pure.
class EgressPolicy {
 public:
  struct Entry {
    std::string host;      // lower case; "*.example.com" means any name below; empty when a network
    NetAddress network;
    int prefix = -1;       // bits of the network
    uint16_t port = 0;     // 0: any
  };
  // Fails with InvalidArgument, naming the entry.
  static Result<EgressPolicy> parse(const std::vector<std::string>& entries,
                                    bool is_public_allowed = true);
  bool has_entries() const { return !entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }
  // May this host name be looked up at all?
  bool may_resolve(std::string_view host, uint16_t port) const;
  // `host` is the name that was asked for, or the address's text.
  bool may_connect(std::string_view host, const NetAddress& address, uint16_t port) const;
  // Does an entry name this address, its network, or exactly this host?
  bool is_named(std::string_view host, const NetAddress& address, uint16_t port) const;
  // What both allow.
  EgressPolicy bounded_by(const EgressPolicy& bound) const;
  // Is everything that the entry stands for named by one of ours? The bound does not count.
  bool covers(const Entry& entry) const;

 private:
  std::vector<Entry> entries_;
  bool is_public_allowed_ = true;
  std::shared_ptr<const EgressPolicy> bound_;
};

// Whether an address is on the public internet.
bool is_public_address(const NetAddress&);

}  // namespace brokkr::workload
