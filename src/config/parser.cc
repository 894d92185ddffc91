#include "config/parser.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <unordered_map>
#include <utility>

#include "base/bytes.h"
#include "base/hash.h"
#include "config/lexer.h"

namespace brokkr::config {
namespace {

// State shared by a file, the files it includes and the environment texts it refers to.
struct Reading {
  Sources& sources;
  Document document;
  // Environment variables being read, innermost last: a second visit is a cycle.
  std::vector<std::string> variables;
  // Files being read, outermost first.
  std::vector<std::string> include_paths;
  size_t expanded_bytes = 0;
  // Files and environment texts read so far, each visit counted.
  size_t texts = 1;

  void add_error(uint32_t file, uint32_t line, uint32_t column, std::string reason) {
    if (document.errors.size() >= kErrorsMax) return;
    document.errors.push_back({document.files[file], line, column, std::move(reason)});
  }
};

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Adds what `value` costs to `bytes` and returns how many containers deep it is. Ends early once
// `bytes` is beyond the limit.
size_t measure(const Value& value, size_t& bytes) {
  bytes += sizeof(Value) + value.text.size();
  size_t deepest = 0;
  for (const Value& item : value.items) {
    if (bytes > kExpandedBytesMax) return deepest;
    deepest = std::max(deepest, measure(item, bytes));
  }
  for (const Member& member : value.members) {
    if (bytes > kExpandedBytesMax) return deepest;
    bytes += sizeof(Member) - sizeof(Value) + member.name.size();
    deepest = std::max(deepest, measure(member.value, bytes));
  }
  return value.is_map() || value.is_array() ? deepest + 1 : 0;
}

bool is_leap(int year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

// `text` has the shape dddd-dd-ddTdd:dd:ddZ.
bool is_valid_date(std::string_view text) {
  const auto field = [text](size_t at, size_t length) {
    int n = 0;
    for (size_t i = at; i < at + length; ++i)
      n = n * 10 + (text[i] - '0');
    return n;
  };
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const int month = field(5, 2);
  if (month < 1 || month > 12) return false;
  const int days = kDays[month - 1] + (month == 2 && is_leap(field(0, 4)) ? 1 : 0);
  const int day = field(8, 2);
  return day >= 1 && day <= days && field(11, 2) < 24 && field(14, 2) < 60 && field(17, 2) < 60;
}

// The factor of a unit suffix in lower case; 0 when unknown.
int64_t unit_factor(std::string_view unit) {
  if (unit.empty()) return 1;
  static constexpr std::string_view kLetters = "kmgtpe";
  const size_t power = kLetters.find(unit[0]) + 1;
  const std::string_view rest = unit.substr(1);
  if (power == 0 || !(rest.empty() || rest == "b" || rest == "i" || rest == "ib")) return 0;
  int64_t factor = 1;
  for (size_t i = 0; i < power; ++i)
    factor *= rest.empty() ? 1000 : 1024;
  return factor;
}

// Reads one text into one map. Loop-confined, used once.
class TextParser {
 public:
  TextParser(Reading& reading, uint32_t file, std::string_view text)
      : reading_(reading), file_(file), lexer_(text) {}

  Value run() {
    open(Value::Kind::Map, {});
    for (Token token = lexer_.next(); token.kind != Token::Kind::End; token = lexer_.next()) {
      take(std::move(token));
      if (reading_.document.errors.size() >= kErrorsMax) break;
    }
    while (frames_.size() > 1)
      close();
    return finish(std::move(frames_.back()));
  }

 private:
  // A container being filled. `index` finds members by name until they are sorted.
  struct Frame {
    Value value;
    std::unordered_map<std::string, size_t, StringHash, std::equal_to<>> index;
    std::string key;
    Position key_at;
    bool has_key = false;
  };

  void take(Token&& token);
  void open(Value::Kind, Position at);
  void close();
  static Value finish(Frame&&);
  void set(Value&&);
  void set_member(std::string name, Value&&);
  void take_integer(const Token&);
  void take_float(const Token&);
  void take_variable(const Token&);
  void take_environment(const Token&);
  void take_include(const Token&);
  Value* find_variable(std::string_view name);
  void fail(const Token& token, std::string reason) {
    reading_.add_error(file_, token.line, token.column, std::move(reason));
    // The value is missing; its key must not take the next one.
    frames_.back().has_key = false;
  }
  Value make(const Token& token, Value::Kind kind) const {
    Value value;
    value.kind = kind;
    value.at = {file_, token.line, token.column};
    return value;
  }

  Reading& reading_;
  uint32_t file_;
  Lexer lexer_;
  std::vector<Frame> frames_;
};

void TextParser::take(Token&& token) {
  Value value = make(token, Value::Kind::String);
  switch (token.kind) {
    case Token::Kind::Error:
      return fail(token, std::move(token.text));
    case Token::Kind::Key:
      frames_.back().key = std::move(token.text);
      frames_.back().key_at = value.at;
      frames_.back().has_key = true;
      return;
    case Token::Kind::ArrayStart:
      return open(Value::Kind::Array, value.at);
    case Token::Kind::MapStart:
      return open(Value::Kind::Map, value.at);
    case Token::Kind::ArrayEnd:
    case Token::Kind::MapEnd:
      return close();
    case Token::Kind::Integer:
      return take_integer(token);
    case Token::Kind::Float:
      return take_float(token);
    case Token::Kind::Variable:
      return take_variable(token);
    case Token::Kind::Include:
      return take_include(token);
    case Token::Kind::Date:
      if (!is_valid_date(token.text)) return fail(token, "no such date: " + token.text);
      value.kind = Value::Kind::Date;
      break;
    case Token::Kind::Bool: {
      const std::string word = to_lower(token.text);
      value.kind = Value::Kind::Bool;
      value.boolean = word == "true" || word == "on" || word == "yes";
      return set(std::move(value));
    }
    case Token::Kind::String:
      break;
    case Token::Kind::End:
      return;
  }
  value.text = std::move(token.text);
  set(std::move(value));
}

void TextParser::open(Value::Kind kind, Position at) {
  Frame& frame = frames_.emplace_back();
  frame.value.kind = kind;
  frame.value.at = at;
}

void TextParser::close() {
  Frame frame = std::move(frames_.back());
  frames_.pop_back();
  set(finish(std::move(frame)));
}

Value TextParser::finish(Frame&& frame) {
  auto& members = frame.value.members;
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  return std::move(frame.value);
}

void TextParser::set(Value&& value) {
  Frame& frame = frames_.back();
  if (frame.value.is_array()) {
    frame.value.items.push_back(std::move(value));
    return;
  }
  if (!frame.has_key) return;  // Its key was lost to an error.
  frame.has_key = false;
  value.at = frame.key_at;
  set_member(std::move(frame.key), std::move(value));
}

void TextParser::set_member(std::string name, Value&& value) {
  Frame& frame = frames_.back();
  const auto [at, is_first] = frame.index.try_emplace(name, frame.value.members.size());
  if (is_first) {
    frame.value.members.push_back({std::move(name), std::move(value)});
  } else {
    frame.value.members[at->second].value = std::move(value);
  }
}

void TextParser::take_integer(const Token& token) {
  const size_t digits_end = token.text.find_first_not_of("-0123456789");
  const std::string_view digits = std::string_view(token.text).substr(0, digits_end);
  const std::string unit = digits_end == std::string::npos ? "" : token.text.substr(digits_end);
  const int64_t factor = unit_factor(to_lower(unit));
  if (factor == 0) return fail(token, "unknown unit '" + unit + "' of a number");
  Value value = make(token, Value::Kind::Int);
  int64_t number = 0;
  const auto end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, number);
  if (read.ec != std::errc() || read.ptr != end ||
      __builtin_mul_overflow(number, factor, &value.integer)) {
    return fail(token, "the integer " + token.text + " is out of range");
  }
  set(std::move(value));
}

void TextParser::take_float(const Token& token) {
  Value value = make(token, Value::Kind::Float);
  const auto end = token.text.data() + token.text.size();
  const auto read = std::from_chars(token.text.data(), end, value.number);
  if (read.ec == std::errc::result_out_of_range) {
    // Too small for a double reads as zero; only too large is an error.
    if (token.text.find_first_of("123456789") < token.text.find('.')) {
      return fail(token, "the number " + token.text.substr(0, 40) + " is out of range");
    }
    value.number = token.text[0] == '-' ? -0.0 : 0.0;
  }
  set(std::move(value));
}

Value* TextParser::find_variable(std::string_view name) {
  for (auto frame = frames_.rbegin(); frame != frames_.rend(); ++frame) {
    const auto found = frame->index.find(name);
    if (found != frame->index.end()) return &frame->value.members[found->second].value;
  }
  return nullptr;
}

void TextParser::take_variable(const Token& token) {
  if (Value* const found = find_variable(token.text)) {
    found->is_used_variable = true;
    const size_t depth = measure(*found, reading_.expanded_bytes) + frames_.size();
    if (reading_.expanded_bytes > kExpandedBytesMax || depth > Lexer::kDepthMax) {
      return fail(token, "variable '" + token.text + "' makes the configuration too large");
    }
    Value copy = *found;
    copy.is_used_variable = false;
    copy.at = {file_, token.line, token.column};
    return set(std::move(copy));
  }
  // A bcrypt hash may stand without quotes.
  if (token.text.size() > 3 && token.text[0] == '2' && token.text[2] == '$' &&
      std::string_view("abxy").find(token.text[1]) != std::string_view::npos) {
    Value value = make(token, Value::Kind::String);
    value.text = "$" + token.text;
    return set(std::move(value));
  }
  take_environment(token);
}

void TextParser::take_environment(const Token& token) {
  auto& open_variables = reading_.variables;
  const std::string where =
      "variable reference for '" + token.text + "' on line " + std::to_string(token.line);
  if (std::find(open_variables.begin(), open_variables.end(), token.text) != open_variables.end()) {
    return fail(token,
                where + " could not be parsed: variable reference cycle for '" + token.text + "'");
  }
  const std::optional<std::string> text = reading_.sources.environment(token.text);
  if (!text) return fail(token, where + " can not be found");
  if (open_variables.size() >= kIncludeDepthMax || ++reading_.texts > kTextsMax) {
    return fail(token, where + " could not be parsed: too many variables of the environment");
  }
  open_variables.push_back(token.text);
  const size_t errors_before = reading_.document.errors.size();
  Value holder = TextParser(reading_, file_, "pk=" + *text).run();
  open_variables.pop_back();
  auto& errors = reading_.document.errors;
  if (errors.size() > errors_before) {
    // Positions inside the environment's text would point at nothing.
    std::string reason = errors[errors_before].reason;
    errors.resize(errors_before);
    return fail(token, where + " could not be parsed: " + reason);
  }
  const Value* found = holder.find("pk");
  if (found == nullptr) return fail(token, where + " can not be found");
  Value value = *found;
  const size_t depth = measure(value, reading_.expanded_bytes) + frames_.size();
  if (reading_.expanded_bytes > kExpandedBytesMax || depth > Lexer::kDepthMax) {
    return fail(token, "variable '" + token.text + "' makes the configuration too large");
  }
  value.at = {file_, token.line, token.column};
  set(std::move(value));
}

void TextParser::take_include(const Token& token) {
  auto& paths = reading_.include_paths;
  std::string path = folder_of(paths.back()) + "/" + token.text;
  Result<std::string> text = reading_.sources.read_file(path);
  if (!text && !token.text.empty() && token.text[0] == '/') {
    path = token.text;
    text = reading_.sources.read_file(path);
  }
  if (!text) return fail(token, "include '" + token.text + "': " + text.error().text);
  if (std::find(paths.begin(), paths.end(), path) != paths.end()) {
    return fail(token, "include '" + token.text + "': the file includes itself");
  }
  if (paths.size() >= kIncludeDepthMax || ++reading_.texts > kTextsMax) {
    return fail(token, "include '" + token.text + "': too many includes");
  }
  reading_.expanded_bytes += text->size();
  if (reading_.expanded_bytes > kExpandedBytesMax) {
    return fail(token, "include '" + token.text + "': makes the configuration too large");
  }
  paths.push_back(path);
  const auto file = static_cast<uint32_t>(reading_.document.files.size());
  reading_.document.files.push_back(path);
  Value included = TextParser(reading_, file, *text).run();
  paths.pop_back();
  size_t ignored = 0;
  if (measure(included, ignored) + frames_.size() > Lexer::kDepthMax) {
    return fail(token, "include '" + token.text + "': nested too deep");
  }
  for (Member& member : included.members) {
    set_member(std::move(member.name), std::move(member.value));
  }
}

Document read(std::string_view text, const std::string& name, Sources& sources) {
  Reading reading{sources, {}, {}, {}, 0, 1};
  reading.document.files.push_back(name);
  reading.include_paths.push_back(name);
  reading.document.root = TextParser(reading, 0, text).run();
  return std::move(reading.document);
}

}  // namespace

Document parse_text(std::string_view text, const std::string& name, Sources& sources) {
  return read(text, name, sources);
}

Document parse_file(const std::string& path, Sources& sources) {
  const Result<std::string> text = sources.read_file(path);
  if (!text) {
    Document document;
    document.files.push_back(path);
    document.errors.push_back({path, 0, 0, text.error().text});
    return document;
  }
  Document document = read(*text, path, sources);
  if (document.errors.empty() && document.root.members.empty()) {
    document.errors.push_back({path, 0, 0, "config has no values or is empty"});
  }
  return document;
}

Result<std::string> SystemSources::read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error("cannot open", errno);
  struct stat status {};
  if (::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
    ::close(fd);
    return system_error("cannot read", EISDIR);
  }
  std::string text;
  char chunk[16384];
  ssize_t n = 0;
  while ((n = ::read(fd, chunk, sizeof chunk)) > 0 && text.size() <= kFileBytesMax) {
    text.append(chunk, static_cast<size_t>(n));
  }
  const int error_number = errno;
  ::close(fd);
  if (n < 0) return system_error("cannot read", error_number);
  if (n > 0) return Error{Errc::LimitExceeded, "larger than " + format_bytes(kFileBytesMax)};
  return text;
}

std::optional<std::string> SystemSources::environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

}  // namespace brokkr::config
