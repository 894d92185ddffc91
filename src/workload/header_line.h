#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace brokkr::workload {

// The first line of a text, short enough and safe as a header's value.
inline std::string header_line(std::string_view text) {
  std::string line(text.substr(0, text.find_first_of("\r\n")));
  line.resize(std::min<size_t>(line.size(), 512));
  return line;
}

}  // namespace brokkr::workload
