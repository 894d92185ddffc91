#include <algorithm>
#include <map>
#include <set>

#include "base/bytes.h"
#include "config/reader.h"
#include "subject/subject.h"
#include "subject/transform.h"

// What accounts want of each other: every import needs an export that lets it, and none may come
// back to where it started. The rules and words are nats-server's.
namespace brokkr::config {
namespace {

constexpr size_t kCycleDepthMax = 1024;

bool is_placeholder(std::string_view token) {
  if (token.size() > 1 && token[0] == '$' && token[1] >= '1' && token[1] <= '9') return true;
  return token.starts_with("{{") && token.ends_with("}}") &&
         to_lower(token).find("wildcard(") != std::string::npos;
}

// "a.*.>" to "a.$1.>".
std::string with_placeholders(std::string_view subject) {
  std::string text;
  int number = 0;
  for (const std::string_view token : subject::Tokens(subject)) {
    if (!text.empty()) text += '.';
    text += token == "*" ? "$" + std::to_string(++number) : std::string(token);
  }
  return text;
}

// "a.$1.>" to "a.*.>".
std::string without_placeholders(std::string_view subject) {
  std::string text;
  for (const std::string_view token : subject::Tokens(subject)) {
    if (!text.empty()) text += '.';
    text += is_placeholder(token) ? std::string_view("*") : token;
  }
  return text;
}

// What is wrong with a mapping that must be reversible; empty when nothing is.
std::string strict_fault(const std::string& source, const std::string& destination) {
  const auto transform = subject::Transform::make(source, destination);
  if (!transform) return transform.error().text;
  size_t wildcards = 0;
  for (const std::string_view token : subject::Tokens(source))
    wildcards += token == "*" ? 1U : 0U;
  size_t used = 0;
  for (const std::string_view token : subject::Tokens(destination)) {
    if (token.starts_with("{{") && !is_placeholder(token)) {
      return "invalid mapping destination: the only mapping function allowed for import transforms "
             "is {{Wildcard()}} in " + std::string(token);
    }
    used += is_placeholder(token) ? 1U : 0U;
  }
  if (used >= wildcards) return {};
  return "invalid mapping destination: not using all of the token wildcard(s) in " + destination;
}

class AccountChecks {
 public:
  explicit AccountChecks(const Options& options) : options_(options) {
    for (const Account& account : options.accounts)
      by_name_[account.name] = &account;
  }

  std::vector<std::string> run() {
    check_callout();
    for (const Account& account : options_.accounts)
      check_exports(account);
    if (!faults_.empty()) return std::move(faults_);
    for (const Account& account : options_.accounts) {
      for (const StreamImport& import : account.stream_imports)
        check_stream_import(account, import);
    }
    for (const Account& account : options_.accounts) {
      for (const ServiceImport& import : account.service_imports)
        check_service_import(account, import);
    }
    return std::move(faults_);
  }

 private:
  // An import that was found to be good.
  struct Accepted {
    const Account* from = nullptr;
    std::string subject;  // of the exporter
    std::string local;
  };
  // Shared by all branches of one search: an account is looked at once.
  using Visited = std::set<const Account*>;
  using Imports = std::map<const Account*, std::vector<Accepted>>;

  const Account* find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }

  void check_callout() {
    const auto& callout = options_.authorization.callout;
    if (!callout) return;
    for (const std::string& name : callout->allowed_accounts) {
      if (find(name) != nullptr) continue;
      faults_.push_back("auth_callout allowed account \"" + name +
                        "\" not found in configured accounts");
    }
  }

  template <typename Export>
  void check_export(const Export& one, const std::string& what) {
    const auto fail = [&](const char* why) {
      faults_.push_back("Error adding " + what + " export \"" + one.subject + "\": " + why);
    };
    for (const std::string& name : one.accounts) {
      if (find(name) != nullptr) continue;
      faults_.push_back("\"" + name + "\" account not defined for " + what + " export");
    }
    const uint32_t position = one.account_token_position;
    if (!subject::is_valid(one.subject) ||
        (position > 0 && subject::token_at(one.subject, position - 1) != "*")) {
      fail("invalid subject");
    }
  }

  void check_exports(const Account& account) {
    for (const StreamExport& one : account.stream_exports)
      check_export(one, "stream");
    for (const ServiceExport& one : account.service_exports) {
      check_export(one, "service");
      if (one.latency) check_latency(account, one);
    }
  }

  void check_latency(const Account& account, const ServiceExport& one) {
    const std::string& results = one.latency->subject;
    const bool is_valid = subject::is_valid_literal(results);
    const bool is_own = is_valid && std::any_of(
        account.service_exports.begin(), account.service_exports.end(),
        [&](const ServiceExport& other) {
          return subject::is_valid(other.subject) && subject::is_subset(results, other.subject);
        });
    const char* why = nullptr;
    if (options_.no_system_account) {
      why = "system account not setup";
    } else if (!is_valid || is_own) {
      why = "invalid publish subject";
    } else if (one.response_type != ResponseType::Singleton) {
      why = "bad service response type";
    }
    if (why == nullptr) return;
    faults_.push_back("Error adding service latency sampling for \"" + one.subject +
                      "\" on subject \"" + results + "\": " + why);
  }

