// brokkr server report jetstream.

#include <algorithm>
#include <cmath>
#include <map>

#include "cli/columns.h"
#include "cli/server_report.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

// What one server holds, of all accounts or of the one that was asked for.
struct JetStreamRow {
  std::string name;
  std::string cluster;
  std::string domain;
  int64_t streams = 0;
  int64_t consumers = 0;
  int64_t messages = 0;
  int64_t bytes = 0;
  int64_t memory = 0;
  int64_t file = 0;
  int64_t api = 0;
  int64_t pending = 0;
  bool is_leader = false;
  std::string quorum;
  std::string rescuing;
  int64_t led_streams = 0;
  int64_t led_consumers = 0;
  const json::Value* meta = nullptr;  // of the leader
};

// How many of a stream's consumers this server leads, when it leads the stream.
void count_leads(JetStreamRow& row, const json::Value& stream) {
  const auto is_led = [&](const json::Value& one) {
    return text_in(one.find("cluster"), "leader") == row.name;
  };
  if (is_led(stream)) ++row.led_streams;
  for (const json::Value& consumer : items_in(&stream, "consumer_detail")) {
    if (is_led(consumer)) ++row.led_consumers;
  }
}

void take_account(JetStreamRow& row, const json::Value& account) {
  row.memory = account.get_int("memory");
  row.file = account.get_int("storage");
  row.bytes = row.memory + row.file;
  row.api = number_in(account.find("api"), "total");
  for (const json::Value& stream : items_in(&account, "stream_detail")) {
    const json::Value* state = stream.find("state");
    ++row.streams;
    row.consumers += number_in(state, "consumer_count");
    row.messages += number_in(state, "messages");
    count_leads(row, stream);
  }
}

void take_server(JetStreamRow& row, const json::Value* data) {
  row.memory = number_in(data, "memory");
  row.file = number_in(data, "storage");
  row.bytes = number_in(data, "bytes");
  row.api = number_in(data == nullptr ? nullptr : data->find("api"), "total");
  row.streams = number_in(data, "streams");
  row.consumers = number_in(data, "consumers");
  row.messages = number_in(data, "messages");
  row.led_streams = number_in(data, "streams_leader");
  row.led_consumers = number_in(data, "consumers_leader");
}

JetStreamRow make_row(const ServerReply& reply, bool is_for_account) {
  JetStreamRow row;
  const json::Value* data = reply.data();
  row.name = text_in(reply.server(), "name");
  row.cluster = text_in(reply.server(), "cluster");
  row.domain = text_in(data == nullptr ? nullptr : data->find("config"), "domain");
  const auto& accounts = items_in(data, "account_details");
  if (is_for_account && accounts.size() == 1) {
    take_account(row, accounts.front());
  } else {
    take_server(row, data);
  }
  const json::Value* meta = data == nullptr ? nullptr : data->find("meta_cluster");
  if (meta != nullptr) {
    row.is_leader = text_in(meta, "leader") == row.name;
    row.pending = number_in(meta, "pending");
    row.quorum = comma(number_in(meta, "quorum_needed"));
    row.rescuing = flag_in(meta, "rescue") ? "true" : "false";
    row.meta = meta;
  }
  return row;
}

bool is_row_less(const JetStreamRow& a, const JetStreamRow& b, const std::string& key) {
  const auto by = [&](int64_t JetStreamRow::*member) {
    return a.*member != b.*member ? a.*member < b.*member : a.name < b.name;
  };
  if (key == "name") return a.name < b.name;
  if (key == "streams") return by(&JetStreamRow::streams);
  if (key == "consumers") return by(&JetStreamRow::consumers);
  if (key == "msgs") return by(&JetStreamRow::messages);
  if (key == "mbytes" || key == "bytes") return by(&JetStreamRow::bytes);
  if (key == "mem") return by(&JetStreamRow::memory);
  if (key == "store" || key == "file") return by(&JetStreamRow::file);
  if (key == "api") return by(&JetStreamRow::api);
  return std::pair(a.cluster, a.name) < std::pair(b.cluster, b.name);
}

