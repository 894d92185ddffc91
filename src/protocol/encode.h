#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

// Writers of protocol lines into memory the caller has made room for: each takes where to write
// and returns the end of what it wrote. Size the room with the matching `..._size_max`. Pure.
namespace brokkr::protocol {

inline constexpr std::string_view kPing = "PING\r\n";
inline constexpr std::string_view kPong = "PONG\r\n";
inline constexpr std::string_view kOk = "+OK\r\n";
inline constexpr std::string_view kCrlf = "\r\n";

// Copies `text`. Up to 32 bytes are two overlapping loads and stores, which beats a call to memcpy
// with a length it does not know.
inline char* write_text(char* out, std::string_view text) {
  const char* from = text.data();
  const size_t size = text.size();
  if (size > 32) {
    std::memcpy(out, from, size);
  } else if (size >= 16) {
    char head[16], tail[16];
    std::memcpy(head, from, 16);
    std::memcpy(tail, from + size - 16, 16);
    std::memcpy(out, head, 16);
    std::memcpy(out + size - 16, tail, 16);
  } else if (size >= 8) {
    char head[8], tail[8];
    std::memcpy(head, from, 8);
    std::memcpy(tail, from + size - 8, 8);
    std::memcpy(out, head, 8);
    std::memcpy(out + size - 8, tail, 8);
  } else if (size >= 4) {
    char head[4], tail[4];
    std::memcpy(head, from, 4);
    std::memcpy(tail, from + size - 4, 4);
    std::memcpy(out, head, 4);
    std::memcpy(out + size - 4, tail, 4);
  } else if (size > 0) {
    out[0] = from[0];
    out[size / 2] = from[size / 2];
    out[size - 1] = from[size - 1];
  }
  return out + size;
}

inline constexpr size_t kUintSizeMax = 20;

inline size_t uint_size(uint64_t value) {
  size_t size = 1;
  while (value >= 10) {
    value /= 10;
    ++size;
  }
  return size;
}

inline char* write_uint(char* out, uint64_t value) {
  if (value < 10) {
    *out = static_cast<char>('0' + value);
    return out + 1;
  }
  char* const end = out + uint_size(value);
  char* at = end;
  do {
    *--at = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  return end;
}

// A size as text, written once per message and copied into the line of every subscriber.
class SizeText {
 public:
  explicit SizeText(uint64_t value)
      : size_(static_cast<uint8_t>(write_uint(digits_, value) - digits_)) {}
  std::string_view view() const {
    // Lets the compiler see that a copy of this never takes the way of long texts.
    if (size_ > kUintSizeMax) __builtin_unreachable();
    return {digits_, size_};
  }

 private:
  char digits_[kUintSizeMax];
  uint8_t size_;
};

// Room for the line (not the payload) of MSG, HMSG, PUB or HPUB with these arguments.
inline size_t message_line_size_max(std::string_view subject, std::string_view sid,
                                    std::string_view reply) {
  return subject.size() + sid.size() + reply.size() + 2 * kUintSizeMax + 11;
}

// "MSG subject sid [reply] size\r\n"
inline char* write_msg_line(char* out, std::string_view subject, std::string_view sid,
                            std::string_view reply, std::string_view size) {
  std::memcpy(out, "MSG ", 4);
  out = write_text(out + 4, subject);
  *out++ = ' ';
  out = write_text(out, sid);
  *out++ = ' ';
  if (!reply.empty()) {
    out = write_text(out, reply);
    *out++ = ' ';
  }
  out = write_text(out, size);
  std::memcpy(out, "\r\n", 2);
  return out + 2;
}

// "HMSG subject sid [reply] header_size total_size\r\n"
inline char* write_hmsg_line(char* out, std::string_view subject, std::string_view sid,
                             std::string_view reply, std::string_view header_size,
                             std::string_view total_size) {
  std::memcpy(out, "HMSG ", 5);
  out = write_text(out + 5, subject);
  *out++ = ' ';
  out = write_text(out, sid);
  *out++ = ' ';
  if (!reply.empty()) {
    out = write_text(out, reply);
    *out++ = ' ';
  }
  out = write_text(out, header_size);
  *out++ = ' ';
  out = write_text(out, total_size);
  std::memcpy(out, "\r\n", 2);
  return out + 2;
}

// "PUB subject [reply] size\r\n"
inline char* write_pub_line(char* out, std::string_view subject, std::string_view reply,
                            size_t size) {
  std::memcpy(out, "PUB ", 4);
  out = write_text(out + 4, subject);
  *out++ = ' ';
  if (!reply.empty()) {
    out = write_text(out, reply);
    *out++ = ' ';
  }
  out = write_uint(out, size);
  std::memcpy(out, "\r\n", 2);
  return out + 2;
}

// "HPUB subject [reply] header_size total_size\r\n"
inline char* write_hpub_line(char* out, std::string_view subject, std::string_view reply,
                             size_t header_size, size_t total_size) {
  std::memcpy(out, "HPUB ", 5);
  out = write_text(out + 5, subject);
  *out++ = ' ';
  if (!reply.empty()) {
    out = write_text(out, reply);
    *out++ = ' ';
  }
  out = write_uint(out, header_size);
  *out++ = ' ';
  out = write_uint(out, total_size);
  std::memcpy(out, "\r\n", 2);
  return out + 2;
}

// "-ERR 'text'\r\n"
inline constexpr size_t error_line_size(std::string_view text) { return text.size() + 9; }
inline char* write_error_line(char* out, std::string_view text) {
  std::memcpy(out, "-ERR '", 6);
  out = write_text(out + 6, text);
  std::memcpy(out, "'\r\n", 3);
  return out + 3;
}

}  // namespace brokkr::protocol
