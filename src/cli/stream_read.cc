// brokkr stream get, view, gaps: messages a stream holds, and those it holds no longer.

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/files.h"
#include "cli/json_shape.h"
#include "cli/message_text.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr uint64_t kPageMax = 25;
constexpr uint64_t kPageDefault = 10;

Result<json::Value> read_message(JetStream& js, const std::string& stream, const Draft& query) {
  auto answer = js.request("STREAM.MSG.GET." + stream, query.text());
  if (!answer) return answer.error();
  const json::Value* message = answer->find("message");
  return message == nullptr ? json::Value() : *message;
}

std::string decoded(const json::Value& message, const char* member) {
  return base64_decode(message.get_string(member)).value_or("");
}

void print_body(const std::string& payload, const std::vector<std::string>& translate_words) {
  if (payload.empty() && translate_words.empty()) {
    print("nil body\n\n\n");
    return;
  }
  auto body = translate(translate_words, payload);
  if (!body) {
    print_line("Error while translating msg body: " + body.error().text + "\n");
    return;
  }
  print(*body + (body->ends_with('\n') ? "\n" : "\n\n\n"));
}

Result<std::vector<std::string>> translate_words(const Values& values) {
  if (values.text("translate").empty()) return std::vector<std::string>();
  return split_words(values.text("translate"));
}

// The sequence or the subject to read, asked for when neither was given.
struct Wanted {
  int64_t seq = -1;
  std::string subject;
};
Result<Wanted> wanted_message(const Values& values) {
  Wanted wanted;
  wanted.subject = values.text("last-for");
  std::string id = values.text("id");
  if (id.empty() && wanted.subject.empty()) {
    auto answer = ask_text("Message Sequence to retrieve", "-1", true);
    if (!answer) return prefixed("invalid input", answer.error());
    id = std::move(*answer);
  }
  if (!id.empty()) {
    const auto number = parse_int(id);
    if (!number) return Error{Errc::InvalidArgument, "invalid number: \"" + id + "\""};
    wanted.seq = *number;
  }
  if (wanted.seq == -1 && wanted.subject.empty()) {
    auto subject = ask_text("Subject to retrieve last message for", "");
    if (!subject) return prefixed("invalid subject", subject.error());
    wanted.subject = std::move(*subject);
  }
  if (wanted.seq == -1 && wanted.subject.empty()) {
    return Error{Errc::InvalidArgument, "no ID or subject specified"};
  }
  return wanted;
}

// Walks a stream from one message to the next that matches.
class Pager {
 public:
  Pager(JetStream& js, const std::string& stream, std::string filter, uint64_t first)
      : js_(js), stream_(stream), filter_(std::move(filter)), next_(first) {}

  // NotFound behind the last one.
  Result<json::Value> next() {
    Draft query;
    query.number("seq", static_cast<int64_t>(next_));
    query.text("next_by_subj", filter_);
    auto message = read_message(js_, stream_, query);
    if (message) next_ = static_cast<uint64_t>(message->get_int("seq")) + 1;
    return message;
  }

 private:
  JetStream& js_;
  const std::string& stream_;
  const std::string filter_;
  uint64_t next_;
};

// The first sequence stored at or after `time`, found by halving.
Result<uint64_t> sequence_at(JetStream& js, const std::string& stream, uint64_t first, uint64_t last,
                             WallTime time) {
  while (first < last) {
    const uint64_t middle = first + (last - first) / 2;
    auto message = Pager(js, stream, ">", middle).next();
    if (!message && message.error().code != Errc::NotFound) return message.error();
    const auto stored = message ? parse_time(message->get_string("time")) : std::nullopt;
    if (stored && *stored < time) {
      first = static_cast<uint64_t>(message->get_int("seq")) + 1;
    } else {
      last = middle;
    }
  }
  return first;
}

void print_page_message(const json::Value& message, const Values& values,
                        const std::vector<std::string>& words) {
  const std::string payload = decoded(message, "data");
  if (values.is_on("raw")) {
    print_line(payload);
    return;
  }
  print_line("[" + std::to_string(message.get_int("seq")) + "] Subject: " +
             std::string(message.get_string("subject")) + " Received: " +
             date_text(message.get_string("time")));
  const auto headers = header_lines(decoded(message, "hdrs"));
  if (!headers.empty()) print("\n");
  for (const std::string& line : headers) print_line("  " + line);
  print_body(payload, words);
}

// Neighbouring sequences as one gap.
std::vector<std::pair<uint64_t, uint64_t>> gaps_of(const std::vector<json::Value>& deleted) {
  std::vector<std::pair<uint64_t, uint64_t>> gaps;
  for (const json::Value& item : deleted) {
    const uint64_t seq = item.as_uint().value_or(0);
    if (!gaps.empty() && gaps.back().second + 1 == seq) {
      gaps.back().second = seq;
    } else {
      gaps.emplace_back(seq, seq);
    }
  }
  return gaps;
}

void print_gaps(const std::vector<std::pair<uint64_t, uint64_t>>& gaps, const std::string& stream) {
  Table table(gaps.size() == 1 ? "1 gap found in Stream " + stream
                               : comma(uint64_t{gaps.size()}) + " gaps found in Stream " + stream);
  table.header({"First Message", "Last Message"});
  for (const auto& [first, last] : gaps) table.row({comma(first), comma(last)});
  print_line(table.text());
}

}  // namespace

