#include "crypto/user_template.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace brokkr::crypto {
namespace {

// A piece of an entry: text as it is, or what one template stands for.
struct Piece {
  std::string_view text;
  bool is_template = false;
  Texts values;
};

// "{{", at least one character that is no '}', "}}".
std::optional<std::pair<size_t, size_t>> find_template(std::string_view text, size_t from) {
  for (size_t begin = text.find("{{", from); begin != std::string_view::npos; begin = text.find("{{", begin + 1)) {
    const size_t end = text.find('}', begin + 2);
    if (end == std::string_view::npos) return std::nullopt;
    if (end > begin + 2 && text.substr(end, 2) == "}}") return std::pair{begin, end + 2};
  }
  return std::nullopt;
}

bool has_template(const Texts& list) {
  return std::any_of(list.begin(), list.end(), [](const auto& entry) { return find_template(entry, 0).has_value(); });
}

// Fit to stand inside a subject: tokens may come of it, a wildcard or a blank may not.
bool is_plain_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) {
    return c == '*' || c == '>' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
  });
}

bool is_pattern(std::string_view subject) {
  const auto tokens = split(subject, '.');
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].empty() || (tokens[i] == ">" && i + 1 < tokens.size())) return false;
    for (const char c : tokens[i]) {
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f') return false;
    }
  }
  return true;
}

// A subject, or a subject and a queue.
bool is_entry(std::string_view entry) {
  const auto words = split(entry, ' ');
  return words.size() <= 2 && std::all_of(words.begin(), words.end(), is_pattern);
}

std::optional<std::string_view> argument_of(std::string_view operation, std::string_view name) {
  if (operation.size() <= name.size() + 1 || operation.back() != ')') return std::nullopt;
  if (!equals_ignore_case(operation.substr(0, name.size()), name) || operation[name.size()] != '(') return std::nullopt;
  return operation.substr(name.size() + 1, operation.size() - name.size() - 2);
}

Texts values_of_tag(const Texts& tags, std::string_view name) {
  const std::string prefix = to_lower(name) + ":";
  Texts out;
  for (const std::string& tag : tags) {
    if (tag.compare(0, prefix.size(), prefix) == 0) out.push_back(tag.substr(prefix.size()));
  }
  return out;
}

// Absent when there is no such operation.
std::optional<Texts> values_of(std::string_view operation, const TemplateValues& values) {
  const auto one = [](std::string_view value) { return Texts{std::string(value)}; };
  if (equals_ignore_case(operation, "name()")) return one(values.name);
  if (equals_ignore_case(operation, "subject()")) return one(values.subject);
  if (equals_ignore_case(operation, "account-name()")) return one(values.account_name);
  if (equals_ignore_case(operation, "account-subject()")) return one(values.account_subject);
  if (const auto tag = argument_of(operation, "tag")) return values_of_tag(values.tags, *tag);
  if (const auto tag = argument_of(operation, "account-tag")) return values_of_tag(values.account_tags, *tag);
  return std::nullopt;
}

Result<std::vector<Piece>> split_entry(std::string_view entry, const TemplateValues& values) {
  std::vector<Piece> out;
  size_t at = 0;
  while (const auto found = find_template(entry, at)) {
    const auto [begin, end] = *found;
    out.push_back({entry.substr(at, begin - at), false, {}});
    const std::string_view operation = trim(entry.substr(begin + 2, end - begin - 4));
    auto list = values_of(operation, values);
    if (!list) {
      return Error{Errc::InvalidArgument, "template \"" + std::string(entry) + "\": operation \"" +
                                              std::string(operation) + "\" is not defined"};
    }
    out.push_back({entry.substr(begin, end - begin), true, std::move(*list)});
    at = end;
  }
  out.push_back({entry.substr(at), false, {}});
  return out;
}

Error limit_error() {
  return {Errc::LimitExceeded, "template: more than " + std::to_string(kTemplateSubjectsMax) + " subjects"};
}

// One template named twice takes the same value in both places.
const Piece* find_same(const std::vector<Piece>& pieces, size_t index) {
  for (size_t i = 0; i < index; ++i) {
    if (pieces[i].is_template && pieces[i].text == pieces[index].text) return &pieces[i];
  }
  return nullptr;
}

struct Expansion {
  const std::vector<Piece>& pieces;
  std::vector<size_t> choice;  // which value each template piece takes

  // The entry with the values chosen; absent when one of them may not be spliced.
  std::optional<std::string> text() const {
    std::string out;
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (!pieces[i].is_template) {
        out += pieces[i].text;
        continue;
      }
      const Piece* const first = find_same(pieces, i);
      const size_t index = first == nullptr ? i : static_cast<size_t>(first - pieces.data());
      const std::string& value = pieces[index].values[choice[index]];
      if (!is_plain_value(value)) return std::nullopt;
      out += value;
    }
    if (!is_entry(out)) return std::nullopt;
    return out;
  }

  // The last template turns fastest. False after the last combination.
  bool advance() {
    for (size_t i = pieces.size(); i-- > 0;) {
      if (!pieces[i].is_template || find_same(pieces, i) != nullptr) continue;
      if (++choice[i] < pieces[i].values.size()) return true;
      choice[i] = 0;
    }
    return false;
  }
};

Status expand_entry(std::string_view entry, const TemplateValues& values, bool must_be_valid, Texts& out) {
  const auto pieces = split_entry(entry, values);
  if (!pieces) return pieces.error();
  size_t count = 1;
  for (size_t i = 0; i < pieces->size(); ++i) {
    const Piece& piece = (*pieces)[i];
    if (!piece.is_template || find_same(*pieces, i) != nullptr) continue;
    if (piece.values.empty()) {
      if (!must_be_valid) return {};
      return Error{Errc::InvalidArgument, "template \"" + std::string(entry) + "\": " + std::string(piece.text) +
                                              " has no value"};
    }
    if (count > kTemplateSubjectsMax / piece.values.size()) return limit_error();
    count *= piece.values.size();
  }
  if (out.size() + count > kTemplateSubjectsMax) return limit_error();
  Expansion expansion{*pieces, std::vector<size_t>(pieces->size(), 0)};
  do {
    if (auto text = expansion.text()) {
      out.push_back(std::move(*text));
    } else if (must_be_valid) {
      return Error{Errc::InvalidArgument, "template \"" + std::string(entry) + "\" makes an invalid subject"};
    }
  } while (expansion.advance());
  return {};
}

Status expand_list(Texts& list, const TemplateValues& values, bool must_be_valid) {
  if (!has_template(list)) return {};
  Texts out;
  for (const std::string& entry : list) {
    if (auto expanded = expand_entry(entry, values, must_be_valid, out); !expanded) return expanded;
  }
  list = std::move(out);
  return {};
}

Status expand_permission(Permission& permission, const TemplateValues& values) {
  const bool had_allow = !permission.allow.empty();
  if (auto allow = expand_list(permission.allow, values, false); !allow) return allow;
  if (auto deny = expand_list(permission.deny, values, true); !deny) return deny;
  // An empty allow list would allow everything.
  if (had_allow && permission.allow.empty()) permission.deny.emplace_back(">");
  return {};
}

}  // namespace

Result<UserPermissionLimits> expand_user_template(const UserPermissionLimits& scope, const TemplateValues& values) {
  UserPermissionLimits out = scope;
  if (auto sub = expand_permission(out.permissions.sub, values); !sub) return sub.error();
  if (auto pub = expand_permission(out.permissions.pub, values); !pub) return pub.error();
  return out;
}

}  // namespace brokkr::crypto
