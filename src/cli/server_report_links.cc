// brokkr server report: health, cpu, mem, routes, gateways, leafnodes.

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "cli/columns.h"
#include "cli/connection_report.h"
#include "cli/server_report.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kErrorsShownMax = 10;

// One link of a server: a leaf node, route or gateway connection.
struct ReportedLink {
  const json::Value* server;
  const json::Value* info;
};

std::string text_at(const json::Value* object, const char* member) {
  return std::string(text_in(object, member));
}
std::string bytes_at(const json::Value* object, const char* member) {
  return short_bytes(static_cast<uint64_t>(std::max<int64_t>(number_in(object, member), 0)));
}
std::string count_at(const json::Value* object, const char* member) {
  return comma(number_in(object, member));
}
std::string count_text(size_t count) {
  return comma(static_cast<uint64_t>(count));
}

std::string address_of(const json::Value* info) {
  return text_at(info, "ip") + ":" + std::to_string(number_in(info, "port"));
}

// "ABCDEFGHIJ...QRSTUVWXYZ"
std::string short_account(const json::Value* info) {
  std::string account = text_at(info, "account");
  if (account.size() > 23)
    account = account.substr(0, 10) + "..." + account.substr(account.size() - 10);
  return account;
}

// A duration as Go writes it, for people; other text as it is.
std::string go_duration_text(const std::string& text) {
  Duration value{};
  return parse_duration(text, value) ? long_duration(value) : text;
}

std::vector<ReportedLink> links_of(const std::vector<ServerReply>& replies, const char* member) {
  std::vector<ReportedLink> links;
  for (const ServerReply& reply : replies) {
    for (const json::Value& info : items_in(reply.data(), member))
      links.push_back({reply.server(), &info});
  }
  return links;
}

bool is_link_less(const ReportedLink& a, const ReportedLink& b, const std::string& key) {
  static constexpr std::pair<const char*, const char*> kNumbers[] = {{"subs", "subscriptions"},
                                                                     {"in-bytes", "in_bytes"},
                                                                     {"out-bytes", "out_bytes"},
                                                                     {"in-msgs", "in_msgs"},
                                                                     {"out-msgs", "out_msgs"}};
  const auto rank = [](const ReportedLink& one) {
    return std::tuple(text_in(one.server, "name"), text_in(one.server, "cluster"),
                      text_in(one.info, "remote_name"), text_in(one.info, "account"));
  };
  for (const auto& [name, member] : kNumbers) {
    if (key != name) continue;
    const int64_t left = number_in(a.info, member);
    const int64_t right = number_in(b.info, member);
    return left != right ? left < right : rank(a) < rank(b);
  }
  const auto text = [&](const ReportedLink& one) {
    if (key == "cluster") return text_in(one.server, "cluster");
    if (key == "account") return text_in(one.info, "account");
    if (key == "name")
      return text_in(one.info, one.info->find("name") != nullptr ? "name" : "remote_name");
    return text_in(one.server, "name");
  };
  return text(a) != text(b) ? text(a) < text(b) : rank(a) < rank(b);
}

void sort_links(std::vector<ReportedLink>& links, const Values& values) {
  const std::string key = values.text("sort");
  std::stable_sort(links.begin(), links.end(), [&](const ReportedLink& a, const ReportedLink& b) {
    return values.is_on("reverse") ? is_link_less(b, a, key) : is_link_less(a, b, key);
  });
}

void sort_replies(std::vector<ServerReply>& replies, const Values& values, bool is_by_cluster) {
  const auto rank = [&](const ServerReply& reply) {
    const std::string_view name = text_in(reply.server(), "name");
    const std::string_view cluster = text_in(reply.server(), "cluster");
    return is_by_cluster ? std::pair(cluster, name) : std::pair(name, cluster);
  };
  std::stable_sort(replies.begin(), replies.end(), [&](const ServerReply& a, const ServerReply& b) {
    return values.is_on("reverse") ? rank(b) < rank(a) : rank(a) < rank(b);
  });
}

