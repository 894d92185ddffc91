// brokkr consumer next, sub: messages of a consumer, shown and acknowledged.

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/consumer_commands.h"
#include "cli/json_shape.h"
#include "cli/message_text.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

// What the reply subject of a delivered message says.
struct Delivery {
  uint64_t tries = 0;
  uint64_t stream_seq = 0;
  uint64_t consumer_seq = 0;
  uint64_t pending = 0;
};

std::optional<Delivery> parse_delivery(std::string_view reply) {
  auto tokens = split(reply, '.');
  if (tokens.size() < 9 || tokens[0] != "$JS" || tokens[1] != "ACK") return std::nullopt;
  // With eleven and more, the domain and the account's hash stand before the stream.
  const size_t at = tokens.size() >= 11 ? 6 : 4;
  const auto number = [&](size_t i) { return parse_uint(tokens[i]).value_or(0); };
  return Delivery{number(at), number(at + 1), number(at + 2), number(at + 4)};
}

std::string delivery_line(const client::Message& message, WallTime now) {
  const auto delivery = parse_delivery(message.reply);
  const std::string subject(message.subject);
  if (!delivery) return "--- subject: " + subject + (message.reply.empty() ? "" : " reply: " + std::string(message.reply));
  return "[" + local_clock_text(now) + "] subj: " + subject + " / tries: " + std::to_string(delivery->tries) +
         " / cons seq: " + std::to_string(delivery->consumer_seq) +
         " / str seq: " + std::to_string(delivery->stream_seq) + " / pending: " + comma(delivery->pending);
}

// How `next` ends each message.
struct Acknowledgment {
  bool is_term = false;
  bool is_nak = false;
  bool is_ack = false;
  Duration wait_max{};
};

class NextReader {
 public:
  NextReader(const Context& context, const Values& values, JetStream& js, std::string stream, std::string name)
      : context_(context), values_(values), js_(js), stream_(std::move(stream)), name_(std::move(name)) {}

  int read(const Acknowledgment& how) {
    auto message = pull();
    if (!message) return fail(context_.program, message.error());
    show(*message);
    return end(*message, how);
  }

 private:
  client::Session& session() { return js_.session(); }

  // Only a pull consumer that exists has a next message.
  Error reason(const Error& otherwise) {
    auto info = consumer_info(js_, stream_, name_);
    if (!info) return prefixed("could not load consumer \"" + name_ + "\"", info.error());
    const json::Value* config = info->find("config");
    if (config != nullptr && !is_pull(*config)) {
      return {Errc::InvalidArgument, "consumer \"" + name_ + "\" is not a Pull consumer"};
    }
    return otherwise;
  }

  // A delivered message has its own subject, so it needs an inbox of its own.
  Result<client::OwnedMessage> pull() {
    std::optional<client::OwnedMessage> answer;
    const std::string inbox = session().connection().make_inbox();
    auto subscription = session().connection().subscribe(
        inbox, [&](const client::Message& message) { answer = client::OwnedMessage(message); });
    if (!subscription) return subscription.error();
    (*subscription)->unsubscribe_after(1);
    Draft body;
    body.number("expires", js_.timeout().count());
    body.number("batch", 1);
    const Status sent = session().connection().publish(js_.subject("CONSUMER.MSG.NEXT." + stream_ + "." + name_),
                                                       body.text(), {inbox, {}});
    if (!sent) return sent.error();
    client::run_until(session().loop(), js_.timeout(), [&] { return answer.has_value(); });
    const Error late{Errc::Unavailable, "no message received: nats: timeout"};
    if (!answer) return reason(late);
    const int status = answer->view().status();
    if (status == 0) return std::move(*answer);
    if (status == 408 || status == 404) return reason(late);
    std::string text = "no message received:";
    for (const std::string& line : header_lines(answer->headers)) text += " " + line;
    return reason({Errc::Unavailable, text});
  }

  void show(const client::OwnedMessage& message) {
    if (!values_.is_on("raw")) {
      print_line(delivery_line(message.view(), session().clock().wall_now()));
      if (const auto headers = header_lines(message.headers); !headers.empty()) {
        print("\nHeaders:\n\n");
        for (const std::string& line : headers) print_line("  " + line);
        print("\nData:\n\n");
      }
      print("\n");
    }
    print_line(message.payload);
    std::fflush(stdout);
  }

  Status answer(const client::OwnedMessage& message, std::string_view word) {
    if (message.reply.empty()) return Error{Errc::InvalidArgument, "nats: message does not have a reply"};
    if (Status sent = session().connection().publish(message.reply, word); !sent) return sent;
    return session().flush(js_.timeout());
  }

