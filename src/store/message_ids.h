#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace brokkr::store {

// The message ids a stream has seen within its window, for telling duplicates. Ids are kept as
// 128-bit hashes, 32 bytes each, in generations of an eighth of the window that are dropped whole.
// Loop-confined.
class MessageIds {
 public:
  struct Key {
    uint64_t low = 0;
    uint64_t high = 0;
    bool operator==(const Key&) const = default;
  };
  // Stable across versions: it is in run files.
  static Key key_of(std::string_view id);

  void set_window(Duration window);
  Duration window() const { return window_; }
  // `at_ns` is the message's time; what is older than the window before the newest is forgotten.
  void put(Key key, uint64_t seq, int64_t at_ns);
  // The sequence stored under the id less than a window before `now_ns`.
  std::optional<uint64_t> find(Key key, int64_t now_ns) const;
  void clear() { generations_.clear(); }
  size_t size() const;

 private:
  struct Slot {
    Key key;
    uint64_t seq = 0;  // 0: free
    int64_t at_ns = 0;
  };
  // Open addressing, linear.
  struct Generation {
    int64_t begin_ns = 0;
    size_t size = 0;
    std::vector<Slot> slots;
    void put(Key key, uint64_t seq, int64_t at_ns);
    const Slot* find(Key key) const;
  };
  void drop_before(int64_t ns);

  Duration window_{};
  std::deque<Generation> generations_;  // the newest last
};

}  // namespace brokkr::store
