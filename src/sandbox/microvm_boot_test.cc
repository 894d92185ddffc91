#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "sandbox/cgroup.h"
#include "sandbox/microvm.h"

namespace brokkr::sandbox {
namespace {

namespace fs = std::filesystem;
constexpr const char* kBusybox = "/bin/busybox";

// A machine that boots: needs what tools/microvm.sh makes, in the folder of BROKKR_MICROVM.
class MicroVmBootTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("BROKKR_MICROVM");
    if (folder == nullptr) GTEST_SKIP() << "BROKKR_MICROVM names no folder made by tools/microvm.sh";
    tools_ = find_microvm_tools(folder);
    if (tools_.kind == MicroVmKind::None) GTEST_SKIP() << tools_.missing;
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    log_ = Log::discard();
    cgroups_ = CgroupTree::open();
  }
  void TearDown() override {
    program_.reset();
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  ProgramDeps deps() { return {*loop_, *log_, *cgroups_, BROKKR_SANDBOX_PROBE}; }
  ProgramEvents events() {
    ProgramEvents events;
    events.on_started = [this](pid_t pid, uint32_t layers) {
      pid_ = pid;
      layers_ = layers;
    };
    events.on_output = [this](OutputStream stream, std::string_view bytes) {
      (stream == OutputStream::Stdout ? out_ : error_out_) += bytes;
    };
    events.on_connection = [this](size_t listener, int fd) {
      EXPECT_EQ(listener, 0U);
      EXPECT_EQ(write(fd, "PONG", 4), 4);
      connections_.push_back(fd);
    };
    events.on_exit = [this](const io::ExitStatus& status, bool is_memory_kill, const std::string& reason) {
      status_ = status;
      is_memory_kill_ = is_memory_kill;
      reason_ = reason;
    };
    return events;
  }
  template <typename Done>
  bool wait(Done done) {
    const MonotonicTime end = clock_.now() + std::chrono::seconds(120);
    while (!done() && clock_.now() < end) loop_->run_once(std::chrono::milliseconds(50));
    return done();
  }
  void start(std::vector<std::string> arguments, ProgramLimits limits = {}) {
    ProgramSpec spec;
    spec.name = "guest";
    spec.executable = BROKKR_SANDBOX_GUEST;
    spec.arguments = std::move(arguments);
    spec.arguments.insert(spec.arguments.begin(), "guest");
    spec.environment = {"COLOUR=blue"};
    spec.listeners = {{"192.168.127.1", 4222, "broker"}};
    spec.limits = limits;
    auto started = start_microvm(deps(), tools_, std::move(spec), events());
    ASSERT_TRUE(started) << started.error().text;
    program_ = std::move(*started);
  }
  // A shell in a root of its own, its binds as volumes; true when it ended with exit code 0.
  bool run_shell(const std::string& script, std::vector<Bind> binds = {}) {
    ProgramSpec spec;
    spec.name = "shell";
    spec.root = root();
    spec.arguments = {"/bin/busybox", "sh", "-c", script};
    spec.environment = {"PATH=/bin"};
    spec.binds = std::move(binds);
    out_.clear();
    error_out_.clear();
    status_.reset();
    auto started = start_microvm(deps(), tools_, std::move(spec), events());
    if (!started) {
      reason_ = started.error().text;
      return false;
    }
    program_ = std::move(*started);
    const bool has_ended = wait([&] { return status_.has_value(); });
    monitor_ = program_->monitor();
    program_.reset();
    return has_ended && status_->text() == "exit code 0";
  }
  std::string root() {
    const std::string path = folder() + "/root";
    if (fs::exists(path)) return path;
    for (const char* inner : {"/bin", "/many/folders/deep"}) fs::create_directories(path + inner);
    fs::copy_file(kBusybox, path + "/bin/busybox");
    fs::create_hard_link(path + "/bin/busybox", path + "/bin/second-name");
    for (const char* name : {"sh", "cat", "ls", "wc", "sleep", "stat", "dd", "tail", "head", "id"}) {
      fs::create_symlink("busybox", path + "/bin/" + name);
    }
    // More than fit one block of a folder.
    for (int i = 0; i < 700; ++i) std::ofstream(path + "/many/file-with-a-long-name-" + std::to_string(i)) << i;
    fs::permissions(path + "/many/file-with-a-long-name-1", fs::perms::all);
    std::ofstream(path + "/empty");
    fs::permissions(path + "/empty", fs::perms::owner_read);
    return path;
  }
  std::string folder() {
    if (folder_.empty()) {
      char name[] = "/tmp/brokkr-boot-XXXXXX";
      if (mkdtemp(name) != nullptr) folder_ = name;
      chmod(name, 0755);
    }
    return folder_;
  }
  SystemClock clock_;
  MicroVmTools tools_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<CgroupTree> cgroups_;
  std::unique_ptr<Program> program_;
  pid_t pid_ = 0;
  uint32_t layers_ = 0;
  std::string out_;
  std::string error_out_;
  std::vector<int> connections_;
  std::optional<io::ExitStatus> status_;
  bool is_memory_kill_ = false;
  std::string reason_;
  std::string monitor_;
  std::string folder_;
};

TEST_F(MicroVmBootTest, AProgramRunsAsNobodyAndReachesTheBroker) {
  start({"about"});
  ASSERT_TRUE(wait([&] { return status_.has_value(); })) << "no exit";
  EXPECT_EQ(status_->text(), "exit code 0") << reason_;
  EXPECT_NE(out_.find("uid 65534 gid 65534 host guest"), std::string::npos) << out_;
  EXPECT_NE(out_.find("COLOUR=blue"), std::string::npos);
  EXPECT_GT(pid_, 0);
  EXPECT_NE(layers_ & kSeccomp, 0U) << "the monitor is confined";
  program_.reset();
  status_.reset();
  out_.clear();
  start({"ask", "192.168.127.1", "4222"});
  ASSERT_TRUE(wait([&] { return status_.has_value(); }));
  EXPECT_EQ(out_, "PONG") << reason_ << error_out_;
}

TEST_F(MicroVmBootTest, PortsCommandsAndStop) {
  start({"serve", "8080"});
  ASSERT_TRUE(wait([&] { return out_.find("listening") != std::string::npos || status_; })) << reason_;
  std::optional<Result<int>> connected;
  program_->connect(8080, [&](Result<int> fd) { connected.emplace(std::move(fd)); });
  ASSERT_TRUE(wait([&] { return connected.has_value(); }));
  ASSERT_TRUE(*connected);
  ASSERT_EQ(write(**connected, "over there", 10), 10);
  char bytes[32] = {};
  ASSERT_TRUE(wait([&] {
    pollfd poll_fd{**connected, POLLIN, 0};
    return poll(&poll_fd, 1, 0) == 1;
  }));
  EXPECT_EQ(read(**connected, bytes, sizeof bytes), 10);
  EXPECT_STREQ(bytes, "over there");
  close(**connected);
  std::optional<int> code;
  std::string said;
  program_->execute({"/app/" + fs::path(BROKKR_SANDBOX_GUEST).filename().string(), "about"}, std::chrono::seconds(30),
                    [&](int exit_code, std::string output) {
                      code = exit_code;
                      said = std::move(output);
                    });
  ASSERT_TRUE(wait([&] { return code.has_value(); }));
  EXPECT_EQ(*code, 0);
  EXPECT_NE(said.find("uid 65534"), std::string::npos) << said;
  EXPECT_TRUE(wait([&] { return program_->usage().memory_bytes > 0; }));
  program_->stop(std::chrono::seconds(60));
  ASSERT_TRUE(wait([&] { return status_.has_value(); }));
  EXPECT_TRUE(status_->is_signalled);
  EXPECT_EQ(status_->value, SIGTERM) << reason_;
}

TEST_F(MicroVmBootTest, TheRootIsADiskOfAnySize) {
  if (!fs::exists(kBusybox)) GTEST_SKIP() << "no " << kBusybox;
  // A file larger than the machine's memory, most of it a hole.
  const std::string large = root() + "/large";
  std::ofstream(large) << "begin";
  fs::resize_file(large, 700U << 20);
  std::ofstream(large, std::ios::app) << "end";
  ASSERT_TRUE(run_shell("tail -c 3 /large; stat -c ' %s' /large; ls /many | wc -l; cat /many/file-with-a-long-name-699; echo;"
                        "stat -c '%h %A' /bin/busybox /bin/second-name /empty; ls -l /bin/sh; ls -d /many/folders/deep;"
                        "echo changed > /many/file-with-a-long-name-1 && cat /many/file-with-a-long-name-1"))
      << reason_ << error_out_ << out_;
  for (const char* wanted : {"end 734003203", "701\n699\n", "2 -rwxr-xr-x\n2 -rwxr-xr-x\n1 -r--------", "-> busybox", "/many/folders/deep"}) {
    EXPECT_NE(out_.find(wanted), std::string::npos) << wanted << " in " << out_;
  }
}

TEST_F(MicroVmBootTest, VolumesOutliveTheirMachine) {
  if (!fs::exists(kBusybox)) GTEST_SKIP() << "no " << kBusybox;
  for (const char* name : {"/data", "/shared"}) fs::create_directory(folder() + name);
  std::ofstream(folder() + "/shared/file") << "of the host";
  const std::vector<Bind> binds = {{folder() + "/data", "/var/data", true}, {folder() + "/shared", "/shared", false}};
  ASSERT_TRUE(run_shell("id; cat /shared/file; echo no > /shared/file; ls /var/data; echo kept > /var/data/file", binds))
      << reason_ << error_out_ << out_;
  EXPECT_NE(out_.find("uid=65534"), std::string::npos) << out_;
  EXPECT_NE(out_.find("of the host"), std::string::npos) << out_;
  EXPECT_NE(error_out_.find("Read-only"), std::string::npos) << error_out_;
  ASSERT_TRUE(run_shell("cat /var/data/file", binds)) << reason_ << error_out_;
  EXPECT_EQ(out_, "kept\n");
}

TEST_F(MicroVmBootTest, ItsOutputIsFast) {
  if (!fs::exists(kBusybox)) GTEST_SKIP() << "no " << kBusybox;
  constexpr size_t kBytes = 32U << 20;
  const MonotonicTime before = clock_.now();
  ASSERT_TRUE(run_shell("true")) << reason_;
  const Duration boot = clock_.now() - before;
  ASSERT_TRUE(run_shell("dd if=/dev/zero bs=64k count=" + std::to_string(kBytes / 65536))) << reason_;
  const double seconds = std::max(0.1, std::chrono::duration<double>(clock_.now() - before - 2 * boot).count());
  EXPECT_EQ(out_.size(), kBytes);
  std::printf("output: %.1f MB/s\n", kBytes / seconds / 1e6);
  EXPECT_GT(kBytes / seconds, 2e6);
}

// Where KVM runs a few instructions and no kernel, machines come up all the same.
TEST_F(MicroVmBootTest, WithoutAWordOnKvmTheMachineComesUp) {
  if (!fs::exists(kBusybox)) GTEST_SKIP() << "no " << kBusybox;
  for (const char* name : {"vmlinuz", "initramfs"}) fs::create_symlink(tools_.folder + "/" + name, folder() + "/" + name);
  tools_ = find_microvm_tools(folder());
  const MicroVmKind first = tools_.kind;
  ASSERT_TRUE(run_shell("echo up")) << reason_ << error_out_;
  EXPECT_EQ(out_, "up\n");
  std::printf("first %s, then %s\n", to_string(first), monitor_.c_str());
  if (first == MicroVmKind::QemuKvm && monitor_ != to_string(first)) {
    EXPECT_EQ(monitor_, "qemu, emulated, as KVM did not boot it");
    EXPECT_EQ(find_microvm_tools(folder()).kind, MicroVmKind::QemuEmulated) << "it is remembered";
    EXPECT_TRUE(fs::exists(folder() + "/accelerator"));
  }
}

TEST_F(MicroVmBootTest, WhatCannotStartSaysWhy) {
  ProgramSpec spec;
  spec.name = "guest";
  spec.executable = BROKKR_SANDBOX_GUEST_DYNAMIC;
  spec.arguments = {"guest"};
  auto dynamic = start_microvm(deps(), tools_, spec, events());
  ASSERT_FALSE(dynamic);
  EXPECT_EQ(dynamic.error().code, Errc::Unsupported);
}

}  // namespace
}  // namespace brokkr::sandbox
