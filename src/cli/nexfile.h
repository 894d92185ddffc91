#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "workload/run_request.h"

// What a Nexfile says: one workload a document, YAML or JSON, with the members of Nex 0.4.x and ours.
// docs/nexfile.md lists them. Pure.
namespace brokkr::cli {

struct NexfileWorkload {
  std::string name;
  std::string ns;  // empty: the command's
  std::string description;
  std::string type;       // empty: told from the file
  std::string lifecycle;  // empty: told from the type
  workload::Pairs tags;
  workload::Pairs metadata;
  workload::RunRequest run;
  std::string file;       // the artifact, to be read beside the Nexfile; empty: `run.uri` has it
  std::string node;       // placement on this node
  bool has_replicas = false;
  uint32_t replicas = 1;
  uint32_t max_unavailable = 0;
  int64_t progress_deadline_ns = 0;
  size_t line = 0;        // where the document begins
};

struct Nexfile {
  std::vector<NexfileWorkload> workloads;
  // What was read over, such as members of Nex that never did anything: "12:3: …".
  std::vector<std::string> remarks;
};

// `where` stands before every error: "Nexfile:12:3: …". Fails with Syntax for text that is neither
// YAML nor JSON, with InvalidArgument for a member that is unknown or of a wrong type.
Result<Nexfile> parse_nexfile(std::string_view text, const std::string& where);

}  // namespace brokkr::cli
