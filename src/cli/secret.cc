// brokkr secret: values only nodes can read.

#include <cstdio>

#include "cli/commands.h"
#include "cli/files.h"
#include "cli/prompt.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"
#include "workload/secrets.h"

namespace brokkr::cli {
namespace {

using Action = workload::SecretsRequest::Action;

// From the argument if given, a file, a question on a terminal, else all of stdin. One line's end is no
// part of a value that was typed or piped.
Result<std::string> read_value(const Values& values) {
  if (values.has("value")) return values.text("value");
  if (values.has("file")) return read_file(values.text("file"), workload::kSecretBytesMax);
  if (is_terminal_stdin()) return ask_hidden("Value of " + values.text("name"));
  auto text = read_stdin(workload::kSecretBytesMax);
  if (!text) return text;
  if (text->ends_with('\n')) text->pop_back();
  if (text->ends_with('\r')) text->pop_back();
  return text;
}

int run_secret_set(const Context& context, const Values& values) {
  const std::string name = values.text("name");
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto there = (*workloads)->secrets({});
  if (!there) return fail(context.program, there.error());
  auto value = read_value(values);
  if (!value) return fail(context.program, value.error());
  if (value->empty()) return fail(context.program, "the value is empty");
  const crypto::CurveKey sender = crypto::CurveKey::generate();
  auto record = workload::seal_secret((*workloads)->ns(), name, *value, sender, there->xkeys,
                                      (*workloads)->session().clock().wall_now());
  workload::wipe(*value);
  if (!record) return fail(context.program, record.error());
  const size_t nodes = record->boxes.size();
  auto reply = (*workloads)->secrets({Action::Set, name, std::move(*record)});
  if (!reply) return fail(context.program, reply.error());
  print_line("Secret " + name + " set, sealed to " + std::to_string(nodes) + (nodes == 1 ? " node" : " nodes"));
  return 0;
}

int run_secret_list(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto reply = (*workloads)->secrets({});
  if (!reply) return fail(context.program, reply.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*reply));
    return 0;
  }
  if (reply->secrets.empty()) {
    print_line("No secrets found");
    return 0;
  }
  Table table("Secrets");
  table.header({"Name", "Updated", "Nodes"});
  for (const workload::SecretFacts& one : reply->secrets) table.row({one.name, one.updated, std::to_string(one.nodes)});
  print(table.text());
  return 0;
}

int run_secret_remove(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto reply = (*workloads)->secrets({Action::Remove, values.text("name"), {}});
  if (!reply) return fail(context.program, reply.error());
  print_line("Secret " + values.text("name") + " removed");
  return 0;
}

}  // namespace

Command secret_command() {
  Command set{"set", {"put"}, "Set a secret; its value comes from stdin, a file or a question"};
  set.arguments = {{"name", "Letters, digits, - and _"}, {"value", "The value itself; others on this machine may see it", false}};
  set.flags = {namespace_flag(), {"file,f", "Read the value from this file", Kind::Text, "FILE"}};
  set.run = run_secret_set;
  Command list{"list", {"ls"}, "List secrets, never their values"};
  list.flags = {namespace_flag(), {"json,j", "Produce JSON output"}};
  list.run = run_secret_list;
  Command remove{"rm", {"remove", "delete"}, "Remove a secret"};
  remove.arguments = {{"name", "The secret's name"}};
  remove.flags = {namespace_flag()};
  remove.run = run_secret_remove;
  Command command{"secret", {"secrets"}, "Values for workloads that only nodes can read"};
  command.description = "  A workload has it in its environment: run --secret [VARIABLE=]NAME, or secret://NAME as a value.";
  for (Command* one : {&set, &list, &remove}) command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
