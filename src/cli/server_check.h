#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "cli/command.h"

// Health checks in Nagios's sense: findings, measures, and the four ways to print them.
namespace brokkr::cli {

enum class Health : uint8_t { Ok, Warning, Critical };

// A number a check has found. A threshold of 0 is none.
struct Measure {
  std::string name;
  std::string help{};
  double value = 0;
  double warn = 0;
  double critical = 0;
  std::string unit{};  // "s", "%", "B"
};

// One check: its worst finding is its status and its exit code. A value type.
struct Check {
  std::string suite;  // "connections", part of Prometheus's names
  std::string name;
  std::vector<std::string> oks{};
  std::vector<std::string> warnings{};
  std::vector<std::string> criticals{};
  std::vector<Measure> measures{};

  Health health() const;
  void ok(std::string text) { oks.push_back(std::move(text)); }
  void warn(std::string text) { warnings.push_back(std::move(text)); }
  void critical(std::string text) { criticals.push_back(std::move(text)); }
  bool is_ok() const { return warnings.empty() && criticals.empty(); }

  std::string nagios_text() const;
  std::string json_text() const;
  std::string prometheus_text(const std::string& prefix) const;
  std::string human_text() const;
};

double to_seconds(Duration);
std::string fixed_text(double value, int digits);

// A check as a command: `look` fills in what it finds.
using Look = void (*)(const Context&, const Values&, Check&);
// `name_flag`: the flags whose values, joined by "_", name the check; or a fixed name. Those flags
// are required.
Command check_command(std::string name, std::vector<std::string> aliases, std::string summary,
                      std::string suite, std::string title, std::vector<std::string> name_flags,
                      Look, std::vector<Flag> flags);

Command connection_check();
Command server_check();
Command meta_check();
Command request_check();
Command credential_check();
Command stream_check();
Command consumer_check();
Command message_check();
Command kv_check();
Command jetstream_check();

}  // namespace brokkr::cli
