#include "auth/connect_limits.h"

#include <arpa/inet.h>
#include <time.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "base/bytes.h"
#include "base/time_zone.h"

namespace brokkr::auth {
namespace {

constexpr int64_t kDay = 86400;
constexpr size_t kZonesMax = 64;

struct Address {
  std::array<uint8_t, 16> bytes{};
  int bits = 0;  // 32 or 128
};

std::optional<Address> parse_address(const std::string& text) {
  Address out;
  if (inet_pton(AF_INET, text.c_str(), out.bytes.data()) == 1) {
    out.bits = 32;
    return out;
  }
  if (inet_pton(AF_INET6, text.c_str(), out.bytes.data()) != 1) return std::nullopt;
  // What IPv4 looks like on an IPv6 socket is IPv4.
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  out.bits = 128;
  if (std::memcmp(out.bytes.data(), kMapped, sizeof kMapped) != 0) return out;
  Address mapped;
  mapped.bits = 32;
  std::memcpy(mapped.bytes.data(), out.bytes.data() + 12, 4);
  return mapped;
}

bool share_prefix(const Address& a, const Address& b, uint64_t length) {
  for (size_t bit = 0; bit < length; ++bit) {
    const auto mask = static_cast<uint8_t>(0x80U >> (bit % 8));
    if ((a.bytes[bit / 8] & mask) != (b.bytes[bit / 8] & mask)) return false;
  }
  return true;
}

std::optional<int64_t> seconds_of_day(std::string_view text) {
  const auto parts = split(text, ':');
  if (parts.size() != 3) return std::nullopt;
  int64_t seconds = 0;
  constexpr uint64_t kEnds[] = {24, 60, 60};
  for (size_t i = 0; i < 3; ++i) {
    const auto number = parse_uint(parts[i]);
    if (!number || *number >= kEnds[i]) return std::nullopt;
    seconds = seconds * 60 + static_cast<int64_t>(*number);
  }
  return seconds;
}

// Zones are few; a file is read once.
std::shared_ptr<const TimeZone> zone_named(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const TimeZone>> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(name); found != known.end()) return found->second;
  auto loaded = TimeZone::load(name);
  if (!loaded) return nullptr;
  if (known.size() >= kZonesMax) known.clear();
  known.emplace(name, *loaded);
  return *loaded;
}

std::optional<int64_t> local_seconds_of_day(const std::string& location, int64_t unix_seconds) {
  if (location.empty()) {
    const time_t at = unix_seconds;
    tm parts{};
    if (localtime_r(&at, &parts) == nullptr) return std::nullopt;
    return parts.tm_hour * 3600 + parts.tm_min * 60 + parts.tm_sec;
  }
  const auto zone = zone_named(location);
  if (zone == nullptr) return std::nullopt;
  const CivilTime civil = zone->to_civil(unix_seconds);
  return civil.hour * 3600 + civil.minute * 60 + civil.second;
}

// How long the range still holds; absent when it does not hold now.
std::optional<int64_t> seconds_left(int64_t start, int64_t end, int64_t now) {
  if (start < now && now < end) return end - now;
  if (start <= end) return std::nullopt;
  if (now < end) return end - now;
  if (start < now) return end + kDay - now;
  return std::nullopt;
}

}  // namespace

bool is_in_networks(std::string_view address, const std::vector<std::string>& networks) {
  if (networks.empty()) return true;
  const auto at = parse_address(std::string(address));
  if (!at) return false;
  for (const std::string& network : networks) {
    const size_t slash = network.find('/');
    if (slash == std::string::npos) return false;
    const auto base = parse_address(network.substr(0, slash));
    const auto length = parse_uint(std::string_view(network).substr(slash + 1));
    if (!base || !length || *length > static_cast<uint64_t>(base->bits)) return false;
    if (base->bits == at->bits && share_prefix(*base, *at, *length)) return true;
  }
  return false;
}

ConnectTime check_connect_time(const std::vector<crypto::TimeRange>& ranges,
                               const std::string& location, WallTime now) {
  if (ranges.empty()) return {true, std::nullopt};
  const int64_t unix_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const auto at = local_seconds_of_day(location, unix_seconds);
  if (!at) return {};
  std::optional<int64_t> longest;
  for (const crypto::TimeRange& range : ranges) {
    const auto start = seconds_of_day(range.start);
    const auto end = seconds_of_day(range.end);
    if (!start || !end) return {};
    const auto left = seconds_left(*start, *end, *at);
    if (left && (!longest || *left > *longest)) longest = left;
  }
  if (!longest) return {};
  return {true, WallTime(std::chrono::seconds(unix_seconds + *longest))};
}

}  // namespace brokkr::auth
