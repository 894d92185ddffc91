#include "auth/account_rules.h"

#include <algorithm>
#include <optional>
#include <set>

#include "config/options.h"
#include "subject/subject.h"

namespace brokkr::auth {
namespace {

constexpr const char* kGlobalAccountName = "$G";

using Descriptions = std::map<std::string, const AccountDescription*, std::less<>>;

bool is_reference(std::string_view token) {
  if (token.size() > 1 && token[0] == '$') {
    return std::all_of(token.begin() + 1, token.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  return token.starts_with("{{") && token.ends_with("}}");
}

// Puts what `change` makes of each token together again.
template <typename Change>
std::string change_tokens(std::string_view subject, Change change) {
  std::string out;
  bool is_first = true;
  for (const std::string_view token : subject::Tokens(subject)) {
    if (!is_first) out += '.';
    is_first = false;
    out += change(token);
  }
  return out;
}

// Whether the account's own name must stand at that token of what it imports, and does.
bool names_account(std::string_view subject, uint32_t position, std::string_view account) {
  return position == 0 || subject::token_at(subject, position - 1) == account;
}

bool is_listed(const std::vector<std::string>& accounts, std::string_view name) {
  return accounts.empty() || std::find(accounts.begin(), accounts.end(), name) != accounts.end();
}

bool is_activated(const AccountDescription& exporter, const AccountDescription& importer,
                  const std::string& exported, std::string_view subject, bool is_service) {
  const AccountDescription::PrivateExport* gate = nullptr;
  for (const auto& candidate : exporter.private_exports) {
    if (candidate.is_service == is_service && candidate.subject == exported) gate = &candidate;
  }
  if (gate == nullptr) return true;
  for (const Activation& token : importer.activations) {
    if (token.is_service != is_service || token.exporter != exporter.settings.name) continue;
    if (!subject::is_subset(subject, token.subject)) continue;
    const auto is_revoked = [&](const std::string& account) {
      const auto found = gate->revoked.find(account);
      return found != gate->revoked.end() && token.issued_at <= found->second;
    };
    if (!is_revoked(importer.settings.name) && !is_revoked("*")) return true;
  }
  return false;
}

// The export of `subject` that the importer may use; null when there is none.
template <typename Export>
const Export* find_export(const std::vector<Export>& exports, const AccountDescription& exporter,
                          const AccountDescription& importer, std::string_view subject,
                          bool is_service) {
  for (const Export& candidate : exports) {
    if (!subject::is_subset(subject, candidate.subject)) continue;
    if (!is_listed(candidate.accounts, importer.settings.name)) continue;
    if (!names_account(subject, candidate.account_token_position, importer.settings.name)) continue;
    if (!is_activated(exporter, importer, candidate.subject, subject, is_service)) continue;
    return &candidate;
  }
  return nullptr;
}

// Makes the rules of each account, and says what is wrong with them.
class Resolver {
 public:
  Resolver(const Descriptions& accounts, std::vector<std::string>& problems)
      : accounts_(accounts), problems_(problems) {}

  AccountRules resolve(const AccountDescription& account) {
    AccountRules rules;
    rules.name = account.settings.name;
    rules.display_name = account.display_name;
    rules.settings = account.settings;
    rules.exports_services = !account.settings.service_exports.empty();
    for (const auto& import : account.settings.stream_imports) add_stream(account, import, rules);
    for (const auto& import : account.settings.service_imports) add_service(account, import, rules);
    return rules;
  }

 private:
  void refuse(const AccountDescription& account, const char* kind, const std::string& exporter,
              const std::string& subject, const std::string& why) {
    problems_.push_back("account \"" + account.settings.name + "\": " + kind + " import of \"" +
                        subject + "\" from account \"" + exporter + "\" " + why);
  }

  const AccountDescription* find(std::string_view name) const {
    const auto found = accounts_.find(name);
    return found == accounts_.end() ? nullptr : found->second;
  }

  void add_stream(const AccountDescription& account, const config::StreamImport& import,
                  AccountRules& rules) {
    const auto fail = [&](const std::string& why) {
      refuse(account, "stream", import.account, import.subject, why);
    };
    const AccountDescription* exporter = find(import.account);
    if (exporter == nullptr) return fail("is not possible: there is no such account");
    const std::string subject = pattern_of(import.subject);
    if (find_export(exporter->settings.stream_exports, *exporter, account, subject, false) == nullptr) {
      return fail("is not exported to it");
    }
    if (leads_back_stream(account, import)) return fail("forms a cycle");
    StreamImportRule& rule = rules.stream_imports.emplace_back();
    rule.exporter = import.account;
    rule.subject = subject;
    std::string to = import.to.empty() ? import.subject : import.to;
    if (!import.prefix.empty()) {
      const bool has_dot = import.prefix.ends_with('.');
      to = import.prefix + (has_dot ? "" : ".") + import.subject;
    }
    rule.local = pattern_of(to);
    rule.destination = number_wildcards(to);
    rule.allow_trace = import.allow_trace;
  }

  void add_service(const AccountDescription& account, const config::ServiceImport& import,
                   AccountRules& rules) {
    const auto fail = [&](const std::string& why) {
      refuse(account, "service", import.account, import.subject, why);
    };
    const AccountDescription* exporter = find(import.account);
    if (exporter == nullptr) return fail("is not possible: there is no such account");
    const std::string subject = pattern_of(import.subject);
    const config::ServiceExport* exported =
        find_export(exporter->settings.service_exports, *exporter, account, subject, true);
    if (exported == nullptr) return fail("is not exported to it");
    if (leads_back_service(account, import)) return fail("forms a cycle");
    ServiceImportRule& rule = rules.service_imports.emplace_back();
    rule.exporter = import.account;
    rule.local = pattern_of(import.to.empty() ? import.subject : import.to);
    rule.destination = rule.local == subject ? number_wildcards(subject)
                                             : number_wildcards(import.subject);
    rule.exported = exported->subject;
    rule.share = import.share;
    rule.allow_trace = exported->allow_trace;
    rule.response_type = exported->response_type;
    if (exported->response_threshold > Duration::zero()) {
      rule.response_threshold = exported->response_threshold;
    }
    rule.latency = exported->latency;
  }

  // Whether what is imported may come from the account itself, over the imports of others.
  bool leads_back_service(const AccountDescription& account, const config::ServiceImport& import) {
    std::set<std::pair<std::string, std::string>> seen;
    return reaches_service(account, import.account, pattern_of(import.subject), seen);
  }

  bool reaches_service(const AccountDescription& start, const std::string& at,
                       const std::string& subject,
                       std::set<std::pair<std::string, std::string>>& seen) {
    if (at == start.settings.name) return true;
    if (!seen.emplace(at, subject).second) return false;
    const AccountDescription* account = find(at);
    if (account == nullptr) return false;
    for (const auto& import : account->settings.service_imports) {
      const std::string local = pattern_of(import.to.empty() ? import.subject : import.to);
      if (!subject::collide(local, subject)) continue;
      if (reaches_service(start, import.account, pattern_of(import.subject), seen)) return true;
    }
    return false;
  }

  bool leads_back_stream(const AccountDescription& account, const config::StreamImport& import) {
    std::set<std::pair<std::string, std::string>> seen;
    return reaches_stream(account, import.account, pattern_of(import.subject), seen);
  }

  bool reaches_stream(const AccountDescription& start, const std::string& at,
                      const std::string& subject,
                      std::set<std::pair<std::string, std::string>>& seen) {
    if (at == start.settings.name) return true;
    if (!seen.emplace(at, subject).second) return false;
    const AccountDescription* account = find(at);
    if (account == nullptr) return false;
    for (const auto& import : account->settings.stream_imports) {
      std::string local = import.to.empty() ? import.subject : import.to;
      if (!import.prefix.empty()) local = import.prefix + "." + import.subject;
      if (!subject::collide(pattern_of(local), subject)) continue;
      if (reaches_stream(start, import.account, pattern_of(import.subject), seen)) return true;
    }
    return false;
  }

  const Descriptions& accounts_;
  std::vector<std::string>& problems_;
};

}  // namespace

std::vector<AccountDescription> describe_accounts(const config::Options& options) {
  std::vector<AccountDescription> out;
  bool has_global = false;
  for (const config::Account& account : options.accounts) {
    AccountDescription& added = out.emplace_back();
    added.settings = account;
    if (account.name != kGlobalAccountName) continue;
    has_global = true;
    added.settings.mappings.insert(added.settings.mappings.end(), options.mappings.begin(),
                                   options.mappings.end());
  }
  if (!has_global && !options.mappings.empty()) {
    AccountDescription& global = out.emplace_back();
    global.settings.name = kGlobalAccountName;
    global.settings.mappings = options.mappings;
  }
  return out;
}

std::string pattern_of(std::string_view destination) {
  return change_tokens(destination, [](std::string_view token) {
    return is_reference(token) ? std::string_view("*") : token;
  });
}

std::string number_wildcards(std::string_view pattern) {
  size_t number = 0;
  return change_tokens(pattern, [&](std::string_view token) {
    return token == "*" ? "$" + std::to_string(++number) : std::string(token);
  });
}

std::shared_ptr<const AccountTable> AccountTable::make(
    const std::vector<AccountDescription>& accounts, const AccountTable* previous) {
  Descriptions by_name;
  for (const AccountDescription& account : accounts) by_name[account.settings.name] = &account;
  auto table = std::make_shared<AccountTable>();
  Resolver resolver(by_name, table->problems_);
  for (const auto& [name, account] : by_name) {
    AccountRules rules = resolver.resolve(*account);
    const auto known = previous == nullptr ? nullptr : previous->find(name);
    rules.totals = known != nullptr ? known->totals : std::make_shared<AccountTotals>();
    table->accounts_[name] = std::make_shared<const AccountRules>(std::move(rules));
  }
  return table;
}

std::shared_ptr<const AccountRules> AccountTable::find(std::string_view name) const {
  const auto found = accounts_.find(name);
  return found == accounts_.end() ? nullptr : found->second;
}

}  // namespace brokkr::auth
