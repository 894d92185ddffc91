#pragma once

#include <memory>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"

namespace brokkr::io {

// Delivers signals to a loop as ordinary events. The signals are blocked in the calling thread, so
// make it before other threads start: they inherit the mask. Loop-confined.
class Signals {
 public:
  static Result<std::unique_ptr<Signals>> open(Loop&, const std::vector<int>& numbers,
                                               Callback<void(int)> on_signal);
  virtual ~Signals() = default;
};

}  // namespace brokkr::io
