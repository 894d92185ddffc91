#include "cli/pattern.h"

#include <regex.h>

namespace brokkr::cli {

struct Pattern::Compiled {
  regex_t expression{};
  bool is_made = false;
  ~Compiled() {
    if (is_made) regfree(&expression);
  }
};

Pattern::Pattern(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::make(std::string_view expression, bool ignores_case) {
  std::string text;
  for (size_t i = 0; i < expression.size(); ++i) {
    const bool is_escape = expression[i] == '\\' && i + 1 < expression.size();
    if (is_escape && expression[i + 1] == 'd') {
      text += "[0-9]";
      ++i;
    } else {
      text += expression[i];
      if (is_escape) text += expression[++i];
    }
  }
  auto compiled = std::make_unique<Compiled>();
  const int code = regcomp(&compiled->expression, text.c_str(),
                           REG_EXTENDED | REG_NOSUB | (ignores_case ? REG_ICASE : 0));
  if (code != 0) {
    char reason[128];
    regerror(code, &compiled->expression, reason, sizeof reason);
    return Error{Errc::Syntax, "regular expression \"" + std::string(expression) + "\": " + reason};
  }
  compiled->is_made = true;
  return Pattern(std::move(compiled));
}

bool Pattern::matches(std::string_view text) const {
  // What follows a NUL in the text is looked at too.
  regmatch_t range[1];
  range[0].rm_so = 0;
  range[0].rm_eo = static_cast<regoff_t>(text.size());
  const char* const begin = text.data() == nullptr ? "" : text.data();
  return regexec(&compiled_->expression, begin, 1, range, REG_STARTEND) == 0;
}

}  // namespace brokkr::cli
