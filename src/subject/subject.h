#pragma once

#include <cstddef>
#include <string_view>

// The grammar of subjects: tokens split by '.', "*" matches one token, ">" one or more and only
// last. A wildcard counts only as a whole token: "foo*" is an ordinary token. Pure functions.
namespace brokkr::subject {

// Walks the tokens of a subject. "a..b" gives an empty token; "" gives one empty token.
//   for (std::string_view token : Tokens(subject)) ...
class Tokens {
 public:
  class Iterator {
   public:
    Iterator(const char* begin, const char* end);
    std::string_view operator*() const {
      return {token_, static_cast<size_t>(token_end_ - token_)};
    }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return token_ != other.token_; }

   private:
    void find_end();
    const char* token_;  // null once past the last token
    const char* token_end_;
    const char* end_;
  };

  explicit Tokens(std::string_view subject) : subject_(subject) {}
  Iterator begin() const { return {subject_.data(), subject_.data() + subject_.size()}; }
  Iterator end() const { return {nullptr, nullptr}; }

 private:
  std::string_view subject_;
};

// May be subscribed to: no empty token, no space, tab, CR, LF or form feed, ">" only last.
bool is_valid(std::string_view subject);
// Has no wildcard token. Says nothing about empty tokens or blanks.
bool is_literal(std::string_view subject);
// May be published to without offending a pedantic server.
bool is_valid_literal(std::string_view subject);

size_t token_count(std::string_view subject);
// The token at `index` from 0; empty when there are fewer.
std::string_view token_at(std::string_view subject, size_t index);

// Whether a message on `literal` reaches a subscription on `pattern`. A literal with an empty
// token matches nothing; "*" or ">" in the literal are ordinary tokens.
bool matches(std::string_view pattern, std::string_view literal);
// Whether every subject that `inner` matches is matched by `outer`. Both valid.
bool is_subset(std::string_view inner, std::string_view outer);
// Whether some subject is matched by both. Both valid.
bool collide(std::string_view a, std::string_view b);

}  // namespace brokkr::subject
