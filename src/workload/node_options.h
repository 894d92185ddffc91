#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "client/options.h"
#include "sandbox/layers.h"
#include "workload/host_services/options.h"
#include "workload/http_routes.h"
#include "workload/run_request.h"
#include "workload/tracer.h"

namespace brokkr::workload {

struct NodeOptions {
  std::string name = "brokkr";
  std::string nexus = "nexus";
  std::string version = "0.1.0";
  Pairs tags;
  std::string data_folder;  // <data_folder>/artifacts, and in <data_folder>/node who the node is
  uint64_t artifact_cache_bytes_max = 1ULL << 30;
  // What is executed as zygote: itself, whose main() calls zygote_main first.
  std::string executable = "/proc/self/exe";
  std::string engine_path;  // empty: find_engine_plugin()
  bool is_warm = true;
  sandbox::Policy sandbox = sandbox::Policy::BestEffort;
  RunLimits limits = {.wall_time_ms = 5000,
                      .heap_bytes = 64U << 20,
                      .reply_bytes = 1U << 20,
                      .in_flight = 64,
                      .queue = 1024,
                      .max_instances = 1,
                      .log_lines_per_second = 1000};
  uint32_t workloads_max = 10'000;
  bool allows_unconfined = false;  // programs may ask to go without a sandbox
  Words node_files;  // folders whose files deployments may name, as far as their namespace may
  // What placement may give away; 0 means what the machine has.
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;
  HostServiceOptions host_services;
  Words issuers;              // account keys one of which must have signed a deploy; empty: none
  bool answers_v1 = true;     // the requests of Nex 0.2.7 too, and its feeds
  Duration metrics_interval = std::chrono::seconds(10);  // of the metrics feed; zero: there is none
  Duration stop_grace = std::chrono::seconds(6);  // for running calls when the node stops
  client::Options connection;
  // Where spans go, see tracer_options; empty: nowhere.
  Tracer::Options traces;
  // Where HTTP triggers put their paths; null: nobody listens. Outlives the node.
  HttpRoutes* http_routes = nullptr;
};

}  // namespace brokkr::workload
