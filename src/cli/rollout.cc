// brokkr scale, rollout, clone, move: the desired state of workloads.

#include "cli/rollout.h"

#include <algorithm>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/deploy.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

std::string node_of(const workload::SlotStatus& slot) {
  if (slot.node.empty()) return "-";
  return (slot.node_name.empty() ? slot.node : slot.node_name) + (slot.is_node_lost ? " (lost)" : "");
}

std::string details_of(const workload::SlotStatus& slot) {
  std::string out = slot.error;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (slot.state == "completed") add("exit code " + std::to_string(slot.exit_code));
  if (slot.restarts > 0) add(std::to_string(slot.restarts) + " restarts");
  return out;
}

uint64_t wait_ms(const Values& values) {
  return static_cast<uint64_t>(values.duration("wait").count() / 1'000'000);
}

Flag wait_flag() { return {"wait", "Wait for it so long", Kind::Duration, "DURATION", "60s"}; }

int run_scale(const Context& context, const Values& values) {
  const auto count = parse_uint(values.text("replicas"));
  if (!count || *count > workload::kReplicasMax) {
    return fail(context.program, "replicas \"" + values.text("replicas") + "\" is no number up to " +
                                     std::to_string(workload::kReplicasMax));
  }
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  const auto status = (*workloads)->scale(values.text("workload"), {static_cast<uint32_t>(*count), wait_ms(values)});
  return finish_rollout(context, values, status, "scaled");
}

int run_rollout_status(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  const auto status = (*workloads)->status(values.text("workload"));
  if (!status) return fail(context.program, status.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*status));
  } else {
    print_rollout(*status);
  }
  return status->state == "failed" ? 1 : 0;
}

int run_rollout_history(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  const auto status = (*workloads)->status(values.text("workload"));
  if (!status) return fail(context.program, status.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*status));
    return 0;
  }
  Table table("Revisions of " + status->name);
  table.header({"Generation", "Deployed", "Artifact", "Issuer", ""});
  for (const workload::RevisionStatus& one : status->revisions) {
    table.row({std::to_string(one.generation), one.deployed, one.sha256.empty() ? one.uri : one.sha256.substr(0, 16),
               one.issuer, one.generation == status->generation ? "current" : ""});
  }
  print(table.text());
  return 0;
}

int run_rollout_undo(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  workload::RollbackRequest request;
  request.generation = values.number("to-generation");
  request.sha256 = to_lower(values.text("to-digest"));
  request.wait_ms = wait_ms(values);
  return finish_rollout(context, values, (*workloads)->rollback(values.text("workload"), request), "rolled back");
}

int run_move(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto node = (*workloads)->node(values.text("node"));
  if (!node) return fail(context.program, node.error());
  workload::MoveRequest request;
  request.node = node->node_id;
  if (values.has("slot")) request.slot = static_cast<int64_t>(values.number("slot"));
  request.wait_ms = wait_ms(values);
  return finish_rollout(context, values, (*workloads)->move(values.text("workload"), request), "moved");
}

// The run request for another deployment: the token of the first one is worth nothing there.
Status prepare_clone(const Values& values, WorkloadClient& workloads, workload::DeployRequest& request) {
  auto run = workload::decode_run_request(request.run_request);
  if (!run) return run.error();
  run->workload_jwt.clear();
  if (values.has("issuer") && run->sha256.empty()) {
    return Error{Errc::InvalidArgument, "\"" + request.name + "\" cannot be signed: it has no digest of its artifact; deploy it "
                                        "with --sha256, or by 'run' from the file"};
  }
  if (Status s = sign(values, workloads, request, *run); !s) return s;
  request.run_request = workload::encode(*run);
  return {};
}

// What a refusal for want of a signature leaves to do.
Error with_advice(const Values& values, Error error) {
  if (error.code == Errc::PermissionDenied && error.text.find("signature") != std::string::npos && !values.has("issuer")) {
    error.text += "; sign the copy with --issuer SEED, an account seed (SA...) or a file with one";
  }
  return error;
}

int run_clone(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  const std::string original = values.text("workload");
  auto request = (*workloads)->clone(original, {});
  if (!request) return fail(context.program, request.error());
  workload::ApplyRequest apply;
  const bool is_elsewhere = values.has("to-namespace");
  apply.deploy = std::move(*request);
  apply.deploy.ns = is_elsewhere ? values.text("to-namespace") : (*workloads)->ns();
  // Beside the original it needs a name of its own.
  if (values.has("name")) {
    apply.deploy.name = values.text("name");
  } else if (!values.is_on("stop") && !is_elsewhere) {
    apply.deploy.name += "-clone";
  }
  for (const std::string& tag : values.all("tags")) {
    const size_t equals = tag.find('=');
    if (equals == std::string::npos) return fail(context.program, "tag \"" + tag + "\" is not of the form key=value");
    apply.deploy.tags.emplace_back(tag.substr(0, equals), tag.substr(equals + 1));
  }
  if (values.has("node")) {
    auto node = (*workloads)->node(values.text("node"));
    if (!node) return fail(context.program, node.error());
    apply.node = node->node_id;
  }
  apply.wait_ms = wait_ms(values);
  if (Status s = prepare_clone(values, **workloads, apply.deploy); !s) return fail(context.program, s.error());
  const bool is_replaced = apply.deploy.name == original && !is_elsewhere;
  auto status = (*workloads)->apply(apply);
  if (!status) status = with_advice(values, status.error());
  const int code = finish_rollout(context, values, status, "cloned");
  if (code != 0 || !values.is_on("stop") || is_replaced) return code;
  auto stopped = (*workloads)->stop(original);
  if (!stopped) return fail(context.program, stopped.error());
  return 0;
}

