#pragma once

#include <string_view>

#include "jetstream/api.h"

namespace brokkr::jetstream {

// Answers requests on INFO, STREAM.…, and those that need a cluster.
void handle_stream_request(const ApiRequest& request);
// "consumer_create_response" and so on, by the request's subject.
std::string_view consumer_response_type(const ApiRequest& request);

}  // namespace brokkr::jetstream
