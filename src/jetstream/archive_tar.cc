#include "jetstream/archive_tar.h"

#include <cstring>
#include <map>
#include <optional>
#include <unordered_set>

#include "base/bytes.h"
#include "jetstream/s2.h"
#include "store/coding.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kTarBlock = 512;
constexpr size_t kFileMax = 256 << 20;      // one file in the archive
constexpr size_t kExpandedMax = 512 << 20;  // one of its blocks, expanded
constexpr std::string_view kCompressedBlock = "cmp";
constexpr size_t kBlockChecksum = 8;
constexpr size_t kRecordHead = 22;
constexpr uint64_t kErased = uint64_t{1} << 63;
constexpr uint64_t kTombstone = uint64_t{1} << 62;
constexpr uint32_t kHasHeaders = uint32_t{1} << 31;
constexpr uint8_t kConsumerMagic = 22;

Error corrupt_tar(std::string what) { return {Errc::Corrupt, "archive: " + std::move(what)}; }

template <typename Word>
Word load(std::string_view bytes, size_t at) {
  Word word{};
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

// A consumer's state as nats-server keeps it in o.dat; absent when it is none.
std::optional<store::ConsumerState> parse_consumer_file(std::string_view bytes) {
  if (bytes.size() < 2 || static_cast<uint8_t>(bytes[0]) != kConsumerMagic) return std::nullopt;
  const int version = bytes[1];
  if (version != 1 && version != 2) return std::nullopt;
  store::Decoder in(bytes.substr(2));
  store::ConsumerState state;
  state.ack_floor.consumer = in.varint();
  state.ack_floor.stream = in.varint();
  state.delivered.consumer = in.varint();
  state.delivered.stream = in.varint();
  if (version == 1) {
    if (state.ack_floor.consumer > 1) state.delivered.consumer += state.ack_floor.consumer - 1;
    if (state.ack_floor.stream > 1) state.delivered.stream += state.ack_floor.stream - 1;
  }
  std::map<uint64_t, store::Pending> pending;
  if (const uint64_t count = in.count(); count > 0) {
    const auto base = static_cast<uint64_t>(in.signed_varint());
    for (uint64_t i = 0; i < count && in.ok(); ++i) {
      store::Pending one;
      one.stream_seq = in.varint() + state.ack_floor.stream;
      one.consumer_seq = version == 2 ? in.varint() + state.ack_floor.consumer : one.stream_seq;
      one.timestamp_ns =
          static_cast<int64_t>((base - static_cast<uint64_t>(in.signed_varint())) * 1'000'000'000);
      pending[one.stream_seq] = one;
    }
  }
  const uint64_t redelivered = in.count();
  for (uint64_t i = 0; i < redelivered && in.ok(); ++i) {
    const auto at = pending.find(in.varint() + state.ack_floor.stream);
    const auto deliveries = static_cast<uint32_t>(in.varint());
    if (at != pending.end()) at->second.deliveries = std::max<uint32_t>(deliveries, 1);
  }
  if (!in.ok()) return std::nullopt;
  for (const auto& [seq, one] : pending) state.pending.put(one);
  return state;
}

class TarReader final : public ArchiveReader {
 public:
  explicit TarReader(ArchiveSink& sink) : sink_(sink) {}

  Status add(std::string_view bytes) override {
    pending_.append(bytes);
    size_t at = 0;
    while (!is_done_) {
      size_t used = 0;
      if (Status taken = take_part(std::string_view(pending_).substr(at), used); !taken) return taken;
      if (used == 0) break;
      at += used;
    }
    pending_.erase(0, is_done_ ? pending_.size() : at);
    return {};
  }

  Status finish() override {
    if (!is_done_ && !pending_.empty()) return corrupt_tar("is not complete");
    if (!has_meta_) return corrupt_tar("has no meta.inf");
    // Blocks come in any order, and what one holds may be deleted by a later one.
    for (const bool is_reading : {false, true}) {
      is_reading_ = is_reading;
      for (const auto& [number, block] : blocks_) {
        if (Status taken = take_block(number, block); !taken) return taken;
      }
    }
    for (const auto& [name, consumer] : consumers_) {
      const auto state = parse_consumer_file(consumer.state);
      if (!consumer.state.empty() && !state) return corrupt_tar("the state of consumer " + name + " is damaged");
      if (Status taken = sink_.on_consumer(name, consumer.meta, state ? &*state : nullptr); !taken) return taken;
    }
    return {};
  }

 private:
  struct Consumer {
    std::string meta;
    std::string state;
  };

  // One file, head and content.
  Status take_part(std::string_view bytes, size_t& used) {
    if (bytes.size() < kTarBlock) return {};
    if (bytes.find_first_not_of('\0') >= kTarBlock) {
      is_done_ = true;
      return {};
    }
    const std::string_view head = bytes.substr(0, kTarBlock);
    if (head.substr(257, 5) != "ustar") return corrupt_tar("is neither of version 1 nor of version 2");
    uint64_t size = 0;
    for (const char c : head.substr(124, 12)) {
      if (c == '\0' || c == ' ') break;
      if (c < '0' || c > '7') return corrupt_tar("damaged file head");
      size = size << 3 | static_cast<uint64_t>(c - '0');
    }
    if (size > kFileMax) return Error{Errc::LimitExceeded, "archive: a file in it is too large"};
    const size_t padded = (size + kTarBlock - 1) / kTarBlock * kTarBlock;
    if (bytes.size() - kTarBlock < padded) return {};
    used = kTarBlock + padded;
    const std::string_view name(head.data(), strnlen(head.data(), 100));
    const char type = head[156];
    const std::string_view content = bytes.substr(kTarBlock, size);
    if (type != '0' && type != '\0') return {};
    return take_file(name, content);
  }

  Status take_file(std::string_view name, std::string_view content) {
    if (name == "meta.inf") {
      has_meta_ = true;
      return {};
    }
    if (name.starts_with("msgs/") && name.ends_with(".blk")) {
      const auto number = parse_uint(name.substr(5, name.size() - 9));
      if (!number) return corrupt_tar("a block has no number");
      held_ += content.size();
      if (held_ > kExpandedMax) return Error{Errc::LimitExceeded, "archive: too large; make it with nats-server 2.15 or newer"};
      blocks_[*number] = std::string(content);
      return {};
    }
    if (name.starts_with("obs/")) {
      name.remove_prefix(4);
      const size_t slash = name.find('/');
      if (slash == 0 || slash == std::string_view::npos) return {};
      const std::string consumer(name.substr(0, slash));
      if (name.substr(slash + 1) == "meta.inf") consumers_[consumer].meta = content;
      if (name.substr(slash + 1) == "o.dat") consumers_[consumer].state = content;
    }
    return {};
  }

  Status take_block(uint64_t number, std::string_view block) {
    std::string expanded;
    if (block.starts_with(kCompressedBlock)) {
      if (block.size() < kCompressedBlock.size() + 1 + kBlockChecksum) return corrupt_tar("block is too short");
      store::Decoder head(block.substr(kCompressedBlock.size() + 1));
      head.varint();  // its size before
      if (!head.ok()) return corrupt_tar("block is damaged");
      const std::string_view body = head.bytes(head.left() - kBlockChecksum);
      S2Reader reader;
      Status read = reader.add(body, [&](std::string_view plain) -> Status {
        if (expanded.size() + plain.size() > kFileMax) return Error{Errc::LimitExceeded, "archive: a block is too large"};
        expanded.append(plain);
        return {};
      });
      if (!read) return read;
      expanded.append(block.substr(block.size() - kBlockChecksum));
      block = expanded;
    }
    for (size_t at = 0; at < block.size();) {
      size_t size = 0;
      if (Status taken = take_record(number, block.substr(at), size); !taken) return taken;
      at += size;
    }
    return {};
  }

  Status take_record(uint64_t number, std::string_view bytes, size_t& size) {
    const std::string place = "block " + std::to_string(number);
    if (bytes.size() < kRecordHead + kBlockChecksum) return corrupt_tar(place + " ends within a record");
    const auto length = load<uint32_t>(bytes, 0);
    const auto marked = load<uint64_t>(bytes, 4);
    ArchivedMessage message;
    message.seq = marked & ~(kErased | kTombstone);
    message.timestamp_ns = load<int64_t>(bytes, 12);
    const size_t subject_size = load<uint16_t>(bytes, 20);
    size = length & ~kHasHeaders;
    const size_t least = kRecordHead + subject_size + kBlockChecksum + ((length & kHasHeaders) != 0 ? 4 : 0);
    if (size > bytes.size() || size < least) {
      return corrupt_tar(place + " holds a record of a wrong size (or is encrypted)");
    }
    std::string_view content = bytes.substr(kRecordHead, size - kRecordHead - kBlockChecksum);
    message.subject = content.substr(0, subject_size);
    content.remove_prefix(subject_size);
    if ((length & kHasHeaders) != 0) {
      const size_t header_size = load<uint32_t>(content, 0);
      content.remove_prefix(4);
      if (header_size > content.size()) return corrupt_tar(place + " holds damaged headers");
      message.headers = content.substr(0, header_size);
      content.remove_prefix(header_size);
    }
    message.body = content;
    if ((marked & kTombstone) != 0) deleted_.insert(message.seq);
    const bool is_message = (marked & (kErased | kTombstone)) == 0 && message.seq != 0 && subject_size != 0;
    if (!is_reading_ || !is_message || deleted_.contains(message.seq)) return {};
    return sink_.on_message(message);
  }

  ArchiveSink& sink_;
  std::string pending_;
  bool is_done_ = false;
  bool has_meta_ = false;
  bool is_reading_ = false;  // else looking for what was deleted
  std::unordered_set<uint64_t> deleted_;
  size_t held_ = 0;
  std::map<uint64_t, std::string> blocks_;
  std::map<std::string, Consumer> consumers_;
};

}  // namespace

std::unique_ptr<ArchiveReader> make_tar_reader(ArchiveSink& sink) {
  return std::make_unique<TarReader>(sink);
}

}  // namespace brokkr::jetstream
