#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "client/connection.h"
#include "io/loop.h"
#include "io/worker.h"
#include "sandbox/cgroup.h"
#include "sandbox/launchers.h"
#include "workload/desired.h"
#include "workload/image_source.h"
#include "workload/node_options.h"
#include "workload/port_table.h"
#include "workload/program_plan.h"
#include "workload/program_workload.h"
#include "workload/run_request.h"
#include "workload/workload.h"

namespace brokkr::workload {

// Makes services and jobs: native programs, images and virtual machines. Owns what they share on a
// node: its published ports and what their sandboxes are launched from. Loop-confined; outlives what it makes.
class ProgramFactory {
 public:
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    Random& random;
    Log& log;
    client::Connection& connection;
    sandbox::CgroupTree& cgroups;
    const NodeOptions& options;
    const Namespaces& namespaces;  // all there are at the moment
    NexV1Feed* v1_feed = nullptr;
  };
  // Removes what programs of an earlier node in this data folder have left.
  explicit ProgramFactory(const Deps&);
  ~ProgramFactory();

  static bool is_program_type(std::string_view type);
  // Whether this node could run it; its artifact is looked at by `make`. Fails as check_program does, and
  // with PermissionDenied when it asks to go without a sandbox and the node does not allow that.
  Status check(const RunRequest& run, std::string_view lifecycle) const;

  // What microVMs need, and whether this node has it.
  std::vector<NodeCheck> microvm_checks() const;

  struct Order {
    WorkloadIdentity identity;
    RunRequest run;
    std::string artifact_file;  // of a program; empty: `run.uri` is an image
  };
  // As WorkloadFactory::make. `namespaces` are all there are.
  Result<std::unique_ptr<Workload>> make(Order order, const Namespaces& namespaces,
                                         WorkloadEvents events, client::DoneHandler on_live);

 private:
  ProgramDefaults defaults() const;
  Result<ProgramPlan> plan_executable(const Order& order, std::shared_ptr<void>& kept) const;
  // Looks the image up while the workload is starting.
  ProgramWorkload::Prepare image_of(const Order& order);
  Status make_volumes(const WorkloadIdentity& identity, const RunRequest& run) const;

  const Deps deps_;
  PortTable ports_;
  sandbox::Launchers launchers_;
  std::unique_ptr<ImageSource> images_;
};

}  // namespace brokkr::workload
