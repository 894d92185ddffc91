#include "protocol/headers.h"

#include "base/bytes.h"

namespace brokkr::protocol {
namespace {

constexpr std::string_view kVersionLine = "NATS/1.0";
constexpr std::string_view kLineEnd = "\r\n";

// Cuts the line at the start of `rest`, without its CRLF. Absent when it has none or holds a lone
// CR or LF.
std::optional<std::string_view> take_line(std::string_view& rest) {
  const size_t end = rest.find_first_of(kLineEnd);
  if (end == std::string_view::npos || rest.substr(end, 2) != kLineEnd) return std::nullopt;
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end + 2);
  return line;
}

std::string_view skip_blanks(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_good_key(std::string_view key) {
  return !key.empty() && key.find_first_of(": \t\r\n") == std::string_view::npos;
}

}  // namespace

std::optional<Headers> Headers::parse(std::string_view block) {
  Headers headers;
  std::string_view rest = block;
  const auto first = take_line(rest);
  if (!first || first->substr(0, kVersionLine.size()) != kVersionLine) return std::nullopt;
  std::string_view status = first->substr(kVersionLine.size());
  if (!status.empty() && status[0] != ' ' && status[0] != '\t') return std::nullopt;
  status = skip_blanks(status);
  if (!status.empty()) {
    if (status.size() < 3 || !is_digit(status[0]) || !is_digit(status[1]) || !is_digit(status[2]) ||
        (status.size() > 3 && status[3] != ' ')) {
      return std::nullopt;
    }
    headers.status_ = (status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0');
    headers.status_text_ = trim(status.substr(3));
  }
  const std::string_view lines = rest;
  while (true) {
    const auto line = take_line(rest);
    if (!line) return std::nullopt;
    if (line->empty()) break;
    const size_t colon = line->find(':');
    const char start = line->front();
    if (colon == std::string_view::npos || colon == 0 || start == ' ' || start == '\t') {
      return std::nullopt;
    }
  }
  if (!rest.empty()) return std::nullopt;
  headers.lines_ = lines.substr(0, lines.size() - kLineEnd.size());
  return headers;
}

// The block was checked as a whole, so every line has its colon and its CRLF.
void Headers::Iterator::read() {
  if (rest_.empty()) return;
  const size_t end = rest_.find('\r');
  const size_t colon = rest_.find(':');
  header_.key = rest_.substr(0, colon);
  header_.value = skip_blanks(rest_.substr(colon + 1, end - colon - 1));
  line_size_ = end + kLineEnd.size();
}

std::optional<std::string_view> Headers::find(std::string_view key) const {
  for (const Header& header : *this) {
    if (header.key == key) return header.value;
  }
  return std::nullopt;
}

std::optional<std::string_view> Headers::find_ignore_case(std::string_view key) const {
  for (const Header& header : *this) {
    if (equals_ignore_case(header.key, key)) return header.value;
  }
  return std::nullopt;
}

std::vector<std::string_view> Headers::find_all(std::string_view key) const {
  std::vector<std::string_view> values;
  for (const Header& header : *this) {
    if (header.key == key) values.push_back(header.value);
  }
  return values;
}

HeaderWriter::HeaderWriter() : block_(kVersionLine) { block_ += kLineEnd; }

HeaderWriter::HeaderWriter(int status, std::string_view text) : block_(kVersionLine) {
  block_ += ' ';
  append_uint(block_, static_cast<uint64_t>(status));
  if (!text.empty()) {
    block_ += ' ';
    for (const char c : text) block_ += c == '\r' || c == '\n' ? ' ' : c;
  }
  block_ += kLineEnd;
}

bool HeaderWriter::add(std::string_view key, std::string_view value) {
  if (!is_good_key(key) || value.find_first_of(kLineEnd) != std::string_view::npos) return false;
  block_.append(key).append(": ").append(value).append(kLineEnd);
  return true;
}

std::string HeaderWriter::take() {
  block_ += kLineEnd;
  return std::move(block_);
}

namespace {

// The first line and every header but those of `key`, without the closing CRLF. `kept` counts.
std::string copy_without(std::string_view block, const Headers& headers, std::string_view key,
                         size_t& kept) {
  std::string copy(block.substr(0, block.find('\n') + 1));
  kept = 0;
  for (const Header& header : headers) {
    if (header.key == key) continue;
    copy.append(header.key).append(": ").append(header.value).append(kLineEnd);
    ++kept;
  }
  return copy;
}

}  // namespace

std::string without_header(std::string_view block, std::string_view key) {
  const auto headers = Headers::parse(block);
  if (!headers || !headers->find(key)) return std::string(block);
  size_t kept = 0;
  std::string copy = copy_without(block, *headers, key, kept);
  if (kept == 0 && headers->status() == 0) return {};
  return copy.append(kLineEnd);
}

std::string with_header(std::string_view block, std::string_view key, std::string_view value) {
  HeaderWriter fresh;
  const bool is_good = fresh.add(key, value);
  const auto headers = Headers::parse(block);
  if (!headers) return fresh.take();
  if (!is_good) return std::string(block);
  size_t kept = 0;
  return copy_without(block, *headers, key, kept)
      .append(key)
      .append(": ")
      .append(value)
      .append(kLineEnd)
      .append(kLineEnd);
}

}  // namespace brokkr::protocol
