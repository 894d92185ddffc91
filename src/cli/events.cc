// brokkr events: advisories of servers and of JetStream; for the program's own nodes see feed.cc.

#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/event_text.h"
#include "cli/feed.h"
#include "cli/jetstream_api.h"
#include "cli/pattern.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"
#include "client/ordered_consumer.h"

namespace brokkr::cli {
namespace {

constexpr const char* kAdvisories = "$JS.EVENT.ADVISORY";
constexpr const char* kMetrics = "$JS.EVENT.METRIC";

// Prints what passes the filter.
class EventPrinter {
 public:
  EventPrinter(const Values& values, Pattern filter)
      : filter_(std::move(filter)),
        is_json_(values.is_on("json")),
        format_(values.is_on("cloudevent") ? EventFormat::CloudEvent
                : values.is_on("short")    ? EventFormat::Short
                                           : EventFormat::Extended) {}

  bool is_quiet() const { return is_json_ || format_ == EventFormat::CloudEvent; }
  uint64_t count() const { return count_; }

  void show(std::string_view subject, std::string_view payload) {
    if (!filter_.matches(payload)) return;
    ++count_;
    print_line(printed_text(subject, payload));
    std::fflush(stdout);
  }

 private:
  std::string printed_text(std::string_view subject, std::string_view payload) const {
    if (is_json_ && format_ != EventFormat::CloudEvent) return std::string(payload);
    auto event = json::parse(payload);
    std::string why;
    if (!event) {
      why = "parsing failed: " + event.error().text;
    } else {
      std::string text = event_text(*event, format_);
      if (!text.empty()) return text;
      why = "unknown event schema on subject " + std::string(subject);
    }
    std::string out = "Event error: " + why + "\n\n";
    const auto lines = split(payload, '\n');
    for (size_t i = 0; i < lines.size(); ++i)
      out += (i == 0 ? "" : "\n") + std::string(10, ' ') + std::string(lines[i]);
    return out;
  }

