// Whether the options of operator mode go together; what needs no look into JWTs the config room does.
#include "auth/operator_mode.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"

namespace brokkr::auth {
namespace {

using Kind = config::ResolverOptions::Kind;

// The operators' JWTs and the configuration name the same system account, or only one of them does.
std::string system_account_fault(const config::Options& options) {
  const Kind kind = options.operator_mode.resolver.kind;
  bool is_named = false;
  bool is_same = false;
  std::string first;
  for (const std::string& jwt : options.operator_mode.operators) {
    const auto claims = crypto::decode_operator(jwt);
    if (!claims) continue;
    if (first.empty()) first = claims->system_account;
    is_named |= !claims->system_account.empty();
    is_same |= claims->system_account == options.system_account;
  }
  if (!options.system_account.empty()) {
    return is_named && !is_same ? "system_account in config and operator JWT must be identical"
                                : "";
  }
  if (first.empty() && (kind == Kind::Full || kind == Kind::Cache)) {
    return "using nats based account resolver - the system account needs to be specified in "
           "configuration or the operator jwt";
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const OperatorMode>> make_operator_mode(const config::Options& options,
                                                               WallTime now) {
  const config::OperatorOptions& from = options.operator_mode;
  if (!from.is_on()) return std::shared_ptr<const OperatorMode>();
  std::string fault;
  if (!from.operators.empty() && from.resolver.kind == Kind::None) {
    fault = "operators require an account resolver to be configured";
  }
  if (fault.empty()) fault = system_account_fault(options);
  if (!fault.empty()) return Error{Errc::InvalidArgument, std::move(fault)};
  return OperatorMode::make(from, options.system_account, now);
}

}  // namespace brokkr::auth
