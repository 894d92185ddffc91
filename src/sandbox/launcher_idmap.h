#pragma once

#include "base/result.h"

namespace brokkr::sandbox {

// A user namespace in which root stands for nobody (65534) and everyone else for themselves, to mount an
// image's layers through: what root owns in them is then owned by who is root inside. The caller's,
// close-on-exec. Root only; single-threaded. Fails with System.
Result<int> make_root_map();

}  // namespace brokkr::sandbox
