#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/parser.h"

namespace brokkr::protocol {

enum class ServerVerb : uint8_t { Msg, Hmsg, Ping, Pong, Ok, Err, Info };

// One line of the server. The views point into the bytes given to the parser. Only the fields of
// its verb are set.
struct ServerCommand {
  ServerVerb verb = ServerVerb::Ping;
  size_t size = 0;  // bytes of the whole command, to be consumed

  std::string_view subject;  // Msg, Hmsg
  std::string_view sid;
  std::string_view reply;    // empty when absent
  std::string_view headers;  // the header block; empty for Msg
  std::string_view payload;  // without the header block

  std::string_view text;  // Info: the JSON; Err: the text without its quotes
};

// Splits what a server sends into commands, in place; the client's side of ClientParser, with the
// same rules of calling. Several blanks in a row count as one. Any error is final: the connection
// cannot be resynchronised. Loop-confined.
class ServerParser {
 public:
  struct Limits {
    uint32_t control_line_max = 1024 * 1024;  // INFO with many URLs is long
    uint32_t payload_max = 999'999'999;       // what nine digits can say
  };

  ServerParser() = default;
  explicit ServerParser(Limits limits) : limits_(limits) {}

  ParseStatus next(std::string_view input, ServerCommand& command);
  size_t bytes_needed() const { return bytes_needed_; }
  ParseError error() const { return error_; }

 private:
  ParseStatus read_message(std::string_view input, std::string_view arguments, size_t payload_at,
                           ServerCommand& command);
  ParseStatus fail(ParseError);
  ParseStatus need(size_t bytes);

  Limits limits_;
  ParseError error_ = ParseError::None;
  size_t bytes_needed_ = 0;
};

}  // namespace brokkr::protocol
