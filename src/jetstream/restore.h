#pragma once

#include <memory>

#include "jetstream/transfers.h"

namespace brokkr::jetstream {

// Answers a restore request, and takes in what follows. Null when it was refused.
std::unique_ptr<Transfer> make_restore(Transfers& owner, const ApiRequest& request);

}  // namespace brokkr::jetstream
