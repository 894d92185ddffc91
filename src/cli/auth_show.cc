#include <algorithm>
#include <ctime>
#include <memory>

#include "base/bytes.h"
#include "cli/auth_commands.h"
#include "cli/prompt.h"
#include "cli/terminal.h"
#include "crypto/digest.h"

namespace brokkr::cli {
namespace {

std::string join(const std::vector<std::string>& values) {
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : ", ") + value;
  return out;
}

void add_permission(Columns& out, const char* title, const crypto::Permission& permission) {
  out.section(title);
  if (permission.allow.empty() && permission.deny.empty()) {
    out.line("No permissions defined");
    return;
  }
  add_strings(out, "Allow", permission.allow);
  add_strings(out, "Deny", permission.deny);
}

std::string bytes_limit(int64_t value, bool is_unlimited) {
  return is_unlimited ? "unlimited" : short_bytes(static_cast<uint64_t>(value));
}

template <typename T>
int64_t count_type(const std::vector<T>& list, crypto::ExportType type) {
  return std::count_if(list.begin(), list.end(), [&](const T& it) { return it.type == type; });
}

void add_jetstream_tier(Columns& out, const std::string& title, const crypto::JetStreamLimits& tier) {
  out.section(title);
  const crypto::JetStreamLimits unlimited{-1, -1, -1, -1, 0, 0, 0, false};
  crypto::JetStreamLimits plain = tier;
  for (int64_t* value : {&plain.max_ack_pending, &plain.mem_max_stream_bytes, &plain.disk_max_stream_bytes}) {
    *value = std::max<int64_t>(*value, 0);
  }
  if (plain == unlimited) {
    out.indent(6);
    out.line("Unlimited");
    out.indent(4);
    return;
  }
  out.row("Max Ack Pending", tier.max_ack_pending <= 0 ? "unlimited" : comma(tier.max_ack_pending));
  out.row("Maximum Streams", limit_text(tier.streams));
  out.row("Max Consumers Per Stream", limit_text(tier.consumer));
  out.row("Max Stream Size Required", tier.max_bytes_required);
  out.row("Max File Storage", bytes_limit(tier.disk_storage, tier.disk_storage < 0));
  if (tier.disk_max_stream_bytes > 0) {
    out.row("Max File Storage Stream Size", short_bytes(static_cast<uint64_t>(tier.disk_max_stream_bytes)));
  }
  out.row("Max Memory Storage", bytes_limit(tier.mem_storage, tier.mem_storage < 0));
  if (tier.mem_max_stream_bytes > 0) {
    out.row("Max Memory Storage Stream Size", short_bytes(static_cast<uint64_t>(tier.mem_max_stream_bytes)));
  }
}

void add_account_limits(Columns& out, const crypto::AccountClaims& claims) {
  const auto& limits = claims.limits;
  out.section("Limits");
  out.row("Bearer Tokens Allowed", !limits.account.disallow_bearer);
  out.row("Subscriptions", limit_text(limits.nats.subs));
  out.row("Connections", limit_text(limits.account.conn));
  out.row("Maximum Payload", bytes_limit(limits.nats.payload, limits.nats.payload <= 0));
  if (limits.nats.data > 0) out.row("Data", limits.nats.data);
  out.row("Leafnodes", limit_text(limits.account.leaf));
  out.row("Imports", limit_text(limits.account.imports));
  out.row("Exports", limit_text(limits.account.exports));
  if (!limits.is_jetstream_enabled()) return;
  out.indent(2);
  out.section("JetStream Settings");
  out.row("Cluster Traffic", claims.cluster_traffic.empty() ? "system" : claims.cluster_traffic);
  out.indent(4);
  if (limits.tiers.empty()) add_jetstream_tier(out, "Account Default Limits", limits.jetstream);
  for (const auto& [name, tier] : limits.tiers) add_jetstream_tier(out, "Tier " + name.substr(name.starts_with('R') ? 1 : 0), tier);
  out.indent(0);
}

void write_key(json::Writer& out, const AuthStore& store, const std::string& public_key) {
  auto pair = store.key(public_key);
  std::string seed = pair ? pair->seed() : std::string();
  out.begin_object().field("key", seed).end_object();
  crypto::wipe(seed);
}

void write_head(json::Writer& out, const AuthStore& store, const std::string& name, const std::string& key,
                const std::string& token) {
  out.begin_object().field("name", name).key("key");
  write_key(out, store, key);
  out.field("token", token);
}

void write_signing_keys(json::Writer& out, const AuthStore& store, const std::vector<std::string>& keys) {
  out.key("signingKeys");
  if (keys.empty()) {
    out.null();
    return;
  }
  out.begin_array();
  for (const std::string& key : keys) {
    if (store.key(key)) write_key(out, store, key);
  }
  out.end_array();
}

}  // namespace

