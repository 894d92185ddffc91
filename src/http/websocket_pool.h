#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "http/websocket_deflate.h"
#include "http/websocket_frame.h"

namespace brokkr::http {

// Private to the room; websocket.h says what it is for.
class WebSocketPool {
 public:
  // What one read of a stream that may be compressed brings in.
  static constexpr size_t kInputBytes = 32 << 10;

  WebSocketPool() = default;
  WebSocketPool(const WebSocketPool&) = delete;
  WebSocketPool& operator=(const WebSocketPool&) = delete;

  MessageDeflater& deflater() { return deflater_; }
  std::unique_ptr<MessageInflater> take_inflater();
  void give_inflater(std::unique_ptr<MessageInflater> inflater);

  // Valid until the next call of the same function.
  std::span<char> input_buffer();
  std::string& output_buffer();     // empty
  std::string& compressed_buffer();  // empty

  // A key nobody can foresee.
  MaskKey next_mask();

 private:
  static constexpr size_t kFreeInflatersMax = 8;
  MessageDeflater deflater_;
  std::vector<std::unique_ptr<MessageInflater>> inflaters_;
  std::vector<char> input_;
  std::string output_;
  std::string compressed_;
  std::array<uint8_t, 1024> random_{};
  size_t random_left_ = 0;
};

}  // namespace brokkr::http
