#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"

// Commands as data: what a command takes and what it does. One adapter (command_parse.cc) turns an
// argument vector into Values; help and completion are written from the same data.
namespace brokkr::cli {

enum class Kind : uint8_t { Text, Bool, Number, Duration, Size };

struct Flag {
  // Long names then the letter, with commas: "trigger_subject,trigger-subject", "header,H".
  std::string names;
  std::string help;
  Kind kind = Kind::Bool;
  std::string placeholder{};  // "URL"; made from the kind when empty
  std::string default_text{};  // what the flag has when absent
  std::string environment{};  // a variable that stands in for the flag
  bool is_repeated = false;
  bool is_hidden = false;
  std::string name() const { return names.substr(0, names.find(',')); }
};

struct Argument {
  std::string name;
  std::string help;
  bool is_required = true;
  bool is_repeated = false;  // only the last one
};

// What the user gave, checked against the kinds. Values are asked for by a flag's first name.
class Values {
 public:
  // Given on the command line or by the environment, not by default.
  bool has(std::string_view name) const;
  bool is_on(std::string_view name) const;
  std::string text(std::string_view name) const;
  std::vector<std::string> all(std::string_view name) const;
  uint64_t number(std::string_view name) const;  // Number and Size
  Duration duration(std::string_view name) const;

  void set(const std::string& name, std::vector<std::string> values, bool is_given);

 private:
  struct Value {
    std::vector<std::string> values;
    bool is_given = false;
  };
  std::map<std::string, Value, std::less<>> values_;
};

// The program as the user called it.
struct Context {
  std::string program = "brokkr";  // also the prefix of errors
  std::string version;
};

struct Command {
  std::string name;
  std::vector<std::string> aliases{};
  std::string summary{};
  std::string description{};  // shown below the usage
  std::vector<Argument> arguments{};
  std::vector<Flag> flags{};
  std::vector<Command> subcommands{};
  Callback<int(const Context&, const Values&)> run{};
  // Instead of `run`: takes every argument after the command's name, unparsed.
  Callback<int(const std::vector<std::string>& arguments)> run_raw{};
  bool is_hidden = false;
};

// A command line that was understood, or what to print instead.
struct Parsed {
  const Command* command = nullptr;  // null when there is nothing to run
  std::vector<const Command*> path;  // from the root, without it
  Values values;
  std::vector<std::string> raw;      // for run_raw
  std::string help;                  // to print on stdout; exit 0
};

// Finds the command and reads its flags, those of its parents and `root`'s own (the global ones,
// allowed anywhere). Fails with InvalidArgument and a text that names the mistake and the nearest
// right word.
Result<Parsed> parse(const Command& root, const Context&, const std::vector<std::string>& arguments);

// The usage page of the command at the end of `path`.
std::string make_help(const Command& root, const Context&,
                      const std::vector<const Command*>& path);

// The candidate nearest to `word`, or empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// What a shell may complete after the words typed so far (the last one may be unfinished).
std::vector<std::string> complete(const Command& root, const std::vector<std::string>& words);

// "1h", "1.5s" as Go reads them, and "3d"; "128", "1KB", "4MiB", "1.5k".
bool parse_duration(std::string_view text, Duration& out);
bool parse_size(std::string_view text, uint64_t& out);

// Used by the parts of this folder that make one Command understandable to the parser.
struct FlagValues {
  std::map<std::string, std::vector<std::string>> given;
  std::vector<std::string> positional;
  std::vector<std::string> unknown_flags;
};
// Splits `arguments` by the flags; the adapter of the parsing library.
Result<FlagValues> split_flags(const std::vector<const Flag*>& flags,
                               const std::vector<std::string>& arguments);

}  // namespace brokkr::cli