int report_usage(ReportCall& call, const char* member, const char* caption) {
  auto replies = ask_for_report(call, {}, {});
  if (!replies) return fail(call.context.program, replies.error());
  std::vector<Bar> bars;
  for (const ServerReply& reply : *replies) {
    const json::Value* stats = reply.json.find("statsz");
    const json::Value* found = stats == nullptr ? nullptr : stats->find(member);
    const double value = found == nullptr ? 0 : found->as_double().value_or(0);
    const bool is_bytes = std::string_view(member) == "mem";
    char number[32];
    std::snprintf(number, sizeof number, "%.10g", value);
    bars.push_back({text_at(reply.server(), "name"), value,
                    is_bytes ? short_bytes(static_cast<uint64_t>(std::max(value, 0.0))) : number});
  }
  if (!call.values.is_on("json")) {
    print(bar_graph(caption, std::move(bars)));
    return 0;
  }
  std::sort(bars.begin(), bars.end(), [](const Bar& a, const Bar& b) { return a.name < b.name; });
  json::Writer out({2, true});
  out.begin_object();
  for (const Bar& bar : bars)
    out.field(bar.name, bar.value);
  print_line(out.end_object().text());
  return 0;
}

void add_gateway(Table& table, const std::string& direction, const std::string& name,
                 const json::Value& one, const char* bytes) {
  const json::Value* connection = one.find("connection");
  table.row({"", "", "", direction, name + " " + address_of(connection),
             "gid:" + std::to_string(number_in(connection, "cid")),
             go_duration_text(text_at(connection, "uptime")),
             go_duration_text(text_at(connection, "rtt")), bytes_at(connection, bytes),
             count_text(items_in(&one, "accounts").size())});
}

}  // namespace

int report_cpu(ReportCall& call) {
  return report_usage(call, "cpu", "CPU Usage");
}
int report_memory(ReportCall& call) {
  return report_usage(call, "mem", "Memory Usage");
}

int report_health(ReportCall& call) {
  const Values& values = call.values;
  Draft body;
  if (values.is_on("js-enabled")) body.flag("js-enabled-only", true);
  if (values.is_on("server-only")) body.flag("js-server-only", true);
  for (const char* flag : {"account", "stream", "consumer"}) {
    if (const std::string text = values.text(flag); !text.empty()) body.text(flag, text);
  }
  body.flag("details", true);
  auto replies = ask_for_report(call, "HEALTHZ", std::move(body));
  if (!replies) return fail(call.context.program, replies.error());
  sort_replies(*replies, values, false);
  Table table("Health Report");
  table.header({"Server", "Cluster", "Domain", "Status", "Type", "Error"});
  size_t healthy = 0;
  size_t errors_count = 0;
  std::set<std::string> clusters;
  for (const ServerReply& reply : *replies) {
    const int64_t code = number_in(reply.data(), "status_code");
    table.row({text_at(reply.server(), "name"), text_at(reply.server(), "cluster"),
               text_at(reply.server(), "domain"),
               text_at(reply.data(), "status") + " (" + std::to_string(code) + ")"});
    healthy += code == 200 ? 1 : 0;
    clusters.insert(text_at(reply.server(), "cluster"));
    const auto& errors = items_in(reply.data(), "errors");
    errors_count += errors.size();
    const size_t shown = errors.size() > kErrorsShownMax ? kErrorsShownMax - 1 : errors.size();
    for (size_t i = 0; i < shown; ++i) {
      table.row({"", "", "", "", text_at(&errors[i], "type"), text_at(&errors[i], "error")});
    }
    if (shown != errors.size())
      table.row({"", "", "", std::to_string(errors.size() - shown) + " more errors"});
  }
  table.footer(
      {count_text(replies->size()), count_text(clusters.size()), "",
       "ok: " + std::to_string(healthy) + " / err: " + std::to_string(replies->size() - healthy),
       "", count_text(errors_count)});
  print_line(table.text());
  return 0;
}

int report_leafnodes(ReportCall& call) {
  Draft body;
  body.text("account", call.values.text("account"));
  auto replies = ask_for_report(call, "LEAFZ", std::move(body));
  if (!replies) return fail(call.context.program, replies.error());
  auto links = links_of(*replies, "leafs");
  sort_links(links, call.values);
  Table table("Leafnode Report");
  table.header({"Server", "Name", "Account", "Address", "RTT", "Msgs In", "Msgs Out", "Bytes In",
                "Bytes Out", "Subs", "Compressed", "Spoke"});
  for (const auto& [server, info] : links) {
    table.row({text_at(server, "name"), text_at(info, "name"), short_account(info),
               address_of(info), text_at(info, "rtt"), count_at(info, "in_msgs"),
               count_at(info, "out_msgs"), bytes_at(info, "in_bytes"), bytes_at(info, "out_bytes"),
               count_at(info, "subscriptions"), text_at(info, "compression"),
               flag_in(info, "is_spoke") ? "true" : "false"});
  }
  print_line(table.text());
  return 0;
}

