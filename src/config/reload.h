#pragma once

#include <string>
#include <vector>

#include "config/options.h"

namespace brokkr::config {

// What a reload would change.
struct Difference {
  // Names of the settings that differ and may be exchanged while clients are connected.
  std::vector<std::string> hot;
  // "config reload not supported for X: old=…, new=…"; non-empty: nothing is to be changed.
  std::vector<std::string> errors;

  bool is_empty() const { return hot.empty() && errors.empty(); }
};

// Compares two complete sets of options (file and flags). What nats-server refuses to reload is
// refused, in its words and with the names of its fields; values that are secrets are not shown.
// Pure.
Difference compare(const Options& before, const Options& after);

}  // namespace brokkr::config
