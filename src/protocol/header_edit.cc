#include "protocol/header_edit.h"

#include "base/bytes.h"

namespace brokkr::protocol {
namespace {

constexpr std::string_view kLine = "NATS/1.0\r\n";
constexpr std::string_view kEditedLineEnd = "\r\n";

// Where the line of that key begins; npos when there is none.
size_t find_line(std::string_view block, std::string_view key, size_t from) {
  for (size_t at = block.find(key, from); at != std::string_view::npos; at = block.find(key, at + 1)) {
    if (at < 2 || block[at - 1] != '\n' || block[at - 2] != '\r') continue;
    if (at + key.size() < block.size() && block[at + key.size()] == ':') return at;
  }
  return std::string_view::npos;
}

}  // namespace

void remove_header(std::string& block, std::string_view key) {
  for (size_t at = find_line(block, key, 0); at != std::string::npos; at = find_line(block, key, at)) {
    const size_t end = block.find(kEditedLineEnd, at);
    if (end == std::string::npos) return;
    block.erase(at, end + kEditedLineEnd.size() - at);
    if (block.size() <= kLine.size() + kEditedLineEnd.size()) return block.clear();
  }
}

void remove_header_any_case(std::string& block, std::string_view key) {
  size_t at = block.find(kEditedLineEnd);
  while (at != std::string::npos) {
    at += kEditedLineEnd.size();
    const size_t end = block.find(kEditedLineEnd, at);
    if (end == std::string::npos) return;
    const std::string_view line(block.data() + at, end - at);
    const bool is_it = line.size() > key.size() && line[key.size()] == ':' &&
                       equals_ignore_case(line.substr(0, key.size()), key);
    if (is_it) block.erase(at, end + kEditedLineEnd.size() - at);
    at = is_it ? at - kEditedLineEnd.size() : end;
  }
  if (block.size() <= kLine.size() + kEditedLineEnd.size()) block.clear();
}

void append_header(std::string& block, std::string_view key, std::string_view value) {
  if (block.size() > kEditedLineEnd.size()) {
    block.resize(block.size() - kEditedLineEnd.size());
  } else {
    block = kLine;
  }
  block.append(key).append(": ").append(value).append(kEditedLineEnd).append(kEditedLineEnd);
}

void set_header(std::string& block, std::string_view key, std::string_view value) {
  const size_t line = find_line(block, key, 0);
  if (line == std::string::npos) return append_header(block, key, value);
  size_t begin = line + key.size() + 1;
  if (begin < block.size() && block[begin] == ' ') ++begin;
  const size_t end = block.find('\r', begin);
  if (end != std::string::npos) block.replace(begin, end - begin, value);
}

}  // namespace brokkr::protocol
