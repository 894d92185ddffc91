// brokkr account info: what the server knows about our connection, and JetStream's use and limits.

#include <algorithm>

#include "base/bytes.h"
#include "cli/account_commands.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/jetstream_api.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr Duration kUserInfoTimeout = std::chrono::seconds(1);

std::string unlimited_or(int64_t value, bool is_unlimited, bool is_bytes) {
  if (is_unlimited) return "Unlimited";
  return is_bytes ? short_bytes(static_cast<uint64_t>(value)) : comma(value);
}

uint64_t natural(const json::Value& object, const char* member) {
  const json::Value* found = object.find(member);
  return found == nullptr ? 0 : found->as_uint().value_or(0);
}

void add_user(Columns& out, client::Session& session) {
  auto reply = session.request("$SYS.REQ.USER.INFO", "", kUserInfoTimeout);
  auto parsed = reply ? json::parse(reply->payload) : Result<json::Value>(reply.error());
  const json::Value* user = parsed ? parsed->find("data") : nullptr;
  if (user == nullptr) return;
  const auto text = [&](const char* member) { return std::string(user->get_string(member)); };
  out.row("User", text("user_name").empty() ? text("user") : text("user_name") + " (" + text("user") + ")");
  if (!text("account_name").empty()) {
    out.row("Account", text("account_name") + " (" + text("account") + ")");
    out.row("System Account", session.connection().server_info().acc_is_sys);
  } else {
    out.row("Account", text("account"));
  }
  const Duration expires(user->get_int("expires"));
  out.row("Expires", expires == Duration(0) ? "never" : long_duration(expires));
}

void add_connection(Columns& out, client::Session& session, Duration rtt) {
  const auto& info = session.connection().server_info();
  const std::string url = session.connection().server_text();
  const size_t scheme = url.find("://");
  out.row("Client ID", std::to_string(info.client_id));
  out.row("Client IP", info.client_ip);
  out.row("RTT", rtt);
  out.row("Headers Supported", info.headers);
  out.row("Maximum Payload", short_bytes(static_cast<uint64_t>(info.max_payload)));
  out.row_if_any("Connected Cluster", info.cluster);
  out.row("Connected URL", url);
  out.row("Connected Address", scheme == std::string::npos ? url : url.substr(scheme + 3));
  out.row("Connected Server ID", info.server_id);
  out.row("Connected Server Version", info.version);
  if (info.server_name != info.server_id) out.row("Connected Server Name", info.server_name);
  out.row("TLS Connection", info.tls_required ? "yes" : "no");
}

// "195 B of 10 MiB (5.0 MiB reserved)"
std::string usage_text(const json::Value& tier, const json::Value& limits, const char* used,
                       const char* reserved, const char* limit) {
  const int64_t most = limits.get_int(limit, -1);
  const uint64_t held = natural(tier, reserved);
  return short_bytes(natural(tier, used)) + " of " + unlimited_or(most, most == -1, true) + " " +
         (held > 0 ? "(" + short_bytes(held) + " reserved)" : "");
}

void add_tier(Columns& out, const std::string& name, const json::Value& tier) {
  static const json::Value kNone;
  const json::Value* found = tier.find("limits");
  const json::Value& limits = found == nullptr ? kNone : *found;
  const auto limit = [&](const char* member) { return limits.get_int(member); };
  out.indent(2);
  out.section("Tier: " + name);
  out.indent(6);
  out.section("Configuration Requirements");
  out.row("Stream Requires Max Bytes Set", limits.get_bool("max_bytes_required"));
  out.row("Consumer Maximum Ack Pending",
          unlimited_or(limit("max_ack_pending"), limit("max_ack_pending") <= 0, false));
  out.section("Stream Resource Usage Limits");
  out.row("Memory", usage_text(tier, limits, "memory", "reserved_memory", "max_memory"));
  out.row("Memory Per Stream", unlimited_or(limit("memory_max_stream_bytes"), limit("memory_max_stream_bytes") <= 0, true));
  out.row("Storage", usage_text(tier, limits, "storage", "reserved_storage", "max_storage"));
  out.row("Storage Per Stream",
          unlimited_or(limit("storage_max_stream_bytes"), limit("storage_max_stream_bytes") <= 0, true));
  out.row("Streams", comma(tier.get_int("streams")) + " of " +
                         unlimited_or(limit("max_streams"), limit("max_streams") == -1, false));
  out.row("Consumers", limit("max_consumers") == -1 ? "Unlimited"
                                                    : "Maximum " + comma(limit("max_consumers")) + " per stream");
  out.indent(0);
}

void add_jetstream(Columns& out, JetStream& js) {
  auto info = js.request("INFO");
  if (!info) {
    out.line();
    out.line(info.error().code == Errc::Unsupported ? "   JetStream is not supported in this account"
                                                    : "   Could not obtain account information:  " + info.error().text);
    return;
  }
  const std::string domain(info->get_string("domain"));
  out.section("JetStream Account Information" + (domain.empty() ? "" : " for domain " + domain));
  out.section("Account Usage");
  out.row_if_any("Domain", domain);
  out.row("Storage", short_bytes(natural(*info, "storage")));
  out.row("Memory", short_bytes(natural(*info, "memory")));
  out.row("Streams", info->get_int("streams"));
  out.row("Consumers", info->get_int("consumers"));
  out.section("Account Limits");
  const auto payload_max = js.session().connection().server_info().max_payload;
  out.row("Max Message Payload", short_bytes(static_cast<uint64_t>(payload_max)));
  const json::Value* tiers = info->find("tiers");
  if (tiers == nullptr || tiers->members().empty()) return add_tier(out, "Default", *info);
  auto members = tiers->members();
  std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [name, tier] : members) add_tier(out, name, tier);
}

int run_account_info(const Context& context, const Values& values) {
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  auto rtt = js->session().round_trip(js->timeout());
  if (!rtt) return fail(context.program, rtt.error());
  Columns out("Account Information");
  add_user(out, js->session());
  add_connection(out, js->session(), *rtt);
  add_jetstream(out, *js);
  print(out.text());
  return 0;
}

}  // namespace

Command account_command() {
  Command info{"info", {"nfo"}, "Account information"};
  info.run = run_account_info;
  Command group{"account", {"a"}, "Account information and status"};
  group.subcommands.push_back(std::move(info));
  group.subcommands.push_back(account_report_command());
  group.subcommands.push_back(account_tls_command());
  // What "backup account" and "backup restore account" were called before.
  group.subcommands.push_back(backup_account_command("backup"));
  group.subcommands.back().is_hidden = true;
  group.subcommands.push_back(restore_account_command("restore"));
  group.subcommands.back().is_hidden = true;
  return group;
}

}  // namespace brokkr::cli
