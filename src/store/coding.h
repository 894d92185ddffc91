#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// Numbers and texts inside frames and catalog entries: LEB128 varints and texts with their length in
// front. Pure functions.
namespace brokkr::store {

void put_varint(std::string& out, uint64_t value);
// Zigzag: small negative numbers stay short.
void put_signed(std::string& out, int64_t value);
void put_text(std::string& out, std::string_view text);

// Takes values off the front. After the first that is not there `ok` is false, and zeroes and empty
// texts are returned.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}
  uint64_t varint();
  int64_t signed_varint();
  std::string_view text();
  // The next `size` bytes.
  std::string_view bytes(size_t size);
  // A count of things that take at least one byte each: more than is left is not ok.
  uint64_t count();
  bool ok() const { return ok_; }
  // Nothing failed and nothing is left.
  bool done() const { return ok_ && rest_.empty(); }
  size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace brokkr::store
