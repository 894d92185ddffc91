#include "cli/trace_text.h"

#include "base/clock.h"
#include "cli/columns.h"
#include "cli/system_api.h"

namespace brokkr::cli {
namespace {

enum TraceKind : int64_t { kClient, kRouter, kGateway, kSystem, kLeaf, kJetStream, kAccount };

std::string kind_name(int64_t kind) {
  static constexpr const char* kNames[] = {"Client",   "Router",    "Gateway", "System",
                                           "Leafnode", "JetStream", "Account"};
  return kind >= 0 && kind <= kAccount ? kNames[kind] : "Unknown Kind";
}

std::string id_text(int64_t kind, int64_t id) {
  const char* prefix = kind == kClient    ? "cid:"
                       : kind == kRouter  ? "rid:"
                       : kind == kGateway ? "gid:"
                       : kind == kLeaf    ? "lid:"
                                          : "id:";
  return prefix + std::to_string(id);
}

std::string quoted(std::string_view text) {
  std::string out;
  json::append_quoted(out, text, false);
  return out;
}

std::string pair_text(const char* name, std::string_view value) {
  return value.empty() ? std::string() : " " + std::string(name) + ":" + quoted(value);
}

// "Client "worker" cid:21"
std::string party(const json::Value& event) {
  const int64_t kind = event.get_int("kind");
  const std::string_view name = event.get_string("name");
  return kind_name(kind) + (name.empty() ? "" : " " + quoted(name)) + " " +
         id_text(kind, event.get_int("cid"));
}

const json::Value* first_of_type(const json::Value& trace, std::string_view type) {
  for (const json::Value& event : items_in(&trace, "events")) {
    if (event.get_string("type") == type) return &event;
  }
  return nullptr;
}

std::string hop_of(const json::Value& trace) {
  const json::Value* request = trace.find("request");
  const json::Value* headers = request == nullptr ? nullptr : request->find("header");
  if (headers == nullptr) return {};
  for (const auto& [name, values] : headers->members()) {
    if (name == "Nats-Trace-Hop" && !values.items().empty())
      return std::string(values.items().front().as_string());
  }
  return {};
}

}  // namespace

std::string arrow_of(int64_t kind) {
  switch (kind) {
    case kClient:
      return "--C";
    case kJetStream:
      return "--J";
    case kRouter:
      return "-->";
    case kGateway:
      return "==>";
    case kLeaf:
      return "~~>";
    default:
      return "";
  }
}

bool MessageTrace::add(json::Value event) {
  const json::Value* ingress = first_of_type(event, "in");
  if (ingress == nullptr) return false;
  const std::string hop = hop_of(event);
  if (hop.empty()) {
    origin_ = std::move(event);
  } else {
    hops_[hop] = std::move(event);
  }
  return true;
}

bool MessageTrace::has_all_links(const json::Value& event) const {
  for (const json::Value& one : items_in(&event, "events")) {
    const std::string hop(one.get_string("hop"));
    if (one.get_string("type") != "eg" || hop.empty()) continue;
    const auto at = hops_.find(hop);
    if (at == hops_.end() || !has_all_links(at->second)) return false;
  }
  return true;
}

bool MessageTrace::is_complete() const {
  return has_origin() && has_all_links(origin_);
}

std::string MessageTrace::stamped(const json::Value& event, bool has_times,
                                  std::string text) const {
  if (!has_times) return text;
  const Duration since =
      std::chrono::round<std::chrono::microseconds>(time_between(start_, event.get_string("ts")));
  return "[" + (since < Duration(0) ? "Skew" : format_go_duration(since)) + "] " + text;
}

void MessageTrace::render_egress(const json::Value& egress, size_t depth, bool has_times,
                                 std::string& out) const {
  const std::string prefix(depth * 4, ' ');
  const std::string line = arrow_of(egress.get_int("kind")) + " " + party(egress) +
                           pair_text("account", egress.get_string("acc")) +
                           pair_text("subject", egress.get_string("sub")) +
                           pair_text("queue", egress.get_string("queue"));
  out += prefix + stamped(egress, has_times, line) + "\n";
  if (const auto error = egress.get_string("error"); !error.empty()) {
    out += prefix + stamped(egress, has_times, "  --X Error: " + std::string(error)) + "\n";
  }
  ++counts_[kind_name(egress.get_int("kind"))];
  const std::string hop(egress.get_string("hop"));
  if (hop.empty()) return;
  if (const auto at = hops_.find(hop); at != hops_.end()) {
    render(at->second, depth + 1, has_times, out);
  } else {
    out += prefix + "      !!! Ingress Error: This trace event was missing\n";
  }
}

void MessageTrace::render(const json::Value& event, size_t depth, bool has_times,
                          std::string& out) const {
  const std::string prefix(depth * 4, ' ');
  const auto line = [&](const json::Value& one, const std::string& text) {
    out += prefix + stamped(one, has_times, text) + "\n";
  };
  const json::Value* server = event.find("server");
  const json::Value* ingress = first_of_type(event, "in");
  if (ingress != nullptr) {
    const int64_t kind = ingress->get_int("kind");
    const std::string cluster =
        kind == kClient || kind == kGateway ? pair_text("cluster", text_in(server, "cluster")) : "";
    line(*ingress, party(*ingress) + cluster + " server:" + quoted(text_in(server, "name")) +
                       " version:" + quoted(text_in(server, "ver")));
    if (const auto error = ingress->get_string("error"); !error.empty())
      line(*ingress, "--X Error: " + std::string(error));
  }
  const auto each = [&](std::string_view type, auto show) {
    bool has_any = false;
    for (const json::Value& one : items_in(&event, "events")) {
      if (one.get_string("type") != type) continue;
      show(one);
      has_any = true;
    }
    return has_any;
  };
  each("sm", [&](const json::Value& one) {
    line(one, "    Mapping subject:" + quoted(one.get_string("to")));
  });
  each("si", [&](const json::Value& one) {
    line(one, "    Service Import from:" + quoted(one.get_string("from")) + " to:" +
                  quoted(one.get_string("to")) + " account:" + quoted(one.get_string("acc")));
  });
  each("se", [&](const json::Value& one) {
    line(one, "    Stream Export subject:" + quoted(one.get_string("to")) +
                  " account:" + quoted(one.get_string("acc")));
  });
  each("js", [&](const json::Value& one) {
    line(one, arrow_of(kJetStream) + " JetStream action:" +
                  (one.get_bool("nointerest") ? "\"no interest\"" : "\"stored\"") +
                  " stream:" + quoted(one.get_string("stream")) +
                  " subject:" + quoted(one.get_string("subject")));
    if (const auto error = one.get_string("error"); !error.empty())
      line(one, "--X Error: " + std::string(error));
    ++counts_["JetStream"];
  });
  const bool has_egress =
      each("eg", [&](const json::Value& one) { render_egress(one, depth, has_times, out); });
  if (!has_egress && ingress != nullptr && ingress->get_int("kind") == kClient &&
      ingress->get_string("error").empty()) {
    out += prefix + "--X No active interest\n";
  }
}

std::string MessageTrace::text(bool has_times) const {
  counts_.clear();
  std::string out;
  const json::Value* ingress = first_of_type(origin_, "in");
  start_ = std::string(text_in(ingress, "ts"));
  if (has_origin()) render(origin_, 0, has_times, out);
  return out;
}

}  // namespace brokkr::cli
