#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/tls.h"

namespace brokkr::io {

// What a test's certificate is to say.
struct TestCertificate {
  std::vector<std::pair<std::string, std::string>> subject = {{"CN", "test"}};
  std::vector<std::string> alt_names;  // "DNS:localhost", "IP:127.0.0.1", "email:a@b", "URI:x:y"
  bool is_rsa = false;                 // P-256 otherwise
  int valid_days = 1;                  // from an hour ago; negative: ended that long ago
};

// A certificate authority made on the spot. Loop-confined.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test authority");
  ~TestAuthority();
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;

  // PEM text.
  std::string certificate() const;
  TlsKeyPair issue(const TestCertificate& wanted) const;
  // For a server on this machine.
  TlsKeyPair issue_server() const;
  // For a client called `name`.
  TlsKeyPair issue_client(const std::string& name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brokkr::io
