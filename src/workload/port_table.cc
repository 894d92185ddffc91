#include "workload/port_table.h"

#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace brokkr::workload {

PortTable::~PortTable() { CHECK(entries_.empty()); }

Result<std::unique_ptr<PortTable::Lease>> PortTable::take(const std::string& owner,
                                                          const PublishedPort& port,
                                                          Callback<void(int fd)> on_connection) {
  io::Address address{port.host, port.host_port, {}};
  PublishedPort chosen = port;
  std::string key = address.text();
  auto found = port.host_port == 0 ? entries_.end() : entries_.find(key);
  if (found != entries_.end() && found->second.owner != owner) {
    return Error{Errc::AlreadyExists, "port " + key + " is published by " + found->second.owner};
  }
  if (found == entries_.end()) {
    // The key is known only once the kernel has chosen; nothing is accepted before the next turn.
    auto shared_key = std::make_shared<std::string>();
    auto listener = io::Listener::open(
        loop_, address, [this, shared_key](int fd) { on_accept(*shared_key, fd); });
    if (!listener) {
      return Error{listener.error().code, "port " + key + " cannot be published: " +
                                              listener.error().text};
    }
    chosen.host_port = address.port = (*listener)->address().port;
    *shared_key = key = address.text();
    found = entries_.emplace(key, Entry{owner, std::move(*listener), {}, 0}).first;
  }
  std::unique_ptr<Lease> lease(new Lease(*this, key, chosen, std::move(on_connection)));
  found->second.leases.push_back(lease.get());
  return lease;
}

void PortTable::on_accept(const std::string& key, int fd) {
  Entry& entry = entries_.at(key);
  for (size_t i = 0; i < entry.leases.size(); ++i) {
    const Lease* lease = entry.leases[entry.turn++ % entry.leases.size()];
    if (lease->is_live_) return lease->on_connection_(fd);
  }
  // Nobody is there at the moment: the same answer as that of a port without a listener.
  close(fd);
}

void PortTable::give_back(Lease& lease) {
  const auto found = entries_.find(lease.key_);
  std::vector<Lease*>& leases = found->second.leases;
  leases.erase(std::find(leases.begin(), leases.end(), &lease));
  if (leases.empty()) entries_.erase(found);
}

}  // namespace brokkr::workload
