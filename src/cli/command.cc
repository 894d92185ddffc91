#include "cli/command.h"

#include <algorithm>
#include <cstdlib>

#include "base/bytes.h"

namespace brokkr::cli {
namespace {

Flag help_flag() {
  return {"help,h", "Show context-sensitive help", Kind::Bool, {}, {}, {}, false, false};
}

std::vector<std::string> names_of(const Command& command) {
  std::vector<std::string> names = command.aliases;
  names.insert(names.begin(), command.name);
  return names;
}

const Command* find_subcommand(const Command& command, std::string_view word) {
  for (const Command& sub : command.subcommands) {
    const auto names = names_of(sub);
    if (std::find(names.begin(), names.end(), word) != names.end()) return &sub;
  }
  return nullptr;
}

// Which flags apply: the command's, its parents' and the global ones, the inner ones first.
std::vector<const Flag*> flags_of(const Command& root, const std::vector<const Command*>& path,
                                  const Flag& help) {
  std::vector<const Flag*> flags{&help};
  const auto add = [&](const Command& command) {
    for (const Flag& flag : command.flags) {
      const bool is_hidden_by_inner = std::any_of(flags.begin(), flags.end(), [&](const Flag* f) {
        return f->name() == flag.name();
      });
      if (!is_hidden_by_inner) flags.push_back(&flag);
    }
  };
  for (auto at = path.rbegin(); at != path.rend(); ++at) add(**at);
  add(root);
  return flags;
}

// One letter means one thing: an inner flag takes it from an outer one.
std::vector<Flag> without_repeated_names(const std::vector<const Flag*>& flags) {
  std::vector<Flag> out;
  std::vector<std::string> taken;
  for (const Flag* flag : flags) {
    Flag copy = *flag;
    copy.names.clear();
    for (const std::string_view name : split(flag->names, ',')) {
      if (std::find(taken.begin(), taken.end(), name) != taken.end()) continue;
      taken.emplace_back(name);
      if (!copy.names.empty()) copy.names += ',';
      copy.names += name;
    }
    if (!copy.names.empty()) out.push_back(std::move(copy));
  }
  return out;
}

bool takes_value(const std::vector<const Flag*>& flags, std::string_view word) {
  if (word.find('=') != std::string_view::npos) return false;
  const std::string_view name = word.substr(word.starts_with("--") ? 2 : 1);
  for (const Flag* flag : flags) {
    const auto names = split(flag->names, ',');
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return flag->kind != Kind::Bool;
    }
  }
  return false;
}

std::string full_name(const std::vector<const Command*>& path) {
  std::string name;
  for (const Command* command : path) {
    if (!name.empty()) name += ' ';
    name += command->name;
  }
  return name;
}

Error usage_error(const Context& context, const std::vector<const Command*>& path,
                  std::string text) {
  std::string command = context.program;
  if (!path.empty()) command += " " + full_name(path);
  return {Errc::InvalidArgument, std::move(text) + "; see '" + command + " --help'"};
}

Error unknown_command(const Context& context, const Command& parent,
                      const std::vector<const Command*>& path, const std::string& word) {
  std::vector<std::string> candidates;
  for (const Command& sub : parent.subcommands) {
    if (sub.is_hidden) continue;
    for (std::string& name : names_of(sub)) candidates.push_back(std::move(name));
  }
  std::string text = "unknown command \"" + word + "\"";
  if (const std::string guess = nearest(word, candidates); !guess.empty()) {
    text += ", did you mean \"" + guess + "\"?";
    return {Errc::InvalidArgument, text};
  }
  return usage_error(context, path, text);
}

Status check_kind(const Flag& flag, const std::string& value) {
  Duration duration{};
  uint64_t size = 0;
  const auto wrong = [&](const char* what) {
    return Error{Errc::InvalidArgument, "--" + flag.name() + ": \"" + value + "\" is no " + what};
  };
  if (flag.kind == Kind::Number && !parse_uint(value)) return wrong("number");
  if (flag.kind == Kind::Duration && !parse_duration(value, duration)) return wrong("duration");
  if (flag.kind == Kind::Size && !parse_size(value, size)) return wrong("size");
  return {};
}

// Walks the words to the command they name. Global flags may stand before and between them.
Status find_command(const Command& root, const Context& context,
                    const std::vector<std::string>& words, Parsed& parsed,
                    std::vector<std::string>& rest) {
  const Flag help = help_flag();
  const Command* command = &root;
  size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (command->subcommands.empty() || word == "--") break;
    if (word.size() > 1 && word[0] == '-') {
      rest.push_back(word);
      if (takes_value(flags_of(root, parsed.path, help), word) && i + 1 < words.size()) {
        rest.push_back(words[++i]);
      }
      continue;
    }
    const Command* sub = find_subcommand(*command, word);
    if (sub == nullptr) {
      if (command->run) break;  // the word is an argument of this command
      return unknown_command(context, *command, parsed.path, word);
    }
    parsed.path.push_back(sub);
    command = sub;
  }
  rest.insert(rest.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
  parsed.command = command;
  return {};
}

Status take_flags(const std::vector<Flag>& flags, FlagValues& found, Values& values) {
  for (const Flag& flag : flags) {
    const std::string name = flag.name();
    std::vector<std::string> given;
    bool is_given = true;
    const char* variable =
        flag.environment.empty() ? nullptr : std::getenv(flag.environment.c_str());
    if (const auto at = found.given.find(name); at != found.given.end()) {
      given = std::move(at->second);
    } else if (variable != nullptr && *variable != '\0') {
      given = {variable};
    } else {
      is_given = false;
      if (!flag.default_text.empty()) given = {flag.default_text};
    }
    for (const std::string& value : given) {
      if (Status status = check_kind(flag, value); !status) return status;
    }
    values.set(name, std::move(given), is_given);
  }
  return {};
}

Status take_arguments(const Command& command, std::vector<std::string> words, Values& values) {
  size_t at = 0;
  for (const Argument& argument : command.arguments) {
    std::vector<std::string> given;
    while (at < words.size() && (given.empty() || argument.is_repeated)) {
      given.push_back(std::move(words[at++]));
    }
    if (given.empty() && argument.is_required) {
      return Error{Errc::InvalidArgument, "required argument '" + argument.name + "' not provided"};
    }
    const bool is_given = !given.empty();
    values.set(argument.name, std::move(given), is_given);
  }
  if (at < words.size()) {
    return Error{Errc::InvalidArgument, "unexpected argument \"" + words[at] + "\""};
  }
  return {};
}

Error unknown_flag(const Context& context, const Parsed& parsed, const std::vector<Flag>& flags,
                   const std::string& word) {
  std::vector<std::string> candidates;
  for (const Flag& flag : flags) {
    if (flag.is_hidden) continue;
    for (const std::string_view name : split(flag.names, ',')) {
      if (name.size() > 1) candidates.push_back("--" + std::string(name));
    }
  }
  const std::string name = word.substr(0, word.find('='));
  std::string text = "unknown flag \"" + name + "\"";
  if (const std::string guess = nearest(name, candidates); !guess.empty()) {
    return {Errc::InvalidArgument, text + ", did you mean \"" + guess + "\"?"};
  }
  return usage_error(context, parsed.path, text);
}

}  // namespace

