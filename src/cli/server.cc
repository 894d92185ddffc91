// brokkr server: what a client without the system account can learn, and with it, ping.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

enum class Health : uint8_t { Ok, Warning, Critical };

struct Measure {
  std::string name;
  std::string help;
  double seconds = 0;
  double warn = 0;
  double critical = 0;
};

// One check in Nagios's sense: its worst finding is its status and its exit code.
struct CheckResult {
  std::vector<std::string> oks;
  std::vector<std::string> warnings;
  std::vector<std::string> criticals;
  std::vector<Measure> measures;

  Health health() const {
    if (!criticals.empty()) return Health::Critical;
    return warnings.empty() ? Health::Ok : Health::Warning;
  }
};

const char* health_text(Health health) {
  switch (health) {
    case Health::Ok: return "OK";
    case Health::Warning: return "WARNING";
    case Health::Critical: return "CRITICAL";
  }
  return "?";
}

std::string fixed(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

double to_seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

void judge(CheckResult& result, const Values& values, const std::string& flag, std::string name,
           std::string help, Duration took, const std::string& text) {
  const Duration warn = values.duration(flag + "-warn");
  const Duration critical = values.duration(flag + "-critical");
  result.measures.push_back({std::move(name), std::move(help), to_seconds(took), to_seconds(warn),
                             to_seconds(critical)});
  if (took >= critical) {
    result.criticals.push_back(text);
  } else if (took >= warn) {
    result.warnings.push_back(text);
  } else {
    result.oks.push_back(text);
  }
}

void check_connection(const Context& context, const Values& values, CheckResult& result) {
  const SystemClock clock;
  const MonotonicTime start = clock.now();
  auto session = connect(context, values);
  if (!session) {
    result.criticals.push_back("connection failed: " + describe(session.error()));
    return;
  }
  client::Session& s = **session;
  Duration took = clock.now() - start;
  judge(result, values, "connect", "connect_time", "Time taken to connect to NATS", took,
        "connected to " + s.connection().server_text() + " in " + format_go_duration(took));
  auto rtt = s.round_trip(values.duration("timeout"));
  if (!rtt) {
    result.criticals.push_back("rtt failed: " + describe(rtt.error()));
    return;
  }
  judge(result, values, "rtt", "rtt", "The round-trip-time of the connection", *rtt,
        "rtt time " + format_go_duration(*rtt));
  const std::string inbox = s.connection().make_inbox();
  bool is_back = false;
  auto subscription = s.connection().subscribe(
      inbox, [&](const client::Message& message) { is_back = message.payload == "round trip"; });
  const MonotonicTime sent_at = clock.now();
  if (!subscription || !s.connection().publish(inbox, "round trip") ||
      !client::run_until(s.loop(), values.duration("timeout"), [&] { return is_back; })) {
    result.criticals.push_back("round trip failed: no message came back");
    return;
  }
  took = clock.now() - sent_at;
  judge(result, values, "req", "request_time", "Time taken for a full Request-Reply operation", took,
        "round trip took " + fixed(to_seconds(took), 6) + "s");
}

std::string nagios_text(const CheckResult& result) {
  std::string out = std::string(health_text(result.health())) + " Connection";
  for (const std::string& text : result.criticals) out += " Crit:" + text;
  for (const std::string& text : result.warnings) out += " Warn:" + text;
  for (const std::string& text : result.oks) out += " OK:" + text;
  for (size_t i = 0; i < result.measures.size(); ++i) {
    const Measure& m = result.measures[i];
    out += (i == 0 ? " | " : " ") + m.name + "=" + fixed(m.seconds, 4) + "s;" + fixed(m.warn, 4) +
           ";" + fixed(m.critical, 4);
  }
  return out + "\n";
}

std::string json_text(const CheckResult& result) {
  json::Writer out({2, true});
  out.begin_object().field("status", health_text(result.health()));
  out.field("check_suite", "connections").field("check_name", "Connection");
  const auto list = [&](const char* name, const std::vector<std::string>& texts) {
    if (texts.empty()) return;
    out.key(name).begin_array();
    for (const std::string& text : texts) out.string(text);
    out.end_array();
  };
  list("critical", result.criticals);
  list("warning", result.warnings);
  list("ok", result.oks);
  if (!result.measures.empty()) {
    out.key("perf_data").begin_array();
    for (const Measure& m : result.measures) {
      out.begin_object().field("name", m.name).field("value", m.seconds);
      out.field("warning", m.warn).field("critical", m.critical).field("unit", "s").end_object();
    }
    out.end_array();
  }
  return out.end_object().take() + "\n";
}

std::string prometheus_text(const CheckResult& result, const std::string& prefix) {
  std::string out;
  auto measures = result.measures;
  std::sort(measures.begin(), measures.end(),
            [](const Measure& a, const Measure& b) { return a.name < b.name; });
  for (const Measure& m : measures) {
    const std::string name = prefix + "_connections_" + m.name;
    char value[32];
    std::snprintf(value, sizeof value, "%.9g", m.seconds);
    out += "# HELP " + name + " " + m.help + "\n# TYPE " + name + " gauge\n" + name +
           "{item=\"Connection\"} " + value + "\n";
  }
  const std::string name = prefix + "_connections_status_code";
  out += "# HELP " + name + " Nagios compatible status code for connections\n# TYPE " + name +
         " gauge\n" + name + "{item=\"Connection\",status=\"" + health_text(result.health()) +
         "\"} " + std::to_string(static_cast<int>(result.health())) + "\n\n";
  return out;
}

std::string human_text(const CheckResult& result) {
  Table status("");
  status.header({"Status", "Message"});
  for (const std::string& text : result.criticals) status.row({"CRITICAL", text});
  for (const std::string& text : result.warnings) status.row({"WARNING", text});
  for (const std::string& text : result.oks) status.row({"OK", text});
  Table measures("");
  measures.header({"Metric", "Value", "Unit", "Critical Threshold", "Warning Threshold", "Description"});
  for (const Measure& m : result.measures) {
    measures.row({m.name, fixed(m.seconds, 3), "s", fixed(m.critical, 3), fixed(m.warn, 3), m.help});
  }
  std::string out = "Connection: " + std::string(health_text(result.health())) +
                    "\n\nStatus Detail\n\n" + status.text();
  if (!result.measures.empty()) out += "\nCheck Metrics\n\n" + measures.text();
  return out + "\n";
}

int run_check_connection(const Context& context, const Values& values) {
  CheckResult result;
  check_connection(context, values, result);
  const std::string format = values.text("format");
  std::string text;
  if (format == "nagios") {
    text = nagios_text(result);
  } else if (format == "json") {
    text = json_text(result);
  } else if (format == "prometheus") {
    text = prometheus_text(result, values.text("namespace"));
  } else if (format == "text") {
    text = human_text(result);
  } else {
    return fail(context.program, "--format: one of nagios, json, prometheus, text");
  }
  print(text);
  return static_cast<int>(result.health());
}

// What INFO says; nothing beyond it is known without the system account.
int run_server_info(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const auto& info = (*session)->connection().server_info();
  if (values.is_on("json")) {
    json::Writer out({2, true});
    out.begin_object().field("server_id", info.server_id).field("server_name", info.server_name);
    out.field("version", info.version).field("host", info.host).field("port", info.port);
    out.field("headers", info.headers).field("auth_required", info.auth_required);
    out.field("max_payload", info.max_payload).field("jetstream", info.jetstream);
    out.field("client_id", info.client_id).field("client_ip", info.client_ip);
    if (!info.cluster.empty()) out.field("cluster", info.cluster);
    if (!info.domain.empty()) out.field("domain", info.domain);
    print_line(out.end_object().text());
    return 0;
  }
  const auto line = [](const std::string& name, const std::string& value) {
    print(std::string(25 - name.size(), ' ') + name + ": " + value + "\n");
  };
  print("Server information for " + info.server_name + " (" + info.server_id + ")\n\n");
  line("Version", info.version);
  line("Client URL", (*session)->connection().server_text());
  line("Max Payload", format_bytes(static_cast<uint64_t>(info.max_payload)));
  line("Authentication Required", info.auth_required ? "true" : "false");
  line("TLS Required", info.tls_required ? "true" : "false");
  line("Headers", info.headers ? "true" : "false");
  line("JetStream", info.jetstream ? "true" : "false");
  if (!info.cluster.empty()) line("Cluster", info.cluster);
  if (!info.domain.empty()) line("Domain", info.domain);
  line("Client ID", std::to_string(info.client_id));
  line("Client IP", info.client_ip);
  auto rtt = (*session)->round_trip(values.duration("timeout"));
  if (!rtt) return fail(context.program, rtt.error());
  line("RTT", short_duration(*rtt));
  return 0;
}

int run_server_ping(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  client::Session& s = **session;
  const uint64_t expected = values.has("expect") ? values.number("expect") : 0;
  client::ManyOptions many{values.duration("timeout"), std::chrono::milliseconds(300), expected, false};
  std::vector<double> times;
  std::optional<Status> end;
  const MonotonicTime start = s.clock().now();
  auto sent = s.connection().request_many(
      "$SYS.REQ.SERVER.PING", "", many,
      [&](const client::Message& reply) {
        auto parsed = json::parse(reply.payload);
        const json::Value* server = parsed ? parsed->find("server") : nullptr;
        if (server == nullptr) return;
        times.push_back(std::chrono::duration<double, std::milli>(s.clock().now() - start).count());
        std::string name(server->get_string(values.is_on("id") ? "id" : "name"));
        name.resize(std::max<size_t>(name.size(), 60), ' ');
        print_line(name + " rtt=" + fixed(times.back(), 2) + "ms");
      },
      [&](const Status& status) { end = status; });
  if (!sent) return fail(context.program, sent.error());
  while (!end) s.loop().run_once(many.timeout);
  if (times.empty()) {
    // Without the system account the server itself is still there to be asked.
    auto rtt = s.round_trip(many.timeout);
    if (!rtt) return fail(context.program, rtt.error());
    if (context.program == "nats") {
      return fail(context.program,
                  "503 status from $SYS.REQ.SERVER.PING, ensure a system account is used with appropriate permissions");
    }
    std::string name = s.connection().server_info().server_name;
    name.resize(std::max<size_t>(name.size(), 60), ' ');
    times.push_back(std::chrono::duration<double, std::milli>(*rtt).count());
    print_line(name + " rtt=" + fixed(times.back(), 2) + "ms");
    remark("only the connected server; the others need a system account");
  }
  double sum = 0;
  for (const double time : times) sum += time;
  print("\n---- ping statistics ----\n" + std::to_string(times.size()) + " replies max: " +
        fixed(*std::max_element(times.begin(), times.end()), 2) + " min: " +
        fixed(*std::min_element(times.begin(), times.end()), 2) + " avg: " +
        fixed(sum / static_cast<double>(times.size()), 2) + "\n");
  if (expected > times.size()) {
    return fail(context.program, "missing " + std::to_string(expected - times.size()) + " server(s)");
  }
  return 0;
}

}  // namespace

