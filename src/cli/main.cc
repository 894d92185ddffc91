#include "cli/main.h"

#include <cstdio>
#include <utility>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

Command completion_command(const std::string& program) {
  Command command{"completion", {}, "Print a script that makes a shell complete commands"};
  command.description = "  source <(" + program + " completion bash)\n  source <(" + program +
                        " completion zsh)\n  " + program + " completion fish | source";
  command.arguments = {{"shell", "bash, zsh or fish"}};
  command.run = [](const Context& context, const Values& values) {
    const std::string script = completion_script(context.program, values.text("shell"));
    if (script.empty()) {
      return fail(context.program, "unknown shell \"" + values.text("shell") + "\", one of bash, zsh, fish");
    }
    print(script);
    return 0;
  };
  return command;
}

// Puts an external command at its place, below groups of this room where they exist.
void attach(Command& root, ExternalCommand external) {
  Command* parent = &root;
  const std::string path = external.path;
  const auto words = split(path, ' ');
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    Command* next = nullptr;
    for (Command& sub : parent->subcommands) {
      if (sub.name == words[i]) next = &sub;
    }
    if (next == nullptr) {
      parent->subcommands.push_back({std::string(words[i])});
      next = &parent->subcommands.back();
    }
    parent = next;
  }
  Command command{std::string(words.back()), std::move(external.aliases), std::move(external.summary)};
  command.run_raw = std::move(external.run);
  parent->subcommands.push_back(std::move(command));
}

// nex 0.4.x writes "--nats.servers", 0.2.7 "--conn-name"; what only its own client did is read over.
void add_nex_flags(std::vector<Flag>& flags) {
  constexpr std::pair<std::string_view, const char*> kNames[] = {
      {"server", ",nats.servers"},   {"context", ",nats.context"},     {"user", ",nats.user"},
      {"password", ",nats.password"}, {"nkey", ",nats.nkey"},          {"seed", ",nats.seed"},
      {"jwt", ",nats.jwt"},          {"creds", ",nats.creds-file"},    {"timeout", ",nats.timeout"},
      {"tlscert", ",nats.tlscert"},  {"tlskey", ",nats.tlskey"},       {"tlsca", ",nats.tlsca"},
      {"tlsfirst", ",nats.tlsfirst"}, {"js-domain", ",jsdomain,nats.jsdomain"},
      {"connection-name", ",conn-name,nats.conn-name"}};
  for (Flag& flag : flags) {
    for (const auto& [name, more] : kNames) {
      if (flag.name() == name) flag.names += more;
    }
  }
  for (const char* name : {"logger", "loglevel", "timeformat", "config", "logger.target", "logger.level", "logger.timefmt"}) {
    flags.push_back({name, "Of nex's own client", Kind::Text, "", "", "", true, true});
  }
  for (const char* name : {"logjson", "logcolor", "check", "disable-upgrade-check", "auto-upgrade", "dev-mode", "logger.color",
                           "logger.short", "logger.with-pid", "logger.group-on-right", "logger.line-info"}) {
    flags.push_back({name, "Of nex's own client", Kind::Bool, "", "", "", false, true});
  }
}

// For nex these stand before the command as well as after it.
void take_flags(Command& command, std::string_view name) {
  std::erase_if(command.flags, [&](const Flag& flag) { return flag.name() == name; });
  for (Command& sub : command.subcommands) take_flags(sub, name);
}

Command make_root(Program& program) {
  Command root{program.name};
  root.summary = program.name == "nats"  ? "NATS Utility"
                 : program.name == "nex" ? "Nex Utility"
                                         : "Brokkr: a message broker that runs your workloads";
  root.flags = connection_flags();
  if (program.name == "nex") add_nex_flags(root.flags);
  for (auto make : {publish_command, subscribe_command, request_command, reply_command, rtt_command,
                    bench_command, server_command, service_command, stream_command, consumer_command,
                    kv_command, object_command, backup_command, account_command, auth_command, context_command, devrun_command, run_command,
                    apply_command, list_command, info_command, stop_command, scale_command, rollout_command,
                    clone_command, move_command, logs_command, events_command, stats_command, trace_command, top_command,
                    latency_command, invoke_command, invocations_command, dead_letters_command, secret_command, namespace_command, workload_command, node_command, image_command}) {
    root.subcommands.push_back(make());
  }
  root.subcommands.push_back(completion_command(program.name));
  if (program.name == "nex") {
    for (Flag flag : {namespace_flag(), Flag{"json,j", "Produce JSON output"}}) {
      take_flags(root, flag.name());
      root.flags.push_back(std::move(flag));
    }
  }
  for (ExternalCommand& external : program.commands) attach(root, std::move(external));
  return root;
}

// What the scripts of `completion` ask: "--completion-bash word word part".
int complete_words(const Command& root, int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 2; i < argc; ++i) words.emplace_back(argv[i]);
  for (const std::string& word : complete(root, words)) print_line(word);
  return 0;
}

}  // namespace

int main(int argc, char** argv, Program program) {
  const Context context{program.name, program.version};
  const Command root = make_root(program);
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "--completion-bash") return complete_words(root, argc, argv);
  for (const char* shell : {"bash", "zsh", "fish"}) {
    if (first != std::string("--completion-script-") + shell) continue;
    print(completion_script(context.program, shell));
    return 0;
  }
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (!arguments.empty() && arguments[0] == "help") {
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
  auto parsed = parse(root, context, arguments);
  if (!parsed) return fail(context.program, parsed.error().text);
  int code = 0;
  if (parsed->command == nullptr) {
    print(parsed->help);
  } else if (parsed->command->run_raw) {
    code = parsed->command->run_raw(parsed->raw);
  } else if (parsed->values.is_on("version")) {
    print_line(context.program == "brokkr" ? "brokkr " + context.version : context.version);
  } else {
    code = parsed->command->run(context, parsed->values);
  }
  // A result that could not be written is no success.
  if (std::fflush(stdout) != 0 && code == 0) return fail(context.program, "could not write the output");
  return code;
}

bool is_command(const Program& program, std::string_view word) {
  Program none;
  none.name = program.name;
  const Command root = make_root(none);
  for (const Command& command : root.subcommands) {
    if (command.name == word) return true;
    for (const std::string& alias : command.aliases) {
      if (alias == word) return true;
    }
  }
  for (const ExternalCommand& command : program.commands) {
    if (split(command.path, ' ').front() == word) return true;
    for (const std::string& alias : command.aliases) {
      if (alias == word) return true;
    }
  }
  return word == "help";
}

}  // namespace brokkr::cli
