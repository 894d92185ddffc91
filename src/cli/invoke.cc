// brokkr invoke and invocations: calling functions, and how their last calls went.

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/message_text.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"
#include "workload/control_invocations.h"

namespace brokkr::cli {
namespace {

constexpr size_t kInvokeBodyMax = 64 << 20;

// The subject to call: what the flags say, else the function's first one that is no pattern.
Result<std::string> subject_to_call(WorkloadClient& workloads, const Values& values) {
  if (values.has("subject")) return values.text("subject");
  auto info = workloads.info(values.text("workload"));
  if (!info) return info.error();
  for (const std::string& subject : info->trigger_subjects) {
    if (subject.find_first_of("*>") == std::string::npos) return subject;
  }
  if (info->trigger_subjects.empty()) {
    return Error{Errc::InvalidArgument, "\"" + info->summary.name + "\" has no subject to call it by"};
  }
  return Error{Errc::InvalidArgument, "\"" + info->summary.name + "\" listens to " + info->trigger_subjects.front() +
                                          ", say which subject: --subject"};
}

int run_invoke(const Context& context, const Values& values) {
  auto headers = make_headers(values.all("header"));
  if (!headers) return fail(context.program, headers.error());
  std::string body = values.text("body");
  if (!values.has("body") && !is_terminal_stdin()) {
    auto input = read_stdin(kInvokeBodyMax);
    if (!input) return fail(context.program, input.error());
    body = std::move(*input);
  }
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  auto subject = subject_to_call(**workloads, values);
  if (!subject) return fail(context.program, subject.error());
  client::Session& session = (*workloads)->session();
  const MonotonicTime started = session.clock().now();
  auto reply = session.request(*subject, body, values.duration("max-wait"), *headers);
  if (!reply) return fail(context.program, reply.error());
  const client::Message view = reply->view();
  if (values.is_on("json")) {
    print_line(message_json(view));
  } else {
    if (is_terminal_stdout()) remark(*subject + " answered in " + short_duration(session.clock().now() - started));
    print(reply->payload);
    if (is_terminal_stdout() && !reply->payload.ends_with('\n')) print("\n");
  }
  const std::string_view code = view.header("Nats-Service-Error-Code");
  if (code.empty()) return 0;
  std::fflush(stdout);
  return fail(context.program, std::string(code) + " " + std::string(view.header("Nats-Service-Error")));
}

int run_invocations(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  workload::InvocationsRequest request;
  request.limit = static_cast<uint32_t>(values.number("count"));
  request.errors = values.is_on("errors");
  auto replies = (*workloads)->invocations(values.text("workload"), request);
  if (!replies) return fail(context.program, replies.error());
  if (values.is_on("json")) {
    std::string text;
    for (const auto& reply : *replies) text += (text.empty() ? "[" : ",") + workload::encode(reply);
    print_line(text + "]");
    return 0;
  }
  // Each with the replica it was on.
  std::vector<std::pair<workload::InvocationRecord, std::string>> all;
  for (auto& reply : *replies) {
    const std::string replica = std::to_string(reply.slot) + " " + reply.id;
    for (auto& one : reply.invocations) all.emplace_back(std::move(one), replica);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first.time > b.first.time; });
  if (all.size() > request.limit) all.resize(request.limit);
  if (all.empty()) {
    print_line("No invocations found");
    return 0;
  }
  Table table("Invocations");
  std::vector<std::string> header = {"Time", "Subject", "Took", "Waited", "Code", "In", "Out", "Attempt", "Error"};
  const bool has_replicas = replies->size() > 1;
  if (has_replicas) header.emplace_back("Replica");
  table.header(header);
  for (const size_t column : {2, 3, 4, 5, 6}) table.align_right(column);
  for (const auto& [one, replica] : all) {
    std::vector<std::string> row = {one.time, one.subject, short_duration(Duration(one.duration_ns)),
                                    short_duration(Duration(one.waited_ns)), std::to_string(one.code),
                                    format_bytes(one.payload_bytes), format_bytes(one.reply_bytes),
                                    one.deliveries == 0 ? "" : std::to_string(one.deliveries), one.error};
    if (has_replicas) row.push_back(replica);
    table.row(std::move(row));
  }
  print(table.text());
  return 0;
}

}  // namespace

Command invoke_command() {
  Command command{"invoke", {"call"}, "Call a function and print its answer"};
  command.arguments = {{"workload", "ID or name"}, {"body", "What it is called with; stdin when absent", false}};
  command.flags = {namespace_flag(),
                   {"subject", "Call it by this subject", Kind::Text, "SUBJECT"},
                   {"header,H", "Header of the message, K:V, repeatable", Kind::Text, "K:V", "", "", true},
                   {"max-wait", "Wait for the answer so long", Kind::Duration, "DURATION", "30s"},
                   {"json,j", "Produce JSON output"}};
  command.run = run_invoke;
  return command;
}

Command invocations_command() {
  Command command{"invocations", {}, "Show the last calls of a function"};
  command.arguments = {{"workload", "ID or name"}};
  command.flags = {namespace_flag(),
                   {"count,limit", "So many at most", Kind::Number, "COUNT", "50"},
                   {"errors", "Only those that failed"},
                   {"json,j", "Produce JSON output"}};
  command.run = run_invocations;
  return command;
}

}  // namespace brokkr::cli
