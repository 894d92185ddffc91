#include "store/files.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace brokkr::store {
namespace {

class PosixFilesTest : public ::testing::Test {
 protected:
  PosixFilesTest() {
    std::string pattern = ::testing::TempDir() + "brokkr-files-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~PosixFilesTest() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  Files& files_ = posix_files();
  std::string folder_;
};

TEST_F(PosixFilesTest, WritesReadsAndSyncs) {
  auto file = files_.open(path("a"), OpenMode::Create);
  ASSERT_TRUE(file);
  EXPECT_TRUE((*file)->write_at(3, "abc"));
  EXPECT_TRUE((*file)->sync());
  std::string bytes(10, '?');
  const auto read = (*file)->read_at(0, bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, 6u);
  EXPECT_EQ(bytes, (std::string{0, 0, 0, 'a', 'b', 'c', '?', '?', '?', '?'}));
  EXPECT_EQ(*(*file)->size(), 6u);
}

TEST_F(PosixFilesTest, FillZeroKeepsWhatIsThere) {
  auto file = files_.open(path("a"), OpenMode::Create);
  EXPECT_TRUE((*file)->write_at(0, "abc"));
  EXPECT_TRUE((*file)->fill_zero(3'000'001));
  EXPECT_TRUE((*file)->fill_zero(5));
  const auto bytes = read_file(files_, path("a"));
  ASSERT_TRUE(bytes);
  EXPECT_EQ(*bytes, "abc" + std::string(2'999'998, '\0'));
}

TEST_F(PosixFilesTest, ModesSayWhatMustExist) {
  EXPECT_EQ(files_.open(path("a"), OpenMode::Read).error().code, Errc::NotFound);
  EXPECT_EQ(files_.open(path("a"), OpenMode::ReadWrite).error().code, Errc::NotFound);
  EXPECT_TRUE(files_.open(path("a"), OpenMode::Create));
  EXPECT_EQ(files_.open(path("a"), OpenMode::Create).error().code, Errc::AlreadyExists);
}

TEST_F(PosixFilesTest, WritingThroughAReadOnlyFileFails) {
  EXPECT_TRUE(files_.open(path("a"), OpenMode::Create));
  auto file = files_.open(path("a"), OpenMode::Read);
  const Status written = (*file)->write_at(0, "x");
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().text.find(path("a")), std::string::npos);
}

TEST_F(PosixFilesTest, AFullDiskHasItsOwnCode) {
  auto file = files_.open("/dev/full", OpenMode::ReadWrite);
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->write_at(0, "x").error().code, Errc::OutOfSpace);
}

TEST_F(PosixFilesTest, ListsSortedWithSizes) {
  EXPECT_TRUE(files_.make_directory(path("d/e/f")));
  EXPECT_TRUE(files_.make_directory(path("d/e/f")));
  auto file = files_.open(path("d/b"), OpenMode::Create);
  EXPECT_TRUE((*file)->write_at(0, "12345"));
  EXPECT_TRUE(files_.open(path("d/a"), OpenMode::Create));
  const auto entries = files_.list(path("d"));
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].size, 5u);
  EXPECT_TRUE((*entries)[2].is_directory);
  EXPECT_FALSE(files_.make_directory(path("d/a")));
}

TEST_F(PosixFilesTest, ADirectoryIsLockedOnce) {
  auto first = files_.lock(folder_);
  ASSERT_TRUE(first);
  const auto second = files_.lock(folder_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::AlreadyExists);
  EXPECT_NE(second.error().text.find("process " + std::to_string(::getpid())), std::string::npos);
  first->reset();
  EXPECT_TRUE(files_.lock(folder_));
}

TEST_F(PosixFilesTest, AtomicWritesReplaceAndLeaveNothingBehind) {
  const std::string_view one[] = {"o", "ne"};
  const std::string_view two[] = {"two"};
  EXPECT_TRUE(write_file_atomically(files_, path("a"), one));
  EXPECT_EQ(*read_file(files_, path("a")), "one");
  EXPECT_TRUE(files_.open(path("a.tmp"), OpenMode::Create));
  EXPECT_TRUE(write_file_atomically(files_, path("a"), two));
  EXPECT_EQ(*read_file(files_, path("a")), "two");
  EXPECT_EQ(files_.list(folder_)->size(), 1u);
  EXPECT_EQ(read_file(files_, path("a"), 2).error().code, Errc::LimitExceeded);
}

TEST_F(PosixFilesTest, SaysHowMuchIsFree) { EXPECT_GT(*files_.free_bytes(folder_), 0u); }

}  // namespace
}  // namespace brokkr::store
