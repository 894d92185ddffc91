// The one file that knows CLI11. It sees one flat list of flags: which command is meant has been
// found before, so that a subject called "sub" is never taken for the command of that name.

#include <CLI/CLI.hpp>

#include "base/bytes.h"
#include "cli/command.h"

namespace brokkr::cli {
namespace {

// "server,s" -> "--server,-s"; switches also get their "--no-" form.
std::string option_names(const Flag& flag) {
  std::string names;
  for (const std::string_view name : split(flag.names, ',')) {
    if (!names.empty()) names += ',';
    names += name.size() == 1 ? "-" : "--";
    names += name;
    if (flag.kind == Kind::Bool && name.size() > 1) (names += ",!--no-") += name;
  }
  return names;
}

}  // namespace

Result<FlagValues> split_flags(const std::vector<const Flag*>& flags,
                               const std::vector<std::string>& arguments) {
  FlagValues out;
  try {
    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    std::map<std::string, bool> switches;
    for (const Flag* flag : flags) {
      const std::string name = flag->name();
      if (flag->kind == Kind::Bool) {
        app.add_flag(option_names(*flag), switches[name])
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      } else {
        auto* option = app.add_option(option_names(*flag), out.given[name]);
        option->allow_extra_args(false)->expected(1);
        option->multi_option_policy(flag->is_repeated ? CLI::MultiOptionPolicy::TakeAll
                                                      : CLI::MultiOptionPolicy::TakeLast);
      }
    }
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    for (const Flag* flag : flags) {
      const std::string name = flag->name();
      const CLI::Option* option = app.get_option((name.size() == 1 ? "-" : "--") + name);
      if (option->count() == 0) {
        out.given.erase(name);
      } else if (flag->kind == Kind::Bool) {
        out.given[name] = {switches[name] ? "true" : "false"};
      }
    }
    bool is_after_dashes = false;
    for (const std::string& word : app.remaining()) {
      if (word == "--" && !is_after_dashes) {
        is_after_dashes = true;
      } else if (!is_after_dashes && word.size() > 1 && word[0] == '-' &&
                 !parse_double(word)) {
        out.unknown_flags.push_back(word);
      } else {
        out.positional.push_back(word);
      }
    }
  } catch (const CLI::Error& error) {
    std::string text = error.what();
    if (!text.empty()) text[0] = to_lower(text[0]);
    return Error{Errc::InvalidArgument, text};
  }
  return out;
}

}  // namespace brokkr::cli
