#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace brokkr::client {

// Bytes waiting to be sent, contiguous, kept across flushes so that a steady flow allocates nothing.
// Loop-confined.
class Output {
 public:
  // Room for `bytes` more at the end; what is written there counts after `commit`.
  char* make_room(size_t bytes) {
    if (end_ + bytes > capacity_) grow(bytes);
    return data_.get() + end_;
  }
  void commit(const char* end) { end_ = static_cast<size_t>(end - data_.get()); }
  void append(std::string_view text) {
    char* at = make_room(text.size());
    std::memcpy(at, text.data(), text.size());
    end_ += text.size();
  }

  std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  void consume(size_t bytes) {
    begin_ += bytes;
    if (begin_ == end_) clear();
  }
  void clear() {
    begin_ = end_ = 0;
    if (capacity_ > kKeptBytesMax) {
      data_.reset();
      capacity_ = 0;
    }
  }

 private:
  static constexpr size_t kKeptBytesMax = 4 << 20;

  void grow(size_t bytes) {
    const size_t used = size();
    // Moving the rest to the front is enough when most of the buffer has been sent already.
    if (used + bytes <= capacity_ / 2) {
      std::memmove(data_.get(), data_.get() + begin_, used);
    } else {
      const size_t capacity = std::max<size_t>({4096, 2 * capacity_, used + bytes});
      auto data = std::make_unique_for_overwrite<char[]>(capacity);
      if (used > 0) std::memcpy(data.get(), data_.get() + begin_, used);
      data_ = std::move(data);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }

  std::unique_ptr<char[]> data_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace brokkr::client
