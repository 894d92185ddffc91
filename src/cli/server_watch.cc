// brokkr server watch: what servers report by themselves, every 30 seconds, drawn each second.

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>

#include "cli/columns.h"
#include "cli/connection_report.h"
#include "cli/server_commands.h"
#include "cli/system_api.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr Duration kStale = std::chrono::seconds(35);
constexpr size_t kRowsBeside = 9;  // of the screen: title, header, footer and lines

// A thing to sort by: its flag, its title, and how much of it a report has.
struct WatchSort {
  const char* name;
  const char* title;
  int64_t (*value)(const json::Value* report);
};

const json::Value* inner(const json::Value* object, const char* member) {
  return object == nullptr ? nullptr : object->find(member);
}

constexpr const char* kSent = "sent";
constexpr const char* kReceived = "received";

constexpr WatchSort kAccountSorts[] = {
    {"conns", "Connections", [](const json::Value* r) { return number_in(r, "conns"); }},
    {"subs", "Subscriptions",
     [](const json::Value* r) { return number_in(r, "num_subscriptions"); }},
    {"sentb", "Sent Bytes",
     [](const json::Value* r) { return number_in(inner(r, kSent), "bytes"); }},
    {"sentm", "Sent Messages",
     [](const json::Value* r) { return number_in(inner(r, kSent), "msgs"); }},
    {"recvb", "Received Bytes",
     [](const json::Value* r) { return number_in(inner(r, kReceived), "bytes"); }},
    {"recvm", "Received Messages",
     [](const json::Value* r) { return number_in(inner(r, kReceived), "msgs"); }},
    {"slow", "Slow Consumers",
     [](const json::Value* r) { return number_in(r, "slow_consumers"); }}};

constexpr WatchSort kServerSorts[] = {
    {"conns", "Connections", [](const json::Value* r) { return number_in(r, "connections"); }},
    {"subs", "Subscriptions", [](const json::Value* r) { return number_in(r, "subscriptions"); }},
    {"sentb", "Sent Bytes",
     [](const json::Value* r) { return number_in(inner(r, kSent), "bytes"); }},
    {"sentm", "Sent Messages",
     [](const json::Value* r) { return number_in(inner(r, kSent), "msgs"); }},
    {"recvb", "Received Bytes",
     [](const json::Value* r) { return number_in(inner(r, kReceived), "bytes"); }},
    {"recvm", "Received Messages",
     [](const json::Value* r) { return number_in(inner(r, kReceived), "msgs"); }},
    {"slow", "Slow Consumers", [](const json::Value* r) { return number_in(r, "slow_consumers"); }},
    {"route", "Routes",
     [](const json::Value* r) { return static_cast<int64_t>(items_in(r, "routes").size()); }},
    {"gway", "Gateways",
     [](const json::Value* r) { return static_cast<int64_t>(items_in(r, "gateways").size()); }},
    {"mem", "Memory", [](const json::Value* r) { return number_in(r, "mem"); }},
    {"cpu", "CPU", [](const json::Value* r) { return number_in(r, "cpu"); }},
    {"name", "Server Name", [](const json::Value*) { return int64_t{0}; }}};

const json::Value* stats_of_jetstream(const json::Value* report) {
  return inner(inner(report, "jetstream"), "stats");
}

constexpr WatchSort kJetStreamSorts[] = {
    {"assets", "HA Asset",
     [](const json::Value* r) { return number_in(stats_of_jetstream(r), "ha_assets"); }},
    {"mem", "Memory Used",
     [](const json::Value* r) { return number_in(stats_of_jetstream(r), "memory"); }},
    {"file", "File Storage",
     [](const json::Value* r) { return number_in(stats_of_jetstream(r), "storage"); }},
    {"api", "API Requests",
     [](const json::Value* r) { return number_in(inner(stats_of_jetstream(r), "api"), "total"); }}};

std::string bytes_in(const json::Value* object, const char* member) {
  return short_bytes(static_cast<uint64_t>(std::max<int64_t>(number_in(object, member), 0)));
}
std::string traffic_text(int64_t messages, int64_t bytes) {
  return comma(messages) + " / " + short_bytes(static_cast<uint64_t>(std::max<int64_t>(bytes, 0)));
}

// The rows of the screen that are for the table's own; absent without a screen.
std::optional<size_t> screen_rows() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row <= kRowsBeside)
    return std::nullopt;
  return size.ws_row - kRowsBeside;
}

// The latest report of each source, by its name. `body` is what the sorts look at.
struct Watched {
  std::string name;
  size_t servers = 1;
  json::Value body;
};

