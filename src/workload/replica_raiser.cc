#include "workload/replica_raiser.h"

#include <algorithm>
#include <utility>

namespace brokkr::workload {

ReplicaRaiser::ReplicaRaiser(io::Loop& loop, Log& log, client::JetStream js)
    : log_(log), js_(std::move(js)), timer_(loop, [this] {
        for (const std::string& stream : std::exchange(waiting_, {})) look(stream);
      }) {}

ReplicaRaiser::~ReplicaRaiser() { *alive_ = false; }

void ReplicaRaiser::add(const std::string& stream) {
  std::erase(waiting_, stream);
  look(stream);
}

void ReplicaRaiser::look(const std::string& stream) {
  js_.stream_info(stream, [this, stream, alive = alive_](client::ApiResult<client::StreamInfo> info) {
    if (!*alive) return;
    if (!info) {
      if (info.error().err_code != client::kStreamNotFoundError) look_later(stream);
      return;
    }
    // A server by itself has no cluster's name.
    const bool is_clustered = info->cluster && !info->cluster->name.empty();
    if (!is_clustered || info->config.num_replicas >= kBucketReplicasWanted) return;
    raise(info->config, kBucketReplicasWanted);
  });
}

void ReplicaRaiser::raise(client::StreamConfig config, int64_t replicas) {
  const int64_t had = config.num_replicas;
  client::StreamConfig wanted = config;
  wanted.num_replicas = replicas;
  js_.update_stream(wanted, [this, config = std::move(config), had, replicas,
                             alive = alive_](client::ApiResult<client::StreamInfo> updated) {
    if (!*alive) return;
    if (updated) {
      log_.info("workload: stream " + config.name + " has " + std::to_string(replicas) + " replicas now, it had " +
                std::to_string(had));
      if (replicas == kBucketReplicasWanted) return;
    } else if (updated.error().err_code != 0 && replicas - 1 > had) {
      return raise(config, replicas - 1);  // fewer servers than that
    }
    look_later(config.name);
  });
}

void ReplicaRaiser::look_later(const std::string& stream) {
  if (std::find(waiting_.begin(), waiting_.end(), stream) == waiting_.end()) waiting_.push_back(stream);
  if (!timer_.is_armed()) timer_.start(kLookAgainEvery);
}

}  // namespace brokkr::workload
