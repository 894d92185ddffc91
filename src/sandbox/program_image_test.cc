#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "sandbox/program_test_support.h"

namespace brokkr::sandbox {
namespace {

// Programs in roots made of layers.
class ProgramImageTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (geteuid() != 0) GTEST_SKIP() << "layers are made by root";
    char name[] = "/tmp/brokkr-image-XXXXXX";
    folder_ = mkdtemp(name);
    chmod(folder_.c_str(), 0755);
    add_file("bottom/bin/guest", "");
    std::filesystem::copy_file(BROKKR_SANDBOX_GUEST, folder_ + "/bottom/bin/guest",
                               std::filesystem::copy_options::overwrite_existing);
    add_file("bottom/etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:1234:1235::/:/bin/sh\n");
    add_file("bottom/etc/group", "app:x:1235:\nextra:x:77:app\n");
    add_file("bottom/data/old", "old");
    add_file("top/data/new", "new");
    mknod((folder_ + "/top/data/old").c_str(), S_IFCHR | 0600, makedev(0, 0));
    (void)!chown((folder_ + "/top/data").c_str(), 1234, 1235);
  }
  void TearDown() override {
    ProgramTest::TearDown();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  void add_file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(
        std::filesystem::path(folder_ + "/" + path).parent_path());
    std::ofstream(folder_ + "/" + path) << text;
  }
  std::string text_of(const std::string& path) const {
    std::ifstream file(folder_ + "/" + path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  ProgramSpec image(std::vector<std::string> arguments) {
    ProgramSpec spec = guest(std::move(arguments));
    spec.executable.clear();
    spec.lower = {folder_ + "/top", folder_ + "/bottom"};
    spec.environment = {"PATH=/none:/bin"};
    out_.clear();
    status_.reset();
    return spec;
  }
  std::string folder_;
};

TEST_F(ProgramImageTest, LayersLieOverEachOther) {
  EXPECT_EQ(run(image({"cat", "/data/new"})), 0);
  EXPECT_EQ(out_, "new");
  EXPECT_EQ(run(image({"cat", "/data/old"})), ENOENT);
  EXPECT_EQ(run(image({"cat", "/etc/hosts"})), 0);
  EXPECT_NE(out_.find("localhost guest"), std::string::npos);
  EXPECT_EQ(text_of("bottom/etc/hosts"), "");
}

TEST_F(ProgramImageTest, RunsAsTheUserItNames) {
  const std::pair<const char*, const char*> users[] = {
      {"", "uid 65534 gid 65534"},         {"app", "uid 1234 gid 1235"},
      {"1234", "uid 1234 gid 1235"},       {"app:extra", "uid 1234 gid 77"},
      {"42:43", "uid 42 gid 43"},          {"root", "uid 0 gid 0"},
  };
  for (const auto& [user, expected] : users) {
    ProgramSpec spec = image({"about"});
    spec.user = user;
    spec.working_folder = "/made/for/it";
    EXPECT_EQ(run(std::move(spec)), 0) << user;
    EXPECT_NE(out_.find(expected), std::string::npos) << out_;
    EXPECT_NE(out_.find("cwd /made/for/it"), std::string::npos) << out_;
  }
}

TEST_F(ProgramImageTest, ChangesAreKeptWhereTheyShall) {
  const std::string path = "/data/written";
  ProgramSpec spec = image({"write", path, "1"});
  spec.user = "app";
  EXPECT_EQ(run(spec), 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/top" + path));
  std::filesystem::create_directory(folder_ + "/upper");
  status_.reset();
  spec.upper = folder_ + "/upper";
  EXPECT_EQ(run(spec), 0);
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/upper/files" + path), 1U << 20);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/top" + path));
  // The temporary ones are limited.
  spec = image({"write", path, "8"});
  spec.user = "app";
  spec.limits.disk_bytes = 4 << 20;
  EXPECT_EQ(run(spec), ENOSPC);
}

TEST_F(ProgramImageTest, RootInsideOwnsWhatRootOwns) {
  // Where the file system of the layers can be mounted through a map.
  add_file("top/var/lib/x/old", "1");
  ProgramSpec spec = image({"write", "/var/lib/x/new", "1"});
  spec.user = "0";
  EXPECT_EQ(run(spec), 0);
  spec = image({"write", "/var/lib/x/old", "1"});
  spec.user = "root";
  EXPECT_EQ(run(spec), 0);
  EXPECT_EQ(text_of("top/var/lib/x/old"), "1");
  spec = image({"write", "/var/lib/x/old", "1"});
  EXPECT_EQ(run(spec), EACCES);
}

TEST_F(ProgramImageTest, FoldersOfTheHostAreBoundAsSaid) {
  add_file("shared/text", "from the host");
  std::filesystem::create_directory(folder_ + "/out");
  chmod((folder_ + "/out").c_str(), 0777);
  const std::vector<Bind> binds = {{folder_ + "/shared", "/mnt/shared", false},
                                   {folder_ + "/out", "/mnt/out", true}};
  ProgramSpec spec = image({"cat", "/mnt/shared/text"});
  spec.binds = binds;
  EXPECT_EQ(run(spec), 0);
  EXPECT_EQ(out_, "from the host");
  spec = image({"write", "/mnt/shared/more", "1"});
  spec.binds = binds;
  EXPECT_EQ(run(spec), EROFS);
  spec = image({"write", "/mnt/out/more", "1"});
  spec.binds = binds;
  EXPECT_EQ(run(spec), 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/out/more"));
}

TEST_F(ProgramImageTest, LinksInAnImageLeadNowhereElse) {
  std::filesystem::create_directory(folder_ + "/host");
  std::filesystem::create_directory(folder_ + "/linked");
  for (const char* name : {"etc", "dev", "tmp", "proc", "mnt"}) {
    std::filesystem::create_symlink(folder_ + "/host", folder_ + "/linked/" + name);
  }
  ProgramSpec spec = image({"exit", "0"});
  std::filesystem::copy_file(BROKKR_SANDBOX_GUEST, folder_ + "/linked/guest");
  spec.lower = {folder_ + "/linked"};
  spec.arguments.front() = "/guest";
  spec.binds = {{folder_ + "/bottom", "/mnt/bottom", false}};
  // Whether it starts does not matter; the host's folder stays empty.
  (void)run(std::move(spec));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/host"));
}

TEST_F(ProgramImageTest, ManyLayersAndOddNames) {
  std::vector<std::string> layers;
  for (int i = 0; i < 100; ++i) {
    const std::string name = "layer:" + std::to_string(i) + ",with,commas and blanks";
    add_file(name + "/data/" + std::to_string(i), std::to_string(i));
    layers.push_back(folder_ + "/" + name);
  }
  ProgramSpec spec = image({"cat", "/data/99"});
  spec.lower.insert(spec.lower.begin(), layers.begin(), layers.end());
  EXPECT_EQ(run(std::move(spec)), 0);
  EXPECT_EQ(out_, "99");
}

TEST_F(ProgramImageTest, StartsWithinItsTime) {
  std::vector<Duration> times;
  for (int i = 0; i < 15; ++i) {
    started_pid_ = 0;
    const MonotonicTime begin = clock_.now();
    start(image({"wait"}));
    ASSERT_TRUE(wait_for([&] { return started_pid_ != 0; }));
    times.push_back(clock_.now() - begin);
    program_.reset();
  }
  std::sort(times.begin(), times.end());
  std::printf("image start p50 %.1f ms\n",
              std::chrono::duration<double, std::milli>(times[times.size() / 2]).count());
  EXPECT_LT(times[times.size() / 2], std::chrono::milliseconds(500));
}

}  // namespace
}  // namespace brokkr::sandbox
