#include "workload/deploy_guard.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

bool contains_key(const Words& issuers, const std::string& issuer) {
  return std::find(issuers.begin(), issuers.end(), issuer) != issuers.end();
}

}  // namespace

void DeployGuard::check(std::string_view ns, const Words& namespace_issuers, const DeployRequest& request,
                        const RunRequest& run, WallTime now, const KeepToken& keep, Checked checked) {
  const bool must_be_signed = !node_issuers_.empty() || !namespace_issuers.empty();
  if (run.workload_jwt.empty() && !must_be_signed) return checked(std::string());
  // Whoever both lists name, where there are two.
  auto said = verify_deploy(ns, request, run, namespace_issuers, now);
  if (said && !node_issuers_.empty() && !contains_key(node_issuers_, said->issuer)) {
    return checked(Error{Errc::PermissionDenied, "signature: issuer " + said->issuer + " is not allowed on this node"});
  }
  if (!said) return checked(said.error());
  const Error used{Errc::PermissionDenied, "signature: the token was used before"};
  if (!used_.use(*said, now)) return checked(used);
  if (!keep) return checked(said->issuer);
  keep(used_token_key(*said), [alive = alive_, issuer = said->issuer, used, checked = std::move(checked)](const Status& kept) {
    if (!*alive) return;
    if (kept) return checked(issuer);
    if (kept.error().code == Errc::AlreadyExists) return checked(used);
    checked(Error{Errc::Unavailable, "signature: the token could not be marked as used: " + kept.error().text});
  });
}

}  // namespace brokkr::workload
