#pragma once

#include <cstdint>

#include "base/result.h"
#include "sandbox/layers.h"

// The steps a process takes to shut itself in. Each returns the layers it achieved and treats a
// refusal of the kernel as a missing layer. Order:
//
//   zygote:    enter_namespaces -> (engine is loaded and warmed) -> Filters::make (needs a file of
//              its own, which lock_down forbids) -> lock_down -> Filters::apply_zygote
//   instance:  (fork) -> shed_descriptors -> (watchdog thread) -> Filters::apply_instance
//
// Single-threaded until the last step; not for use in the broker's process.
namespace brokkr::sandbox {

// Takes namespaces of its own and continues in a child that is process 1 of them. The caller stays
// behind as its keeper: it ends when the child does and takes it along when it is killed. Only the
// child returns. `layers_off` leaves out layers here and below, for tests of what the others hold.
uint32_t enter_namespaces(uint32_t layers_off = 0);

// Empty read-only root, nobody's user, no capabilities, no new privileges, resource limits, Landlock.
// What has been loaded and opened before stays usable; nothing else can be opened after.
uint32_t lock_down(uint32_t layers, uint32_t layers_off = 0);

// The two seccomp programs, compiled once and applied to every fork. They kill the process on a call
// that is not on the list; calls libraries make by habit (open, stat, ioctl …) fail with an error
// instead, without doing anything.
class Filters {
 public:
  Filters() = default;
  ~Filters();
  Filters(const Filters&) = delete;
  Filters& operator=(const Filters&) = delete;

  // Fails with Unsupported when the kernel has no seccomp filters.
  Status make();
  // May still fork, pass descriptors and wait.
  Status apply_zygote() const;
  // To every thread of the process. Reads and writes descriptors it has, manages its own memory,
  // sleeps, exits; no fork, thread, exec, socket, open or signal.
  Status apply_instance() const;

 private:
  struct Program;
  Program* zygote_ = nullptr;
  Program* instance_ = nullptr;
};

// Makes `keep` descriptor 3, /dev/null (already open on 0) 0 to 2, and closes all others.
void shed_descriptors(int keep);

}  // namespace brokkr::sandbox
