// brokkr devrun, run, ls, info, stop: workloads by a node's control API.

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/deploy.h"
#include "cli/rollout.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

// What one refers to it by: of one replica that of the copy that runs, as lists and logs have it.
std::string id_of(const workload::RolloutStatus& status) {
  const bool is_one = status.replicas == 1 && !status.slots.empty() && !status.slots.front().workload_id.empty();
  return is_one ? status.slots.front().workload_id : status.id;
}

// What scripts read: a deploy reply of nodes, and beside it the rollout.
std::string deployed_json(const workload::RolloutStatus& status, const workload::RunRequest& run) {
  json::Writer out;
  out.begin_object().field("id", id_of(status)).field("name", status.name);
  out.field("node_id", status.slots.empty() ? "" : status.slots.front().node);
  out.key("trigger_subjects").begin_array();
  for (const std::string& subject : run.trigger_subjects) out.string(subject);
  out.end_array();
  return out.key("rollout").raw(workload::encode(status)).end_object().take();
}

Status print_deployed(const Context& context, const Values& values, const workload::RolloutStatus& status,
                      const workload::RunRequest& run) {
  if (status.state == "failed") {
    if (status.replicas == 1 && !status.slots.empty() && !status.slots.front().error.empty()) {
      return Error{Errc::Unavailable, status.slots.front().error};
    }
    return Error{Errc::Unavailable, status.message.empty() ? "\"" + status.name + "\" did not start" : status.message};
  }
  if (values.is_on("json")) {
    print_line(deployed_json(status, run));
  } else {
    const std::string node = status.slots.empty() ? "" : " on node " + status.slots.front().node;
    print("🚀 Workload '" + status.name + "' accepted. You can now refer to this workload with ID: " + id_of(status) + node + "\n");
    if (status.generation > 1) remark("generation " + std::to_string(status.generation));
    if (status.replicas != 1) remark(std::to_string(status.running) + " of " + std::to_string(status.replicas) + " replicas run");
    if (!status.message.empty()) remark(status.message);
    if (is_terminal_stdout() && !run.trigger_subjects.empty()) {
      remark("try: " + context.program + " req " + run.trigger_subjects.front() + " 'hello'");
    }
  }
  std::fflush(stdout);
  if (status.state == "progressing" && values.duration("wait") > Duration::zero()) {
    std::string text = "\"" + status.name + "\" is not there yet: " + std::to_string(status.running) + " of " +
                       std::to_string(status.replicas) + " replicas run";
    for (const workload::SlotStatus& slot : status.slots) {
      if (!slot.error.empty()) return Error{Errc::TimedOut, text + "; " + slot.error};
    }
    if (!status.message.empty()) text += "; " + status.message;
    return Error{Errc::TimedOut, std::move(text)};
  }
  return {};
}

Status deploy_all(const Context& context, WorkloadClient& workloads, const Values& values) {
  Nexfile file;
  std::string folder;
  if (values.has("file") || values.has("start-request")) {
    auto one = workload_of_flags(context, values);
    if (!one) return one.error();
    file.workloads.push_back(std::move(*one));
  } else {
    auto read = read_nexfile(context, values);
    if (!read) return read.error();
    file = std::move(*read);
    const std::string path = values.has("nexfile") ? values.text("nexfile") : "";
    const size_t slash = path.rfind('/');
    folder = slash == std::string::npos ? "" : path.substr(0, slash == 0 ? 1 : slash);
    for (const std::string& text : file.remarks) remark(text);
  }
  for (NexfileWorkload& one : file.workloads) {
    const std::string name = one.name;
    workload::RunRequest run;
    run.trigger_subjects = one.run.trigger_subjects;
    auto status = deploy(context, workloads, std::move(one), folder, values);
    if (!status && file.workloads.size() > 1) return Error{status.error().code, name + ": " + status.error().text};
    if (!status) return status.error();
    if (values.is_on("dry-run")) continue;
    if (Status printed = print_deployed(context, values, *status, run); !printed) return printed;
  }
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
    if (Status again = deploy_all(context, workloads, values); !again) fail(context.program, again.error());
  }
  return fail(context.program, workloads.session().connection().last_error());
}

int run_deploy(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  if (Status done = deploy_all(context, **workloads, values); !done) {
    return fail(context.program, done.error());
  }
  return values.is_on("watch") && values.has("file") ? watch(context, **workloads, values) : 0;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) (out += out.empty() ? "" : ", ") += word;
  return out;
}

void print_line_of(const std::string& name, const std::string& value) {
  if (value.empty()) return;
  print(std::string(18 - std::min<size_t>(18, name.size()), ' ') + name + ": " + value + "\n");
}

void print_function(const workload::WorkloadInfo& info) {
  const auto count = [](uint64_t value) { return format_count(value); };
  print_line_of("Triggers", joined(info.trigger_subjects));
  print_line_of("Queue Group", info.queue_group);
  print_line_of("Instances", count(info.instances) + ", " + count(info.instances_busy) + " busy");
  print_line_of("Waiting", count(info.in_flight) + " in flight, " + count(info.queued) + " queued");
  std::string calls = count(info.calls) + ", " + count(info.errors) + " failed";
  if (info.calls > 0) calls += ", average " + short_duration(Duration(info.total_ns / info.calls));
  print_line_of("Calls", calls);
  print_line_of("Restarts", count(info.restarts));
  print_line_of("Memory", format_bytes(info.memory_bytes));
  print_line_of("Limits", std::to_string(info.limits.wall_time_ms) + " ms, heap " +
                              format_bytes(info.limits.heap_bytes) + ", reply " +
                              format_bytes(info.limits.reply_bytes));
}

