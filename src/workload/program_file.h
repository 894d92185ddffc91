#pragma once

#include <string>

#include "base/result.h"

namespace brokkr::workload {

// What a file that is to be executed is.
struct ProgramFile {
  bool is_script = false;
  bool is_static = false;   // no interpreter of its own
  std::string interpreter;  // of a dynamic program or a script
};

// Looks whether this machine can execute the file, so that a mistake is told when it is deployed. Fails
// with Unsupported (another system or processor, not a program, an interpreter that is not here) or
// Corrupt (cut off). `root` is where interpreters are looked for. Blocks for one short read.
Result<ProgramFile> inspect_program(const std::string& path, const std::string& root = "");

}  // namespace brokkr::workload