  int end(const client::OwnedMessage& message, const Acknowledgment& how) {
    if (how.is_term) {
      const Status sent = answer(message, "+TERM");
      if (!sent) return fail(context_.program, prefixed("could not Terminate message", sent.error()));
      print("\nTerminated message\n");
    }
    if (!how.is_ack && !how.is_nak) return 0;
    Duration wait{};
    if (how.wait_max > Duration(0)) {
      wait = Duration(session().random().below(static_cast<uint64_t>(how.wait_max.count())));
      client::run_until(session().loop(), wait, [] { return false; });
    }
    const Status sent = answer(message, how.is_nak ? "-NAK" : "+ACK");
    if (!sent) return fail(context_.program, prefixed("could not Acknowledge message", sent.error()));
    if (!values_.is_on("raw")) {
      print(std::string(how.is_nak ? "\nNegative " : "\n") + "Acknowledged message" +
            (wait > Duration(0) ? " after " + format_go_duration(wait) + " delay" : "") + "\n\n");
    }
    return 0;
  }

  const Context& context_;
  const Values& values_;
  JetStream& js_;
  const std::string stream_;
  const std::string name_;
};

// One delivered message of a push consumer; false for a heartbeat or flow control.
bool show_pushed(client::Session& session, const client::Message& message, bool is_raw) {
  if (message.payload.empty() && message.status() == 100) {
    const auto stalled = message.header("Nats-Consumer-Stalled");
    const std::string to(stalled.empty() ? message.reply : stalled);
    if (!to.empty()) static_cast<void>(session.connection().publish(to, ""));
    return false;
  }
  if (is_raw) {
    print_line(message.payload);
    return true;
  }
  print_line(delivery_line(message, session.clock().wall_now()));
  if (const auto headers = header_lines(message.headers); !headers.empty()) {
    print("\nHeaders:\n\n");
    for (const std::string& line : headers) print_line("   " + line);
    print("\nData:\n");
  }
  print_line(message.payload);
  if (!message.payload.ends_with('\n')) print("\n");
  return true;
}

int subscribe_pushed(const Context& context, const Values& values, ConsumerTask& task, bool is_acking) {
  const json::Value& config = task.config();
  const std::string subject(config.get_string("deliver_subject"));
  const bool is_raw = values.is_on("raw");
  if (!is_raw) {
    const auto policy = config.get_string("ack_policy");
    print("Subscribing to topic " + subject + " auto acknowledgment: " + (is_acking ? "true" : "false") +
          "\n\nConsumer Info:\n  Ack Policy: " + ack_policy_text(policy) + "\n");
    if (policy != "none") print_line("    Ack Wait: " + format_go_duration(Duration(config.get_int("ack_wait"))));
    print("\n");
    std::fflush(stdout);
  }
  client::Session& session = task.js.session();
  auto subscription = session.connection().subscribe(
      subject,
      [&](const client::Message& message) {
        const bool is_message = show_pushed(session, message, is_raw);
        std::fflush(stdout);
        if (is_message && is_acking && !message.reply.empty()) {
          static_cast<void>(session.connection().publish(message.reply, ""));
        }
      },
      {config.get_string("deliver_group")});
  if (!subscription) return fail(context.program, prefixed("could not subscribe", subscription.error()));
  while (session.connection().state() != client::State::Closed) session.loop().run_once(std::chrono::seconds(60));
  return fail(context.program, session.connection().last_error());
}

}  // namespace

int run_consumer_next(const Context& context, const Values& values) {
  Acknowledgment how{values.is_on("term"), values.is_on("nak"), values.is_on("ack"), values.duration("wait")};
  if (how.is_term && !values.has("ack")) how.is_ack = false;
  if (how.is_term && (how.is_ack || how.is_nak)) {
    return fail(context.program, "can not both Acknowledge and Terminate message");
  }
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  NextReader reader(context, values, *js, values.text("stream"), values.text("consumer"));
  for (uint64_t i = 0; i < values.number("count"); ++i) {
    if (const int code = reader.read(how); code != 0) return code;
  }
  return 0;
}

int run_consumer_sub(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true);
  if (!task) return fail(context.program, task.error());
  const bool is_acking = values.is_on("ack") && task->config().get_string("ack_policy") != "none";
  if (!is_pull(task->config())) return subscribe_pushed(context, values, *task, is_acking);
  return NextReader(context, values, task->js, task->stream, task->name)
      .read({false, false, is_acking, Duration(0)});
}

}  // namespace brokkr::cli
