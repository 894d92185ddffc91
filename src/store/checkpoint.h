#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/store_impl.h"

namespace brokkr::store {

// Empties the log into run files: what streams hold in memory becomes runs, small and thin runs are
// merged, a new catalog names the result; then the log before it is free. Begun and ended on the
// store's thread, worked on in the background in between.
class Checkpoint {
 public:
  ~Checkpoint();
};

}  // namespace brokkr::store
