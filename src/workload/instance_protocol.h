#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// What node and function instance say to each other on the socket pair the instance was born with.
//
//   frame  = size:u32 type:u8 flags:u8 code:u16 id:u64 body     size counts the body, at most 64 MiB
//   body   = *field        field = number:u64 | length:u32 bytes
//
// in the machine's byte order (both ends are one machine). Frames of a kind carry these fields:
//
//   node -> instance
//     Load       code=kind; wall_ns heap_bytes reply_bytes log_lines_per_second, name, file_name,
//                artifact, pairs, then per pair name and value
//     Invoke     id; received_ns (CLOCK_MONOTONIC), subject, reply, headers, payload
//     HostReply  id of the HostCall, code; error, headers, payload, more
//     Trim
//   instance -> node
//     Loaded     version of the engine
//     LoadFailed text
//     Outcome    id of the Invoke, code, flag kHasReply; payload, headers, error, stack
//     HostCall   id; timeout_ms replies_max, service, method, target, key, headers, payload,
//                id of the Invoke or 0
//     Log        code=stream; text
//
// The instance has untrusted code behind it: the node believes nothing it reads here.
namespace brokkr::workload {

enum class FrameType : uint8_t {
  Load = 1,
  Invoke = 2,
  HostReply = 3,
  Trim = 4,
  Loaded = 16,
  LoadFailed = 17,
  Outcome = 18,
  HostCall = 19,
  Log = 20,
};
constexpr uint8_t kHasReply = 1;

constexpr size_t kFrameHeaderBytes = 16;
constexpr size_t kFrameBodyBytesMax = 64U << 20;

struct Frame {
  FrameType type = FrameType::Log;
  uint8_t flags = 0;
  uint16_t code = 0;
  uint64_t id = 0;
  std::string_view body;
};

// Appends frames to a buffer. Loop-confined.
class FrameWriter {
 public:
  FrameWriter(std::string& out, FrameType type, uint64_t id = 0, uint16_t code = 0,
              uint8_t flags = 0);
  FrameWriter& number(uint64_t);
  FrameWriter& text(std::string_view);
  // Sets the frame's size; nothing is added after.
  void finish();

 private:
  std::string& out_;
  const size_t start_;
};

// Reads the fields of a body in order. After a field that is not there everything is empty and
// `is_ok` false. A value type.
class FieldReader {
 public:
  explicit FieldReader(std::string_view body) : rest_(body) {}
  uint64_t number();
  std::string_view text();
  bool is_ok() const { return is_ok_; }

 private:
  std::string_view rest_;
  bool is_ok_ = true;
};

// What stands at the front of some bytes.
enum class FrameParse : uint8_t { Whole, Partial, Corrupt };

// Cuts one frame off the front of `bytes`; its body points into them. Changes neither argument
// unless the frame is Whole.
FrameParse take_frame(std::string_view& bytes, Frame& frame, size_t body_bytes_max);

// Bytes as they came, cut into frames. Loop-confined.
class FrameBuffer {
 public:
  explicit FrameBuffer(size_t body_bytes_max = kFrameBodyBytesMax) : body_max_(body_bytes_max) {}

  // Room for at least `bytes` more; call `commit` with how many came. Moves what is unread, so
  // frames handed out before are void.
  char* prepare(size_t bytes);
  size_t room() const { return data_.size() - end_; }
  void commit(size_t bytes) { end_ += bytes; }
  void append(std::string_view bytes);

  // True and the next frame, whose body lives until `prepare`, `append` or `take_rest`; false when
  // none is complete, or when the stream cannot be understood any more (`is_corrupt`).
  bool next(Frame& frame);
  bool has_frame() const;
  bool is_corrupt() const { return is_corrupt_; }
  // Hands over the unread bytes and forgets them, leaving the frame handed out last in place.
  std::string take_rest();
  bool is_empty() const { return begin_ == end_; }
  // Gives memory beyond `bytes` back when nothing is unread.
  void shrink(size_t bytes = 0);

 private:
  const size_t body_max_;
  std::vector<char> data_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool is_corrupt_ = false;
};

}  // namespace brokkr::workload
