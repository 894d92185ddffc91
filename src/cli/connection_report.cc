#include "cli/connection_report.h"

#include <algorithm>
#include <optional>

#include "cli/columns.h"
#include "cli/pattern.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr const char* kConnz = "$SYS.REQ.SERVER.PING.CONNZ";
constexpr int64_t kPage = 1024;
constexpr size_t kNameMax = 40;
constexpr size_t kAccountMax = 46;

std::string member_of(const json::Value& object, const char* member) {
  return std::string(object.get_string(member));
}

int64_t subscriptions_of(const json::Value& info) {
  return static_cast<int64_t>(items_in(&info, "subscriptions_list").size());
}

std::string bytes_of(int64_t count) {
  return short_bytes(static_cast<uint64_t>(std::max<int64_t>(count, 0)));
}

bool is_less(const ReportedConnection& a, const ReportedConnection& b, const std::string& key) {
  static constexpr std::pair<const char*, const char*> kMembers[] = {{"in-bytes", "in_bytes"},
                                                                     {"out-bytes", "out_bytes"},
                                                                     {"in-msgs", "in_msgs"},
                                                                     {"out-msgs", "out_msgs"},
                                                                     {"cid", "cid"}};
  for (const auto& [name, member] : kMembers) {
    if (key == name) return a.info.get_int(member) < b.info.get_int(member);
  }
  if (key == "uptime")
    return time_between(member_of(a.info, "start"), {}) <
           time_between(member_of(b.info, "start"), {});
  return subscriptions_of(a.info) < subscriptions_of(b.info);
}

Draft connz_body(const Values& values, const std::string& account) {
  Draft body;
  body.flag("auth", true);
  body.flag("subscriptions", true);
  body.number("limit", kPage);
  const std::string state = values.text("state");
  body.number("state", state == "all" ? 2 : state == "closed" ? 1 : 0);
  if (const std::string user = values.text("username"); !user.empty()) body.text("user", user);
  if (!account.empty()) body.text("acc", account);
  if (const std::string subject = values.text("subject"); !subject.empty())
    body.text("filter_subject", subject);
  add_server_filter(body, values, "host");
  return body;
}

std::vector<std::string> connection_row(const ReportedConnection& one, bool has_reason) {
  const json::Value& info = one.info;
  std::string cid = std::to_string(info.get_int("cid"));
  const std::string kind = member_of(info, "kind");
  if (kind != "Client" && !kind.empty()) cid.insert(0, 1, kind[0]);
  std::string name = member_of(info, "name");
  if (name.empty()) name = member_of(info, "mqtt_client");
  if (name.size() > kNameMax) name = name.substr(0, kNameMax) + " ..";
  std::string account = member_of(info, "account");
  if (account.size() > kAccountMax) account = account.substr(0, 12) + " ..";
  std::vector<std::string> row{cid,
                               name,
                               member_of(one.server, "name"),
                               member_of(one.server, "cluster"),
                               member_of(info, "ip") + ":" + std::to_string(info.get_int("port")),
                               account,
                               member_of(info, "uptime"),
                               comma(info.get_int("in_msgs")),
                               comma(info.get_int("out_msgs")),
                               bytes_of(info.get_int("in_bytes")),
                               bytes_of(info.get_int("out_bytes")),
                               comma(subscriptions_of(info))};
  if (has_reason) row.push_back(member_of(info, "reason"));
  return row;
}

std::vector<std::string> connections_footer(const std::vector<ReportedConnection>& all) {
  int64_t sums[5] = {};
  static constexpr const char* kMembers[] = {"in_msgs", "out_msgs", "in_bytes", "out_bytes",
                                             "subscriptions"};
  for (const ReportedConnection& one : all) {
    for (size_t i = 0; i < std::size(kMembers); ++i)
      sums[i] += one.info.get_int(kMembers[i]);
  }
  return {"",
          "Totals for " + comma(static_cast<uint64_t>(all.size())) + " connections",
          "",
          "",
          "",
          "",
          "",
          comma(sums[0]),
          comma(sums[1]),
          bytes_of(sums[2]),
          bytes_of(sums[3]),
          comma(sums[4])};
}

// The busiest server last.
std::string servers_text(const std::vector<ReportedConnection>& all) {
  struct Holder {
    std::string name;
    std::string cluster;
    size_t connections = 0;
  };
  std::vector<Holder> holders;
  for (const ReportedConnection& one : all) {
    const std::string name = member_of(one.server, "name");
    auto at = std::find_if(holders.begin(), holders.end(),
                           [&](const Holder& h) { return h.name == name; });
    if (at == holders.end()) at = holders.insert(at, {name, member_of(one.server, "cluster")});
    ++at->connections;
  }
  if (holders.empty()) return {};
  std::stable_sort(holders.begin(), holders.end(),
                   [](const Holder& a, const Holder& b) { return a.connections < b.connections; });
  Table table("Connections per server");
  table.header({"Server", "Cluster", "Connections"});
  table.align_right(2);
  for (const Holder& one : holders)
    table.row({one.name, one.cluster, std::to_string(one.connections)});
  return "\n" + table.text();
}

}  // namespace

