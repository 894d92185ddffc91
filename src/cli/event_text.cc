#include "cli/event_text.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/columns.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

// How one type is shown. "{path}" stands for a member, "{path:format}" for the member in a format
// of `formatted`; a line that begins with "?path|" is there only when that member is, and "[...]"
// only when the first member in it is.
struct EventShape {
  const char* type;
  const char* brief;
  const char* title;
  const char* lines;
};

constexpr const char* kClientLines =
    "        Client:\n"
    "?client.user|                      User: {client.user} Account: {client.acc}\n"
    "                      Host: {client.host}\n"
    "                        ID: {client.id}\n"
    "?client.name|                      Name: {client.name}\n"
    "           Library Version: {client.ver}  Language: {client.lang:known}\n";

constexpr const char* kConnectionLines =
    "   Client:\n"
    "                 ID: {client.id}\n"
    "?client.user|               User: {client.user}\n"
    "?client.name|               Name: {client.name}\n"
    "            Account: {client.acc}\n"
    "    Library Version: {client.ver}  Language: {client.lang:known}\n"
    "?client.host|               Host: {client.host}\n"
    "?client.jwt|         Issuer Key: {client.issuer_key}\n"
    "?client.jwt|           Name Tag: {client.name_tag}\n"
    "?client.jwt|               Tags: {client.tags:list}\n"
    "?client.kind|        Client Kind: {client.kind}\n"
    "?client.client_type|        Client Type: {client.client_type}\n";

