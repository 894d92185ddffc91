#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "jetstream/upkeep.h"
#include "store/record.h"

namespace brokkr::jetstream {

class Stream;

// The schedules of one stream: messages that say when a copy of them is to be published elsewhere.
// The last message of a subject is its schedule. Kept in memory; found again in the stored messages
// after a start. Loop-confined; part of its stream.
class Schedules final : public UpkeepItem {
 public:
  explicit Schedules(Stream& stream);

  // A message with a schedule was stored.
  void add(uint64_t seq, std::string_view subject, std::string_view headers, int64_t timestamp_ns);
  void on_removed(uint64_t seq, std::string_view subject);
  void on_purged(std::string_view filter, uint64_t below);
  void on_due(WallTime now) override;

 private:
  struct Schedule {
    uint64_t seq = 0;
    WallTime at;
  };
  using BySubject = std::map<std::string, Schedule, std::less<>>;

  void find_stored();
  void arm();
  // Publishes; false when the message is no schedule (any more).
  bool fire(const std::string& subject, Schedule& schedule, WallTime now);

  Stream& stream_;
  BySubject schedules_;
};

}  // namespace brokkr::jetstream