bool Values::has(std::string_view name) const {
  const auto at = values_.find(name);
  return at != values_.end() && at->second.is_given;
}
bool Values::is_on(std::string_view name) const { return text(name) == "true"; }
std::string Values::text(std::string_view name) const {
  const auto at = values_.find(name);
  return at == values_.end() || at->second.values.empty() ? "" : at->second.values.back();
}
std::vector<std::string> Values::all(std::string_view name) const {
  const auto at = values_.find(name);
  return at == values_.end() ? std::vector<std::string>{} : at->second.values;
}
uint64_t Values::number(std::string_view name) const {
  uint64_t value = 0;
  return parse_size(text(name), value) ? value : 0;
}
Duration Values::duration(std::string_view name) const {
  Duration value{};
  return parse_duration(text(name), value) ? value : Duration{};
}
void Values::set(const std::string& name, std::vector<std::string> values, bool is_given) {
  values_[name] = {std::move(values), is_given};
}

// Go's units and those for people: days, weeks, months of 30 days, years of 365.
bool parse_duration(std::string_view text, Duration& out) {
  if (parse_go_duration(text, out)) return true;
  Duration total{};
  while (!text.empty()) {
    const size_t digits = text.find_first_not_of("0123456789.");
    if (digits == 0 || digits == std::string_view::npos) return false;
    const size_t end = std::min(text.find_first_of("0123456789.", digits), text.size());
    const std::string_view unit = text.substr(digits, end - digits);
    const auto amount = parse_double(text.substr(0, digits));
    static constexpr std::pair<std::string_view, double> kDays[] = {
        {"d", 1}, {"D", 1}, {"w", 7}, {"W", 7}, {"M", 30}, {"y", 365}, {"Y", 365}};
    double days = 0;
    for (const auto& [name, length] : kDays) {
      if (unit == name) days = length;
    }
    Duration part{};
    if (!amount) return false;
    if (days > 0) {
      part = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*amount * days * 86400));
    } else if (!parse_go_duration(text.substr(0, end), part)) {
      return false;
    }
    total += part;
    text.remove_prefix(end);
    if (text.empty()) out = total;
  }
  return total != Duration{};
}

