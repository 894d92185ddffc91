// brokkr namespace: tenants, what is theirs and how much they may have.

#include <algorithm>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

using workload::NamespacesRequest;
using NamespaceAction = NamespacesRequest::Action;

std::string words_or(const workload::Words& words, const char* none) {
  std::string out;
  for (const std::string& word : words) (out += out.empty() ? "" : ", ") += word;
  return out.empty() ? none : out;
}

// "3 of 10", or only what is used.
std::string of_quota(const std::string& used, bool is_limited, const std::string& quota) {
  return is_limited ? used + " of " + quota : used;
}

std::string cpu_text(uint32_t millis) { return std::to_string(millis) + "m"; }

void print_namespace(const workload::NamespaceStatus& status) {
  const workload::NamespaceRecord& record = status.record;
  const workload::NamespaceUse& use = status.use;
  const auto line = [](const std::string& name, const std::string& value) {
    print(std::string(18 - std::min<size_t>(18, name.size()), ' ') + name + ": " + value + "\n");
  };
  print("Namespace " + record.ns + "\n\n");
  line("Subjects", words_or(record.subjects, "any that is nobody's"));
  line("Imports", words_or(record.imports, "none"));
  line("Buckets", words_or(record.buckets, "any that is nobody's"));
  line("Object Buckets", words_or(record.object_buckets, "any that is nobody's"));
  line("Streams", words_or(record.streams, "those of its name"));
  line("Egress", words_or(record.egress, "anything"));
  line("Issuers", words_or(record.issuers, "unsigned deploys too"));
  line("Node Files", words_or(record.node_files, record.ns == "default" ? "those of its nodes" : "none"));
  line("Node Ports", words_or(record.ports, record.ns == "default" ? "any" : "from 1024"));
  line("Registries", words_or(record.registries, record.ns == "default" ? "any" : "as anybody"));
  line("Workloads", of_quota(std::to_string(use.workloads), record.workloads_max > 0, std::to_string(record.workloads_max)));
  line("Replicas", of_quota(std::to_string(use.replicas), record.replicas_max > 0, std::to_string(record.replicas_max)));
  line("Memory", of_quota(format_bytes(use.memory_bytes), record.memory_bytes_max > 0, format_bytes(record.memory_bytes_max)));
  line("CPU", of_quota(cpu_text(use.cpu_millis), record.cpu_millis_max > 0, cpu_text(record.cpu_millis_max)));
  line("Artifacts", of_quota(format_bytes(use.artifact_bytes), record.artifact_bytes_max > 0, format_bytes(record.artifact_bytes_max)));
}

Result<workload::NamespacesReply> ask(const Context& context, const Values& values, const NamespacesRequest& request) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return workloads.error();
  return (*workloads)->namespaces(request);
}

int run_namespace_list(const Context& context, const Values& values) {
  auto reply = ask(context, values, {});
  if (!reply) return fail(context.program, reply.error());
  if (values.is_on("json")) {
    print_line(workload::encode(*reply));
    return 0;
  }
  if (reply->namespaces.empty()) {
    print_line("No namespaces found");
    return 0;
  }
  Table table("Namespaces");
  table.header({"Namespace", "Subjects", "Workloads", "Replicas", "Memory", "CPU"});
  for (const workload::NamespaceStatus& one : reply->namespaces) {
    table.row({one.record.ns, words_or(one.record.subjects, "-"), std::to_string(one.use.workloads),
               std::to_string(one.use.replicas), format_bytes(one.use.memory_bytes), cpu_text(one.use.cpu_millis)});
  }
  print(table.text());
  return 0;
}

int run_namespace_info(const Context& context, const Values& values) {
  NamespacesRequest request;
  request.action = NamespaceAction::Get;
  request.record.ns = values.text("name");
  auto reply = ask(context, values, request);
  if (!reply) return fail(context.program, reply.error());
  if (reply->namespaces.empty()) return fail(context.program, "no namespace \"" + request.record.ns + "\"");
  if (values.is_on("json")) {
    print_line(workload::encode(*reply));
  } else {
    print_namespace(reply->namespaces.front());
  }
  return 0;
}

