#include "crypto/xkey.h"

#include "crypto/test_keys.h"

namespace brokkr::crypto {
namespace {

CurveKey curve(uint8_t byte) {
  KeyBytes seed;
  seed.fill(byte);
  return CurveKey::from_raw_seed(seed);
}

std::string from_hex(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return out;
}

TEST(CurveKey, KeysAreThoseOfTheReference) {
  EXPECT_EQ(curve(9).seed(), "SXAASCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCKESY");
  EXPECT_EQ(curve(9).public_key(), "XBL5WSZVT4R24XQUNZHCKEQFM4CHEJIGGSGBKDAUOU6QZEZ5ATKCD722");
  const auto again = CurveKey::from_seed(curve(9).seed() + "\n");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->public_key(), curve(9).public_key());
  EXPECT_FALSE(CurveKey::from_seed(testing::user_key().seed()));
}

TEST(CurveKey, OpensABoxTheReferenceSealed) {
  const std::string box = from_hex(
      "786b763183804b93c400ef3947a6fede21d5701a5661b97b50fe36a209d74faa91895ef0ff96615137d8b1df55844ed4e19579fb23");
  const auto text = curve(10).open(box, curve(9).public_key());
  ASSERT_TRUE(text) << text.error().text;
  EXPECT_EQ(*text, "hello box");
}

TEST(CurveKey, OnlyThePeerOpensABox) {
  const CurveKey from = CurveKey::generate();
  const CurveKey to = CurveKey::generate();
  const auto box = from.seal("secret", to.public_key());
  ASSERT_TRUE(box);
  EXPECT_EQ(box->substr(0, 4), "xkv1");
  EXPECT_EQ(*to.open(*box, from.public_key()), "secret");
  EXPECT_FALSE(to.open(*box, CurveKey::generate().public_key()));
  EXPECT_FALSE(CurveKey::generate().open(*box, from.public_key()));
  EXPECT_NE(*from.seal("secret", to.public_key()), *box);
}

TEST(CurveKey, EveryChangedByteIsRefused) {
  const auto box = curve(9).seal("secret", curve(10).public_key());
  ASSERT_TRUE(box);
  for (size_t i = 0; i < box->size(); ++i) {
    std::string changed = *box;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(curve(10).open(changed, curve(9).public_key())) << i;
    EXPECT_FALSE(curve(10).open(box->substr(0, i), curve(9).public_key())) << i;
  }
}

// Boxes sealed for a key of all zeros could be opened by anybody (CVE-2023-46129).
TEST(CurveKey, WeakKeysAreRefused) {
  KeyBytes weak{};
  for (const uint8_t low : {uint8_t{0}, uint8_t{1}}) {
    weak[0] = low;
    const std::string key = format_public_key(NkeyType::Curve, weak);
    EXPECT_FALSE(curve(9).seal("x", key));
    EXPECT_FALSE(curve(9).open(std::string(80, 'x'), key));
  }
  EXPECT_FALSE(curve(9).seal("x", testing::user_key().public_key()));
  EXPECT_FALSE(curve(9).seal("x", ""));
}

}  // namespace
}  // namespace brokkr::crypto
