#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "base/callback.h"
#include "client/api_error.h"
#include "io/loop.h"

namespace brokkr::client {

// Starts a call and runs turns of the loop until its handler was called; for programs that do one
// thing at a time:
//
//   auto info = wait_for<StreamInfo>(session.loop(), [&](auto done) {
//     js.stream_info("ORDERS", std::move(done));
//   });
//
// The call must end by itself, as those with a time-out do. Confined to the thread that calls.
template <typename T>
ApiResult<T> wait_for(io::Loop& loop, FunctionRef<void(ApiHandler<T>)> start) {
  std::optional<ApiResult<T>> answer;
  start([&answer](ApiResult<T> result) { answer.emplace(std::move(result)); });
  while (!answer) loop.run_once(std::chrono::seconds(1));
  return std::move(*answer);
}

}  // namespace brokkr::client