// What is not said stays as it is.
int run_namespace_set(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  NamespacesRequest request;
  request.action = NamespaceAction::Get;
  request.record.ns = values.text("name");
  auto before = (*workloads)->namespaces(request);
  if (!before && before.error().code != Errc::NotFound) return fail(context.program, before.error());
  // Whoever changes it between this and the write is not overwritten.
  request.revision = 0;
  if (before && !before->namespaces.empty()) {
    request.record = before->namespaces.front().record;
    request.revision = before->namespaces.front().revision;
  }
  request.action = NamespaceAction::Set;
  workload::NamespaceRecord& record = request.record;
  record.ns = values.text("name");
  const auto words = [&](const char* flag, workload::Words& into) {
    if (!values.has(flag)) return;
    into = values.all(flag);
    std::erase(into, std::string());  // --subject "" takes the list away
  };
  words("subject", record.subjects);
  words("import", record.imports);
  words("kv", record.buckets);
  words("object", record.object_buckets);
  words("stream", record.streams);
  words("egress", record.egress);
  words("issuer", record.issuers);
  words("node-files", record.node_files);
  words("port", record.ports);
  words("registry", record.registries);
  if (values.has("workloads")) record.workloads_max = static_cast<uint32_t>(values.number("workloads"));
  if (values.has("replicas")) record.replicas_max = static_cast<uint32_t>(values.number("replicas"));
  if (values.has("memory")) record.memory_bytes_max = values.number("memory");
  if (values.has("artifacts")) record.artifact_bytes_max = values.number("artifacts");
  if (values.has("cpu") && !workload::parse_cpu(values.text("cpu"), record.cpu_millis_max)) {
    return fail(context.program, "--cpu \"" + values.text("cpu") + "\" is no number of CPUs such as 0.5 or 500m");
  }
  auto reply = (*workloads)->namespaces(request);
  if (!reply) return fail(context.program, reply.error());
  print_line("Namespace " + record.ns + " set");
  return 0;
}

int run_namespace_remove(const Context& context, const Values& values) {
  NamespacesRequest request;
  request.action = NamespaceAction::Remove;
  request.record.ns = values.text("name");
  auto reply = ask(context, values, request);
  if (!reply) return fail(context.program, reply.error());
  print_line("Namespace " + request.record.ns + " removed");
  return 0;
}

}  // namespace

Command namespace_command() {
  Command set{"set", {"add", "update"}, "Say what is a namespace's and how much it may have"};
  set.arguments = {{"name", "The namespace"}};
  set.flags = {{"subject", "Its own subjects, repeatable; its workloads use no others then", Kind::Text, "PATTERN", "", "", true},
               {"import", "Subjects of others it may publish to, repeatable", Kind::Text, "PATTERN", "", "", true},
               {"kv", "Its own key-value buckets, repeatable", Kind::Text, "BUCKET", "", "", true},
               {"object", "Its own object buckets, repeatable", Kind::Text, "BUCKET", "", "", true},
               {"stream", "Its own streams, repeatable", Kind::Text, "STREAM", "", "", true},
               {"egress", "All its workloads may connect to, repeatable", Kind::Text, "HOST", "", "", true},
               {"issuer", "Account key that must sign deploys, repeatable", Kind::Text, "KEY", "", "", true},
               {"node-files", "Folders of nodes its deployments may name files in, repeatable", Kind::Text, "FOLDER", "", "", true},
               {"port", "Ports of nodes it may publish, repeatable: 80, 8000-8100, *", Kind::Text, "PORTS", "", "", true},
               {"registry", "Registries the node shows its credentials for it, repeatable", Kind::Text, "HOST", "", "", true},
               {"workloads", "Workloads at most", Kind::Number, "COUNT"},
               {"replicas", "Replicas at most", Kind::Number, "COUNT"},
               {"memory", "Memory at most", Kind::Size, "BYTES"},
               {"cpu", "CPUs at most", Kind::Text, "CPUS"},
               {"artifacts", "Bytes of artifacts at most", Kind::Size, "BYTES"}};
  set.run = run_namespace_set;
  Command list{"list", {"ls"}, "List namespaces"};
  list.flags = {{"json,j", "Produce JSON output"}};
  list.run = run_namespace_list;
  Command info{"info", {}, "Show one namespace"};
  info.arguments = {{"name", "The namespace"}};
  info.flags = {{"json,j", "Produce JSON output"}};
  info.run = run_namespace_info;
  Command remove{"rm", {"remove", "delete"}, "Forget a namespace's record"};
  remove.arguments = {{"name", "The namespace"}};
  remove.run = run_namespace_remove;
  Command command{"namespace", {"ns"}, "Tenants of the workload nodes"};
  for (Command* one : {&set, &list, &info, &remove}) command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
