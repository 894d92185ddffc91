// brokkr server check: connection, server, meta, request, credential.

#include <cmath>
#include <cstdlib>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/columns.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/pattern.h"
#include "cli/server_check.h"
#include "cli/system_api.h"
#include "cli/terminal.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

constexpr size_t kCredentialBytesMax = 1 << 20;

double seconds_of(const Values& values, const std::string& flag) {
  return to_seconds(values.duration(flag));
}

// A duration against --<flag>-warn and --<flag>-critical.
void judge(Check& check, const Values& values, const std::string& flag, std::string name,
           std::string help, Duration took, const std::string& text) {
  const double warn = seconds_of(values, flag + "-warn");
  const double critical = seconds_of(values, flag + "-critical");
  const double value = to_seconds(took);
  check.measures.push_back({std::move(name), std::move(help), value, warn, critical, "s"});
  if (critical > 0 && value >= critical) {
    check.critical(text);
  } else if (warn > 0 && value >= warn) {
    check.warn(text);
  } else {
    check.ok(text);
  }
}

void look_connection(const Context& context, const Values& values, Check& check) {
  const SystemClock clock;
  const MonotonicTime start = clock.now();
  auto session = connect(context, values);
  if (!session) return check.critical("connection failed: " + describe(session.error()));
  client::Session& s = **session;
  Duration took = clock.now() - start;
  judge(check, values, "connect", "connect_time", "Time taken to connect to NATS", took,
        "connected to " + s.connection().server_text() + " in " + format_go_duration(took));
  auto rtt = s.round_trip(values.duration("timeout"));
  if (!rtt) return check.critical("rtt failed: " + describe(rtt.error()));
  judge(check, values, "rtt", "rtt", "The round-trip-time of the connection", *rtt,
        "rtt time " + format_go_duration(*rtt));
  const std::string inbox = s.connection().make_inbox();
  bool is_back = false;
  auto subscription = s.connection().subscribe(
      inbox, [&](const client::Message& message) { is_back = message.payload == "round trip"; });
  const MonotonicTime sent_at = clock.now();
  if (!subscription || !s.connection().publish(inbox, "round trip") ||
      !client::run_until(s.loop(), values.duration("timeout"), [&] { return is_back; })) {
    return check.critical("round trip failed: no message came back");
  }
  took = clock.now() - sent_at;
  judge(check, values, "req", "request_time", "Time taken for a full Request-Reply operation", took,
        "round trip took " + fixed_text(to_seconds(took), 6) + "s");
}

// A thing a server has, against --<flag>-warn and --<flag>-critical; with `can_invert` a critical
// value below the other turns the comparison round.
void judge_value(Check& check, const Values& values, const std::string& flag,
                 const std::string& title, double value, bool can_invert) {
  const auto warn = static_cast<double>(values.number(flag + "-warn"));
  const auto critical = static_cast<double>(values.number(flag + "-critical"));
  if (warn == 0 && critical == 0) return;
  if (!can_invert && critical < warn) return check.critical(title + " invalid thresholds");
  const auto is_beyond = [&](double threshold) {
    return critical < warn ? value <= threshold : value >= threshold;
  };
  const std::string text = title + " " + fixed_text(value, 2);
  if (is_beyond(critical)) {
    check.critical(text);
  } else if (is_beyond(warn)) {
    check.warn(text);
  } else {
    check.ok(text);
  }
}

void judge_required(Check& check, bool is_wanted, bool is_there, const char* yes, const char* no) {
  if (!is_wanted) return;
  if (is_there) {
    check.ok(yes);
  } else {
    check.critical(no);
  }
}

void judge_certificate(Check& check, const Values& values, const std::string& part,
                       std::string_view not_after, std::string_view now) {
  if (!parse_time(not_after)) return;
  const Duration left = std::chrono::floor<std::chrono::seconds>(time_between(now, not_after));
  const Duration warn = values.duration("tls-cert-warn");
  const Duration critical = values.duration("tls-cert-crit");
  const std::string title = part + " TLS certificate expire";
  if (left <= Duration(0)) {
    check.critical(title + "d (expired_at=" + go_time_text(not_after) + ")");
    return;
  }
  const std::string text =
      title + "s in " + format_go_duration(left) + " (expires_at=" + go_time_text(not_after) + ")";
  if (critical > Duration(0) && left <= critical) {
    check.critical(text);
  } else if (warn > Duration(0) && left <= warn) {
    check.warn(text);
  } else {
    check.ok(text);
  }
}

