// Values of flags that describe streams and consumers, and configurations as files.

#include <algorithm>

#include "base/bytes.h"
#include "cli/files.h"
#include "cli/json_shape.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kConfigFileMax = 16 << 20;

// Lists of words compare without regard to their order.
std::string comparable(const json::Value& value) {
  json::Writer out;
  const auto& items = value.items();
  if (value.is_array() && std::all_of(items.begin(), items.end(),
                                      [](const json::Value& item) { return item.is_string(); })) {
    auto words = texts_of(&value);
    std::sort(words.begin(), words.end());
    out.begin_array();
    for (const std::string& word : words) out.string(word);
    return out.end_array().take();
  }
  return out.value(value).take();
}

std::string one_line(const json::Value& value) {
  json::Writer out;
  return out.value(value).take();
}

}  // namespace

std::vector<std::pair<std::string, std::string>> pairs_of(const std::vector<std::string>& flags) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& flag : flags) {
    const size_t at = std::min(flag.find_first_of(":="), flag.size());
    out.emplace_back(flag.substr(0, at), at < flag.size() ? flag.substr(at + 1) : "");
  }
  std::sort(out.begin(), out.end());
  return out;
}

Status check_word(const Values& values, const char* flag, std::string_view words) {
  if (!values.has(flag)) return {};
  const auto allowed = split(words, ',');
  const std::string value = values.text(flag);
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return {};
  return Error{Errc::InvalidArgument, "enum value must be one of " + std::string(words) + ", got '" + value + "'"};
}

Result<int64_t> integer_of(const Values& values, const char* flag, int64_t otherwise) {
  if (!values.has(flag)) return otherwise;
  const auto number = parse_int(values.text(flag));
  if (!number) {
    return Error{Errc::InvalidArgument, "--" + std::string(flag) + ": \"" + values.text(flag) + "\" is no number"};
  }
  return *number;
}

std::vector<std::string> split_subjects(const std::vector<std::string>& flags) {
  std::vector<std::string> out;
  for (const std::string& flag : flags) {
    std::string word;
    for (const char c : flag + ",") {
      if (c != ',' && c != ' ' && c != '\t' && c != '\n') {
        word += c;
      } else if (!word.empty()) {
        out.push_back(std::move(word));
        word.clear();
      }
    }
  }
  return out;
}

Result<json::Value> read_config_file(const std::string& path) {
  auto text = read_file(path, kConfigFileMax);
  if (!text) return text.error();
  auto parsed = json::parse(*text);
  if (!parsed) return Error{Errc::Syntax, path + ": " + parsed.error().text};
  const json::Value* config = parsed->find("config");
  return config == nullptr ? *parsed : *config;
}

bool print_differences(const json::Value& before, const json::Value& after) {
  std::string out;
  const auto difference = [&](const std::string& name, const json::Value* old_value,
                              const json::Value* new_value) {
    if (old_value != nullptr && new_value != nullptr && comparable(*old_value) == comparable(*new_value)) {
      return;
    }
    if (old_value != nullptr) out += "- \t\"" + name + "\": " + one_line(*old_value) + ",\n";
    if (new_value != nullptr) out += "+ \t\"" + name + "\": " + one_line(*new_value) + ",\n";
  };
  for (const auto& [name, value] : before.members()) difference(name, &value, after.find(name));
  for (const auto& [name, value] : after.members()) {
    if (before.find(name) == nullptr) difference(name, nullptr, &value);
  }
  if (out.empty()) return false;
  print("Differences (-old +new):\n  {\n" + out + "  }\n");
  return true;
}

}  // namespace brokkr::cli
