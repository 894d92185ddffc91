#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "client/connection.h"
#include "io/loop.h"
#include "io/worker.h"
#include "sandbox/cgroup.h"
#include "workload/artifact_cache.h"
#include "workload/control.h"
#include "workload/host_services/services.h"
#include "workload/instance.h"
#include "workload/nex_v1_feed.h"
#include "workload/node_options.h"
#include "workload/program_factory.h"
#include "workload/run_request.h"
#include "workload/spare_instance.h"
#include "workload/workload.h"
#include "workload/zygote.h"

namespace brokkr::workload {

// What a deployment comes to once it was checked and its artifact is here.
struct Deployment {
  WorkloadIdentity identity;
  std::string issuer;         // who signed it, empty when nobody did
  RunRequest run;             // with the limits it gets; without the artifact's bytes
  std::string artifact;       // the bytes, of a function
  std::string artifact_file;  // the cached file of them; empty for an image
};

// The one place where deployments become workloads: a kind of workload is known to a node when it is
// known here. Owns what workloads of a kind share. Loop-confined.
class WorkloadFactory {
 public:
  // All outlive the factory.
  struct Deps {
    io::Loop& loop;
    io::Worker& resolver;
    Random& random;
    Log& log;
    client::Connection& connection;
    sandbox::CgroupTree& cgroups;
    ArtifactCache& artifacts;
    const NodeOptions& options;
    Tracer* tracer = nullptr;
    NexV1Feed* v1_feed = nullptr;  // null: nobody is told in words of Nex 0.2.7
  };
  explicit WorkloadFactory(const Deps&);
  ~WorkloadFactory();
  WorkloadFactory(const WorkloadFactory&) = delete;
  WorkloadFactory& operator=(const WorkloadFactory&) = delete;

  // The types this node runs, and how a type's workloads may live ("function", "service", "job").
  Words types() const;
  Words lifecycles(std::string_view type) const;

  // Whether the deployment could be one of this node, with every limit chosen; the artifact is looked at
  // when it is part of the request, else later. `error_id` says what kind of mistake it is. A Deployment
  // without an id.
  Result<Deployment> plan(std::string_view ns, const DeployRequest&, std::string& error_id) const;
  // Puts the bytes into the cache and checks them against type and digest.
  Status take_artifact(Deployment&, std::string bytes, std::string& error_id);

  // Starts it. `on_live` is called once, not from within: with success when it takes work, or with why
  // it cannot; then it is Stopped. Fails when it cannot even begin.
  Result<std::unique_ptr<Workload>> make(Deployment, WorkloadEvents, client::DoneHandler on_live);

  // All namespaces there are, for what is made from here on.
  void set_namespaces(Namespaces all) { namespaces_ = std::move(all); }

  // "V8 10.2.154.26", empty until a function ran.
  std::string engine_version() const;
  std::vector<NodeCheck> microvm_checks() const { return programs_.microvm_checks(); }
  // Ends the processes workloads share; no workload is left.
  void shut_down();

 private:
  Status check_node_grants(const RunRequest& run, std::string_view ns) const;
  // What the functions of a namespace share.
  struct Nursery {
    std::unique_ptr<Zygote> zygote;
    std::unique_ptr<SpareInstance> spare;  // null where instances start cold
  };
  Nursery& nursery_of(const std::string& ns);
  Result<std::unique_ptr<Workload>> make_function(Deployment, WorkloadEvents,
                                                  client::DoneHandler on_live);

  const Deps deps_;
  Namespaces namespaces_;
  const Result<std::unique_ptr<HostServices>> host_services_;
  ProgramFactory programs_;
  InstanceFlusher flusher_;
  std::unordered_map<std::string, Nursery> nurseries_;  // by namespace
};

// Names of workloads and namespaces become subject tokens and keys: letters, digits, - and _.
bool is_workload_name(std::string_view);

}  // namespace brokkr::workload
