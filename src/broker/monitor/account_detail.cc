// One account as /accountz?acc= and $SYS.REQ.ACCOUNT.<acc>.INFO show it: what it is, what it exports
// and imports, how its subjects are mapped.
#include <map>

#include "auth/account_rules.h"
#include "base/json.h"
#include "broker/monitor/documents.h"

namespace brokkr::broker {
namespace {

using Destinations = std::vector<std::pair<std::string, int>>;
constexpr int kWholeWeight = 100;

std::string_view response_type_name(config::ResponseType type) {
  switch (type) {
    case config::ResponseType::Singleton: return "Singleton";
    case config::ResponseType::Streamed: return "Streamed";
    case config::ResponseType::Chunked: return "Chunked";
  }
  return "";
}

// With a domain, requests of the domain's form mean the same as those without it.
std::map<std::string, Destinations> domain_mappings(const DocumentHead& head, bool is_system) {
  std::map<std::string, Destinations> mappings;
  if (head.jetstream_domain.empty()) return mappings;
  const std::string prefix = "$JS." + head.jetstream_domain + ".API.";
  if (is_system) return {{prefix + ">", {{"$JS.API.>", kWholeWeight}}}};
  mappings[prefix + "INFO"] = {{"$JS.API.INFO", kWholeWeight}};
  for (const char* part : {"ACCOUNT", "CONSUMER", "DIRECT", "META", "SERVER", "STREAM"}) {
    const std::string rest = std::string(part) + ".>";
    mappings[prefix + rest] = {{"$JS.API." + rest, kWholeWeight}};
  }
  for (const char* rest : {"$KV.>", "$OBJ.>"}) mappings[prefix + rest] = {{rest, kWholeWeight}};
  return mappings;
}

void write_mappings(json::Writer& out, const std::map<std::string, Destinations>& mappings) {
  if (mappings.empty()) return;
  out.key("mappings").begin_object();
  for (const auto& [source, destinations] : mappings) {
    out.key(source).begin_array();
    for (const auto& [subject, weight] : destinations) {
      out.begin_object().field("subject", subject).field("weight", weight).end_object();
    }
    out.end_array();
  }
  out.end_object();
}

void write_export(json::Writer& out, std::string_view subject, bool is_service,
                  const std::vector<std::string>& accounts, std::string_view response_type) {
  out.begin_object();
  out.field("subject", subject).field("type", is_service ? "service" : "stream");
  if (!response_type.empty()) out.field("response_type", response_type);
  if (!accounts.empty()) {
    out.key("approved_accounts").begin_array();
    for (const std::string& account : accounts)
      out.string(account);
    out.end_array();
  }
  out.end_object();
}

void write_import(json::Writer& out, std::string_view subject, std::string_view account,
                  std::string_view local, bool is_service, bool is_shared) {
  out.begin_object();
  out.field("subject", subject).field("account", account);
  if (is_service) out.field("to", local);
  out.field("local_subject", local).field("type", is_service ? "service" : "stream");
  out.field("invalid", false).field("share", is_shared).field("tracking", false);
  out.end_object();
}

void write_exports(json::Writer& out, const auth::AccountRules* rules, bool is_system,
                   bool has_jetstream) {
  const bool has_own = rules != nullptr && !(rules->settings.service_exports.empty() &&
                                             rules->settings.stream_exports.empty());
  if (!is_system && !has_own) return;
  out.key("exports").begin_array();
  if (is_system) {
    write_export(out, "$SYS.DEBUG.SUBSCRIBERS", true, {}, "Singleton");
    write_export(out, "$SYS.REQ.USER.*.INFO", true, {}, "Singleton");
    if (has_jetstream) write_export(out, "$JS.API.>", true, {}, "Singleton");
    write_export(out, "$SYS.REQ.ACCOUNT.*.CONNZ", true, {}, "Streamed");
    write_export(out, "$SYS.REQ.ACCOUNT.*.STATZ", true, {}, "Streamed");
  }
  if (has_own) {
    for (const auto& each : rules->settings.service_exports) {
      write_export(out, each.subject, true, each.accounts, response_type_name(each.response_type));
    }
    for (const auto& each : rules->settings.stream_exports) {
      write_export(out, each.subject, false, each.accounts, {});
    }
  }
  out.end_array();
}

void write_imports(json::Writer& out, const std::string& account, const auth::AccountRules* rules,
                   const DocumentHead& head) {
  const std::string& system = head.system_account;
  out.key("imports").begin_array();
  if (rules != nullptr) {
    for (const auto& each : rules->stream_imports) {
      write_import(out, each.subject, each.exporter, each.local, false, false);
    }
    for (const auto& each : rules->service_imports) {
      write_import(out, each.exported, each.exporter, each.local, true, each.share);
    }
  }
  if (account != system) {
    const std::string own = "$SYS.REQ.ACCOUNT." + account;
    for (const char* local : {"$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING.CONNZ"}) {
      write_import(out, own + ".CONNZ", system, local, true, false);
    }
    write_import(out, own + ".STATZ", system, "$SYS.REQ.ACCOUNT.PING.STATZ", true, false);
  }
  write_import(out, "$SYS.REQ.USER." + account + ".INFO", system, "$SYS.REQ.USER.INFO", true, true);
  if (account != system && head.has_jetstream) {
    write_import(out, "$JS.API.>", system, "$JS.API.>", true, true);
  }
  out.end_array();
}

}  // namespace

std::string render_account_detail(const DocumentHead& head, const AccountReport& account,
                                  const auth::AccountRules* rules) {
  const bool is_system = account.name == head.system_account;
  std::map<std::string, Destinations> mappings = domain_mappings(head, is_system);
  if (rules != nullptr) {
    for (const auto& mapping : rules->settings.mappings) {
      for (const auto& to : mapping.destinations) {
        mappings[mapping.source].emplace_back(to.subject, to.weight);
      }
    }
  }
  json::Writer out({.indent = 2});
  out.begin_object();
  out.field("server_id", head.server_id).field("now", format_rfc3339(head.now));
  out.field("system_account", head.system_account);
  out.key("account_detail").begin_object();
  out.field("account_name", account.name);
  out.field("update_time", format_rfc3339(head.start));
  if (is_system) out.field("is_system", true);
  out.field("expired", false).field("complete", true);
  out.field("jetstream_enabled", account.has_jetstream);
  out.field("leafnode_connections", account.leafnodes);
  out.field("client_connections", account.connections);
  out.field("subscriptions", account.interest.subscriptions);
  write_mappings(out, mappings);
  write_exports(out, rules, is_system, head.has_jetstream);
  write_imports(out, account.name, rules, head);
  const bool has_name = rules != nullptr && !rules->display_name.empty();
  out.field("name_tag", has_name ? rules->display_name : account.name);
  out.key("sublist_stats").begin_object();
  write_interest_summary(out, account.interest);
  out.end_object().end_object().end_object();
  return out.take();
}

}  // namespace brokkr::broker
