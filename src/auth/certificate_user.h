#pragma once

#include <vector>

#include "auth/authenticator.h"

namespace brokkr::auth {

// Whom of `users` a certificate names: its e-mail addresses are tried, then DNS names, URIs, and the
// subject. The subject matches a name with the same elements, in any order. Null for nobody.
const User* find_certificate_user(const TlsIdentity& identity,
                                  const std::vector<const User*>& users);

}  // namespace brokkr::auth
