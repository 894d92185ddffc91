#include <algorithm>
#include <unordered_set>

#include "base/bytes.h"
#include "config/reader.h"
#include "subject/subject.h"

// The block `authorization`: who may connect and what they may do.
namespace brokkr::config {
namespace {

bool is_subject_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

bool is_base32(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '2' && c <= '7');
  });
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && !is_subject_space(text[i])) continue;
    if (i > start) words.push_back(text.substr(start, i - start));
    start = i + 1;
  }
  return words;
}

}  // namespace

std::string subject_fault(const std::string& entry, bool allows_queue) {
  if (subject::is_valid(entry)) return {};
  const auto words = words_of(entry);
  if (!allows_queue || words.size() != 2) return "subject \"" + entry + "\" is not a valid subject";
  if (!subject::is_valid(words[0])) {
    return "subject \"" + std::string(words[0]) + "\" is not a valid subject";
  }
  if (!subject::is_valid(words[1])) return "queue \"" + std::string(words[1]) + "\" is not a valid queue";
  return {};
}

bool looks_like_nkey(std::string_view key, char prefix) {
  return key.size() == 56 && key[0] == prefix && is_base32(key);
}

bool looks_like_user_seed(std::string_view seed) {
  return seed.size() == 58 && seed.starts_with("SU") && is_base32(seed);
}

void read_subjects(Reader& reader, const Value& value, std::string_view name, bool allows_queue,
                   std::vector<std::string>& out) {
  std::vector<std::string> subjects;
  reader.read_strings(value, name, subjects);
  for (const std::string& subject : subjects) {
    const std::string fault = subject_fault(subject, allows_queue);
    if (!fault.empty()) reader.fail(value.at, fault);
  }
  out = std::move(subjects);
}

namespace {

void read_side(Reader& reader, const Value& value, const std::string& name, bool allows_queue,
               PermissionRules::Side& side) {
  if (!value.is_map()) {
    read_subjects(reader, value, name, allows_queue, side.allow);
  } else {
    reader.for_each_member(value, name, [&](const std::string& key, const Member& member) {
      if (key != "allow" && key != "deny") return false;
      read_subjects(reader, member.value, key, allows_queue,
                    key == "allow" ? side.allow : side.deny);
      return true;
    });
  }
  side.has_allow = !side.allow.empty();
}

void read_allow_responses(Reader& reader, const Value& value, PermissionRules& rules) {
  if (value.is_bool()) {
    rules.allow_responses = value.boolean;
    return;
  }
  if (!value.is_map()) return reader.fail_type(value, "allow_responses", "true, false or a map");
  rules.allow_responses = true;
  reader.for_each_member(value, "allow_responses",
                         [&](const std::string& name, const Member& member) {
                           if (name == "max" || name == "max_msgs" || name == "max_messages" ||
                               name == "max_responses") {
                             int64_t max = 0;
                             reader.read(member.value, name, max, INT64_MIN, INT64_MAX);
                             if (max != 0) rules.responses_max = max;
                           } else if (name == "expires" || name == "expiration" || name == "ttl") {
                             Duration ttl{};
                             reader.read_duration_text(member.value, name, ttl);
                             if (ttl != Duration::zero()) rules.responses_ttl = ttl;
                           } else {
                             return false;
                           }
                           return true;
                         });
}

}  // namespace

void read_permissions(Reader& reader, const Value& value, std::optional<PermissionRules>& out) {
  if (!value.is_map()) return reader.fail_type(value, "permissions", "a map");
  PermissionRules rules;
  reader.for_each_member(value, "permissions", [&](const std::string& name, const Member& member) {
    if (name == "pub" || name == "publish" || name == "import") {
      read_side(reader, member.value, name, false, rules.publish);
    } else if (name == "sub" || name == "subscribe" || name == "export") {
      read_side(reader, member.value, name, true, rules.subscribe);
    } else if (name == "publish_allow_responses" || name == "allow_responses") {
      read_allow_responses(reader, member.value, rules);
    } else {
      return false;
    }
    return true;
  });
  // Who may only answer may publish nothing else.
  if (rules.allow_responses) rules.publish.has_allow = true;
  out = std::move(rules);
}

