#pragma once

#include <memory>

#include "app/server_options.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "broker/server.h"
#include "config/options.h"
#include "io/loop.h"
#include "io/worker.h"
#include "workload/node.h"

namespace brokkr::app {

// What a node is told by flags and configuration; the connection is the caller's.
Result<workload::NodeOptions> make_node_options(const OwnFlags& flags,
                                                const config::Options& options);

// The workload node of `brokkr up`: a NATS client of the server it shares its main loop with, over a
// pipe inside the process. Loop-confined.
class EmbeddedNode {
 public:
  // `on_ready` is called once, later. Everything referred to outlives the node.
  static Result<std::unique_ptr<EmbeddedNode>> start(io::Loop& loop, Log& log,
                                                     broker::Server& server,
                                                     workload::NodeOptions options,
                                                     client::DoneHandler on_ready);
  // Lets running calls end, then calls back.
  void stop(Callback<void()> on_stopped) { node_->stop(std::move(on_stopped)); }
  const workload::Node& node() const { return *node_; }

 private:
  EmbeddedNode() = default;
  io::Worker resolver_{"resolver"};
  SeededRandom random_{secure_seed()};
  std::unique_ptr<workload::Node> node_;
};

}  // namespace brokkr::app
