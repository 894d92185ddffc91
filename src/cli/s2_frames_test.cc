#include "cli/s2_frames.h"

#include <gtest/gtest.h>

namespace brokkr::cli {
namespace {

std::string chunk(char type, const std::string& body) {
  std::string out(1, type);
  out += static_cast<char>(body.size() & 0xff);
  out += static_cast<char>(body.size() >> 8 & 0xff);
  out += static_cast<char>(body.size() >> 16 & 0xff);
  return out + body;
}

// The stream's identifier, a plain block, padding, and a block of a literal and a copy: "abcdabcd".
std::string sample() {
  return chunk('\xff', "S2sTwO") + chunk('\x01', "CRC!" + std::string(1000, 'p')) +
         chunk('\xfe', std::string(50, '\0')) +
         chunk('\x00', std::string("CRC!") + "\x08" + "\x0c" + "abcd" + "\x01\x04");
}

TEST(S2Frames, CountsTheContentHoweverItIsCut) {
  for (const size_t step : {1, 2, 3, 7, 64, 5000}) {
    S2Frames frames;
    const std::string all = sample();
    for (size_t at = 0; at < all.size(); at += step) frames.add(std::string_view(all).substr(at, step));
    EXPECT_EQ(frames.uncompressed_bytes(), 1008U) << "step " << step;
    EXPECT_TRUE(frames.beginning().starts_with("pppp")) << "step " << step;
  }
}

TEST(S2Frames, ShowsTheFirstLiteralOfACompressedBlock) {
  S2Frames frames;
  frames.add(chunk('\x00', std::string("CRC!") + "\x08" + "\x0c" + "abcd" + "\x01\x04"));
  EXPECT_EQ(frames.beginning(), "abcd");
  EXPECT_EQ(frames.uncompressed_bytes(), 8U);
}

TEST(S2Frames, TakesBlocksCutShort) {
  S2Frames frames;
  frames.add(chunk('\x00', "CRC"));
  frames.add(chunk('\x00', std::string("CRC!") + "\xff"));
  EXPECT_EQ(frames.uncompressed_bytes(), 0U);
}

}  // namespace
}  // namespace brokkr::cli
