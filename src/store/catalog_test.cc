#include "store/catalog.h"

#include <cstdlib>
#include <cstring>

#include <gtest/gtest.h>

#include "base/random.h"
#include "store/record.h"
#include "store/test_files.h"

namespace brokkr::store {
namespace {

CatalogImage make_image(uint64_t lsn, uint32_t streams = 40) {
  CatalogImage image;
  image.store_id = "0123456789abcdef";
  image.lsn = lsn;
  image.next_stream = streams + 1;
  image.next_run_file = 77;
  for (uint32_t i = 1; i <= streams; ++i) {
    const std::string text = "stream " + std::to_string(i) + " at " + std::to_string(lsn);
    image.streams.push_back({i, 0, 0, image.keep(text + std::string(i % 13, '.'))});
    for (uint32_t k = 1; k <= i % 3; ++k) {
      image.consumers.push_back(
          {i, k, 0, image.keep("consumer " + std::to_string(k) + " of " + text)});
    }
  }
  return image;
}

bool is_equal(const std::vector<CatalogEntry>& a, const std::vector<CatalogEntry>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const CatalogEntry& x, const CatalogEntry& y) {
                      return x.stream == y.stream && x.id == y.id && x.bytes == y.bytes;
                    });
}

void expect_equal(const CatalogImage& a, const CatalogImage& b) {
  EXPECT_EQ(a.store_id, b.store_id);
  EXPECT_EQ(a.lsn, b.lsn);
  EXPECT_EQ(a.next_stream, b.next_stream);
  EXPECT_EQ(a.next_run_file, b.next_run_file);
  EXPECT_TRUE(is_equal(a.streams, b.streams));
  EXPECT_TRUE(is_equal(a.consumers, b.consumers));
}

// A directory with catalogs 1 and 2.
class CatalogTest : public testing::Test {
 protected:
  void SetUp() override {
    write(1);
    write(2);
  }
  void write(uint64_t number, Keyring* keys = nullptr) {
    EXPECT_TRUE(write_catalog(files, "d", number, make_image(number * 100), keys));
  }
  std::string& bytes(uint64_t number) { return *files.files.at("d/" + catalog_file_name(number)); }
  CatalogImage read(Keyring* keys = nullptr) {
    notes.clear();
    auto image = read_newest_catalog(files, "d", keys, notes);
    EXPECT_TRUE(image);
    return std::move(*image);
  }

  TestFiles files;
  std::vector<std::string> notes;
};

TEST_F(CatalogTest, GivesBackTheNewest) {
  const CatalogImage image = read();
  expect_equal(image, make_image(200));
  EXPECT_EQ(image.number, 2U);
  EXPECT_EQ(image.streams[3].lsn, 200U);
  EXPECT_FALSE(image.is_fallback);
  EXPECT_FALSE(image.is_salvaged);
  EXPECT_TRUE(notes.empty());
}

TEST_F(CatalogTest, IsEmptyWithoutFiles) {
  files.files.clear();
  const CatalogImage image = read();
  EXPECT_EQ(image.number, 0U);
  EXPECT_TRUE(image.streams.empty());
}

TEST_F(CatalogTest, KeepsTheOneBefore) {
  write(3);
  write(4);
  EXPECT_EQ(files.files.size(), 2U);
  EXPECT_TRUE(files.exists("d/0000000000000003.catalog"));
  EXPECT_TRUE(files.exists("d/0000000000000004.catalog"));
}

TEST_F(CatalogTest, DamagedOldOnesAreNotDeleted) {
  bytes(1)[200] ^= 1;
  write(3);
  EXPECT_TRUE(files.exists("d/lost+found/0000000000000001.catalog"));
}

TEST_F(CatalogTest, FallsBackToTheOneBefore) {
  const std::string whole = bytes(2);
  SeededRandom random(1);
  std::string noise = whole;
  for (char& c : noise)
    c = static_cast<char>(random.next());
  std::string flipped = whole;
  flipped[whole.size() / 2] ^= 4;
  for (const std::string& bad :
       {std::string(), std::string(whole.size(), '\0'), noise, flipped,
        whole.substr(0, whole.size() / 2), whole.substr(0, whole.size() - 1), whole + "x"}) {
    bytes(2) = bad;
    const CatalogImage image = read();
    expect_equal(image, make_image(100));
    EXPECT_TRUE(image.is_fallback);
    EXPECT_EQ(image.number, 2U);
    EXPECT_FALSE(notes.empty());
    EXPECT_FALSE(files.exists("d/0000000000000002.catalog"));
    ASSERT_TRUE(files.exists("d/lost+found/0000000000000002.catalog"));
    files.files.erase("d/lost+found/0000000000000002.catalog");
    write(2);
    EXPECT_EQ(files.files.size(), 2U);
  }
}

TEST_F(CatalogTest, AnotherFilesBytesAreDamage) {
  bytes(2) = bytes(1);
  EXPECT_TRUE(read().is_fallback);
}

