#include "protocol/server_parser.h"

#include "protocol/scan.h"

namespace brokkr::protocol {
namespace {

using scan::VerbMatch;

struct ServerVerbRule {
  std::string_view name;
  ServerVerb verb;
};

// The most frequent first; no name is the beginning of another.
constexpr ServerVerbRule kServerRules[] = {
    {"msg", ServerVerb::Msg},   {"hmsg", ServerVerb::Hmsg}, {"ping", ServerVerb::Ping},
    {"pong", ServerVerb::Pong}, {"+ok", ServerVerb::Ok},    {"-err", ServerVerb::Err},
    {"info", ServerVerb::Info},
};

std::string_view strip_quotes(std::string_view text) {
  text = trim(text);
  if (text.size() >= 2 && text.front() == '\'' && text.back() == '\'') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

}  // namespace

ParseStatus ServerParser::fail(ParseError error) {
  error_ = error;
  return ParseStatus::Error;
}

ParseStatus ServerParser::need(size_t bytes) {
  bytes_needed_ = bytes;
  return ParseStatus::Partial;
}

ParseStatus ServerParser::next(std::string_view input, ServerCommand& command) {
  const ServerVerbRule* rule = nullptr;
  for (const ServerVerbRule& candidate : kServerRules) {
    const VerbMatch match = scan::match_verb(input, candidate.name);
    if (match == VerbMatch::Partly) return need(input.size() + 1);
    if (match == VerbMatch::Yes) {
      rule = &candidate;
      break;
    }
  }
  if (rule == nullptr) return fail(ParseError::UnknownOperation);

  const size_t from = rule->name.size();
  if (from == input.size()) return need(from + 1);
  if (!scan::is_blank(input[from]) && input[from] != '\r' && input[from] != '\n') return fail(ParseError::UnknownOperation);
  const scan::Line line = scan::find_line(input, from);
  if (line.text.size() > limits_.control_line_max) return fail(ParseError::ControlLineTooLong);
  if (!line.is_complete) return need(input.size() + 1);

  command.verb = rule->verb;
  command.size = line.next;
  switch (rule->verb) {
    case ServerVerb::Msg:
    case ServerVerb::Hmsg: return read_message(input, line.text, line.next, command);
    case ServerVerb::Info: command.text = trim(line.text); break;
    case ServerVerb::Err: command.text = strip_quotes(line.text); break;
    case ServerVerb::Ping:
    case ServerVerb::Pong:
    case ServerVerb::Ok: break;
  }
  return ParseStatus::Command;
}

ParseStatus ServerParser::read_message(std::string_view input, std::string_view text,
                                       size_t payload_at, ServerCommand& command) {
  const scan::Arguments arguments(text);
  const size_t required = command.verb == ServerVerb::Hmsg ? 4 : 3;
  if (arguments.count() < required || arguments.count() > required + 1) {
    return fail(ParseError::BadArguments);
  }
  const auto size = scan::parse_size(arguments.last());
  if (!size) return fail(ParseError::BadArguments);
  uint32_t header_size = 0;
  if (command.verb == ServerVerb::Hmsg) {
    const auto given = scan::parse_size(arguments[arguments.count() - 2]);
    if (!given || *given > *size) return fail(ParseError::BadArguments);
    header_size = *given;
  }
  if (*size > limits_.payload_max) return fail(ParseError::PayloadTooLarge);

  const size_t end = payload_at + *size;
  // The byte after the payload tells whether its size was right; a sender that got it wrong may
  // send no other.
  if (input.size() <= end) return need(end + 1);
  if (input[end] != '\r') return fail(ParseError::UnknownOperation);
  if (input.size() == end + 1) return need(end + 2);
  if (input[end + 1] != '\n') return fail(ParseError::UnknownOperation);
  command.subject = arguments[0];
  command.sid = arguments[1];
  command.reply = arguments.count() > required ? arguments[2] : std::string_view();
  command.headers = input.substr(payload_at, header_size);
  command.payload = input.substr(payload_at + header_size, *size - header_size);
  command.size = end + 2;
  return ParseStatus::Command;
}

}  // namespace brokkr::protocol
