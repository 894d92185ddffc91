#pragma once

#include <string>
#include <string_view>

#include <v8.h>

#include "runtime/engine.h"

// What an exception says to a person. Loop-confined.
namespace brokkr::runtime {

struct ExceptionText {
  std::string error;  // one line: "TypeError: x is not a function"
  std::string stack;  // with the prelude's own frames left out, or empty
  std::string place;  // "echo.js:3:9", or empty
  bool is_range_error = false;
};

ExceptionText describe_exception(v8::Isolate*, v8::TryCatch&);
// The same for a rejection's reason.
ExceptionText describe_value(v8::Isolate*, v8::Local<v8::Value>);

}  // namespace brokkr::runtime
