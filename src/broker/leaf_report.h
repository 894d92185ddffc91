#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "broker/traffic.h"

// What the leaf nodes, which live on the main loop, tell the monitoring pages.
namespace brokkr::broker {

struct LeafReport {
  uint64_t id = 0;
  std::string name;
  bool is_spoke = false;  // this server connected to the other
  bool is_isolated = false;
  std::string account;
  std::string ip;
  uint16_t port = 0;
  Duration round_trip{};
  Traffic traffic;
  uint64_t subscription_count = 0;
  std::vector<std::string> subscriptions;  // only when asked for
  std::string compression;
  bool is_websocket = false;
};

// Called on the main loop.
class LeafReporter {
 public:
  virtual ~LeafReporter() = default;
  virtual std::vector<LeafReport> leafs(bool with_subscriptions) = 0;
  // Ends the connection of that id; false when there is none.
  virtual bool kick(uint64_t id) = 0;
};

}  // namespace brokkr::broker
