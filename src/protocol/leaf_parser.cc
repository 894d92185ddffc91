#include "protocol/leaf_parser.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "protocol/scan.h"

namespace brokkr::protocol {
namespace {

// What may stand between a verb and the end of its line.
enum class LeafRest : uint8_t { Arguments, LooseArguments, Ignored };

struct LeafVerbRule {
  std::string_view name;
  LeafVerb verb;
  LeafRest rest;
};

constexpr LeafVerbRule kLeafRules[] = {
    {"lmsg", LeafVerb::Msg, LeafRest::Arguments},
    {"hmsg", LeafVerb::Hmsg, LeafRest::Arguments},
    {"ls+", LeafVerb::Sub, LeafRest::Arguments},
    {"ls-", LeafVerb::Unsub, LeafRest::Arguments},
    {"ping", LeafVerb::Ping, LeafRest::Ignored},
    {"pong", LeafVerb::Pong, LeafRest::Ignored},
    {"connect", LeafVerb::Connect, LeafRest::LooseArguments},
    {"info", LeafVerb::Info, LeafRest::LooseArguments},
    {"+ok", LeafVerb::Ok, LeafRest::Ignored},
    {"-err", LeafVerb::Err, LeafRest::Arguments},
};

constexpr std::string_view kBlanks = " \t";

// Words of a line from either end.
class Words {
 public:
  explicit Words(std::string_view text) : text_(trimmed(text)) {}
  bool empty() const { return text_.empty(); }
  std::string_view rest() const { return text_; }
  std::string_view take_first() {
    const size_t end = std::min(text_.find_first_of(kBlanks), text_.size());
    const std::string_view word = text_.substr(0, end);
    text_ = trimmed(text_.substr(end));
    return word;
  }
  std::string_view take_last() {
    const size_t blank = text_.find_last_of(kBlanks);
    const size_t begin = blank == std::string_view::npos ? 0 : blank + 1;
    const std::string_view word = text_.substr(begin);
    text_ = trimmed(text_.substr(0, begin));
    return word;
  }

 private:
  static std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
  }
  std::string_view text_;
};

std::string_view without_quotes(std::string_view text) {
  text = trim(text);
  if (text.size() >= 2 && text.front() == '\'' && text.back() == '\'') {
    return text.substr(1, text.size() - 2);
  }
  return text;
}

}  // namespace

std::string_view next_queue(std::string_view& queues) {
  Words words(queues);
  const std::string_view first = words.take_first();
  queues = words.rest();
  return first;
}

ParseStatus LeafParser::fail(ParseError error) {
  error_ = error;
  return ParseStatus::Error;
}

ParseStatus LeafParser::need(size_t bytes) {
  bytes_needed_ = bytes;
  return ParseStatus::Partial;
}

ParseStatus LeafParser::next(std::string_view input, LeafCommand& command) {
  const LeafVerbRule* rule = nullptr;
  for (const LeafVerbRule& candidate : kLeafRules) {
    const scan::VerbMatch match = scan::match_verb(input, candidate.name);
    if (match == scan::VerbMatch::Partly) return need(input.size() + 1);
    if (match == scan::VerbMatch::Yes) {
      rule = &candidate;
      break;
    }
  }
  if (rule == nullptr) return fail(ParseError::UnknownOperation);
  const size_t from = rule->name.size();
  if (from == input.size()) return need(from + 1);
  if (rule->rest == LeafRest::Arguments && !scan::is_blank(input[from])) {
    return fail(ParseError::UnknownOperation);
  }
  const scan::Line line = scan::find_line(input, from);
  if (line.text.size() > limits_.control_line_max) return fail(ParseError::ControlLineTooLong);
  if (!line.is_complete) return need(input.size() + 1);
  command.verb = rule->verb;
  command.size = line.next;
  switch (rule->verb) {
    case LeafVerb::Msg:
    case LeafVerb::Hmsg: return read_message(input, line.text, line.next, command);
    case LeafVerb::Sub:
    case LeafVerb::Unsub: return read_interest(line.text, command);
    case LeafVerb::Connect:
    case LeafVerb::Info: command.arguments = trim(line.text); break;
    case LeafVerb::Err: command.arguments = without_quotes(line.text); break;
    case LeafVerb::Ping:
    case LeafVerb::Pong:
    case LeafVerb::Ok: break;
  }
  return ParseStatus::Command;
}

