#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace brokkr::http {

// Compresses messages of permessage-deflate (RFC 7692) without context takeover, so that one of
// these serves all connections of a loop. Its tables are made at the first use. Loop-confined.
class MessageDeflater {
 public:
  MessageDeflater();
  ~MessageDeflater();
  MessageDeflater(const MessageDeflater&) = delete;
  MessageDeflater& operator=(const MessageDeflater&) = delete;

  // Appends the compressed message, without the empty block's end that the receiver adds. False,
  // and nothing appended, when it would not be shorter than `message`.
  bool compress(std::string_view message, std::string& out);

 private:
  struct Stream;
  // Clearing the hash table costs more than compressing a short message with it, so those have a
  // smaller one of their own.
  std::unique_ptr<Stream> short_;
  std::unique_ptr<Stream> long_;
};

// Expands one message after the other as its bytes come, into room the caller has. Holds a window
// of 32 KiB from the first byte of a message to its end. Loop-confined.
class MessageInflater {
 public:
  enum class Outcome : uint8_t {
    NeedsInput,   // all input is taken and there may be room left
    NeedsRoom,    // the room is full and there may be more
    Ended,        // the whole message is out; `reset` before the next
    Corrupt,
  };
  struct Step {
    Outcome outcome;
    size_t taken = 0;     // of the input
    size_t produced = 0;  // in the room
  };

  MessageInflater();
  ~MessageInflater();
  MessageInflater(const MessageInflater&) = delete;
  MessageInflater& operator=(const MessageInflater&) = delete;

  void reset();
  // `is_last`: the message has no bytes beyond `input`.
  Step step(std::string_view input, bool is_last, char* room, size_t room_bytes);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  size_t tail_taken_ = 0;   // of the four bytes the sender left out
  bool is_done_ = false;    // a final block came: what follows in the message is nothing
  bool is_full_ = false;    // the last step filled its room
};

}  // namespace brokkr::http
