#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace brokkr::protocol {

// What a client can send.
enum class Verb : uint8_t { Pub, Hpub, Sub, Unsub, Ping, Pong, Connect, Info, Ok, Err };

// One command. The views point into the bytes given to the parser. Only the fields of its verb are
// set; the others keep what an earlier command left there.
struct Command {
  Verb verb = Verb::Ping;
  size_t size = 0;  // bytes of the whole command, to be consumed

  std::string_view subject;  // Pub, Hpub, Sub
  std::string_view reply;    // Pub, Hpub; empty when absent
  // Pub, Hpub: header block and body. Its CRLF follows in memory: payload.data() is readable for
  // payload.size() + 2 bytes.
  std::string_view payload;
  uint32_t header_size = 0;    // Pub (0), Hpub: length of the header block at the payload's start
  std::string_view size_text;  // Pub, Hpub: the digits of the total size as the client wrote them

  std::string_view queue;  // Sub; empty when absent
  std::string_view sid;    // Sub, Unsub
  // Unsub: messages to deliver in all, counted from the subscription's start; 0 means at once (also
  // for a text that is no number, as nats-server takes it).
  uint32_t max_messages = 0;

  // Connect, Info: what should be JSON (nats-server closes without a word when it is not); Err: the
  // text, after which it closes too.
  std::string_view arguments;
};

enum class ParseError : uint8_t {
  None,
  UnknownOperation,    // -ERR 'Unknown Protocol Operation', close
  ControlLineTooLong,  // -ERR 'maximum control line exceeded', close
  PayloadTooLarge,     // -ERR 'Maximum Payload Violation', close
  BadArguments,        // close without a word
};

// The text between the quotes of -ERR; empty when the connection is to be closed without one.
std::string_view error_text(ParseError);

enum class ParseStatus : uint8_t { Command, Partial, Error };

// Splits what a client sends into commands, in place. It keeps nothing between calls: the caller
// holds the bytes, consumes `command.size` of them after each command, and keeps the rest.
//
//   while (!input.empty()) {
//     switch (parser.next(input, command)) {
//       case Command: handle(command); input.remove_prefix(command.size); break;
//       case Partial: keep `input`; do not call again before it has parser.bytes_needed() bytes
//       case Error:   answer error_text(parser.error()), close
//     }
//   }
//
// An unknown verb and a line that is too long are reported as soon as they are seen, not at the end
// of the line. Says nothing about subjects, JSON or whether headers were agreed: that is the
// broker's. Loop-confined.
class ClientParser {
 public:
  struct Limits {
    uint32_t control_line_max = 4096;       // bytes of arguments, without the verb
    uint32_t payload_max = 1024 * 1024;     // header block included
  };

  ClientParser() = default;
  explicit ClientParser(Limits limits) : limits_(limits) {}
  void set_limits(Limits limits) { limits_ = limits; }
  const Limits& limits() const { return limits_; }

  // Reads the command at the start of `input`, which is not empty.
  ParseStatus next(std::string_view input, Command& command);

  // After Partial: how long `input` must be at least for another try to be worth while. The whole
  // command may be longer, by one byte when its payload is awaited.
  size_t bytes_needed() const { return bytes_needed_; }
  // After Error.
  ParseError error() const { return error_; }

 private:
  template <bool kHasHeader>
  ParseStatus next_publish(std::string_view input, Command& command);
  ParseStatus next_line(std::string_view input, Command& command);
  ParseStatus read_publish(std::string_view input, std::string_view arguments, size_t payload_at,
                           Command& command);
  ParseStatus read_payload(std::string_view input, size_t payload_at, size_t payload_size,
                           Command& command);
  ParseStatus read_subscribe(std::string_view arguments, Command& command);
  ParseStatus read_unsubscribe(std::string_view arguments, Command& command);
  ParseStatus fail(ParseError);
  ParseStatus need(size_t bytes);

  Limits limits_;
  ParseError error_ = ParseError::None;
  size_t bytes_needed_ = 0;
};

}  // namespace brokkr::protocol
