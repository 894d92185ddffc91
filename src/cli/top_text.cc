#include "cli/top_text.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "cli/columns.h"
#include "cli/system_api.h"

namespace brokkr::cli {
namespace {

constexpr const char* kTopHeader[] = {
    "HOST",     "CID",        "NAME", "SUBS",    "PENDING", "MSGS_TO",      "MSGS_FROM",
    "BYTES_TO", "BYTES_FROM", "LANG", "VERSION", "UPTIME",  "LAST_ACTIVITY"};
// Columns after the name are this wide.
constexpr size_t kTopWidths[] = {6, 10, 10, 10, 10, 10, 7, 7, 7, 40};
constexpr size_t kHostWidthMin = 15;

std::string decimal(double value, int digits, const char* unit) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f%s", digits, value, unit);
  return text;
}

std::string scaled(double value, double step, const char* const (&units)[5], bool is_raw) {
  if (is_raw || value < step) return decimal(value, 0, "");
  size_t unit = 0;
  while (value >= step && unit + 1 < std::size(units) && units[unit + 1] != nullptr) {
    value /= step;
    ++unit;
  }
  return decimal(value, 1, units[unit]);
}
std::string byte_text(double value, bool is_raw) {
  static constexpr const char* kUnits[5] = {"", "K", "M", "G", nullptr};
  return scaled(value, 1024, kUnits, is_raw);
}
std::string count_in_units(double value, bool is_raw) {
  static constexpr const char* kUnits[5] = {"", "K", "M", "B", "T"};
  return scaled(value, 1000, kUnits, is_raw);
}

double double_of(const json::Value* object, const char* member) {
  const json::Value* found = object == nullptr ? nullptr : object->find(member);
  return found == nullptr ? 0 : found->as_double().value_or(0);
}

double seconds_between(const TopSample& before, const TopSample& now) {
  const Duration passed = time_between(before.varz.get_string("now"), now.varz.get_string("now"));
  return std::max(std::chrono::duration<double>(passed).count(), 1e-3);
}

// How fast a counter of the server has grown.
double rate_of(const TopSample& now, const TopSample* before, const char* member) {
  if (before == nullptr) return 0;
  return (double_of(&now.varz, member) - double_of(&before->varz, member)) /
         seconds_between(*before, now);
}

const json::Value* find_connection(const TopSample* sample, int64_t cid) {
  if (sample == nullptr) return nullptr;
  for (const json::Value& one : items_in(&sample->connz, "connections")) {
    if (one.get_int("cid") == cid) return &one;
  }
  return nullptr;
}

// One connection's cells, in the order of the header.
std::vector<std::string> top_row(const json::Value& one, const TopSample& now,
                                 const TopSample* before, const TopOptions& options,
                                 const std::map<std::string, std::string>& hosts) {
  const json::Value* earlier = find_connection(before, one.get_int("cid"));
  const auto counter = [&](const char* member) {
    if (!options.has_rates) return double_of(&one, member);
    if (earlier == nullptr) return 0.0;
    return (double_of(&one, member) - double_of(earlier, member)) / seconds_between(*before, now);
  };
  const std::string ip(one.get_string("ip"));
  const auto named = hosts.find(ip);
  const auto text = [&](const char* member) { return std::string(one.get_string(member)); };
  return {named != hosts.end() ? named->second : ip + ":" + std::to_string(one.get_int("port")),
          std::to_string(one.get_int("cid")),
          text("name"),
          std::to_string(one.get_int("subscriptions")),
          count_in_units(double_of(&one, "pending_bytes"), options.is_raw),
          count_in_units(counter("out_msgs"), options.is_raw),
          count_in_units(counter("in_msgs"), options.is_raw),
          byte_text(counter("out_bytes"), options.is_raw),
          byte_text(counter("in_bytes"), options.is_raw),
          text("lang"),
          text("version"),
          text("uptime"),
          go_time_text(one.get_string("last_activity"))};
}

std::string subscriptions_text(const json::Value& one, const char* between) {
  std::string out;
  for (const json::Value& subject : items_in(&one, "subscriptions_list")) {
    out += (out.empty() ? "" : between) + std::string(subject.as_string());
  }
  return out;
}

std::string padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, text.size()), ' ');
}

std::string delimited(const std::vector<std::string>& cells, const std::string& delimiter) {
  std::string out;
  for (size_t i = 0; i < cells.size(); ++i)
    out += (i == 0 ? "" : delimiter) + cells[i];
  return out + "\n";
}

