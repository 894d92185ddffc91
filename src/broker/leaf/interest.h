#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/hash.h"

namespace brokkr::broker {

// What one leaf link has told the other side that is wanted here: per pattern, or pattern and queue,
// how many want it. Loop-confined.
class LeafInterest {
 public:
  // `change` more want it, or fewer. Appends to `out` the line the other side must get, if any.
  void change(std::string_view pattern, std::string_view queue, int64_t change, std::string& out);
  // The same without telling, for what is there before the link.
  void add(std::string_view pattern, std::string_view queue, int64_t change);
  // Appends the lines for all that is wanted.
  void write_all(std::string& out) const;
  size_t size() const { return counts_.size(); }

 private:
  // By pattern, or pattern, blank and queue.
  std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>> counts_;
};

}  // namespace brokkr::broker
