#include <gtest/gtest.h>

#include "store/run_test_fixture.h"

namespace brokkr::store {
namespace {

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
  for (const char* name :
       {"1f.run", "000000000000001F.run", "000000000000001f.run.tmp", "", ".run"}) {
    EXPECT_EQ(parse_run_file_name(name), 0U) << name;
  }
}

TEST(MessageId, IsTheFirstExactHeader) {
  EXPECT_EQ(
      find_message_id("NATS/1.0\r\nnats-msg-id: no\r\nNats-Msg-Id:  a b\r\nNats-Msg-Id: c\r\n\r\n"),
      "a b");
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
