// brokkr trace: sends a message whose way every server reports.

#include <algorithm>

#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/terminal.h"
#include "cli/trace_text.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

Result<std::string> trace_headers(const Values& values, const std::string& destination) {
  client::HeaderWriter headers;
  for (const std::string& text : values.all("header")) {
    const size_t at = text.find_first_of(":=");
    if (at == std::string::npos || !headers.add(text.substr(0, at), text.substr(at + 1))) {
      return Error{Errc::InvalidArgument, "invalid header \"" + text + "\", should be K:V"};
    }
  }
  if (!headers.add("Nats-Trace-Dest", destination))
    return Error{Errc::InvalidArgument, "no inbox for the trace"};
  if (!values.is_on("deliver") && !headers.add("Nats-Trace-Only", "true")) {
    return Error{Errc::InvalidArgument, "no header for the trace"};
  }
  return headers.take();
}

void print_trace(const MessageTrace& trace, bool has_times) {
  print(trace.text(has_times));
  print(
      "\nLegend: Client: --C Router: --> Gateway: ==> Leafnode: ~~> JetStream: --J Error: --X\n\n");
  const auto& counts = trace.egress_counts();
  if (counts.empty()) return;
  std::vector<std::pair<std::string, int64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  Columns out("Egress Count:");
  for (const auto& [kind, count] : sorted)
    out.row(kind, count);
  print(out.text());
  const auto streams = counts.find("JetStream");
  if (streams != counts.end() && streams->second > 1) {
    print("WARNING: The message was received by " + std::to_string(streams->second) + " streams\n");
  }
}

int run_trace(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  client::Connection& connection = (*session)->connection();
  const std::string inbox = connection.make_inbox();
  MessageTrace trace;
  auto subscription = connection.subscribe(inbox, [&](const client::Message& message) {
    if (values.is_on("trace")) print_line(">>> " + std::string(message.payload));
    if (auto event = json::parse(message.payload)) trace.add(std::move(*event));
  });
  if (!subscription) return fail(context.program, subscription.error());
  auto headers = trace_headers(values, inbox);
  if (!headers) return fail(context.program, headers.error());
  const std::string subject = values.text("subject");
  print("Tracing message route to subject " + subject + " " +
        (values.is_on("deliver") ? "with delivery to the final destination" : "") + "\n\n");
  // The interest must be known before the message is on its way.
  if (Status ready = (*session)->flush(values.duration("timeout")); !ready)
    return fail(context.program, ready.error());
  if (Status sent = connection.publish(subject, values.text("payload"), {{}, *headers}); !sent)
    return fail(context.program, sent.error());
  client::run_until((*session)->loop(), values.duration("timeout"),
                    [&] { return trace.is_complete(); });
  if (!trace.has_origin()) {
    return fail(context.program,
                "nats: timeout: no trace came back; the server does not trace messages, or this "
                "user may not "
                "publish to " +
                    subject);
  }
  print_trace(trace, values.is_on("timestamp"));
  return 0;
}

}  // namespace

Command trace_command() {
  Flag header{"header,H", "Adds headers to the trace message using K:V format", Kind::Text,
              "HEADER"};
  header.is_repeated = true;
  Command command{"trace", {}, "Trace message delivery within an NATS network"};
  command.arguments = {{"subject", "The subject to publish to"},
                       {"payload", "The message body to send", false}};
  command.flags = {{"deliver", "Deliver the message to the final destination"},
                   {"timestamp,T", "Show event timestamps"},
                   header};
  command.run = run_trace;
  return command;
}

}  // namespace brokkr::cli
