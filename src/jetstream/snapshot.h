#pragma once

#include "jetstream/api.h"

namespace brokkr::jetstream {

// `$JS.API.STREAM.SNAPSHOT.<stream>` and `$JS.API.STREAM.RESTORE.<stream>`. The API level and the
// account have been checked.
void handle_snapshot_request(const ApiRequest& request);
void handle_restore_request(const ApiRequest& request);

}  // namespace brokkr::jetstream
