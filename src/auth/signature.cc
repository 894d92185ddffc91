#include "auth/signature.h"

#include "base/bytes.h"
#include "crypto/nkey.h"

namespace brokkr::auth {

Status check_signature(std::string_view nkey, std::string_view nonce, std::string_view signature) {
  if (signature.empty()) return Error{Errc::PermissionDenied, "the signature is missing"};
  const auto raw = base64_decode(signature);
  if (!raw) return Error{Errc::PermissionDenied, "the signature is not base64"};
  // Nothing to sign must not mean that anything is a signature of it.
  if (nonce.empty() || !crypto::verify_signature(nkey, nonce, *raw)) {
    return Error{Errc::PermissionDenied, "the signature is wrong"};
  }
  return {};
}

}  // namespace brokkr::auth
