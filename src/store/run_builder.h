#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "store/run.h"

namespace brokkr::store {

// Gathers a RunIndex message by message, for who writes a run and who finds its footer damaged. Not
// thread-safe.
class RunBuilder {
 public:
  explicit RunBuilder(int64_t ids_since_ns) : ids_since_ns_(ids_since_ns) {}
  // `position` as in RunIndex. Of two messages with one sequence the first counts.
  void add(const Record& record, uint64_t position);
  uint32_t count() const { return static_cast<uint32_t>(index_.positions.size()); }
  // Of the message added last.
  uint64_t last_seq() const { return index_.seqs.back(); }
  void add_block(uint64_t offset, uint32_t bytes) { index_.blocks.push_back({offset, bytes}); }
  // Leaves the builder empty. The place of the run and its owner are the caller's to fill in.
  // On the heap: names point into the index itself.
  std::unique_ptr<RunIndex> finish();

 private:
  uint32_t intern(std::string_view subject);
  void sort_messages();
  void sort_names();
  void sum_up();

  const int64_t ids_since_ns_;
  RunIndex index_;
  bool is_ascending_ = true;
  std::vector<int64_t> timestamps_;
  std::deque<std::string>
      names_;  // in order of appearance; stay in place, the map's keys look into them
  std::unordered_map<std::string_view, uint32_t, StringHash, std::equal_to<>> name_ids_;
};

}  // namespace brokkr::store
