#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "broker/monitor.h"
#include "broker/settings.h"
#include "config/flags.h"
#include "config/options.h"
#include "workload/host_services/options.h"

namespace brokkr::app {

// What `brokkr up` and `brokkr serve` take beside nats-server's own flags.
struct OwnFlags {
  std::string data_dir;
  int loops = 0;                 // 0: from the configuration, or by the number of CPUs
  std::string sandbox;           // required, best-effort or off; empty: from the configuration
  std::string node_name;
  std::vector<std::string> tags;  // key=value
  std::vector<std::string> issuers;  // account keys that sign deploys
  std::string http_triggers;      // "[host:]port" of functions with HTTP triggers; empty: none
  std::string otlp_endpoint;      // where spans go; empty: what the environment says
  // Folders whose files deployments may name; not said: all of an embedded node, none of another.
  std::optional<std::vector<std::string>> node_files;
  bool cold_start = false;        // fork before the engine has started instead of after
  workload::HostServiceOptions host_services;
};

// Takes our own flags out of `args`; what is left is nats-server's. Fails with Syntax, naming the
// flag, when a value is missing or wrong.
Result<OwnFlags> take_own_flags(std::vector<std::string>& args);
std::string own_flags_text();

// The part of the options connections look at, with the certificates they name. Fails with
// InvalidArgument when one of those cannot be used.
Result<broker::Settings> make_settings(const config::Options& options);
// Of the monitoring port, which there is when `http_port` or `https_port` is set. Fails with System
// when the certificate cannot be read.
Result<broker::Monitor::Options> make_monitor_options(const config::Options& options);
// One loop up to four CPUs, then one per four.
uint32_t choose_loops(const config::Options& options, int asked);

}  // namespace brokkr::app