namespace {

void read_connection_types(Reader& reader, const Value& value, std::vector<std::string>& out) {
  static constexpr std::string_view kTypes[] = {"STANDARD", "WEBSOCKET", "LEAFNODE",  "LEAFNODE_WS",
                                                "MQTT",     "MQTT_WS",   "IN_PROCESS"};
  std::vector<std::string> names;
  reader.read_strings(value, "allowed_connection_types", names);
  for (const std::string& name : names) {
    bool is_known = false;
    for (const std::string_view type : kTypes) {
      if (!equals_ignore_case(name, type)) continue;
      out.emplace_back(type);
      is_known = true;
    }
    if (!is_known) reader.fail(value.at, "invalid connection type \"" + name + "\"");
  }
}

bool read_user_field(Reader& reader, const std::string& name, const Value& value, UserEntry& user) {
  if (name == "nkey") {
    reader.read(value, name, user.nkey);
  } else if (name == "user" || name == "username") {
    reader.read(value, name, user.name);
  } else if (name == "pass" || name == "password") {
    reader.read(value, name, user.password);
  } else if (name == "permission" || name == "permissions" || name == "authorization") {
    read_permissions(reader, value, user.permissions);
  } else if (name == "allowed_connection_types" || name == "connection_types" ||
             name == "clients") {
    read_connection_types(reader, value, user.allowed_connection_types);
  } else if (name == "proxy_required") {
    reader.read(value, name, user.proxy_required);
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::vector<UserEntry> read_users(Reader& reader, const Value& value) {
  std::vector<UserEntry> users;
  if (!value.is_array()) {
    reader.fail_type(value, "users", "a list of users");
    return users;
  }
  for (const Value& item : value.items) {
    if (!item.is_map()) {
      reader.fail_type(item, "users", "each user to be a map");
      continue;
    }
    UserEntry user;
    reader.for_each_member(item, "users", [&](const std::string& name, const Member& member) {
      return read_user_field(reader, name, member.value, user);
    });
    if (user.nkey.empty() && user.name.empty()) {
      reader.fail(item.at, "User entry requires a user");
    } else if (!user.nkey.empty() && !looks_like_nkey(user.nkey, 'U')) {
      reader.fail(item.at, "Not a valid public nkey for a user");
    } else if (!user.nkey.empty() && !(user.name.empty() && user.password.empty())) {
      reader.fail(item.at, "Nkey users do not take usernames or passwords");
    } else {
      users.push_back(std::move(user));
    }
  }
  return users;
}

void add_users(Reader& reader, Position at, std::vector<UserEntry>&& users,
               const std::optional<PermissionRules>& default_permissions, Authorization& auth) {
  std::unordered_set<std::string> taken;
  for (const UserEntry& user : auth.users)
    taken.insert(user.nkey + user.name);
  for (UserEntry& user : users) {
    if (!taken.insert(user.nkey + user.name).second) {
      reader.fail(at, user.nkey.empty() ? "Duplicate user \"" + user.name + "\" detected"
                                        : "Duplicate nkey \"" + user.nkey + "\" detected");
      continue;
    }
    if (!user.permissions) user.permissions = default_permissions;
    auth.users.push_back(std::move(user));
  }
}

void read_auth_timeout(Reader& reader, const Value& value, std::optional<Duration>& out) {
  Duration timeout{};
  reader.read_seconds(value, "timeout", timeout);
  if (timeout > std::chrono::seconds(60)) {
    reader.warn(value.at, "timeout of " + format_go_duration(timeout) +
                              " is high, consider keeping it under 60 seconds");
  }
  if (timeout > Duration::zero()) out = timeout;
}

namespace {

bool read_callout_field(Reader& reader, const std::string& name, const Value& value,
                        AuthCallout& callout) {
  if (name == "issuer") {
    reader.read(value, name, callout.issuer);
    if (!looks_like_nkey(callout.issuer, 'A')) {
      reader.fail(value.at, "Expected callout user to be a valid public account nkey, got \"" +
                                callout.issuer + "\"");
    }
  } else if (name == "account" || name == "acc") {
    reader.read(value, name, callout.account);
    if (callout.account.empty()) callout.account = "$G";
  } else if (name == "auth_users" || name == "users") {
    reader.read_list(value, name, callout.auth_users);
  } else if (name == "xkey" || name == "key") {
    reader.read(value, name, callout.xkey);
    if (!looks_like_nkey(callout.xkey, 'X')) {
      reader.fail(value.at, "Expected callout xkey to be a valid public xkey, got \"" +
                                callout.xkey + "\"");
    }
  } else if (name == "allowed_accounts") {
    reader.read_list(value, name, callout.allowed_accounts);
  } else {
    return false;
  }
  return true;
}

void read_callout(Reader& reader, const Value& value, Authorization& auth) {
  AuthCallout callout;
  reader.for_each_member(value, "auth_callout", [&](const std::string& name, const Member& m) {
    return read_callout_field(reader, name, m.value, callout);
  });
  if (callout.issuer.empty()) {
    reader.fail(value.at, "Authorization callouts require an issuer to be specified");
  } else if (callout.auth_users.empty()) {
    reader.fail(value.at, "Authorization callouts require authorized users to be specified");
  }
  auth.callout = std::move(callout);
  auth.needs_later_kind = true;
}

struct AuthorizationBlock {
  bool has_users = false;
  Position users_at;
  std::vector<UserEntry> users;
};

bool read_authorization_field(Reader& reader, const std::string& name, const Value& value,
                              Authorization& auth, AuthorizationBlock& block) {
  if (name == "user" || name == "username") {
    reader.read(value, name, auth.user);
  } else if (name == "pass" || name == "password") {
    reader.read(value, name, auth.password);
  } else if (name == "token") {
    reader.read(value, name, auth.token);
  } else if (name == "timeout") {
    read_auth_timeout(reader, value, auth.timeout);
  } else if (name == "users") {
    block.has_users = true;
    block.users_at = value.at;
    block.users = read_users(reader, value);
  } else if (name == "default_permission" || name == "default_permissions" ||
             name == "permissions") {
    read_permissions(reader, value, auth.default_permissions);
  } else if (name == "auth_callout" || name == "auth_hook") {
    read_callout(reader, value, auth);
  } else if (name == "proxy_required") {
    reader.read(value, name, auth.proxy_required);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void read_authorization(Reader& reader, const Value& value, Options& options) {
  Authorization& auth = options.authorization;
  auth.is_block_present = true;
  AuthorizationBlock block;
  reader.for_each_member(value, "authorization", [&](const std::string& name, const Member& m) {
    return read_authorization_field(reader, name, m.value, auth, block);
  });
  if ((!auth.user.empty() || !auth.password.empty()) && !auth.token.empty()) {
    return reader.fail(value.at, "Cannot have a user/pass and token");
  }
  if (block.has_users || !auth.users.empty()) {
    if (!auth.user.empty()) {
      return reader.fail(value.at, "Can not have a single user/pass and a users array");
    }
    if (!auth.token.empty()) {
      return reader.fail(value.at, "Can not have a token and a users array");
    }
  }
  add_users(reader, block.users_at, std::move(block.users), auth.default_permissions, auth);
}

}  // namespace brokkr::config
