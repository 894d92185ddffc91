#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/random.h"
#include "store/run.h"
#include "store/test_files.h"

namespace brokkr::store {
namespace {

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

std::string header_block(const std::string& id) { return "NATS/1.0\r\nNats-Msg-Id: " + id + "\r\n\r\n"; }

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
    for (const Message& it : messages) EXPECT_TRUE(out.add(encode(it)));
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

std::vector<Message> some_messages(size_t count, size_t body_bytes = 40, uint64_t first_seq = 10) {
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

bool is_equal(const Record& record, const Message& it) {
  return record.seq == it.seq && record.subject == it.subject && record.headers == it.headers &&
         record.body == it.body && record.timestamp_ns == it.timestamp_ns && record.expires_at == it.expires_at;
}

void expect_all(RunFile& file, const RunIndex& index, const std::vector<Message>& messages) {
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

class EveryForm : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Run, EveryForm, testing::ValuesIn(kForms),
                         [](const auto& form) { return std::string(form.param.name); });

TEST_P(EveryForm, GivesBackWhatWasWritten) {
  RunFixture run(GetParam());
  const auto messages = some_messages(5000);
  const RunInfo info = run.write_file(messages);
  const auto file = run.open();
  bool damaged = true;
  const auto index = file->load_index(info, damaged);
  ASSERT_TRUE(index);
  EXPECT_FALSE(damaged);
  expect_all(*file, **index, messages);
  EXPECT_EQ((*index)->owner.name, "S3");
  EXPECT_EQ((*index)->owner.config, "config");
  EXPECT_EQ((*index)->names.size(), 7U);
  EXPECT_EQ((*index)->names[2].text, "orders.2");
  EXPECT_EQ((*index)->names[2].first_seq, 12U);
  EXPECT_EQ((*index)->names[2].count, 714U);
  EXPECT_EQ((*index)->expiries.size(), 1000U);
  EXPECT_EQ((*index)->info.min_expires_at, (*index)->expiries[0].expires_at);
  EXPECT_EQ((*index)->ids.size(), 1667U);
  EXPECT_EQ((*index)->ids[1].seq, 13U);
  EXPECT_TRUE((*index)->seqs.empty());
}

TEST_P(EveryForm, IsFoundAgainWithoutFooterAndIndex) {
  RunFixture run(GetParam());
  auto messages = some_messages(900);
  messages.erase(messages.begin() + 30, messages.begin() + 50);
  const RunInfo info = run.write_file(messages);
  const auto whole = std::move(*run.open()->list_runs());
  ASSERT_EQ(whole.size(), 1U);
  run.bytes().resize(info.footer_offset);
  const auto file = run.open();
  bool damaged = true;
  const auto index = file->load_index(info, damaged);
  ASSERT_TRUE(index);
  EXPECT_FALSE(damaged);
  expect_all(*file, **index, messages);
  const auto runs = file->list_runs();
  ASSERT_TRUE(runs);
  ASSERT_EQ(runs->size(), 1U);
  EXPECT_EQ((*runs)[0].first.name, "S3");
  EXPECT_EQ((*runs)[0].first.account, "ACC");
  EXPECT_EQ((*runs)[0].second.count, info.count);
  EXPECT_EQ((*runs)[0].second.bytes, info.bytes);
}

TEST_P(EveryForm, HoldsRunsOfManyStreams) {
  RunFixture run(GetParam());
  const auto out = run.writer();
  std::vector<RunInfo> infos;
  for (uint32_t stream = 1; stream <= 20; ++stream) {
    infos.push_back(run.write_run(*out, stream, some_messages(stream * 3, 100, stream)));
  }
  EXPECT_EQ(run.write_run(*out, 21, {}).count, 0U);
  ASSERT_TRUE(out->finish());
  const auto file = run.open();
  const auto runs = std::move(*file->list_runs());
  ASSERT_EQ(runs.size(), 20U);
  for (uint32_t i = 0; i < 20; ++i) {
    EXPECT_EQ(runs[i].first.stream, i + 1);
    EXPECT_EQ(runs[i].first.config, "config");
    bool damaged = true;
    const auto index = file->load_index(runs[i].second, damaged);
    expect_all(*file, **index, some_messages((i + 1) * 3, 100, i + 1));
  }
}

TEST_P(EveryForm, TakesLargeMessages) {
  RunFixture run(GetParam());
  auto messages = some_messages(6, 10);
  messages[1].body.assign(3 << 20, 'x');
  messages[4].body.assign(70000, 'y');
  const RunInfo info = run.write_file(messages);
  const auto file = run.open();
  bool damaged = true;
  expect_all(*file, **file->load_index(info, damaged), messages);
  run.bytes().resize(info.footer_offset);
  const auto cut = run.open();
  expect_all(*cut, **cut->load_index(info, damaged), messages);
  EXPECT_FALSE(damaged);
}

TEST(RunWriter, RefusesDisorderAndDamage) {
  RunFixture run;
  const auto out = run.writer();
  const auto messages = some_messages(2);
  out->begin_run({1, "A", "S", ""}, Compression::None);
  EXPECT_TRUE(out->add(RunFixture::encode(messages[1])));
  const Status again = out->add(RunFixture::encode(messages[0]));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::InvalidArgument);
  std::string bad = RunFixture::encode(messages[1]);
  bad[20] ^= 1;
  const Status status = out->add(bad);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::Corrupt);
}

TEST(RunWriter, LeavesNothingWhenItIsDropped) {
  RunFixture run;
  {
    const auto out = run.writer();
    run.write_run(*out, 1, some_messages(10));
    EXPECT_TRUE(run.files.exists("d/0000000000000007.run.tmp"));
  }
  EXPECT_TRUE(run.files.files.empty());
}

TEST(RunFile, KnowsItsNumberAndKey) {
  RunFixture run(kForms[3]);
  run.write_file(some_messages(3));
  const auto without = RunFile::open(run.files, "d", 7, nullptr);
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, Errc::PermissionDenied);
  const std::unique_ptr<Keyring> other = std::move(*Keyring::make(Cipher::Aes256Gcm, "other", ""));
  const auto wrong = RunFile::open(run.files, "d", 7, other.get());
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Errc::PermissionDenied);
  const std::unique_ptr<Keyring> rotated =
      std::move(*Keyring::make(Cipher::ChaCha20Poly1305, "other", "secret"));
  EXPECT_TRUE(RunFile::open(run.files, "d", 7, rotated.get()));
  ASSERT_TRUE(run.files.rename("d/" + run_file_name(7), "d/" + run_file_name(8)));
  const auto moved = RunFile::open(run.files, "d", 8, run.keys());
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code, Errc::Corrupt);
}