Command auth_part(const char* name, std::vector<std::string> aliases, const char* summary,
                  std::vector<Argument> arguments, std::vector<Flag> flags, int (*run)(const Context&, const Values&)) {
  Command command{name, std::move(aliases), summary};
  command.arguments = std::move(arguments);
  command.flags = std::move(flags);
  command.run = run;
  return command;
}

Result<StoredOperator> choose_operator(const AuthStore& store, const std::string& name, bool is_selected_used) {
  auto all = store.operators();
  if (!all) return all.error();
  const std::string wanted = name.empty() && is_selected_used ? AuthStore::selected_operator() : name;
  for (StoredOperator& op : *all) {
    if (!wanted.empty() && (op.name == wanted || op.claims.sub == wanted)) return std::move(op);
  }
  if (all->size() == 1) return std::move(all->front());
  if (!is_terminal()) {
    return Error{Errc::InvalidArgument, "cannot pick an Operator without a terminal and no operator name supplied"};
  }
  if (all->empty()) return Error{Errc::NotFound, "no operators found"};
  std::vector<std::string> names;
  for (const StoredOperator& op : *all) names.push_back(op.name);
  auto chosen = ask_choice("Select an Operator", names);
  if (!chosen) return chosen.error();
  return store.load(*chosen);
}

Result<StoredAccount*> choose_account(StoredOperator& op, const std::string& name) {
  if (StoredAccount* const found = name.empty() ? nullptr : op.find_account(name)) return found;
  if (!is_terminal()) {
    return Error{Errc::InvalidArgument, "cannot pick an Account without a terminal and no Account name supplied"};
  }
  std::vector<std::string> names;
  for (const StoredAccount& account : op.accounts) names.push_back(account.name);
  if (names.empty()) return Error{Errc::NotFound, "no accounts found"};
  auto chosen = names.size() == 1 ? Result<std::string>(names[0]) : ask_choice("Select an Account", names);
  if (!chosen) return chosen.error();
  return op.find_account(*chosen);
}

Result<std::unique_ptr<ChosenAccount>> choose_account(const Values& values) {
  auto out = std::make_unique<ChosenAccount>();
  auto op = choose_operator(out->store, values.text("operator"));
  if (!op) return op.error();
  out->op = std::move(*op);
  auto account = choose_account(out->op, values.text("account"));
  if (!account) return account.error();
  out->account = *account;
  return out;
}

Result<std::string> choose_signing_key(const StoredAccount& account, const std::string& choice, bool is_scope_wanted) {
  std::vector<std::string> keys;
  std::vector<std::string> by_role;
  for (const auto& [key, scope] : account.claims.signing_keys) {
    if (scope && scope->role == choice) by_role.push_back(key);
    if (!scope && is_scope_wanted) continue;
    if (key == choice) return key;
    keys.push_back(key);
  }
  if (by_role.size() == 1 && !choice.empty()) return by_role.front();
  if (keys.empty()) return Error{Errc::NotFound, "no signing keys found"};
  return ask_choice("Select Signing Key", keys);
}

void add_tags(crypto::Texts& tags, const std::vector<std::string>& added, const std::vector<std::string>& removed) {
  for (const std::string& text : added) {
    const std::string tag = to_lower(trim(text));
    if (!tag.empty() && std::find(tags.begin(), tags.end(), tag) == tags.end()) tags.push_back(tag);
  }
  for (const std::string& text : removed) std::erase(tags, to_lower(trim(text)));
}

void add_strings(Columns& out, const std::string& name, const std::vector<std::string>& values) {
  std::vector<std::string> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) out.row(i == 0 ? name : std::string(), sorted[i]);
}

std::string limit_text(int64_t value) { return value == -1 ? "unlimited" : comma(value); }

