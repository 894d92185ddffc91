#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "cli/nexfile.h"
#include "cli/workload_client.h"

// How a deployment comes together from files and flags, and how it gets to the nodes. Confined to the
// main thread.
namespace brokkr::cli {

// The flags that say what runs and how; those of `devrun`, `run` and `workload start`.
std::vector<Flag> deploy_flags();

// What the flags and arguments say, as one workload.
Result<NexfileWorkload> workload_of_flags(const Context&, const Values&);
// The Nexfile the flags mean: --nexfile, or ./Nexfile. Flags that stand beside it go over its values.
Result<Nexfile> read_nexfile(const Context&, const Values&);

// Sends the workload: its file is read (relative to `folder`), stored when it is large, and signed when
// the flags name an issuer. Where nodes keep desired state it is applied, else deployed on one node.
Result<workload::RolloutStatus> deploy(const Context&, WorkloadClient&, NexfileWorkload, const std::string& folder,
                                       const Values&);

// Signs the deployment with the seed --issuer names; does nothing without the flag.
Status sign(const Values&, WorkloadClient&, workload::DeployRequest&, workload::RunRequest&);

}  // namespace brokkr::cli