// False when what follows makes no sense any more.
bool judge_certificates(Check& check, const Values& values, const json::Value& varz) {
  const bool has_warn = values.duration("tls-cert-warn") > Duration(0);
  const bool has_critical = values.duration("tls-cert-crit") > Duration(0);
  if (!has_warn && !has_critical) return true;
  if (!has_warn || !has_critical) {
    check.critical("TLS certificate expiry requires both warning and critical thresholds");
    return false;
  }
  const std::string_view now = varz.get_string("now");
  const std::string_view own = varz.get_string("tls_cert_not_after");
  bool has_any = parse_time(own).has_value();
  judge_certificate(check, values, "server", own, now);
  for (const auto& [member, part] : {std::pair("cluster", "cluster"),
                                     {"gateway", "gateway"},
                                     {"leaf", "leafnode"},
                                     {"mqtt", "mqtt"},
                                     {"websocket", "websocket"}}) {
    const std::string_view not_after = text_in(varz.find(member), "tls_cert_not_after");
    has_any |= parse_time(not_after).has_value();
    judge_certificate(check, values, part, not_after, now);
  }
  if (!has_any)
    check.critical("TLS certificate expiry thresholds configured but no TLS certificates found");
  return has_any;
}

// False when the thresholds contradict each other.
bool judge_uptime(Check& check, const Values& values, Duration up) {
  const double warn = seconds_of(values, "uptime-warn");
  const double critical = seconds_of(values, "uptime-critical");
  if (warn == 0 && critical == 0) return true;
  if (critical > warn) {
    check.critical("Up invalid thresholds");
    return false;
  }
  const std::string text = "Up " + long_duration(up);
  if (to_seconds(up) <= critical) {
    check.critical(text);
  } else if (to_seconds(up) <= warn) {
    check.warn(text);
  } else {
    check.ok(text);
  }
  return true;
}

Result<json::Value> fetch_varz(const Context& context, const Values& values,
                               const std::string& name) {
  auto api = SystemApi::open(context, values);
  if (!api) return Error{api.error().code, "connection failed: " + describe(api.error())};
  if (name.empty()) return Error{Errc::InvalidArgument, "varz failed: server name is required"};
  Draft body;
  body.text("server_name", name);
  body.flag("exact_match", true);
  auto replies = api->ask("$SYS.REQ.SERVER.PING.VARZ", body.text(), 1);
  if (!replies && replies.error().code == Errc::Unsupported) {
    return Error{Errc::Unsupported, "varz failed: nats: no responders available for request"};
  }
  if (!replies) return Error{replies.error().code, "varz failed: " + replies.error().text};
  if (replies->empty()) return Error{Errc::TimedOut, "varz failed: nats: timeout"};
  if (const std::string error = replies->front().error(); !error.empty()) {
    return Error{Errc::Unavailable, "varz failed: invalid response received: " + error};
  }
  if (replies->front().data() == nullptr)
    return Error{Errc::Unavailable, "varz failed: no data received for " + name};
  return *replies->front().data();
}

void look_server(const Context& context, const Values& values, Check& check) {
  const std::string name = values.text("name");
  auto varz = fetch_varz(context, values, name);
  if (!varz) return check.critical(varz.error().text);
  if (varz->get_string("server_name") != name) {
    return check.critical("result from wrong server \"" +
                          std::string(varz->get_string("server_name")) + "\"");
  }
  const json::Value* js = varz->find("jetstream");
  judge_required(check, values.is_on("js-required"), js != nullptr && js->find("config") != nullptr,
                 "JetStream enabled", "JetStream not enabled");
  judge_required(check, values.is_on("tls-required"), varz->get_bool("tls_required"),
                 "TLS required", "TLS not required");
  judge_required(check, values.is_on("auth-required"), varz->get_bool("auth_required"),
                 "Authentication required", "Authentication not required");
  if (!judge_certificates(check, values, *varz)) return;
  const Duration up = time_between(varz->get_string("start"), varz->get_string("now"));
  if (!judge_uptime(check, values, up)) return;
  const json::Value* cpu_found = varz->find("cpu");
  const double cpu = cpu_found == nullptr ? 0 : cpu_found->as_double().value_or(0);
  const auto memory = static_cast<double>(varz->get_int("mem"));
  const auto connections = static_cast<double>(varz->get_int("connections"));
  const auto subscriptions = static_cast<double>(varz->get_int("subscriptions"));
  const auto limit = [&](const char* flag) { return static_cast<double>(values.number(flag)); };
  check.measures = {{"uptime", "NATS Server uptime in seconds", to_seconds(up),
                     seconds_of(values, "uptime-warn"), seconds_of(values, "uptime-critical"), "s"},
                    {"cpu", "NATS Server CPU usage in percentage", cpu, limit("cpu-warn"),
                     limit("cpu-critical"), "%"},
                    {"mem", "NATS Server memory usage in bytes", memory, limit("mem-warn"),
                     limit("mem-critical")},
                    {"connections", "Active connections", connections, limit("conn-warn"),
                     limit("conn-critical")},
                    {"subscriptions", "Active subscriptions", subscriptions, limit("subs-warn"),
                     limit("subs-critical")}};
  judge_value(check, values, "cpu", "CPU", cpu, false);
  judge_value(check, values, "mem", "Memory", memory, false);
  judge_value(check, values, "conn", "Connections", connections, true);
  judge_value(check, values, "subs", "Subscriptions", subscriptions, true);
}

