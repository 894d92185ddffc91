#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/result.h"
#include "workload/control.h"
#include "workload/run_request.h"
#include "workload/signature.h"

namespace brokkr::workload {

// Lets a deployment pass when it is signed as the node and the namespace ask for. A token is worth one
// deployment, on all nodes together where JetStream keeps the used ones. Loop-confined.
class DeployGuard {
 public:
  using Checked = Callback<void(Result<std::string> issuer)>;
  // Creates the key of NEX_DEPLOYS: AlreadyExists when it was there. Absent where there is no JetStream.
  using KeepToken = Callback<void(const std::string& key, Callback<void(const Status&)>)>;

  explicit DeployGuard(Words node_issuers) : node_issuers_(std::move(node_issuers)) {}
  ~DeployGuard() { *alive_ = false; }
  DeployGuard(const DeployGuard&) = delete;
  DeployGuard& operator=(const DeployGuard&) = delete;

  // `namespace_issuers` are those of the namespace's record. Calls back once: with the issuer, empty when
  // nobody signed and nobody asked for it, or with PermissionDenied. `keep` may be empty.
  void check(std::string_view ns, const Words& namespace_issuers, const DeployRequest&, const RunRequest&, WallTime now,
             const KeepToken& keep, Checked);

 private:
  const Words node_issuers_;
  UsedTokens used_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
