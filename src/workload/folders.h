#pragma once

#include <string>

#include "base/result.h"

namespace brokkr::workload {

// Makes a folder and those above it, for the owner alone. Fails with System.
Status make_folders(const std::string& folder);

}  // namespace brokkr::workload
