#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "sandbox/image.h"
#include "sandbox/program.h"
#include "workload/egress.h"
#include "workload/egress_relays.h"
#include "workload/health_monitor.h"
#include "workload/restart_backoff.h"
#include "workload/run_request.h"
#include "workload/workload.h"

namespace brokkr::workload {

// A volume's place inside, of "/path" or "/path:ro".
struct VolumePlace {
  std::string path;
  bool is_writable = true;
};
VolumePlace parse_volume_place(std::string_view text);

// Where programs find the broker in their sandbox.
constexpr const char* kGateAddress = "192.168.127.1";
constexpr uint16_t kGatePort = 4222;

// What is to be executed: a file, or what an image holds.
struct ProgramSource {
  std::string file;  // empty: the image
  sandbox::UnpackedImage image;
  bool is_awaited = false;  // an image that is not here yet: the plan is without its command
};

// What a program gets that declares nothing; `max` of 0 means no bound.
struct ProgramDefaults {
  Resources resources = {.memory_bytes = 512U << 20,
                         .cpu_millis = 0,
                         .pids = 512,
                         .io_bytes_per_second = 0,
                         .disk_bytes = 64U << 20};
  uint32_t log_lines_per_second = 1000;
  Duration stop_grace = std::chrono::seconds(10);
  sandbox::Policy policy = sandbox::Policy::BestEffort;
  std::string data_folder;
  bool has_ipv6 = true;
};

// A program with every default filled in, before it is started. A value.
struct ProgramPlan {
  sandbox::ProgramSpec spec;  // without its environment
  Pairs environment;          // of the machine and the image
  Pairs declared;             // by the request: these win
  // Of spec.listeners from the second on; the first is the broker. Without a host: any that was declared.
  std::vector<EgressTarget> egress;
  std::vector<std::string> egress_ranges;  // the declared patterns and networks
  size_t names_listener = 0;  // of spec.listeners, at which names are asked for; 0: none
  EgressPolicy policy;
  std::vector<PublishedPort> ports;
  RestartBackoff::Options restart;
  HealthCheck health;
  Isolation isolation = Isolation::Sandbox;
  Duration stop_grace{};
  uint32_t log_lines_per_second = 0;
  std::string file_name;
  std::shared_ptr<void> held;  // keeps the image's files
};

// Checks a request as far as it can be without its artifact. Fails with InvalidArgument, LimitExceeded
// or Unsupported, naming what is wrong. Pure.
Status check_program(const RunRequest& run, std::string_view lifecycle);

// Whether it names IPv6 addresses or networks, which not every machine has.
bool needs_ipv6(const EgressPolicy& policy);

// Fails as check_program does. Pure.
Result<ProgramPlan> plan_program(const WorkloadIdentity& identity, const RunRequest& run,
                                 const ProgramSource& source, const ProgramDefaults& defaults);

// Later lists win; the order of first mention stays.
std::vector<std::string> merge_environment(std::initializer_list<const Pairs*> lists);

}  // namespace brokkr::workload
