// brokkr node: the nodes workloads run on.

#include <algorithm>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

std::string words_text(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) (out += out.empty() ? "" : ", ") += word;
  return out.empty() ? "none" : out;
}

int run_node_list(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto nodes = (*workloads)->nodes();
  if (!nodes) return fail(context.program, nodes.error());
  if (values.is_on("json")) {
    std::string text;
    for (const workload::NodePing& node : *nodes) {
      text += (text.empty() ? "[" : ",\n ") + workload::encode(node);
    }
    print_line(text + "]");
    return 0;
  }
  Table table("Nodes");
  table.header({"Node", "Name", "Nexus", "Version", "State", "Workloads"});
  for (const workload::NodePing& node : *nodes) {
    table.row({node.node_id, node.name, node.nexus, node.version, node.state,
               std::to_string(node.workload_count)});
  }
  print(table.text());
  return 0;
}

void print_node(const workload::NodeInfo& info) {
  const auto line = [](const std::string& name, const std::string& value) {
    if (!value.empty()) print(std::string(18 - std::min<size_t>(18, name.size()), ' ') + name + ": " + value + "\n");
  };
  print("Node " + (info.name.empty() ? info.node_id : info.name) + "\n\n");
  line("ID", info.node_id);
  line("Nexus", info.nexus);
  line("Version", info.version);
  line("State", info.state);
  line("Uptime", info.uptime);
  line("XKey", info.xkey);
  line("Engine", info.engine);
  line("Instances", info.instance_mode);
  line("Sandbox", info.sandbox_policy);
  line("Layers", words_text(info.sandbox_layers));
  line("Missing Layers", words_text(info.sandbox_missing));
  if (!info.microvm.empty()) line("MicroVMs", info.microvm.back().details);
  line("Memory", format_bytes(info.memory_bytes));
  line("Default Limits", std::to_string(info.default_limits.wall_time_ms) + " ms, heap " +
                             format_bytes(info.default_limits.heap_bytes) + ", reply " +
                             format_bytes(info.default_limits.reply_bytes));
  for (const auto& [key, value] : info.tags) line("Tag " + key, value);
  if (info.agents.empty()) return;
  Table table("Agents");
  table.header({"Type", "Name", "State", "Lifecycles", "Workloads", "Version"});
  for (const workload::AgentSummary& agent : info.agents) {
    table.row({agent.type, agent.name, agent.state, words_text(agent.supported_lifecycles),
               std::to_string(agent.workload_count), agent.version});
  }
  print("\n" + table.text());
}

int run_node_info(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto node = (*workloads)->node(values.text("node"));
  if (!node) return fail(context.program, node.error());
  auto info = (*workloads)->node_info(node->node_id);
  if (!info) return fail(context.program, info.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*info));
  } else {
    print_node(*info);
  }
  return 0;
}

int run_lameduck(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto node = (*workloads)->node(values.text("node"));
  if (!node) return fail(context.program, node.error());
  auto reply = (*workloads)->lameduck(node->node_id, values.text("delay"));
  if (!reply) return fail(context.program, reply.error());
  if (!reply->success) return fail(context.program, reply->message);
  print_line("Node " + node->node_id + " takes no more workloads");
  return 0;
}

int run_drain(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto node = (*workloads)->node(values.text("node"));
  if (!node) return fail(context.program, node.error());
  const bool is_cancelled = values.is_on("cancel");
  auto reply = (*workloads)->drain(node->node_id, {values.text("delay"), is_cancelled});
  if (!reply) return fail(context.program, reply.error());
  if (!reply->success) return fail(context.program, reply->message);
  print_line("Node " + node->node_id + (is_cancelled ? " takes workloads again" : " hands its workloads over") +
             (reply->message.empty() ? "" : ": " + reply->message));
  return 0;
}

// MicroVMs are asked for by name, so that what they lack is no failure of the node.
void print_microvm(const std::vector<workload::NodeCheck>& checks) {
  Table table("What its microVMs need");
  table.header({"What", "State", "Details"});
  for (const workload::NodeCheck& check : checks) {
    table.row({check.name, check.state == "optional" ? "missing, optional" : check.state, check.details});
  }
  print("\n" + table.text());
}

// What a node of this machine, or one that runs, can grant.
int run_preflight(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto node = (*workloads)->node(values.text("node"));
  if (!node) return fail(context.program, node.error());
  auto info = (*workloads)->node_info(node->node_id);
  if (!info) return fail(context.program, info.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*info));
    return info->sandbox_missing.empty() ? 0 : 1;
  }
  Table table("What node " + (info->name.empty() ? info->node_id : info->name) + " grants");
  table.header({"What", "Granted", "Details"});
  for (const std::string& layer : info->sandbox_layers) table.row({layer, "yes", ""});
  for (const std::string& layer : info->sandbox_missing) table.row({layer, "no", "workloads run without it unless --sandbox=required"});
  std::string types;
  for (const workload::AgentSummary& agent : info->agents) (types += types.empty() ? "" : ", ") += agent.type;
  table.row({"workload types", types.empty() ? "no" : "yes", types});
  table.row({"engine", info->engine.empty() ? "not started" : "yes", info->engine});
  table.row({"instances", "yes", info->instance_mode});
  print(table.text());
  if (!info->microvm.empty()) print_microvm(info->microvm);
  return info->sandbox_missing.empty() ? 0 : 1;
}

}  // namespace

Command node_command() {
  Command list{"list", {"ls"}, "List nodes"};
  list.flags = {{"json,j", "Produce JSON output"}, {"full", "Show everything (always done)", Kind::Bool, "", "", "", false, true}};
  list.run = run_node_list;
  Command info{"info", {}, "Show one node"};
  info.arguments = {{"node", "ID or name; the only one when absent", false}};
  info.flags = {{"json,j", "Produce JSON output"}, {"full", "Show everything (always done)", Kind::Bool, "", "", "", false, true}};
  info.run = run_node_info;
  Command lameduck{"lameduck", {"down"}, "Take no more workloads and hand over"};
  lameduck.arguments = {{"node", "ID or name; the only one when absent", false}};
  lameduck.flags = {{"delay", "Time until its workloads stop", Kind::Duration, "", "1m"}};
  lameduck.run = run_lameduck;
  Command drain{"drain", {}, "Hand its workloads to other nodes and take none"};
  drain.arguments = {{"node", "ID or name; the only one when absent", false}};
  drain.flags = {{"delay", "Time until what nobody takes stops", Kind::Duration, "", "1m"}, {"cancel", "Take workloads again"}};
  drain.run = run_drain;
  Command preflight{"preflight", {}, "Show what a node can grant; exit code 1 when a layer is missing"};
  preflight.arguments = {{"node", "ID or name; the only one when absent", false}};
  preflight.flags = {{"json,j", "Produce JSON output"}};
  preflight.run = run_preflight;
  Command command{"node", {"nodes"}, "Manage workload nodes"};
  for (Command* one : {&list, &info, &lameduck, &drain, &preflight}) command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
