// brokkr auth user: the users of an account and their credentials.

#include <algorithm>
#include <memory>

#include "cli/auth_commands.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

struct ChosenUser {
  std::unique_ptr<ChosenAccount> place;
  StoredUser* user = nullptr;
};

Result<ChosenUser> choose_user(const Values& values) {
  auto place = choose_account(values);
  if (!place) return place.error();
  StoredAccount& account = *(*place)->account;
  std::string name = values.text("name");
  if (name.empty()) {
    std::vector<std::string> names;
    for (const StoredUser& user : account.users) names.push_back(user.name);
    if (names.empty()) return Error{Errc::NotFound, "no users found in " + account.name};
    auto chosen = ask_choice("Select a User", names);
    if (!chosen) return chosen.error();
    name = std::move(*chosen);
  }
  StoredUser* const user = account.find_user(name);
  if (user == nullptr) return Error{Errc::NotFound, "user " + name + " not found"};
  return ChosenUser{std::move(*place), user};
}

int show_user(const Context& context, const Values& values, const StoredUser& user, const StoredAccount& account) {
  if (values.is_on("json")) {
    json::Writer out(json::Writer::Options{.indent = 2});
    write_user(out, AuthStore(), user);
    print_line(out.text());
    return 0;
  }
  const auto text = user_text(user, account);
  if (!text) return fail(context.program, text.error());
  print_line(*text);
  return 0;
}

// A list of subjects; one empty subject empties it.
void set_subjects(const Values& values, const char* flag, crypto::Texts& out) {
  const auto given = values.all(flag);
  if (given.empty()) return;
  out = given.size() == 1 && given[0].empty() ? crypto::Texts() : given;
}

Status set_number(const Values& values, const char* flag, int64_t& out) {
  if (!values.has(flag)) return {};
  auto number = parse_bytes(values.text(flag));
  if (!number) return number.error();
  out = *number;
  return {};
}

// What the flags say over what the user may do.
Status apply_limits(const Values& values, crypto::UserPermissionLimits& user) {
  if (values.has("locale")) user.times_location = values.text("locale");
  if (values.has("bearer")) user.bearer_token = values.is_on("bearer");
  if (Status set = set_number(values, "payload", user.limits.payload); !set) return set;
  if (Status set = set_number(values, "data", user.limits.data); !set) return set;
  if (Status set = set_number(values, "subscriptions", user.limits.subs); !set) return set;
  set_subjects(values, "pub-allow", user.permissions.pub.allow);
  set_subjects(values, "pub-deny", user.permissions.pub.deny);
  set_subjects(values, "sub-allow", user.permissions.sub.allow);
  set_subjects(values, "sub-deny", user.permissions.sub.deny);
  return {};
}

Status write_creds(const AuthStore& store, const StoredUser& user, const std::string& path, Duration valid) {
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(valid).count();
  auto creds = make_creds(store, user, seconds > 0 ? unix_now() + seconds : 0);
  if (!creds) return creds.error();
  return replace_file(path, *creds);
}

Status ask_user_limits(const Values& values, crypto::UserPermissionLimits& user) {
  if (!values.has("payload")) {
    auto number = ask_number("Maximum Payload", "-1");
    if (!number) return number.error();
    user.limits.payload = *number;
  }
  if (!values.has("subscriptions")) {
    auto number = ask_number("Maximum Subscriptions", "-1");
    if (!number) return number.error();
    user.limits.subs = *number;
  }
  return {};
}

