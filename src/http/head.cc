#include "http/head.h"

#include <algorithm>

#include "base/bytes.h"

namespace brokkr::http {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";

bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (to_lower(c) >= 'a' && to_lower(c) <= 'z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_text_char(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

std::string_view trim_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

const std::string* Head::find(std::string_view name) const {
  for (const Field& field : fields) {
    if (equals_ignore_case(field.name, name)) return &field.value;
  }
  return nullptr;
}

size_t Head::count(std::string_view name) const {
  size_t n = 0;
  for (const Field& field : fields) n += equals_ignore_case(field.name, name) ? 1U : 0U;
  return n;
}

bool Head::has_token(std::string_view name, std::string_view token) const {
  for (const Field& field : fields) {
    if (!equals_ignore_case(field.name, name)) continue;
    for (const std::string_view element : split(field.value, ',')) {
      if (equals_ignore_case(trim_blanks(element), token)) return true;
    }
  }
  return false;
}

HeadReader::Outcome HeadReader::next(std::string_view& input) {
  const size_t before = text_.size();
  // The end may lie across the edge between what is here and what comes.
  const size_t search_from = before - std::min(before, kHeadEnd.size() - 1);
  const size_t n = std::min(input.size(), bytes_max_ - before);
  text_.append(input.substr(0, n));
  const size_t end = text_.find(kHeadEnd, search_from);
  if (end == std::string::npos) {
    input.remove_prefix(n);
    return text_.size() < bytes_max_ ? Outcome::Partial : Outcome::TooLarge;
  }
  input.remove_prefix(end + kHeadEnd.size() - before);
  text_.resize(end);
  return parse();
}

HeadReader::Outcome HeadReader::parse() {
  std::string_view rest = text_;
  bool is_first = true;
  while (is_first || !rest.empty()) {
    const size_t end = std::min(rest.find("\r\n"), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + 2));
    if (!std::all_of(line.begin(), line.end(), is_text_char)) {
      error_ = "control character in the head";
      return Outcome::Malformed;
    }
    if (is_first) {
      head_.start_line = line;
    } else if (!parse_field(line)) {
      return Outcome::Malformed;
    }
    is_first = false;
  }
  return Outcome::Complete;
}

bool HeadReader::parse_field(std::string_view line) {
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, std::min(colon, line.size()));
  if (colon == std::string_view::npos || name.empty() ||
      !std::all_of(name.begin(), name.end(), is_token_char)) {
    error_ = "malformed header field";
    return false;
  }
  if (head_.fields.size() == kFieldsMax) {
    error_ = "too many header fields";
    return false;
  }
  head_.fields.push_back({std::string(name), std::string(trim_blanks(line.substr(colon + 1)))});
  return true;
}

}  // namespace brokkr::http