class WatchTable {
 public:
  WatchTable(std::string kind, const WatchSort& sort) : kind_(std::move(kind)), sort_(sort) {}

  // Sorted, the greatest first; the title tells how many there are of how many.
  Table make(std::vector<Watched>& all, size_t rows, WallTime seen) const {
    std::stable_sort(all.begin(), all.end(), [&](const Watched& a, const Watched& b) {
      const int64_t left = sort_.value(&a.body);
      const int64_t right = sort_.value(&b.body);
      return left != right ? left > right : a.name < b.name;
    });
    std::string count = std::to_string(all.size());
    if (all.size() > rows) {
      count = std::to_string(rows) + " / " + count;
      all.resize(rows);
    }
    return Table("Top " + count + " " + kind_ + " activity by " + sort_.title + " at " +
                 local_date_text(seen));
  }

 private:
  std::string kind_;
  const WatchSort& sort_;
};

std::string accounts_table(std::vector<Watched> all, const WatchSort& sort, size_t rows,
                           WallTime seen) {
  Table table = WatchTable("Account", sort).make(all, rows, seen);
  table.header({"Account", "Servers", "Connections", "Leafnodes", "Subscriptions", "Slow", "Sent",
                "Received"});
  table.align_right(1);
  for (const Watched& one : all) {
    const json::Value* r = &one.body;
    const json::Value* sent = inner(r, kSent);
    const json::Value* received = inner(r, kReceived);
    table.row({one.name, std::to_string(one.servers), comma(number_in(r, "conns")),
               comma(number_in(r, "leafnodes")), comma(number_in(r, "num_subscriptions")),
               comma(number_in(r, "slow_consumers")),
               traffic_text(number_in(sent, "msgs"), number_in(sent, "bytes")),
               traffic_text(number_in(received, "msgs"), number_in(received, "bytes"))});
  }
  return table.text();
}

std::string servers_table(std::vector<Watched> all, const WatchSort& sort, size_t rows,
                          WallTime seen) {
  int64_t sums[8] = {};
  for (const Watched& one : all) {
    const json::Value* r = &one.body;
    const json::Value* sent = inner(r, kSent);
    const json::Value* received = inner(r, kReceived);
    const int64_t values[] = {number_in(r, "connections"),    number_in(r, "subscriptions"),
                              number_in(r, "slow_consumers"), number_in(r, "mem"),
                              number_in(sent, "msgs"),        number_in(sent, "bytes"),
                              number_in(received, "msgs"),    number_in(received, "bytes")};
    for (size_t i = 0; i < std::size(sums); ++i)
      sums[i] += values[i];
  }
  Table table = WatchTable("Server", sort).make(all, rows, seen);
  table.header({"Server", "Connections", "Subscription", "Slow", "Memory", "CPU", "Cores", "Routes",
                "Gateways", "Sent", "Received"});
  for (const Watched& one : all) {
    const json::Value* r = &one.body;
    const json::Value* sent = inner(r, kSent);
    const json::Value* received = inner(r, kReceived);
    table.row({one.name, comma(number_in(r, "connections")), comma(number_in(r, "subscriptions")),
               comma(number_in(r, "slow_consumers")), bytes_in(r, "mem"),
               std::to_string(number_in(r, "cpu")), comma(number_in(r, "cores")),
               std::to_string(items_in(r, "routes").size()),
               std::to_string(items_in(r, "gateways").size()),
               traffic_text(number_in(sent, "msgs"), number_in(sent, "bytes")),
               traffic_text(number_in(received, "msgs"), number_in(received, "bytes"))});
  }
  table.footer({"Totals (All Servers)", comma(sums[0]), comma(sums[1]), comma(sums[2]),
                short_bytes(static_cast<uint64_t>(sums[3])), "", "", "", "",
                traffic_text(sums[4], sums[5]), traffic_text(sums[6], sums[7])});
  return table.text();
}

std::string pending_text(int64_t pending, int64_t infos, int64_t requests) {
  return comma(pending) + (infos > 0 ? " / " + comma(infos) + " info" : "") +
         (requests > 0 ? " / " + comma(requests) + " req" : "");
}

