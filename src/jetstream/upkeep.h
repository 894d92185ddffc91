#pragma once

#include <map>

#include "base/clock.h"
#include "io/loop.h"

namespace brokkr::jetstream {

class Upkeep;

// Something that has work at a time of day: a stream with messages that expire, a schedule, a batch
// that may be forgotten. Loop-confined; takes itself out when destroyed.
class UpkeepItem {
 public:
  UpkeepItem() = default;
  UpkeepItem(const UpkeepItem&) = delete;
  UpkeepItem& operator=(const UpkeepItem&) = delete;
  virtual ~UpkeepItem();
  // The time asked for has come; it is asked for once. May destroy the item.
  virtual void on_due(WallTime now) = 0;

 private:
  friend class Upkeep;
  using Queue = std::multimap<WallTime, UpkeepItem*>;
  Upkeep* upkeep_ = nullptr;  // while it waits
  Queue::iterator place_;
};

// One timer for the work of all streams. Follows the clock on the wall, also when that is set.
// Loop-confined; outlives its items or is emptied by them.
class Upkeep {
 public:
  explicit Upkeep(io::Loop& loop);
  ~Upkeep();
  Upkeep(const Upkeep&) = delete;
  Upkeep& operator=(const Upkeep&) = delete;

  // Moves the item when it waits already.
  void call_at(UpkeepItem& item, WallTime at);
  // The same unless it waits for an earlier time.
  void call_by(UpkeepItem& item, WallTime at);
  void cancel(UpkeepItem& item);

 private:
  void run();
  void arm();

  io::Loop& loop_;
  UpkeepItem::Queue queue_;
  io::Timer timer_;
};

}  // namespace brokkr::jetstream
