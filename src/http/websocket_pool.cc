#include "http/websocket_pool.h"

#include <cstring>
#include <utility>

#include "base/random.h"
#include "http/websocket.h"

namespace brokkr::http {

std::shared_ptr<WebSocketPool> make_websocket_pool() { return std::make_shared<WebSocketPool>(); }

std::unique_ptr<MessageInflater> WebSocketPool::take_inflater() {
  if (inflaters_.empty()) return std::make_unique<MessageInflater>();
  std::unique_ptr<MessageInflater> inflater = std::move(inflaters_.back());
  inflaters_.pop_back();
  inflater->reset();
  return inflater;
}

void WebSocketPool::give_inflater(std::unique_ptr<MessageInflater> inflater) {
  if (inflaters_.size() < kFreeInflatersMax) inflaters_.push_back(std::move(inflater));
}

std::span<char> WebSocketPool::input_buffer() {
  if (input_.empty()) input_.resize(kInputBytes);
  return input_;
}

std::string& WebSocketPool::output_buffer() {
  output_.clear();
  return output_;
}

std::string& WebSocketPool::compressed_buffer() {
  compressed_.clear();
  return compressed_;
}

MaskKey WebSocketPool::next_mask() {
  MaskKey key;
  if (random_left_ < key.size()) {
    fill_secure(random_);
    random_left_ = random_.size();
  }
  random_left_ -= key.size();
  std::memcpy(key.data(), random_.data() + random_left_, key.size());
  return key;
}

}  // namespace brokkr::http
