#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/result.h"

// The S2 stream format (an extension of Snappy's framing), in which stream backups travel:
// github.com/klauspost/compress/s2 and the Snappy framing description. What is written here uses
// Snappy's own codes only, so that every S2 reader takes it.
namespace brokkr::jetstream {

// Loop-confined.
class S2Writer {
 public:
  // Appends whole chunks to `out` as soon as there is enough for one.
  void add(std::string_view plain, std::string& out);
  // The rest.
  void finish(std::string& out);

 private:
  void write_chunk(std::string_view plain, std::string& out);
  std::string pending_;
  bool is_begun_ = false;
};

// The whole of `plain` in Snappy's own frames, for readers that know no S2.
std::string encode_snappy(std::string_view plain);

// Takes the stream in pieces of any size. Loop-confined.
class S2Reader {
 public:
  using Sink = FunctionRef<Status(std::string_view plain)>;
  // Hands what could be decoded to `sink`; its error ends the call. Corrupt on anything that is no
  // S2 stream; needs at most a chunk of memory, 4 MiB.
  Status add(std::string_view bytes, Sink sink);
  // Corrupt when the stream ends in the middle of a chunk.
  Status finish() const;

 private:
  Status take_chunk(uint8_t type, std::string_view chunk, Sink sink);
  std::string pending_;
  std::string plain_;
  bool is_begun_ = false;
};

}  // namespace brokkr::jetstream
