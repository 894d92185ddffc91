#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/auth_store.h"
#include "cli/columns.h"
#include "cli/command.h"

// What the files of the auth group share.
namespace brokkr::cli {

Command auth_operator_command();
Command auth_account_command();
Command auth_account_keys_command();
std::vector<Command> auth_account_share_commands();  // imports, exports, mappings
Command auth_user_command();
Command auth_nkey_command();

Command auth_part(const char* name, std::vector<std::string> aliases, const char* summary,
                  std::vector<Argument> arguments, std::vector<Flag> flags,
                  int (*run)(const Context&, const Values&));

// The operator called `name`, else the selected one, else the only one, else the one the user picks.
Result<StoredOperator> choose_operator(const AuthStore&, const std::string& name, bool is_selected_used = true);
// The account called `name` or with that key; the user picks when there is none.
Result<StoredAccount*> choose_account(StoredOperator&, const std::string& name);
// By --operator and the argument "account".
struct ChosenAccount {
  AuthStore store;
  StoredOperator op;
  StoredAccount* account = nullptr;
};
Result<std::unique_ptr<ChosenAccount>> choose_account(const Values&);
// The signing key that is, or has the role, `choice`; the user picks otherwise.
Result<std::string> choose_signing_key(const StoredAccount&, const std::string& choice, bool is_scope_wanted);

// Lower case, each once.
void add_tags(crypto::Texts& tags, const std::vector<std::string>& added, const std::vector<std::string>& removed);

void add_strings(Columns&, const std::string& name, const std::vector<std::string>& values);
// "unlimited" for -1.
std::string limit_text(int64_t value);
void add_user_limits(Columns&, const crypto::UserPermissionLimits&);

std::string operator_text(const StoredOperator&);
std::string account_text(const StoredAccount&, const StoredOperator*);
Result<std::string> user_text(const StoredUser&, const StoredAccount&);
std::string signing_key_text(const crypto::UserScope&);

// As the nats CLI backs them up, with the private keys that are here.
void write_operator(json::Writer&, const AuthStore&, const StoredOperator&);
void write_account(json::Writer&, const AuthStore&, const StoredAccount&);
void write_user(json::Writer&, const AuthStore&, const StoredUser&);

}  // namespace brokkr::cli
