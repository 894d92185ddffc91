#include "protocol/parser.h"

#include <cstring>

#include "protocol/scan.h"

namespace brokkr::protocol {
namespace {

using scan::VerbMatch;

// What may stand between a verb and the end of its line.
enum class Rest : uint8_t {
  Arguments,       // a blank, then arguments
  LooseArguments,  // arguments, with or without a blank
  Ignored,         // anything
};

struct VerbRule {
  std::string_view name;
  Verb verb;
  Rest rest;
};

// No name is the beginning of another, so the first that fits is it.
constexpr VerbRule kRules[] = {
    {"pub", Verb::Pub, Rest::Arguments},
    {"hpub", Verb::Hpub, Rest::Arguments},
    {"sub", Verb::Sub, Rest::Arguments},
    {"unsub", Verb::Unsub, Rest::Arguments},
    {"ping", Verb::Ping, Rest::Ignored},
    {"pong", Verb::Pong, Rest::Ignored},
    {"connect", Verb::Connect, Rest::LooseArguments},
    {"info", Verb::Info, Rest::LooseArguments},
    {"+ok", Verb::Ok, Rest::Ignored},
    {"-err", Verb::Err, Rest::Arguments},
};

// "pub " in any letter case, read as one word.
bool begins_publish(const char* at) {
  uint32_t word = 0, mask = 0, want = 0;
  std::memcpy(&word, at, 4);
  std::memcpy(&mask, "\x20\x20\x20\0", 4);
  std::memcpy(&want, "pub ", 4);
  return (word | mask) == want;
}

// Reads up to nine digits at `at`; `at` moves to the first byte that is none.
uint32_t read_digits(const char*& at, const char* end) {
  if (static_cast<size_t>(end - at) > scan::kSizeDigitsMax) end = at + scan::kSizeDigitsMax;
  uint32_t value = 0;
  for (; at != end; ++at) {
    const auto digit = static_cast<unsigned char>(*at - '0');
    if (digit > 9) break;
    value = value * 10 + digit;
  }
  return value;
}

// An argument after the subject: a reply, or a size.
struct Argument {
  const char* begin = nullptr;
  const char* end = nullptr;
  uint32_t number = 0;
  bool is_number = false;
  std::string_view text() const { return {begin, static_cast<size_t>(end - begin)}; }
};

// Reads the argument after the one space at `at` and moves there. False when it is not there.
inline bool read_argument(const char*& at, const char* end, Argument& argument) {
  if (at == end || *at != ' ') return false;
  argument.begin = ++at;
  argument.number = read_digits(at, end);
  argument.is_number = at != argument.begin && at != end && static_cast<unsigned char>(*at) <= ' ';
  if (!argument.is_number) at = scan::find_low(at, end);
  argument.end = at;
  return at != argument.begin;
}

}  // namespace

std::string_view error_text(ParseError error) {
  switch (error) {
    case ParseError::UnknownOperation: return "Unknown Protocol Operation";
    case ParseError::ControlLineTooLong: return "maximum control line exceeded";
    case ParseError::PayloadTooLarge: return "Maximum Payload Violation";
    case ParseError::BadArguments:
    case ParseError::None: break;
  }
  return {};
}

ParseStatus ClientParser::fail(ParseError error) {
  error_ = error;
  return ParseStatus::Error;
}

ParseStatus ClientParser::need(size_t bytes) {
  bytes_needed_ = bytes;
  return ParseStatus::Partial;
}

ParseStatus ClientParser::next(std::string_view input, Command& command) {
  constexpr size_t kShortest = sizeof("PUB a 0\r\n\r\n") - 1;
  if (input.size() >= kShortest) {
    if (begins_publish(input.data())) return next_publish<false>(input, command);
    if (to_lower(input[0]) == 'h' && begins_publish(input.data() + 1)) {
      return next_publish<true>(input, command);
    }
  }
  return next_line(input, command);
}

// A PUB or HPUB of the common form is read here in one pass; whatever is unusual about it (tabs,
// several blanks, an incomplete line, a limit passed) is left to next_line, which starts over.
template <bool kHasHeader>
ParseStatus ClientParser::next_publish(std::string_view input, Command& command) {
  const char* const end = input.data() + input.size();
  const char* const subject = input.data() + (kHasHeader ? 5 : 4);
  const char* at = scan::find_low(subject, end);
  const char* const subject_end = at;

  Argument reply, header_size, size;
  bool is_good = subject_end != subject && read_argument(at, end, size);
  if (kHasHeader && is_good) {
    header_size = size;
    is_good = read_argument(at, end, size);
  }
  if (is_good && at != end && *at == ' ') {
    reply = kHasHeader ? header_size : size;
    header_size = size;
    is_good = read_argument(at, end, size);
  }
  is_good = is_good && size.is_number && end - at >= 2 && at[0] == '\r' && at[1] == '\n' &&
            (!kHasHeader || (header_size.is_number && header_size.number <= size.number)) &&
            size.number <= limits_.payload_max &&
            static_cast<size_t>(at - subject) <= limits_.control_line_max;
  if (!is_good) return next_line(input, command);

  command.verb = kHasHeader ? Verb::Hpub : Verb::Pub;
  command.subject = {subject, static_cast<size_t>(subject_end - subject)};
  command.reply = reply.text();
  command.header_size = kHasHeader ? header_size.number : 0;
  command.size_text = size.text();
  return read_payload(input, static_cast<size_t>(at + 2 - input.data()), size.number, command);
}

ParseStatus ClientParser::read_payload(std::string_view input, size_t payload_at,
                                       size_t payload_size, Command& command) {
  const size_t end = payload_at + payload_size;
  // The byte after the payload tells whether its size was right; a sender that got it wrong may
  // send no other.
  if (input.size() <= end) return need(end + 1);
  if (input[end] != '\r') return fail(ParseError::UnknownOperation);
  if (input.size() == end + 1) return need(end + 2);
  if (input[end + 1] != '\n') return fail(ParseError::UnknownOperation);
  command.payload = input.substr(payload_at, payload_size);
  command.size = end + 2;
  return ParseStatus::Command;
}

ParseStatus ClientParser::next_line(std::string_view input, Command& command) {
  const VerbRule* rule = nullptr;
  for (const VerbRule& candidate : kRules) {
    const VerbMatch match = scan::match_verb(input, candidate.name);
    if (match == VerbMatch::Partly) return need(input.size() + 1);
    if (match == VerbMatch::Yes) {
      rule = &candidate;
      break;
    }
  }
  if (rule == nullptr) return fail(ParseError::UnknownOperation);

  size_t from = rule->name.size();
  if (from == input.size()) return need(from + 1);
  if (rule->rest == Rest::Arguments && !scan::is_blank(input[from])) {
    return fail(ParseError::UnknownOperation);
  }
  while (from < input.size() && scan::is_blank(input[from])) ++from;

  const scan::Line line = scan::find_line(input, from);
  // Blanks before the arguments are not counted with them, but nobody needs a line of blanks.
  if (line.text.size() > limits_.control_line_max ||
      from > limits_.control_line_max + rule->name.size()) {
    return fail(ParseError::ControlLineTooLong);
  }
  if (!line.is_complete) return need(input.size() + 1);
  command.verb = rule->verb;
  command.size = line.next;
  switch (rule->verb) {
    case Verb::Pub:
    case Verb::Hpub: return read_publish(input, line.text, line.next, command);
    case Verb::Sub: return read_subscribe(line.text, command);
    case Verb::Unsub: return read_unsubscribe(line.text, command);
    case Verb::Connect:
    case Verb::Info:
    case Verb::Err: command.arguments = line.text; break;
    case Verb::Ping:
    case Verb::Pong:
    case Verb::Ok: break;
  }
  return ParseStatus::Command;
}

ParseStatus ClientParser::read_publish(std::string_view input, std::string_view text,
                                       size_t payload_at, Command& command) {
  const scan::Arguments arguments(text);
  const size_t required = command.verb == Verb::Hpub ? 3 : 2;
  if (arguments.count() < required || arguments.count() > required + 1) {
    return fail(ParseError::BadArguments);
  }
  const auto size = scan::parse_size(arguments.last());
  if (!size) return fail(ParseError::BadArguments);
  command.header_size = 0;
  if (command.verb == Verb::Hpub) {
    const auto header_size = scan::parse_size(arguments[arguments.count() - 2]);
    if (!header_size || *header_size > *size) return fail(ParseError::BadArguments);
    command.header_size = *header_size;
  }
  if (*size > limits_.payload_max) return fail(ParseError::PayloadTooLarge);
  command.subject = arguments[0];
  command.reply = arguments.count() > required ? arguments[1] : std::string_view();
  command.size_text = arguments.last();
  return read_payload(input, payload_at, *size, command);
}

ParseStatus ClientParser::read_subscribe(std::string_view text, Command& command) {
  const scan::Arguments arguments(text);
  if (arguments.count() < 2 || arguments.count() > 3) return fail(ParseError::BadArguments);
  command.subject = arguments[0];
  command.queue = arguments.count() == 3 ? arguments[1] : std::string_view();
  command.sid = arguments.last();
  return ParseStatus::Command;
}

ParseStatus ClientParser::read_unsubscribe(std::string_view text, Command& command) {
  const scan::Arguments arguments(text);
  if (arguments.count() < 1 || arguments.count() > 2) return fail(ParseError::BadArguments);
  command.sid = arguments[0];
  command.max_messages = arguments.count() == 2 ? scan::parse_size(arguments[1]).value_or(0) : 0;
  return ParseStatus::Command;
}

}  // namespace brokkr::protocol
