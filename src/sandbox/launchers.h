#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "io/loop.h"
#include "io/spawn.h"

namespace brokkr::sandbox {

// A process that stands ready to fork a launcher for each program: executing our binary anew for each
// costs more than all of the sandbox. Programs do not depend on it once they are launched. Started
// at the first launch and again when it has gone. Loop-confined; outlives no loop.
class Launchers {
 public:
  // `executable` is ProgramDeps::launcher.
  Launchers(io::Loop& loop, std::string executable)
      : loop_(loop), executable_(std::move(executable)) {}
  ~Launchers();
  Launchers(const Launchers&) = delete;
  Launchers& operator=(const Launchers&) = delete;

  // Forks a launcher that has these as descriptors 3 and on; they stay the caller's. Whether it came
  // up shows on them. Fails with System.
  Status launch(const std::vector<int>& descriptors);

 private:
  Status start();

  io::Loop& loop_;
  const std::string executable_;
  std::unique_ptr<io::ChildProcess> process_;
  int control_ = -1;
};

}  // namespace brokkr::sandbox
