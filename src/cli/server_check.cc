// brokkr server check: how checks are run and printed.

#include "cli/server_check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/json.h"
#include "cli/columns.h"
#include "cli/files.h"
#include "cli/server_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

const char* health_text(Health health) {
  switch (health) {
    case Health::Ok:
      return "OK";
    case Health::Warning:
      return "WARNING";
    case Health::Critical:
      return "CRITICAL";
  }
  return "?";
}

// "1,234.567": three digits after the point.
std::string comma_fraction(double value) {
  std::string text = fixed_text(value, 3);
  const size_t first = text[0] == '-' ? 1 : 0;
  for (size_t at = text.find('.'); at > first + 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string measure_text(const Measure& m) {
  const int digits = m.unit == "s" ? 4 : 0;
  const std::string name = m.name.find(' ') == std::string::npos ? m.name : "'" + m.name + "'";
  std::string out = name + "=" + fixed_text(m.value, digits) + m.unit;
  if (m.warn == 0 && m.critical == 0) return out;
  out += ";" + (m.warn != 0 ? fixed_text(m.warn, digits) : std::string());
  if (m.critical != 0) out += ";" + fixed_text(m.critical, digits);
  return out;
}

// As Prometheus's own library writes numbers: the shortest text that is exact, with an exponent
// from a million on.
std::string gauge_text(double value) {
  char text[64];
  int digits = 0;
  do {
    std::snprintf(text, sizeof text, "%.*e", digits, value);
  } while (std::strtod(text, nullptr) != value && ++digits < 17);
  const int exponent = std::atoi(std::strchr(text, 'e') + 1);
  if (exponent >= -4 && exponent < 6)
    std::snprintf(text, sizeof text, "%.*f", std::max(0, digits - exponent), value);
  return text;
}

std::string gauge(const std::string& name, const std::string& help, const std::string& labels,
                  double value) {
  return "# HELP " + name + " " + help + "\n# TYPE " + name + " gauge\n" + name + "{" + labels +
         "} " + gauge_text(value) + "\n";
}

int print_check(const Context& context, const Values& values, const Check& check) {
  const std::string format = values.text("format");
  std::string text;
  if (format == "nagios") {
    text = check.nagios_text();
  } else if (format == "json") {
    text = check.json_text();
  } else if (format == "prometheus") {
    text = check.prometheus_text(values.text("namespace"));
  } else {
    text = check.human_text();
  }
  if (const std::string file = values.text("outfile"); !file.empty()) {
    if (Status written = write_file(file, text); !written)
      return fail(context.program, written.error());
  } else {
    print(text);
  }
  return format == "prometheus" ? 0 : static_cast<int>(check.health());
}

}  // namespace

double to_seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string fixed_text(double value, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

Health Check::health() const {
  if (!criticals.empty()) return Health::Critical;
  return warnings.empty() ? Health::Ok : Health::Warning;
}

std::string Check::nagios_text() const {
  std::string out = std::string(health_text(health())) + " " + name;
  for (const std::string& text : criticals)
    out += " Crit:" + text;
  for (const std::string& text : warnings)
    out += " Warn:" + text;
  for (const std::string& text : oks)
    out += " OK:" + text;
  for (size_t i = 0; i < measures.size(); ++i)
    out += (i == 0 ? " | " : " ") + measure_text(measures[i]);
  return out + "\n";
}

std::string Check::json_text() const {
  json::Writer out({2, true});
  out.begin_object()
      .field("status", health_text(health()))
      .field("check_suite", suite)
      .field("check_name", name);
  const auto list = [&](const char* member, const std::vector<std::string>& texts) {
    if (texts.empty()) return;
    out.key(member).begin_array();
    for (const std::string& text : texts)
      out.string(text);
    out.end_array();
  };
  list("warning", warnings);
  list("critical", criticals);
  list("ok", oks);
  out.key("perf_data").begin_array();
  for (const Measure& m : measures) {
    out.begin_object().field("name", m.name).field("value", m.value);
    out.field("warning", m.warn).field("critical", m.critical);
    if (!m.unit.empty()) out.field("unit", m.unit);
    out.end_object();
  }
  return out.end_array().end_object().take() + "\n";
}

std::string Check::prometheus_text(const std::string& prefix) const {
  std::string item = name;
  std::replace(item.begin(), item.end(), '"', '.');
  std::vector<std::pair<std::string, std::string>> gauges;
  const std::string start = prefix + (prefix.empty() ? "" : "_") + suite + "_";
  for (const Measure& m : measures) {
    const std::string help = m.help.empty() ? "Data about the NATS CLI check " + suite : m.help;
    gauges.emplace_back(m.name, gauge(start + m.name, help, "item=\"" + item + "\"", m.value));
  }
  gauges.emplace_back("status_code",
                      gauge(start + "status_code", "Nagios compatible status code for " + suite,
                            "item=\"" + item + "\",status=\"" + health_text(health()) + "\"",
                            static_cast<double>(health())));
  std::sort(gauges.begin(), gauges.end());
  std::string out;
  for (const auto& [gauge_name, text] : gauges)
    out += text;
  return out + "\n";
}

std::string Check::human_text() const {
  Table status("");
  status.header({"Status", "Message"});
  for (const std::string& text : oks)
    status.row({"OK", text});
  for (const std::string& text : warnings)
    status.row({"Warning", text});
  for (const std::string& text : criticals)
    status.row({"Critical", text});
  std::string out = name + ": " + health_text(health()) + "\n\n";
  if (oks.size() + warnings.size() + criticals.size() > 0)
    out += "Status Detail\n\n" + status.text();
  Table table("");
  table.header(
      {"Metric", "Value", "Unit", "Critical Threshold", "Warning Threshold", "Description"});
  for (const Measure& m : measures) {
    table.row({m.name, comma_fraction(m.value), m.unit, comma_fraction(m.critical),
               comma_fraction(m.warn), m.help});
  }
  if (!measures.empty()) out += "\nCheck Metrics\n\n" + table.text();
  return out + "\n";
}

Command check_command(std::string name, std::vector<std::string> aliases, std::string summary,
                      std::string suite, std::string title, std::vector<std::string> name_flags,
                      Look look, std::vector<Flag> flags) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.flags = std::move(flags);
  command.run = [suite, title, name_flags, look](const Context& context, const Values& values) {
    const std::string format = values.text("format");
    if (format != "nagios" && format != "json" && format != "prometheus" && format != "text") {
      return fail(context.program, "--format: one of nagios, json, prometheus, text");
    }
    for (const std::string& flag : name_flags) {
      if (values.text(flag).empty())
        return fail(context.program, "required flag --" + flag + " not provided");
    }
    Check check{suite, title};
    for (const std::string& flag : name_flags)
      check.name += (check.name.empty() ? "" : "_") + values.text(flag);
    look(context, values, check);
    return print_check(context, values, check);
  };
  return command;
}

Command server_check_command() {
  Command check{"check", {}, "Health check for NATS servers"};
  check.flags = {
      {"format", "Render the check in a specific format (nagios, json, prometheus, text)",
       Kind::Text, "", "nagios"},
      {"namespace", "The prometheus namespace to use in output", Kind::Text, "",
       "nats_server_check"},
      {"outfile", "Save output to a file rather than STDOUT", Kind::Text, "OUTFILE"},
  };
  for (auto make : {connection_check, stream_check, consumer_check, message_check, meta_check,
                    request_check, jetstream_check, server_check, kv_check, credential_check}) {
    check.subcommands.push_back(make());
  }
  return check;
}

}  // namespace brokkr::cli
