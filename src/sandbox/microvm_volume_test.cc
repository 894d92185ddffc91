#include "sandbox/microvm_volume.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "sandbox/microvm.h"
#include "sandbox/microvm_tree.h"

namespace brokkr::sandbox::microvm {
namespace {

namespace fs = std::filesystem;

class MicroVmVolumeTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/brokkr-volume-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    fs::create_directory(folder_ + "/data");
  }
  void TearDown() override { fs::remove_all(folder_); }
  Result<Disk> open(bool is_writable = true) { return open_volume({folder_ + "/data", "/data", is_writable}, folder_, "disk1"); }
  std::string bytes(const std::string& path, size_t at, size_t size) {
    std::ifstream file(path, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    std::string out(size, '\0');
    file.read(out.data(), static_cast<std::streamsize>(size));
    return out;
  }
  std::string folder_;
};

TEST_F(MicroVmVolumeTest, AWritableOneIsAnImageWithOneUser) {
  if (!fs::exists("/usr/sbin/mkfs.ext4") && !fs::exists("/sbin/mkfs.ext4")) GTEST_SKIP() << "no mkfs.ext4";
  auto disk = open();
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->path, folder_ + "/.data.ext4");
  EXPECT_EQ(bytes(disk->path, 1024 + 56, 2), "\x53\xEF") << "ext4";
  auto second = open();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::Unavailable);
  EXPECT_NE(second.error().text.find("in use"), std::string::npos) << second.error().text;
  { const Disk gone = std::move(*disk); }
  EXPECT_TRUE(open()) << "its machine has ended";
}

TEST_F(MicroVmVolumeTest, FilesOfAnotherSandboxAreNotHidden) {
  std::ofstream(folder_ + "/data/file") << "x";
  auto disk = open();
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().code, Errc::Unsupported);
  EXPECT_FALSE(fs::exists(folder_ + "/.data.ext4"));
}

TEST_F(MicroVmVolumeTest, AReadOnlyOneIsMadeOfTheFolder) {
  std::ofstream(folder_ + "/data/file") << "content";
  auto disk = open(false);
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->path, folder_ + "/disk1");
  EXPECT_EQ(bytes(disk->path, 1024, 4), "\xE2\xE1\xF5\xE0") << "EROFS";
  std::stringstream all;
  all << std::ifstream(disk->path).rdbuf();
  EXPECT_NE(all.str().find("content"), std::string::npos);
  EXPECT_EQ(all.str().size() % 4096, 0U);
}

TEST_F(MicroVmVolumeTest, TreesThatAreNone) {
  EXPECT_FALSE(write_tree_image({}, folder_ + "/empty"));
  EXPECT_FALSE(tree_of_folder(folder_ + "/nowhere"));
  ProgramSpec spec;
  spec.executable = folder_ + "/nowhere";
  const auto tree = tree_of_root(spec);
  ASSERT_FALSE(tree);
  EXPECT_EQ(tree.error().code, Errc::NotFound);
}

TEST_F(MicroVmVolumeTest, LayersAreLaidOverEachOther) {
  for (const char* name : {"/low/a", "/low/gone", "/top/a"}) fs::create_directories(folder_ + name);
  std::ofstream(folder_ + "/low/a/one") << "1";
  std::ofstream(folder_ + "/low/a/two") << "2";
  std::ofstream(folder_ + "/low/gone/x") << "x";
  std::ofstream(folder_ + "/top/a/one") << "11";
  const bool can_hide = mknod((folder_ + "/top/gone").c_str(), S_IFCHR, 0) == 0;
  ProgramSpec spec;
  spec.lower = {folder_ + "/top", folder_ + "/low"};
  const auto tree = tree_of_root(spec);
  ASSERT_TRUE(tree);
  EXPECT_EQ(tree->at("a/one").about.st_size, 2);
  EXPECT_EQ(tree->count("a/two"), 1U);
  if (can_hide) {
    EXPECT_EQ(tree->count("gone/x"), 0U);
  }
}

}  // namespace
}  // namespace brokkr::sandbox::microvm