// "@client" and "@connection" stand for the lines above, "@peers" for one block for each replica.
constexpr EventShape kShapes[] = {
    {"io.nats.jetstream.advisory.v1.api_audit",
     "[JS API] {subject}[ {client.user} @][ {client.acc}]", "JetStream API Access",
     "      Server: {server}\n     Subject: {subject}\n      Client:\n"
     "?client.user|                      User: {client.user} Account: {client.acc}\n"
     "                      Host: {client.host}\n                        ID: {client.id}\n"
     "?client.name|                      Name: {client.name}\n"
     "           Library Version: {client.ver}  Language: {client.lang:known}\n"
     "\n    Request:\n\n{request:body}\n\n    Response:\n\n{response:body}"},
    {"io.nats.jetstream.advisory.v1.api_limit_reached",
     "[JS API Limit] {server} [in domain {domain} ]discarded {dropped:comma} messages",
     "API Limit Reached", "           Dropped: {dropped}\n            Domain: {domain}"},
    {"io.nats.jetstream.advisory.v1.consumer_action",
     "[Consumer {action:title}] {stream} > {consumer}", "Consumer {action:title} Action",
     "        Stream: {stream}\n      Consumer: {consumer}"},
    {"io.nats.jetstream.advisory.v1.consumer_group_pinned",
     "[PINNED] Consumer {stream} > {consumer} pinned client {pinned_id} for group {group}",
     "Grouped Consumer Pinned a Client",
     "        Stream: {stream}\n      Consumer: {consumer}\n         Group: {group}\n        "
     "Domain: {domain}\n"
     " Pinned Client: {pinned_id}"},
    {"io.nats.jetstream.advisory.v1.consumer_group_unpinned",
     "[UNPINNED] Consumer {stream} > {consumer} unpinned client for group {group}: {reason}",
     "Grouped Consumer Un-Pinned a Client",
     "        Stream: {stream}\n      Consumer: {consumer}\n         Group: {group}\n        "
     "Domain: {domain}\n        Reason: {reason}"},
    {"io.nats.jetstream.advisory.v1.consumer_leader_elected",
     "[RAFT] Consumer {stream} > {consumer} elected {leader} of {replicas:count} peers",
     "Consumer Leader Election",
     "        Stream: {stream}\n      Consumer: {consumer}\n        Leader: {leader}\n@peers"},
    {"io.nats.jetstream.advisory.v1.consumer_pause",
     "[Consumer Pause] Consumer: {stream} > {consumer} Paused: {paused:flag}[ until "
     "{paused:until}]",
     "Consumer Pause",
     "        Stream: {stream}\n      Consumer: {consumer}\n        Paused: {paused:flag}\n"
     "?paused|         Until: {pause_until:gotime}\n?domain|        Domain: {domain}\n"},
    {"io.nats.jetstream.advisory.v1.consumer_quorum_lost",
     "[RAFT] Consumer {stream} > {consumer} lost quorum of {replicas:count} peers",
     "Consumer Quorum Lost", "        Stream: {stream}\n      Consumer: {consumer}\n@peers"},
    {"io.nats.jetstream.advisory.v1.domain_leader_elected",
     "[RAFT] Domain leader elected {leader} in cluster {cluster} leader of {replicas:count} peers",
     "Domain Leader Election",
     "        Leader: {leader}\n       Cluster: {cluster}\n?domain|        Domain: "
     "{domain}\n@peers"},
    {"io.nats.jetstream.advisory.v1.max_deliver",
     "[JS Max Deliveries] {stream} ({stream_seq}) > {consumer}: {deliveries} deliveries",
     "Delivery Attempts Exceeded",
     "          Consumer: {stream} > {consumer}\n   Stream Sequence: {stream_seq}\n        "
     "Deliveries: {deliveries}"},
    {"io.nats.jetstream.advisory.v1.nak",
     "[JS Delivery NAKed] {stream} ({stream_seq}) > {consumer}: {deliveries} deliveries",
     "Delivery NAKed",
     "          Consumer: {stream} > {consumer}\n   Stream Sequence: {stream_seq}\n        "
     "Deliveries: {deliveries}\n"
     "            Domain: {domain}"},
    {"io.nats.jetstream.advisory.v1.restore_complete",
     "[Restore Complete] {stream} restored {bytes:bytes} bytes started {start:clock} ended "
     "{end:clock}",
     "Stream Restore Completed",
     "        Stream: {stream}\n         Start: {start:nano}\n           End: {end:nano}\n         "
     "Bytes: {bytes:bytes}\n@client"},
    {"io.nats.jetstream.advisory.v1.restore_create", "[Restore Create] {stream}",
     "Stream Restore Created", "        Stream: {stream}\n@client"},
    {"io.nats.jetstream.advisory.v1.server_out_of_space",
     "[Out of Space] {server} ({server_id})[ in cluster {cluster}] ran out of disk space",
     "Out of Disk Space",
     "        Server: {server} - {server_id}\n       Cluster: {cluster}\n?stream|        Stream: "
     "{stream}\n"},
    {"io.nats.jetstream.advisory.v1.server_removed",
     "[Server Removed] {server} ({server_id})[ in cluster {cluster}] was removed", "Server Removed",
     "        Server: {server} - {server_id}\n       Cluster: {cluster}\n?domain|        Domain: "
     "{domain}\n"},
    {"io.nats.jetstream.advisory.v1.snapshot_complete",
     "[Snapshot {error:outcome}] {stream} started {start:clock} ended {end:clock}[: {error}]",
     "Stream Snapshot {error:outcomed}",
     "        Stream: {stream}\n?error|         Error: {error}\n         Start: {start:nano}\n     "
     "      End: {end:nano}\n@client"},
    {"io.nats.jetstream.advisory.v1.snapshot_create",
     "[Snapshot Create] {stream} {state.messages:comma} messages {state.bytes:bytes}",
     "Stream Snapshot Created",
     "        Stream: {stream}\n      Messages: {state.messages:comma}\n         Bytes: "
     "{state.bytes:bytes}\n"
     "     Sequences: {state.first_seq:comma} - {state.last_seq:comma}\n@client"},
    {"io.nats.jetstream.advisory.v1.stream_action", "[Stream {action:title}] {stream}",
     "Stream {action:title} Action", "        Stream: {stream}"},
    {"io.nats.jetstream.advisory.v1.stream_batch_abandoned",
     "[Batch Abandoned]{stream} [in domain {domain} ]abandoned batch {batch}: {reason}",
     "Publish Batch Abandoned",
     "           Account: {account}\n            Domain: {domain}\n            Stream: {stream}\n  "
     "           Batch: {batch}\n"
     "            Reason: {reason}"},
    {"io.nats.jetstream.advisory.v1.stream_leader_elected",
     "[RAFT] Stream {stream} elected {leader} of {replicas:count} peers", "Stream Leader Election",
     "        Stream: {stream}\n        Leader: {leader}\n@peers"},
    {"io.nats.jetstream.advisory.v1.stream_quorum_lost",
     "[RAFT] Stream {stream} lost quorum of {replicas:count} peers", "Stream Quorum Lost",
     "        Stream: {stream}\n@peers"},
    {"io.nats.jetstream.advisory.v1.terminated",
     "[JS Delivery Terminated] {stream} ({stream_seq}) > {consumer}: {deliveries} deliveries[: "
     "{reason}]",
     "Delivery Terminated",
     "          Consumer: {stream} > {consumer}\n   Stream Sequence: {stream_seq}\n        "
     "Deliveries: {deliveries}\n"
     "?reason|            Reason: {reason}\n"},
    {"io.nats.jetstream.metric.v1.consumer_ack",
     "[JS Ack] {stream} ({stream_seq}) > {consumer} ({consumer_seq}): {deliveries} deliveries in "
     "{ack_time}",
     "Acknowledgment Sample",
     "              Consumer: {stream} > {consumer}\n       Stream Sequence: {stream_seq}\n     "
     "Consumer Sequence: {consumer_seq}\n"
     "            Deliveries: {deliveries}\n                 Delay: {ack_time}"},
    {"io.nats.server.advisory.v1.account_connections",
     "[Account] {acc} Server: {server.name} Connections: {conns} Leaf Nodes: {leafnodes} Slow: "
     "{slow_consumers:comma} "
     "Sent: {sent.msgs:comma} / {sent.bytes:bytes} Received: {received.msgs:comma} / "
     "{received.bytes:bytes}",
     "Account Status",
     "      Account: {acc}\n       Server: {server.name}\n?server.cluster|      Cluster: "
     "{server.cluster}\n  Connections: {conns}\n"
     "   Leaf Nodes: {leafnodes}\n\n   Stats:\n            Received: {received.msgs:comma} "
     "messages ({received.bytes:bytes})\n"
     "           Published: {sent.msgs:comma} messages ({sent.bytes:bytes})\n      Slow Consumers: "
     "{slow_consumers:comma}"},
    {"io.nats.server.advisory.v1.client_connect",
     "[Connection] [user: {client.user}] cid: {client.id} in account {client.acc}",
     "Client Connection",
     "   Server: {server.name}\n?server.cluster|  Cluster: {server.cluster}\n\n@connection"},
    {"io.nats.server.advisory.v1.client_disconnect",
     "[Disconnection] [user: {client.user}] cid: {client.id} in account {client.acc}: {reason}",
     "Client Disconnection",
     "?reason|    Reason: {reason}\n    Server: {server.name}\n?server.cluster|   Cluster: "
     "{server.cluster}\n\n@connection"
     "\n   Stats:\n                  RTT: {client.rtt:took}\n"
     "      Client Received: {received.msgs} messages ({received.bytes:bytes})\n"
     "     Client Published: {sent.msgs} messages ({sent.bytes:bytes})"},
    {"io.nats.server.metric.v1.service_latency",
     "[Svc Latency] [{description} ]requestor {requestor.rtt:took} <-> system {system:took} <- "
     "service rtt {responder.rtt:took} "
     "-> service {service:took}",
     "Service Latency[ - {description}]",
     "   Start Time: {start:nano}\n?description|        Error: {description}\n\n   Latencies:\n\n"
     "      Request Duration: {total:took}\n             Requestor: {requestor.rtt:took}\n         "
     "  NATS System: {system:took}\n"
     "               Service: {service:took}\n\n@requestor\n@responder"},
};

