#include "jetstream/s2.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "store/record.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kS2Identifier = "S2sTwO";
constexpr std::string_view kSnappyIdentifier = "sNaPpY";
constexpr uint8_t kCompressed = 0x00;
constexpr uint8_t kUncompressed = 0x01;
constexpr uint8_t kIdentifier = 0xff;
constexpr uint8_t kFirstSkippable = 0x80;
constexpr size_t kChunkHeader = 4;
constexpr size_t kChecksum = 4;
constexpr size_t kBlock = 64 << 10;         // what is written
constexpr size_t kPlainMax = 4 << 20;       // what is read; the format's own limit
constexpr size_t kChunkMax = kPlainMax + (kPlainMax >> 3) + 64;
constexpr size_t kHashBits = 14;

uint32_t masked_checksum(std::string_view plain) {
  const uint32_t crc = store::crc32c(plain);
  return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

void put_u24(std::string& out, size_t value) {
  for (int shift = 0; shift < 24; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

void put_u32(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t load_u32(const char* from) {
  uint32_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// --- compressing: Snappy's block format

void put_literal(std::string_view bytes, std::string& out) {
  if (bytes.empty()) return;
  const size_t length = bytes.size() - 1;
  if (length < 60) {
    out.push_back(static_cast<char>(length << 2));
  } else if (length < 256) {
    out.push_back(static_cast<char>(60 << 2));
    out.push_back(static_cast<char>(length));
  } else {
    out.push_back(static_cast<char>(61 << 2));
    out.push_back(static_cast<char>(length));
    out.push_back(static_cast<char>(length >> 8));
  }
  out.append(bytes);
}

void put_copy(size_t offset, size_t length, std::string& out) {
  while (length > 0) {
    const size_t part = length > 67 ? 64 : length > 64 ? 60 : length;
    out.push_back(static_cast<char>((part - 1) << 2 | 2));
    out.push_back(static_cast<char>(offset));
    out.push_back(static_cast<char>(offset >> 8));
    length -= part;
  }
}

// `plain` has at most kBlock bytes, so that offsets fit 16 bits.
void compress_block(std::string_view plain, std::string& out) {
  for (size_t rest = plain.size(); ; rest >>= 7) {
    out.push_back(static_cast<char>(rest < 0x80 ? rest : rest | 0x80));
    if (rest < 0x80) break;
  }
  std::array<uint16_t, 1 << kHashBits> places{};
  size_t literal = 0;
  size_t at = 1;
  while (at + 4 <= plain.size()) {
    const uint32_t word = load_u32(plain.data() + at);
    uint16_t& place = places[word * 0x9e3779b1U >> (32 - kHashBits)];
    const size_t candidate = place;
    place = static_cast<uint16_t>(at);
    if (candidate >= at || load_u32(plain.data() + candidate) != word) {
      ++at;
      continue;
    }
    size_t length = 4;
    while (at + length < plain.size() && plain[candidate + length] == plain[at + length]) ++length;
    put_literal(plain.substr(literal, at - literal), out);
    put_copy(at - candidate, length, out);
    at += length;
    literal = at;
  }
  put_literal(plain.substr(literal), out);
}

// --- expanding: S2's block format

Error corrupt_s2(const char* what) { return {Errc::Corrupt, std::string("S2 stream: ") + what}; }

class BlockReader {
 public:
  explicit BlockReader(std::string_view bytes) : bytes_(bytes) {}

  Status expand(std::string& plain) {
    size_t size = 0;
    if (!read_size(size) || size > kPlainMax) return corrupt_s2("size of a block");
    plain.clear();
    plain.reserve(size);
    while (at_ < bytes_.size()) {
      const auto tag = static_cast<uint8_t>(bytes_[at_]);
      const bool ok = (tag & 3) == 0 ? take_literal(tag, plain, size) : take_copy(tag, plain, size);
      if (!ok) return corrupt_s2("damaged block");
    }
    if (plain.size() != size) return corrupt_s2("block of another size");
    return {};
  }

 private:
  bool read_size(size_t& size) {
    for (unsigned shift = 0; shift < 35 && at_ < bytes_.size(); shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      size |= size_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  // A little-endian number of `count` bytes.
  bool take_number(size_t count, size_t& value) {
    if (bytes_.size() - at_ < count) return false;
    value = 0;
    for (size_t i = 0; i < count; ++i) value |= size_t{static_cast<uint8_t>(bytes_[at_ + i])} << (8 * i);
    at_ += count;
    return true;
  }

  bool take_literal(uint8_t tag, std::string& plain, size_t size) {
    ++at_;
    size_t length = tag >> 2;
    if (length >= 60 && !take_number(length - 59, length)) return false;
    ++length;
    if (bytes_.size() - at_ < length || size - plain.size() < length) return false;
    plain.append(bytes_.substr(at_, length));
    at_ += length;
    return true;
  }

  bool take_copy(uint8_t tag, std::string& plain, size_t size) {
    ++at_;
    size_t length = 0;
    if ((tag & 3) == 1) {
      size_t low = 0;
      if (!take_number(1, low)) return false;
      length = tag >> 2 & 7;
      const size_t offset = (size_t{tag} & 0xe0) << 3 | low;
      if (offset != 0) {
        offset_ = offset;
      } else if (!take_repeat_length(length)) {
        return false;
      }
      length += 4;
    } else {
      if (!take_number((tag & 3) == 2 ? 2 : 4, offset_)) return false;
      length = (tag >> 2) + size_t{1};
    }
    if (offset_ == 0 || offset_ > plain.size() || size - plain.size() < length) return false;
    for (size_t from = plain.size() - offset_; length > 0; --length) plain.push_back(plain[from++]);
    return true;
  }

  // The offset is that of the copy before.
  bool take_repeat_length(size_t& length) {
    const size_t code = length;
    if (code < 5) return true;
    if (!take_number(code - 4, length)) return false;
    constexpr size_t kBase[] = {4, 1 << 8, 1 << 16};
    length += kBase[code - 5];
    return true;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  size_t offset_ = 0;
};

}  // namespace

void S2Writer::add(std::string_view plain, std::string& out) {
  pending_.append(plain);
  size_t done = 0;
  for (; pending_.size() - done >= kBlock; done += kBlock) {
    write_chunk(std::string_view(pending_).substr(done, kBlock), out);
  }
  pending_.erase(0, done);
}

void S2Writer::finish(std::string& out) {
  write_chunk(pending_, out);
  pending_.clear();
}

void S2Writer::write_chunk(std::string_view plain, std::string& out) {
  if (!is_begun_) {
    out.push_back(static_cast<char>(kIdentifier));
    put_u24(out, kS2Identifier.size());
    out.append(kS2Identifier);
    is_begun_ = true;
  }
  if (plain.empty()) return;
  std::string block;
  compress_block(plain, block);
  const bool saves = block.size() + plain.size() / 8 < plain.size();
  const std::string_view body = saves ? std::string_view(block) : plain;
  out.push_back(static_cast<char>(saves ? kCompressed : kUncompressed));
  put_u24(out, body.size() + kChecksum);
  put_u32(out, masked_checksum(plain));
  out.append(body);
}

std::string encode_snappy(std::string_view plain) {
  S2Writer writer;
  std::string out;
  writer.add(plain, out);
  writer.finish(out);
  // What follows the identifier is Snappy already.
  static_assert(kSnappyIdentifier.size() == kS2Identifier.size());
  out.replace(kChunkHeader, kSnappyIdentifier.size(), kSnappyIdentifier);
  return out;
}

Status S2Reader::add(std::string_view bytes, Sink sink) {
  pending_.append(bytes);
  size_t at = 0;
  while (pending_.size() - at >= kChunkHeader) {
    const auto type = static_cast<uint8_t>(pending_[at]);
    const size_t size = load_u32(pending_.data() + at) >> 8;
    if (size > kChunkMax) return corrupt_s2("chunk is too large");
    if (pending_.size() - at - kChunkHeader < size) break;
    const std::string_view chunk = std::string_view(pending_).substr(at + kChunkHeader, size);
    if (Status taken = take_chunk(type, chunk, sink); !taken) return taken;
    at += kChunkHeader + size;
  }
  pending_.erase(0, at);
  return {};
}

Status S2Reader::take_chunk(uint8_t type, std::string_view chunk, Sink sink) {
  if (type == kIdentifier) {
    if (chunk != kS2Identifier && chunk != kSnappyIdentifier) return corrupt_s2("is of another kind");
    is_begun_ = true;
    return {};
  }
  if (!is_begun_) return corrupt_s2("does not begin like one");
  if (type >= kFirstSkippable) return {};
  if (type != kCompressed && type != kUncompressed) return corrupt_s2("unknown chunk");
  if (chunk.size() < kChecksum) return corrupt_s2("chunk is too short");
  const uint32_t checksum = load_u32(chunk.data());
  chunk.remove_prefix(kChecksum);
  std::string_view plain = chunk;
  if (type == kCompressed) {
    if (Status expanded = BlockReader(chunk).expand(plain_); !expanded) return expanded;
    plain = plain_;
  }
  if (masked_checksum(plain) != checksum) return corrupt_s2("checksum does not match");
  return sink(plain);
}

Status S2Reader::finish() const {
  if (!pending_.empty()) return corrupt_s2("ends too early");
  return {};
}

}  // namespace brokkr::jetstream
