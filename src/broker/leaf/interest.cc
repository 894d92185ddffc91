#include "broker/leaf/interest.h"

#include <algorithm>

#include "protocol/leaf_parser.h"

namespace brokkr::broker {
namespace {

constexpr int64_t kWeightMax = 999'999'999;  // what nine digits can say

std::string interest_key(std::string_view pattern, std::string_view queue) {
  std::string key(pattern);
  if (!queue.empty()) key.append(" ").append(queue);
  return key;
}

}  // namespace

void LeafInterest::add(std::string_view pattern, std::string_view queue, int64_t change) {
  if (change > 0) counts_[interest_key(pattern, queue)] += change;
}

void LeafInterest::write_all(std::string& out) const {
  for (const auto& [key, count] : counts_) {
    const size_t blank = std::min(key.find(' '), key.size());
    const std::string_view pattern = std::string_view(key).substr(0, blank);
    const std::string_view queue = std::string_view(key).substr(std::min(blank + 1, key.size()));
    protocol::append_leaf_sub(out, pattern, queue,
                              static_cast<uint32_t>(std::min(count, kWeightMax)));
  }
}

void LeafInterest::change(std::string_view pattern, std::string_view queue, int64_t change,
                          std::string& out) {
  std::string key = interest_key(pattern, queue);
  auto found = counts_.find(key);
  if (found == counts_.end()) {
    if (change <= 0) return;
    found = counts_.emplace(std::move(key), 0).first;
  }
  const int64_t before = found->second;
  const int64_t after = std::max<int64_t>(before + change, 0);
  found->second = after;
  if (after == 0) counts_.erase(found);
  // Of a queue group the other side knows the number of members, else only whether there are any.
  if (before == after || (queue.empty() && before > 0 && after > 0)) return;
  if (after == 0) return protocol::append_leaf_unsub(out, pattern, queue);
  protocol::append_leaf_sub(out, pattern, queue,
                            static_cast<uint32_t>(std::min(after, kWeightMax)));
}

}  // namespace brokkr::broker
