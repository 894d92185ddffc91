#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "store/run.h"
#include "store/test_files.h"

namespace brokkr::store {

struct Message {
  uint64_t seq = 0;
  std::string subject;
  std::string headers;
  std::string body;
  int64_t timestamp_ns = 0;
  uint64_t expires_at = 0;
};

struct Form {
  const char* name;
  Compression compression;
  Cipher cipher;
};
constexpr Form kForms[] = {
    {"bare", Compression::None, Cipher::None},
    {"lz4", Compression::Lz4, Cipher::None},
    {"zstd", Compression::Zstd, Cipher::None},
    {"aes", Compression::None, Cipher::Aes256Gcm},
    {"chacha", Compression::Zstd, Cipher::ChaCha20Poly1305},
};

inline std::string header_block(const std::string& id) {
  return "NATS/1.0\r\nNats-Msg-Id: " + id + "\r\n\r\n";
}

// A directory with one run file.
class RunFixture {
 public:
  explicit RunFixture(Form form = kForms[0]) : form_(form) {
    if (form.cipher != Cipher::None) keys_ = std::move(*Keyring::make(form.cipher, "secret", ""));
  }
  Keyring* keys() { return keys_.get(); }
  std::unique_ptr<RunWriter> writer(uint64_t file = 7) {
    return std::move(*RunWriter::create(files, {"d", file, keys(), 0}));
  }
  RunInfo write_run(RunWriter& out, uint32_t stream, const std::vector<Message>& messages) {
    out.begin_run({stream, "ACC", "S" + std::to_string(stream), "config"}, form_.compression);
    for (const Message& it : messages)
      EXPECT_TRUE(out.add(encode(it)));
    return *out.end_run();
  }
  static std::string encode(const Message& it) {
    std::string bytes;
    append_record({it.seq, it.timestamp_ns, it.expires_at, it.subject, it.headers, it.body}, bytes);
    return bytes;
  }
  RunInfo write_file(const std::vector<Message>& messages) {
    const auto out = writer();
    const RunInfo info = write_run(*out, 3, messages);
    EXPECT_TRUE(out->finish());
    return info;
  }
  std::string& bytes() { return *files.files.at("d/" + run_file_name(7)); }
  std::shared_ptr<RunFile> open() { return *RunFile::open(files, "d", 7, keys()); }

  TestFiles files;

 private:
  const Form form_;
  std::unique_ptr<Keyring> keys_;
};

inline std::vector<Message> some_messages(size_t count, size_t body_bytes = 40,
                                          uint64_t first_seq = 10) {
  std::vector<Message> out;
  for (size_t i = 0; i < count; ++i) {
    Message& it = out.emplace_back();
    it.seq = first_seq + i;
    it.subject = "orders." + std::to_string(i % 7);
    if (i % 3 == 0) it.headers = header_block("id" + std::to_string(i));
    it.body = std::string(body_bytes, static_cast<char>('a' + i % 26)) + std::to_string(i);
    it.timestamp_ns = static_cast<int64_t>(1000 + i);
    if (i % 5 == 0) it.expires_at = 5000 - i;
  }
  return out;
}

inline bool is_equal(const Record& record, const Message& it) {
  return record.seq == it.seq && record.subject == it.subject && record.headers == it.headers &&
         record.body == it.body && record.timestamp_ns == it.timestamp_ns &&
         record.expires_at == it.expires_at;
}

inline void expect_all(RunFile& file, const RunIndex& index, const std::vector<Message>& messages) {
  ASSERT_EQ(index.info.count, messages.size());
  std::shared_ptr<const std::string> block;
  for (uint32_t i = 0; i < messages.size(); ++i) {
    const Result<ReadRecord> got = file.read(index, i, block);
    ASSERT_TRUE(got);
    ASSERT_EQ(got->damage, RecordDamage::None) << i;
    ASSERT_TRUE(is_equal(got->record, messages[i])) << i;
    EXPECT_EQ(index.names[index.subjects[i]].text, messages[i].subject);
    EXPECT_EQ(index.sizes[i], got->record.counted_bytes());
    block = got->block;
  }
}

}  // namespace brokkr::store