void judge_peers(Check& check, const Values& values, const json::Value& meta) {
  const Duration seen = values.duration("seen-critical");
  const auto lag = static_cast<int64_t>(values.number("lag-critical"));
  int64_t stale = 0;
  int64_t inactive = 0;
  int64_t offline = 0;
  int64_t lagged = 0;
  for (const json::Value& peer : items_in(&meta, "replicas")) {
    stale += peer.get_bool("current") ? 0 : 1;
    offline += peer.get_bool("offline") ? 1 : 0;
    inactive += seen > Duration(0) && Duration(peer.get_int("active")) > seen ? 1 : 0;
    lagged += lag > 0 && peer.get_int("lag") > lag ? 1 : 0;
  }
  const auto count = [&](const char* name, const char* help, int64_t value) {
    check.measures.push_back({name, help, static_cast<double>(value)});
  };
  count("peer_offline", "Offline RAFT peers", offline);
  count("peer_not_current", "RAFT peers that are not current", stale);
  count("peer_inactive", "Inactive RAFT peers", inactive);
  count("peer_lagged", "RAFT peers that are lagged more than configured threshold", lagged);
  if (stale > 0) check.critical(std::to_string(stale) + " not current");
  if (inactive > 0)
    check.critical(std::to_string(inactive) + " inactive more than " + format_go_duration(seen));
  if (offline > 0) check.critical(std::to_string(offline) + " offline");
  if (lagged > 0)
    check.critical(std::to_string(lagged) + " lagged more than " + std::to_string(lag) + " ops");
}

void look_meta(const Context& context, const Values& values, Check& check) {
  auto api = SystemApi::open(context, values);
  if (!api) return check.critical("connection failed: " + describe(api.error()));
  api->set_timeout(std::chrono::seconds(1));
  auto replies = api->ask("$SYS.REQ.SERVER.PING.JSZ", R"({"leader_only":true})", 1);
  if (!replies && replies.error().code == Errc::Unsupported) {
    return check.critical("JSZ API request failed: nats: no responders available for request");
  }
  if (!replies) return check.critical("JSZ API request failed: " + replies.error().text);
  if (replies->empty()) return check.critical("JSZ API request failed: nats: timeout");
  if (const std::string error = replies->front().error(); !error.empty()) {
    return check.critical("invalid result received: " + error);
  }
  const json::Value* data = replies->front().data();
  const json::Value* meta = data == nullptr ? nullptr : data->find("meta_cluster");
  if (data == nullptr) return check.critical("no JSZ response received");
  if (meta == nullptr) return check.critical("no cluster information");
  const std::string leader(meta->get_string("leader"));
  if (leader.empty()) return check.critical("No leader");
  const size_t peers = items_in(meta, "replicas").size() + 1;
  const uint64_t expected = values.number("expect");
  const auto threshold = static_cast<double>(expected);
  check.measures.push_back(
      {"peers", "Configured RAFT peers", static_cast<double>(peers), threshold, threshold});
  if (expected > 0 && peers != expected) {
    check.critical(std::to_string(peers) + " peers of expected " + std::to_string(expected));
  }
  judge_peers(check, values, *meta);
  if (check.is_ok()) check.ok(std::to_string(peers) + " peers led by " + leader);
}

