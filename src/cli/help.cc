// Usage pages, written from the same data the parser reads.

#include <algorithm>

#include "base/bytes.h"
#include "cli/command.h"

namespace brokkr::cli {
namespace {

constexpr size_t kWidth = 80;

struct Row {
  std::string left;
  std::string right;
};

std::string placeholder_of(const Flag& flag) {
  if (!flag.default_text.empty()) return flag.default_text;
  if (!flag.placeholder.empty()) return flag.placeholder;
  std::string name = to_lower(flag.name());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return name;
}

Row row_of(const Flag& flag) {
  std::string letter;
  std::string name;
  for (const std::string_view part : split(flag.names, ',')) {
    if (part.size() == 1) {
      letter = "-" + std::string(part) + ", ";
    } else if (name.empty()) {
      name = "--" + std::string(part);
    }
  }
  if (letter.empty()) letter = "    ";
  if (flag.kind != Kind::Bool) name += "=" + placeholder_of(flag);
  if (flag.kind == Kind::Bool && flag.default_text == "true") name.insert(2, "[no-]");
  if (flag.is_repeated) name += " ...";
  std::string help = flag.help;
  if (!flag.environment.empty()) help += " ($" + flag.environment + ")";
  return {letter + name, help};
}

// Breaks at blanks so that no line is longer than `width`.
std::vector<std::string> wrap(std::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (const std::string_view word : split(text, ' ')) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

void append_rows(std::string& out, const std::string& title, const std::vector<Row>& rows) {
  if (rows.empty()) return;
  size_t width = 0;
  for (const Row& row : rows) width = std::max(width, row.left.size());
  width = std::min<size_t>(width, 26);
  out += "\n" + title + ":\n";
  for (const Row& row : rows) {
    out += "  " + row.left;
    size_t column = row.left.size();
    if (column > width) {
      out += "\n  ";
      column = 0;
    }
    const auto lines = wrap(row.right, kWidth - width - 4);
    for (size_t i = 0; i < lines.size(); ++i) {
      if (i > 0) out += "\n" + std::string(width + 4, ' ');
      if (i == 0) out += std::string(width - column + 2, ' ');
      out += lines[i];
    }
    out += '\n';
  }
}

std::string usage_of(const Command& command) {
  std::string usage;
  if (!command.flags.empty()) usage += " [<flags>]";
  if (!command.subcommands.empty()) usage += " <command> [<args> ...]";
  for (const Argument& argument : command.arguments) {
    std::string text = "<" + argument.name + ">" + (argument.is_repeated ? "..." : "");
    usage += argument.is_required ? " " + text : " [" + text + "]";
  }
  return usage;
}

}  // namespace

std::string make_help(const Command& root, const Context& context,
                      const std::vector<const Command*>& path) {
  const Command& command = path.empty() ? root : *path.back();
  std::string name;
  for (const Command* part : path) name += (name.empty() ? "" : " ") + part->name;
  std::string out = "usage: " + context.program;
  if (!name.empty()) out += " " + name;
  out += usage_of(command) + "\n\n" + command.summary + "\n";
  if (!command.description.empty()) out += "\n" + command.description + "\n";
  std::vector<Row> rows;
  for (const Command& sub : command.subcommands) {
    if (sub.is_hidden) continue;
    rows.push_back({name.empty() ? sub.name : name + " " + sub.name, sub.summary});
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.left < b.left; });
  append_rows(out, path.empty() ? "Commands" : "Subcommands", rows);
  rows.clear();
  for (const Argument& argument : command.arguments) {
    const std::string text = "<" + argument.name + ">";
    rows.push_back({argument.is_required ? text : "[" + text + "]", argument.help});
  }
  append_rows(out, "Args", rows);
  rows.clear();
  for (auto at = path.rbegin(); at != path.rend(); ++at) {
    for (const Flag& flag : (*at)->flags) {
      if (!flag.is_hidden) rows.push_back(row_of(flag));
    }
  }
  append_rows(out, "Flags", rows);
  if (!command.aliases.empty()) {
    out += "\nCommand Aliases: ";
    for (size_t i = 0; i < command.aliases.size(); ++i) {
      out += (i > 0 ? ", " : "") + command.aliases[i];
    }
    out += '\n';
  }
  rows = {{"-h, --help", "Show context-sensitive help"}};
  for (const Flag& flag : root.flags) {
    if (!flag.is_hidden) rows.push_back(row_of(flag));
  }
  append_rows(out, "Global Flags", rows);
  return out;
}

}  // namespace brokkr::cli
