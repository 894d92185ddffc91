// brokkr reply

#include <cstdio>
#include <thread>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/files.h"
#include "cli/message_text.h"
#include "cli/template.h"
#include "cli/terminal.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

struct Answer {
  std::string payload;
  std::string headers;
};

class Replier {
 public:
  Replier(client::Session& session, const Values& values, std::string headers)
      : session_(session), values_(values), headers_(std::move(headers)), template_(session.random()) {}

  Status run() {
    const std::string subject = values_.text("subject");
    const std::string queue = values_.text("queue");
    auto subscription = session_.connection().subscribe(
        subject, [this](const client::Message& message) { on_message(message); }, {queue, 0});
    if (!subscription) return subscription.error();
    (*subscription)->on_error([this](const Error& error) { failure_ = error; });
    remark("Listening on \"" + subject + "\" in group \"" + queue + "\"");
    while (failure_.text.empty() && !(values_.has("count") && count_ >= values_.number("count"))) {
      if (session_.connection().state() == client::State::Closed) {
        return session_.connection().last_error();
      }
      session_.loop().run_once(std::chrono::seconds(60));
    }
    if (!failure_.text.empty()) return failure_;
    return session_.flush(values_.duration("timeout"));
  }

 private:
  void on_message(const client::Message& message) {
    if (values_.has("count") && count_ >= values_.number("count")) return;
    remark("[#" + std::to_string(count_) + "] Received on subject \"" +
           std::string(message.subject) + "\":");
    for (const std::string& line : header_lines(message.headers)) remark(line);
    print("\n" + std::string(message.payload) + "\n");
    std::fflush(stdout);
    auto answer = make_answer(message);
    ++count_;
    if (!answer) {
      remark("Could not make a reply: " + answer.error().text);
      return;
    }
    if (message.reply.empty()) return;
    send_later(std::string(message.reply), std::move(*answer));
  }

  Result<Answer> make_answer(const client::Message& message) {
    template_.count = count_;
    template_.now = session_.clock().wall_now();
    template_.request = message.payload;
    template_.subject = message.subject;
    Answer answer{{}, headers_};
    if (values_.is_on("echo")) {
      answer.payload = message.payload;
      if (!message.headers.empty()) answer.headers = message.headers;
      answer.headers = client::with_header(answer.headers, "NATS-Reply-Counter",
                                             std::to_string(count_));
      return answer;
    }
    if (!values_.text("command").empty()) return run_command(message);
    auto body = template_.render(values_.text("body"));
    if (!body) return body.error();
    answer.payload = std::move(*body);
    return answer;
  }

  // Each word is rendered by itself, so that what a request holds stays within its word.
  Result<Answer> run_command(const client::Message& message) {
    auto words = split_words(values_.text("command"));
    if (!words) return words.error();
    for (std::string& word : *words) {
      auto made = template_.render(word);
      if (!made) return made.error();
      word = std::move(*made);
    }
    auto result = run_program(*words, {}, {{"NATS_REQUEST_SUBJECT", std::string(message.subject)},
                                           {"NATS_REQUEST_BODY", std::string(message.payload)}});
    if (!result) return result.error();
    if (!result->is_success) return Error{Errc::System, "\"" + (*words)[0] + "\" failed"};
    return Answer{std::move(result->output), headers_};
  }

  void send_later(const std::string& reply, const Answer& answer) {
    const Duration sleep = values_.duration("sleep");
    if (sleep > Duration(0)) {
      // The loop stands still meanwhile, as the original's does.
      const Duration wait(session_.random().below(static_cast<uint64_t>(sleep.count())));
      std::this_thread::sleep_for(wait);
    }
    const Status sent = session_.connection().publish(reply, answer.payload, {{}, answer.headers});
    if (!sent) remark("Could not publish reply: " + sent.error().text);
  }

  client::Session& session_;
  const Values& values_;
  const std::string headers_;
  Template template_;
  uint64_t count_ = 0;
  Error failure_{Errc::System, ""};
};

int run_reply(const Context& context, const Values& values) {
  auto headers = make_headers(values.all("header"));
  if (!headers) return fail(context.program, headers.error());
  if (!values.has("body") && !values.is_on("echo") && !values.has("command")) {
    return fail(context.program, "supply a body, --echo or --command");
  }
  auto session = connect(context, values);
  if (!session) return fail(context.program, session.error());
  Replier replier(**session, values, std::move(*headers));
  if (Status status = replier.run(); !status) return fail(context.program, status.error());
  return 0;
}

}  // namespace

Command reply_command() {
  Command command{"reply", {}, "Generic service reply utility"};
  command.description =
      "The \"command\" supports extracting some information from the subject the request\n"
      "came in on.\n\n"
      "When the subject being listened on is \"weather.>\" a request on \"weather.london\"\n"
      "can extract the \"london\" part and use it in the command string:\n\n"
      "  nats reply 'weather.>' --command \"curl -s wttr.in/{{1}}?format=3\"\n\n"
      "Use {{.Request}} to access the request body within the --command. The command\n"
      "gets NATS_REQUEST_SUBJECT and NATS_REQUEST_BODY in its environment; it is not\n"
      "read by a shell.";
  command.arguments = {{"subject", "Subject to subscribe to"}, {"body", "Reply body", false}};
  command.flags = {
      {"echo", "Echo back what is received"},
      {"command", "Runs a command and responds with the output if exit code was 0", Kind::Text, "COMMAND"},
      {"queue,q", "Queue group name", Kind::Text, "", "NATS-RPLY-22"},
      {"sleep", "Inject a random sleep delay between replies up to this duration max", Kind::Duration, "MAX"},
      {"header,H", "Adds headers to the message using K:V format", Kind::Text, "K:V", "", "", true},
      {"count", "Quit after receiving this many messages", Kind::Number, "COUNT"},
  };
  command.run = run_reply;
  return command;
}

}  // namespace brokkr::cli
