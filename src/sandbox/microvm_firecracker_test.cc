#include "sandbox/microvm_firecracker.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "sandbox/cgroup.h"
#include "sandbox/microvm.h"

// Machines in Firecracker, which a stand-in plays (tests/support/firecracker.py): no machine with KVM has run the real one.
namespace brokkr::sandbox {
namespace {

namespace fs = std::filesystem;

class MicroVmJailerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "the jailer runs as root";
    if (!fs::exists("/usr/bin/python3")) GTEST_SKIP() << "no python3";
    char name[] = "/tmp/brokkr-jailer-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    // Longer than the address of a socket.
    folder_ = name;
    tools_.work_folder = folder_ + "/" + std::string(120, 'w');
    tools_.kind = MicroVmKind::Firecracker;
    tools_.folder = folder_;
    tools_.jailer = BROKKR_FIRECRACKER_STAND_IN;
    tools_.monitor = put("firecracker-v1.9.0");
    tools_.kernel = put("vmlinux");
    tools_.initramfs = put("initramfs");
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
  std::string put(const std::string& name) {
    std::ofstream(folder_ + "/" + name) << "x";
    return folder_ + "/" + name;
  }
  void run(ProgramSpec spec) {
    spec.name = "guest";
    spec.executable = BROKKR_SANDBOX_GUEST;
    spec.arguments = {"guest"};
    ProgramEvents events;
    events.on_output = [this](OutputStream, std::string_view bytes) { out_ += bytes; };
    events.on_exit = [this](const io::ExitStatus& status, bool, const std::string& reason) {
      status_ = status;
      reason_ = reason;
    };
    auto started = start_microvm({*loop_, *log_, *cgroups_, BROKKR_SANDBOX_PROBE}, tools_, std::move(spec), std::move(events));
    ASSERT_TRUE(started) << started.error().text;
    program_ = std::move(*started);
    const MonotonicTime end = clock_.now() + std::chrono::seconds(60);
    while (!status_ && clock_.now() < end) loop_->run_once(std::chrono::milliseconds(50));
    ASSERT_TRUE(status_) << "no exit";
  }
  SystemClock clock_;
  std::string folder_;
  MicroVmTools tools_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<CgroupTree> cgroups_;
  std::unique_ptr<Program> program_;
  std::optional<io::ExitStatus> status_;
  std::string out_;
  std::string reason_;
};

TEST_F(MicroVmJailerTest, AMachineFromItsJailToItsEnd) {
  fs::create_directory(folder_ + "/data");
  fs::create_directory(folder_ + "/shared");
  ProgramSpec spec;
  spec.limits.io_bytes_per_second = 5'000'000;
  spec.binds = {{folder_ + "/data", "/data", true}, {folder_ + "/shared", "/shared", false}};
  run(std::move(spec));
  EXPECT_EQ(status_->text(), "exit code 7") << reason_;
  EXPECT_EQ(out_, "kind 1; drives disk0 disk1 disk2; ro rw ro; rates [5000000, 5000000, 5000000]\n");
  program_.reset();
  EXPECT_TRUE(fs::is_empty(tools_.work_folder)) << "its jail is gone";
}

TEST_F(MicroVmJailerTest, WhatItRefusesIsTheReason) {
  tools_.monitor = put("another-monitor");
  run({});
  EXPECT_NE(reason_.find("holds no \"firecracker\""), std::string::npos) << reason_;
}

// What the monitor says to machines that cannot be; each would be the reason a program did not start.
TEST_F(MicroVmJailerTest, TheMonitorsRefusalsAreTold) {
  struct Case {
    const char* wanted;
    microvm::Machine machine;
    bool has_files;
  };
  const Case cases[] = {
      {"vCPU number is invalid", {.memory_bytes = 256U << 20, .cpus = 33}, true},
      {"memory size (MiB) is invalid", {.memory_bytes = 1, .cpus = 1}, true},
      {"kernel file cannot be opened", {.memory_bytes = 256U << 20, .cpus = 1}, false},
      {"Unable to create the block device", {.memory_bytes = 256U << 20, .cpus = 1, .disks = {{false}}}, true},
      {"", {.memory_bytes = 256U << 20, .cpus = 1}, true},
  };
  int number = 0;
  for (const Case& one : cases) {
    const std::string id = "vm-" + std::to_string(number++);
    const microvm::Jail jail = microvm::make_jail(folder_ + "/jail", tools_.monitor, id);
    fs::create_directories(jail.root);
    if (one.has_files) {
      fs::copy_file(tools_.kernel, jail.kernel());
      fs::copy_file(tools_.initramfs, jail.initramfs());
    }
    ProgramSpec spec;
    spec.name = "jailer";
    spec.executable = tools_.jailer;
    spec.arguments = microvm::jailer_arguments({tools_.jailer, tools_.monitor, folder_ + "/jail", id, 65534, ""});
    std::vector<uint16_t> ports;
    auto monitor = start_program_unconfined({*loop_, *log_, *cgroups_, BROKKR_SANDBOX_PROBE}, std::move(spec), {}, ports);
    ASSERT_TRUE(monitor) << monitor.error().text;
    const std::atomic<bool> is_cancelled = false;
    std::atomic<bool> is_done = false;
    Status told;
    std::thread teller([&] {
      told = microvm::configure_firecracker(jail.api(), one.machine, std::chrono::seconds(30), is_cancelled);
      is_done = true;
    });
    while (!is_done) loop_->run_once(std::chrono::milliseconds(5));
    teller.join();
    const std::string said = told ? "" : told.error().text;
    EXPECT_EQ(said.empty(), *one.wanted == 0) << said;
    EXPECT_NE(said.find(one.wanted), std::string::npos) << said;
  }
}

TEST_F(MicroVmJailerTest, ANetworkOfItsOwn) {
  auto network = microvm::make_empty_network();
  ASSERT_TRUE(network) << network.error().text;
  EXPECT_TRUE(fs::exists(network->path));
  std::error_code failure;
  const auto own = fs::read_symlink("/proc/self/ns/net", failure);
  EXPECT_NE(fs::read_symlink(network->path, failure), own);
}

}  // namespace
}  // namespace brokkr::sandbox
