#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace brokkr::http {

// Frames of RFC 6455: what the bytes between two WebSocket peers mean. Pure.

enum class Opcode : uint8_t {
  Continuation = 0,
  Text = 1,
  Binary = 2,
  Close = 8,
  Ping = 9,
  Pong = 10,
};

// Status codes of close frames.
enum class CloseStatus : uint16_t {
  Normal = 1000,
  GoingAway = 1001,
  ProtocolError = 1002,
  NoStatus = 1005,  // never sent
  InvalidPayload = 1007,
  PolicyViolation = 1008,
  MessageTooBig = 1009,
  InternalError = 1011,
  TlsHandshake = 1015,  // sent by nats-server
};

constexpr size_t kFrameHeaderMax = 14;
constexpr size_t kControlPayloadMax = 125;

using MaskKey = std::array<uint8_t, 4>;

struct FrameHeader {
  Opcode opcode = Opcode::Binary;
  bool is_final = true;
  bool is_compressed = false;  // only on the first frame of a message
  bool is_masked = false;
  MaskKey mask{};
  uint64_t length = 0;
  bool is_control() const { return opcode >= Opcode::Close; }
};

// Reads frame headers from bytes that come in any pieces, and holds every rule that needs no more
// than the headers so far. Loop-confined.
class FrameReader {
 public:
  struct Rules {
    bool masks_required = true;
    bool compression = false;
  };
  enum class Outcome : uint8_t { Partial, Header, Error };

  explicit FrameReader(Rules rules) : rules_(rules) {}
  // Takes bytes from the front of `input`. After Header the payload follows, `header().length` bytes
  // that are the caller's to take. After Error, `error` says what rule is broken, in nats-server's
  // words, and nothing more may be read.
  Outcome next(std::string_view& input);
  const FrameHeader& header() const { return header_; }
  const std::string& error() const { return error_; }

 private:
  Outcome fail(std::string text);
  Outcome check_start();
  size_t header_bytes() const;

  const Rules rules_;
  FrameHeader header_;
  bool is_in_message_ = false;
  std::array<char, kFrameHeaderMax> bytes_{};
  uint8_t have_ = 0;
  std::string error_;
};

// Writes the header into `out` (kFrameHeaderMax bytes); how many bytes it has.
size_t write_frame_header(const FrameHeader& header, char* out);

// Masks or unmasks; `offset` is where `bytes` begins in its frame's payload.
void apply_mask(const MaskKey& key, uint64_t offset, char* bytes, size_t count);

// The payload of a close frame; a text too long is cut and ends in "...".
std::string make_close_payload(CloseStatus status, std::string_view text);

// What to answer to a close frame with `payload`: the payload of ours, empty when it had none.
struct CloseAnswer {
  std::string payload;
  std::string error;  // not empty: the frame breaks a rule, and `payload` says so
};
CloseAnswer answer_close(std::string_view payload);

}  // namespace brokkr::http
