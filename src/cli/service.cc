// brokkr micro: discovery of NATS micro services, and a demo service.

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <optional>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/terminal.h"
#include "client/service.h"

namespace brokkr::cli {
namespace {

constexpr Duration kDiscoveryStall = std::chrono::milliseconds(300);

std::string verb_subject(std::string_view verb, const std::string& name, const std::string& id) {
  std::string subject = "$SRV." + std::string(verb);
  if (!name.empty()) subject += "." + name;
  if (!name.empty() && !id.empty()) subject += "." + id;
  return subject;
}

// The answers of every instance, in order of name and id.
Result<std::vector<json::Value>> ask_services(client::Session& session, const Values& values,
                                              const std::string& subject) {
  client::ManyOptions many;
  many.timeout = values.duration("timeout");
  many.stall = kDiscoveryStall;
  auto replies = session.request_many(subject, "", many);
  if (!replies) return replies.error();
  std::vector<json::Value> answers;
  for (const client::OwnedMessage& reply : *replies) {
    auto parsed = json::parse(reply.payload);
    if (parsed && parsed->is_object()) answers.push_back(std::move(*parsed));
  }
  std::sort(answers.begin(), answers.end(), [](const json::Value& a, const json::Value& b) {
    const auto key = [](const json::Value& v) {
      return std::pair(v.get_string("name"), v.get_string("id"));
    };
    return key(a) < key(b);
  });
  return answers;
}

int fail_none(const Context& context) { return fail(context.program, "no service instances found"); }

const std::vector<json::Value>& endpoints_of(const json::Value& answer) {
  static const std::vector<json::Value> none;
  const json::Value* endpoints = answer.find("endpoints");
  return endpoints == nullptr ? none : endpoints->items();
}

std::string duration_text(int64_t nanoseconds) {
  return nanoseconds == 0 ? "0s" : short_duration(Duration(nanoseconds));
}

void print_json(const std::vector<json::Value>& values) {
  json::Writer out({2, true});
  out.begin_array();
  for (const json::Value& value : values) out.value(value);
  out.end_array();
  print_line(out.text());
}

int run_service_list(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const std::string name = values.text("service");
  auto answers = ask_services(**session, values, verb_subject("INFO", name, ""));
  if (!answers) return fail(context.program, answers.error());
  if (answers->empty()) return fail_none(context);
  if (values.is_on("json")) {
    print_json(*answers);
    return 0;
  }
  Table table(name.empty() ? "All Services" : name + " Service");
  table.header({"Name", "Version", "ID", "Description"});
  std::string last;
  for (const json::Value& answer : *answers) {
    const std::string own(answer.get_string("name"));
    table.row({own == last ? "" : own, std::string(answer.get_string("version")),
               std::string(answer.get_string("id")), std::string(answer.get_string("description"))});
    last = own;
  }
  print_line(table.text());
  return 0;
}

void print_field(std::string_view name, std::string_view value, size_t width) {
  print(std::string(width - std::min(width, name.size()), ' ') + std::string(name) + ": " +
        std::string(value) + "\n");
}

// The members of an object, one a line, below each other.
std::string metadata_text(const json::Value* metadata, size_t indent) {
  std::string out;
  if (metadata == nullptr) return out;
  for (const auto& [name, value] : metadata->members()) {
    if (!out.empty()) out += "\n" + std::string(indent, ' ');
    out += name + ": " + std::string(value.as_string());
  }
  return out;
}

std::string indented(const std::string& text, const std::string& indent) {
  std::string out;
  for (const std::string_view line : split(text, '\n')) out += indent + std::string(line) + "\n";
  return out;
}

// "2026-11-23 11:50:50 (2.83s ago)" of an RFC 3339 time in UTC; other texts stay as they are.
std::string started_text(std::string_view text, WallTime now) {
  std::tm parts{};
  const std::string copy(text);
  if (!copy.ends_with('Z') ||
      std::sscanf(copy.c_str(), "%d-%d-%dT%d:%d:%d", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                  &parts.tm_hour, &parts.tm_min, &parts.tm_sec) != 6) {
    return copy;
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  const double fraction = copy[19] == '.' ? parse_double("0" + copy.substr(19, copy.size() - 20)).value_or(0) : 0;
  const WallTime started = WallTime(std::chrono::seconds(timegm(&parts))) +
                           std::chrono::duration_cast<Duration>(std::chrono::duration<double>(fraction));
  return local_date_text(started) + " (" + short_duration(now - started) + " ago)";
}

void print_statistics(const json::Value& stats, WallTime now) {
  const auto& endpoints = endpoints_of(stats);
  print("\nStatistics for " + std::to_string(endpoints.size()) + " Endpoint(s):\n");
  for (const json::Value& endpoint : endpoints) {
    print("\n  " + std::string(endpoint.get_string("name")) + " Endpoint Statistics:\n\n");
    const auto number = [&](const char* name) { return endpoint.get_int(name); };
    std::string requests = format_count(static_cast<uint64_t>(number("num_requests")));
    if (const auto queue = endpoint.get_string("queue_group"); !queue.empty()) {
      requests += " in group \"" + std::string(queue) + "\"";
    }
    print_field("Requests", requests, 19);
    print_field("Processing Time",
                duration_text(number("processing_time")) + " (average " +
                    duration_text(number("average_processing_time")) + ")",
                19);
    print_field("Started", started_text(stats.get_string("started"), now), 19);
    print_field("Errors", format_count(static_cast<uint64_t>(number("num_errors"))), 19);
    if (const auto error = endpoint.get_string("last_error"); !error.empty()) {
      print_field("Last Error", error, 19);
    }
    if (const json::Value* data = endpoint.find("data"); data != nullptr && !data->is_null()) {
      json::Writer out({4, true});
      out.value(*data);
      print("\n  Endpoint Specific Statistics:\n\n" + indented(out.text(), "    "));
    }
  }
}

void print_service(const json::Value& info) {
  print("Service Information\n\n");
  print_field("Service", std::string(info.get_string("name")) + " (" +
                             std::string(info.get_string("id")) + ")", 17);
  print_field("Description", info.get_string("description"), 17);
  print_field("Version", info.get_string("version"), 17);
  if (const std::string text = metadata_text(info.find("metadata"), 19); !text.empty()) {
    print_field("Metadata", text, 17);
  }
  print("\nEndpoints:\n");
  for (const json::Value& endpoint : endpoints_of(info)) {
    print("\n");
    print_field("Name", endpoint.get_string("name"), 19);
    print_field("Subject", endpoint.get_string("subject"), 19);
    if (const auto queue = endpoint.get_string("queue_group"); !queue.empty()) {
      print_field("Queue Group", queue, 19);
    }
    if (const std::string text = metadata_text(endpoint.find("metadata"), 21); !text.empty()) {
      print_field("Metadata", text, 19);
    }
  }
}

int run_service_info(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const std::string name = values.text("service");
  const std::string id = values.text("id");
  auto infos = ask_services(**session, values, verb_subject("INFO", name, id));
  if (!infos) return fail(context.program, infos.error());
  if (infos->empty()) return fail_none(context);
  const json::Value& info = infos->front();
  const std::string chosen(info.get_string("id"));
  auto stats = ask_services(**session, values, verb_subject("STATS", name, chosen));
  if (!stats) return fail(context.program, stats.error());
  if (values.is_on("json")) {
    json::Writer out({2, true});
    out.begin_object().key("info").value(info);
    if (!stats->empty()) out.key("stats").value(stats->front());
    out.end_object();
    print_line(out.text());
    return 0;
  }
  print_service(info);
  if (!stats->empty()) print_statistics(stats->front(), (*session)->clock().wall_now());
  return 0;
}

int run_stats(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const std::string name = values.text("service");
  auto answers = ask_services(**session, values, verb_subject("STATS", name, values.text("id")));
  if (!answers) return fail(context.program, answers.error());
  if (answers->empty()) return fail_none(context);
  if (values.is_on("json")) {
    print_json(*answers);
    return 0;
  }
  Table table(name + " Service Statistics");
  table.header({"ID", "Endpoint", "Requests", "Queue Group", "Errors", "Processing Time",
                "Average Time"});
  int64_t requests = 0;
  int64_t errors = 0;
  int64_t time = 0;
  for (const json::Value& answer : *answers) {
    for (const json::Value& endpoint : endpoints_of(answer)) {
      const auto count = [&](const char* member) {
        return format_count(static_cast<uint64_t>(endpoint.get_int(member)));
      };
      requests += endpoint.get_int("num_requests");
      errors += endpoint.get_int("num_errors");
      time += endpoint.get_int("processing_time");
      table.row({std::string(answer.get_string("id")), std::string(endpoint.get_string("name")),
                 count("num_requests"), std::string(endpoint.get_string("queue_group")),
                 count("num_errors"), duration_text(endpoint.get_int("processing_time")),
                 duration_text(endpoint.get_int("average_processing_time"))});
    }
  }
  table.footer({"", "", format_count(static_cast<uint64_t>(requests)), "",
                format_count(static_cast<uint64_t>(errors)), duration_text(time),
                duration_text(requests == 0 ? 0 : time / requests)});
  print_line(table.text());
  return 0;
}

int run_ping(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  client::Session& s = **session;
  client::ManyOptions many;
  many.timeout = values.duration("timeout");
  many.stall = kDiscoveryStall;
  const MonotonicTime start = s.clock().now();
  std::optional<Status> end;
  uint64_t count = 0;
  auto sent = s.connection().request_many(
      verb_subject("PING", values.text("service"), ""), "", many,
      [&](const client::Message& reply) {
        auto parsed = json::parse(reply.payload);
        if (!parsed) return;
        ++count;
        const auto rtt = std::chrono::round<std::chrono::milliseconds>(s.clock().now() - start);
        const std::string name(parsed->get_string("name"));
        std::string id(parsed->get_string("id"));
        id.resize(std::max<size_t>(id.size(), 42), ' ');
        print_line(name + " " + id + " rtt=" + std::to_string(std::max<int64_t>(rtt.count(), 1)) + "ms");
      },
      [&](const Status& status) { end = status; });
  if (!sent) return fail(context.program, sent.error());
  while (!end) s.loop().run_once(many.timeout);
  return count > 0 ? 0 : fail_none(context);
}

int run_serve(const Context& context, const Values& values) {
  auto headers = make_headers(values.all("header"));
  if (!headers) return fail(context.program, headers.error());
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  client::Session& s = **session;
  const std::string name = values.text("name");
  client::Service::Options options;
  options.name = name;
  options.version = "1.0.0";
  options.description = "NATS CLI Demo Service (" + name + ")";
  options.metadata = {{"_nats.client.created.library", "brokkr"},
                      {"_nats.client.created.version", context.version}};
  auto service = client::Service::start(s.connection(), s.random(), std::move(options));
  if (!service) return fail(context.program, service.error());
  uint64_t total_payload = 0;
  auto added = (*service)->add_endpoint({"echo", name + ".echo", {}, {}, false},
                                        [&](client::ServiceRequest request) {
    const client::Message& message = request.message();
    total_payload += message.payload.size();
    print_line(local_clock_text(s.clock().wall_now()) + " " + std::string(message.subject) + ": " +
               std::to_string(message.payload.size()) + " bytes");
    std::fflush(stdout);
    static_cast<void>(request.respond(message.payload, *headers));
  });
  if (!added) return fail(context.program, added.error());
  (*service)->on_stats([&](size_t) { return "{\"total_payload\":" + std::to_string(total_payload) + "}"; });
  print("NATS CLI Service " + name + " handler " + std::to_string(getpid()) +
        " waiting for requests on " + s.connection().server_text() +
        "\n\nListening Subjects:\n\n  " + name + ".echo: Echo Service\n\nRequests Log:\n\n");
  std::fflush(stdout);
  while (s.connection().state() != client::State::Closed) s.loop().run_once(std::chrono::seconds(60));
  return fail(context.program, s.connection().last_error());
}

Command make_part(const char* name, const char* summary,
            Callback<int(const Context&, const Values&)> run) {
  Command command{name, {}, summary};
  command.run = std::move(run);
  return command;
}

}  // namespace

Command service_command() {
  const Flag json_flag{"json,j", "Show JSON output"};
  Command command{"service", {"micro"}, "Services discovery and management"};
  Command list = make_part("list", "List known Services", run_service_list);
  list.aliases = {"ls", "l"};
  list.arguments = {{"service", "List instances of a specific Service", false}};
  list.flags = {json_flag};
  Command info = make_part("info", "Show Service information", run_service_info);
  info.aliases = {"i"};
  info.arguments = {{"service", "Service to show"}, {"id", "Show info for a specific ID", false}};
  info.flags = {json_flag};
  Command stats = make_part("stats", "Report Service statistics", run_stats);
  stats.arguments = {{"service", "Service to show"}, {"id", "Show info for a specific ID", false}};
  stats.flags = {json_flag};
  Command ping = make_part("ping", "Sends a ping to all Services", run_ping);
  ping.arguments = {{"service", "Service to show", false}};
  Command serve = make_part("serve", "Runs a demo Service", run_serve);
  serve.arguments = {{"name", "A name for the service to run on"}};
  serve.flags = {{"header,H", "Headers to add to responses using K:V format", Kind::Text, "K:V", "", "", true}};
  for (Command* one : {&list, &info, &stats, &ping, &serve}) {
    command.subcommands.push_back(std::move(*one));
  }
  return command;
}

}  // namespace brokkr::cli
