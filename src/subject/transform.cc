#include "subject/transform.h"

#include <optional>

#include "base/bytes.h"
#include "base/random.h"
#include "subject/subject.h"

namespace brokkr::subject {
namespace {

// nats-server's words.
Error bad_destination(std::string_view token, const char* why) {
  std::string text = "invalid mapping destination: ";
  text.append(why).append(" in ").append(token);
  return {Errc::InvalidArgument, std::move(text)};
}

Error no_such_wildcard(std::string_view token, std::string_view index) {
  Error error = bad_destination(token, "wildcard index out of range");
  error.text.append(": [").append(index).append("]");
  return error;
}

Error no_subject() {
  return {Errc::InvalidSubject, "invalid subject"};
}

// "name( a , b )" in pieces.
struct Call {
  std::string name;  // lower case
  std::vector<std::string_view> arguments;
};

std::optional<Call> parse_call(std::string_view text) {
  text = trim(text);
  const size_t open = text.find('(');
  if (open == std::string_view::npos || text.back() != ')') return std::nullopt;
  Call call;
  call.name = to_lower(trim(text.substr(0, open)));
  const std::string_view inner = text.substr(open + 1, text.size() - open - 2);
  if (!trim(inner).empty()) {
    for (const std::string_view part : split(inner, ',')) call.arguments.push_back(trim(part));
  }
  return call;
}

// FNV-1a, 32 bits: what decides the partition is part of the interface.
uint32_t fnv1a(std::string_view text, uint32_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}
constexpr uint32_t kFnvStart = 2166136261U;

// Text to be cut into `size` bytes from the left, the rest last.
void slice_from_left(std::string_view text, size_t size, std::string& out) {
  for (size_t at = 0; at < text.size(); at += size) {
    if (at > 0) out += '.';
    out += text.substr(at, size);
  }
}

void slice_from_right(std::string_view text, size_t size, std::string& out) {
  const size_t first = text.size() % size;
  out += text.substr(0, first);
  for (size_t at = first; at < text.size(); at += size) {
    if (at > 0) out += '.';
    out += text.substr(at, size);
  }
}

// The non-empty pieces between separators.
void split_at(std::string_view text, std::string_view separator, std::string& out) {
  bool is_first = true;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    const std::string_view piece = text.substr(0, end);
    if (!piece.empty()) {
      if (!is_first) out += '.';
      out += piece;
      is_first = false;
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + separator.size());
  }
}

// Spreads load; nothing depends on which number it is, so it is not passed in.
uint64_t random_below(uint32_t bound) {
  thread_local SeededRandom random(secure_seed());
  return bound == 0 ? 0 : random.below(bound);
}

}  // namespace

Result<Transform> Transform::make(std::string_view source, std::string_view destination) {
  Transform transform;
  transform.source_ = source.empty() ? ">" : source;
  transform.destination_ = destination;
  if (!is_valid(transform.source_)) {
    return no_subject();
  }
  std::vector<size_t> wildcards;
  size_t index = 0;
  bool has_rest = false;
  for (const std::string_view token : Tokens(transform.source_)) {
    if (token == "*") wildcards.push_back(index);
    if (token == ">") has_rest = true;
    if (token != ">") ++index;
  }
  transform.rest_index_ = index;

  bool is_ended = false;
  for (const std::string_view token : Tokens(destination)) {
    const bool has_blank = token.find_first_of("\t\n\f\r ") != std::string_view::npos;
    if (token.empty() || (has_blank && !token.starts_with("{{"))) {
      return Error{Errc::InvalidSubject, "invalid mapping destination: invalid transform"};
    }
    if (is_ended) return bad_destination(token, "invalid transform");
    if (token == "*") return no_subject();
    if (token == ">") {
      is_ended = true;
      transform.parts_.push_back(Part{.kind = Kind::Rest});
      continue;
    }
    auto part = parse_part(token, wildcards);
    if (!part) return part.error();
    transform.parts_.push_back(std::move(*part));
  }
  if (is_ended != has_rest) {
    return no_subject();
  }
  return transform;
}