Status add_stored_user(const Values& values, ChosenAccount& place, StoredUser& user) {
  const StoredAccount& account = *place.account;
  std::string issuer = account.claims.sub;
  if (const std::string key = values.text("key"); !key.empty()) {
    auto chosen = choose_signing_key(account, key, false);
    if (!chosen) return chosen.error();
    issuer = std::move(*chosen);
  }
  const crypto::KeyPair key = crypto::KeyPair::generate(crypto::NkeyType::User);
  user.claims.sub = key.public_key();
  user.claims.iss = issuer;
  user.claims.name = user.name;
  add_tags(user.claims.tags, values.all("tags"), {});
  // Users of a scoped key say nothing themselves.
  if (account.scope_of(user.claims) == nullptr) {
    constexpr int64_t kPayloadDefault = 1 << 20;
    user.claims.user.limits = {crypto::kNoLimit, crypto::kNoLimit, kPayloadDefault};
    if (!values.is_on("defaults")) {
      if (Status asked = ask_user_limits(values, user.claims.user); !asked) return asked;
    }
    if (Status set = apply_limits(values, user.claims.user); !set) return set;
  }
  if (Status kept = place.store.add_key(key); !kept) return kept;
  return place.store.save(place.op, account, user);
}

int run_user_add(const Context& context, const Values& values) {
  auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  StoredUser user;
  user.name = values.text("name");
  if ((*place)->account->find_user(user.name) != nullptr) {
    return fail(context.program, "user " + user.name + " already exist");
  }
  const std::string creds = values.text("credential");
  if (!creds.empty() && !values.is_on("force") && is_file(creds)) {
    return fail(context.program, "file " + creds + " already exist");
  }
  Status done = add_stored_user(values, **place, user);
  if (done && !creds.empty()) done = write_creds((*place)->store, user, creds, Duration(0));
  if (!done) return fail(context.program, done.error());
  return show_user(context, values, user, *(*place)->account);
}

int run_user_info(const Context& context, const Values& values) {
  const auto chosen = choose_user(values);
  if (!chosen) return fail(context.program, chosen.error());
  return show_user(context, values, *chosen->user, *chosen->place->account);
}

int run_user_edit(const Context& context, const Values& values) {
  const auto chosen = choose_user(values);
  if (!chosen) return fail(context.program, chosen.error());
  ChosenAccount& place = *chosen->place;
  StoredUser& user = *chosen->user;
  add_tags(user.claims.tags, values.all("tags"), values.all("no-tags"));
  Status done;
  if (place.account->scope_of(user.claims) == nullptr) done = apply_limits(values, user.claims.user);
  if (done) done = place.store.save(place.op, *place.account, user);
  const std::string creds = values.text("credential");
  if (done && !creds.empty()) done = write_creds(place.store, user, creds, Duration(0));
  if (!done) return fail(context.program, done.error());
  return show_user(context, values, user, *place.account);
}

std::string has_any(const crypto::Permission& permission) {
  return permission.allow.empty() && permission.deny.empty() ? "" : "✓";
}

int run_user_list(const Context& context, const Values& values) {
  const auto place = choose_account(values);
  if (!place) return fail(context.program, place.error());
  const StoredAccount& account = *(*place)->account;
  if (account.users.empty()) {
    print_line("No users found");
    return 0;
  }
  Table table("Users in account " + account.name);
  for (const StoredUser& user : account.users) {
    if (values.is_on("names")) print_line(user.name);
    const crypto::UserScope* const scope = account.scope_of(user.claims);
    const auto& limits = scope != nullptr ? scope->template_ : user.claims.user;
    const int64_t subs = user.claims.user.limits.subs;
    table.row({user.name, user.claims.sub, scope != nullptr ? "true" : "false", has_any(limits.permissions.sub),
               has_any(limits.permissions.pub), subs == -1 ? "Unlimited" : std::to_string(subs)});
  }
  if (values.is_on("names")) return 0;
  table.header({"Name", "Subject", "Scoped", "Sub Perms", "Pub Perms", "Max Subscriptions"});
  print_line(table.text());
  return 0;
}

int run_user_remove(const Context& context, const Values& values) {
  const auto chosen = choose_user(values);
  if (!chosen) {
    return fail(context.program, chosen.error().code == Errc::NotFound ? "user does not exist" : chosen.error().text);
  }
  ChosenAccount& place = *chosen->place;
  const StoredUser user = *chosen->user;
  if (!values.is_on("force")) {
    auto agreed = ask_yes("Really remove the User " + user.name, false);
    if (!agreed) return fail(context.program, agreed.error());
    if (!*agreed) return 0;
  }
  if (values.is_on("revoke")) {
    place.account->claims.revocations[user.claims.sub] = unix_now();
    if (Status saved = place.store.save(place.op, *place.account); !saved) {
      return fail(context.program, "revocation failed: " + saved.error().text);
    }
  }
  if (Status done = place.store.remove(place.op, *place.account, user); !done) return fail(context.program, done.error());
  print_line("Removed user " + user.name);
  return 0;
}

