#pragma once

#include <string>

#include "base/callback.h"
#include "base/clock.h"
#include "io/loop.h"

namespace brokkr::app {

// Has `question` answered on the loop's thread, from another one. Empty when the loop does not come to
// it within `patience`; it is not asked then, unless that has begun. What `question` refers to lives as
// long as the loop runs. Thread-safe.
std::string ask_loop(io::Loop& loop, Callback<std::string()> question, Duration patience);

}  // namespace brokkr::app