Result<Transform::Part> Transform::parse_part(std::string_view token,
                                              const std::vector<size_t>& wildcards) {
  const auto wildcard_at = [&](std::string_view text, Part& part) {
    const auto number = parse_uint(text);
    if (!number || *number == 0 || *number > wildcards.size()) return false;
    part.tokens.push_back(wildcards[*number - 1]);
    return true;
  };
  Part part{.kind = Kind::Literal, .text = std::string(token)};
  if (token[0] == '$' && parse_uint(token.substr(1))) {
    part.kind = Kind::Wildcard;
    if (!wildcard_at(token.substr(1), part)) return no_such_wildcard(token, token.substr(1));
    return part;
  }
  if (token.size() < 5 || token.substr(0, 2) != "{{" || token.substr(token.size() - 2) != "}}") {
    return part;
  }
  const auto call = parse_call(token.substr(2, token.size() - 4));
  if (!call) return bad_destination(token, "unknown function");

  struct Function {
    std::string_view name;
    Kind kind;
    size_t arguments;
  };
  constexpr Function kFunctions[] = {
      {"wildcard", Kind::Wildcard, 1},           {"partition", Kind::Partition, 1},
      {"random", Kind::Random, 1},
      {"split", Kind::Split, 2},                 {"splitfromleft", Kind::SplitFromLeft, 2},
      {"splitfromright", Kind::SplitFromRight, 2}, {"slicefromleft", Kind::SliceFromLeft, 2},
      {"slicefromright", Kind::SliceFromRight, 2}, {"left", Kind::Left, 2},
      {"right", Kind::Right, 2},
  };
  const Function* function = nullptr;
  for (const Function& it : kFunctions) {
    if (it.name == call->name) function = &it;
  }
  if (function == nullptr) return bad_destination(token, "unknown function");
  part.kind = function->kind;
  const auto& arguments = call->arguments;
  const auto read_number = [&](std::string_view text) {
    const auto number = parse_uint(text);
    if (!number || *number > INT32_MAX) return false;
    part.number = static_cast<uint32_t>(*number);
    return true;
  };
  if (part.kind == Kind::Partition) {
    if (arguments.empty() || !read_number(arguments[0]) || part.number == 0) {
      return bad_destination(token, "function argument is invalid or in the wrong format");
    }
    for (size_t i = 1; i < arguments.size(); ++i) {
      if (!wildcard_at(arguments[i], part)) return no_such_wildcard(token, arguments[i]);
    }
    return part;
  }
  if (arguments.size() != function->arguments) {
    return bad_destination(token, arguments.size() < function->arguments
                                      ? "not enough arguments passed to the function"
                                      : "too many arguments passed to the function");
  }
  if (part.kind == Kind::Random) {
    if (read_number(arguments[0])) return part;
    return bad_destination(token, "function argument is invalid or in the wrong format");
  }
  if (!parse_uint(arguments[0])) {
    return bad_destination(token, "function argument is invalid or in the wrong format");
  }
  if (!wildcard_at(arguments[0], part)) return no_such_wildcard(token, arguments[0]);
  if (part.kind == Kind::Split) {
    part.text = arguments[1];
    if (part.text.empty() || part.text.find_first_of(" .") != std::string::npos) {
      return bad_destination(token, "function argument is invalid or in the wrong format");
    }
  } else if (part.kind != Kind::Wildcard && !read_number(arguments[1])) {
    return bad_destination(token, "function argument is invalid or in the wrong format");
  }
  return part;
}

std::string Transform::apply(std::string_view subject) const {
  if (!is_valid_literal(subject) || !matches(source_, subject)) return {};
  std::vector<std::string_view> tokens;
  for (const std::string_view token : Tokens(subject)) tokens.push_back(token);

  std::string out;
  for (const Part& part : parts_) {
    if (!out.empty()) out += '.';
    const std::string_view text = part.tokens.empty() ? std::string_view() : tokens[part.tokens[0]];
    // A cut outside of the token leaves it whole.
    const size_t cut = part.number;
    const bool is_whole = cut == 0 || cut >= text.size();
    switch (part.kind) {
      case Kind::Literal: out += part.text; break;
      case Kind::Wildcard: out += text; break;
      case Kind::Partition: {
        uint32_t hash = part.tokens.empty() ? fnv1a(subject, kFnvStart) : kFnvStart;
        for (const size_t token : part.tokens) hash = fnv1a(tokens[token], hash);
        append_uint(out, hash % part.number);
        break;
      }
      case Kind::Random: append_uint(out, random_below(part.number)); break;
      case Kind::Split: split_at(text, part.text, out); break;
      case Kind::SplitFromLeft:
        out += is_whole ? text : text.substr(0, cut);
        if (!is_whole) out.append(".").append(text.substr(cut));
        break;
      case Kind::SplitFromRight:
        out += is_whole ? text : text.substr(0, text.size() - cut);
        if (!is_whole) out.append(".").append(text.substr(text.size() - cut));
        break;
      case Kind::SliceFromLeft: slice_from_left(text, is_whole ? text.size() : cut, out); break;
      case Kind::SliceFromRight: slice_from_right(text, is_whole ? text.size() : cut, out); break;
      case Kind::Left: out += is_whole ? text : text.substr(0, cut); break;
      case Kind::Right: out += is_whole ? text : text.substr(text.size() - cut); break;
      case Kind::Rest:
        for (size_t i = rest_index_; i < tokens.size(); ++i) {
          if (i > rest_index_) out += '.';
          out += tokens[i];
        }
        break;
    }
  }
  return out;
}

}  // namespace brokkr::subject
