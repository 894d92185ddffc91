#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/callback.h"
#include "base/check.h"
#include "base/result.h"

namespace brokkr::client {

// Why a JetStream call failed. `code` and `text` as everywhere; the server's own words when it
// answered: http_code 404 and err_code 10059 for an unknown stream. A status message (pull, direct
// get) has an http_code only; both are zero when no answer came (NoResponders, TimedOut, Closed).
struct [[nodiscard]] ApiError : Error {
  int http_code = 0;
  int err_code = 0;
};

// The err_codes this room acts upon.
enum ApiErrorCode : int {
  kBadRequestError = 10003,
  kConsumerNotFoundError = 10014,
  kMessageNotFoundError = 10037,
  kJetStreamNotEnabledForAccountError = 10039,
  kStreamNameInUseError = 10058,
  kStreamNotFoundError = 10059,
  kWrongLastSequenceError = 10071,
  kJetStreamNotEnabledError = 10076,
  kWrongLastSequenceConstantError = 10164,
};

// A value or an ApiError; reading the wrong side fails a CHECK. An ApiError passes as an Error
// wherever its numbers do not matter.
template <typename T>
class [[nodiscard]] ApiResult {
 public:
  ApiResult(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  ApiResult(ApiError error) : error_(std::move(error)) {}   // NOLINT(google-explicit-constructor)
  ApiResult(Error error) : error_{std::move(error)} {}      // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return get(); }
  const T& operator*() const { return const_cast<ApiResult*>(this)->get(); }
  T* operator->() { return &get(); }
  const T* operator->() const { return &const_cast<ApiResult*>(this)->get(); }
  // Null on success.
  const ApiError* failure() const { return value_ ? nullptr : &error_; }
  const ApiError& error() const {
    CHECK(!value_.has_value());
    return error_;
  }

 private:
  T& get() {
    CHECK(value_.has_value());
    return *value_;
  }
  std::optional<T> value_;
  ApiError error_{};
};

// What a call without a result gives.
struct Done {};
using ApiStatus = ApiResult<Done>;

template <typename T>
using ApiHandler = Callback<void(ApiResult<T>)>;

}  // namespace brokkr::client
