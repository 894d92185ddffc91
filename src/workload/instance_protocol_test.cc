#include "workload/instance_protocol.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace brokkr::workload {
namespace {

std::string one_frame(uint64_t id, std::string_view text) {
  std::string bytes;
  FrameWriter(bytes, FrameType::Outcome, id, 200, kHasReply).number(7).text(text).finish();
  return bytes;
}

TEST(FrameBuffer, FramesComeBackFromAnyCut) {
  std::string bytes;
  for (uint64_t id = 1; id <= 20; ++id) bytes += one_frame(id, std::string(id * 37, 'x'));
  SeededRandom random(4);
  for (int round = 0; round < 50; ++round) {
    FrameBuffer buffer;
    uint64_t expected = 1;
    for (size_t at = 0; at < bytes.size();) {
      const size_t piece = std::min<size_t>(bytes.size() - at, 1 + random.below(200));
      buffer.append(std::string_view(bytes).substr(at, piece));
      at += piece;
      for (Frame frame; buffer.next(frame); ++expected) {
        FieldReader in(frame.body);
        ASSERT_EQ(frame.id, expected);
        ASSERT_EQ(in.number(), 7U);
        ASSERT_EQ(in.text().size(), expected * 37);
        ASSERT_TRUE(in.is_ok());
      }
    }
    ASSERT_EQ(expected, 21U);
    ASSERT_TRUE(buffer.is_empty());
  }
}

TEST(FrameBuffer, TooLargeAFrameIsCorruptBeforeItsBytesCome) {
  FrameBuffer buffer(100);
  buffer.append(one_frame(1, std::string(200, 'x')).substr(0, kFrameHeaderBytes));
  Frame frame;
  EXPECT_FALSE(buffer.next(frame));
  EXPECT_TRUE(buffer.is_corrupt());
  EXPECT_FALSE(buffer.has_frame());
}

TEST(FrameBuffer, TakingTheRestLeavesTheFrameInPlace) {
  FrameBuffer buffer;
  buffer.append(one_frame(1, "first") + one_frame(2, "second"));
  Frame frame;
  ASSERT_TRUE(buffer.next(frame));
  EXPECT_EQ(buffer.take_rest(), one_frame(2, "second"));
  FieldReader in(frame.body);
  in.number();
  EXPECT_EQ(in.text(), "first");
  EXPECT_FALSE(buffer.has_frame());
}

TEST(FieldReader, RandomBytesNeverReadPastTheEnd) {
  SeededRandom random(99);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random.below(64), '\0');
    for (char& c : bytes) c = static_cast<char>(random.below(4) == 0 ? random.next() : 0);
    FieldReader in(bytes);
    size_t total = 0;
    while (in.is_ok()) total += random.below(2) == 0 ? in.text().size() + 4 : (in.number(), 8);
    ASSERT_LE(total, bytes.size() + 8);
    ASSERT_TRUE(in.text().empty());
  }
}

}  // namespace
}  // namespace brokkr::workload
