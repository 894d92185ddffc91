// brokkr devrun, run, ls, info, stop: workloads by a node's control API.

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "base/bytes.h"
#include "base/sha256.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

constexpr size_t kArtifactMax = 64 << 20;

// "echo.js" is v8, "\0asm" is wasm whatever it is called; empty when nothing says so.
std::string infer_type(const std::string& path, std::string_view content) {
  if (content.starts_with(std::string_view("\0asm", 4))) return "wasm";
  for (const char* extension : {".js", ".mjs", ".cjs"}) {
    if (path.ends_with(extension)) return "v8";
  }
  if (path.ends_with(".wasm")) return "wasm";
  if (content.starts_with("\x7f" "ELF")) return "native";
  return {};
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
}

// The file's name without its dots, as nex 0.2.7 names a workload, in the letters it may have:
// echo.js and echo.wasm live side by side as "echojs" and "echowasm".
std::string make_name(const std::string& path) {
  std::string name = base_name(path);
  std::erase(name, '.');
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_') c = '-';
  }
  return name;
}

Result<workload::Pairs> read_pairs(const std::vector<std::string>& words) {
  workload::Pairs pairs;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error{Errc::InvalidArgument, "environment \"" + word + "\" is not of the form key=value"};
    }
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

Result<workload::DeployRequest> make_deploy(const Values& values, const std::string& ns) {
  const std::string path = values.text("file");
  auto content = read_file(path, kArtifactMax);
  if (!content) return content.error();
  if (content->empty()) return Error{Errc::InvalidArgument, path + ": the file is empty"};
  workload::DeployRequest deploy;
  deploy.workload_type = values.has("type") ? values.text("type") : infer_type(path, *content);
  if (deploy.workload_type == "js" || deploy.workload_type == "javascript") deploy.workload_type = "v8";
  if (deploy.workload_type.empty()) {
    return Error{Errc::InvalidArgument, path + ": cannot tell its type, say --type v8 or --type wasm"};
  }
  if (deploy.workload_type != "v8" && deploy.workload_type != "wasm") {
    const bool is_planned = deploy.workload_type == "native" || deploy.workload_type == "oci";
    return Error{Errc::Unsupported, "workload type \"" + deploy.workload_type + "\" " +
                                        (is_planned ? "comes with a later release; v8 and wasm are there"
                                                    : "is not known: v8 or wasm")};
  }
  workload::RunRequest run;
  run.trigger_subjects = values.all("trigger_subject");
  if (run.trigger_subjects.empty()) {
    return Error{Errc::InvalidArgument, "a function needs a subject: --trigger_subject SUBJECT"};
  }
  auto environment = read_pairs(values.all("env"));
  if (!environment) return environment.error();
  run.environment = std::move(*environment);
  run.sha256 = sha256_hex(*content);
  run.artifact = std::move(*content);
  run.file_name = base_name(path);
  run.queue_group = values.text("queue");
  run.is_broadcast = values.is_on("broadcast");
  run.limits.wall_time_ms = static_cast<uint64_t>(values.duration("max-time").count() / 1'000'000);
  run.limits.heap_bytes = values.number("max-heap");
  run.limits.in_flight = static_cast<uint32_t>(values.number("max-in-flight"));
  run.limits.max_instances = static_cast<uint32_t>(values.number("max-instances"));
  deploy.name = values.has("name") ? values.text("name") : make_name(path);
  deploy.ns = ns;
  deploy.description = values.text("description");
  deploy.run_request = workload::encode(run);
  return deploy;
}

Status deploy_file(const Context& context, WorkloadClient& workloads, const Values& values) {
  auto request = make_deploy(values, workloads.ns());
  if (!request) return request.error();
  auto reply = workloads.deploy(*request, values.text("node"));
  if (!reply) return reply.error();
  if (values.is_on("json")) {
    print_line(workload::encode(*reply));
  } else {
    print("🚀 Workload '" + reply->name + "' accepted. You can now refer to this workload with ID: " +
          reply->id + " on node " + reply->node_id + "\n");
    if (!reply->replaced_id.empty()) remark("replaced " + reply->replaced_id);
    if (is_terminal_stdout()) {
      remark("try: " + context.program + " req " + reply->trigger_subjects.front() + " 'hello'");
    }
  }
  std::fflush(stdout);
  return {};
}

