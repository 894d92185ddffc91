#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace brokkr::http {

// The start line and header fields of an HTTP/1.1 message, strictly read: CRLF line ends, no folded
// lines, no blanks before a colon, no control characters. A value type.
struct Head {
  struct Field {
    std::string name;
    std::string value;  // without blanks around it
  };
  std::string start_line;
  std::vector<Field> fields;

  // The first field of that name in any case, or null.
  const std::string* find(std::string_view name) const;
  size_t count(std::string_view name) const;
  // Whether one of the comma-separated elements of the fields of that name is `token`, in any case.
  bool has_token(std::string_view name, std::string_view token) const;
};

// Collects a head from bytes that come in any pieces, up to a bound. Loop-confined.
class HeadReader {
 public:
  static constexpr size_t kFieldsMax = 128;
  enum class Outcome : uint8_t { Partial, Complete, TooLarge, Malformed };

  explicit HeadReader(size_t bytes_max) : bytes_max_(bytes_max) {}
  // Takes bytes from the front of `input`, never beyond the head's end.
  Outcome next(std::string_view& input);
  const Head& head() const { return head_; }
  // What is wrong with a malformed head.
  std::string_view error() const { return error_; }

 private:
  Outcome parse();
  bool parse_field(std::string_view line);

  const size_t bytes_max_;
  std::string text_;
  Head head_;
  std::string_view error_;
};

}  // namespace brokkr::http
