#pragma once

#include <string>

#include "base/result.h"
#include "cli/nexfile.h"
#include "cli/workload_client.h"

// The bytes of a workload: what kind they are and how they get to the nodes. Confined to the main thread.
namespace brokkr::cli {

// Whether the word names a place nodes can read, such as "nats://B/x" or "docker://host/image"; other
// words are files of this machine.
bool is_place(const std::string& word);
// The place's last part in the letters a name may have; as nex 0.2.7 does, without its points.
std::string name_of_place(const std::string& place);

// "v8", "wasm", "native" or "oci"; fails with why it cannot be told or run.
Result<std::string> type_of_content(const std::string& path, std::string_view content);
Result<std::string> type_of_place(const std::string& place);

// Reads the file, fills in type, lifecycle, digest and file name; makes places of images absolute.
Status load_artifact(NexfileWorkload&, const std::string& folder);
// What does not fit a message goes to the namespace's artifacts.
Status store_artifact(WorkloadClient&, const std::string& ns, workload::RunRequest&);

}  // namespace brokkr::cli
