#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace brokkr {

// The SHA-256 of `bytes` as 64 lower-case hexadecimal characters. Pure.
std::string sha256_hex(std::string_view bytes);

// The SHA-256 of bytes that come in parts. Loop-confined.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  // The 32 bytes of the digest; once, after the last update.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brokkr
