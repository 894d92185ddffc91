// brokkr dlq: messages no attempt of a function could handle.

#include <cstdio>

#include "base/bytes.h"
#include "cli/bucket.h"
#include "cli/commands.h"
#include "cli/message_text.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"
#include "client/headers.h"
#include "client/message.h"

namespace brokkr::cli {
namespace {

constexpr std::string_view kDeadLetterHeader = "Nats-Brokkr-";
constexpr std::string_view kServerHeader = "Nats-";

std::string stream_of(const Values& values) {
  if (values.has("stream")) return values.text("stream");
  const std::string ns = values.text("namespace");
  return "NEX_DLQ_" + (ns.empty() ? std::string(workload::kDefaultNamespace) : ns);
}

client::Message view_of(const client::StoredMessage& message) {
  return {message.subject, {}, message.headers, message.payload, {}};
}

std::string header_of(const client::StoredMessage& message, std::string_view name) {
  return std::string(view_of(message).header(std::string(kDeadLetterHeader) + std::string(name)));
}

bool is_of_workload(const client::StoredMessage& message, const Values& values) {
  if (!values.has("workload")) return true;
  return header_of(message, "Workload").ends_with("/" + values.text("workload"));
}

// Every dead letter from `from` on, oldest first, until `show` says false.
Status each_letter(BucketApi& api, const std::string& stream, uint64_t from,
                   FunctionRef<Result<bool>(const client::StoredMessage&)> show) {
  while (true) {
    client::GetOptions get;
    get.seq = from;
    get.next_by_subj = ">";
    auto message = client::wait_for<client::StoredMessage>(
        api.session().loop(), [&](auto done) { api.jetstream().get_message(stream, get, std::move(done)); });
    if (!message) {
      const client::ApiError& error = message.error();
      // Nothing further, or nothing ever failed.
      if (error.http_code == 404) return {};
      return Error{error.code, error.text};
    }
    auto goes_on = show(*message);
    if (!goes_on) return goes_on.error();
    if (!*goes_on) return {};
    from = message->seq + 1;
  }
}

int run_dlq_list(const Context& context, const Values& values) {
  auto api = BucketApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  Table table("Dead Letters");
  table.header({"Sequence", "Workload", "Subject", "Failed At", "Deliveries", "Code", "Error"});
  uint64_t count = 0;
  const Status done = each_letter(*api, stream_of(values), 1, [&](const client::StoredMessage& message) -> Result<bool> {
    if (!is_of_workload(message, values)) return true;
    table.row({std::to_string(message.seq), header_of(message, "Workload"), header_of(message, "Subject"),
               header_of(message, "Failed-At"), header_of(message, "Deliveries"), header_of(message, "Error-Code"),
               header_of(message, "Error")});
    return ++count < values.number("count");
  });
  if (!done) return fail(context.program, done.error());
  if (count == 0) {
    print_line("No dead letters found");
  } else {
    print(table.text());
  }
  return 0;
}

Result<client::StoredMessage> letter_at(BucketApi& api, const Values& values, uint64_t seq) {
  client::GetOptions get;
  get.seq = seq;
  auto letter = client::wait_for<client::StoredMessage>(
      api.session().loop(), [&](auto done) { api.jetstream().get_message(stream_of(values), get, std::move(done)); });
  if (letter) return std::move(*letter);
  if (letter.error().http_code != 404) return original_error(letter.error());
  return Error{Errc::NotFound, "there is no dead letter " + std::to_string(seq) + " in " + stream_of(values)};
}

int run_dlq_show(const Context& context, const Values& values) {
  const auto seq = parse_uint(values.text("sequence"));
  if (!seq) return fail(context.program, "\"" + values.text("sequence") + "\" is no sequence");
  auto api = BucketApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto message = letter_at(*api, values, *seq);
  if (!message) return fail(context.program, message.error());
  if (values.is_on("json")) {
    print_line(message_json(view_of(*message)));
    return 0;
  }
  for (const std::string& line : header_lines(message->headers)) print_line(line);
  print("\n" + body_text(message->payload));
  return 0;
}

// The headers as they came, without what the failure and its publishing added; what told the first server
// to do something was left out then already.
std::string original_headers(const client::StoredMessage& message) {
  client::HeaderWriter out;
  if (const auto headers = client::Headers::parse(message.headers)) {
    for (const client::Header& header : *headers) {
      if (!header.key.starts_with(kServerHeader)) out.add(header.key, header.value);
    }
  }
  return out.take();
}

Status redrive(BucketApi& api, const std::string& stream, const client::StoredMessage& message) {
  const std::string subject = header_of(message, "Subject");
  if (subject.empty()) return Error{Errc::InvalidArgument, std::to_string(message.seq) + " is no dead letter"};
  client::StreamPublishOptions options;
  const std::string headers = original_headers(message);
  options.headers = headers;
  const std::string id = "redrive-" + stream + "-" + std::to_string(message.seq);
  options.msg_id = id;
  // A bucket's entry goes back only where nothing newer stands.
  const bool is_entry = subject.starts_with("$KV.") || subject.starts_with("$O.");
  if (is_entry) options.expected_last_subject_seq = parse_uint(header_of(message, "Sequence"));
  auto sent = api.wait<client::PubAck>(
      [&](auto done) { api.jetstream().publish(subject, message.payload, options, std::move(done)); });
  if (!sent) return Error{sent.error().code, std::to_string(message.seq) + ": " + sent.error().text};
  auto removed = api.wait<client::Done>(
      [&](auto done) { api.jetstream().delete_message(stream, message.seq, true, std::move(done)); });
  return removed ? Status() : Status(removed.error());
}

int run_dlq_redrive(const Context& context, const Values& values) {
  const bool is_all = values.is_on("all") || values.has("workload");
  const auto seq = parse_uint(values.text("sequence"));
  if (!is_all && !seq) return fail(context.program, "say a sequence, --workload NAME or --all");
  auto api = BucketApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  const std::string stream = stream_of(values);
  uint64_t count = 0;
  Status done;
  if (!is_all) {
    auto message = letter_at(*api, values, *seq);
    done = message ? redrive(*api, stream, *message) : Status(message.error());
    count = done ? 1 : 0;
  } else {
    // Those that fail again come after what was there; they wait for another time.
    auto info = client::wait_for<client::StreamInfo>(
        api->session().loop(), [&](auto handler) { api->jetstream().stream_info(stream, std::move(handler)); });
    const uint64_t last = info ? info->state.last_seq : 0;
    done = each_letter(*api, stream, 1, [&](const client::StoredMessage& message) -> Result<bool> {
      if (message.seq > last) return false;
      if (!is_of_workload(message, values)) return true;
      if (Status sent = redrive(*api, stream, message); !sent) return sent.error();
      ++count;
      return true;
    });
  }
  if (!done) return fail(context.program, done.error());
  print_line(std::to_string(count) + (count == 1 ? " message" : " messages") + " sent again");
  return 0;
}

int run_dlq_remove(const Context& context, const Values& values) {
  const auto seq = parse_uint(values.text("sequence"));
  if (!seq) return fail(context.program, "\"" + values.text("sequence") + "\" is no sequence");
  auto api = BucketApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto removed = api->wait<client::Done>(
      [&](auto done) { api->jetstream().delete_message(stream_of(values), *seq, true, std::move(done)); });
  if (!removed) return fail(context.program, removed.error());
  print_line("Dead letter " + std::to_string(*seq) + " removed");
  return 0;
}

}  // namespace

Command dead_letters_command() {
  const Flag stream{"stream", "Stream of dead letters; NEX_DLQ_<namespace> when absent", Kind::Text, "STREAM"};
  const Flag workload{"workload", "Only those of this workload", Kind::Text, "NAME"};
  Command list{"list", {"ls"}, "List messages that failed for good"};
  list.flags = {namespace_flag(), stream, workload, {"count", "So many at most", Kind::Number, "COUNT", "1000"}};
  list.run = run_dlq_list;
  Command show{"show", {"info", "get"}, "Show one with its headers"};
  show.arguments = {{"sequence", "Its sequence"}};
  show.flags = {namespace_flag(), stream, {"json,j", "Produce JSON output"}};
  show.run = run_dlq_show;
  Command redrive{"redrive", {"retry"}, "Send them to their subject again and remove them here"};
  redrive.arguments = {{"sequence", "Its sequence", false}};
  redrive.flags = {namespace_flag(), stream, workload, {"all", "All of them"}};
  redrive.run = run_dlq_redrive;
  Command remove{"rm", {"remove", "delete"}, "Remove one"};
  remove.arguments = {{"sequence", "Its sequence"}};
  remove.flags = {namespace_flag(), stream};
  remove.run = run_dlq_remove;
  Command command{"dlq", {"dead-letters"}, "Messages no attempt of a function could handle"};
  for (Command* one : {&list, &show, &redrive, &remove}) command.subcommands.push_back(std::move(*one));
  return command;
}

}  // namespace brokkr::cli
