#include "http/websocket_frame.h"

#include <utility>

#include <gtest/gtest.h>

#include "http/websocket_deflate.h"

namespace brokkr::http {
namespace {

using Outcome = FrameReader::Outcome;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text.push_back(static_cast<char>(value));
  return text;
}

FrameReader::Rules unmasked(bool compression = false) { return {false, compression}; }

TEST(FrameReader, ReadsHeadersInAnyPieces) {
  const std::string frame = bytes({0x82, 0xfe, 0x01, 0x02, 'm', 'a', 's', 'k'});
  for (size_t cut = 0; cut < frame.size(); ++cut) {
    FrameReader reader({});
    std::string_view first = std::string_view(frame).substr(0, cut);
    ASSERT_EQ(reader.next(first), Outcome::Partial) << cut;
    EXPECT_TRUE(first.empty());
    std::string_view second = std::string_view(frame).substr(cut);
    ASSERT_EQ(reader.next(second), Outcome::Header) << cut;
    EXPECT_EQ(reader.header().length, 0x102U);
    EXPECT_EQ(reader.header().mask, (MaskKey{'m', 'a', 's', 'k'}));
    EXPECT_TRUE(reader.header().is_masked);
  }
}

TEST(FrameReader, LeavesThePayload) {
  FrameReader reader(unmasked());
  const std::string frame = bytes({0x82, 0x02, 'h', 'i'});
  std::string_view input = frame;
  ASSERT_EQ(reader.next(input), Outcome::Header);
  EXPECT_EQ(input, "hi");
}

TEST(FrameReader, TellsWhichRuleIsBroken) {
  const struct {
    std::string frame;
    FrameReader::Rules rules;
    std::string error;
  } cases[] = {
      {bytes({0xa2, 0}), unmasked(), "RSV2 and RSV3 must be clear"},
      {bytes({0x92, 0}), unmasked(), "RSV2 and RSV3 must be clear"},
      {bytes({0xc2, 0}), unmasked(),
       "compressed frame received without negotiated permessage-deflate"},
      {bytes({0x82, 0}), {true, false}, "mask bit missing"},
      {bytes({0x83, 0}), unmasked(), "unknown opcode 3"},
      {bytes({0x8f, 0}), unmasked(), "unknown opcode 15"},
      {bytes({0x89, 126}), unmasked(),
       "control frame length bigger than maximum allowed of 125 bytes"},
      {bytes({0x09, 0}), unmasked(), "control frame does not have final bit set"},
      {bytes({0xc8, 0}), unmasked(true), "control frame must not be compressed"},
      {bytes({0x80, 0}), unmasked(), "invalid continuation frame"},
      {bytes({0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}), unmasked(), "invalid 64-bit payload length"},
  };
  for (const auto& each : cases) {
    FrameReader reader(each.rules);
    std::string_view input = each.frame;
    EXPECT_EQ(reader.next(input), Outcome::Error) << each.error;
    EXPECT_EQ(reader.error(), each.error);
  }
}

TEST(FrameReader, HoldsTheOrderOfFragments) {
  FrameReader reader(unmasked(true));
  const auto read = [&](std::initializer_list<int> frame) {
    const std::string text = bytes(frame);
    std::string_view input = text;
    return reader.next(input);
  };
  EXPECT_EQ(read({0x42, 0}), Outcome::Header);  // compressed, not final
  EXPECT_EQ(read({0x89, 0}), Outcome::Header);  // a ping in between
  EXPECT_EQ(read({0x00, 0}), Outcome::Header);
  EXPECT_EQ(read({0x80, 0}), Outcome::Header);
  EXPECT_EQ(read({0x80, 0}), Outcome::Error);
  EXPECT_EQ(reader.error(), "invalid continuation frame");
  FrameReader again(unmasked(true));
  std::string two = bytes({0x02, 0, 0x82, 0});
  std::string_view input = two;
  EXPECT_EQ(again.next(input), Outcome::Header);
  EXPECT_EQ(again.next(input), Outcome::Error);
  EXPECT_EQ(again.error(),
            "new message started before final frame for previous message was received");
}

TEST(FrameReader, RefusesACompressedContinuation) {
  FrameReader reader(unmasked(true));
  const std::string two = bytes({0x42, 0, 0xc0, 0});
  std::string_view input = two;
  EXPECT_EQ(reader.next(input), Outcome::Header);
  EXPECT_EQ(reader.next(input), Outcome::Error);
}

TEST(FrameHeader, WritesTheShortestLength) {
  for (const auto& [length, size] : {std::pair<uint64_t, size_t>{0, 2}, {125, 2}, {126, 4},
                                     {65535, 4}, {65536, 10}, {uint64_t{1} << 40, 10}}) {
    FrameHeader header;
    header.length = length;
    char out[kFrameHeaderMax];
    ASSERT_EQ(write_frame_header(header, out), size);
    FrameReader reader(unmasked());
    std::string_view input(out, size);
    ASSERT_EQ(reader.next(input), Outcome::Header);
    EXPECT_EQ(reader.header().length, length);
  }
}

TEST(Mask, IsItsOwnReverseFromAnyOffset) {
  const MaskKey key{0x12, 0x34, 0x56, 0x78};
  std::string whole(100, 'x');
  apply_mask(key, 0, whole.data(), whole.size());
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    std::string parts = whole;
    apply_mask(key, 0, parts.data(), cut);
    apply_mask(key, cut, parts.data() + cut, parts.size() - cut);
    ASSERT_EQ(parts, std::string(100, 'x')) << cut;
  }
}

