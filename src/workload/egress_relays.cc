#include "workload/egress_relays.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace brokkr::workload {
namespace {

constexpr auto kConnectTimeout = std::chrono::seconds(10);
constexpr size_t kRelaysMax = 1024;
constexpr size_t kOpeningsMax = 256;
constexpr size_t kAddressesMax = 16;

NetAddress address_of(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    return {std::string(reinterpret_cast<const char*>(&in->sin_addr), sizeof in->sin_addr)};
  }
  const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
  return {std::string(reinterpret_cast<const char*>(&in->sin6_addr), sizeof in->sin6_addr)};
}

}  // namespace

std::string to_text(const EgressTarget& target) {
  const bool has_colons = target.host.find(':') != std::string::npos;
  return (has_colons ? "[" + target.host + "]" : target.host) + ":" + std::to_string(target.port);
}

NetAddress inner_address_of(int fd) {
  sockaddr_storage inner{};
  socklen_t size = sizeof inner;
  auto* const generic = reinterpret_cast<sockaddr*>(&inner);
  const bool is_known = getsockname(fd, generic, &size) == 0 &&
                        (generic->sa_family == AF_INET || generic->sa_family == AF_INET6);
  return is_known ? address_of(generic) : NetAddress{};
}

Result<std::vector<NetAddress>> resolve_host(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) return Error{Errc::NotFound, "look up " + host + ": " + gai_strerror(error)};
  std::vector<NetAddress> addresses;
  for (const addrinfo* item = found; item != nullptr; item = item->ai_next) {
    if (item->ai_family != AF_INET && item->ai_family != AF_INET6) continue;
    NetAddress address = address_of(item->ai_addr);
    const bool is_known = std::any_of(addresses.begin(), addresses.end(), [&](const auto& known) {
      return known.bytes == address.bytes;
    });
    if (!is_known && addresses.size() < kAddressesMax) addresses.push_back(std::move(address));
  }
  freeaddrinfo(found);
  return addresses;
}

EgressRelays::EgressRelays(Deps deps, EgressPolicy policy,
                           Callback<void(const std::string&)> on_trouble)
    : deps_(std::move(deps)), policy_(std::move(policy)), on_trouble_(std::move(on_trouble)),
      bury_(deps_.loop, [this] { done_.clear(); }), relays_(deps_.loop, kRelaysMax),
      self_(std::make_shared<EgressRelays*>(this)) {}

EgressRelays::~EgressRelays() { *self_ = nullptr; }

void EgressRelays::clear() {
  openings_.clear();
  relays_.clear();
}

void EgressRelays::accept(const EgressTarget& target, int fd) {
  auto inner = io::adopt_socket(deps_.loop, fd);
  if (!inner) return on_trouble_("egress to " + to_text(target) + ": " + inner.error().text);
  ++counters_.connections;
  const uint64_t number = next_++;
  auto opening = std::make_unique<Opening>();
  opening->target = target;
  opening->inner = std::move(*inner);
  openings_[number] = std::move(opening);
  if (openings_.size() > kOpeningsMax || relays_.is_full()) {
    ++counters_.failed;
    return give_up(number, "too many connections are open");
  }
  if (!policy_.may_resolve(target.host, target.port)) {
    ++counters_.refused;
    return give_up(number, "it is not declared");
  }
  auto found = std::make_shared<Result<std::vector<NetAddress>>>(Error{Errc::NotFound, ""});
  const bool is_queued = deps_.resolver.run(
      deps_.loop, [found, host = target.host] { *found = resolve_host(host); },
      [found, self = self_, number] {
        if (*self != nullptr) (*self)->on_resolved(number, *found);
      });
  if (is_queued) return;
  ++counters_.failed;
  give_up(number, "too many names are being looked up");
}

void EgressRelays::on_resolved(uint64_t number, const Result<std::vector<NetAddress>>& found) {
  const auto at = openings_.find(number);
  if (at == openings_.end()) return;
  if (!found) {
    ++counters_.failed;
    return give_up(number, found.error().text);
  }
  Opening& opening = *at->second;
  std::string refused;
  const char* why = " is not allowed";
  for (const NetAddress& address : *found) {
    if (deps_.is_server && deps_.is_server(address, opening.target.port)) {
      refused += (refused.empty() ? "" : ", ") + address.text();
      why = " is a server of the node's, which NATS_URL leads to";
    } else if (policy_.may_connect(opening.target.host, address, opening.target.port)) {
      opening.addresses.push_back(address);
    } else {
      refused += (refused.empty() ? "" : ", ") + address.text();
    }
  }
  if (!opening.addresses.empty()) return connect_next(number);
  ++counters_.refused;
  give_up(number, refused.empty() ? "it has no address" : "its address " + refused + why);
}

void EgressRelays::connect_next(uint64_t number) {
  Opening& opening = *openings_.at(number);
  if (opening.next == opening.addresses.size()) {
    ++counters_.failed;
    return give_up(number, opening.last_error);
  }
  const NetAddress& address = opening.addresses[opening.next++];
  opening.connector = io::Connector::start(
      deps_.loop, deps_.resolver, {address.text(), opening.target.port, {}}, kConnectTimeout,
      [this, number](Result<std::unique_ptr<io::Transport>> outer) {
        const auto at = openings_.find(number);
        if (at == openings_.end()) return;
        if (outer) {
          relays_.add(std::move(at->second->inner), std::move(*outer));
          done_.push_back(std::move(at->second));
          openings_.erase(at);
          return bury_.start(Duration::zero());
        }
        // The connector may not go while it calls back.
        at->second->last_error = outer.error().text;
        auto spent = std::make_unique<Opening>();
        spent->connector = std::move(at->second->connector);
        done_.push_back(std::move(spent));
        bury_.start(Duration::zero());
        connect_next(number);
      });
}

void EgressRelays::give_up(uint64_t number, const std::string& why) {
  const auto at = openings_.find(number);
  const std::string line = "egress to " + to_text(at->second->target) + " failed: " + why;
  done_.push_back(std::move(at->second));
  openings_.erase(at);
  bury_.start(Duration::zero());
  on_trouble_(line);
}

}  // namespace brokkr::workload
