// brokkr auth operator: the operators of this machine, their system accounts and signing keys.

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/random.h"
#include "cli/auth_commands.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/terminal.h"
#include "crypto/creds.h"
#include "crypto/digest.h"
#include "crypto/xkey.h"

namespace brokkr::cli {
namespace {

using crypto::KeyPair;
using crypto::NkeyType;

constexpr size_t kBackupBytesMax = 64 << 20;

int show_operator(const Context&, const Values& values, const StoredOperator& op) {
  if (values.has("json") && values.is_on("json")) {
    json::Writer out(json::Writer::Options{.indent = 2});
    write_operator(out, AuthStore(), op);
    print_line(out.text());
  } else {
    print_line(operator_text(op));
  }
  return 0;
}

// "--service a --service b", and an empty one for none.
crypto::Texts urls_of(const std::vector<std::string>& given) {
  crypto::Texts out;
  for (const std::string& url : given) {
    if (!url.empty()) out.push_back(url);
  }
  return out;
}

Status add_system_account(const AuthStore& store, StoredOperator& op) {
  const KeyPair key = KeyPair::generate(NkeyType::Account);
  if (Status kept = store.add_key(key); !kept) return kept;
  StoredAccount system{"SYSTEM", "", crypto::make_account_claims(key.public_key()), {}};
  system.claims.name = system.name;
  op.claims.system_account = key.public_key();
  if (Status saved = store.save(op, system); !saved) return saved;
  op.accounts.push_back(std::move(system));
  return {};
}

Status add_signing_key(const AuthStore& store, StoredOperator& op, std::string& public_key) {
  const KeyPair key = KeyPair::generate(NkeyType::Operator);
  if (Status kept = store.add_key(key); !kept) return kept;
  public_key = key.public_key();
  op.claims.signing_keys.push_back(public_key);
  return {};
}

Status add_operator(const AuthStore& store, const Values& values, StoredOperator& op) {
  const KeyPair key = KeyPair::generate(NkeyType::Operator);
  op.claims.sub = key.public_key();
  op.claims.name = op.name;
  op.claims.operator_service_urls = urls_of(values.all("service"));
  op.claims.account_server_url = values.text("account-server");
  add_tags(op.claims.tags, values.all("tags"), {});
  if (Status made = store.create(op, key); !made) return made;
  if (Status added = add_system_account(store, op); !added) return added;
  std::string signing_key;
  if (!values.has("signing-key") || values.is_on("signing-key")) {
    if (Status added = add_signing_key(store, op, signing_key); !added) return added;
  }
  return store.save(op);
}

int run_operator_add(const Context& context, const Values& values) {
  const AuthStore store;
  StoredOperator op;
  op.name = values.text("name");
  if (op.name.empty()) {
    auto name = ask_text("Operator Name", "", true);
    if (!name) return fail(context.program, name.error());
    op.name = std::move(*name);
  }
  if (Status added = add_operator(store, values, op); !added) return fail(context.program, added.error());
  return show_operator(context, values, op);
}

int run_operator_info(const Context& context, const Values& values) {
  const auto op = choose_operator(AuthStore(), values.text("name"));
  return op ? show_operator(context, values, *op) : fail(context.program, op.error());
}

int run_operator_list(const Context& context, const Values& values) {
  const auto all = AuthStore().operators();
  if (!all) return fail(context.program, all.error());
  if (all->empty()) {
    print_line("No Operators found");
    return 0;
  }
  Table table("Operators");
  for (const StoredOperator& op : *all) {
    if (values.is_on("names")) print_line(op.name);
    table.row({op.name, op.claims.sub, comma(static_cast<uint64_t>(op.accounts.size())), op.claims.account_server_url,
               comma(static_cast<uint64_t>(op.claims.signing_keys.size()))});
  }
  if (values.is_on("names")) return 0;
  table.header({"Name", "Subject", "Accounts", "Account Server", "Signing Keys"});
  table.align_right(2);
  table.align_right(4);
  print_line(table.text());
  return 0;
}

int run_operator_edit(const Context& context, const Values& values) {
  const AuthStore store;
  auto op = choose_operator(store, values.text("name"));
  if (!op) return fail(context.program, op.error());
  if (values.has("account-server")) op->claims.account_server_url = values.text("account-server");
  if (values.has("service")) op->claims.operator_service_urls = urls_of(values.all("service"));
  add_tags(op->claims.tags, values.all("tags"), values.all("no-tags"));
  if (Status saved = store.save(*op); !saved) return fail(context.program, saved.error());
  return show_operator(context, values, *op);
}

int run_operator_select(const Context& context, const Values& values) {
  const auto op = choose_operator(AuthStore(), values.text("name"), false);
  if (!op) return fail(context.program, op.error());
  if (Status chosen = AuthStore::select_operator(op->name); !chosen) return fail(context.program, chosen.error());
  print_line("Selected operator \"" + op->name + "\" as default");
  return 0;
}

// The operator of a token, with the keys of the files given.
int run_operator_import(const Context& context, const Values& values) {
  const AuthStore store;
  const auto text = read_file(values.text("token"), kBackupBytesMax);
  if (!text) return fail(context.program, text.error());
  auto token = crypto::parse_jwt_file(*text);
  if (!token) return fail(context.program, token.error());
  auto claims = crypto::decode_operator(*token);
  if (!claims) return fail(context.program, claims.error());
  std::vector<KeyPair> keys;
  for (const std::string& path : values.all("key")) {
    const auto seed = read_file(path, kBackupBytesMax);
    auto key = seed ? crypto::parse_seed_file(*seed) : Result<KeyPair>(seed.error());
    if (!key) return fail(context.program, key.error());
    keys.push_back(std::move(*key));
  }
  const auto own = std::find_if(keys.begin(), keys.end(), [&](const KeyPair& key) {
    return key.public_key() == claims->sub;
  });
  if (own == keys.end()) return fail(context.program, "the key of operator " + claims->sub + " is not among the files");
  StoredOperator op{claims->name.empty() ? claims->sub : claims->name, std::move(*token), *claims, {}};
  if (Status made = store.create(op, *own); !made) return fail(context.program, made.error());
  for (const KeyPair& key : keys) {
    if (Status kept = store.add_key(key); !kept) return fail(context.program, kept.error());
  }
  if (Status saved = store.write_token(op); !saved) return fail(context.program, saved.error());
  return show_operator(context, values, op);
}

Result<crypto::CurveKey> read_curve_key(const std::string& path) {
  const auto text = read_file(path, 65536);
  if (!text) return text.error();
  for (const std::string_view line : split(*text, '\n')) {
    if (trim(line).starts_with("SX")) return crypto::CurveKey::from_seed(line);
  }
  return Error{Errc::Syntax, "could not find a valid key in " + path};
}

int run_operator_backup(const Context& context, const Values& values) {
  const AuthStore store;
  const auto op = choose_operator(store, values.text("name"));
  if (!op) return fail(context.program, op.error());
  json::Writer out(json::Writer::Options{.indent = 2});
  write_operator(out, store, *op);
  std::string text = out.take();
  if (const std::string path = values.text("key"); !path.empty()) {
    const auto key = read_curve_key(path);
    if (!key) return fail(context.program, key.error());
    const auto box = key->seal(text, key->public_key());
    if (!box) return fail(context.program, box.error());
    text = base64_encode(*box);
  }
  const std::string path = values.text("output");
  if (Status written = replace_file(path, text); !written) return fail(context.program, written.error());
  print_line("Wrote backup for " + op->name + " to " + path);
  if (values.text("key").empty()) {
    print_line("\nWARNING: The output file is unencrypted and contains secrets,\n"
               "consider encrypting it with '" + context.program + " auth nkey seal'");
  }
  return 0;
}

Status restore_keys(const AuthStore& store, const json::Value& entity) {
  const auto add = [&](const json::Value* key) -> Status {
    const std::string_view seed = key == nullptr ? std::string_view() : key->get_string("key");
    if (seed.empty()) return {};
    const auto pair = KeyPair::from_seed(seed);
    return pair ? store.add_key(*pair) : Status(pair.error());
  };
  if (Status added = add(entity.find("key")); !added) return added;
  const json::Value* const signing = entity.find("signingKeys");
  for (size_t i = 0; signing != nullptr && i < signing->items().size(); ++i) {
    if (Status added = add(&signing->items()[i]); !added) return added;
  }
  return {};
}

Status restore_account(const AuthStore& store, const StoredOperator& op, const json::Value& entity) {
  StoredAccount account{std::string(entity.get_string("name")), std::string(entity.get_string("token")), {}, {}};
  auto claims = crypto::decode_account(account.token);
  if (!claims) return claims.error();
  account.claims = std::move(*claims);
  if (Status kept = restore_keys(store, entity); !kept) return kept;
  if (Status written = store.write_token(op, account); !written) return written;
  const json::Value* const users = entity.find("users");
  for (size_t i = 0; users != nullptr && i < users->items().size(); ++i) {
    const json::Value& item = users->items()[i];
    const StoredUser user{std::string(item.get_string("name")), std::string(item.get_string("token")), {}};
    if (auto valid = crypto::decode_user(user.token); !valid) return valid.error();
    if (Status kept = restore_keys(store, item); !kept) return kept;
    if (Status written = store.write_token(op, account, user); !written) return written;
  }
  return {};
}

Status restore_operator(const AuthStore& store, const std::string& name, const json::Value& entity) {
  StoredOperator op{name, std::string(entity.get_string("token")), {}, {}};
  auto claims = crypto::decode_operator(op.token);
  if (!claims) return claims.error();
  op.claims = std::move(*claims);
  const json::Value* const own = entity.find("key");
  const auto key = KeyPair::from_seed(own == nullptr ? std::string_view() : own->get_string("key"));
  if (!key) return key.error();
  if (Status made = store.create(op, *key); !made) return made;
  if (Status kept = restore_keys(store, entity); !kept) return kept;
  if (Status written = store.write_token(op); !written) return written;
  const json::Value* const accounts = entity.find("accounts");
  for (size_t i = 0; accounts != nullptr && i < accounts->items().size(); ++i) {
    if (Status done = restore_account(store, op, accounts->items()[i]); !done) return done;
  }
  return {};
}

int run_operator_restore(const Context& context, const Values& values) {
  const AuthStore store;
  const std::string name = values.text("name");
  auto text = read_file(values.text("input"), kBackupBytesMax);
  if (!text) return fail(context.program, text.error());
  if (const std::string path = values.text("key"); !path.empty()) {
    const auto key = read_curve_key(path);
    if (!key) return fail(context.program, key.error());
    const auto box = base64_decode(trim(*text));
    text = box ? key->open(*box, key->public_key()) : Result<std::string>(Error{Errc::Syntax, "not base64"});
    if (!text) return fail(context.program, "open failed: " + text.error().text);
  }
  const auto entity = json::parse(*text);
  if (!entity) return fail(context.program, "unmarshal failed: " + entity.error().text);
  if (Status done = restore_operator(store, name, *entity); !done) return fail(context.program, done.error());
  const auto op = store.load(name);
  return op ? show_operator(context, values, *op) : fail(context.program, op.error());
}

int run_operator_keys_list(const Context& context, const Values& values) {
  const auto op = choose_operator(AuthStore(), values.text("name"));
  if (!op) return fail(context.program, op.error());
  for (const std::string& key : op->claims.signing_keys) print_line(key);
  return 0;
}

int run_operator_keys_add(const Context& context, const Values& values) {
  const AuthStore store;
  auto op = choose_operator(store, values.text("name"));
  if (!op) return fail(context.program, op.error());
  std::string key;
  Status done = add_signing_key(store, *op, key);
  if (done) done = store.save(*op);
  if (!done) return fail(context.program, done.error());
  print_line(key);
  return 0;
}

int run_operator_keys_remove(const Context& context, const Values& values) {
  const AuthStore store;
  const std::string key = values.text("key");
  if (key.empty()) return fail(context.program, "public key is required");
  auto op = choose_operator(store, values.text("name"));
  if (!op) return fail(context.program, op.error());
  if (!values.is_on("force")) {
    auto agreed = ask_yes("Really remove the signing key " + key, false);
    if (!agreed) return fail(context.program, agreed.error());
    if (!*agreed) return 0;
  }
  if (std::erase(op->claims.signing_keys, key) == 0) return fail(context.program, "signing key was not found");
  Status done = store.save(*op);
  if (done) done = store.remove_key(key);
  if (!done) return fail(context.program, done.error());
  print_line("Signing key removed");
  return 0;
}

int run_nuid(const Context&, const Values&) {
  SeededRandom random(secure_seed());
  print_line(Nuid(random).next());
  return 0;
}

}  // namespace

Command auth_operator_command() {
  const Argument name{"name", "Operator to act on", false};
  const Flag json{"json,j", "Produce JSON output"};
  const Flag service{"service", "URLs for the Operator Services", Kind::Text, "URL", "", "", true};
  const Flag server{"account-server", "URL for the Account Server", Kind::Text, "URL"};
  const Flag tags{"tags", "Tags to assign to this Operator", Kind::Text, "TAGS", "", "", true};
  Command group{"operator", {"o", "op"}, "Manage NATS Operators"};
  auto& parts = group.subcommands;
  parts.push_back(auth_part("add", {}, "Adds a new Operator", {{"name", "Unique name for this Operator", false}},
                            {service, server, tags,
                             {"signing-key", "Creates a signing key for this Operator, as is the default"}},
                            run_operator_add));
  parts.push_back(auth_part("info", {"i", "show", "view"}, "Show Operator information", {name}, {json}, run_operator_info));
  parts.push_back(auth_part("list", {"ls"}, "List Operators", {}, {{"names", "Show just the Operator names"}}, run_operator_list));
  parts.push_back(auth_part("edit", {"update"}, "Edit an Operator", {name},
                            {service, server, tags,
                             {"no-tags", "Tags to remove from the Operator", Kind::Text, "TAGS", "", "", true}},
                            run_operator_edit));
  parts.push_back(auth_part("import", {}, "Imports an operator", {{"token", "The JWT file containing the operator to import"},
                            {"key", "List of keys to import", false, true}}, {}, run_operator_import));
  parts.push_back(auth_part("select", {}, "Selects the default operator", {name}, {}, run_operator_select));
  parts.push_back(auth_part("backup", {}, "Creates a backup of an operator",
                            {{"name", "Operator to act on"}, {"output", "File to write backup to"}},
                            {{"key", "Curve or X25519 NKey to encrypt with", Kind::Text, "FILE"}}, run_operator_backup));
  parts.push_back(auth_part("restore", {}, "Restores an operator from a backup",
                            {{"name", "Operator to act on"}, {"input", "File to read backup from"}},
                            {{"key", "Curve or X25519 NKey to decrypt with", Kind::Text, "FILE"}}, run_operator_restore));
  Command keys{"keys", {"sk", "s"}, "Manage Operator Signing Keys"};
  keys.subcommands.push_back(auth_part("list", {"ls"}, "List Signing Keys", {name}, {}, run_operator_keys_list));
  keys.subcommands.push_back(auth_part("add", {"new", "create"}, "Adds a new Signing Key", {name}, {}, run_operator_keys_add));
  keys.subcommands.push_back(auth_part("rm", {"delete"}, "Removes a Signing Key", {name, {"key", "The public key to remove", false}},
                                       {{"force,f", "Remove without prompting"}}, run_operator_keys_remove));
  parts.push_back(std::move(keys));
  return group;
}

Command auth_command() {
  Command group{"auth", {}, "NATS Decentralized Authentication"};
  group.subcommands.push_back(auth_operator_command());
  group.subcommands.push_back(auth_account_command());
  group.subcommands.push_back(auth_user_command());
  group.subcommands.push_back(auth_nkey_command());
  Command nuid{"nuid", {}, "Create NUIDs"};
  nuid.subcommands.push_back(auth_part("gen", {}, "Generates NUIDs", {}, {}, run_nuid));
  group.subcommands.push_back(std::move(nuid));
  return group;
}

}  // namespace brokkr::cli
