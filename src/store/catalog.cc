#include "store/catalog.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "store/byte_reader.h"
#include "store/numbered_name.h"
#include "store/record.h"

namespace brokkr::store {
namespace {

constexpr uint32_t kCatalogVersion = 1;
constexpr std::string_view kCatalogHeadMagic(
    "\x89"
    "BRKCAT\n",
    8);
constexpr std::string_view kCatalogTailMagic(
    "\x89"
    "BRKCTE\n",
    8);
constexpr std::string_view kCatalogHeadEnd("\nTACKRB\x89", 8);
constexpr size_t kStoreIdBytes = 16;
constexpr size_t kCatalogHeadFixedBytes = 96;
constexpr size_t kCatalogHeadEndBytes = 16;
constexpr size_t kEntryHeaderBytes = 48;
constexpr uint32_t kEntryMagic = 0x544e4543;  // "CENT"
constexpr size_t kCatalogWriteBytes = 1 << 20;
constexpr std::string_view kCatalogSuffix = ".catalog";
constexpr const char* kLostAndFound = "lost+found";

// What head and tail both say.
struct CatalogHead {
  uint64_t number = 0;
  uint64_t salt = 0;
  std::string store_id;
  uint64_t lsn = 0;
  uint64_t next_run_file = 0;
  uint32_t next_stream = 0;
  uint32_t streams = 0;
  uint32_t consumers = 0;
  uint32_t whole_crc = 0;  // of all bytes before the tail; in the tail only
  std::string wrapped_key;
};

std::string catalog_key_context(uint64_t number, uint64_t salt) {
  return "catalog " + std::to_string(number) + " " + std::to_string(salt);
}

void append_catalog_head(std::string_view magic, const CatalogHead& head, std::string& out) {
  const size_t start = out.size();
  const auto total = static_cast<uint32_t>(kCatalogHeadFixedBytes + pad8(head.wrapped_key.size()) +
                                           kCatalogHeadEndBytes);
  out.append(magic);
  append_int(kCatalogVersion, out);
  append_int(total, out);
  append_int(head.number, out);
  append_int(head.salt, out);
  std::string store_id = head.store_id;
  store_id.resize(kStoreIdBytes);
  out.append(store_id);
  append_int(head.lsn, out);
  append_int(head.next_run_file, out);
  append_int(head.next_stream, out);
  append_int(head.streams, out);
  append_int(head.consumers, out);
  append_int(head.whole_crc, out);
  append_int(static_cast<uint32_t>(head.wrapped_key.size()), out);
  out.append(12, '\0');
  out.append(head.wrapped_key);
  out.append(pad8(head.wrapped_key.size()) - head.wrapped_key.size(), '\0');
  append_int(crc32c(std::string_view(out).substr(start)), out);
  append_int(total, out);
  out.append(kCatalogHeadEnd);
}

Result<CatalogHead> parse_catalog_head(std::string_view magic, std::string_view bytes) {
  const Error damaged{Errc::Corrupt, "damaged"};
  if (bytes.size() < kCatalogHeadFixedBytes + kCatalogHeadEndBytes) return damaged;
  const size_t end = bytes.size() - kCatalogHeadEndBytes;
  if (bytes.substr(0, 8) != magic || bytes.substr(end + 8) != kCatalogHeadEnd ||
      load_le<uint32_t>(&bytes[end]) != crc32c(bytes.substr(0, end)) ||
      load_le<uint32_t>(&bytes[end + 4]) != bytes.size()) {
    return damaged;
  }
  ByteReader reader(bytes.substr(8));
  const auto version = reader.take<uint32_t>();
  if (version != kCatalogVersion) {
    return Error{Errc::Unsupported, "catalog of version " + std::to_string(version)};
  }
  CatalogHead head;
  (void)reader.take<uint32_t>();
  head.number = reader.take<uint64_t>();
  head.salt = reader.take<uint64_t>();
  head.store_id = reader.text(kStoreIdBytes);
  head.lsn = reader.take<uint64_t>();
  head.next_run_file = reader.take<uint64_t>();
  head.next_stream = reader.take<uint32_t>();
  head.streams = reader.take<uint32_t>();
  head.consumers = reader.take<uint32_t>();
  head.whole_crc = reader.take<uint32_t>();
  const auto wrapped = reader.take<uint32_t>();
  reader.text(12);
  head.wrapped_key = reader.text(wrapped);
  if (!reader.ok() || reader.left() < kCatalogHeadEndBytes) return damaged;
  return head;
}

struct EntryHeader {
  CatalogEntryKind kind{};
  uint32_t stream = 0;
  uint32_t payload_bytes = 0;
  uint64_t salt = 0;
  uint64_t id = 0;
  uint64_t lsn = 0;
};

void append_entry(const EntryHeader& entry, std::string_view payload, std::string& out) {
  const size_t start = out.size();
  append_int(kEntryMagic, out);
  append_int(static_cast<uint32_t>(entry.kind), out);
  append_int(entry.salt, out);
  append_int(entry.stream, out);
  append_int(static_cast<uint32_t>(payload.size()), out);
  append_int(entry.id, out);
  append_int(entry.lsn, out);
  append_int(uint32_t{0}, out);
  append_int(crc32c(std::string_view(out).substr(start)), out);
  out.append(payload);
  out.append(pad8(payload.size()) - payload.size(), '\0');
}

std::optional<EntryHeader> parse_entry_header(std::string_view bytes) {
  if (bytes.size() < kEntryHeaderBytes || load_le<uint32_t>(bytes.data()) != kEntryMagic ||
      load_le<uint32_t>(&bytes[44]) != crc32c(bytes.substr(0, 44))) {
    return std::nullopt;
  }
  EntryHeader entry;
  const auto kind = load_le<uint32_t>(&bytes[4]);
  if (kind != static_cast<uint32_t>(CatalogEntryKind::Stream) &&
      kind != static_cast<uint32_t>(CatalogEntryKind::Consumer)) {
    return std::nullopt;
  }
  entry.kind = static_cast<CatalogEntryKind>(kind);
  entry.salt = load_le<uint64_t>(&bytes[8]);
  entry.stream = load_le<uint32_t>(&bytes[16]);
  entry.payload_bytes = load_le<uint32_t>(&bytes[20]);
  entry.id = load_le<uint64_t>(&bytes[24]);
  entry.lsn = load_le<uint64_t>(&bytes[32]);
  return entry;
}

auto entry_key(const CatalogEntry& entry) {
  return std::tuple(entry.stream, entry.id);
}
bool entry_less(const CatalogEntry& a, const CatalogEntry& b) {
  return entry_key(a) < entry_key(b);
}

// Puts a catalog's bytes into a file as they come.
class CatalogWriter {
 public:
  explicit CatalogWriter(File& file) : file_(file) {}
  Status write(const CatalogImage& image, CatalogHead head, const FileKey* key) {
    append_catalog_head(kCatalogHeadMagic, head, buffer_);
    std::string payload;
    for (const auto* list : {&image.streams, &image.consumers}) {
      CHECK(std::adjacent_find(list->begin(), list->end(), std::not_fn(entry_less)) == list->end());
      const auto kind =
          list == &image.streams ? CatalogEntryKind::Stream : CatalogEntryKind::Consumer;
      for (const CatalogEntry& it : *list) {
        payload.clear();
        encode_block(it.bytes, Compression::None, key, head.salt ^ end(), payload);
        append_entry({kind, it.stream, 0, head.salt, it.id, image.lsn}, payload, buffer_);
        if (const Status status = write_out(kCatalogWriteBytes); !status) return status;
      }
    }
    head.whole_crc = crc32c(buffer_, crc_);
    append_catalog_head(kCatalogTailMagic, head, buffer_);
    if (const Status status = write_out(1); !status) return status;
    return file_.sync();
  }

