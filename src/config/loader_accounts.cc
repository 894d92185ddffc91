#include <unordered_set>

#include "base/bytes.h"
#include "config/reader.h"
#include "subject/subject.h"

// The block `accounts`.
namespace brokkr::config {
namespace {

struct UsersOfAccount {
  Position at;
  std::vector<UserEntry> users;
};

void read_account_nkey(Reader& reader, const Value& value, Account& account) {
  reader.read(value, "nkey", account.nkey);
  if (!looks_like_nkey(account.nkey, 'A')) {
    reader.fail(value.at, "Not a valid public nkey for an account: \"" + account.nkey + "\"");
  }
}

void read_account_limits(Reader& reader, const Value& value, Account& account) {
  reader.for_each_member(value, "limits", [&](const std::string& key, const Member& member) {
    int64_t* const limit =
        key == "max_connections" || key == "max_conn"     ? &account.max_connections
        : key == "max_subscriptions" || key == "max_subs" ? &account.max_subscriptions
        : key == "max_payload" || key == "max_pay"        ? &account.max_payload
        : key == "max_leafnodes" || key == "max_leafs"    ? &account.max_leafnodes
                                                          : nullptr;
    if (limit == nullptr) return false;
    reader.read(member.value, key, *limit, INT32_MIN, INT32_MAX);
    return true;
  });
}

void read_trace_destination(Reader& reader, const Value& value, Account& account) {
  reader.read(value, "dest", account.trace_destination);
  if (value.is_string() && !subject::is_valid_literal(value.text)) {
    reader.fail(value.at, "Trace destination \"" + value.text + "\" is not valid");
  }
}

// A subject, or a map of it and how many of the messages are traced.
void read_message_trace(Reader& reader, const std::string& name, const Value& value,
                        Account& account) {
  account.trace_destination.clear();
  account.trace_sampling = 0;
  if (value.is_string()) {
    read_trace_destination(reader, value, account);
  } else if (value.is_map()) {
    reader.for_each_member(value, name, [&](const std::string& key, const Member& member) {
      if (key == "dest") {
        read_trace_destination(reader, member.value, account);
      } else if (key == "sampling") {
        read_percentage(reader, member.value, key, 1, account.trace_sampling);
      } else {
        return false;
      }
      return true;
    });
  } else {
    return reader.fail_type(value, name, "a subject or a map");
  }
  if (account.trace_destination.empty()) {
    if (account.trace_sampling > 0) {
      reader.warn(value.at, "Trace destination sampling ignored since no destination was set");
    }
    account.trace_sampling = 0;
  } else if (account.trace_sampling == 0) {
    account.trace_sampling = 100;
  }
}

bool read_account_field(Reader& reader, const std::string& name, const Value& value,
                        Account& account, UsersOfAccount& block) {
  if (name == "users") {
    block.at = value.at;
    block.users = read_users(reader, value);
  } else if (name == "default_permissions") {
    read_permissions(reader, value, account.default_permissions);
  } else if (name == "nkey") {
    read_account_nkey(reader, value, account);
  } else if (name == "limits") {
    read_account_limits(reader, value, account);
  } else if (name == "jetstream") {
    read_account_jetstream(reader, value, account);
    return check_later_account_key(reader, name, value);
  } else if (name == "exports") {
    read_exports(reader, value, account);
  } else if (name == "imports") {
    read_imports(reader, value, account);
  } else if (name == "mappings" || name == "maps") {
    read_mappings(reader, value, account.mappings);
  } else if (name == "msg_trace" || name == "trace_dest") {
    read_message_trace(reader, name, value, account);
  } else {
    return false;
  }
  return true;
}

void read_account(Reader& reader, const Member& member, Options& options) {
  Account account;
  account.name = member.name;
  UsersOfAccount block;
  if (!member.value.is_map()) {
    return reader.fail(member.value.at, "Expected map entries for accounts");
  }
  reader.for_each_member(member.value, "accounts", [&](const std::string& name, const Member& m) {
    return read_account_field(reader, name, m.value, account, block);
  });
  Authorization& auth = options.authorization;
  if (!block.users.empty() && !auth.user.empty()) {
    return reader.fail(block.at, "Can not have a single user/pass and accounts");
  }
  if (!block.users.empty() && !auth.token.empty()) {
    return reader.fail(block.at, "Can not have a token and accounts");
  }
  for (UserEntry& user : block.users)
    user.account = account.name;
  add_users(reader, block.at, std::move(block.users), account.default_permissions, auth);
  options.accounts.push_back(std::move(account));
}

void read_account_names(Reader& reader, const Value& value, Options& options) {
  std::vector<std::string> names;
  reader.read_strings(value, "accounts", names);
  std::unordered_set<std::string> taken;
  for (const std::string& name : names) {
    if (name == "$G") {
      reader.fail(value.at, "\"" + name + "\" is a Reserved Account");
    } else if (!taken.insert(name).second) {
      reader.fail(value.at, "Duplicate Account Entry: " + name);
    } else {
      options.accounts.emplace_back().name = name;
    }
  }
}

}  // namespace

void read_accounts(Reader& reader, const Value& value, Options& options) {
  if (value.is_array()) return read_account_names(reader, value, options);
  reader.for_each_member(value, "accounts", [&](const std::string&, const Member& member) {
    if (member.value.is_used_variable) return true;
    if (member.name == "$G") {
      reader.fail(member.value.at, "\"$G\" is a Reserved Account");
    } else {
      read_account(reader, member, options);
    }
    return true;
  });
}

}  // namespace brokkr::config
