#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "client/jetstream.h"
#include "io/loop.h"

namespace brokkr::workload {

// How many servers of a cluster are to hold each bucket of the control plane.
inline constexpr int64_t kBucketReplicasWanted = 3;

// Gives streams the replicas they could not have when they were made, as while a cluster forms or grows:
// looks at once and then every `kLookAgainEvery` at those that have fewer than wanted. On a server by
// itself it looks once. What it cannot do is tried again and costs nothing else. Several nodes may do the
// same at the same time. Loop-confined; may be destroyed at any time.
class ReplicaRaiser {
 public:
  static constexpr Duration kLookAgainEvery = std::chrono::seconds(30);

  ReplicaRaiser(io::Loop&, Log&, client::JetStream);
  ~ReplicaRaiser();
  ReplicaRaiser(const ReplicaRaiser&) = delete;
  ReplicaRaiser& operator=(const ReplicaRaiser&) = delete;

  // Looks after the stream from now on; a name that is known already is looked at anew.
  void add(const std::string& stream);

 private:
  void look(const std::string& stream);
  void raise(client::StreamConfig config, int64_t replicas);
  void look_later(const std::string& stream);

  Log& log_;
  client::JetStream js_;
  std::vector<std::string> waiting_;  // for the timer
  io::Timer timer_;
  // Tells answers that come late that this has gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
