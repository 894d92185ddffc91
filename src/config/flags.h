#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "config/loader.h"
#include "config/options.h"
#include "config/parser.h"

namespace brokkr::config {

struct FlagSpec;

// nats-server's command line, read by the rules of Go's flag package: one dash or two, `-p 1` or
// `-p=1`, booleans only `-D` or `-D=false`, "--" ends the flags.
struct Flags {
  // What the command line asks for, besides running the server.
  enum class Action : uint8_t { Run, ShowVersion, ShowHelp, ShowTlsHelp, TestConfig, Signal };
  Action action = Action::Run;
  std::string config_file;
  std::string signal;  // of `-sl`, as written
  // The settings given, in order; values have been checked.
  std::vector<std::pair<const FlagSpec*, std::string>> settings;
};

// Fails with Syntax on a wrong flag (print the text and usage_text(), exit 2) and with
// InvalidArgument on a stray word (exit 1). `args` are without the program's name. Pure.
Result<Flags> parse_flags(const std::vector<std::string>& args);

// Lets the flags override what `options` hold; done again after each reload of the file. Pure.
void apply_flags(const Flags& flags, Options& options);

// The file the flags name, if any, with the flags on top; contradictions are among the errors.
Loaded load_with_flags(const Flags& flags, Sources& sources, const Options& base = {});

// The help, for a program of that name.
std::string usage_text(std::string_view program);
std::string tls_help_text();

// What `-sl` asks for: "command", "command=pid", "command=pidfile" or "command=prefix*".
struct SignalCommand {
  int signal = 0;
  std::string command;
  std::string pid;         // digits; empty: the only running server
  bool is_prefix = false;  // every server whose pid begins with `pid`
};
Result<SignalCommand> parse_signal(const std::string& text, Sources& sources);

}  // namespace brokkr::config
