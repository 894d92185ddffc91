// brokkr sub

#include <cstdio>
#include <memory>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/message_text.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

class Subscriber {
 public:
  Subscriber(client::Session& session, const Values& values)
      : session_(session), values_(values), started_(session.clock().now()) {}

  Status start(std::vector<std::string> subjects) {
    if (!values_.text("translate").empty()) {
      auto words = split_words(values_.text("translate"));
      if (!words) return words.error();
      translate_ = std::move(*words);
    }
    std::string list;
    for (const std::string& subject : subjects) {
      auto subscription = session_.connection().subscribe(
          subject, [this](const client::Message& message) { on_message(message); },
          {values_.text("queue"), 0});
      if (!subscription) return subscription.error();
      (*subscription)->on_error([this](const Error& error) { failure_ = error; });
      subscriptions_.push_back(std::move(*subscription));
      (list += list.empty() ? "" : ", ") += subject;
    }
    if (!values_.is_on("raw") && !values_.is_on("json")) remark("Subscribing on " + list + " ");
    return {};
  }

  // Until --count messages came, --wait passed without one, or something failed.
  Status run() {
    const Duration wait = values_.duration("wait");
    last_ = session_.clock().now();
    while (!is_done_ && failure_.text.empty()) {
      if (session_.connection().state() == client::State::Closed) {
        return session_.connection().last_error();
      }
      Duration slice = std::chrono::seconds(60);
      if (wait > Duration(0)) {
        slice = last_ + wait - session_.clock().now();
        if (slice <= Duration(0)) break;
      }
      session_.loop().run_once(slice);
      std::fflush(stdout);
    }
    if (!failure_.text.empty()) return failure_;
    return {};
  }

 private:
  bool is_ignored(const client::Message& message) const {
    for (const std::string& pattern : values_.all("ignore-subject")) {
      if (message.matches(pattern)) return true;
    }
    return false;
  }

  void on_message(const client::Message& message) {
    if (is_done_ || is_ignored(message)) return;
    last_ = session_.clock().now();
    ++count_;
    auto payload = translate(translate_, message.payload);
    if (!payload) {
      failure_ = payload.error();
      return;
    }
    client::Message shown = message;
    shown.payload = *payload;
    show(shown);
    is_done_ = values_.has("count") && count_ >= values_.number("count");
  }

  void show(const client::Message& message) {
    if (values_.is_on("json")) return print_line(message_json(message));
    if (values_.is_on("raw")) {
      return print_line(message.payload.empty() ? "nil body" : message.payload);
    }
    std::string line = "[#" + std::to_string(count_) + "]";
    if (values_.is_on("timestamp")) {
      line += " @ " + local_stamp_text(session_.clock().wall_now());
    } else if (values_.is_on("delta-time")) {
      line += " @ " + format_go_duration(session_.clock().now() - started_);
    }
    line += " Received on \"" + std::string(message.subject) + "\"";
    if (!message.reply.empty()) line += " with reply \"" + std::string(message.reply) + "\"";
    print_line(line);
    if (values_.is_on("subjects-only")) return;
    const auto headers = header_lines(message.headers);
    for (const std::string& header : headers) print_line(header);
    if (!headers.empty()) print_line("");
    if (!values_.is_on("headers-only")) print(body_text(message.payload));
  }

  client::Session& session_;
  const Values& values_;
  const MonotonicTime started_;
  MonotonicTime last_;
  std::vector<std::string> translate_;
  std::vector<std::unique_ptr<client::Subscription>> subscriptions_;
  uint64_t count_ = 0;
  bool is_done_ = false;
  Error failure_{Errc::System, ""};
};

int run_subscribe(const Context& context, const Values& values) {
  for (const char* flag : {"stream", "durable", "all", "new", "last"}) {
    if (values.has(flag)) {
      return fail(context.program, std::string("--") + flag + " needs JetStream, which comes with release 0.2");
    }
  }
  std::vector<std::string> subjects = values.all("subjects");
  if (subjects.empty() && !values.is_on("inbox")) {
    return fail(context.program, "no subjects provided");
  }
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  if (values.is_on("inbox")) subjects.push_back((*session)->connection().make_inbox());
  Subscriber subscriber(**session, values);
  if (Status status = subscriber.start(subjects); !status) {
    return fail(context.program, status.error());
  }
  if (Status status = subscriber.run(); !status) return fail(context.program, status.error());
  return 0;
}

}  // namespace

Command subscribe_command() {
  Command command{"subscribe", {"sub"}, "Generic subscription client"};
  command.arguments = {{"subjects", "Subjects to subscribe to", false, true}};
  command.flags = {
      {"queue", "Subscribe to a named queue group", Kind::Text, "QUEUE"},
      {"raw,r", "Show the raw data received"},
      {"json", "Show each message as one line of JSON"},
      {"translate", "Translate the message data by running it through the given command before output",
       Kind::Text, "TRANSLATE"},
      {"inbox,i", "Subscribes to a generated inbox"},
      {"count", "Quit after receiving this many messages", Kind::Number, "COUNT"},
      {"headers-only", "Do not render any data, shows only headers"},
      {"subjects-only", "Prints only the messages' subjects"},
      {"ignore-subject,I", "Subjects for which corresponding messages will be ignored and therefore not shown in the output",
       Kind::Text, "SUBJECT", "", "", true},
      {"wait", "Unsubscribe after this amount of time without any traffic", Kind::Duration, "WAIT"},
      {"timestamp,t", "Show timestamps in output"},
      {"delta-time,d", "Show time since start in output"},
      {"stream", "Subscribe to a specific stream", Kind::Text, "", "", "", false, true},
      {"durable", "Use a durable consumer", Kind::Text, "", "", "", false, true},
      {"all", "Delivers all messages found in the Stream", Kind::Bool, "", "", "", false, true},
      {"new", "Delivers only future messages", Kind::Bool, "", "", "", false, true},
      {"last", "Delivers the most recent and all future messages", Kind::Bool, "", "", "", false, true},
  };
  command.run = run_subscribe;
  return command;
}

}  // namespace brokkr::cli
