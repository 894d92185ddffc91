// brokkr pub

#include <cstdio>
#include <vector>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/publish_jetstream.h"
#include "cli/template.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kStdinMax = 64 << 20;
constexpr size_t kPublishPendingMax = 4 << 20;

class Publisher {
 public:
  Publisher(client::Session& session, const Values& values, std::string headers)
      : session_(session), values_(values), headers_(std::move(headers)), template_(session.random()) {}

  Status publish(const std::string& body) {
    ++template_.count;
    template_.now = session_.clock().wall_now();
    std::string subject = values_.text("subject");
    std::string payload = body;
    if (values_.is_on("templates")) {
      auto made = template_.render(body);
      if (!made) return made.error();
      payload = std::move(*made);
      auto made_subject = template_.render(subject);
      if (!made_subject) return made_subject.error();
      subject = std::move(*made_subject);
    }
    if (is_atomic_) {
      if (!values_.is_on("quiet")) {
        remark("Adding " + std::to_string(payload.size()) + " bytes to batch on subject \"" + subject + "\"");
      }
      batch_.push_back(std::move(payload));
      return {};
    }
    if (is_stored_) return publish_stored(subject, payload);
    const Status sent = session_.connection().publish(subject, payload,
                                                      {values_.text("reply"), headers_});
    if (!sent) return sent;
    remark_published(subject, payload);
    // Keeps memory small however many there are.
    if (session_.connection().pending_bytes() > kPublishPendingMax) {
      return session_.flush(values_.duration("timeout"));
    }
    return {};
  }

  Status finish() {
    if (is_atomic_) return store_batch(session_, values_, values_.text("subject"), batch_, headers_);
    return session_.flush(values_.duration("timeout"));
  }

  // Between two messages: --sleep and up to --jitter on top of it.
  void pause() {
    Duration wait = values_.duration("sleep");
    const Duration jitter = values_.duration("jitter");
    if (jitter > Duration(0)) {
      wait += Duration(session_.random().below(static_cast<uint64_t>(jitter.count())));
    }
    if (wait > Duration(0)) client::run_until(session_.loop(), wait, [] { return false; });
  }

 private:
  void remark_published(const std::string& subject, const std::string& payload) {
    if (values_.is_on("quiet")) return;
    remark("Published " + std::to_string(payload.size()) + " bytes to \"" + subject + "\"");
  }

  Status publish_stored(const std::string& subject, const std::string& payload) {
    std::string headers = headers_;
    if (has_schedule_flags(values_)) {
      auto block = with_schedule(values_, headers_, template_.now);
      if (!block) return block.error();
      headers = std::move(*block);
    }
    remark_published(subject, payload);
    return store_message(session_, values_, subject, payload, headers);
  }

  client::Session& session_;
  const Values& values_;
  const std::string headers_;
  const bool is_atomic_ = values_.is_on("atomic");
  const bool is_stored_ = values_.is_on("jetstream") || has_schedule_flags(values_);
  Template template_;
  std::vector<std::string> batch_;
};

Status publish_lines(Publisher& publisher) {
  while (auto line = read_stdin_line()) {
    if (Status sent = publisher.publish(*line); !sent) return sent;
  }
  return publisher.finish();
}

Status publish_count(client::Session& session, Publisher& publisher, const Values& values,
                     const std::string& body) {
  const uint64_t count = values.number("count");
  ProgressBar bar("Publishing", count, count >= 1000 && values.is_on("quiet"));
  for (uint64_t i = 0; i < count; ++i) {
    if (i > 0) publisher.pause();
    if (Status sent = publisher.publish(body); !sent) return sent;
    bar.update(i + 1, session.clock().now());
  }
  return publisher.finish();
}

int run_publish(const Context& context, const Values& values) {
  if (has_schedule_flags(values)) {
    auto checked = with_schedule(values, "", WallTime());
    if (!checked) return fail(context.program, checked.error());
  }
  auto headers = make_headers(values.all("header"));
  if (!headers) return fail(context.program, headers.error());
  const bool by_line = values.text("send-on") == "newline";
  const bool is_from_stdin =
      values.is_on("force-stdin") || (!values.has("body") && !is_terminal_stdin());
  if (values.is_on("atomic") && !(is_from_stdin && by_line)) {
    return fail(context.program, "atomic batch publishing requires JetStream and STDIN with --send-on=newline");
  }
  std::string body = values.text("body");
  if (is_from_stdin && !by_line) {
    if (!values.is_on("quiet")) remark("Reading payload from STDIN");
    auto input = read_stdin(kStdinMax);
    if (!input) return fail(context.program, input.error());
    body = std::move(*input);
  }
  uint64_t errors = 0;
  auto session = connect(context, values, &errors);
  if (!session) return fail(context.program, session.error());
  Publisher publisher(**session, values, std::move(*headers));
  const Status status = is_from_stdin && by_line
                            ? publish_lines(publisher)
                            : publish_count(**session, publisher, values, body);
  if (!status) return fail(context.program, status.error());
  return errors == 0 ? 0 : 1;
}

}  // namespace

Command publish_command() {
  Command command{"publish", {"pub"}, "Generic data publish utility"};
  command.description =
      "Body and Header values of the messages may use Go templates to create unique\n"
      "messages.\n\n"
      "  nats pub test --count 10 \"Message {{Count}} @ {{Time}}\"\n\n"
      "Multiple messages with random strings between 10 and 100 long:\n\n"
      "  nats pub test --count 10 \"Message {{Count}}: {{ Random 10 100 }}\"\n\n"
      "Available template functions are:\n\n"
      "  Count            the message number\n"
      "  TimeStamp        RFC3339 format current time\n"
      "  Unix             seconds since 1970 in UTC\n"
      "  UnixNano         nano seconds since 1970 in UTC\n"
      "  Time             the current time\n"
      "  ID               an unique ID\n"
      "  Random(min, max) random string at least min long, at most max";
  command.arguments = {{"subject", "Subject to publish to"}, {"body", "Message body", false}};
  command.flags = {
      {"reply,reply-to", "Sets a custom reply to subject", Kind::Text, "SUBJECT"},
      {"header,H", "Adds headers to the message using K:V format", Kind::Text, "K:V", "", "", true},
      {"count", "Publish multiple messages", Kind::Number, "", "1"},
      {"force-stdin", "Force reading from stdin"},
      {"jetstream,J", "Publish messages to JetStream"},
      {"jitter", "When publishing multiple messages, adds a random delay of up to this duration "
                 "between publishes, in addition to --sleep", Kind::Duration, "DURATION"},
      {"quiet,q", "Show just the output received"},
      {"send-on", "When to send data from stdin: 'eof' (default) or 'newline'", Kind::Text, "", "eof"},
      {"sleep", "When publishing multiple messages, sleep between publishes", Kind::Duration, "SLEEP"},
      {"templates", "Enables template functions in the body and subject (does not affect headers)",
       Kind::Bool, "", "true"},
  };
  for (Flag& flag : schedule_flags()) command.flags.push_back(std::move(flag));
  command.run = run_publish;
  return command;
}

}  // namespace brokkr::cli