  Pattern filter_;
  bool is_json_;
  EventFormat format_;
  uint64_t count_ = 0;
};

struct EventSubject {
  std::string title;
  std::string subject;
};

// A prefix of one's own for JetStream's events, as an import may give them.
std::string with_prefix(const Values& values, const char* subject) {
  std::string prefix = values.text("js-event-prefix");
  while (prefix.ends_with('.'))
    prefix.pop_back();
  if (prefix.empty()) return subject;
  return prefix + std::string(subject).substr(std::string_view("$JS.EVENT").size());
}

std::vector<EventSubject> chosen_subjects(const Values& values) {
  const bool is_all = values.is_on("all");
  std::vector<EventSubject> out;
  if (is_all || values.is_on("js-advisory"))
    out.push_back({"Advisories", with_prefix(values, kAdvisories) + ".>"});
  if (is_all || values.is_on("js-metric"))
    out.push_back({"Metrics", with_prefix(values, kMetrics) + ".>"});
  if (is_all || values.is_on("srv-advisory")) {
    out.push_back({"Client Connection events", "$SYS.ACCOUNT.*.CONNECT"});
    out.push_back({"Client Disconnection events", "$SYS.ACCOUNT.*.DISCONNECT"});
    out.push_back({"Authentication Errors events", "$SYS.SERVER.*.CLIENT.AUTH.ERR"});
  }
  for (const std::string& subject : values.all("subjects"))
    out.push_back({"advisories", subject});
  return out;
}

// Until the connection is gone or enough was shown.
int wait_for_events(const Context& context, const Values& values, client::Session& session,
                    const EventPrinter& printer) {
  while (session.connection().state() != client::State::Closed) {
    if (values.has("count") && printer.count() >= values.number("count")) return 0;
    session.loop().run_once(std::chrono::seconds(60));
  }
  return fail(context.program, session.connection().last_error());
}

int read_stream(const Context& context, const Values& values, EventPrinter& printer) {
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, js.error());
  const std::string stream = values.text("stream");
  client::OrderedOptions options;
  std::string since;
  if (values.has("since")) {
    const WallTime start = SystemClock().wall_now() - values.duration("since");
    options.deliver_policy = client::DeliverPolicy::ByStartTime;
    options.opt_start_time = start;
    since = " since " + local_date_text(start);
  }
  if (!printer.is_quiet()) print_line("Listening for Events in stream " + stream + since);
  std::optional<Error> end;
  client::OrderedHandlers handlers;
  handlers.on_message = [&](const client::Message& message, const client::Delivery&) {
    printer.show(message.subject, message.payload);
  };
  handlers.on_end = [&](const client::ApiError& error) { end = error; };
  client::JetStreamOptions place;
  place.api_prefix = js->subject("").substr(0, js->subject("").size() - 1);
  const client::JetStream client_js(js->session().connection(), place);
  const auto consumer =
      client::OrderedConsumer::start(client_js, stream, std::move(options), std::move(handlers));
  while (!end && js->session().connection().state() != client::State::Closed) {
    if (values.has("count") && printer.count() >= values.number("count")) return 0;
    js->session().loop().run_once(std::chrono::seconds(60));
  }
  return fail(context.program, end ? *end : js->session().connection().last_error());
}

int run_nats_events(const Context& context, const Values& values) {
  auto filter = Pattern::make(values.text("filter"), true);
  if (!filter) return fail(context.program, filter.error());
  EventPrinter printer(values, std::move(*filter));
  const bool has_subjects = values.is_on("all") || values.is_on("js-advisory") ||
                            values.is_on("js-metric") || values.has("subjects");
  const std::string stream = values.text("stream");
  if (!stream.empty() && has_subjects) {
    return fail(context.program,
                "cannot specify both Stream and specific advisories or extra subjects");
  }
  if (!stream.empty()) return read_stream(context, values, printer);
  const auto chosen = chosen_subjects(values);
  if (chosen.empty()) return fail(context.program, "no events were chosen");
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  std::vector<std::unique_ptr<client::Subscription>> subscriptions;
  for (const EventSubject& one : chosen) {
    if (!printer.is_quiet()) print_line("Listening for " + one.title + " on " + one.subject);
    auto subscription = (*session)->connection().subscribe(
        one.subject,
        [&](const client::Message& message) { printer.show(message.subject, message.payload); });
    if (!subscription) return fail(context.program, subscription.error());
    subscriptions.push_back(std::move(*subscription));
  }
  std::fflush(stdout);
  return wait_for_events(context, values, **session, printer);
}

// The nats CLI knows no other events than servers', nex none but nodes'; otherwise flags that only
// the former has choose them.
int run_events(const Context& context, const Values& values) {
  if (context.program == "nex") return run_workload_events(context, values);
  bool is_chosen = context.program == "nats";
  for (const char* flag : {"all", "js-metric", "js-advisory", "srv-advisory", "subjects", "stream",
                           "short", "cloudevent", "filter", "since"}) {
    is_chosen |= values.has(flag);
  }
  return is_chosen ? run_nats_events(context, values) : run_workload_events(context, values);
}

}  // namespace

Command events_command() {
  Flag subjects{"subjects", "Show Advisories and Metrics received on specific subjects", Kind::Text,
                "SUBJECTS"};
  subjects.is_repeated = true;
  Command command{
      "events", {"event", "e"}, "Show events of nodes and workloads, or of servers and JetStream"};
  command.description =
      "Without flags: events of nodes and workloads, as they happen. With one that chooses them: "
      "advisories of\n"
      "servers (--srv-advisory; they need a system account) and of JetStream (--js-advisory, "
      "--js-metric), or all.";
  command.flags = {{"all,a", "Show all events of servers and JetStream"},
                   {"json,j", "Produce JSON output"},
                   {"cloudevent", "Produce CloudEvents v1 output"},
                   {"short", "Short event format"},
                   {"filter", "Filter across the entire event using regular expressions",
                    Kind::Text, "FILTER", "."},
                   {"js-metric", "Shows JetStream metric events"},
                   {"js-advisory", "Shows advisory events"},
                   {"srv-advisory", "Shows NATS Server advisories", Kind::Bool, "", "true"},
                   subjects,
                   {"stream", "Reads events from a Stream only", Kind::Text, "STREAM"},
                   {"since", "When reading a Stream reads from a certain duration ago",
                    Kind::Duration, "DURATION"},
                   namespace_flag(),
                   {"count", "Quit after so many events", Kind::Number, "COUNT"}};
  command.run = run_events;
  return command;
}

}  // namespace brokkr::cli