void add_user_limits(Columns& out, const crypto::UserPermissionLimits& user) {
  out.row_if_any("Locale", user.times_location);
  out.row("Bearer Token", user.bearer_token);
  out.section("Limits");
  out.row("Max Payload", limit_text(user.limits.payload));
  out.row("Max Data", limit_text(user.limits.data));
  out.row("Max Subscriptions", limit_text(user.limits.subs));
  out.row_if_any("Connection Types", join(user.allowed_connection_types));
  out.row_if_any("Connection Sources", join(user.src));
  std::vector<std::string> times;
  for (const auto& range : user.times) times.push_back(range.start + " to " + range.end);
  add_strings(out, "Connection Times", times);
  out.section("Permissions");
  out.indent(2);
  add_permission(out, "Publish", user.permissions.pub);
  add_permission(out, "Subscribe", user.permissions.sub);
  out.indent(0);
}

std::string operator_text(const StoredOperator& op) {
  Columns out("Operator " + op.name + " (" + op.claims.sub + ")");
  out.section("Configuration");
  out.row("Name", op.name);
  out.row("Subject", op.claims.sub);
  add_strings(out, "Tags", op.claims.tags);
  out.row_if_any("Service URL(s)", join(op.claims.operator_service_urls));
  out.row_if_any("Account Server", op.claims.account_server_url);
  out.row("Accounts", static_cast<uint64_t>(op.accounts.size()));
  const StoredAccount* const system = op.system_account();
  out.row("System Account", system == nullptr ? "not set" : system->name + " (" + system->claims.sub + ")");
  add_strings(out, "Signing Keys", op.claims.signing_keys);
  return out.text();
}

std::string account_text(const StoredAccount& account, const StoredOperator* op) {
  using crypto::ExportType;
  const auto& claims = account.claims;
  Columns out("Account " + account.name + " (" + claims.sub + ")");
  out.section("Configuration");
  out.row("Name", account.name);
  out.row("Issuer", claims.iss);
  if (op != nullptr) {
    out.row("Operator", op->name);
    out.row("System Account", op->claims.system_account == claims.sub);
  }
  add_strings(out, "Tags", claims.tags);
  out.row("JetStream", claims.limits.is_jetstream_enabled());
  if (claims.exp > 0) out.row("Expiry", local_date_text(WallTime(std::chrono::seconds(claims.exp))));
  out.row("Users", static_cast<uint64_t>(account.users.size()));
  out.row("Revocations", static_cast<uint64_t>(claims.revocations.size()));
  out.row("Service Exports", count_type(claims.exports, ExportType::Service));
  out.row("Stream Exports", count_type(claims.exports, ExportType::Stream));
  out.row("Service Imports", count_type(claims.imports, ExportType::Service));
  out.row("Stream Imports", count_type(claims.imports, ExportType::Stream));
  add_account_limits(out, claims);
  return out.text();
}

Result<std::string> user_text(const StoredUser& user, const StoredAccount& account) {
  Columns out("User " + user.name + " (" + user.claims.sub + ")");
  const crypto::UserScope* const scope = account.scope_of(user.claims);
  out.section("Configuration");
  out.row("Account", account.name + " (" + account.claims.sub + ")");
  out.row("Issuer", user.claims.iss);
  out.row("Scoped", scope != nullptr);
  add_strings(out, "Tags", user.claims.tags);
  add_user_limits(out, scope != nullptr ? scope->template_ : user.claims.user);
  return out.text();
}

std::string signing_key_text(const crypto::UserScope& scope) {
  Columns out("Scoped Signing Key " + scope.key);
  out.section("Config");
  out.row_if_any("Description", scope.description);
  out.row("Key", scope.key);
  out.row("Role", scope.role);
  add_user_limits(out, scope.template_);
  return out.text();
}

void write_operator(json::Writer& out, const AuthStore& store, const StoredOperator& op) {
  write_head(out, store, op.name, op.claims.sub, op.token);
  write_signing_keys(out, store, op.claims.signing_keys);
  out.key("accounts").begin_array();
  for (const StoredAccount& account : op.accounts) write_account(out, store, account);
  out.end_array().end_object();
}

void write_account(json::Writer& out, const AuthStore& store, const StoredAccount& account) {
  write_head(out, store, account.name, account.claims.sub, account.token);
  std::vector<std::string> keys;
  for (const auto& [key, scope] : account.claims.signing_keys) keys.push_back(key);
  write_signing_keys(out, store, keys);
  out.key("users");
  if (account.users.empty()) {
    out.null();
  } else {
    out.begin_array();
    for (const StoredUser& user : account.users) write_user(out, store, user);
    out.end_array();
  }
  out.end_object();
}

void write_user(json::Writer& out, const AuthStore& store, const StoredUser& user) {
  write_head(out, store, user.name, user.claims.sub, user.token);
  out.end_object();
}

}  // namespace brokkr::cli