TEST_F(CatalogTest, PutsTogetherWhatDamageLeft) {
  write(3);  // the entries of 2 and 3 differ in their bytes
  bytes(2)[bytes(2).find("stream 7 ")] ^= 1;
  bytes(3)[bytes(3).find("stream 9 ")] ^= 1;
  const CatalogImage image = read();
  EXPECT_TRUE(image.is_salvaged);
  EXPECT_EQ(image.number, 3U);
  EXPECT_EQ(image.lsn, 200U);
  EXPECT_EQ(image.next_stream, 41U);
  ASSERT_EQ(image.streams.size(), 40U);
  EXPECT_EQ(image.streams[6].bytes.substr(0, 15), "stream 7 at 300");
  EXPECT_EQ(image.streams[8].bytes.substr(0, 15), "stream 9 at 200");
  EXPECT_EQ(image.streams[8].lsn, 200U);
  EXPECT_EQ(image.streams[9].lsn, 300U);
  // Until another image is written they are all there is.
  EXPECT_TRUE(files.exists("d/0000000000000002.catalog"));
  EXPECT_TRUE(files.exists("d/0000000000000003.catalog"));
}

TEST_F(CatalogTest, FindsEntriesWithoutHeadAndTail) {
  for (const uint64_t number : {1, 2}) {
    std::string& it = bytes(number);
    std::fill(it.begin(), it.begin() + 100, '\0');
    it.resize(it.size() - 30);
  }
  const CatalogImage image = read();
  EXPECT_TRUE(image.is_salvaged);
  EXPECT_TRUE(is_equal(image.streams, make_image(200).streams));
  EXPECT_TRUE(is_equal(image.consumers, make_image(200).consumers));
  EXPECT_EQ(image.lsn, 200U);
  EXPECT_EQ(image.next_stream, 41U);
}

TEST_F(CatalogTest, IsEncrypted) {
  for (const Cipher cipher : {Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305}) {
    const std::unique_ptr<Keyring> keys = std::move(*Keyring::make(cipher, "secret", ""));
    write(5, keys.get());
    EXPECT_EQ(bytes(5).find("stream 7"), std::string::npos);
    expect_equal(read(keys.get()), make_image(500));
    const std::unique_ptr<Keyring> next = std::move(*Keyring::make(cipher, "new", "secret"));
    expect_equal(read(next.get()), make_image(500));
    const std::unique_ptr<Keyring> other = std::move(*Keyring::make(cipher, "other", ""));
    for (Keyring* wrong : {other.get(), static_cast<Keyring*>(nullptr)}) {
      const auto image = read_newest_catalog(files, "d", wrong, notes);
      ASSERT_FALSE(image);
      EXPECT_EQ(image.error().code, Errc::PermissionDenied);
    }
    EXPECT_TRUE(files.exists("d/0000000000000005.catalog"));
  }
}

TEST_F(CatalogTest, OfANewerVersionIsLeftAlone) {
  std::string& it = bytes(2);
  it[8] = 9;
  const size_t head_bytes = static_cast<uint8_t>(it[12]);
  const uint32_t crc = crc32c(std::string_view(it).substr(0, head_bytes - 16));
  std::memcpy(&it[head_bytes - 16], &crc, sizeof crc);
  const auto image = read_newest_catalog(files, "d", nullptr, notes);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Errc::Unsupported);
  EXPECT_TRUE(files.exists("d/0000000000000002.catalog"));
}

// Every single flipped bit and every length: noticed, and no stream but the one hit goes.
TEST_F(CatalogTest, NoticesEveryFlippedBitAndEveryCut) {
  const std::string whole = bytes(2);
  const CatalogImage expected = make_image(200);
  const bool is_full = std::getenv("BROKKR_EXHAUSTIVE") != nullptr;
  const auto parse = [&](std::string damaged, size_t streams_min) {
    CatalogImage image;
    const auto keep = std::make_shared<const std::string>(std::move(damaged));
    if (parse_catalog(keep, 2, nullptr, image, nullptr)) return false;
    return image.streams.size() + image.consumers.size() >= streams_min;
  };
  const size_t entries = expected.streams.size() + expected.consumers.size();
  for (size_t bit = 0; bit < whole.size() * 8; bit += is_full ? 1 : 7) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    ASSERT_TRUE(parse(std::move(damaged), entries - 1)) << "bit " << bit;
  }
  for (size_t size = 0; size < whole.size(); ++size)
    ASSERT_TRUE(parse(whole.substr(0, size), 0)) << size;
}

TEST_F(CatalogTest, ThirtyThousandStreamsAreQuick) {
  CatalogImage image = make_image(900, 0);
  const std::string_view text = image.keep(std::string(1024, 'c'));
  for (uint32_t i = 1; i <= 30000; ++i)
    image.streams.push_back({i, 0, 0, text});
  ASSERT_TRUE(write_catalog(files, "d", 9, image, nullptr));
  EXPECT_EQ(read().streams.size(), 30000U);
}

}  // namespace
}  // namespace brokkr::store
