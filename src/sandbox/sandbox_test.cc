#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "io/loop.h"
#include "io/spawn.h"
#include "sandbox/cgroup.h"
#include "sandbox/layers.h"

namespace brokkr::sandbox {
namespace {

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
  }
  // What becomes of a process in the sandbox that tries `what`: its exit code (0 done, 1 refused),
  // or 100 + signal.
  int attempt(const std::string& what, const std::string& argument = {}) {
    io::SpawnOptions options;
    options.path = BROKKR_SANDBOX_PROBE;
    options.arguments = {"probe", what, argument};
    options.descriptors = {{2, 2}};
    std::optional<io::ExitStatus> status;
    const auto child = io::ChildProcess::start(*loop_, options,
                                               [&](const io::ExitStatus& s) { status = s; });
    if (!child) return -1;
    const MonotonicTime end = clock_.now() + std::chrono::seconds(10);
    while (!status && clock_.now() < end) loop_->run_once(std::chrono::milliseconds(10));
    if (!status) return -2;
    return status->is_signalled ? 200 + status->value : status->value;
  }
  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
};

TEST_F(SandboxTest, ForbiddenCallsEndTheProcess) {
  const uint32_t layers = probe_layers(*loop_, BROKKR_SANDBOX_PROBE);
  if ((layers & kSeccomp) == 0) GTEST_SKIP() << "no seccomp here";
  for (const char* what :
       {"fork", "clone3", "socket", "exec", "ptrace", "kill", "mount", "unshare", "bpf", "keyctl",
        "io_uring", "userfaultfd", "memfd", "process_vm_readv", "setuid", "connect", "recvmsg",
        "prctl", "setrlimit", "pidfd", "mknod"}) {
    EXPECT_EQ(attempt(what), 100 + SIGSYS) << what;
  }
}

TEST_F(SandboxTest, HabitualCallsAreRefusedAndTheProcessLives) {
  for (const char* what : {"open", "stat"}) EXPECT_EQ(attempt(what), 1) << what;
}

TEST_F(SandboxTest, WhatAnEngineNeedsWorks) {
  for (const char* what : {"nothing", "jit"}) EXPECT_EQ(attempt(what), 0) << what;
}

TEST_F(SandboxTest, EachLayerHoldsWithoutTheFilter) {
  const uint32_t layers = probe_layers(*loop_, BROKKR_SANDBOX_PROBE);
  if ((layers & kEmptyRoot) != 0) {
    EXPECT_EQ(attempt("unfiltered-open"), 1);
    EXPECT_EQ(attempt("unfiltered-create"), 1);
  }
  if ((layers & kPidNamespace) != 0) {
    EXPECT_EQ(attempt("unfiltered-kill", std::to_string(getpid())), 1);
  }
  if ((layers & kNoCapabilities) != 0) {
    EXPECT_EQ(attempt("unfiltered-mount"), 1);
    EXPECT_EQ(attempt("unfiltered-setuid"), 1);
  }
}

TEST_F(SandboxTest, ProbeNamesWhatIsMissing) {
  const uint32_t layers = probe_layers(*loop_, BROKKR_SANDBOX_PROBE);
  std::printf("layers here: %s\n", describe(layers | kCgroupMemory | kCgroupPids).c_str());
  EXPECT_NE(layers & kNoNewPrivileges, 0U);
  EXPECT_EQ(describe(kAllLayers), "all layers in force");
  EXPECT_EQ(describe(kAllLayers & ~(kSeccomp | kUserNamespace)),
            "missing: user namespace, seccomp");
}

TEST(Policy, TextRoundTrips) {
  for (const Policy policy : {Policy::Required, Policy::BestEffort, Policy::Off}) {
    const auto parsed = parse_policy(to_string(policy));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, policy);
  }
  EXPECT_FALSE(parse_policy("yes"));
}