std::string bytes_of_row(int64_t bytes) {
  return short_bytes(static_cast<uint64_t>(bytes));
}

std::string summary_text(const std::vector<JetStreamRow>& rows, const Values& values) {
  std::vector<std::string> names;
  bool has_domain = false;
  for (const JetStreamRow& row : rows) {
    names.push_back(row.name);
    has_domain |= !row.domain.empty();
  }
  if (values.is_on("compact")) names = compact_names(std::move(names));
  const std::string account = values.text("account");
  Table table("JetStream Summary" + (account.empty() ? "" : " for Account " + account));
  const auto line = [&](std::vector<std::string> start, const std::string& domain,
                        const std::vector<std::string>& rest) {
    if (has_domain) start.push_back(domain);
    start.insert(start.end(), rest.begin(), rest.end());
    return start;
  };
  table.header(line({"Server", "Cluster"}, "Domain",
                    {"Streams", "Consumers", "Messages", "Bytes", "Memory", "File", "API Req",
                     "Pending", "Quorum Sz", "Rescuing"}));
  table.align_right(has_domain ? 10 : 9);
  JetStreamRow sum;
  for (size_t i = 0; i < rows.size(); ++i) {
    const JetStreamRow& row = rows[i];
    table.row(line({names[i] + (row.is_leader ? "*" : ""), row.cluster}, row.domain,
                   {comma(row.streams), comma(row.consumers), comma(row.messages),
                    bytes_of_row(row.bytes), bytes_of_row(row.memory), bytes_of_row(row.file),
                    comma(row.api), std::to_string(row.pending), row.quorum, row.rescuing}));
    for (const auto member : {&JetStreamRow::streams, &JetStreamRow::consumers,
                              &JetStreamRow::messages, &JetStreamRow::bytes, &JetStreamRow::memory,
                              &JetStreamRow::file, &JetStreamRow::api, &JetStreamRow::pending}) {
      sum.*member += row.*member;
    }
  }
  table.footer(line({"", ""}, "",
                    {comma(sum.streams), comma(sum.consumers), comma(sum.messages),
                     bytes_of_row(sum.bytes), bytes_of_row(sum.memory), bytes_of_row(sum.file),
                     comma(sum.api), std::to_string(sum.pending)}));
  return table.text();
}

// The group of servers that decides about streams, of a cluster of nats-servers.
std::string meta_text(const json::Value& meta, bool is_compact) {
  struct Peer {
    std::string name;
    std::string id;
    bool is_leader = false;
    bool is_current = true;
    bool is_offline = false;
    int64_t active = 0;
    int64_t lag = 0;
  };
  std::vector<Peer> peers;
  for (const json::Value& one : items_in(&meta, "replicas")) {
    peers.push_back({std::string(one.get_string("name")), std::string(one.get_string("peer")),
                     false, one.get_bool("current"), one.get_bool("offline"), one.get_int("active"),
                     one.get_int("lag")});
  }
  peers.push_back(
      {std::string(meta.get_string("leader")), std::string(meta.get_string("peer")), true});
  std::sort(peers.begin(), peers.end(),
            [](const Peer& a, const Peer& b) { return a.name < b.name; });
  std::vector<std::string> names;
  for (const Peer& peer : peers)
    names.push_back(peer.name);
  if (is_compact) names = compact_names(std::move(names));
  Table table("RAFT Meta Group Information - Lead cluster: " +
              std::string(meta.get_string("name")));
  table.header({"Connection Name", "ID", "Leader", "Current", "Online", "Active", "Lag"});
  for (size_t i = 0; i < peers.size(); ++i) {
    const Peer& peer = peers[i];
    table.row({names[i], peer.id, peer.is_leader ? "yes" : "", peer.is_current ? "true" : "false",
               peer.is_offline ? "false" : "true", long_duration(Duration(peer.active)),
               comma(peer.lag)});
  }
  return table.text();
}

