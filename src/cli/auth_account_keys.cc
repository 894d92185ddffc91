// brokkr auth account keys: signing keys of an account, with or without a scope.

#include <memory>

#include "cli/auth_commands.h"
#include "cli/prompt.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

Result<std::string> connection_type(const std::string& name) {
  constexpr std::pair<const char*, const char*> kTypes[] = {{"nats", "STANDARD"}, {"ws", "WEBSOCKET"},
                                                            {"wsleaf", "LEAFNODE_WS"}, {"leaf", "LEAFNODE"},
                                                            {"mqtt", "MQTT"}};
  for (const auto& [short_name, type] : kTypes) {
    if (name == short_name) return std::string(type);
  }
  return Error{Errc::InvalidArgument, "enum value must be one of nats,ws,leaf,wsleaf,mqtt, got '" + name + "'"};
}

Status fill_scope(const Values& values, crypto::UserScope& scope) {
  auto& user = scope.template_;
  scope.description = values.text("description");
  const std::pair<const char*, int64_t*> numbers[] = {{"subscriptions", &user.limits.subs},
                                                      {"payload", &user.limits.payload}};
  for (const auto& [flag, out] : numbers) {
    if (!values.has(flag)) continue;
    auto number = parse_bytes(values.text(flag));
    if (!number) return number.error();
    *out = *number;
  }
  user.bearer_token = values.is_on("bearer");
  user.times_location = values.text("locale");
  for (const std::string& name : values.all("connection")) {
    auto type = connection_type(name);
    if (!type) return type.error();
    user.allowed_connection_types.push_back(std::move(*type));
  }
  user.permissions.pub = {values.all("pub-allow"), values.all("pub-deny")};
  user.permissions.sub = {values.all("sub-allow"), values.all("sub-deny")};
  return {};
}

void show_scope(const Values& values, const crypto::UserScope& scope) {
  if (!values.is_on("json")) return print_line(signing_key_text(scope));
  json::Writer out(json::Writer::Options{.indent = 2});
  out.begin_object().field("kind", "user_scope").field("key", scope.key).field("role", scope.role);
  print_line(out.field("description", scope.description).end_object().text());
}

int run_signing_key_add(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  ChosenAccount& it = **place;
  std::string role = values.text("role");
  if (role.empty() && !values.is_on("unscoped")) {
    auto asked = ask_text("Role Name", "");
    if (!asked) return fail(context.program, asked.error());
    role = std::move(*asked);
  }
  const crypto::KeyPair key = crypto::KeyPair::generate(crypto::NkeyType::Account);
  auto& stored = it.account->claims.signing_keys[key.public_key()];
  Status done;
  if (!role.empty() && !values.is_on("unscoped")) {
    stored = crypto::make_user_scope(key.public_key());
    stored->role = role;
    done = fill_scope(values, *stored);
  }
  if (done) done = it.store.add_key(key);
  if (done) done = it.store.save(it.op, *it.account);
  if (!done) return fail(context.program, done.error());
  if (stored) show_scope(values, *stored);
  else print_line("Added signing key: " + key.public_key());
  return 0;
}

int run_signing_key_info(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  const auto key = choose_signing_key(account, values.text("key"), true);
  if (!key) return fail(context.program, key.error());
  show_scope(values, *account.claims.signing_keys.at(*key));
  return 0;
}

int run_signing_key_list(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  if (account.claims.signing_keys.empty()) {
    print_line("No Signing Keys or Roles defined");
    return 0;
  }
  Table table("Signing Keys for Account \"" + account.name + "\"");
  const auto count = [](const crypto::Permission& it) { return std::to_string(it.allow.size() + it.deny.size()); };
  for (const auto& [key, scope] : account.claims.signing_keys) {
    if (!scope) continue;
    const auto& user = scope->template_;
    table.row({key, scope->role, scope->description, std::to_string(user.limits.subs), count(user.permissions.pub),
               count(user.permissions.sub)});
  }
  for (const auto& [key, scope] : account.claims.signing_keys) {
    if (!scope) table.row({key, "", "", "", "", ""});
  }
  table.header({"Key", "Role", "Description", "Max Subscriptions", "Pub Perms", "Sub Perms"});
  print_line(table.text() + "\n");
  return 0;
}

int run_signing_key_remove(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  ChosenAccount& it = **place;
  auto& keys = it.account->claims.signing_keys;
  const auto key = choose_signing_key(*it.account, values.text("key"), false);
  if (!key) return fail(context.program, key.error());
  if (!values.is_on("force")) {
    const auto& scope = keys.at(*key);
    auto agreed = ask_yes(scope ? "Really remove the Scoped Signing Key " + *key + " with role " + scope->role
                                : "Really remove the Signing Key " + *key,
                          false);
    if (!agreed) return fail(context.program, agreed.error());
    if (!*agreed) return 0;
  }
  keys.erase(*key);
  Status done = it.store.save(it.op, *it.account);
  if (done) done = it.store.remove_key(*key);
  if (!done) return fail(context.program, done.error());
  print_line("key \"" + *key + "\" removed");
  return 0;
}

}  // namespace

Command auth_account_keys_command() {
  const Argument account{"account", "Account to act on", false};
  const Flag op{"operator", "Operator to act on", Kind::Text, "NAME"};
  const auto many = [](const char* name, const char* help, const char* placeholder) {
    return Flag{name, help, Kind::Text, placeholder, "", "", true};
  };
  Command group{"keys", {"sk", "s"}, "Manage Scoped Signing Keys"};
  auto& parts = group.subcommands;
  parts.push_back(auth_part(
      "add", {"new", "a", "n"}, "Adds a signing key", {account, {"role", "The role to add a key for", false}},
      {op, {"unscoped", "Adds a unscoped signing key"},
       {"description", "Description for the signing key", Kind::Text, "TEXT"},
       {"subscriptions", "Maximum allowed subscriptions", Kind::Text, "COUNT"},
       {"payload", "Maximum allowed payload", Kind::Text, "BYTES"}, {"bearer", "Allows bearer tokens"},
       {"locale", "Locale for the client", Kind::Text, "LOCALE"},
       many("connection", "Set the allowed connections (nats, ws, leaf, wsleaf, mqtt)", "TYPE"),
       many("pub-allow", "Sets subjects where publishing is allowed", "SUBJECT"),
       many("pub-deny", "Sets subjects where publishing is denied", "SUBJECT"),
       many("sub-allow", "Sets subjects where subscribing is allowed", "SUBJECT"),
       many("sub-deny", "Sets subjects where subscribing is denied", "SUBJECT")},
      run_signing_key_add));
  parts.push_back(auth_part("info", {"i", "show", "view"}, "Show information for a Scoped Signing Key",
                            {account, {"key", "The role or key to view", false}},
                            {op, {"json,j", "Produce JSON output"}}, run_signing_key_info));
  parts.push_back(auth_part("ls", {"list"}, "List Signing Keys", {account}, {op}, run_signing_key_list));
  parts.push_back(auth_part("rm", {}, "Remove a Signing key", {account},
                            {op, {"key", "The key to remove", Kind::Text, "KEY"},
                             {"force,f", "Removes without prompting"}}, run_signing_key_remove));
  return group;
}

}  // namespace brokkr::cli