Command rollout_part(std::string name, std::vector<std::string> aliases, std::string summary,
                     int (*run)(const Context&, const Values&)) {
  Command command{std::move(name), std::move(aliases), std::move(summary)};
  command.arguments = {{"workload", "ID or name"}};
  command.flags = {namespace_flag(), {"json,j", "Produce JSON output"}};
  command.run = run;
  return command;
}

}  // namespace

void print_rollout(const workload::RolloutStatus& status) {
  print("Workload " + status.name + "\n\n");
  const auto line = [](const std::string& name, const std::string& value) {
    if (!value.empty()) print(std::string(18 - std::min<size_t>(18, name.size()), ' ') + name + ": " + value + "\n");
  };
  line("ID", status.id);
  line("Namespace", status.ns);
  line("Type", status.workload_type + " " + status.workload_lifecycle);
  line("State", status.state);
  line("Message", status.message);
  line("Generation", status.generation == 0 ? "" : std::to_string(status.generation));
  line("Replicas", std::to_string(status.running) + " of " + std::to_string(status.replicas) + " running, " +
                       std::to_string(status.updated) + " up to date");
  line("Pinned To", status.node);
  if (status.slots.empty()) return;
  Table table("Replicas");
  table.header({"Slot", "Node", "State", "Generation", "ID", "Since", "Details"});
  for (const workload::SlotStatus& slot : status.slots) {
    table.row({std::to_string(slot.slot), node_of(slot), slot.state, std::to_string(slot.generation), slot.workload_id,
               slot.since, details_of(slot)});
  }
  print("\n" + table.text());
  for (const workload::SlotStatus& slot : status.slots) {
    if (!slot.result.empty()) print("\nResult of slot " + std::to_string(slot.slot) + ":\n" + slot.result + "\n");
  }
}

int finish_rollout(const Context& context, const Values& values, const Result<workload::RolloutStatus>& status,
                   const std::string& done) {
  if (!status) return fail(context.program, status.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*status));
  } else if (status->state == "complete") {
    print_line("Workload " + status->name + " " + done + ": " + std::to_string(status->running) + " of " +
               std::to_string(status->replicas) + " replicas run, generation " + std::to_string(status->generation));
    if (!status->message.empty()) remark(status->message);
  }
  if (status->state == "complete") return 0;
  if (status->state == "progressing" && values.duration("wait") <= Duration::zero()) return 0;
  return fail(context.program, "\"" + status->name + "\" is " + status->state + ": " + std::to_string(status->running) +
                                   " of " + std::to_string(status->replicas) + " replicas run" +
                                   (status->message.empty() ? "" : ", " + status->message));
}

Command scale_command() {
  Command command{"scale", {}, "Run so many replicas"};
  command.arguments = {{"workload", "ID or name"}, {"replicas", "How many; 0 keeps it but runs none"}};
  command.flags = {namespace_flag(), wait_flag(), {"json,j", "Produce JSON output"}};
  command.run = run_scale;
  return command;
}

Command rollout_command() {
  Command command{"rollout", {}, "Versions of a workload: how far, which, and back"};
  command.subcommands.push_back(rollout_part("status", {"info"}, "Show how far the replicas are", run_rollout_status));
  command.subcommands.push_back(rollout_part("history", {}, "List the revisions that are kept", run_rollout_history));
  Command undo = rollout_part("undo", {"rollback"}, "Go back to an earlier revision", run_rollout_undo);
  undo.flags.push_back({"to-generation,to-revision", "This one instead of the one before", Kind::Number, "GENERATION"});
  undo.flags.push_back({"to-digest", "The newest with this artifact", Kind::Text, "SHA256"});
  undo.flags.push_back(wait_flag());
  command.subcommands.push_back(std::move(undo));
  return command;
}

Command clone_command() {
  Command command{"clone", {"cp", "copy"}, "Deploy a workload once more"};
  command.arguments = {{"workload", "ID or name"}};
  command.flags = {namespace_flag(),
                   {"name", "Name of the copy; NAME-clone when absent", Kind::Text, "NAME"},
                   {"to-namespace", "Namespace of the copy", Kind::Text, "NAMESPACE"},
                   {"tags", "Tag its node must have, key=value, repeatable", Kind::Text, "TAG", "", "", true},
                   {"node", "Deploy it on this node", Kind::Text, "NODE"},
                   {"stop", "Stop the original then"},
                   {"issuer", "Sign with this account seed: a file or the seed", Kind::Text, "SEED"},
                   wait_flag(),
                   {"json,j", "Produce JSON output"}};
  command.run = run_clone;
  return command;
}

Command move_command() {
  Command command{"move", {"mv"}, "Take a workload to another node"};
  command.arguments = {{"workload", "ID or name"}, {"node", "Node it is to run on"}};
  command.flags = {namespace_flag(),
                   {"slot", "Only this replica", Kind::Number, "SLOT"},
                   wait_flag(),
                   {"json,j", "Produce JSON output"}};
  command.run = run_move;
  return command;
}

}  // namespace brokkr::cli
