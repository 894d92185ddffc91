#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "workload/desired.h"
#include "workload/egress.h"

namespace brokkr::workload {

// What of `policy` the namespace's record leaves: all, when it has no egress list.
EgressPolicy within_namespace(const EgressPolicy& policy, std::string_view ns,
                              const std::vector<NamespaceRecord>& namespaces);
// Whether a workload of the namespace may declare these entries. Fails with PermissionDenied, naming the
// one it may not, or with InvalidArgument as EgressPolicy::parse does.
Status check_declared_egress(const std::vector<std::string>& entries, std::string_view ns,
                             const std::vector<NamespaceRecord>& namespaces);

}  // namespace brokkr::workload
