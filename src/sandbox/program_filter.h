#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"

// The seccomp filter for programs of users: ordinary calls pass, calls that reach for the kernel's
// or the machine's management are refused with an error, calls newer than this list do not exist.
namespace brokkr::sandbox {

// Pure. `allows_memory_files` false also refuses memfd_create (where the kernel cannot forbid to
// execute what it makes).
std::vector<sock_filter> make_program_filter(bool allows_memory_files);
// For the calling thread and its descendants; needs no_new_privs or CAP_SYS_ADMIN. Fails with System.
Status apply_filter(std::vector<sock_filter>& filter);

}  // namespace brokkr::sandbox
