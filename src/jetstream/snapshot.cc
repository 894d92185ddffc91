#include "jetstream/snapshot.h"

namespace brokkr::jetstream {

void handle_snapshot_request(const ApiRequest& request) {
  request.respond_error("stream_snapshot_response", api_error(10064, "not supported yet"));
}

void handle_restore_request(const ApiRequest& request) {
  request.respond_error("stream_restore_response", api_error(10062, "not supported yet"));
}

}  // namespace brokkr::jetstream