int run_stream_get(const Context& context, const Values& values) {
  auto words = translate_words(values);
  if (!words) return fail(context.program, words.error());
  auto task = open_stream(context, values, false);
  if (!task) return fail(context.program, task.error());
  auto wanted = wanted_message(values);
  if (!wanted) return fail(context.program, wanted.error());
  const std::string& name = task->stream.name;
  Draft query;
  if (wanted->seq > -1) {
    query.number("seq", wanted->seq);
  } else {
    query.text("last_by_subj", wanted->subject);
  }
  auto message = read_message(task->js, name, query);
  if (!message) {
    return fail(context.program, prefixed("could not retrieve " + name + "#" + std::to_string(wanted->seq),
                                          message.error()));
  }
  if (values.is_on("json")) {
    print_line(shaped_text(*message, kStoredMessageShape));
    return 0;
  }
  const auto time = message->get_string("time");
  const Duration age = time_between(time, format_rfc3339(task->js.session().clock().wall_now()));
  print("Item: " + name + "#" + std::to_string(message->get_int("seq")) + " received " +
        go_time_text(time) + " (" + long_duration(age) + ") on Subject " +
        std::string(message->get_string("subject")) + "\n\n");
  if (const auto headers = header_lines(decoded(*message, "hdrs")); !headers.empty()) {
    print("Headers:\n");
    for (const std::string& line : headers) print_line("  " + line);
    print("\n");
  }
  print_body(decoded(*message, "data"), *words);
  return 0;
}

int run_stream_view(const Context& context, const Values& values) {
  if (!is_terminal()) {
    return fail(context.program, "interactive stream paging requires a valid terminal");
  }
  auto words = translate_words(values);
  if (!words) return fail(context.program, words.error());
  uint64_t page = kPageDefault;
  if (values.has("size")) page = parse_uint(values.text("size")).value_or(kPageDefault);
  if (page > kPageMax) {
    remark("Page size is limited to 25, setting to 25...");
    page = kPageMax;
  }
  page = std::max<uint64_t>(page, 1);
  auto task = open_stream(context, values, false);
  if (!task) return fail(context.program, task.error());
  const std::string& name = task->stream.name;
  const json::Value* state = task->stream.info.find("state");
  uint64_t first = values.has("id") ? values.number("id") : 1;
  if (values.has("since") && state != nullptr) {
    const WallTime from = task->js.session().clock().wall_now() - values.duration("since");
    auto found = sequence_at(task->js, name, static_cast<uint64_t>(state->get_int("first_seq")),
                             static_cast<uint64_t>(state->get_int("last_seq")) + 1, from);
    if (!found) return fail(context.program, found.error());
    first = *found;
  }
  Pager pager(task->js, name, values.has("subject") ? values.text("subject") : ">",
              std::max<uint64_t>(first, 1));
  for (uint64_t shown = 1;; ++shown) {
    auto message = pager.next();
    if (!message && message.error().code == Errc::NotFound) {
      remark("Reached apparent end of data");
      return 0;
    }
    if (!message) return fail(context.program, message.error());
    print_page_message(*message, values, *words);
    if (shown % page != 0) continue;
    auto more = ask_yes("Next Page?", true);
    if (!more || !*more) return 0;
  }
}

int run_stream_gaps(const Context& context, const Values& values) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const std::string& name = task->stream.name;
  static const json::Value kNone;
  const json::Value* found = task->stream.info.find("state");
  const json::Value& state = found == nullptr ? kNone : *found;
  if (state.get_int("num_deleted") == 0) {
    if (values.is_on("json")) print("{}\n");
    print_line("No deleted messages in " + name);
    return 0;
  }
  if (!values.is_on("force")) {
    print("WARNING: Detecting gaps in a stream consumes the entire stream and can be resource intensive on the Server, Client and Network.\n\n");
    auto answer = ask_yes("Really detect gaps in stream " + name + " with " + comma(state.get_int("messages")) +
                              " messages and " + short_bytes(static_cast<uint64_t>(state.get_int("bytes"))) + " bytes",
                          false);
    if (!answer) return fail(context.program, prefixed("could not obtain confirmation", answer.error()));
    if (!*answer) return 0;
  }
  auto details = task->js.request("STREAM.INFO." + name, "{\"deleted_details\":true}");
  if (!details) return fail(context.program, details.error());
  const json::Value* now = details->find("state");
  const json::Value* deleted = now == nullptr ? nullptr : now->find("deleted");
  const auto gaps = gaps_of(deleted == nullptr ? std::vector<json::Value>() : deleted->items());
  if (values.is_on("json")) {
    json::Writer out({2, true});
    out.begin_array();
    for (const auto& [first, last] : gaps) out.begin_array().number(first).number(last).end_array();
    print_line(out.end_array().text());
  } else if (gaps.empty()) {
    print_line("No deleted messages in " + name);
  } else {
    print_gaps(gaps, name);
  }
  return 0;
}

}  // namespace brokkr::cli