 private:
  uint64_t end() const { return offset_ + buffer_.size(); }
  Status write_out(size_t at_least) {
    if (buffer_.size() < at_least) return {};
    if (const Status status = file_.write_at(offset_, buffer_); !status) return status;
    crc_ = crc32c(buffer_, crc_);
    offset_ += buffer_.size();
    buffer_.clear();
    return {};
  }

  File& file_;
  uint64_t offset_ = 0;
  uint32_t crc_ = 0;
  std::string buffer_;
};

// Reads a catalog front to back, going on behind what is damaged.
class CatalogParser {
 public:
  CatalogParser(std::string_view bytes, uint64_t number, Keyring* keys, CatalogImage& image)
      : bytes_(bytes), number_(number), keys_(keys), image_(image) {}

  Status parse() {
    if (const Status status = read_heads(); !status) return status;
    if (head_) {
      image_.store_id = head_->store_id;
      image_.lsn = head_->lsn;
      image_.next_stream = head_->next_stream;
      image_.next_run_file = head_->next_run_file;
    }
    read_entries();
    if (head_ &&
        (image_.streams.size() != head_->streams || image_.consumers.size() != head_->consumers)) {
      note(bytes_.size(), std::to_string(head_->streams) + " streams and " +
                              std::to_string(head_->consumers) + " consumers expected, " +
                              std::to_string(image_.streams.size()) + " and " +
                              std::to_string(image_.consumers.size()) + " found");
    }
    return {};
  }

