#include "auth/certificate_user.h"

#include "auth/certificate_names.h"

namespace brokkr::auth {
namespace {

const User* find_by_name(const std::vector<const User*>& users, std::string_view name) {
  if (name.empty()) return nullptr;
  for (const User* user : users) {
    if (user->name == name) return user;
  }
  return nullptr;
}

// The same order counts more than the same elements.
const User* find_by_subject(const std::vector<const User*>& users,
                            const DistinguishedName& subject) {
  const User* reordered = nullptr;
  for (const User* user : users) {
    const auto name = DistinguishedName::parse(user->name);
    if (!name) continue;
    if (name->equals(subject)) return user;
    // Of several the first by name, so that the answer is always the same.
    const bool is_better = reordered == nullptr || user->name < reordered->name;
    if (is_better && name->has_same_elements(subject)) reordered = user;
  }
  return reordered;
}

}  // namespace

const User* find_certificate_user(const TlsIdentity& identity,
                                  const std::vector<const User*>& users) {
  for (const auto* names : {&identity.emails, &identity.dns_names, &identity.uris}) {
    for (const std::string& name : *names) {
      if (const User* user = find_by_name(users, name)) return user;
    }
  }
  const auto subject = DistinguishedName::parse(identity.subject);
  if (!subject) return nullptr;
  if (const User* user = find_by_subject(users, *subject)) return user;
  const DistinguishedName rest = subject->without_domain();
  return rest.is_empty() ? nullptr : find_by_subject(users, rest);
}

}  // namespace brokkr::auth
