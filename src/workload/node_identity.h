#pragma once

#include <string>

#include "base/result.h"
#include "crypto/nkey.h"
#include "crypto/xkey.h"

namespace brokkr::workload {

// Who a node is: the key that names it and the key environments and secrets are sealed to. Kept as two
// seeds with mode 0600 in a folder, so that a node that starts again is the same one. Move-only.
class NodeIdentity {
 public:
  // Makes what is not there yet. While another process has the folder, or when it cannot be used, the
  // identity is a new one that ends with the process; `is_kept` says which. Fails with Syntax, naming
  // the file, when one holds no seed.
  static Result<NodeIdentity> load(const std::string& folder);
  static NodeIdentity generate();
  NodeIdentity(NodeIdentity&&) noexcept;
  NodeIdentity& operator=(NodeIdentity&&) = delete;
  ~NodeIdentity();

  const crypto::KeyPair& key() const { return key_; }
  const crypto::CurveKey& xkey() const { return xkey_; }
  bool is_kept() const { return lock_fd_ >= 0; }

 private:
  NodeIdentity(crypto::KeyPair key, crypto::CurveKey xkey, int lock_fd);
  crypto::KeyPair key_;
  crypto::CurveKey xkey_;
  int lock_fd_;  // held as long as the identity is in use
};

}  // namespace brokkr::workload