Command server_command() {
  Command connection{"connection", {"conn"}, "Checks basic server connection"};
  connection.flags = {
      {"connect-warn", "Warning threshold to allow for establishing connections", Kind::Duration, "", "500ms"},
      {"connect-critical", "Critical threshold to allow for establishing connections", Kind::Duration, "", "1s"},
      {"rtt-warn", "Warning threshold to allow for server RTT", Kind::Duration, "", "500ms"},
      {"rtt-critical", "Critical threshold to allow for server RTT", Kind::Duration, "", "1s"},
      {"req-warn", "Warning threshold to allow for full round trip test", Kind::Duration, "", "500ms"},
      {"req-critical", "Critical threshold to allow for full round trip test", Kind::Duration, "", "1s"},
  };
  connection.run = run_check_connection;
  Command check{"check", {}, "Health check for NATS servers"};
  check.flags = {
      {"format", "Render the check in a specific format (nagios, json, prometheus, text)", Kind::Text, "", "nagios"},
      {"namespace", "The prometheus namespace to use in output", Kind::Text, "", "nats_server_check"},
  };
  check.subcommands.push_back(std::move(connection));
  Command info{"info", {"i"}, "Show information about the connected server"};
  info.flags = {{"json,j", "Produce JSON output"}};
  info.run = run_server_info;
  Command ping{"ping", {}, "Ping all servers"};
  ping.arguments = {{"expect", "How many servers to expect", false}};
  ping.flags = {{"id", "Include the Server ID in the output"}};
  ping.run = run_server_ping;
  Command command{"server", {"srv", "sys", "system"}, "Server information"};
  for (Command* one : {&check, &info, &ping}) command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