bool parse_size(std::string_view text, uint64_t& out) {
  const size_t end = text.find_first_not_of("0123456789.");
  const auto amount = parse_double(text.substr(0, end));
  if (!amount || *amount < 0) return false;
  std::string unit = end == std::string_view::npos ? "" : to_lower(trim(text.substr(end)));
  uint64_t scale = 1;
  if (!unit.empty() && unit != "b") {
    const size_t power = std::string_view("kmgt").find(unit[0]);
    const std::string_view tail = std::string_view(unit).substr(1);
    if (power == std::string_view::npos || (!tail.empty() && tail != "b" && tail != "ib")) {
      return false;
    }
    scale = uint64_t{1} << (10 * (power + 1));
  }
  const double value = *amount * static_cast<double>(scale);
  if (value > 9e18) return false;
  // Without a unit the digits are exact beyond what a double holds.
  const auto exact = scale == 1 ? parse_uint(text.substr(0, end)) : std::nullopt;
  out = exact ? *exact : static_cast<uint64_t>(value);
  return true;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = word.size() / 3 + 2;  // farther than this is no typing mistake
  for (const std::string& candidate : candidates) {
    size_t distance = edit_distance(word, candidate);
    if (distance > 0 && word.size() >= 3 && candidate.starts_with(word)) distance = 1;
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

Result<Parsed> parse(const Command& root, const Context& context,
                     const std::vector<std::string>& arguments) {
  Parsed parsed;
  std::vector<std::string> rest;
  if (Status status = find_command(root, context, arguments, parsed, rest); !status) {
    return status.error();
  }
  const Command& command = *parsed.command;
  if (command.run_raw) {
    parsed.raw = std::move(rest);
    return parsed;
  }
  const Flag help = help_flag();
  const std::vector<Flag> flags = without_repeated_names(flags_of(root, parsed.path, help));
  std::vector<const Flag*> pointers;
  for (const Flag& flag : flags) pointers.push_back(&flag);
  auto found = split_flags(pointers, rest);
  if (!found) return usage_error(context, parsed.path, found.error().text);
  if (found->given.contains("help") || (!command.run && found->unknown_flags.empty() &&
                                        !found->given.contains("version"))) {
    parsed.help = make_help(root, context, parsed.path);
    parsed.command = nullptr;
    return parsed;
  }
  if (!found->unknown_flags.empty()) {
    return unknown_flag(context, parsed, flags, found->unknown_flags.front());
  }
  if (Status status = take_flags(flags, *found, parsed.values); !status) return status.error();
  if (!command.run) return parsed;
  if (Status status = take_arguments(command, std::move(found->positional), parsed.values);
      !status) {
    return usage_error(context, parsed.path, status.error().text);
  }
  return parsed;
}

std::vector<std::string> complete(const Command& root, const std::vector<std::string>& words) {
  const Flag help = help_flag();
  std::vector<const Command*> path;
  const Command* command = &root;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (const Command* sub = find_subcommand(*command, words[i])) {
      path.push_back(sub);
      command = sub;
    }
  }
  const std::string_view last = words.empty() ? "" : std::string_view(words.back());
  std::vector<std::string> out;
  if (last.starts_with("-")) {
    for (const Flag* flag : flags_of(root, path, help)) {
      if (!flag->is_hidden) out.push_back("--" + flag->name());
    }
  } else {
    for (const Command& sub : command->subcommands) {
      if (!sub.is_hidden) out.push_back(sub.name);
    }
  }
  std::erase_if(out, [&](const std::string& text) { return !text.starts_with(last); });
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace brokkr::cli