// How the leads of streams or consumers are spread, in stars of a tenth of the cluster each.
std::string leaders_text(const std::vector<JetStreamRow>& rows, int64_t JetStreamRow::*member,
                         const std::string& title) {
  std::map<std::string, int64_t> totals;
  std::vector<const JetStreamRow*> sorted;
  for (const JetStreamRow& row : rows) {
    if (row.*member == 0) continue;
    totals[row.cluster] += row.*member;
    sorted.push_back(&row);
  }
  std::stable_sort(sorted.begin(), sorted.end(), [&](const JetStreamRow* a, const JetStreamRow* b) {
    return std::pair(a->cluster, a->*member) < std::pair(b->cluster, b->*member);
  });
  Table table("RAFT Leader Report");
  table.header({"Server", "Cluster", title, "Distribution"});
  for (const JetStreamRow* row : sorted) {
    const int64_t led = row->*member;
    int64_t stars = 0;
    if (led > 0) {
      stars = std::max<int64_t>(1, std::llround(static_cast<double>(led) /
                                                static_cast<double>(totals[row->cluster]) * 10));
    }
    table.row({row->name, row->cluster, comma(led), std::string(static_cast<size_t>(stars), '*')});
  }
  return table.text() + "\n";
}

void print_meta(const std::vector<JetStreamRow>& rows, bool is_compact) {
  int64_t expected = 0;
  std::string text;
  for (const JetStreamRow& row : rows) {
    if (row.meta == nullptr) continue;
    expected = std::max(expected, row.meta->get_int("cluster_size"));
    if (row.is_leader) text += (text.empty() ? "" : "\n") + meta_text(*row.meta, is_compact);
  }
  if (expected == 0) return;
  if (text.empty()) {
    text = "\nWARNING: No cluster meta leader found. The cluster expects " +
           std::to_string(expected) + " nodes but only " + std::to_string(rows.size()) +
           " responded. JetStream operation requires at least " + std::to_string(expected / 2 + 1) +
           " up nodes.\n";
  }
  print(text);
}

}  // namespace

int report_jetstream(ReportCall& call) {
  const Values& values = call.values;
  Draft body;
  body.flag("raft", true);
  const std::string account = values.text("account");
  if (!account.empty()) {
    body.text("account", account);
    body.flag("streams", true);
    body.flag("consumer", true);
    body.number("limit", 10000);
  }
  auto replies = ask_for_report(call, "JSZ", std::move(body));
  if (!replies) return fail(call.context.program, replies.error());
  if (replies->empty()) return fail(call.context.program, kNoSystemAccount);
  std::vector<JetStreamRow> rows;
  for (const ServerReply& reply : *replies)
    rows.push_back(make_row(reply, !account.empty()));
  const std::string key = values.text("sort");
  std::stable_sort(rows.begin(), rows.end(), [&](const JetStreamRow& a, const JetStreamRow& b) {
    return values.is_on("reverse") ? is_row_less(b, a, key) : is_row_less(a, b, key);
  });
  print_line(summary_text(rows, values));
  const bool is_filtered = values.has("host") || values.has("cluster") || values.has("tags");
  if (!is_filtered) print_meta(rows, values.is_on("compact"));
  if (!values.is_on("leaders")) return 0;
  std::erase_if(
      rows, [](const JetStreamRow& row) { return row.led_streams == 0 && row.led_consumers == 0; });
  if (rows.empty()) {
    print("\nNo JetStream asset leader data reported\n");
  } else {
    print("\n" + leaders_text(rows, &JetStreamRow::led_streams, "Stream Leaders") +
          leaders_text(rows, &JetStreamRow::led_consumers, "Consumer Leaders"));
  }
  return 0;
}

}  // namespace brokkr::cli