int report_routes(ReportCall& call) {
  auto replies = ask_for_report(call, "ROUTEZ", {});
  if (!replies) return fail(call.context.program, replies.error());
  auto links = links_of(*replies, "routes");
  sort_links(links, call.values);
  Table table("Cluster Report");
  table.header({"Server", "Cluster", "Name", "Account", "Address", "ID", "Uptime", "RTT", "Subs",
                "Bytes In", "Bytes Out"});
  std::set<std::string> servers;
  std::set<std::string> clusters;
  int64_t sums[3] = {};
  std::string before[3];  // server, cluster and remote of the line above
  for (const auto& [server, info] : links) {
    const std::string name = text_at(server, "name");
    servers.insert(name);
    clusters.insert(text_at(server, "cluster"));
    sums[0] += number_in(info, "subscriptions");
    sums[1] += number_in(info, "in_bytes");
    sums[2] += number_in(info, "out_bytes");
    if (name != before[0]) before[1] = before[2] = "";
    const auto unless_repeated = [](std::string text, std::string& previous) {
      const bool is_repeated = text == previous;
      previous = text;
      return is_repeated ? std::string() : text;
    };
    table.row({unless_repeated(name, before[0]),
               unless_repeated(text_at(server, "cluster"), before[1]),
               unless_repeated(text_at(info, "remote_name"), before[2]), short_account(info),
               address_of(info), "rid:" + std::to_string(number_in(info, "rid")),
               long_duration(time_between(text_in(info, "start"), text_in(server, "time"))),
               go_duration_text(text_at(info, "rtt")), count_at(info, "subscriptions"),
               bytes_at(info, "in_bytes"), bytes_at(info, "out_bytes")});
  }
  table.footer({count_text(servers.size()), count_text(clusters.size()), "", "",
                count_text(links.size()), "", "", "", comma(sums[0]),
                short_bytes(static_cast<uint64_t>(sums[1])),
                short_bytes(static_cast<uint64_t>(sums[2]))});
  print_line(table.text());
  return 0;
}

int report_gateways(ReportCall& call) {
  Draft body;
  body.text("name", call.values.text("filter-name"));
  body.flag("accounts", true);
  auto replies = ask_for_report(call, "GATEWAYZ", std::move(body));
  if (!replies) return fail(call.context.program, replies.error());
  sort_replies(*replies, call.values, call.values.text("sort") == "cluster");
  Table table("Super Cluster Report");
  table.header(
      {"Server", "Name", "Port", "Kind", "Connection", "ID", "Uptime", "RTT", "Bytes", "Accounts"});
  std::set<std::string> clusters;
  size_t gateways = 0;
  int64_t bytes = 0;
  const bool has_links =
      std::any_of(replies->begin(), replies->end(), [](const ServerReply& reply) {
        const json::Value* in =
            reply.data() == nullptr ? nullptr : reply.data()->find("inbound_gateways");
        const json::Value* out =
            reply.data() == nullptr ? nullptr : reply.data()->find("outbound_gateways");
        return (in != nullptr && !in->members().empty()) ||
               (out != nullptr && !out->members().empty());
      });
  if (!has_links) table.align_right(2);
  for (const ServerReply& reply : *replies) {
    clusters.insert(text_at(reply.server(), "cluster"));
    table.row({text_at(reply.server(), "name"), text_at(reply.server(), "cluster"),
               std::to_string(number_in(reply.data(), "port")), "", "", "", "", "", "", ""});
    std::string direction = "Inbound";
    const json::Value* in =
        reply.data() == nullptr ? nullptr : reply.data()->find("inbound_gateways");
    for (const auto& [name, connections] :
         in == nullptr ? std::vector<json::Value::Member>{} : in->members()) {
      for (const json::Value& one : connections.items()) {
        add_gateway(table, direction, name, one, "in_bytes");
        direction.clear();
        ++gateways;
        bytes += number_in(one.find("connection"), "in_bytes");
      }
    }
    direction = "Outbound";
    const json::Value* out =
        reply.data() == nullptr ? nullptr : reply.data()->find("outbound_gateways");
    for (const auto& [name, one] :
         out == nullptr ? std::vector<json::Value::Member>{} : out->members()) {
      add_gateway(table, direction, name, one, "out_bytes");
      direction.clear();
      ++gateways;
      bytes += number_in(one.find("connection"), "out_bytes");
    }
  }
  table.footer({count_text(replies->size()), std::to_string(clusters.size()), "", "",
                count_text(gateways), "", "", "", short_bytes(static_cast<uint64_t>(bytes)), ""});
  print_line(table.text());
  return 0;
}

}  // namespace brokkr::cli
