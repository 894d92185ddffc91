#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/run.h"

namespace brokkr::store {

// A place that is not as it was written.
struct RunFinding {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint32_t stream = 0;  // 0 when not known
  uint64_t seq = 0;  // of the message that is lost by it; 0 when none is, or it is not known which
  std::string text;
};

struct RunFileReport {
  uint64_t bytes = 0;
  uint64_t runs = 0;
  uint64_t messages = 0;  // whole ones
  uint64_t erased = 0;    // of those, overwritten on purpose
  std::vector<RunFinding> findings;
};

// Reads a whole run file and checks every byte of it: checksums, and that footers and index say
// what the messages do. Fails as RunFile::open does; damage is in the report.
Result<RunFileReport> verify_run_file(Files&, const std::string& directory, uint64_t file,
                                      Keyring* keys);

}  // namespace brokkr::store
