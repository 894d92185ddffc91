#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace brokkr::jetstream {

// An error of the JetStream API as the client sees it: HTTP-like code, NATS's own number, text.
// The numbers and texts are nats-server's (errors.json).
struct ApiError {
  uint16_t code = 0;
  uint16_t err_code = 0;
  std::string description;
};

// The error with that number and its standard text, in which `value` stands for the placeholder
// "{x}" and `second` for those after it.
ApiError api_error(uint16_t err_code, std::string_view value = {}, std::string_view second = {});

// A value or the ApiError to answer with.
template <typename T>
class [[nodiscard]] ApiResult {
 public:
  ApiResult(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  ApiResult(ApiError error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return get(); }
  T* operator->() { return &get(); }
  const ApiError& error() const { return error_; }

 private:
  T& get() {
    CHECK(value_.has_value());
    return *value_;
  }
  std::optional<T> value_;
  ApiError error_;
};

// Success or the ApiError to answer with.
class [[nodiscard]] ApiStatus {
 public:
  ApiStatus() = default;
  ApiStatus(ApiError error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)
  explicit operator bool() const { return !error_.has_value(); }
  const ApiError& error() const { return *error_; }

 private:
  std::optional<ApiError> error_;
};

}  // namespace brokkr::jetstream
