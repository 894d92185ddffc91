#pragma once

#include <string>

#include "base/result.h"
#include "sandbox/image_files.h"

// Unix sockets at paths of any length, which their addresses have no room for.
namespace brokkr::sandbox::microvm {

// Owned by the caller, takes one connection.
Result<int> listen_unix(const std::string& path);
// Fails with Unavailable when nobody listens there.
Result<image::OwnedFd> connect_unix(const std::string& path);

}  // namespace brokkr::sandbox::microvm