  std::vector<std::string> damage;

 private:
  void note(size_t offset, const std::string& what) {
    damage.push_back("at " + std::to_string(offset) + ": " + what);
  }

  // Sets where the entries are, and what head or tail say.
  Status read_heads() {
    entries_end_ = bytes_.size();
    std::optional<CatalogHead> tail;
    if (bytes_.size() >= 12) {
      const size_t size = load_le<uint32_t>(&bytes_[bytes_.size() - 12]);
      if (size <= bytes_.size()) {
        auto parsed = parse_catalog_head(kCatalogTailMagic, bytes_.substr(bytes_.size() - size));
        if (!parsed && parsed.error().code == Errc::Unsupported) return parsed.error();
        if (parsed) tail = std::move(*parsed), entries_end_ = bytes_.size() - size;
      }
    }
    if (bytes_.size() >= 16) {
      const size_t size = load_le<uint32_t>(&bytes_[12]);
      if (size <= entries_end_) {
        auto parsed = parse_catalog_head(kCatalogHeadMagic, bytes_.substr(0, size));
        if (!parsed && parsed.error().code == Errc::Unsupported) return parsed.error();
        if (parsed) head_ = std::move(*parsed), at_ = size;
      }
    }
    if (!head_) note(0, "head damaged");
    if (!tail) {
      note(bytes_.size(), "tail damaged or missing");
    } else if (head_ && (head_->salt != tail->salt || head_->number != tail->number)) {
      note(entries_end_, "the tail is another file's");
    } else if (tail->whole_crc != crc32c(bytes_.substr(0, entries_end_))) {
      note(entries_end_, "checksum of the whole file");
    }
    if (!head_) head_ = std::move(tail);
    if (head_ && head_->number != number_)
      note(0, "is catalog " + std::to_string(head_->number) + " by what it says");
    return open_key();
  }

  Status open_key() {
    if (!head_ || head_->wrapped_key.empty()) return {};
    if (keys_ == nullptr)
      return Error{Errc::PermissionDenied, "encrypted, and no key is configured"};
    auto key = keys_->open(catalog_key_context(head_->number, head_->salt), head_->wrapped_key);
    if (!key) return key.error();
    key_ = std::move(*key);
    opened_ = std::make_shared<std::string>();
    opened_->reserve(bytes_.size());
    image_.storage.push_back(opened_);
    return {};
  }

  void read_entries() {
    size_t gap_bytes = 0;
    const auto close_gap = [&] {
      if (gap_bytes > 0) note(at_ - gap_bytes, std::to_string(gap_bytes) + " bytes damaged");
      gap_bytes = 0;
    };
    while (at_ < entries_end_) {
      const std::string_view rest = bytes_.substr(at_, entries_end_ - at_);
      auto entry = parse_entry_header(rest);
      if (entry && head_ && entry->salt != head_->salt) entry.reset();
      if (!entry) {
        const size_t step = std::min<size_t>(8, rest.size());
        gap_bytes += step;
        at_ += step;
        continue;
      }
      close_gap();
      const size_t total = kEntryHeaderBytes + pad8(entry->payload_bytes);
      const char* const kind =
          entry->kind == CatalogEntryKind::Stream ? "stream " : "consumer of stream ";
      if (total > rest.size() || !take(*entry, rest)) {
        note(at_, kind + std::to_string(entry->stream) + " damaged");
      }
      // The length is right, unless the file ends before.
      at_ += total;
    }
    close_gap();
  }

  bool take(const EntryHeader& header, std::string_view rest) {
    const std::string_view payload = rest.substr(kEntryHeaderBytes, header.payload_bytes);
    const size_t padded = pad8(header.payload_bytes);
    const std::string_view padding =
        rest.substr(kEntryHeaderBytes + payload.size(), padded - payload.size());
    const std::optional<std::string_view> plain = open(payload, header.salt ^ at_);
    if (!plain) return false;
    CatalogEntry entry;
    entry.stream = header.stream;
    entry.id = header.id;
    entry.lsn = header.lsn;
    entry.bytes = *plain;
    auto& list = header.kind == CatalogEntryKind::Stream ? image_.streams : image_.consumers;
    if (!list.empty() && !entry_less(list.back(), entry)) return false;
    list.push_back(entry);
    return padding.find_first_not_of('\0') == std::string_view::npos;
  }

