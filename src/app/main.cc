// One binary, several programs: the name it is started under and its first words say which.
#include <cstdio>
#include <string>
#include <string_view>

#include "app/program.h"
#if BROKKR_HAS_CLI
#include "cli/main.h"
#endif
#if BROKKR_HAS_WORKLOAD
#include "workload/zygote_main.h"
#endif

namespace {

using brokkr::app::Invocation;

std::string base_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/') + 1));
}

}  // namespace

int main(int argc, char** argv) {
#if BROKKR_HAS_WORKLOAD
  // The re-executed process that functions are forked from; it must stay as small as it can.
  if (argc > 1 && std::string_view(argv[1]) == brokkr::workload::kZygoteRole) {
    return brokkr::workload::zygote_main(argc, argv);
  }
#endif
  Invocation invocation{base_name(argc > 0 ? argv[0] : "brokkr"), {}};
  for (int i = 1; i < argc; ++i) invocation.args.emplace_back(argv[i]);
  if (invocation.program == "nats-server") return brokkr::app::run_server(invocation, false);
  const bool is_brokkr = invocation.program != "nats" && invocation.program != "nex";
  const std::string command = invocation.args.empty() ? "" : invocation.args.front();
  const auto without_words = [&](long words) {
    Invocation rest = invocation;
    rest.args.erase(rest.args.begin(), rest.args.begin() + words);
    return rest;
  };
  if (is_brokkr && (command == "up" || command == "serve")) {
    return brokkr::app::run_server(without_words(1), command == "up");
  }
  if (command == "node" && invocation.args.size() > 1 && invocation.args[1] == "up") {
    return 1;
  }
#if BROKKR_HAS_CLI
  return brokkr::cli::main(argc, argv, invocation.program);
#else
  std::fprintf(stderr, "%s: unknown command \"%s\"; try up, serve or node up\n",
               invocation.program.c_str(), command.c_str());
  return 1;
#endif
}