std::string jetstream_table(std::vector<Watched> all, const WatchSort& sort, size_t rows,
                            WallTime seen) {
  std::erase_if(all, [](const Watched& one) { return stats_of_jetstream(&one.body) == nullptr; });
  int64_t sums[8] = {};
  for (const Watched& one : all) {
    const json::Value* stats = stats_of_jetstream(&one.body);
    const json::Value* meta = inner(inner(&one.body, "jetstream"), "meta");
    const int64_t values[] = {number_in(stats, "ha_assets"),
                              number_in(stats, "memory"),
                              number_in(stats, "storage"),
                              number_in(inner(stats, "api"), "total"),
                              number_in(inner(stats, "api"), "errors"),
                              number_in(meta, "pending"),
                              number_in(meta, "pending_infos"),
                              number_in(meta, "pending_requests")};
    for (size_t i = 0; i < std::size(sums); ++i)
      sums[i] += values[i];
  }
  Table table = WatchTable("Server", sort).make(all, rows, seen);
  table.header(
      {"Server", "HA Assets", "Memory", "File", "API", "API Errors", "Pending", "Snapshot Time"});
  for (const Watched& one : all) {
    const json::Value* stats = stats_of_jetstream(&one.body);
    const json::Value* meta = inner(inner(&one.body, "jetstream"), "meta");
    const bool is_leader = meta != nullptr && text_in(meta, "leader") == one.name;
    const json::Value* snapshot = is_leader ? inner(meta, "snapshot") : nullptr;
    const std::string_view last = text_in(snapshot, "last_time");
    table.row({one.name + (is_leader ? "*" : ""), comma(number_in(stats, "ha_assets")),
               bytes_in(stats, "memory"), bytes_in(stats, "storage"),
               comma(number_in(inner(stats, "api"), "total")),
               comma(number_in(inner(stats, "api"), "errors")),
               pending_text(number_in(meta, "pending"), number_in(meta, "pending_infos"),
                            number_in(meta, "pending_requests")),
               parse_time(last)
                   ? long_duration(time_between(last, {})) + " ago (" +
                         long_duration(Duration(number_in(snapshot, "last_duration"))) + ")"
                   : ""});
  }
  table.footer({"Totals (" + std::to_string(all.size()) + " Servers)", comma(sums[0]),
                short_bytes(static_cast<uint64_t>(sums[1])),
                short_bytes(static_cast<uint64_t>(sums[2])), comma(sums[3]), comma(sums[4]),
                pending_text(sums[5], sums[6], sums[7])});
  return table.text();
}

// What one of the three commands needs.
struct WatchKind {
  const char* subject;
  bool is_by_account;
  std::span<const WatchSort> sorts;
  std::string (*draw)(std::vector<Watched>, const WatchSort&, size_t rows, WallTime seen);
};
const WatchKind kAccountWatch{"$SYS.ACCOUNT.*.SERVER.CONNS", true, kAccountSorts, accounts_table};
const WatchKind kServerWatch{"$SYS.SERVER.*.STATSZ", false, kServerSorts, servers_table};
const WatchKind kJetStreamWatch{"$SYS.SERVER.*.STATSZ", false, kJetStreamSorts, jetstream_table};

// What has been reported so far.
class Reports {
 public:
  void take(std::string_view payload) {
    auto parsed = json::parse(payload);
    if (!parsed) return;
    const std::string id(text_in(parsed->find("server"), "id"));
    const std::string account(parsed->get_string("acc"));
    latest_[account][id] = std::move(*parsed);
    seen_ = SystemClock().wall_now();
  }
  WallTime seen() const { return seen_; }
  bool is_empty() const { return latest_.empty(); }

  std::vector<Watched> servers() const {
    std::vector<Watched> out;
    for (const auto& [account, servers] : latest_) {
      for (const auto& [id, report] : servers) {
        const json::Value* stats = report.find("statsz");
        if (stats != nullptr)
          out.push_back({std::string(text_in(report.find("server"), "name")), 1, *stats});
      }
    }
    return out;
  }

  // Only servers with connections of an account report on it: what is old is no more.
  std::vector<Watched> accounts() const {
    std::vector<Watched> out;
    for (const auto& [account, servers] : latest_) {
      int64_t sums[8] = {};
      Watched one{account, 0, {}};
      for (const auto& [id, report] : servers) {
        if (time_between(text_in(report.find("server"), "time"), {}) > kStale) continue;
        if (const auto name = report.get_string("name"); !name.empty()) one.name = name;
        ++one.servers;
        const json::Value* sent = report.find(kSent);
        const json::Value* received = report.find(kReceived);
        const int64_t values[] = {report.get_int("conns"),
                                  report.get_int("leafnodes"),
                                  report.get_int("num_subscriptions"),
                                  report.get_int("slow_consumers"),
                                  number_in(sent, "msgs"),
                                  number_in(sent, "bytes"),
                                  number_in(received, "msgs"),
                                  number_in(received, "bytes")};
        for (size_t i = 0; i < std::size(sums); ++i)
          sums[i] += values[i];
      }
      one.body = summed(sums);
      if (one.servers > 0) out.push_back(std::move(one));
    }
    return out;
  }