  // Whether `importer` may take `subject`, by the first export that covers it.
  template <typename Export>
  static bool is_authorized(const std::vector<Export>& exports, const Account& importer,
                            const std::string& wanted) {
    const auto lets = [&](const Export& one, bool is_exact) {
      if (one.account_token_position > 0) {
        return !is_exact &&
               subject::token_at(wanted, one.account_token_position - 1) == importer.name;
      }
      return one.accounts.empty() || std::find(one.accounts.begin(), one.accounts.end(),
                                               importer.name) != one.accounts.end();
    };
    for (const Export& one : exports) {
      if (one.subject == wanted) return lets(one, true);
    }
    for (const Export& one : exports) {
      if (subject::is_subset(wanted, one.subject)) return lets(one, false);
    }
    return false;
  }

  std::string stream_fault(const Account& account, const StreamImport& import,
                           const Account& from) {
    const std::string& subject = import.subject;
    if (!subject::is_valid(subject) || !is_authorized(from.stream_exports, account, subject)) {
      return "stream import not authorized";
    }
    std::string local = import.to.empty() ? subject : import.to;
    if (!import.prefix.empty()) {
      if (!subject::is_literal(import.prefix)) {
        return "stream import prefix can not contain wildcard tokens";
      }
      local = import.prefix + (import.prefix.ends_with('.') ? "" : ".") + subject;
    }
    if (!subject::is_valid(local)) return "invalid subject";
    for (const std::string& one : {local, subject}) {
      Visited visited = {&account};
      const std::string fault = stream_cycle(from, one, visited);
      if (!fault.empty()) return fault;
    }
    if (!subject::is_literal(subject) && local != subject) {
      const std::string fault = strict_fault(subject, with_placeholders(local));
      if (!fault.empty()) {
        return "failed to create mapping transform for stream import subject from \"" + subject +
               "\" to \"" + local + "\": " + fault;
      }
      local = without_placeholders(local);
    }
    for (const Accepted& other : streams_[&account]) {
      if (other.from == &from && other.subject == subject) return "stream import already exists";
    }
    streams_[&account].push_back({&from, subject, local});
    return {};
  }

  void check_stream_import(const Account& account, const StreamImport& import) {
    const Account* const from = find(import.account);
    if (from == nullptr) {
      faults_.push_back("\"" + import.account + "\" account not defined for stream import");
      return;
    }
    const std::string fault = stream_fault(account, import, *from);
    if (fault.empty()) return;
    faults_.push_back("Error adding stream import \"" + import.subject + "\": " + fault);
  }

  std::string stream_cycle(const Account& at, const std::string& subject, Visited& visited) {
    if (visited.size() >= kCycleDepthMax) return "search cycle depth exhausted";
    const auto& exports = at.stream_exports;
    const bool is_exported =
        std::any_of(exports.begin(), exports.end(), [&](const StreamExport& one) {
          return subject::is_subset(subject, one.subject);
        });
    if (!is_exported) return {};
    for (const Accepted& import : streams_[&at]) {
      if (!subject::collide(subject, import.local)) continue;
      if (visited.count(import.from) > 0) return "import forms a cycle";
      visited.insert(&at);
      const bool is_inside = subject::is_subset(import.local, subject);
      const std::string fault =
          stream_cycle(*import.from, is_inside ? import.local : subject, visited);
      if (!fault.empty()) return fault;
    }
    return {};
  }

  std::string service_fault(const Account& account, const ServiceImport& import,
                            const Account& from) {
    const std::string& subject = import.subject;
    if (!subject::is_valid(import.to) || !subject::is_valid(subject)) return "invalid subject";
    if (!is_authorized(from.service_exports, account, subject)) {
      return "service import not authorized";
    }
    const bool has_wildcard = !subject::is_literal(subject);
    std::string local = has_wildcard ? without_placeholders(import.to) : import.to;
    Visited visited = {&account};
    std::string fault = service_cycle(from, local, visited);
    if (!fault.empty()) return fault;
    for (const Accepted& other : services_[&account]) {
      if (other.from != &from || other.local != local) continue;
      return "duplicate service import subject \"" + import.to +
             "\", previously used in import for account \"" + from.name + "\", subject \"" +
             other.subject + "\"";
    }
    if (has_wildcard && import.to != subject) {
      fault = strict_fault(without_placeholders(subject), with_placeholders(import.to));
      if (!fault.empty()) {
        return "failed to create mapping transform for service import subject from \"" +
               import.to + "\" to \"" + subject + "\": " + fault;
      }
    }
    services_[&account].push_back({&from, subject, local});
    return {};
  }

  void check_service_import(const Account& account, const ServiceImport& import) {
    const Account* const from = find(import.account);
    if (from == nullptr) {
      faults_.push_back("\"" + import.account + "\" account not defined for service import");
      return;
    }
    const std::string fault = service_fault(account, import, *from);
    if (fault.empty()) return;
    faults_.push_back("Error adding service import \"" + import.subject + "\": " + fault);
  }

  std::string service_cycle(const Account& at, const std::string& subject, Visited& visited) {
    if (visited.size() >= kCycleDepthMax) return "search cycle depth exhausted";
    for (const Accepted& import : services_[&at]) {
      if (!subject::collide(subject, import.subject)) continue;
      if (visited.count(import.from) > 0) return "import forms a cycle";
      visited.insert(&at);
      const bool is_inside = subject::is_subset(import.local, subject);
      const std::string fault =
          service_cycle(*import.from, is_inside ? import.local : subject, visited);
      if (!fault.empty()) return fault;
    }
    return {};
  }

  const Options& options_;
  std::map<std::string, const Account*> by_name_;
  Imports streams_;
  Imports services_;
  std::vector<std::string> faults_;
};

}  // namespace

void check_accounts(Reader& reader, Position at, const Options& options) {
  for (std::string& fault : AccountChecks(options).run())
    reader.fail(at, std::move(fault));
}

}  // namespace brokkr::config