// "client.user" of an event; null when absent.
const json::Value* find_path(const json::Value& event, std::string_view path) {
  const json::Value* at = &event;
  for (const std::string_view part : split(path, '.')) {
    at = at->find(part);
    if (at == nullptr) return nullptr;
  }
  return at;
}

// Neither absent nor empty, zero or false.
bool is_given(const json::Value* value) {
  if (value == nullptr || value->is_null()) return false;
  if (value->is_string()) return !value->as_string().empty();
  if (value->is_bool()) return *value->as_bool();
  if (value->is_number()) return value->as_double().value_or(0) != 0;
  return !value->items().empty() || !value->members().empty();
}

std::string plain_text(const json::Value* value) {
  if (value == nullptr || value->is_null()) return {};
  if (value->is_string()) return std::string(value->as_string());
  if (value->is_bool()) return *value->as_bool() ? "true" : "false";
  json::Writer out;
  return out.value(*value).take();
}

std::string number_text(const json::Value* value) {
  return value == nullptr || !value->is_number() ? "0" : plain_text(value);
}

std::string clock_text(std::string_view rfc3339) {
  const auto time = parse_time(rfc3339);
  return time ? local_clock_text(*time) : "00:00:00";
}

std::string padded_lines(const std::string& text, const char* pad) {
  std::string out;
  for (const std::string_view line : split(text, '\n'))
    out += (out.empty() ? "" : "\n") + (pad + std::string(line));
  return out;
}