TEST(Close, AnswersAsRfc6455Asks) {
  const struct {
    std::string payload;
    std::string answer;
    bool is_error;
  } cases[] = {
      {"", "", false},
      {bytes({0x03, 0xe8}), bytes({0x03, 0xe8}), false},
      {bytes({0x03, 0xe8, 'b', 'y', 'e'}), bytes({0x03, 0xe8, 'b', 'y', 'e'}), false},
      {bytes({0x03, 0xe8, 0xff}), bytes({0x03, 0xef}) + "invalid utf8 body in close frame", false},
      {"x", bytes({0x03, 0xea}) + "close frame payload cannot be 1 byte", true},
      {bytes({0x03, 0xed}), bytes({0x03, 0xea}) + "invalid close status code 1005", true},
      {bytes({0x07, 0xd0}), bytes({0x03, 0xea}) + "invalid close status code 2000", true},
      {bytes({0x0b, 0xb8}), bytes({0x0b, 0xb8}), false},  // 3000
      {bytes({0x13, 0x88}), bytes({0x03, 0xea}) + "invalid close status code 5000", true},
  };
  for (const auto& each : cases) {
    const CloseAnswer answer = answer_close(each.payload);
    EXPECT_EQ(answer.payload, each.answer);
    EXPECT_EQ(!answer.error.empty(), each.is_error) << answer.error;
  }
}

TEST(Close, CutsALongText) {
  const std::string payload = make_close_payload(CloseStatus::Normal, std::string(200, 'x'));
  EXPECT_EQ(payload.size(), kControlPayloadMax);
  EXPECT_TRUE(payload.ends_with("x..."));
}

// Expands `message`, given and taken in pieces of the sizes named.
std::string inflate(std::string_view message, size_t piece, size_t room) {
  MessageInflater inflater;
  std::string out;
  std::vector<char> buffer(room);
  for (size_t turns = 0; turns < 1'000'000; ++turns) {
    const std::string_view input = message.substr(0, piece);
    const auto step = inflater.step(input, input.size() == message.size(), buffer.data(), room);
    out.append(buffer.data(), step.produced);
    message.remove_prefix(step.taken);
    if (step.outcome == MessageInflater::Outcome::Ended) return out;
    if (step.outcome == MessageInflater::Outcome::Corrupt) return "corrupt";
  }
  return "endless";
}

TEST(Deflate, ReadsTheExamplesOfRfc7692) {
  const std::string examples[] = {
      bytes({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}),
      bytes({0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00}),
      bytes({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}),
      bytes({0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00}),
  };
  for (const std::string& example : examples) {
    for (const size_t piece : {1, 3, 100}) {
      for (const size_t room : {1, 5, 100}) EXPECT_EQ(inflate(example, piece, room), "Hello");
    }
  }
  EXPECT_EQ(inflate(bytes({0x00}), 1, 1), "");
}

TEST(Deflate, GivesWhatItHasBeforeMoreComes) {
  MessageDeflater deflater;
  std::string compressed;
  ASSERT_TRUE(deflater.compress(std::string(1000, 'x'), compressed));
  MessageInflater inflater;
  char room[10];
  std::string_view input = compressed;
  size_t produced = 0;
  for (MessageInflater::Step step{MessageInflater::Outcome::NeedsRoom};
       step.outcome == MessageInflater::Outcome::NeedsRoom; produced += step.produced) {
    step = inflater.step(input, false, room, sizeof room);
    input.remove_prefix(step.taken);
  }
  EXPECT_EQ(produced, 1000U);
}

TEST(Deflate, GivesBackWhatItTook) {
  MessageDeflater deflater;
  for (const size_t size : {65, 4096, 4097, 100'000, 1'000'000}) {
    std::string message;
    while (message.size() < size) message += "MSG subject." + std::to_string(message.size() % 977) + "\r\n";
    message.resize(size);
    std::string compressed = "kept";
    ASSERT_TRUE(deflater.compress(message, compressed)) << size;
    EXPECT_LT(compressed.size(), size);
    ASSERT_TRUE(compressed.starts_with("kept"));
    EXPECT_EQ(inflate(compressed.substr(4), 1000, 777), message) << size;
  }
}

TEST(Deflate, LeavesWhatDoesNotShrink) {
  MessageDeflater deflater;
  std::string noise;
  uint32_t state = 12345;
  while (noise.size() < 10'000) noise.push_back(static_cast<char>((state = state * 1664525 + 1013904223) >> 24));
  std::string out = "kept";
  EXPECT_FALSE(deflater.compress(noise, out));
  EXPECT_EQ(out, "kept");
}

TEST(Deflate, TellsWhatIsCorrupt) {
  EXPECT_EQ(inflate(bytes({0xff, 0xff, 0xff}), 10, 10), "corrupt");
  EXPECT_EQ(inflate(bytes({0xf2, 0x48, 0xcd}), 10, 10), "corrupt");  // ends in the middle
  EXPECT_EQ(inflate(bytes({0x00, 0xff, 0x00, 0x00, 0xff}), 10, 10), "corrupt");
}

}  // namespace
}  // namespace brokkr::http
