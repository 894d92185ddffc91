#pragma once

#include <string>
#include <string_view>

namespace brokkr::broker {

// `before"subject"after`: how -ERR names a subject.
inline std::string quoted(std::string_view before, std::string_view subject,
                          std::string_view after = {}) {
  std::string out(before);
  out.append("\"").append(subject).append("\"").append(after);
  return out;
}

}  // namespace brokkr::broker
