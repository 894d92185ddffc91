// One binary, several programs: the name it is started under and its first words say which.
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/program.h"
#include "cli/main.h"
#include "io/tls_memory.h"
#include "sandbox/program.h"
#include "workload/zygote_main.h"

namespace {

using brokkr::app::Invocation;

std::string base_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/') + 1));
}

}  // namespace

int main(int argc, char** argv) {
  // The re-executed process that shuts a user's program in and stays with it.
  if (argc > 1 && argv[1] == std::string_view(brokkr::sandbox::kLauncherRole)) {
    brokkr::sandbox::launcher_main();
  }
  // The re-executed process that functions are forked from; it must stay as small as it can.
  if (const std::optional<int> role = brokkr::workload::zygote_main(argc, argv)) return *role;
  brokkr::io::HandshakeMemory::install();  // before anything takes a digest
  Invocation invocation{base_name(argc > 0 ? argv[0] : "brokkr"), {}};
  for (int i = 1; i < argc; ++i) invocation.args.emplace_back(argv[i]);
  if (invocation.program == "nats-server") return brokkr::app::run_server(invocation, false);
  brokkr::cli::Program program;
  program.name = invocation.program;
  program.version = brokkr::app::kVersion;
  const auto add = [&](const char* path, const char* summary, auto run) {
    brokkr::cli::ExternalCommand command;
    command.path = path;
    command.summary = summary;
    command.run = [name = invocation.program, run](const std::vector<std::string>& arguments) {
      return run(Invocation{name, arguments});
    };
    program.commands.push_back(std::move(command));
  };
  if (invocation.program != "nats") {
    add("node up", "run a workload node", brokkr::app::run_node);
  }
  if (invocation.program != "nats" && invocation.program != "nex") {
    add("up", "run broker and workload node",
        [](const Invocation& call) { return brokkr::app::run_server(call, true); });
    add("serve", "run the broker alone",
        [](const Invocation& call) { return brokkr::app::run_server(call, false); });
    add("server config validate", "check a configuration file, as serve -t -c FILE does", [](const Invocation& call) {
      Invocation check{call.program, {"-t", "-c"}};
      check.args.insert(check.args.end(), call.args.begin(), call.args.end());
      return brokkr::app::run_server(check, false);
    });
    add("store", "check, print or export a store's files", brokkr::app::run_store);
  }
  return brokkr::cli::main(argc, argv, std::move(program));
}
