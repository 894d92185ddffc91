#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace brokkr {

// Why an operation that may fail in normal use did fail. Codes are for programs, text is for
// people: lower-case, no full stop, with the names and numbers that matter.
enum class Errc : uint8_t {
  InvalidArgument,
  InvalidSubject,
  NotFound,
  AlreadyExists,
  PermissionDenied,
  LimitExceeded,
  Truncated,
  Corrupt,
  Syntax,
  Unavailable,
  TimedOut,
  Closed,
  NoResponders,
  Unsupported,
  OutOfSpace,  // the disk or a quota is full
  System,
};

const char* to_string(Errc);

struct [[nodiscard]] Error {
  Errc code;
  std::string text;
};

// Makes an Error of kind System from `errno`: "open /x: No such file or directory".
Error system_error(const char* what, int error_number);

// A value or an Error. Errors the caller must handle come back as a Result; a broken invariant
// never does (it fails a CHECK). Reading the wrong side fails a CHECK.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() { return get(); }
  const T& operator*() const { return const_cast<Result*>(this)->get(); }
  T* operator->() { return &get(); }
  const T* operator->() const { return &const_cast<Result*>(this)->get(); }
  const Error& error() const {
    CHECK(state_.index() == 1);
    return *std::get_if<1>(&state_);
  }

 private:
  T& get() {
    CHECK(state_.index() == 0);
    return *std::get_if<0>(&state_);
  }
  std::variant<T, Error> state_;
};

// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return !failed_; }
  const Error& error() const {
    CHECK(failed_);
    return error_;
  }

 private:
  Error error_{Errc::System, {}};
  bool failed_ = false;
};

using Status = Result<void>;

}  // namespace brokkr
