#include "cli/template.h"

#include <algorithm>
#include <cctype>
#include <ctime>

#include "base/bytes.h"

namespace brokkr::cli {
namespace {

constexpr uint64_t kRandomTextMax = 16 << 20;

std::tm local_time(WallTime time) {
  const std::time_t seconds =
      std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  std::tm parts{};
  localtime_r(&seconds, &parts);
  return parts;
}

// "2006-01-02T15:04:05Z" or "...+02:00".
std::string rfc3339_local(WallTime time) {
  const std::tm parts = local_time(time);
  char text[48];
  std::string out(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", &parts));
  if (out.ends_with("+0000")) {
    out.replace(out.size() - 5, 5, "Z");
  } else if (out.size() > 2) {
    out.insert(out.size() - 2, ":");
  }
  return out;
}

// Go's time.Kitchen, "3:04PM".
std::string kitchen(WallTime time) {
  const std::tm parts = local_time(time);
  char text[16];
  std::string out(text, std::strftime(text, sizeof text, "%I:%M%p", &parts));
  if (out.starts_with('0')) out.erase(0, 1);
  return out;
}

// Words of "Random 10 100", "Random(10, 100)", ".Count".
std::vector<std::string> words_of(std::string_view expression) {
  std::vector<std::string> words(1);
  for (const char c : expression) {
    if (c == ' ' || c == '\t' || c == '(' || c == ')' || c == ',') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  if (words.back().empty()) words.pop_back();
  if (!words.empty() && words[0].starts_with(".")) words[0].erase(0, 1);
  return words;
}

}  // namespace

std::string Template::random_text(uint64_t min, uint64_t max) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890";
  std::string text(min + random_.below(max - min + 1), ' ');
  for (char& c : text) c = kLetters[random_.below(kLetters.size())];
  return text;
}

Result<std::string> Template::evaluate(std::string_view expression) {
  const auto words = words_of(expression);
  const std::string name = words.empty() ? "" : words[0];
  const auto since = now.time_since_epoch();
  if (name == "Random" && words.size() == 3) {
    const auto min = parse_uint(words[1]);
    const auto max = parse_uint(words[2]);
    if (!min || !max || *max < *min || *max > kRandomTextMax) {
      return Error{Errc::Syntax, "template: Random wants a minimum and a maximum length, at most " +
                                     format_bytes(kRandomTextMax)};
    }
    return random_text(*min, *max);
  }
  if (words.size() == 1) {
    if (name == "Count" || name == "Cnt") return std::to_string(count);
    if (name == "TimeStamp") return rfc3339_local(now);
    if (name == "Unix") {
      return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(since).count());
    }
    if (name == "UnixNano") return std::to_string(since.count());
    if (name == "Time") return kitchen(now);
    if (name == "ID") return std::string(nuid_.next());
    if (name == "Request") return std::string(request);
    if (const auto token = parse_uint(name); token && !subject.empty()) {
      const auto tokens = split(subject, '.');
      return std::string(*token < tokens.size() ? tokens[*token] : std::string_view());
    }
  }
  return Error{Errc::Syntax, "template: function \"" + name + "\" not defined"};
}

Result<std::string> Template::render(std::string_view text) {
  std::string out;
  while (true) {
    const size_t open = text.find("{{");
    if (open == std::string_view::npos) return out.append(text);
    out.append(text.substr(0, open));
    const size_t close = text.find("}}", open);
    if (close == std::string_view::npos) return Error{Errc::Syntax, "template: unclosed \"{{\""};
    auto value = evaluate(text.substr(open + 2, close - open - 2));
    if (!value) return value.error();
    out += *value;
    text.remove_prefix(close + 2);
  }
}

}  // namespace brokkr::cli
