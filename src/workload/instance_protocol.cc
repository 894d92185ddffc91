#include "workload/instance_protocol.h"

#include <algorithm>
#include <cstring>

namespace brokkr::workload {
namespace {

struct WireHeader {
  uint32_t size;
  uint8_t type;
  uint8_t flags;
  uint16_t code;
  uint64_t id;
};
static_assert(sizeof(WireHeader) == kFrameHeaderBytes);

}  // namespace

FrameWriter::FrameWriter(std::string& out, FrameType type, uint64_t id, uint16_t code,
                         uint8_t flags)
    : out_(out), start_(out.size()) {
  const WireHeader header{0, static_cast<uint8_t>(type), flags, code, id};
  out_.append(reinterpret_cast<const char*>(&header), sizeof header);
}

FrameWriter& FrameWriter::number(uint64_t value) {
  out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  return *this;
}

FrameWriter& FrameWriter::text(std::string_view value) {
  const auto size = static_cast<uint32_t>(value.size());
  out_.append(reinterpret_cast<const char*>(&size), sizeof size);
  out_.append(value);
  return *this;
}

void FrameWriter::finish() {
  const auto size = static_cast<uint32_t>(out_.size() - start_ - kFrameHeaderBytes);
  std::memcpy(out_.data() + start_, &size, sizeof size);
}

uint64_t FieldReader::number() {
  uint64_t value = 0;
  if (!is_ok_ || rest_.size() < sizeof value) {
    is_ok_ = false;
    return 0;
  }
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_.remove_prefix(sizeof value);
  return value;
}

std::string_view FieldReader::text() {
  uint32_t size = 0;
  if (!is_ok_ || rest_.size() < sizeof size) {
    is_ok_ = false;
    return {};
  }
  std::memcpy(&size, rest_.data(), sizeof size);
  if (rest_.size() - sizeof size < size) {
    is_ok_ = false;
    return {};
  }
  const std::string_view value = rest_.substr(sizeof size, size);
  rest_.remove_prefix(sizeof size + size);
  return value;
}

char* FrameBuffer::prepare(size_t bytes) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (data_.size() - end_ < bytes && begin_ > 0) {
    std::memmove(data_.data(), data_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (data_.size() - end_ < bytes) data_.resize(std::max(end_ + bytes, data_.size() * 2));
  return data_.data() + end_;
}

void FrameBuffer::append(std::string_view bytes) {
  if (bytes.empty()) return;
  std::memcpy(prepare(bytes.size()), bytes.data(), bytes.size());
  commit(bytes.size());
}

FrameParse take_frame(std::string_view& bytes, Frame& frame, size_t body_bytes_max) {
  if (bytes.size() < kFrameHeaderBytes) return FrameParse::Partial;
  WireHeader header{};
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.size > body_bytes_max) return FrameParse::Corrupt;
  if (bytes.size() - kFrameHeaderBytes < header.size) return FrameParse::Partial;
  frame.type = static_cast<FrameType>(header.type);
  frame.flags = header.flags;
  frame.code = header.code;
  frame.id = header.id;
  frame.body = bytes.substr(kFrameHeaderBytes, header.size);
  bytes.remove_prefix(kFrameHeaderBytes + header.size);
  return FrameParse::Whole;
}

bool FrameBuffer::next(Frame& frame) {
  if (is_corrupt_) return false;
  std::string_view rest(data_.data() + begin_, end_ - begin_);
  const FrameParse parsed = take_frame(rest, frame, body_max_);
  is_corrupt_ = parsed == FrameParse::Corrupt;
  begin_ = end_ - rest.size();
  return parsed == FrameParse::Whole;
}

bool FrameBuffer::has_frame() const {
  if (is_corrupt_ || end_ - begin_ < kFrameHeaderBytes) return false;
  uint32_t size = 0;
  std::memcpy(&size, data_.data() + begin_, sizeof size);
  return size <= body_max_ && end_ - begin_ - kFrameHeaderBytes >= size;
}

std::string FrameBuffer::take_rest() {
  std::string rest(data_.data() + begin_, end_ - begin_);
  end_ = begin_;
  return rest;
}

void FrameBuffer::shrink(size_t bytes) {
  if (!is_empty() || data_.size() <= bytes) return;
  data_ = {};
  begin_ = end_ = 0;
}

}  // namespace brokkr::workload
