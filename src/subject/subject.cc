#include "subject/subject.h"

#include <cstring>

namespace brokkr::subject {
namespace {

bool is_star(std::string_view token) { return token.size() == 1 && token[0] == '*'; }
bool is_rest(std::string_view token) { return token.size() == 1 && token[0] == '>'; }

// Cuts the first token off `rest`. `more` says whether a '.' followed it, since what is left may
// be an empty last token.
std::string_view take_token(std::string_view& rest, bool& more) {
  const size_t dot = rest.find('.');
  more = dot != std::string_view::npos;
  const std::string_view token = rest.substr(0, dot);
  rest = more ? rest.substr(dot + 1) : std::string_view();
  return token;
}

bool has_empty_token(std::string_view subject) {
  char previous = '.';
  for (const char c : subject) {
    if (c == '.' && previous == '.') return true;
    previous = c;
  }
  return previous == '.';
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r'; }

}  // namespace

Tokens::Iterator::Iterator(const char* begin, const char* end)
    : token_(begin), token_end_(begin), end_(end) {
  if (token_ != nullptr) find_end();
}

void Tokens::Iterator::find_end() {
  const void* dot = std::memchr(token_, '.', static_cast<size_t>(end_ - token_));
  token_end_ = dot != nullptr ? static_cast<const char*>(dot) : end_;
}

Tokens::Iterator& Tokens::Iterator::operator++() {
  if (token_end_ == end_) {
    token_ = nullptr;
  } else {
    token_ = token_end_ + 1;
    find_end();
  }
  return *this;
}

bool is_valid(std::string_view subject) {
  char previous = '.';
  for (const char& c : subject) {
    if (is_blank(c) || (c == '.' && previous == '.')) return false;
    // A dot after the token ">": it is not the last.
    if (c == '.' && previous == '>' && (&c == subject.data() + 1 || (&c)[-2] == '.')) return false;
    previous = c;
  }
  return previous != '.';
}

bool is_literal(std::string_view subject) {
  for (size_t i = 0; i < subject.size(); ++i) {
    if (subject[i] != '*' && subject[i] != '>') continue;
    const bool starts = i == 0 || subject[i - 1] == '.';
    const bool ends = i + 1 == subject.size() || subject[i + 1] == '.';
    if (starts && ends) return false;
  }
  return true;
}

bool is_valid_literal(std::string_view subject) {
  return is_valid(subject) && is_literal(subject);
}

size_t token_count(std::string_view subject) {
  if (subject.empty()) return 0;
  size_t count = 1;
  for (const char c : subject) count += c == '.';
  return count;
}

std::string_view token_at(std::string_view subject, size_t index) {
  bool more = true;
  while (more) {
    const std::string_view token = take_token(subject, more);
    if (index-- == 0) return token;
  }
  return {};
}

bool matches(std::string_view pattern, std::string_view literal) {
  if (has_empty_token(literal)) return false;
  bool pattern_more = true;
  bool literal_more = true;
  while (pattern_more && literal_more) {
    const std::string_view want = take_token(pattern, pattern_more);
    const std::string_view have = take_token(literal, literal_more);
    if (is_rest(want) && !pattern_more) return true;
    if (!is_star(want) && want != have) return false;
  }
  return pattern_more == literal_more;
}

bool is_subset(std::string_view inner, std::string_view outer) {
  bool inner_more = true;
  bool outer_more = true;
  while (inner_more && outer_more) {
    const std::string_view in = take_token(inner, inner_more);
    const std::string_view out = take_token(outer, outer_more);
    if (is_rest(out)) return true;
    if (is_rest(in)) return false;
    if (!is_star(out) && in != out) return false;
  }
  return inner_more == outer_more;
}

bool collide(std::string_view a, std::string_view b) {
  bool a_more = true;
  bool b_more = true;
  while (a_more && b_more) {
    const std::string_view one = take_token(a, a_more);
    const std::string_view other = take_token(b, b_more);
    if (is_rest(one) || is_rest(other)) return true;
    if (!is_star(one) && !is_star(other) && one != other) return false;
  }
  return a_more == b_more;
}

}  // namespace brokkr::subject
