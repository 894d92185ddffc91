#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The header block of a message:
//
//   block  = "NATS/1.0" [SP code [SP text]] CRLF *(key ":" *SP value CRLF) CRLF
//   code   = three digits
//
// Keys are case-sensitive and may repeat. The block travels unread through the broker; these are
// for those who look inside.
namespace brokkr::protocol {

struct Header {
  std::string_view key;
  std::string_view value;
};

// A block that has been checked as a whole. The views point into the block. Immutable.
class Headers {
 public:
  // Without a block: no status, no headers.
  Headers() = default;
  // Absent when the text is not exactly one well-formed block.
  static std::optional<Headers> parse(std::string_view block);

  int status() const { return status_; }  // 0 when the first line has none
  std::string_view status_text() const { return status_text_; }

  // First value of the key; absent when there is none. `find` compares exactly.
  std::optional<std::string_view> find(std::string_view key) const;
  std::optional<std::string_view> find_ignore_case(std::string_view key) const;
  std::string_view get(std::string_view key) const { return find(key).value_or(""); }
  std::vector<std::string_view> find_all(std::string_view key) const;
  bool empty() const { return lines_.empty(); }

  // for (const Header& header : headers)
  class Iterator {
   public:
    explicit Iterator(std::string_view rest) : rest_(rest) { read(); }
    const Header& operator*() const { return header_; }
    const Header* operator->() const { return &header_; }
    Iterator& operator++() {
      rest_.remove_prefix(line_size_);
      read();
      return *this;
    }
    bool operator!=(const Iterator& other) const { return rest_.size() != other.rest_.size(); }

   private:
    void read();
    std::string_view rest_;
    Header header_;
    size_t line_size_ = 0;
  };
  Iterator begin() const { return Iterator(lines_); }
  Iterator end() const { return Iterator(lines_.substr(lines_.size())); }

 private:
  std::string_view lines_;  // after the first line, without the closing CRLF
  std::string_view status_text_;
  int status_ = 0;
};

// Writes a block. Loop-confined.
class HeaderWriter {
 public:
  HeaderWriter();
  explicit HeaderWriter(int status, std::string_view text = {});
  // Does nothing and says false when the key is empty or either holds what would break the block
  // (CR, LF; in a key also ':' and blanks).
  bool add(std::string_view key, std::string_view value);
  // The whole block.
  std::string take();

 private:
  std::string block_;
};

// A copy of a well-formed block without the headers of that key; empty when none is left and the
// first line has no status.
std::string without_header(std::string_view block, std::string_view key);
// A copy in which the key has exactly this value, at the end. An empty or malformed block is
// replaced by a fresh one.
std::string with_header(std::string_view block, std::string_view key, std::string_view value);

}  // namespace brokkr::protocol