TEST(RunFile, NamesAreParsedStrictly) {
  EXPECT_EQ(run_file_name(0x1f), "000000000000001f.run");
  EXPECT_EQ(parse_run_file_name("000000000000001f.run"), 0x1fU);
  for (const char* name : {"1f.run", "000000000000001F.run", "000000000000001f.run.tmp", "", ".run"}) {
    EXPECT_EQ(parse_run_file_name(name), 0U) << name;
  }
}

TEST(MessageId, IsTheFirstExactHeader) {
  EXPECT_EQ(find_message_id("NATS/1.0\r\nnats-msg-id: no\r\nNats-Msg-Id:  a b\r\nNats-Msg-Id: c\r\n\r\n"), "a b");
  EXPECT_EQ(find_message_id("NATS/1.0\r\nX-Nats-Msg-Id: c\r\n\r\n"), "");
  EXPECT_EQ(find_message_id("NATS/1.0\r\nNats-Msg-Id:\r\n\r\n"), "");
  EXPECT_EQ(find_message_id(""), "");
}

TEST(RunIndex, LowerBoundWithGaps) {
  RunIndex index;
  index.seqs = {4, 6, 9};
  index.info.first_seq = 4;
  index.info.last_seq = 9;
  index.info.count = 3;
  EXPECT_EQ(index.lower_bound(1), 0U);
  EXPECT_EQ(index.lower_bound(5), 1U);
  EXPECT_EQ(index.lower_bound(9), 2U);
  EXPECT_EQ(index.lower_bound(10), 3U);
}

}  // namespace
}  // namespace brokkr::store
