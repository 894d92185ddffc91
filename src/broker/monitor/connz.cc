#include "broker/monitor/connz.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"
#include "broker/shard.h"

namespace brokkr::broker {
namespace {

constexpr std::array<std::pair<std::string_view, ConnzSort>, 14> kSorts = {{
    {"cid", ConnzSort::Cid},
    {"start", ConnzSort::Start},
    {"subs", ConnzSort::Subs},
    {"pending", ConnzSort::Pending},
    {"msgs_to", ConnzSort::MsgsTo},
    {"msgs_from", ConnzSort::MsgsFrom},
    {"bytes_to", ConnzSort::BytesTo},
    {"bytes_from", ConnzSort::BytesFrom},
    {"last", ConnzSort::Last},
    {"idle", ConnzSort::Idle},
    {"uptime", ConnzSort::Uptime},
    {"stop", ConnzSort::Stop},
    {"reason", ConnzSort::Reason},
    {"rtt", ConnzSort::Rtt},
}};

ConnzState parse_state(QueryReader& query) {
  const std::string text = query.text("state");
  const std::string state = to_lower(text);
  if (state == "closed") return ConnzState::Closed;
  if (state == "any" || state == "all") return ConnzState::All;
  if (!state.empty() && state != "open") query.fail("Error decoding state for " + text);
  return ConnzState::Open;
}

bool is_ascending(ConnzSort sort) {
  return sort == ConnzSort::Cid || sort == ConnzSort::Start || sort == ConnzSort::Uptime ||
         sort == ConnzSort::Reason;
}

void write_subscriptions(json::Writer& out, const ConnectionReport& report,
                         const ConnzOptions& options) {
  if (report.subscriptions.empty()) return;
  if (options.subscriptions_detail) {
    out.key("subscriptions_list_detail").begin_array();
    for (const SubscriptionReport& each : report.subscriptions) {
      out.begin_object().field("subject", each.subject);
      if (!each.queue.empty()) out.field("qgroup", each.queue);
      out.field("sid", each.sid).field("msgs", each.messages);
      if (each.max != 0) out.field("max", each.max);
      out.field("cid", each.cid).end_object();
    }
    out.end_array();
  } else if (options.subscriptions) {
    out.key("subscriptions_list").begin_array();
    for (const SubscriptionReport& each : report.subscriptions)
      out.string(each.subject);
    out.end_array();
  }
}

void write_tls(json::Writer& out, const TlsFacts& tls, bool with_certificates) {
  out.field("tls_version", tls.version).field("tls_cipher_suite", tls.cipher);
  if (with_certificates && !tls.peer_certificates.empty()) {
    out.key("tls_peer_certs").begin_array();
    for (const TlsFacts::Certificate& each : tls.peer_certificates) {
      out.begin_object().field("subject", each.subject).field("spki_sha256", each.spki_sha256);
      out.field("cert_sha256", each.cert_sha256).end_object();
    }
    out.end_array();
  }
  if (tls.was_first) out.field("tls_first", true);
}

void write_connection(json::Writer& out, const ConnectionReport& report,
                      const ConnzOptions& options, WallTime now) {
  const WallTime end = report.stop.value_or(now);
  out.begin_object();
  out.field("cid", report.cid).field("kind", "Client");
  out.field("type", client_type_name(report.type));
  out.field("ip", report.ip).field("port", int64_t{report.port});
  out.field("start", format_rfc3339(report.start));
  out.field("last_activity", format_rfc3339(report.last_activity));
  if (report.stop) out.field("stop", format_rfc3339(*report.stop));
  if (!report.reason.empty()) out.field("reason", report.reason);
  out.field("rtt", format_round_trip(report.round_trip));
  out.field("uptime", format_uptime(end - report.start));
  out.field("idle", format_uptime(end - report.last_activity));
  out.field("pending_bytes", report.pending_bytes);
  out.field("in_msgs", report.traffic.in_msgs).field("out_msgs", report.traffic.out_msgs);
  out.field("in_bytes", report.traffic.in_bytes).field("out_bytes", report.traffic.out_bytes);
  if (report.stalls != 0) out.field("stalls", report.stalls);
  out.field("subscriptions", report.subscription_count);
  if (!report.name.empty()) out.field("name", report.name);
  if (!report.lang.empty()) out.field("lang", report.lang);
  if (!report.version.empty()) out.field("version", report.version);
  if (report.tls != nullptr) write_tls(out, *report.tls, options.auth);
  const bool is_global = report.account == kGlobalAccount;
  if (options.auth) {
    if (!report.user.empty()) out.field("authorized_user", report.user);
    if (!is_global && !report.account.empty()) out.field("account", report.account);
  }
  write_subscriptions(out, report, options);
  if (options.auth && !report.issuer_key.empty()) out.field("issuer_key", report.issuer_key);
  // Of a closed connection the global account is not named.
  const bool has_name_tag = !report.account.empty() && !(is_global && report.stop);
  if (options.auth && has_name_tag) out.field("name_tag", report.account);
  if (options.auth && !report.tags.empty()) {
    out.key("tags").begin_array();
    for (const std::string& tag : report.tags)
      out.string(tag);
    out.end_array();
  }
  out.end_object();
}

}  // namespace

Result<ConnzSort> parse_connz_sort(const std::string& text, ConnzState state) {
  if (text.empty()) return ConnzSort::Cid;
  const auto found = std::find_if(kSorts.begin(), kSorts.end(),
                                  [&](const auto& each) { return each.first == text; });
  if (found == kSorts.end()) {
    return Error{Errc::InvalidArgument, "invalid sorting option: " + text};
  }
  const ConnzSort sort = found->second;
  if ((sort == ConnzSort::Stop || sort == ConnzSort::Reason) && state != ConnzState::Closed) {
    return Error{Errc::InvalidArgument, "sort by " + text + " only valid on closed connections"};
  }
  return sort;
}

ConnzOptions parse_connz_options(QueryReader& query) {
  ConnzOptions options;
  options.auth = query.boolean("auth");
  options.subscriptions_detail = to_lower(query.text("subs")) == "detail";
  if (!options.subscriptions_detail) options.subscriptions = query.boolean("subs");
  options.offset = static_cast<uint64_t>(std::max<int64_t>(0, query.integer("offset")));
  const int64_t limit = query.integer("limit");
  if (limit > 0) options.limit = static_cast<uint64_t>(limit);
  options.cid = query.unsigned_integer("cid");
  options.state = parse_state(query);
  const auto sort = parse_connz_sort(query.text("sort"), options.state);
  if (sort) {
    options.sort = *sort;
  } else {
    query.fail(sort.error().text);
  }
  if (options.cid != 0) options.limit = 1;
  options.user = query.text("user");
  options.account = query.text("acc");
  options.mqtt_client = query.text("mqtt_client");
  return options;
}

int64_t rank_of(ConnzSort sort, const ConnectionReport& report, WallTime now) {
  const auto count = [](uint64_t value) { return static_cast<int64_t>(value); };
  const WallTime end = report.stop.value_or(now);
  switch (sort) {
    case ConnzSort::Subs:
      return count(report.subscription_count);
    case ConnzSort::Pending:
      return count(report.pending_bytes);
    case ConnzSort::MsgsTo:
      return count(report.traffic.out_msgs);
    case ConnzSort::MsgsFrom:
      return count(report.traffic.in_msgs);
    case ConnzSort::BytesTo:
      return count(report.traffic.out_bytes);
    case ConnzSort::BytesFrom:
      return count(report.traffic.in_bytes);
    case ConnzSort::Last:
      return report.last_activity.time_since_epoch().count();
    case ConnzSort::Idle:
      return (now - report.last_activity).count();
    case ConnzSort::Uptime:
      return (end - report.start).count();
    case ConnzSort::Stop:
      return end.time_since_epoch().count();
    case ConnzSort::Rtt:
      return report.round_trip.count();
    case ConnzSort::Cid:
    case ConnzSort::Start:
    case ConnzSort::Reason:
      break;
  }
  return 0;
}

std::vector<ConnectionKey> select_page(std::vector<ConnectionKey> keys,
                                       const ConnzOptions& options) {
  const bool ascending = is_ascending(options.sort);
  std::sort(keys.begin(), keys.end(), [&](const ConnectionKey& a, const ConnectionKey& b) {
    if (a.rank != b.rank) return ascending ? a.rank < b.rank : a.rank > b.rank;
    if (a.reason != b.reason) return a.reason < b.reason;
    return a.cid < b.cid;
  });
  const auto first = static_cast<ptrdiff_t>(std::min<uint64_t>(options.offset, keys.size()));
  const uint64_t left = keys.size() - static_cast<uint64_t>(first);
  const auto last = first + static_cast<ptrdiff_t>(std::min<uint64_t>(options.limit, left));
  return {std::make_move_iterator(keys.begin() + first),
          std::make_move_iterator(keys.begin() + last)};
}

std::string render_connz(const Connz& connz, const ConnzOptions& options) {
  json::Writer out({.indent = 2});
  out.begin_object();
  out.field("server_id", connz.is_account_known ? connz.server_id : "");
  out.field("now", format_rfc3339(connz.now));
  out.field("num_connections", uint64_t{connz.connections.size()});
  out.field("total", connz.total);
  out.field("offset", options.offset);
  out.field("limit", options.limit);
  out.key("connections");
  if (connz.is_account_known) {
    out.begin_array();
    for (const ConnectionReport& each : connz.connections) {
      write_connection(out, each, options, connz.now);
    }
    out.end_array();
  } else {
    out.null();
  }
  out.end_object();
  return out.take();
}

std::string format_round_trip(Duration round_trip) {
  using std::chrono::microseconds;
  if (round_trip > microseconds(1) && round_trip < std::chrono::milliseconds(1)) {
    round_trip = std::chrono::floor<microseconds>(round_trip);
  }
  return format_go_duration(round_trip);
}

}  // namespace brokkr::broker
