#include "workload/artifact_cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/sha256.h"

namespace brokkr::workload {
namespace {

class ArtifactCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/brokkr-artifacts-XXXXXX";
    folder_ = std::string(mkdtemp(name)) + "/deep/er";
  }
  void TearDown() override { std::filesystem::remove_all(folder_ + "/../.."); }
  std::unique_ptr<ArtifactCache> open(uint64_t bytes_max = 1000) {
    auto cache = ArtifactCache::open(folder_, bytes_max);
    EXPECT_TRUE(cache);
    return std::move(*cache);
  }
  std::string folder_;
};

TEST_F(ArtifactCacheTest, KeepsAcrossOpens) {
  const std::string bytes("a\0b", 3);
  const auto digest = open()->put(bytes);
  ASSERT_TRUE(digest);
  EXPECT_EQ(*digest, sha256_hex(bytes));
  const auto back = open()->get(*digest);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, bytes);
}

TEST_F(ArtifactCacheTest, ChangedBytesAreNeverReturned) {
  const auto cache = open();
  const std::string digest = *cache->put("good");
  std::ofstream(folder_ + "/" + digest) << "evil";
  const auto back = cache->get(digest);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, Errc::Corrupt);
  EXPECT_FALSE(cache->has(digest));
}

TEST_F(ArtifactCacheTest, NamesThatAreNoDigestAreNotFound) {
  const auto cache = open();
  for (const char* name : {"", "../../etc/passwd", "abc", "/"}) {
    EXPECT_EQ(cache->get(name).error().code, Errc::NotFound);
  }
}

TEST_F(ArtifactCacheTest, OldestGoesWhenFull) {
  const auto cache = open(100);
  const std::string first = *cache->put(std::string(60, 'a'));
  const std::string second = *cache->put(std::string(60, 'b'));
  EXPECT_FALSE(cache->has(first));
  EXPECT_TRUE(cache->has(second));
  EXPECT_EQ(cache->put(std::string(101, 'c')).error().code, Errc::LimitExceeded);
}

}  // namespace
}  // namespace brokkr::workload
