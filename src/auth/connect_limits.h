#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "crypto/claims.h"

// From where and when a user's JWT lets its bearer connect.
namespace brokkr::auth {

// Whether the address lies in one of the networks ("10.0.0.0/8"); no networks: everywhere. Pure.
bool is_in_networks(std::string_view address, const std::vector<std::string>& networks);

struct ConnectTime {
  bool is_allowed = false;
  std::optional<WallTime> until;  // absent: always
};
// Ranges of the day in the IANA zone `location`; empty: the machine's own. A range may cross
// midnight. Of several that hold the one that lasts longest counts. Not allowed when the zone or a
// range cannot be read. Reads the zone's file the first time; thread-safe.
ConnectTime check_connect_time(const std::vector<crypto::TimeRange>& ranges,
                               const std::string& location, WallTime now);

}  // namespace brokkr::auth