std::string load_lines(const TopSample& now, const TopSample* before, const TopOptions& options) {
  const json::Value& varz = now.varz;
  const auto count = [&](const char* member) {
    return count_in_units(double_of(&varz, member), options.is_raw);
  };
  const auto bytes = [&](const char* member) {
    return byte_text(double_of(&varz, member), options.is_raw);
  };
  const auto rate = [&](const char* member) {
    return decimal(rate_of(now, before, member), 1, "");
  };
  const auto byte_rate = [&](const char* member) {
    return byte_text(rate_of(now, before, member), options.is_raw);
  };
  const std::string version(varz.get_string("version"));
  const std::string uptime = "(uptime: " + std::string(varz.get_string("uptime")) + ")";
  const std::string cpu = decimal(double_of(&varz, "cpu"), 1, "%");
  const std::string memory = byte_text(double_of(&varz, "mem"), false);
  const std::string slow = std::to_string(varz.get_int("slow_consumers"));
  if (const std::string& d = options.delimiter; !d.empty()) {
    return delimited({"NATS server version", version, uptime, ""}, d) + "Server:\n" +
           delimited({"Load:", "CPU:", cpu, "Memory:", memory, "Slow Consumers:", slow}, d) +
           delimited({"In:", "Msgs:", count("in_msgs"), "Bytes:", bytes("in_bytes"),
                      "Msgs/Sec:", rate("in_msgs"), "Bytes/Sec:", byte_rate("in_bytes")},
                     d) +
           delimited({"Out:", "Msgs:", count("out_msgs"), "Bytes:", bytes("out_bytes"),
                      "Msgs/Sec:", rate("out_msgs"), "Bytes/Sec:", byte_rate("out_bytes")},
                     d);
  }
  const std::string id(varz.get_string("server_id"));
  const std::string name(varz.get_string("server_name"));
  return "NATS server version " + version + " " + uptime +
         " \nServer: " + (name == id ? "" : name) + "\n  ID:   " + id + "\n  Load: CPU:  " + cpu +
         "  Memory: " + memory + "  Slow Consumers: " + slow +
         "\n  In:   Msgs: " + count("in_msgs") + "  Bytes: " + bytes("in_bytes") +
         "  Msgs/Sec: " + rate("in_msgs") + "  Bytes/Sec: " + byte_rate("in_bytes") +
         "\n  Out:  Msgs: " + count("out_msgs") + "  Bytes: " + bytes("out_bytes") +
         "  Msgs/Sec: " + rate("out_msgs") + "  Bytes/Sec: " + byte_rate("out_bytes") + "\n";
}

}  // namespace

std::string top_text(const TopSample& now, const TopSample* before, const TopOptions& options,
                     const std::map<std::string, std::string>& hosts) {
  const bool is_delimited = !options.delimiter.empty();
  std::string out = load_lines(now, before, options) +
                    "\nConnections Polled:" + (is_delimited ? options.delimiter : " ") +
                    std::to_string(now.connz.get_int("num_connections")) + "\n";
  const auto& connections = items_in(&now.connz, "connections");
  std::vector<std::vector<std::string>> rows{{std::begin(kTopHeader), std::end(kTopHeader)}};
  size_t host_width = kHostWidthMin;
  size_t name_width = 0;
  for (const json::Value& one : connections) {
    rows.push_back(top_row(one, now, before, options, hosts));
    if (rows.back()[0].size() > host_width) host_width = rows.back()[0].size() + 2;
    if (rows.back()[2].size() > name_width)
      name_width = std::max<size_t>(rows.back()[2].size() + 2, 4);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<std::string>& row = rows[i];
    std::string subscriptions =
        i == 0 ? "SUBSCRIPTIONS"
               : subscriptions_text(connections[i - 1], is_delimited ? "  " : ", ");
    if (is_delimited) {
      std::vector<std::string> cells = row;
      if (options.has_subscriptions) cells.push_back(std::move(subscriptions));
      out += delimited(cells, options.delimiter);
      continue;
    }
    out += "  " + padded(row[0], host_width) + "  " + padded(row[1], 6) + " ";
    if (name_width > 0) out += padded(row[2], name_width) + " ";
    for (size_t column = 0; column < std::size(kTopWidths); ++column) {
      out += (column == 0 ? "" : "  ") + padded(row[column + 3], kTopWidths[column]);
    }
    out += (options.has_subscriptions ? subscriptions : "") + "\n";
  }
  return out;
}

}  // namespace brokkr::cli
