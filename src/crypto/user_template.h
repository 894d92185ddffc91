#pragma once

#include <string_view>

#include "base/result.h"
#include "crypto/claims.h"

namespace brokkr::crypto {

// What the templates of a scoped signing key can name.
struct TemplateValues {
  std::string_view name;             // {{name()}}
  std::string_view subject;          // {{subject()}}
  std::string_view account_name;     // {{account-name()}}
  std::string_view account_subject;  // {{account-subject()}}
  const Texts& tags;                 // {{tag(x)}}: what follows "x:", one subject for each
  const Texts& account_tags;         // {{account-tag(x)}}
};

inline constexpr size_t kTemplateSubjectsMax = 4096;

// The permissions a user gets from the scope of the key that signed it: each template is replaced by
// its value, tags with several values by several subjects. A value that is no subject's part, or
// holds a wildcard, never gets into a pattern: an allowed subject that needs it is left out, a
// denied one fails. When nothing of an allow list is left, everything is denied. Fails with
// InvalidArgument, or LimitExceeded beyond kTemplateSubjectsMax subjects in a list. Pure.
Result<UserPermissionLimits> expand_user_template(const UserPermissionLimits& scope, const TemplateValues&);

}  // namespace brokkr::crypto
