// brokkr req, brokkr rtt

#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/message_text.h"
#include "cli/template.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kRequestBodyMax = 64 << 20;

class Requester {
 public:
  Requester(const Context& context, client::Session& session, const Values& values,
            std::string headers, std::vector<std::string> translate_words)
      : context_(context),
        session_(session),
        values_(values),
        headers_(std::move(headers)),
        translate_(std::move(translate_words)),
        is_quiet_(values.is_on("raw") || values.is_on("json")),
        template_(session.random()) {}

  // The exit code of one request with all its replies.
  int request(const std::string& body_template) {
    ++template_.count;
    template_.now = session_.clock().wall_now();
    std::string subject = values_.text("subject");
    std::string body = body_template;
    if (values_.is_on("templates")) {
      auto made = template_.render(body_template);
      if (!made) return fail(context_.program, made.error());
      body = std::move(*made);
    }
    if (!is_quiet_) remark("Sending request on \"" + subject + "\"");
    started_ = session_.clock().now();
    is_service_error_ = false;
    client::ManyOptions many;
    many.timeout = values_.duration("timeout");
    many.replies_max = values_.number("replies");
    many.until_empty = values_.is_on("wait-for-empty");
    if (many.until_empty) many.replies_max = 0;
    if (many.replies_max > 1) many.stall = values_.duration("reply-timeout");
    std::optional<Status> end;
    auto sent = session_.connection().request_many(
        subject, body, many, [this](const client::Message& reply) { show(reply); },
        [&](const Status& status) { end = status; }, headers_);
    if (!sent) return fail(context_.program, sent.error());
    while (!end) session_.loop().run_once(many.timeout);
    std::fflush(stdout);
    if (!*end && end->error().code == Errc::NoResponders) {
      remark("No responders are available");
      return 1;
    }
    if (!*end) return fail(context_.program, end->error());
    if (!translate_error_.empty()) return fail(context_.program, translate_error_);
    return is_service_error_ ? 1 : 0;
  }

 private:
  void show(const client::Message& reply) {
    const Duration rtt = session_.clock().now() - started_;
    is_service_error_ |= !reply.header("Nats-Service-Error-Code").empty();
    auto payload = translate(translate_, reply.payload);
    if (!payload) {
      translate_error_ = payload.error().text;
      return;
    }
    client::Message shown = reply;
    shown.payload = *payload;
    if (values_.is_on("json")) return print_line(message_json(shown));
    if (!is_quiet_) {
      remark("Received with rtt " + format_go_duration(rtt));
      const auto lines = header_lines(reply.headers);
      for (const std::string& line : lines) remark(line);
      if (!lines.empty()) remark("");
    }
    print(body_text(shown.payload));
  }

  const Context& context_;
  client::Session& session_;
  const Values& values_;
  const std::string headers_;
  const std::vector<std::string> translate_;
  const bool is_quiet_;
  Template template_;
  MonotonicTime started_;
  bool is_service_error_ = false;
  std::string translate_error_;
};

int run_request(const Context& context, const Values& values) {
  auto headers = make_headers(values.all("header"));
  if (!headers) return fail(context.program, headers.error());
  std::vector<std::string> words;
  if (!values.text("translate").empty()) {
    auto split = split_words(values.text("translate"));
    if (!split) return fail(context.program, split.error());
    words = std::move(*split);
  }
  const bool by_line = values.text("send-on") == "newline";
  const bool is_from_stdin =
      values.is_on("force-stdin") || (!values.has("body") && !is_terminal_stdin());
  std::string body = values.text("body");
  if (is_from_stdin && !by_line) {
    if (!values.is_on("raw") && !values.is_on("json")) remark("Reading payload from STDIN");
    auto input = read_stdin(kRequestBodyMax);
    if (!input) return fail(context.program, input.error());
    body = std::move(*input);
  }
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  Requester requester(context, **session, values, std::move(*headers), std::move(words));
  int code = 0;
  if (is_from_stdin && by_line) {
    while (auto line = read_stdin_line()) code |= requester.request(*line);
    return code;
  }
  const uint64_t count = values.number("count");
  for (uint64_t i = 0; i < count; ++i) code |= requester.request(body);
  return code;
}

int run_rtt(const Context& context, const Values& values) {
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  const uint64_t iterations = values.has("iterations") ? values.number("iterations") : 5;
  if (iterations == 0) return fail(context.program, "iterations: at least 1");
  Duration total{};
  for (uint64_t i = 0; i < iterations; ++i) {
    auto time = (*session)->round_trip(values.duration("timeout"));
    if (!time) return fail(context.program, time.error());
    total += *time;
  }
  const Duration average = total / static_cast<int64_t>(iterations);
  const std::string url = (*session)->connection().server_text();
  if (!values.is_on("json")) {
    print(url + ":\n\n   " + url + ": " + short_duration(average) + "\n\n");
    return 0;
  }
  json::Writer out({2, true});
  out.begin_array().begin_object().field("url", url).key("results").begin_array();
  out.begin_object();
  out.field("time", format_rfc3339((*session)->clock().wall_now())).field("address", url);
  out.field("rtt", static_cast<int64_t>(average.count())).field("url", url);
  out.end_object().end_array().end_object().end_array();
  print_line(out.text());
  return 0;
}

}  // namespace

Command request_command() {
  Command command{"request", {"req"}, "Generic request-reply request utility"};
  command.description =
      "Body and Header values of the messages may use Go templates to create unique\n"
      "messages; see 'publish --help' for the functions.\n\n"
      "  nats request test --count 10 \"Message {{Count}} @ {{Time}}\"";
  command.arguments = {{"subject", "Subject to send the request to"}, {"body", "Message body", false}};
  command.flags = {
      {"raw,r", "Show just the output received"},
      {"json", "Show each reply as one line of JSON"},
      {"header,H", "Adds headers to the message using K:V format", Kind::Text, "K:V", "", "", true},
      {"count", "Publish multiple messages", Kind::Number, "", "1"},
      {"replies", "Wait for multiple replies from services. 0 waits until timeout", Kind::Number, "", "1"},
      {"reply-timeout", "Maximum time between replies when waiting for more than one",
       Kind::Duration, "", "300ms"},
      {"wait-for-empty", "Wait for multiple replies until a empty message is received"},
      {"translate", "Translate the message data by running it through the given command before output",
       Kind::Text, "TRANSLATE"},
      {"force-stdin", "Force reading from stdin"},
      {"send-on", "When to send data from stdin: 'eof' (default) or 'newline'", Kind::Text, "", "eof"},
      {"templates", "Enables template functions in the body", Kind::Bool, "", "true"},
  };
  command.run = run_request;
  return command;
}

Command rtt_command() {
  Command command{"rtt", {}, "Compute round-trip time to NATS server"};
  command.arguments = {{"iterations", "How many round trips to do when testing", false}};
  command.flags = {{"json,j", "Produce JSON output"}};
  command.run = run_rtt;
  return command;
}

}  // namespace brokkr::cli
