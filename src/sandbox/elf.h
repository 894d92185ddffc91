#pragma once

#include <string>

#include "base/result.h"

namespace brokkr::sandbox {

// Whether the program asks for an interpreter (the dynamic linker, or `#!`). Fails with NotFound when
// there is no such file, InvalidArgument when not everyone may execute it or it is no program.
Result<bool> needs_interpreter(const std::string& path);

}  // namespace brokkr::sandbox