struct FileStamp {
  int64_t seconds = 0;
  int64_t nanoseconds = 0;
  int64_t size = 0;
  bool operator==(const FileStamp&) const = default;
};

FileStamp stamp_of(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return {};
  return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_size};
}

// Deploys again with every change of the file, for ever. A version that fails is reported and the
// one before it goes on serving.
int watch(const Context& context, WorkloadClient& workloads, const Values& values) {
  const std::string path = values.text("file");
  FileStamp known = stamp_of(path);
  remark("Watching " + path);
  while (workloads.session().connection().state() != client::State::Closed) {
    client::run_until(workloads.session().loop(), std::chrono::milliseconds(200), [] { return false; });
    const FileStamp now = stamp_of(path);
    if (now == known || now == FileStamp{}) continue;
    known = now;
    if (Status again = deploy_file(context, workloads, values); !again) fail(context.program, again.error());
  }
  return fail(context.program, workloads.session().connection().last_error());
}

int run_deploy(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  if (Status done = deploy_file(context, **workloads, values); !done) {
    return fail(context.program, done.error());
  }
  return values.is_on("watch") ? watch(context, **workloads, values) : 0;
}

std::string age_text(const std::string& runtime) { return runtime.empty() ? "-" : runtime; }

int run_workload_list(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto found = (*workloads)->list({});
  if (!found) return fail(context.program, found.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*found));
    return 0;
  }
  if (found->empty()) {
    print_line("No workloads found");
    return 0;
  }
  Table table("Workloads");
  table.header({"ID", "Name", "Type", "Lifecycle", "State", "Running"});
  for (const workload::WorkloadSummary& one : *found) {
    table.row({one.id, one.name, one.workload_type, one.workload_lifecycle, one.workload_state,
               age_text(one.runtime)});
  }
  print(table.text());
  return 0;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) (out += out.empty() ? "" : ", ") += word;
  return out;
}

void print_workload(const workload::WorkloadInfo& info) {
  const auto line = [](const std::string& name, const std::string& value) {
    if (!value.empty()) print(std::string(18 - std::min<size_t>(18, name.size()), ' ') + name + ": " + value + "\n");
  };
  const auto count = [](uint64_t value) { return format_count(value); };
  print("Workload " + info.summary.name + "\n\n");
  line("ID", info.summary.id);
  line("Namespace", info.summary.ns);
  line("Description", info.description);
  line("Type", info.summary.workload_type + " " + info.summary.workload_lifecycle);
  line("State", info.summary.workload_state);
  line("Node", info.node_id);
  line("Started", info.summary.start_time);
  line("Running", info.summary.runtime);
  line("Artifact", info.file_name + ", " + format_bytes(info.artifact_bytes));
  line("SHA-256", info.sha256);
  line("Triggers", joined(info.trigger_subjects));
  line("Queue Group", info.queue_group);
  line("Instances", count(info.instances) + ", " + count(info.instances_busy) + " busy");
  line("Waiting", count(info.in_flight) + " in flight, " + count(info.queued) + " queued");
  std::string calls = count(info.calls) + ", " + count(info.errors) + " failed";
  if (info.calls > 0) calls += ", average " + short_duration(Duration(info.total_ns / info.calls));
  line("Calls", calls);
  line("Restarts", count(info.restarts));
  line("Memory", format_bytes(info.memory_bytes));
  line("Limits", std::to_string(info.limits.wall_time_ms) + " ms, heap " +
                     format_bytes(info.limits.heap_bytes) + ", reply " +
                     format_bytes(info.limits.reply_bytes));
  line("Last Error", info.last_error);
}

int run_workload_info(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto info = (*workloads)->info(values.text("workload"));
  if (!info) return fail(context.program, info.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*info));
  } else {
    print_workload(*info);
  }
  return 0;
}