  std::optional<std::string_view> open(std::string_view payload, uint64_t nonce) {
    if (key_ == nullptr) return peek_block(payload, nonce);
    std::string plain;
    if (!decode_block(payload, key_.get(), nonce, payload.size(), plain)) return std::nullopt;
    // Never moves: room for all was reserved.
    const size_t start = opened_->size();
    CHECK(start + plain.size() <= opened_->capacity());
    opened_->append(plain);
    return std::string_view(*opened_).substr(start);
  }

  const std::string_view bytes_;
  const uint64_t number_;
  Keyring* const keys_;
  CatalogImage& image_;
  std::optional<CatalogHead> head_;
  std::shared_ptr<const FileKey> key_;
  std::shared_ptr<std::string> opened_;
  size_t at_ = 0;
  size_t entries_end_ = 0;
};

Status write_catalog_file(Files& files, const std::string& path, uint64_t number,
                          const CatalogImage& image, Keyring* keys) {
  if (files.exists(path)) {
    if (const Status status = files.remove(path); !status) return status;
  }
  auto file = files.open(path, OpenMode::Create);
  if (!file) return file.error();
  CatalogHead head;
  head.number = number;
  head.salt = secure_seed();
  head.store_id = image.store_id;
  head.lsn = image.lsn;
  head.next_run_file = image.next_run_file;
  head.next_stream = image.next_stream;
  head.streams = static_cast<uint32_t>(image.streams.size());
  head.consumers = static_cast<uint32_t>(image.consumers.size());
  std::shared_ptr<const FileKey> key;
  if (keys != nullptr) key = keys->create(catalog_key_context(number, head.salt), head.wrapped_key);
  return CatalogWriter(**file).write(image, std::move(head), key.get());
}

// The numbers of the catalogs in the directory, the newest first.
Result<std::vector<uint64_t>> list_catalogs(Files& files, const std::string& directory) {
  auto entries = files.list(directory);
  if (!entries) return entries.error();
  std::vector<uint64_t> numbers;
  for (const DirectoryEntry& entry : *entries) {
    if (const uint64_t number = parse_catalog_file_name(entry.name); number != 0)
      numbers.push_back(number);
  }
  std::sort(numbers.rbegin(), numbers.rend());
  return numbers;
}

// Out of the way, under a name nothing has yet.
Status move_to_lost_and_found(Files& files, const std::string& directory, const std::string& name) {
  const std::string folder = directory + "/" + kLostAndFound;
  if (const Status status = files.make_directory(folder); !status) return status;
  std::string to = folder + "/" + name;
  for (int i = 1; files.exists(to); ++i)
    to = folder + "/" + name + "." + std::to_string(i);
  if (const Status status = files.rename(directory + "/" + name, to); !status) return status;
  if (const Status status = files.sync_directory(folder); !status) return status;
  return files.sync_directory(directory);
}

bool is_catalog_whole(Files& files, const std::string& path) {
  const Result<std::string> bytes = read_file(files, path);
  if (!bytes || bytes->size() < kCatalogHeadFixedBytes + kCatalogHeadEndBytes) return false;
  const std::string_view view = *bytes;
  const size_t size = load_le<uint32_t>(&view[view.size() - 12]);
  if (size > view.size()) return false;
  const auto tail = parse_catalog_head(kCatalogTailMagic, view.substr(view.size() - size));
  return tail && tail->whole_crc == crc32c(view.substr(0, view.size() - size));
}

// Keeps the newest and the one before. What is damaged may be all there is of something: kept too.
void remove_old_catalogs(Files& files, const std::string& directory) {
  const auto numbers = list_catalogs(files, directory);
  if (!numbers) return;
  for (size_t i = 2; i < numbers->size(); ++i) {
    const std::string name = catalog_file_name((*numbers)[i]);
    const std::string path = directory + "/" + name;
    // Not being able to tidy up is no reason to fail: it is tried again at the next image.
    (void)(is_catalog_whole(files, path) ? files.remove(path)
                                         : move_to_lost_and_found(files, directory, name));
  }
}

// Adds the entries of `more` that `image` has not.
void merge_images(CatalogImage& image, const CatalogImage& more) {
  const auto add = [](std::vector<CatalogEntry>& to, const std::vector<CatalogEntry>& from) {
    std::vector<CatalogEntry> both;
    std::set_union(to.begin(), to.end(), from.begin(), from.end(), std::back_inserter(both),
                   entry_less);
    to = std::move(both);
  };
  add(image.streams, more.streams);
  add(image.consumers, more.consumers);
  image.storage.insert(image.storage.end(), more.storage.begin(), more.storage.end());
  if (image.store_id.empty()) image.store_id = more.store_id;
  image.next_stream = std::max(image.next_stream, more.next_stream);
  image.next_run_file = std::max(image.next_run_file, more.next_run_file);
}

// What `lsn` and `next_stream` can be said to be from the entries.
void settle_salvaged(CatalogImage& image, uint64_t number) {
  image.number = number;
  image.is_salvaged = true;
  uint64_t lsn = UINT64_MAX;
  for (const auto* list : {&image.streams, &image.consumers}) {
    for (const CatalogEntry& entry : *list) {
      lsn = std::min(lsn, entry.lsn);
      image.next_stream = std::max(image.next_stream, entry.stream + 1);
    }
  }
  if (lsn != UINT64_MAX) image.lsn = lsn;
}

}  // namespace

std::string_view CatalogImage::keep(std::string bytes) {
  return *storage.emplace_back(std::make_shared<const std::string>(std::move(bytes)));
}

Status write_catalog(Files& files, const std::string& directory, uint64_t number,
                     const CatalogImage& image, Keyring* keys) {
  const std::string path = directory + "/" + catalog_file_name(number);
  const std::string temporary = path + ".tmp";
  Status status = write_catalog_file(files, temporary, number, image, keys);
  if (status) status = files.rename(temporary, path);
  if (!status) {
    (void)files.remove(temporary);
    return status;
  }
  if (status = files.sync_directory(directory); !status) return status;
  remove_old_catalogs(files, directory);
  return {};
}

Status parse_catalog(std::shared_ptr<const std::string> keep, uint64_t number, Keyring* keys,
                     CatalogImage& image, std::vector<std::string>* damage) {
  image = {};
  image.number = number;
  image.storage.push_back(keep);
  CatalogParser parser(*keep, number, keys, image);
  Status status = parser.parse();
  if (status && !parser.damage.empty()) status = Error{Errc::Corrupt, parser.damage.front()};
  if (damage != nullptr) *damage = std::move(parser.damage);
  return status;
}

Result<CatalogImage> read_newest_catalog(Files& files, const std::string& directory, Keyring* keys,
                                         std::vector<std::string>& notes) {
  const auto numbers = list_catalogs(files, directory);
  if (!numbers) return numbers.error();
  if (numbers->empty()) return CatalogImage();
  std::optional<CatalogImage> salvaged;
  std::optional<Error> unreadable;
  std::vector<std::string> damaged;
  for (const uint64_t number : *numbers) {
    const std::string name = catalog_file_name(number);
    Result<std::string> bytes = read_file(files, directory + "/" + name);
    if (!bytes) {
      notes.push_back(name + ": " + bytes.error().text);
      unreadable = bytes.error();
      continue;
    }
    CatalogImage image;
    std::vector<std::string> damage;
    const Status status = parse_catalog(std::make_shared<const std::string>(std::move(*bytes)),
                                        number, keys, image, &damage);
    if (status) {
      image.is_fallback = number != numbers->front();
      image.number = numbers->front();
      // Safe only now: with nothing whole beside it a damaged one must stay where it is found.
      for (const std::string& bad : damaged) {
        const Status moved = move_to_lost_and_found(files, directory, bad);
        notes.push_back(bad + (moved ? ": moved to lost+found" : ": stays, " + moved.error().text));
      }
      return image;
    }
    if (status.error().code != Errc::Corrupt) {
      return Error{status.error().code, directory + "/" + name + ": " + status.error().text};
    }
    for (const std::string& place : damage)
      notes.push_back(name + ": " + place);
    damaged.push_back(name);
    if (salvaged) {
      merge_images(*salvaged, image);
    } else {
      salvaged = std::move(image);
    }
  }
  if (!salvaged) return *unreadable;
  settle_salvaged(*salvaged, numbers->front());
  return std::move(*salvaged);
}

std::string catalog_file_name(uint64_t number) {
  return numbered_name(number, kCatalogSuffix);
}
uint64_t parse_catalog_file_name(std::string_view name) {
  return parse_numbered_name(name, kCatalogSuffix);
}

}  // namespace brokkr::store