// A tree of plain files in place of the kernel's: which files get which text is what counts.
class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/brokkr-cgroup-XXXXXX";
    root_ = mkdtemp(name);
    own_ = "/brokkr-" + std::to_string(getpid());
  }
  void TearDown() override {
    const std::string command = "rm -rf " + root_;
    ASSERT_EQ(system(command.c_str()), 0);
  }
  void put(const std::string& path, const std::string& text) {
    for (size_t at = root_.size() + 1; (at = (root_ + path).find('/', at)) != std::string::npos;
         ++at) {
      mkdir((root_ + path).substr(0, at).c_str(), 0755);
    }
    std::ofstream(root_ + path) << text;
  }
  std::string get(const std::string& path) {
    std::ifstream file(root_ + path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string root_;
  std::string own_;
};

TEST_F(CgroupTest, VersionOneUsesTheFoldersOfEachController) {
  put("/self", "4:memory:/\n8:pids:/deep/er\n0::/\n");
  put("/memory/cgroup.procs", "");
  put("/pids/cgroup.procs", "");
  mkdir((root_ + "/pids/deep").c_str(), 0755);
  mkdir((root_ + "/pids/deep/er").c_str(), 0755);
  const auto tree = CgroupTree::open(root_, root_ + "/self");
  EXPECT_EQ(tree->layers(), kCgroupMemory | kCgroupPids);
  put("/memory" + own_ + "/i1/memory.limit_in_bytes", "");
  put("/memory" + own_ + "/i1/cgroup.procs", "");
  put("/pids/deep/er" + own_ + "/i1/pids.max", "");
  put("/pids/deep/er" + own_ + "/i1/cgroup.procs", "");
  const auto group = tree->make("i1", {.memory_bytes_max = 1000, .pids_max = 4});
  ASSERT_TRUE(group) << group.error().text;
  EXPECT_EQ(get("/memory" + own_ + "/i1/memory.limit_in_bytes"), "1000");
  EXPECT_EQ(get("/pids/deep/er" + own_ + "/i1/pids.max"), "4");
  ASSERT_TRUE((*group)->add(77));
  EXPECT_EQ(get("/memory" + own_ + "/i1/cgroup.procs"), "77");
  EXPECT_FALSE((*group)->had_memory_kill());
  put("/memory" + own_ + "/i1/memory.oom_control", "under_oom 0\noom_kill 1\n");
  EXPECT_TRUE((*group)->had_memory_kill());
}

TEST_F(CgroupTest, VersionTwoNeedsTheMemoryController) {
  put("/self", "0::/here\n");
  put("/here/cgroup.controllers", "hugetlb");
  EXPECT_EQ(CgroupTree::open(root_, root_ + "/self")->layers(), 0U);
  put("/here/cgroup.controllers", "memory pids");
  put("/here/cgroup.subtree_control", "memory pids");
  put("/here" + own_ + "/cgroup.subtree_control", "");
  const auto tree = CgroupTree::open(root_, root_ + "/self");
  EXPECT_EQ(tree->layers(), kCgroupMemory | kCgroupPids);
  put("/here" + own_ + "/i1/memory.max", "");
  put("/here" + own_ + "/i1/pids.max", "");
  const auto group = tree->make("i1", {.memory_bytes_max = 5, .pids_max = 2});
  ASSERT_TRUE(group) << group.error().text;
  EXPECT_EQ(get("/here" + own_ + "/i1/memory.max"), "5");
}

TEST_F(CgroupTest, VersionTwoLimitsTimeAndDisksWhereTheyAreHandedDown) {
  put("/self", "0::/here\n");
  put("/disks/sda/dev", "8:0\n");
  put("/here/cgroup.controllers", "cpu io memory pids");
  put("/here/cgroup.subtree_control", "memory pids");
  put("/here" + own_ + "/cgroup.subtree_control", "");
  const auto tree = CgroupTree::open(root_, root_ + "/self", root_ + "/disks");
  EXPECT_EQ(tree->layers(), kCgroupMemory | kCgroupPids | kCgroupCpu | kCgroupIo);
  const std::string folder = "/here" + own_ + "/p1";
  for (const char* file : {"/memory.max", "/memory.swap.max", "/pids.max", "/cpu.max", "/io.max",
                           "/cgroup.procs", "/cgroup.kill"}) {
    put(folder + file, "");
  }
  const auto group = tree->make("p1", {5, 2, 250, 1000});
  ASSERT_TRUE(group) << group.error().text;
  EXPECT_EQ(get(folder + "/cpu.max"), "25000 100000");
  EXPECT_EQ(get(folder + "/io.max"), "8:0 rbps=1000 wbps=1000");
  EXPECT_EQ(get(folder + "/memory.swap.max"), "0");
  put(folder + "/memory.current", "4096\n");
  put(folder + "/pids.current", "3\n");
  put(folder + "/cpu.stat", "usage_usec 7\nuser_usec 5\n");
  const CgroupUsage usage = (*group)->usage();
  EXPECT_EQ(usage.memory_bytes, 4096U);
  EXPECT_EQ(usage.pids, 3U);
  EXPECT_EQ(usage.cpu_ns, 7000U);
  EXPECT_EQ((*group)->open_entries()->size(), 1U);
  (*group)->kill_all();
  EXPECT_EQ(get(folder + "/cgroup.kill"), "1");
  put(folder + "/memory.events", "oom 3\noom_kill 2\n");
  EXPECT_TRUE((*group)->had_memory_kill());
}

TEST_F(CgroupTest, VersionOneLimitsTimeAndDisks) {
  put("/self", "1:cpu,cpuacct:/\n2:blkio:/\n");
  put("/disks/vda/dev", "254:0\n");
  put("/cpu/cgroup.procs", "");
  put("/blkio/cgroup.procs", "");
  const auto tree = CgroupTree::open(root_, root_ + "/self", root_ + "/disks");
  EXPECT_EQ(tree->layers(), kCgroupCpu | kCgroupIo);
  put("/cpu" + own_ + "/p1/cpu.cfs_quota_us", "");
  put("/cpu" + own_ + "/p1/cpuacct.usage", "99\n");
  put("/blkio" + own_ + "/p1/blkio.throttle.read_bps_device", "");
  put("/blkio" + own_ + "/p1/blkio.throttle.write_bps_device", "");
  const auto group = tree->make("p1", {0, 0, 2000, 4096});
  ASSERT_TRUE(group) << group.error().text;
  EXPECT_EQ(get("/cpu" + own_ + "/p1/cpu.cfs_quota_us"), "200000");
  EXPECT_EQ(get("/blkio" + own_ + "/p1/blkio.throttle.read_bps_device"), "254:0 4096");
  EXPECT_EQ(get("/blkio" + own_ + "/p1/blkio.throttle.write_bps_device"), "254:0 4096");
  EXPECT_EQ((*group)->usage().cpu_ns, 99U);
  const auto without = tree->make("p2", {0, 0, 2000, 4096}, kCgroupCpu | kCgroupIo);
  ASSERT_TRUE(without);
  EXPECT_EQ(*without, nullptr);
}

TEST_F(CgroupTest, WhatKilledProcessesLeftIsRemoved) {
  put("/self", "4:memory:/\n");
  put("/memory/cgroup.procs", "");
  // No process has a number beyond the kernel's limit.
  const std::string stale = root_ + "/memory/brokkr-99999999";
  const std::string alive = root_ + "/memory/brokkr-1";
  for (const std::string& folder : {stale, stale + "/i5", alive}) mkdir(folder.c_str(), 0755);
  const auto tree = CgroupTree::open(root_, root_ + "/self");
  EXPECT_NE(access(stale.c_str(), F_OK), 0);
  EXPECT_EQ(access(alive.c_str(), F_OK), 0);
}

TEST_F(CgroupTest, NowhereToWriteMeansNoGroups) {
  const auto tree = CgroupTree::open(root_ + "/none", root_ + "/none");
  EXPECT_EQ(tree->layers(), 0U);
  const auto group = tree->make("i1", {});
  ASSERT_TRUE(group);
  EXPECT_EQ(*group, nullptr);
}

}  // namespace
}  // namespace brokkr::sandbox