int run_stop(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  // nex 0.2.7 names the node first: "stop NODE WORKLOAD".
  const std::string workload = values.has("second") ? values.text("second") : values.text("workload");
  auto reply = (*workloads)->stop(workload);
  if (!reply) return fail(context.program, reply.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*reply));
  } else if (reply->stopped) {
    print_line("Workload " + reply->id + " stopped");
  }
  if (!reply->stopped) return fail(context.program, reply->message.empty() ? "not stopped" : reply->message);
  return 0;
}

std::vector<Flag> deploy_flags() {
  return {
      namespace_flag(),
      {"trigger_subject,trigger-subject,trigger", "Subject that triggers the function, repeatable", Kind::Text, "SUBJECT", "", "", true},
      {"type", "v8 or wasm; told from the file when absent", Kind::Text, "TYPE"},
      {"name", "Name of the workload; the file's name when absent", Kind::Text, "NAME"},
      {"description", "What the workload is for", Kind::Text, "TEXT"},
      {"node", "Deploy on this node", Kind::Text, "NODE"},
      {"queue", "Queue group of the trigger", Kind::Text, "GROUP"},
      {"broadcast", "Every replica runs every message"},
      {"max-time", "Wall time of one call", Kind::Duration, "DURATION"},
      {"max-heap", "Heap of one instance", Kind::Size, "BYTES"},
      {"max-in-flight", "Calls an instance works on at once", Kind::Number, "CALLS"},
      {"max-instances", "Instances at most", Kind::Number, "COUNT"},
      {"json", "Produce JSON output"},
      // Accepted for scripts written for nex; what they ask for holds anyway or comes with services.
      {"stop", "Stop an older version of the same name (always done)", Kind::Bool, "", "true", "", false, true},
      {"argv", "Arguments of a native workload", Kind::Text, "", "", "", false, true},
      {"essential", "Restart when it fails (always done)", Kind::Bool, "", "", "", false, true},
      {"bucketmaxbytes", "Size of the upload bucket", Kind::Size, "", "", "", false, true},
      {"lifecycle", "service, job or function", Kind::Text, "", "", "", false, true},
      {"issuer", "Issuer key file", Kind::Text, "", "", "", false, true},
      {"xkey", "Publisher's xkey file", Kind::Text, "", "", "", false, true},
      {"tags", "Placement tags", Kind::Text, "", "", "", true, true},
  };
}

Command deploy_command(std::string name, std::vector<std::string> aliases, std::string summary) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.arguments = {{"file", "JavaScript or WebAssembly file"},
                       {"env", "Environment of the workload, key=value", false, true}};
  command.flags = deploy_flags();
  command.run = run_deploy;
  return command;
}

}  // namespace

Command devrun_command() {
  Command command = deploy_command("devrun", {"yeet"}, "Deploy a function from a file, replacing the one of its name");
  command.flags.push_back({"watch", "Deploy again whenever the file changes"});
  return command;
}

Command run_command() {
  return deploy_command("run", {}, "Deploy a workload from a file");
}

Command list_command() {
  Command command{"list", {"ls"}, "List workloads"};
  command.flags = {namespace_flag(), {"json,j", "Produce JSON output"}};
  command.run = run_workload_list;
  return command;
}

Command info_command() {
  Command command{"info", {}, "Show one workload"};
  command.arguments = {{"workload", "ID or name"}};
  command.flags = {namespace_flag(), {"json,j", "Produce JSON output"}};
  command.run = run_workload_info;
  return command;
}

Command stop_command() {
  Command command{"stop", {"undeploy"}, "Stop a workload and forget it"};
  command.arguments = {{"workload", "ID or name"}, {"second", "The workload, when a node was named first", false}};
  command.flags = {namespace_flag(),
                   {"json,j", "Produce JSON output"},
                   {"name", "Name of the workload", Kind::Text, "", "", "", false, true},
                   {"issuer", "Issuer key file", Kind::Text, "", "", "", false, true}};
  command.run = run_stop;
  return command;
}

Command workload_command() {
  Command command{"workload", {"wl"}, "Manage workloads"};
  command.subcommands.push_back(deploy_command("start", {"run", "deploy"}, "Deploy a workload from a file"));
  for (auto make : {list_command, info_command, stop_command, logs_command}) {
    command.subcommands.push_back(make());
  }
  return command;
}

}  // namespace brokkr::cli