std::string formatted(const json::Value& event, const json::Value* value, std::string_view format) {
  const std::string text = plain_text(value);
  const int64_t number = value == nullptr ? 0 : value->as_int().value_or(0);
  if (format == "comma") return comma(number);
  if (format == "bytes") return short_bytes(static_cast<uint64_t>(number));
  if (format == "took") return format_go_duration(Duration(number));
  if (format == "count") return std::to_string(value == nullptr ? 0 : value->items().size());
  if (format == "clock") return clock_text(text);
  if (format == "nano")
    return text.size() > 19 ? date_text(text) + text.substr(19, text.find_first_of("Z+", 19) - 19)
                            : text;
  if (format == "gotime") return go_time_text(text);
  if (format == "until") return go_time_text(event.get_string("pause_until"));
  if (format == "flag") return is_given(value) ? "true" : "false";
  if (format == "known") return text.empty() ? "Unknown" : text;
  if (format == "outcome") return text.empty() ? "Complete" : "Failed";
  if (format == "outcomed") return text.empty() ? "Completed" : "Failed";
  if (format == "body")
    return text.empty() ? "          Empty Request" : padded_lines(text, "          ");
  if (format == "title") {
    std::string out = text;
    if (!out.empty() && out[0] >= 'a' && out[0] <= 'z')
      out[0] = static_cast<char>(out[0] - 'a' + 'A');
    return out;
  }
  if (format == "list") {
    std::string out;
    for (const json::Value& item : value == nullptr ? std::vector<json::Value>{} : value->items()) {
      out += (out.empty() ? "" : ", ") + plain_text(&item);
    }
    return out;
  }
  // Counts are left out of an event when they are zero.
  const bool is_count = format.empty() && value == nullptr;
  return is_count ? std::string() : text;
}

// Members that are numbers even when an event leaves them out.
bool is_counter(std::string_view path) {
  for (const char* name : {"id", "msgs", "conns", "leafnodes", "deliveries", "stream_seq",
                           "consumer_seq", "dropped", "ack_time"}) {
    if (path == name || path.ends_with("." + std::string(name))) return true;
  }
  return false;
}

std::string fill(const json::Value& event, std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t open = text.find_first_of("{[");
    out += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const bool is_section = text[open] == '[';
    const size_t close = text.find(is_section ? ']' : '}', open);
    const std::string_view inner = text.substr(open + 1, close - open - 1);
    text.remove_prefix(close + 1);
    if (is_section) {
      const size_t brace = inner.find('{');
      // At the start brackets are text, as in "[JS Ack]" and "[Stream {action:title}]".
      if (brace == std::string_view::npos) {
        out += "[" + std::string(inner) + "]";
        continue;
      }
      const std::string_view path =
          inner.substr(brace + 1, inner.find_first_of(":}", brace) - brace - 1);
      if (out.empty()) {
        out += "[" + fill(event, inner) + "]";
      } else if (is_given(find_path(event, path))) {
        out += fill(event, inner);
      }
      continue;
    }
    const size_t colon = inner.find(':');
    const std::string_view path = inner.substr(0, colon);
    const json::Value* value = find_path(event, path);
    if (colon == std::string_view::npos && is_counter(path)) {
      out += number_text(value);
    } else {
      out +=
          formatted(event, value,
                    colon == std::string_view::npos ? std::string_view() : inner.substr(colon + 1));
    }
  }
  return out;
}

