#include "http/websocket_deflate.h"

#include <zlib.h>

#include <algorithm>

#include "base/check.h"

namespace brokkr::http {
namespace {

// What ends every flushed block; the sender leaves it out and the receiver puts it back.
constexpr std::string_view kTail{"\x00\x00\xff\xff", 4};
constexpr size_t kShortMax = 4096;
constexpr int kFastest = 1;

Bytef* bytes_of(const char* text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text));
}

}  // namespace

struct MessageDeflater::Stream {
  Stream(int window_bits, int memory_level) {
    const int made = deflateInit2(&z, kFastest, Z_DEFLATED, -window_bits, memory_level,
                                  Z_DEFAULT_STRATEGY);
    CHECK(made == Z_OK);  // it fails for want of memory only
  }
  ~Stream() { deflateEnd(&z); }
  z_stream z{};
};

MessageDeflater::MessageDeflater() = default;
MessageDeflater::~MessageDeflater() = default;

bool MessageDeflater::compress(std::string_view message, std::string& out) {
  const bool is_short = message.size() <= kShortMax;
  std::unique_ptr<Stream>& stream = is_short ? short_ : long_;
  if (stream == nullptr) {
    stream = is_short ? std::make_unique<Stream>(12, 5) : std::make_unique<Stream>(15, 8);
  } else {
    deflateReset(&stream->z);
  }
  z_stream& z = stream->z;
  const size_t before = out.size();
  out.resize(before + message.size() + kTail.size());
  z.next_in = bytes_of(message.data());
  z.avail_in = static_cast<uInt>(message.size());
  z.next_out = bytes_of(out.data() + before);
  z.avail_out = static_cast<uInt>(message.size() + kTail.size());
  const int flushed = deflate(&z, Z_SYNC_FLUSH);
  const size_t made = message.size() + kTail.size() - z.avail_out;
  // No room left means that more may be waiting inside.
  const bool fits = flushed == Z_OK && z.avail_in == 0 && z.avail_out > 0;
  if (!fits || made < kTail.size() || made - kTail.size() >= message.size()) {
    out.resize(before);
    return false;
  }
  out.resize(before + made - kTail.size());
  return true;
}

struct MessageInflater::Stream {
  Stream() {
    const int made = inflateInit2(&z, -15);
    CHECK(made == Z_OK);
  }
  ~Stream() { inflateEnd(&z); }
  z_stream z{};
};

MessageInflater::MessageInflater() : stream_(std::make_unique<Stream>()) {}
MessageInflater::~MessageInflater() = default;

void MessageInflater::reset() {
  inflateReset(&stream_->z);
  tail_taken_ = 0;
  is_done_ = false;
  is_full_ = false;
}

MessageInflater::Step MessageInflater::step(std::string_view input, bool is_last, char* room,
                                            size_t room_bytes) {
  Step step{Outcome::NeedsInput, 0, 0};
  z_stream& z = stream_->z;
  while (!is_done_) {
    const bool is_tail = step.taken == input.size() && is_last;
    const std::string_view source = is_tail ? kTail.substr(tail_taken_) : input.substr(step.taken);
    // Without input there may still be output that had no room before.
    if (source.empty() && !is_tail && !is_full_) return step;
    z.next_in = bytes_of(source.data());
    z.avail_in = static_cast<uInt>(source.size());
    z.next_out = bytes_of(room + step.produced);
    z.avail_out = static_cast<uInt>(room_bytes - step.produced);
    const int result = inflate(&z, Z_SYNC_FLUSH);
    (is_tail ? tail_taken_ : step.taken) += source.size() - z.avail_in;
    step.produced = room_bytes - z.avail_out;
    is_full_ = z.avail_out == 0;
    if (result == Z_STREAM_END) {
      is_done_ = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      step.outcome = Outcome::Corrupt;
      return step;
    } else if (is_full_) {
      step.outcome = Outcome::NeedsRoom;
      return step;
    } else if (is_tail) {
      // The tail ends between two blocks, unless the bytes before it stopped within one.
      is_done_ = (z.data_type & 128) != 0;
      if (is_done_) break;
      step.outcome = Outcome::Corrupt;
      return step;
    }
  }
  step.taken = input.size();
  if (is_last) step.outcome = Outcome::Ended;
  return step;
}

}  // namespace brokkr::http
