#include "jetstream/archive.h"

#include "jetstream/archive_tar.h"
#include "store/coding.h"
#include "store/record.h"

namespace brokkr::jetstream {
namespace {

constexpr std::string_view kArchiveMagic = "NATSARC1";
constexpr std::string_view kStateFile = "state.json";
constexpr std::string_view kConsumerFiles = "consumers/";
constexpr size_t kNameMax = 64 << 10;
constexpr size_t kEntryMax = store::kRecordBytesMax;
// Five varints of at most ten bytes.
constexpr size_t kEntryHeadMax = 50;

Error corrupt_archive(const char* what) { return {Errc::Corrupt, std::string("archive: ") + what}; }

void put_entry(std::string_view name, int64_t timestamp_ns, uint64_t seq, std::string_view headers,
               std::string_view body, std::string& out) {
  store::put_varint(out, name.size());
  store::put_signed(out, timestamp_ns);
  store::put_varint(out, seq);
  store::put_varint(out, headers.size());
  store::put_varint(out, body.size());
  out.append(name).append(headers).append(body);
}

// Version 2.
class EntryReader final : public ArchiveReader {
 public:
  explicit EntryReader(ArchiveSink& sink) : sink_(sink) {}

  Status add(std::string_view bytes) override {
    pending_.append(bytes);
    size_t at = 0;
    while (!is_done_ && at < pending_.size()) {
      size_t used = 0;
      if (Status taken = take_entry(std::string_view(pending_).substr(at), used); !taken) return taken;
      if (used == 0) break;
      at += used;
    }
    pending_.erase(0, at);
    if (is_done_ && !pending_.empty()) return corrupt_archive("goes on after its end");
    return {};
  }

  Status finish() override {
    if (!is_done_) return corrupt_archive("is not complete");
    return {};
  }

 private:
  // `used` stays 0 when the entry is not all there.
  Status take_entry(std::string_view bytes, size_t& used) {
    store::Decoder head(bytes);
    const uint64_t name_size = head.varint();
    const int64_t timestamp = head.signed_varint();
    const uint64_t seq = head.varint();
    const uint64_t header_size = head.varint();
    const uint64_t body_size = head.varint();
    if (!head.ok()) {
      if (bytes.size() > kEntryHeadMax) return corrupt_archive("damaged entry");
      return {};
    }
    if (name_size > kNameMax || header_size > kEntryMax || body_size > kEntryMax) {
      return Error{Errc::LimitExceeded, "archive: an entry is too large"};
    }
    if (head.left() < name_size + header_size + body_size) return {};
    used = bytes.size() - head.left() + name_size + header_size + body_size;
    const std::string_view name = head.bytes(name_size);
    const std::string_view headers = head.bytes(header_size);
    return take(name, timestamp, seq, headers, head.bytes(body_size));
  }

  Status take(std::string_view name, int64_t timestamp, uint64_t seq, std::string_view headers,
              std::string_view body) {
    if (name.empty()) {
      is_done_ = true;
      return {};
    }
    // Files have no sequence; messages always do.
    if (seq != 0) return sink_.on_message({seq, timestamp, name, headers, body});
    if (name == kStateFile) return sink_.on_state(body);
    if (name.starts_with(kConsumerFiles)) {
      return sink_.on_consumer(name.substr(kConsumerFiles.size()), body, nullptr);
    }
    return corrupt_archive("holds a file that is not known");
  }

  ArchiveSink& sink_;
  std::string pending_;
  bool is_done_ = false;
};

// Finds out which version it is.
class AnyReader final : public ArchiveReader {
 public:
  explicit AnyReader(ArchiveSink& sink) : sink_(sink) {}

  Status add(std::string_view bytes) override {
    if (reader_ != nullptr) return reader_->add(bytes);
    first_.append(bytes);
    if (first_.size() < kArchiveMagic.size()) return {};
    std::string_view rest = first_;
    if (rest.starts_with(kArchiveMagic)) {
      rest.remove_prefix(kArchiveMagic.size());
      reader_ = std::make_unique<EntryReader>(sink_);
    } else {
      reader_ = make_tar_reader(sink_);
    }
    return reader_->add(rest);
  }

  Status finish() override {
    if (reader_ == nullptr) return corrupt_archive("is empty");
    return reader_->finish();
  }

 private:
  ArchiveSink& sink_;
  std::string first_;
  std::unique_ptr<ArchiveReader> reader_;
};

}  // namespace

void begin_archive(std::string& out) { out.append(kArchiveMagic); }

void add_archive_file(std::string_view name, int64_t timestamp_ns, std::string_view bytes,
                      std::string& out) {
  put_entry(name, timestamp_ns, 0, {}, bytes, out);
}

void add_archive_message(const ArchivedMessage& message, std::string& out) {
  put_entry(message.subject, message.timestamp_ns, message.seq, message.headers, message.body, out);
}

void end_archive(std::string& out) { put_entry({}, 0, 0, {}, {}, out); }

std::unique_ptr<ArchiveReader> ArchiveReader::make(ArchiveSink& sink) {
  return std::make_unique<AnyReader>(sink);
}

}  // namespace brokkr::jetstream
