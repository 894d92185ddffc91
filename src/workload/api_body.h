#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "workload/access.h"
#include "workload/inboxes.h"

// What requests to $JS.API name in their bodies: a stream's subjects, sources and republishing, where
// a consumer or a snapshot is delivered to. Pure functions.
namespace brokkr::workload {

// Whether a request there has a body that needs a look.
bool has_api_body(std::string_view subject);

// The body to send instead of `body`: the same content, written anew from what was checked, with
// inboxes as the server knows them. `subject` is allowed. Fails with PermissionDenied when it reaches
// beyond `access`, and with Syntax for what nobody can check: no JSON, a member twice, one unknown.
Result<std::string> check_api_body(const Access& access, const Inboxes& inboxes,
                                   std::string_view subject, std::string_view body);

// How the API would say no.
std::string api_error(std::string_view subject, const Error& error);

}  // namespace brokkr::workload