// "subject [queue weight]" or, to end it, "subject [queue]".
ParseStatus LeafParser::read_interest(std::string_view text, LeafCommand& command) {
  Words words(text);
  command.subject = words.take_first();
  command.queue = words.take_first();
  command.weight = 1;
  if (command.subject.empty()) return fail(ParseError::BadArguments);
  if (command.verb == LeafVerb::Sub && !command.queue.empty()) {
    if (words.empty()) return fail(ParseError::BadArguments);
    // A weight that is no number counts as one member.
    command.weight = std::max(scan::parse_size(words.take_first()).value_or(1), 1U);
  }
  return words.empty() ? ParseStatus::Command : fail(ParseError::BadArguments);
}

// "subject [reply] [header_size] size", and with queue groups "subject + reply q… [header_size] size"
// or "subject | q… [header_size] size".
ParseStatus LeafParser::read_message(std::string_view input, std::string_view text,
                                     size_t payload_at, LeafCommand& command) {
  Words words(text);
  command.subject = words.take_first();
  command.size_text = words.take_last();
  const auto size = scan::parse_size(command.size_text);
  if (command.subject.empty() || !size) return fail(ParseError::BadArguments);
  command.header_size = 0;
  if (command.verb == LeafVerb::Hmsg) {
    const auto header_size = scan::parse_size(words.take_last());
    if (!header_size || *header_size > *size) return fail(ParseError::BadArguments);
    command.header_size = *header_size;
  }
  command.reply = words.take_first();
  command.queues = words.rest();
  if (!command.queues.empty()) {
    if (command.reply == "+") {
      command.reply = words.take_first();
      command.queues = words.rest();
    } else if (command.reply == "|") {
      command.reply = {};
    } else {
      return fail(ParseError::BadArguments);
    }
  }
  if (*size > limits_.payload_max) return fail(ParseError::PayloadTooLarge);
  return read_payload(input, payload_at, *size, command);
}

ParseStatus LeafParser::read_payload(std::string_view input, size_t payload_at,
                                     size_t payload_size, LeafCommand& command) {
  const size_t end = payload_at + payload_size;
  if (input.size() <= end) return need(end + 1);
  if (input[end] != '\r') return fail(ParseError::UnknownOperation);
  if (input.size() == end + 1) return need(end + 2);
  if (input[end + 1] != '\n') return fail(ParseError::UnknownOperation);
  command.payload = input.substr(payload_at, payload_size);
  command.size = end + 2;
  return ParseStatus::Command;
}

void append_leaf_sub(std::string& out, std::string_view subject, std::string_view queue,
                     uint32_t weight) {
  out.append("LS+ ").append(subject);
  if (!queue.empty()) {
    out.append(" ").append(queue).append(" ");
    append_uint(out, weight);
  }
  out.append("\r\n");
}

void append_leaf_unsub(std::string& out, std::string_view subject, std::string_view queue) {
  out.append("LS- ").append(subject);
  if (!queue.empty()) out.append(" ").append(queue);
  out.append("\r\n");
}

void append_leaf_message_line(std::string& out, const LeafMessageLine& line) {
  out.append(line.header_size > 0 ? "HMSG " : "LMSG ").append(line.subject).append(" ");
  if (!line.queues.empty()) {
    out.append(line.reply.empty() ? "| " : "+ ");
  }
  if (!line.reply.empty()) out.append(line.reply).append(" ");
  if (!line.queues.empty()) out.append(line.queues).append(" ");
  if (line.header_size > 0) {
    append_uint(out, line.header_size);
    out.append(" ");
  }
  append_uint(out, line.total_size);
  out.append("\r\n");
}

}  // namespace brokkr::protocol
