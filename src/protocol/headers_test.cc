#include "protocol/headers.h"

#include <gtest/gtest.h>

namespace brokkr::protocol {
namespace {

TEST(Headers, WrittenBlockIsReadBack) {
  HeaderWriter writer;
  EXPECT_TRUE(writer.add("Key", "value"));
  EXPECT_TRUE(writer.add("Key", "second"));
  EXPECT_TRUE(writer.add("Empty", ""));
  const std::string block = writer.take();
  EXPECT_EQ(block, "NATS/1.0\r\nKey: value\r\nKey: second\r\nEmpty: \r\n\r\n");
  const auto headers = Headers::parse(block);
  ASSERT_TRUE(headers);
  EXPECT_EQ(headers->status(), 0);
  EXPECT_EQ(headers->find("Key"), "value");
  EXPECT_EQ(headers->find("Empty"), "");
  EXPECT_EQ(headers->find("key"), std::nullopt);
  EXPECT_EQ(headers->find_ignore_case("KEY"), "value");
  EXPECT_EQ(headers->find_all("Key"), (std::vector<std::string_view>{"value", "second"}));
  size_t count = 0;
  for (const Header& header : *headers) count += !header.key.empty();
  EXPECT_EQ(count, 3u);
}

TEST(Headers, StatusLineIsRead) {
  const auto bare = Headers::parse("NATS/1.0 503\r\n\r\n");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->status(), 503);
  EXPECT_EQ(bare->status_text(), "");
  EXPECT_TRUE(bare->empty());
  const auto full = Headers::parse("NATS/1.0 404 Message Not Found\r\nA:b\r\n\r\n");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->status(), 404);
  EXPECT_EQ(full->status_text(), "Message Not Found");
  EXPECT_EQ(full->get("A"), "b");
  EXPECT_EQ(HeaderWriter(408, "Request Timeout").take(), "NATS/1.0 408 Request Timeout\r\n\r\n");
}

TEST(Headers, MalformedBlocksAreRefused) {
  for (const char* text :
       {"", "NATS/1.0", "NATS/1.0\r\n", "NATS/1.0\r\nA: b\r\n", "NATS/2.0\r\n\r\n",
        "NATS/1.0x\r\n\r\n", "NATS/1.0 5\r\n\r\n", "NATS/1.0 5000\r\n\r\n", "NATS/1.0 abc\r\n\r\n",
        "NATS/1.0\r\n: b\r\n\r\n", "NATS/1.0\r\nA b\r\n\r\n", "NATS/1.0\r\n A: b\r\n\r\n",
        "NATS/1.0\r\nA: b\n\r\n", "NATS/1.0\r\nA: b\rc\r\n\r\n", "NATS/1.0\n\n",
        "NATS/1.0\r\nA: b\r\n\r\nrest", "\r\n\r\n"}) {
    EXPECT_FALSE(Headers::parse(text)) << text;
  }
}

TEST(Headers, ValueKeepsItsColonsAndTrailingBlanks) {
  const auto headers = Headers::parse("NATS/1.0\r\nUrl:  \t nats://a:1 \r\n\r\n");
  ASSERT_TRUE(headers);
  EXPECT_EQ(headers->get("Url"), "nats://a:1 ");
}

TEST(Headers, WriterRefusesWhatBreaksTheBlock) {
  HeaderWriter writer;
  for (const char* key : {"", "a:b", "a b", "a\r\nb"}) EXPECT_FALSE(writer.add(key, "v")) << key;
  EXPECT_FALSE(writer.add("a", "b\r\nc: d"));
  EXPECT_FALSE(writer.add("a", "b\nc"));
  EXPECT_EQ(writer.take(), "NATS/1.0\r\n\r\n");
}

TEST(Headers, HeaderIsTakenOut) {
  const std::string block = "NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n";
  EXPECT_EQ(without_header(block, "A"), "NATS/1.0\r\nB: 2\r\n\r\n");
  EXPECT_EQ(without_header(block, "C"), block);
  EXPECT_EQ(without_header("NATS/1.0\r\nA: 1\r\n\r\n", "A"), "");
  EXPECT_EQ(without_header("NATS/1.0 503\r\nA: 1\r\n\r\n", "A"), "NATS/1.0 503\r\n\r\n");
}

TEST(Headers, HeaderIsSet) {
  EXPECT_EQ(with_header("", "A", "1"), "NATS/1.0\r\nA: 1\r\n\r\n");
  EXPECT_EQ(with_header("NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n", "A", "4"),
            "NATS/1.0\r\nB: 2\r\nA: 4\r\n\r\n");
  EXPECT_EQ(with_header("NATS/1.0 100 Idle\r\n\r\n", "A", "1"), "NATS/1.0 100 Idle\r\nA: 1\r\n\r\n");
}

}  // namespace
}  // namespace brokkr::protocol