// "k=v" or "k:v".
std::pair<std::string, std::string> split_pair(const std::string& text) {
  const size_t at = text.find_first_of("=:");
  return at == std::string::npos ? std::pair(text, std::string())
                                 : std::pair(text.substr(0, at), text.substr(at + 1));
}

void look_request(const Context& context, const Values& values, Check& check) {
  auto session = connect(context, values);
  if (!session) return check.critical("could not load info: " + describe(session.error()));
  const std::string subject = values.text("subject");
  if (subject.empty()) return check.critical("no subject specified");
  client::HeaderWriter headers;
  const auto given = values.all("headers");
  for (const std::string& text : given) {
    const auto [name, value] = split_pair(text);
    if (!headers.add(name, value)) return check.critical("invalid header " + text);
  }
  client::Session& s = **session;
  const MonotonicTime start = s.clock().now();
  auto reply = s.request(subject, values.text("payload"), values.duration("timeout"),
                         given.empty() ? std::string() : headers.take());
  const Duration took = std::chrono::round<std::chrono::milliseconds>(s.clock().now() - start);
  const double warn = seconds_of(values, "response-warn");
  const double critical = seconds_of(values, "response-critical");
  check.measures.push_back(
      {"time", "How long the request took", to_seconds(took), warn, critical, "s"});
  if (!reply) {
    const bool is_unheard = reply.error().code == Errc::NoResponders;
    return check.critical(
        "could not send request: " +
        (is_unheard ? "nats: no responders available for request" : describe(reply.error())));
  }
  if (const std::string expression = values.text("match-payload"); !expression.empty()) {
    auto pattern = Pattern::make(expression);
    if (!pattern) return check.critical("content regex compile failed: " + pattern.error().text);
    if (!pattern->matches(reply->payload)) check.critical("response does not match regexp");
  }
  for (const std::string& text : values.all("match-headers")) {
    const auto [name, value] = split_pair(text);
    const std::string found(reply->view().header(name));
    if (found != value) check.critical("invalid header \"" + name + "\" = \"" + found + "\"");
  }
  const std::string text = "response took " + format_go_duration(took);
  if (critical > 0 && to_seconds(took) > critical) {
    check.critical(text);
  } else if (warn > 0 && to_seconds(took) > warn) {
    check.warn(text);
  }
  if (check.is_ok()) check.ok("Valid response");
}

// The claims of the JWT in a credentials file.
Result<json::Value> read_claims(const std::string& path) {
  auto text = read_file(path, kCredentialBytesMax);
  if (!text) return Error{text.error().code, "credential not accessible: " + text.error().text};
  std::string token = *text;
  if (const size_t begin = token.find("-----BEGIN"); begin != std::string::npos) {
    const size_t line = token.find('\n', begin);
    const size_t end = token.find("\n-", line);
    if (line == std::string::npos || end == std::string::npos)
      return Error{Errc::Syntax, "invalid credential: no JWT in the file"};
    token = token.substr(line + 1, end - line - 1);
  }
  const std::string trimmed(trim(token));
  const auto parts = split(trimmed, '.');
  if (parts.size() != 3) return Error{Errc::Syntax, "invalid credential: expected 3 chunks"};
  const auto decoded = base64_decode(parts[1]);
  if (!decoded) return Error{Errc::Syntax, "invalid credential: no base64"};
  auto parsed = json::parse(*decoded);
  if (!parsed) return Error{Errc::Syntax, "invalid credential: " + parsed.error().text};
  return parsed;
}

void look_credential(const Context&, const Values& values, Check& check) {
  auto claims = read_claims(values.text("credential"));
  if (!claims) return check.critical(claims.error().text);
  const int64_t expires = claims->get_int("exp");
  const int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(SystemClock().wall_now().time_since_epoch())
          .count();
  const auto left = static_cast<double>(expires - now);
  const double warn = seconds_of(values, "validity-warn");
  const double critical = seconds_of(values, "validity-critical");
  check.measures.push_back({"expiry", "Expiry time in seconds", left, warn, critical, "s"});
  if (expires == 0 && values.is_on("require-expiry")) return check.critical("never expires");
  if (expires == 0) return check.ok("never expires");
  if (critical > 0 && left <= critical) {
    check.critical("expires sooner than " + long_duration(values.duration("validity-critical")));
  } else if (warn > 0 && left <= warn) {
    check.warn("expires sooner than " + long_duration(values.duration("validity-warn")));
  } else {
    check.ok("expires in " + long_duration(std::chrono::seconds(expires - now)));
  }
}

