#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brokkr::cli {

// A regular expression (POSIX extended, and \d). Immutable.
class Pattern {
 public:
  // Fails with Syntax and the reason.
  static Result<Pattern> make(std::string_view expression, bool ignores_case = false);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // Whether it matches anywhere in `text`.
  bool matches(std::string_view text) const;

 private:
  struct Compiled;
  explicit Pattern(std::unique_ptr<Compiled>);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace brokkr::cli
