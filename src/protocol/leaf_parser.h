#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/parser.h"

namespace brokkr::protocol {

// What two servers joined as leaf and hub send each other; both sides send the same.
enum class LeafVerb : uint8_t { Info, Connect, Sub, Unsub, Msg, Hmsg, Ping, Pong, Ok, Err };

// One command. The views point into the bytes given to the parser. Only the fields of its verb are
// set; the others keep what an earlier command left there.
struct LeafCommand {
  LeafVerb verb = LeafVerb::Ping;
  size_t size = 0;  // bytes of the whole command, to be consumed

  std::string_view subject;  // Sub, Unsub, Msg, Hmsg
  std::string_view queue;    // Sub, Unsub; empty when absent
  uint32_t weight = 1;       // Sub with a queue: how many members it stands for, at least 1

  std::string_view reply;   // Msg, Hmsg; empty when absent
  std::string_view queues;  // Msg, Hmsg: the groups that are to get it, separated by blanks
  // Msg, Hmsg: header block and body. Its CRLF follows in memory.
  std::string_view payload;
  uint32_t header_size = 0;
  std::string_view size_text;  // the digits of the total size

  std::string_view arguments;  // Info, Connect: what should be JSON; Err: the text without quotes
};

// Splits the leaf protocol into commands, in place, with the rules of calling of ClientParser. Any
// error is final. Loop-confined.
class LeafParser {
 public:
  struct Limits {
    uint32_t control_line_max = 64 * 1024;
    uint32_t payload_max = 1024 * 1024;  // header block included
  };

  LeafParser() = default;
  explicit LeafParser(Limits limits) : limits_(limits) {}
  void set_limits(Limits limits) { limits_ = limits; }
  const Limits& limits() const { return limits_; }

  // Reads the command at the start of `input`, which is not empty.
  ParseStatus next(std::string_view input, LeafCommand& command);
  // After Partial: how long `input` must be at least for another try to be worth while.
  size_t bytes_needed() const { return bytes_needed_; }
  // After Error.
  ParseError error() const { return error_; }

 private:
  ParseStatus read_interest(std::string_view text, LeafCommand& command);
  ParseStatus read_message(std::string_view input, std::string_view text, size_t payload_at,
                           LeafCommand& command);
  ParseStatus read_payload(std::string_view input, size_t payload_at, size_t payload_size,
                           LeafCommand& command);
  ParseStatus fail(ParseError error);
  ParseStatus need(size_t bytes);

  Limits limits_;
  ParseError error_ = ParseError::None;
  size_t bytes_needed_ = 0;
};

// Takes the first name off `queues`, which is moved behind it; empty when there is none.
std::string_view next_queue(std::string_view& queues);

// "LS+ subject\r\n", "LS+ subject queue weight\r\n"; `weight` counts only with a queue.
void append_leaf_sub(std::string& out, std::string_view subject, std::string_view queue,
                     uint32_t weight);
// "LS- subject [queue]\r\n"
void append_leaf_unsub(std::string& out, std::string_view subject, std::string_view queue);

// The line before a payload. `queues` are names separated by blanks; empty for none. A
// `header_size` of 0 writes LMSG, else HMSG.
struct LeafMessageLine {
  std::string_view subject;
  std::string_view reply;
  std::string_view queues;
  size_t header_size = 0;
  size_t total_size = 0;
};
void append_leaf_message_line(std::string& out, const LeafMessageLine& line);

}  // namespace brokkr::protocol