void print_program(const workload::WorkloadInfo& info) {
  const workload::ProgramInfo& program = info.program;
  const auto count = [](uint64_t value) { return format_count(value); };
  const bool is_bare = program.isolation == "none";
  print_line_of("Isolation", is_bare ? "none: it is not confined" : program.isolation);
  print_line_of("Monitor", program.monitor);
  print_line_of("Layers", joined(program.layers));
  print_line_of("Process", program.pid == 0 ? "none" : std::to_string(program.pid));
  if (program.runs > 0) {
    print_line_of("Ended", count(program.runs) + " times, last with exit code " +
                               std::to_string(program.exit_code));
  }
  print_line_of("Restarts", count(info.restarts));
  print_line_of("Health", program.health);
  print_line_of("Ports", joined(program.ports));
  print_line_of("Egress", joined(program.egress));
  const std::string limit = program.memory_bytes_max == 0
                                ? std::string()
                                : " of " + format_bytes(program.memory_bytes_max);
  print_line_of("Memory", format_bytes(info.memory_bytes) + limit);
  if (program.memory_kills > 0) print_line_of("Memory Kills", count(program.memory_kills));
  print_line_of("CPU", short_duration(Duration(static_cast<int64_t>(program.cpu_ns))));
  print_line_of("Processes", count(program.pids));
  print_line_of("Broker", count(program.connections) + " connections, " + count(program.out_msgs) +
                              " messages sent, " + count(program.in_msgs) + " received, " +
                              count(program.violations) + " refused");
  if (program.egress.empty()) return;
  print_line_of("Egress Use", count(program.egress_connections) + " connections, " +
                                  count(program.egress_refused) + " refused");
}

void print_workload(const workload::WorkloadInfo& info) {
  print("Workload " + info.summary.name + "\n\n");
  print_line_of("ID", info.summary.id);
  print_line_of("Namespace", info.summary.ns);
  print_line_of("Description", info.description);
  print_line_of("Type", info.summary.workload_type + " " + info.summary.workload_lifecycle);
  print_line_of("State", info.summary.workload_state);
  print_line_of("Node", info.node_id);
  print_line_of("Started", info.summary.start_time);
  print_line_of("Running", info.summary.runtime);
  print_line_of("Artifact", info.file_name + ", " + format_bytes(info.artifact_bytes));
  print_line_of("SHA-256", info.sha256);
  if (info.program.isolation.empty()) {
    print_function(info);
  } else {
    print_program(info);
  }
  print_line_of("Last Error", info.last_error);
}

int run_workload_info(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto info = (*workloads)->info(values.text("workload"));
  // What is wanted may run nowhere yet, and what runs may be wanted by nobody.
  auto status = (*workloads)->status(values.text("workload"));
  if (!info && !status) return fail(context.program, info.error());
  if (!info) {
    if (values.is_on("json")) {
      print_line(workload::encode(*status));
    } else {
      print_rollout(*status);
    }
    return 0;
  }
  if (values.is_on("json")) {
    print_line(workload::encode(*info));
    return 0;
  }
  print_workload(*info);
  if (status) {
    print("\n");
    print_rollout(*status);
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

Command deploy_command(std::string name, std::vector<std::string> aliases, std::string summary) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.description = "  The file is JavaScript, WebAssembly, a program (ELF), or the place of an image or artifact:\n"
                        "  docker://HOST/REPO:TAG, oci:FOLDER, image:NAME, nats://BUCKET/NAME, file:///PATH.\n"
                        "  Without a file it is a Nexfile: -f FILE, or ./Nexfile.";
  command.arguments = {{"file", "File or place", false}, {"assignment", "Environment of the workload, key=value", false, true}};
  command.flags = deploy_flags();
  command.run = run_deploy;
  return command;
}

}  // namespace

Command devrun_command() {
  Command command = deploy_command("devrun", {"yeet"}, "Deploy a function from a file, replacing the one of its name");
  command.flags.push_back({"watch", "Deploy again whenever the file changes"});
  command.flags.push_back({"direct", "A version that does not start leaves the one before it", Kind::Bool, "", "true", "", false, true});
  return command;
}

Command run_command() { return deploy_command("run", {}, "Deploy a workload from a file, a place or a Nexfile"); }

Command apply_command() {
  Command command = deploy_command("apply", {}, "Make the workloads of a Nexfile what it says");
  command.description = "  Changes what differs and waits until it runs; says the same as run -f.";
  command.arguments = {};
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
  for (auto make : {list_command, info_command, stop_command, logs_command, clone_command, move_command,
                    scale_command, rollout_command, stats_command}) {
    command.subcommands.push_back(make());
  }
  return command;
}

}  // namespace brokkr::cli