std::string peers_text(const json::Value& event) {
  std::string out = "      Replicas:\n";
  const json::Value* replicas = event.find("replicas");
  for (const json::Value& peer :
       replicas == nullptr ? std::vector<json::Value>{} : replicas->items()) {
    out += "\n             Name: " + std::string(peer.get_string("name")) +
           "\n          Current: " + (peer.get_bool("current") ? "true" : "false") +
           "\n           Active: " + format_go_duration(Duration(peer.get_int("active"))) + "\n";
  }
  return out + "\n";
}

// Who asked for a service or answered.
std::string party_text(const json::Value& event, const std::string& member, const char* title) {
  const json::Value* party = event.find(member);
  if (!is_given(party)) return {};
  const auto line = [&](const char* label, const char* name) {
    return label + plain_text(party->find(name)) + "\n";
  };
  std::string out = std::string("   ") + title + ":\n" + line("     Account: ", "acc") +
                    "         RTT: " + format_go_duration(Duration(party->get_int("rtt"))) + "\n";
  if (is_given(party->find("user"))) {
    out += "       Start: " + go_time_text(party->get_string("start")) + "\n" +
           line("        User: ", "user") + line("        Name: ", "name") +
           line("    Language: ", "lang") + line("     Version: ", "ver");
  }
  if (is_given(party->find("id"))) {
    out += line("        Host: ", "host") + line("          ID: ", "id") +
           line("      Server: ", "server");
  }
  return out;
}

std::string fill_lines(const json::Value& event, std::string_view text) {
  std::string out;
  const auto lines = split(text, '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string_view line = lines[i];
    const char* const end = i + 1 < lines.size() ? "\n" : "";
    if (line == "@client") {
      out += fill_lines(event, kClientLines);
    } else if (line == "@connection") {
      out += fill_lines(event, kConnectionLines);
    } else if (line.starts_with("@connection")) {
      out += fill_lines(event, kConnectionLines) + fill(event, line.substr(11));
    } else if (line == "@peers") {
      out += peers_text(event);
    } else if (line == "@requestor") {
      out += party_text(event, "requestor", "Requestor") + end;
    } else if (line == "@responder") {
      out += party_text(event, "responder", "Responder");
    } else if (line.starts_with("?")) {
      const size_t bar = line.find('|');
      if (is_given(find_path(event, line.substr(1, bar - 1))))
        out += fill(event, line.substr(bar + 1)) + end;
    } else {
      out += fill(event, line) + end;
    }
  }
  return out;
}

std::string cloud_event_text(const json::Value& event, std::string_view type) {
  // "io.nats.<source>.<subject>.<version>.<name>"
  const auto parts = split(type, '.');
  std::string path;
  for (size_t i = 2; i < parts.size(); ++i)
    path += (path.empty() ? "" : "/") + std::string(parts[i]);
  json::Writer out({2, true});
  out.begin_object()
      .field("type", type)
      .field("time", event.get_string("timestamp"))
      .field("id", event.get_string("id"));
  out.field("source", "urn:nats:" + std::string(parts[2]));
  out.field("dataschema",
            "https://raw.githubusercontent.com/nats-io/jsm.go/master/schemas/" + path + ".json");
  out.field("specversion", "1.0").field("subject", parts[3]).key("data").value(event);
  return out.end_object().take();
}

}  // namespace

std::string event_text(const json::Value& event, EventFormat format) {
  const std::string_view type = event.get_string("type");
  for (const EventShape& shape : kShapes) {
    if (type != shape.type) continue;
    if (format == EventFormat::CloudEvent) return cloud_event_text(event, type);
    const std::string time = clock_text(event.get_string("timestamp"));
    if (format == EventFormat::Short) return time + " " + fill(event, shape.brief);
    return "\n[" + time + "] [" + std::string(event.get_string("id")) + "] " +
           fill(event, shape.title) + "\n\n" + fill_lines(event, shape.lines);
  }
  return {};
}

}  // namespace brokkr::cli
