#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"

namespace brokkr::cli {

// A command that lives outside this room, such as `up` or `node up`. It gets what follows its name,
// unparsed, and answers --help itself.
struct ExternalCommand {
  std::string path;  // "up", "node up"
  std::string summary;
  Callback<int(const std::vector<std::string>& arguments)> run;
  std::vector<std::string> aliases{};
};

// What the program is called and what it can do beside this room's commands.
struct Program {
  std::string name = "brokkr";  // "nats", "nex": also the prefix of errors
  std::string version;
  std::vector<ExternalCommand> commands;
};

// Runs the command line and returns the exit code: 0 only on success. Errors go to stderr as
// "<name>: error: text". Confined to the main thread, which it blocks.
int main(int argc, char** argv, Program program);

// Whether `word` (argv[1]) is a command of this room or of `program`; for a caller that has its own
// meaning for other first words.
bool is_command(const Program& program, std::string_view word);

}  // namespace brokkr::cli