int run_user_credential(const Context& context, const Values& values) {
  const std::string path = values.text("file");
  if (!values.is_on("force") && is_file(path)) return fail(context.program, "file " + path + " already exist");
  const auto chosen = choose_user(values);
  if (!chosen) return fail(context.program, chosen.error());
  const Duration valid = values.has("expire") ? values.duration("expire") : Duration(0);
  const Status done = write_creds(chosen->place->store, *chosen->user, path, valid);
  if (!done) return fail(context.program, done.error());
  print_line("Wrote credential for " + chosen->user->name + " to " + path);
  return 0;
}

std::vector<Flag> user_limit_flags() {
  const auto subjects = [](const char* name, const char* help) {
    return Flag{name, help, Kind::Text, "SUBJECT", "", "", true};
  };
  return {{"bearer", "Enables the use of bearer tokens"},
          {"data", "Maximum message data size to allow", Kind::Text, "BYTES"},
          {"locale", "Sets the locale for the user connection", Kind::Text, "LOCALE"},
          {"payload", "Maximum payload size to allow", Kind::Text, "BYTES"},
          subjects("pub-allow", "Allow publishing to a subject"),
          subjects("pub-deny", "Deny publishing to a subject"),
          subjects("sub-allow", "Allow subscribing to a subject"),
          subjects("sub-deny", "Deny subscribing to a subject"),
          {"subscriptions", "Maximum subscription count to allow", Kind::Text, "COUNT"},
          {"tags", "Tags to assign to this User", Kind::Text, "TAGS", "", "", true},
          {"credential", "Writes credentials to a file", Kind::Text, "FILE"},
          {"operator", "Operator holding the Account", Kind::Text, "NAME"}};
}

}  // namespace

Command auth_user_command() {
  const Argument name{"name", "Unique name for this User", false};
  const Argument account{"account", "Account to act on", false};
  const Flag op{"operator", "Operator holding the Account", Kind::Text, "NAME"};
  const Flag force{"force,f", "Overwrite existing files"};
  Command group{"user", {"u", "usr", "users"}, "Manage Account Users"};
  auto& parts = group.subcommands;
  auto add = user_limit_flags();
  add.push_back({"key", "The signing key, or its role, to sign the user with", Kind::Text, "KEY"});
  add.push_back(force);
  add.push_back({"defaults", "Accept default values without prompting"});
  parts.push_back(auth_part("add", {"create", "new"}, "Adds a new User", {{"name", "Unique name for this User"}, account},
                            std::move(add), run_user_add));
  parts.push_back(auth_part("info", {"i", "show", "view"}, "Show User information", {name, account},
                            {op, {"json,j", "Produce JSON output"}}, run_user_info));
  auto edit = user_limit_flags();
  edit.push_back({"no-tags", "Tags to remove from this User", Kind::Text, "TAGS", "", "", true});
  parts.push_back(auth_part("edit", {"update"}, "Edits User settings", {name, account}, std::move(edit), run_user_edit));
  parts.push_back(auth_part("ls", {"list"}, "List users", {account}, {op, {"names", "Show just the User names"}}, run_user_list));
  parts.push_back(auth_part("rm", {}, "Removes an user", {name, account},
                            {op, {"revoke", "Also revokes the user before deleting it"},
                             {"force,f", "Removes without prompting"}}, run_user_remove));
  parts.push_back(auth_part("credential", {"cred", "creds"}, "Creates a credential file for a user",
                            {{"file", "The file to create"}, name, account},
                            {op, force, {"expire", "Duration till expiry", Kind::Duration}}, run_user_credential));
  return group;
}

}  // namespace brokkr::cli
