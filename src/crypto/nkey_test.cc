#include "crypto/nkey.h"

#include <set>

#include "base/bytes.h"
#include "crypto/digest.h"
#include "crypto/test_keys.h"

namespace brokkr::crypto {
namespace {

struct Sample {
  NkeyType type;
  uint8_t byte;
  const char* seed;
  const char* public_key;
  const char* signature;  // of "nonce", hexadecimal
};

// Made with the reference library from seeds of one byte repeated.
constexpr Sample kSamples[] = {
    {NkeyType::Operator, 1, "SOAACAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIATA",
     "OCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOCS",
     "733e538c3481b691c7e6c3c7839691d0ad7b4a31caf4f4ef99513130899b128bc5ff4afd9f9bed96809c37ae18208449cc46eff684"
     "df728b750028f23165a309"},
    {NkeyType::Account, 2, "SAAAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAUN5U",
     "ACATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZIL2R",
     "3bba0f2c6e42aa0f3f782792483e14a6b3e3fc0716d366d5348ef3c2d902ec58a4d45a80d1015ee9ddcc50fdd75fd0872bfa9f192e"
     "881d833719103f7a7eca04"},
    {NkeyType::User, 3, "SUAAGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGA6BEM",
     "UDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435C2U4",
     "d37c5fddd32dab616a54d5614f62980884b9c9b462a68b21e1350a7d9e5da7137d872e3ea2e2e5808756fabb0ab907fb9c92d94717"
     "df2fe30806015554056e0a"},
    {NkeyType::Server, 5, "SNAAKBIFAUCQKBIFAUCQKBIFAUCQKBIFAUCQKBIFAUCQKBIFAUCQKBP7G4",
     "NBXHUHG5FGYLPD6RHL2MKWMP572O6KUXCZXDZJXS4T57ZTMAKBN7C574",
     "2dc76f806da70d09f14daae9edcd9ad9b6b8ebb9210ef3ff410e74b0ee6b2ed8b2c0b3eb41ff88d44c12983fa2a52c442afe5ba800"
     "5fe292a4d62564b57c0507"},
    {NkeyType::Cluster, 8, "SCAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAJHM",
     "CAJZR5RMNUNEK7CRXJVEWXZ5XUXWT7FJGILCDDOITF7EC26RPWJ4VRL5",
     "79283b1d2e49e31a76f22e2f90007b7fce10fd8f0b1da6f0da507927eb84df9370e1a58cb57f7c7101d55561c99a4fc4dc30c0a1bf"
     "651b3c442d7b78fcd5330d"},
};

TEST(KeyPair, SeedsKeysAndSignaturesAreThoseOfTheReference) {
  for (const Sample& sample : kSamples) {
    const KeyPair pair = testing::key(sample.type, sample.byte);
    EXPECT_EQ(pair.seed(), sample.seed);
    EXPECT_EQ(pair.public_key(), sample.public_key);
    EXPECT_EQ(hex_encode(pair.sign("nonce")), sample.signature);
    const auto again = KeyPair::from_seed(std::string(" ") + sample.seed + "\r\n");
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(again->public_key(), sample.public_key);
    EXPECT_EQ(again->type(), sample.type);
    EXPECT_TRUE(is_public_key(sample.public_key, sample.type));
  }
}

TEST(KeyPair, VerifiesOnlyItsOwnSignature) {
  const KeyPair user = testing::user_key();
  const std::string signature = user.sign("nonce");
  EXPECT_TRUE(verify_signature(user.public_key(), "nonce", signature));
  EXPECT_FALSE(verify_signature(user.public_key(), "nonce2", signature));
  EXPECT_FALSE(verify_signature(testing::account_key().public_key(), "nonce", signature));
  EXPECT_FALSE(verify_signature(user.public_key(), "nonce", signature.substr(1)));
  EXPECT_FALSE(verify_signature(user.public_key(), "nonce", signature + "x"));
  EXPECT_FALSE(verify_signature("", "nonce", signature));
}

TEST(KeyPair, GeneratesADifferentKeyEachTime) {
  std::set<std::string> keys;
  for (int i = 0; i < 20; ++i) keys.insert(KeyPair::generate(NkeyType::User).public_key());
  EXPECT_EQ(keys.size(), 20U);
}

TEST(KeyPair, MovedFromHoldsNothing) {
  KeyPair from = testing::user_key();
  const KeyPair to = std::move(from);
  EXPECT_TRUE(from.public_key().empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(verify_signature(to.public_key(), "x", to.sign("x")));
}

TEST(PublicKey, EveryChangedCharacterIsRefused) {
  const std::string key = testing::user_key().public_key();
  for (size_t i = 0; i < key.size(); ++i) {
    std::string changed = key;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(parse_public_key(changed)) << i;
  }
}

// A key of a wrong length with a right checksum has passed for a key elsewhere.
TEST(PublicKey, WrongLengthsWithRightChecksumAreRefused) {
  for (const size_t size : {0, 1, 2, 31, 33, 34, 64}) {
    std::string raw(1, static_cast<char>(20 << 3));
    raw += std::string(size, 'k');
    uint16_t crc = 0;
    for (const char c : raw) {
      crc = static_cast<uint16_t>(crc ^ (static_cast<uint8_t>(c) << 8));
      for (int bit = 0; bit < 8; ++bit) crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    raw += static_cast<char>(crc & 0xff);
    raw += static_cast<char>(crc >> 8);
    EXPECT_FALSE(parse_public_key(base32_encode(raw))) << size;
    EXPECT_FALSE(KeyPair::from_seed(base32_encode(raw))) << size;
  }
}

TEST(PublicKey, SeedsWhiteSpaceAndLowerCaseAreRefused) {
  const std::string key = testing::user_key().public_key();
  EXPECT_FALSE(parse_public_key(testing::user_key().seed()));
  EXPECT_FALSE(parse_public_key(" " + key));
  EXPECT_FALSE(parse_public_key(key + "\n"));
  EXPECT_FALSE(parse_public_key(to_lower(key)));
  EXPECT_FALSE(is_public_key(key, NkeyType::Account));
}

TEST(Seed, ErrorsDoNotQuoteTheSecret) {
  std::string seed = testing::user_key().seed();
  seed.back() = seed.back() == 'A' ? 'B' : 'A';
  const auto pair = KeyPair::from_seed(seed);
  ASSERT_FALSE(pair);
  EXPECT_EQ(pair.error().text.find(seed.substr(0, 8)), std::string::npos);
  EXPECT_FALSE(KeyPair::from_seed(format_seed(NkeyType::Curve, KeyBytes{1})));
}

TEST(Base32, AcceptsOneTextPerValue) {
  for (const char* text : {"", "f", "fo", "foo", "foob", "fooba", "foobar"}) {
    EXPECT_EQ(base32_decode(base32_encode(text)), text);
  }
  EXPECT_EQ(base32_encode("foobar"), "MZXW6YTBOI");
  for (const char* text : {"A", "MZXW6YTBOI=", "mzxw6ytboi", "MZXW6YTBOJ", "MZXW6 YTBOI", "MZXW6YTBOIA"}) {
    EXPECT_FALSE(base32_decode(text)) << text;
  }
}

TEST(Base64Url, AcceptsOneTextPerValue) {
  EXPECT_EQ(base64url_decode_strict("-_-_"), "\xfb\xff\xbf");
  EXPECT_EQ(base64url_decode_strict("Zg"), "f");
  for (const char* text : {"Zh", "Zg==", "Z", "+/+/", "Zm 9v", "Zm9v\n"}) {
    EXPECT_FALSE(base64url_decode_strict(text)) << text;
  }
}

TEST(Digest, KnownValues) {
  EXPECT_EQ(hex_encode(sha512_256("abc")), "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23");
  EXPECT_EQ(hex_encode(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_NE(random_bytes(16), random_bytes(16));
  EXPECT_TRUE(equals_constant_time("abc", "abc"));
  EXPECT_FALSE(equals_constant_time("abc", "abd"));
  EXPECT_FALSE(equals_constant_time("abc", "ab"));
}

}  // namespace
}  // namespace brokkr::crypto
