#include "workload/namespace_egress.h"

#include <algorithm>
#include <optional>

namespace brokkr::workload {
namespace {

// Absent when nothing bounds the namespace. A list that cannot be read allows nothing.
std::optional<EgressPolicy> find_bound(std::string_view ns,
                                       const std::vector<NamespaceRecord>& namespaces) {
  const auto found = std::find_if(namespaces.begin(), namespaces.end(),
                                  [ns](const NamespaceRecord& record) { return record.ns == ns; });
  if (found == namespaces.end() || found->egress.empty()) return std::nullopt;
  auto bound = EgressPolicy::parse(found->egress, false);
  return bound ? *bound : *EgressPolicy::parse({}, false);
}

}  // namespace

EgressPolicy within_namespace(const EgressPolicy& policy, std::string_view ns,
                              const std::vector<NamespaceRecord>& namespaces) {
  const auto bound = find_bound(ns, namespaces);
  return bound ? policy.bounded_by(*bound) : policy;
}

Status check_declared_egress(const std::vector<std::string>& entries, std::string_view ns,
                             const std::vector<NamespaceRecord>& namespaces) {
  const auto policy = EgressPolicy::parse(entries);
  if (!policy) return policy.error();
  const auto bound = find_bound(ns, namespaces);
  if (!bound) return {};
  for (size_t i = 0; i < entries.size(); ++i) {
    if (bound->covers(policy->entries()[i])) continue;
    return Error{Errc::PermissionDenied, "egress \"" + entries[i] + "\": namespace \"" +
                                             std::string(ns) + "\" may not reach that"};
  }
  return {};
}

}  // namespace brokkr::workload
