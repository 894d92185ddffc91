#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"

namespace brokkr::cli {

// What "{{...}}" in a message body may name: Count, TimeStamp, Unix, UnixNano, Time, ID,
// Random MIN MAX (also written Random(MIN, MAX)), Request, and for a reply's command the tokens of
// the subject by number. Loop-confined.
class Template {
 public:
  explicit Template(Random& random) : random_(random), nuid_(random) {}

  uint64_t count = 0;
  WallTime now{};
  std::string_view request;  // of {{Request}}
  std::string_view subject;  // of {{0}}, {{1}}, ...

  // Fails with Syntax, naming the place, on an unknown name or an open "{{".
  Result<std::string> render(std::string_view text);

 private:
  Result<std::string> evaluate(std::string_view expression);
  std::string random_text(uint64_t min, uint64_t max);
  Random& random_;
  Nuid nuid_;
};

}  // namespace brokkr::cli
