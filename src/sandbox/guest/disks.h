#pragma once

#include <string>

#include "sandbox/microvm_wire.h"

// The machine's disks: its root, read-only with what is written in memory over it, and its volumes. Part of the
// guest's init.
namespace brokkr::sandbox::guest {

// Mounts the root at kImageRoot, and what belongs below it; why not, when that fails.
std::string mount_root(const wire::Spec& spec);
std::string mount_volumes(const wire::Spec& spec);
// Writes back what is in memory and takes them off; nothing runs that uses them.
void put_away_disks(const wire::Spec& spec);

}  // namespace brokkr::sandbox::guest