Flag threshold_flag(std::string name, std::string help, std::string default_text = {}) {
  return {std::move(name), std::move(help), Kind::Duration, "DURATION", std::move(default_text)};
}
Flag number_flag(std::string name, std::string help) {
  return {std::move(name), std::move(help), Kind::Number};
}

}  // namespace

Command connection_check() {
  return check_command(
      "connection", {"conn"}, "Checks basic server connection", "connections", "Connection", {},
      look_connection,
      {threshold_flag("connect-warn", "Warning threshold to allow for establishing connections",
                      "500ms"),
       threshold_flag("connect-critical",
                      "Critical threshold to allow for establishing connections", "1s"),
       threshold_flag("rtt-warn", "Warning threshold to allow for server RTT", "500ms"),
       threshold_flag("rtt-critical", "Critical threshold to allow for server RTT", "1s"),
       threshold_flag("req-warn", "Warning threshold to allow for full round trip test", "500ms"),
       threshold_flag("req-critical", "Critical threshold to allow for full round trip test",
                      "1s")});
}

Command server_check() {
  return check_command(
      "server", {}, "Checks a NATS Server health", "server", "", {"name"}, look_server,
      {{"name", "Server name to require in the result", Kind::Text, "NAME"},
       number_flag("cpu-warn", "Warning threshold for CPU usage, in percent"),
       number_flag("cpu-critical", "Critical threshold for CPU usage, in percent"),
       number_flag("mem-warn", "Warning threshold for Memory usage, in bytes"),
       number_flag("mem-critical", "Critical threshold Memory CPU usage, in bytes"),
       number_flag("conn-warn", "Warning threshold for connections, supports inversion"),
       number_flag("conn-critical", "Critical threshold for connections, supports inversion"),
       number_flag("subs-warn",
                   "Warning threshold for number of active subscriptions, supports inversion"),
       number_flag("subs-critical",
                   "Critical threshold for number of active subscriptions, supports inversion"),
       threshold_flag("uptime-warn", "Warning threshold for server uptime as duration"),
       threshold_flag("uptime-critical", "Critical threshold for server uptime as duration"),
       {"auth-required", "Checks that authentication is enabled"},
       {"tls-required", "Checks that TLS is required"},
       {"js-required", "Checks that JetStream is enabled"},
       threshold_flag("tls-cert-warn", "Warning threshold for TLS certificate expiry like 1d3h5m"),
       threshold_flag("tls-cert-crit",
                      "Critical threshold for TLS certificate expiry like 1d3h5m")});
}

Command meta_check() {
  return check_command(
      "meta", {"raft"}, "Check JetStream cluster state", "meta", "JetStream Meta Cluster", {},
      look_meta,
      {number_flag("expect", "Number of servers to expect"),
       number_flag("lag-critical", "Critical threshold to allow for lag"),
       threshold_flag("seen-critical",
                      "Critical threshold for how long ago a peer should have been seen")});
}

Command request_check() {
  Flag headers{"headers", "Headers to publish in the request", Kind::Text, "HEADERS"};
  headers.is_repeated = true;
  Flag match{"match-headers", "Headers the response should have", Kind::Text, "MATCH-HEADERS"};
  match.is_repeated = true;
  return check_command("request", {"req"}, "Checks a request-reply service", "request", "",
                       {"subject"}, look_request,
                       {{"subject", "The subject to send the request to", Kind::Text, "SUBJECT"},
                        {"payload", "Payload to send in the request", Kind::Text, "PAYLOAD"},
                        headers,
                        {"match-payload", "Regular expression the response should match",
                         Kind::Text, "MATCH-PAYLOAD"},
                        match,
                        threshold_flag("response-critical", "Critical threshold for response time"),
                        threshold_flag("response-warn", "Warning threshold for response time")});
}

Command credential_check() {
  return check_command(
      "credential", {}, "Checks the validity of a NATS credential file", "credential", "Credential",
      {}, look_credential,
      {{"credential", "The file holding the NATS credential", Kind::Text, "CREDENTIAL"},
       threshold_flag("validity-warn", "Warning threshold for time before expiry"),
       threshold_flag("validity-critical", "Critical threshold for time before expiry"),
       {"require-expiry", "Requires the credential to have expiry set", Kind::Bool, "", "true"}});
}

}  // namespace brokkr::cli