Status check_choice(const char* flag, const std::string& text,
                    const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), text) != words.end()) return {};
  std::string list;
  for (const std::string& word : words)
    list += (list.empty() ? "" : ", ") + word;
  return Error{Errc::InvalidArgument, std::string("--") + flag + ": one of " + list};
}

std::vector<Flag> connection_report_flags() {
  return {
      {"sort", "Sort by a specific property (in-bytes,out-bytes,in-msgs,out-msgs,uptime,cid,subs)",
       Kind::Text, "SORT", "subs"},
      {"top", "Limit results to the top results", Kind::Number, "", "1000"},
      {"subject", "Limits responses only to those connections with matching subscription interest",
       Kind::Text, "SUBJECT"},
      {"username",
       "Limits responses only to those connections for a specific authentication username",
       Kind::Text, "USERNAME"},
      {"state",
       "Limits responses only to those connections that are in a specific state (open, closed, "
       "all)",
       Kind::Text, "STATE", "open"},
      {"closed-reason", "Filter results based on a closed reason", Kind::Text, "REASON"},
  };
}

Status check_connection_flags(const Values& values) {
  if (Status sort =
          check_choice("sort", values.text("sort"),
                       {"in-bytes", "out-bytes", "in-msgs", "out-msgs", "uptime", "cid", "subs"});
      !sort) {
    return sort;
  }
  return check_choice("state", values.text("state"), {"open", "closed", "all"});
}

Result<std::vector<ReportedConnection>> gather_connections(SystemApi& api, const Values& values,
                                                           const std::string& account,
                                                           uint64_t expected) {
  std::optional<Pattern> reason;
  if (const std::string text = values.text("closed-reason"); !text.empty()) {
    auto pattern = Pattern::make(text, true);
    if (!pattern) return pattern.error();
    reason.emplace(std::move(*pattern));
  }
  Draft body = connz_body(values, account);
  std::vector<ReportedConnection> all;
  bool has_more = true;
  for (int64_t offset = 0; has_more; offset += kPage) {
    body.number("offset", offset);
    auto replies = api.ask(kConnz, body.text(), expected);
    if (!replies) return replies.error();
    has_more = false;
    for (const ServerReply& reply : *replies) {
      if (!reply.error().empty())
        return Error{Errc::Unavailable, "invalid response received: " + reply.coded_error()};
      if (reply.data() == nullptr) return Error{Errc::Unavailable, "no data received in response"};
      const json::Value server = reply.server() == nullptr ? json::Value() : *reply.server();
      for (const json::Value& info : items_in(reply.data(), "connections")) {
        if (!reason || reason->matches(info.get_string("reason"))) all.push_back({info, server});
      }
      has_more |= offset + kPage < number_in(reply.data(), "total");
    }
  }
  if (all.empty()) return Error{Errc::Unavailable, "did not get results from any servers"};
  return all;
}

std::string connections_text(std::vector<ReportedConnection> all, const Values& values) {
  const std::string key = values.text("sort");
  std::stable_sort(all.begin(), all.end(),
                   [&](const ReportedConnection& a, const ReportedConnection& b) {
                     return values.is_on("reverse") ? is_less(b, a, key) : is_less(a, b, key);
                   });
  const size_t top = values.number("top");
  const size_t shown = top > 0 ? std::min<size_t>(top, all.size()) : all.size();
  const bool has_reason = values.text("state") == "closed" || values.text("state") == "all";
  Table table("Top " + std::to_string(shown) + " Connections out of " +
              comma(static_cast<uint64_t>(all.size())) + " by " + key);
  std::vector<std::string> header{"CID",      "Name",     "Server",    "Cluster",
                                  "IP",       "Account",  "Uptime",    "In Msgs",
                                  "Out Msgs", "In Bytes", "Out Bytes", "Subs"};
  if (has_reason) header.emplace_back("Reason");
  table.header(std::move(header));
  for (size_t i = 0; i < shown; ++i)
    table.row(connection_row(all[i], has_reason));
  if (all.size() > 1) table.footer(connections_footer(all));
  return table.text() + servers_text(all);
}

void write_connections(json::Writer& out, const std::vector<ReportedConnection>& all) {
  out.begin_array();
  for (const ReportedConnection& one : all) {
    out.begin_object();
    for (const auto& [name, value] : one.info.members())
      out.key(name).value(value);
    out.key("server").value(one.server).end_object();
  }
  out.end_array();
}

void print_connections(std::vector<ReportedConnection> all, const Values& values) {
  if (values.is_on("json")) {
    json::Writer out({2, true});
    write_connections(out, all);
    print_line(out.text());
  } else {
    print("\n" + connections_text(std::move(all), values));
  }
}

}  // namespace brokkr::cli