 private:
  static json::Value summed(const int64_t (&sums)[8]) {
    Draft sent;
    sent.number("msgs", sums[4]);
    sent.number("bytes", sums[5]);
    Draft received;
    received.number("msgs", sums[6]);
    received.number("bytes", sums[7]);
    Draft out;
    out.number("conns", sums[0]);
    out.number("leafnodes", sums[1]);
    out.number("num_subscriptions", sums[2]);
    out.number("slow_consumers", sums[3]);
    out.object(kSent, sent);
    out.object(kReceived, received);
    return out.value();
  }

  std::map<std::string, std::map<std::string, json::Value>> latest_;  // by account, then by server
  WallTime seen_ = SystemClock().wall_now();
};

int run_server_watch(const Context& context, const Values& values, const WatchKind& kind) {
  const WatchSort* sort = nullptr;
  std::vector<std::string> names;
  for (const WatchSort& one : kind.sorts) {
    names.emplace_back(one.name);
    if (values.text("sort") == one.name) sort = &one;
  }
  if (sort == nullptr)
    return fail(context.program, check_choice("sort", values.text("sort"), names).error());
  const uint64_t count = values.number("count");
  const uint64_t number = values.number("number");
  if (!screen_rows() && number == 0 && count == 0) {
    return fail(context.program,
                "could not determine screen dimensions: no terminal; --count draws so many times "
                "without one");
  }
  auto api = SystemApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Reports reports;
  // What there is at the start; fails without the system account.
  auto replies = api->ask("$SYS.REQ.SERVER.PING", {}, 0);
  if (!replies) return fail(context.program, replies.error());
  for (const ServerReply& reply : *replies) {
    if (!kind.is_by_account) reports.take(reply.text);
  }
  auto subscription = api->session().connection().subscribe(
      kind.subject, [&](const client::Message& message) { reports.take(message.payload); });
  if (!subscription) return fail(context.program, subscription.error());
  for (uint64_t drawn = 0; count == 0 || drawn < count;) {
    const bool is_over = client::run_until(api->session().loop(), std::chrono::seconds(1), [&] {
      return api->session().connection().state() == client::State::Closed;
    });
    if (is_over) return fail(context.program, api->session().connection().last_error());
    // Without a screen there is nothing to draw again for.
    if (reports.is_empty() && !is_terminal_stdout()) continue;
    size_t rows = screen_rows().value_or(SIZE_MAX);
    if (number > 0) rows = std::min<size_t>(rows, number);
    if (is_terminal_stdout()) print("\x1b[2J\x1b[H");
    print(kind.draw(kind.is_by_account ? reports.accounts() : reports.servers(), *sort, rows,
                    reports.seen()));
    std::fflush(stdout);
    ++drawn;
  }
  return 0;
}

Command watch_command(std::string name, std::vector<std::string> aliases, std::string summary,
                      const WatchKind& kind) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.description =
      "Servers report every 30 seconds by themselves: this is no view of one moment. Only servers "
      "that hold\n"
      "connections of an account report on it.";
  std::string sorts;
  for (const WatchSort& sort : kind.sorts)
    sorts += (sorts.empty() ? "" : ", ") + std::string(sort.name);
  command.flags = {
      {"sort", "Sorts by a specific property (" + sorts + ")", Kind::Text, "SORT",
       kind.sorts.front().name},
      {"number,n", "Amount of rows to show by the selected dimension", Kind::Number, "", "0"},
      {"count", "Quit after drawing so many times", Kind::Number, "COUNT", "0"}};
  command.run = [&kind](const Context& context, const Values& values) {
    return run_server_watch(context, values, kind);
  };
  return command;
}

}  // namespace

Command server_watch_command() {
  Command command{"watch", {}, "Live views of server conditions"};
  command.subcommands.push_back(
      watch_command("accounts", {"account", "acct"}, "Watch account usage", kAccountWatch));
  command.subcommands.push_back(
      watch_command("jetstream", {"js", "jsz"}, "Watch JetStream statistics", kJetStreamWatch));
  command.subcommands.push_back(
      watch_command("servers", {"server", "srv"}, "Watch server statistics", kServerWatch));
  return command;
}

}  // namespace brokkr::cli
