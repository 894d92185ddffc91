#include "store/record.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace brokkr::store {
namespace {

Record sample_record() {
  Record record;
  record.seq = 4711;
  record.timestamp_ns = 1'700'000'000'123'456'789;
  record.expires_at = 1'700'000'100;
  record.subject = "orders.eu.1";
  record.headers = "NATS/1.0\r\nA: b\r\n\r\n";
  record.body = "hello";
  return record;
}

std::string encoded(const Record& record) {
  std::string bytes;
  append_record(record, bytes);
  return bytes;
}

TEST(Crc32c, GivesThePublishedValues) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Crc32c, TheInstructionAndTheTableAgreeAtEveryLengthAndCut) {
  SeededRandom random(7);
  std::string bytes(20'000, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  for (size_t size = 0; size < 2000; ++size) {
    const std::string_view part = std::string_view(bytes).substr(size % 13, size);
    ASSERT_EQ(crc32c(part), crc32c_portable(part)) << size;
  }
  for (int i = 0; i < 200; ++i) {
    const size_t cut = random.below(bytes.size());
    const std::string_view all = bytes;
    ASSERT_EQ(crc32c(all.substr(cut), crc32c(all.substr(0, cut))), crc32c_portable(all)) << cut;
  }
}

TEST(Record, ComesBackAsItWas) {
  for (size_t body = 0; body < 40; ++body) {
    Record record = sample_record();
    const std::string text(body, 'x');
    record.body = text;
    if (body % 3 == 0) record.headers = {};
    if (body % 5 == 0) record.expires_at = kNeverExpires;
    const std::string bytes = encoded(record);
    ASSERT_EQ(bytes.size(), record_bytes(record));
    ASSERT_EQ(bytes.size() % 8, 0u);
    const std::string followed = bytes + "next";
    const ParsedRecord parsed = parse_record(followed);
    ASSERT_EQ(parsed.damage, RecordDamage::None);
    EXPECT_EQ(parsed.bytes, bytes.size());
    EXPECT_EQ(parsed.record.seq, record.seq);
    EXPECT_EQ(parsed.record.timestamp_ns, record.timestamp_ns);
    EXPECT_EQ(parsed.record.expires_at, record.expires_at);
    EXPECT_EQ(parsed.record.subject, record.subject);
    EXPECT_EQ(parsed.record.headers, record.headers);
    EXPECT_EQ(parsed.record.body, record.body);
  }
}

TEST(Record, EveryFlippedBitIsFoundAndContentKeepsItsPlace) {
  const Record record = sample_record();
  const std::string bytes = encoded(record);
  const size_t head = kRecordHeaderBytes + record.subject.size();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const ParsedRecord parsed = parse_record(damaged);
    ASSERT_NE(parsed.damage, RecordDamage::None) << "bit " << bit;
    if (bit / 8 < head) continue;
    ASSERT_EQ(parsed.damage, RecordDamage::Content) << "bit " << bit;
    EXPECT_EQ(parsed.record.seq, record.seq);
    EXPECT_EQ(parsed.record.subject, record.subject);
    EXPECT_EQ(parsed.record.timestamp_ns, record.timestamp_ns);
    EXPECT_EQ(parsed.bytes, bytes.size());
    EXPECT_TRUE(parsed.record.body.empty());
  }
}

TEST(Record, EveryCutIsFound) {
  const std::string bytes = encoded(sample_record());
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_EQ(parse_record(std::string_view(bytes).substr(0, size)).damage, RecordDamage::Cut) << size;
  }
}

TEST(Record, ZeroesAreNoRecord) {
  EXPECT_EQ(parse_record(std::string(4096, '\0')).damage, RecordDamage::Header);
}

TEST(Record, CountsWhatNatsServerCounts) {
  Record record = sample_record();
  EXPECT_EQ(record.counted_bytes(), 30 + 11 + 4 + 18 + 5u);
  record.headers = {};
  EXPECT_EQ(record.counted_bytes(), 30 + 11 + 5u);
}

}  // namespace
}  // namespace brokkr::store
