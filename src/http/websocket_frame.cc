#include "http/websocket_frame.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"

namespace brokkr::http {
namespace {

constexpr uint8_t kFinalBit = 0x80;
constexpr uint8_t kRsv1Bit = 0x40;
constexpr uint8_t kRsv23Bits = 0x30;
constexpr uint8_t kMaskBit = 0x80;
constexpr uint8_t kLengthBits = 0x7f;
constexpr uint8_t kLength16 = 126;
constexpr uint8_t kLength64 = 127;

uint64_t read_big_endian(const char* bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void write_big_endian(uint64_t value, char* bytes, size_t count) {
  for (size_t i = count; i-- > 0; value >>= 8) bytes[i] = static_cast<char>(value & 0xff);
}

// Status codes an endpoint may send.
bool is_valid_status(uint64_t status) {
  if (status < 1000 || status >= 5000) return false;
  if (status >= 1015 && status <= 2999) return false;
  return status != 1004 && status != 1005 && status != 1006;
}

}  // namespace

FrameReader::Outcome FrameReader::fail(std::string text) {
  error_ = std::move(text);
  return Outcome::Error;
}

// How long the header is, as far as its first two bytes tell.
size_t FrameReader::header_bytes() const {
  if (have_ < 2) return 2;
  const auto second = static_cast<uint8_t>(bytes_[1]);
  const size_t length = second & kLengthBits;
  return 2U + (length == kLength16 ? 2U : length == kLength64 ? 8U : 0U) +
         ((second & kMaskBit) != 0 ? 4U : 0U);
}

// The rules on the first two bytes; they are checked before more is waited for.
FrameReader::Outcome FrameReader::check_start() {
  const auto first = static_cast<uint8_t>(bytes_[0]);
  const auto second = static_cast<uint8_t>(bytes_[1]);
  const auto opcode = static_cast<Opcode>(first & 0x0f);
  const bool is_final = (first & kFinalBit) != 0;
  const bool is_compressed = (first & kRsv1Bit) != 0;
  if ((first & kRsv23Bits) != 0) return fail("RSV2 and RSV3 must be clear");
  if (is_compressed && !rules_.compression) {
    return fail("compressed frame received without negotiated permessage-deflate");
  }
  if (rules_.masks_required && (second & kMaskBit) == 0) return fail("mask bit missing");
  switch (opcode) {
    case Opcode::Close:
    case Opcode::Ping:
    case Opcode::Pong:
      if ((second & kLengthBits) > kControlPayloadMax) {
        return fail("control frame length bigger than maximum allowed of 125 bytes");
      }
      if (!is_final) return fail("control frame does not have final bit set");
      if (is_compressed) return fail("control frame must not be compressed");
      break;
    case Opcode::Text:
    case Opcode::Binary:
      if (is_in_message_) {
        return fail("new message started before final frame for previous message was received");
      }
      is_in_message_ = !is_final;
      break;
    case Opcode::Continuation:
      if (!is_in_message_ || is_compressed) return fail("invalid continuation frame");
      is_in_message_ = !is_final;
      break;
    default: return fail("unknown opcode " + std::to_string(first & 0x0f));
  }
  header_.opcode = opcode;
  header_.is_final = is_final;
  header_.is_compressed = is_compressed;
  header_.is_masked = (second & kMaskBit) != 0;
  return Outcome::Header;
}

FrameReader::Outcome FrameReader::next(std::string_view& input) {
  for (;;) {
    const size_t wanted = header_bytes();
    const size_t n = std::min(wanted - have_, input.size());
    std::memcpy(bytes_.data() + have_, input.data(), n);
    have_ = static_cast<uint8_t>(have_ + n);
    input.remove_prefix(n);
    if (have_ < wanted) return Outcome::Partial;
    if (wanted == 2 && check_start() == Outcome::Error) return Outcome::Error;
    if (have_ == header_bytes()) break;
  }
  const size_t short_length = static_cast<uint8_t>(bytes_[1]) & kLengthBits;
  const size_t length_bytes = short_length == kLength16 ? 2 : short_length == kLength64 ? 8 : 0;
  header_.length = length_bytes == 0 ? short_length : read_big_endian(bytes_.data() + 2, length_bytes);
  if ((header_.length >> 63) != 0) return fail("invalid 64-bit payload length");
  if (header_.is_masked) std::memcpy(header_.mask.data(), bytes_.data() + 2 + length_bytes, 4);
  have_ = 0;
  return Outcome::Header;
}

size_t write_frame_header(const FrameHeader& header, char* out) {
  size_t n = 2;
  out[0] = static_cast<char>(static_cast<uint8_t>(header.opcode) | (header.is_final ? kFinalBit : 0U) |
                             (header.is_compressed ? kRsv1Bit : 0U));
  uint64_t length = header.length;
  if (length > 0xffff) {
    write_big_endian(length, out + 2, 8);
    n = 10;
    length = kLength64;
  } else if (length > kControlPayloadMax) {
    write_big_endian(length, out + 2, 2);
    n = 4;
    length = kLength16;
  }
  out[1] = static_cast<char>(length | (header.is_masked ? kMaskBit : 0U));
  if (!header.is_masked) return n;
  std::memcpy(out + n, header.mask.data(), header.mask.size());
  return n + header.mask.size();
}

void apply_mask(const MaskKey& key, uint64_t offset, char* bytes, size_t count) {
  uint8_t turned[8];
  for (size_t i = 0; i < sizeof turned; ++i) turned[i] = key[(offset + i) & 3];
  uint64_t wide = 0;
  std::memcpy(&wide, turned, sizeof wide);
  size_t i = 0;
  for (; i + sizeof wide <= count; i += sizeof wide) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof word);
    word ^= wide;
    std::memcpy(bytes + i, &word, sizeof word);
  }
  for (; i < count; ++i) bytes[i] = static_cast<char>(bytes[i] ^ turned[i & 7]);
}

std::string make_close_payload(CloseStatus status, std::string_view text) {
  std::string payload(2, '\0');
  write_big_endian(static_cast<uint16_t>(status), payload.data(), 2);
  if (text.size() <= kControlPayloadMax - 2) return payload.append(text);
  return payload.append(text.substr(0, kControlPayloadMax - 5)).append("...");
}

CloseAnswer answer_close(std::string_view payload) {
  if (payload.empty()) return {};
  if (payload.size() == 1) {
    std::string error = "close frame payload cannot be 1 byte";
    return {make_close_payload(CloseStatus::ProtocolError, error), error};
  }
  const uint64_t status = read_big_endian(payload.data(), 2);
  if (!is_valid_status(status)) {
    std::string error = "invalid close status code " + std::to_string(status);
    return {make_close_payload(CloseStatus::ProtocolError, error), error};
  }
  if (!is_valid_utf8(payload.substr(2))) {
    return {make_close_payload(CloseStatus::InvalidPayload, "invalid utf8 body in close frame"), {}};
  }
  return {std::string(payload), {}};
}

}  // namespace brokkr::http
