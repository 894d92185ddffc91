#include "sandbox/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "sandbox/cgroup.h"
#include "sandbox/landlock.h"
#include "sandbox/process_tree.h"

namespace brokkr::sandbox {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    log_ = Log::discard();
    cgroups_ = CgroupTree::open();
  }
  void TearDown() override { program_.reset(); }

  ProgramDeps deps() { return {*loop_, *log_, *cgroups_, BROKKR_SANDBOX_PROBE}; }

  static ProgramSpec guest(std::vector<std::string> arguments) {
    ProgramSpec spec;
    spec.name = "guest";
    spec.executable = BROKKR_SANDBOX_GUEST;
    spec.arguments = std::move(arguments);
    spec.arguments.insert(spec.arguments.begin(), "guest");
    return spec;
  }

  ProgramEvents events() {
    ProgramEvents events;
    events.on_started = [this](pid_t pid, uint32_t layers) {
      started_pid_ = pid;
      layers_ = layers;
    };
    events.on_output = [this](OutputStream stream, std::string_view bytes) {
      (stream == OutputStream::Stdout ? out_ : error_out_) += bytes;
    };
    events.on_connection = [this](size_t listener, int fd) {
      connected_listener_ = listener;
      // The broker's part: answers at once; the guest has sent before it reads.
      EXPECT_EQ(write(fd, "PONG", 4), 4);
      close(fd);
    };
    events.on_exit = [this](const io::ExitStatus& status, bool is_memory_kill,
                            const std::string& reason) {
      status_ = status;
      is_memory_kill_ = is_memory_kill;
      reason_ = reason;
    };
    return events;
  }

  void start(ProgramSpec spec) {
    auto started = start_program(deps(), std::move(spec), events());
    ASSERT_TRUE(started) << started.error().text;
    program_ = std::move(*started);
  }
  template <typename Condition>
  bool wait_for(Condition condition) {
    const MonotonicTime end = clock_.now() + kPatience;
    bool is_met = false;
    while (!(is_met = condition()) && clock_.now() < end) {
      loop_->run_once(std::chrono::milliseconds(10));
    }
    return is_met;
  }
  // Runs to its end and gives the exit code, or 1000 + signal.
  int run(ProgramSpec spec) {
    start(std::move(spec));
    if (!wait_for([this] { return status_.has_value(); })) return -1;
    if (!reason_.empty()) std::printf("reason: %s\n", reason_.c_str());
    return status_->is_signalled ? 1000 + status_->value : status_->value;
  }
  static int proc() {
    static const int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd;
  }
  bool wait_for_output(std::string_view text) {
    return wait_for([&] { return out_.find(text) != std::string::npos || status_.has_value(); }) &&
           out_.find(text) != std::string::npos;
  }

  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<CgroupTree> cgroups_;
  std::unique_ptr<Program> program_;
  pid_t started_pid_ = 0;
  uint32_t layers_ = 0;
  std::string out_;
  std::string error_out_;
  std::optional<size_t> connected_listener_;
  std::optional<io::ExitStatus> status_;
  bool is_memory_kill_ = false;
  std::string reason_;
};

TEST_F(ProgramTest, RunsWithItsArgumentsAndNothingInherited) {
  ProgramSpec spec = guest({"about"});
  spec.environment = {"A=1", "B=two words"};
  EXPECT_EQ(run(std::move(spec)), 0);
  EXPECT_EQ(out_, "pid 2 uid 65534 gid 65534 host guest cwd /\nA=1\nB=two words\n");
  std::printf("layers: %s\n", describe(layers_).c_str());
  EXPECT_EQ(kRequiredLayers & ~layers_, 0U) << describe(layers_);
}

TEST_F(ProgramTest, ADynamicProgramHasTheHostsLibraries) {
  ProgramSpec spec = guest({"about"});
  spec.executable = BROKKR_SANDBOX_GUEST_DYNAMIC;
  EXPECT_EQ(run(std::move(spec)), 0);
  EXPECT_NE(out_.find("uid 65534"), std::string::npos);
}

TEST_F(ProgramTest, ExitCodeSignalAndStandardErrorAreTold) {
  EXPECT_EQ(run(guest({"exit", "7"})), 7);
  status_.reset();
  EXPECT_EQ(run(guest({"nonsense"})), 2);
  EXPECT_EQ(error_out_, "what is nonsense?\n");
}

TEST_F(ProgramTest, TheBrokerIsAtItsInnerAddress) {
  ProgramSpec spec = guest({"ask", "192.168.127.1", "4222"});
  spec.listeners = {{"192.168.127.1", 4000, ""}, {"192.168.127.1", 4222, "broker"}};
  EXPECT_EQ(run(std::move(spec)), 0);
  EXPECT_EQ(out_, "PONG");
  EXPECT_EQ(connected_listener_, 1U);
}

TEST_F(ProgramTest, NothingElseIsReachable) {
  EXPECT_EQ(run(guest({"ask", "169.254.169.254", "80"})), ENETUNREACH);
}

TEST_F(ProgramTest, ConnectsToAPortInside) {
  start(guest({"serve", "8080"}));
  ASSERT_TRUE(wait_for_output("listening"));
  std::optional<Result<int>> connected;
  program_->connect(8080, [&](Result<int> fd) { connected = std::move(fd); });
  ASSERT_TRUE(wait_for([&] { return connected.has_value(); }));
  ASSERT_TRUE(*connected) << connected->error().text;
  ASSERT_EQ(write(**connected, "hello", 5), 5);
  char bytes[16];
  ssize_t n = -1;
  ASSERT_TRUE(wait_for([&] { return (n = read(**connected, bytes, sizeof bytes)) > 0; }));
  EXPECT_EQ(std::string_view(bytes, static_cast<size_t>(n)), "hello");
  close(**connected);
  connected.reset();
  program_->connect(8081, [&](Result<int> fd) { connected = std::move(fd); });
  ASSERT_TRUE(wait_for([&] { return connected.has_value(); }));
  EXPECT_FALSE(*connected);
}

TEST_F(ProgramTest, CommandsRunBesideIt) {
  start(guest({"wait"}));
  ASSERT_TRUE(wait_for_output("waiting"));
  std::optional<int> code;
  std::string text;
  const auto handler = [&](int exit_code, std::string output) {
    code = exit_code;
    text = std::move(output);
  };
  program_->execute({"/app/" + std::string(BROKKR_SANDBOX_GUEST).substr(
                                   std::string(BROKKR_SANDBOX_GUEST).rfind('/') + 1),
                     "about"},
                    std::chrono::seconds(5), handler);
  ASSERT_TRUE(wait_for([&] { return code.has_value(); }));
  EXPECT_EQ(*code, 0) << text;
  EXPECT_NE(text.find("uid 65534"), std::string::npos) << text;
  code.reset();
  program_->execute({"/none"}, std::chrono::seconds(5), handler);
  ASSERT_TRUE(wait_for([&] { return code.has_value(); }));
  EXPECT_EQ(*code, -1);
  EXPECT_NE(text.find("No such file"), std::string::npos) << text;
  code.reset();
  program_->execute({"/app/sandbox_guest", "wait"}, std::chrono::milliseconds(50), handler);
  ASSERT_TRUE(wait_for([&] { return code.has_value(); }));
  EXPECT_EQ(*code, -1);
  EXPECT_NE(text.find("timed out"), std::string::npos) << text;
}

TEST_F(ProgramTest, StopsByAskingFirst) {
  start(guest({"wait"}));
  ASSERT_TRUE(wait_for_output("waiting"));
  program_->stop(std::chrono::seconds(60));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_TRUE(status_->is_signalled);
  EXPECT_EQ(status_->value, SIGTERM);
}

TEST_F(ProgramTest, StopsByForceAfterTheGrace) {
  start(guest({"stubborn"}));
  ASSERT_TRUE(wait_for_output("waiting"));
  program_->stop(std::chrono::milliseconds(20));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_EQ(status_->value, SIGKILL);
}

TEST_F(ProgramTest, ItsDescendantsEndWithIt) {
  start(guest({"daemon"}));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_EQ(out_, "left\n");
  EXPECT_TRUE(descendants_of(getpid(), proc()).empty());
}

TEST_F(ProgramTest, MemoryIsLimited) {
  if ((cgroups_->layers() & kCgroupMemory) == 0) GTEST_SKIP() << "no memory groups here";
  ProgramSpec spec = guest({"allocate", "64"});
  spec.limits.memory_bytes = 32 << 20;
  EXPECT_EQ(run(std::move(spec)), 1000 + SIGKILL);
  EXPECT_TRUE(is_memory_kill_);
}

TEST_F(ProgramTest, ProcessesAreLimitedWithAndWithoutGroups) {
  for (const uint32_t off : {0U, uint32_t{kCgroupPids}}) {
    ProgramSpec spec = guest({"fork", "50"});
    spec.limits.pids = 10;
    spec.layers_off = off;
    out_.clear();
    status_.reset();
    EXPECT_EQ(run(std::move(spec)), 0);
    EXPECT_EQ(out_, "9\n") << off;
  }
}

TEST_F(ProgramTest, TheDiskIsLimited) {
  ProgramSpec spec = guest({"write", "/tmp/x", "8"});
  spec.limits.disk_bytes = 4 << 20;
  EXPECT_EQ(run(std::move(spec)), ENOSPC);
  status_.reset();
  EXPECT_EQ(run(guest({"write", "/x", "1"})), EROFS);
}

TEST_F(ProgramTest, AFailedStartSaysWhy) {
  const auto code_of = [&](ProgramSpec spec) {
    const auto started = start_program(deps(), std::move(spec), {});
    return started ? Errc::Closed : started.error().code;
  };
  ProgramSpec spec = guest({});
  spec.executable = "/none";
  EXPECT_EQ(code_of(spec), Errc::NotFound);
  spec.executable = "/etc/passwd";
  EXPECT_EQ(code_of(spec), Errc::InvalidArgument);
  spec = guest({});
  spec.listeners = {{"not an address", 4222, ""}};
  EXPECT_EQ(code_of(spec), Errc::InvalidArgument);
  spec = guest({"about"});
  spec.user = "somebody";
  EXPECT_EQ(run(std::move(spec)), 127);
  EXPECT_NE(reason_.find("somebody"), std::string::npos) << reason_;
}

TEST_F(ProgramTest, RootInsideIsNobodyOutside) {
  ProgramSpec spec = guest({"wait"});
  spec.user = "0";
  start(std::move(spec));
  ASSERT_TRUE(wait_for_output("waiting"));
  struct stat info {};
  ASSERT_EQ(stat(("/proc/" + std::to_string(started_pid_)).c_str(), &info), 0);
  if (geteuid() == 0) {
    EXPECT_EQ(info.st_uid, 65534U);
  }
  EXPECT_GT(program_->usage().memory_bytes, 0U);
}

TEST_F(ProgramTest, EachLayerCanBeLeftOut) {
  for (uint32_t bit = 1; bit < kAllLayers; bit <<= 1) {
    if ((bit & (kMountNamespace | kEmptyRoot)) != 0 && landlock_abi() == 0) continue;
    ProgramSpec spec = guest({"exit", "3"});
    spec.layers_off = bit;
    status_.reset();
    EXPECT_EQ(run(std::move(spec)), 3) << layer_names(bit).front();
    EXPECT_EQ(layers_ & bit, 0U) << layer_names(bit).front();
  }
}

TEST_F(ProgramTest, StartsWithinItsTime) {
  std::vector<Duration> times;
  for (int i = 0; i < 20; ++i) {
    started_pid_ = 0;
    status_.reset();
    const MonotonicTime begin = clock_.now();
    start(guest({"wait"}));
    ASSERT_TRUE(wait_for([&] { return started_pid_ != 0; }));
    times.push_back(clock_.now() - begin);
    program_.reset();
  }
  std::sort(times.begin(), times.end());
  std::printf("start p50 %.1f ms, max %.1f ms\n",
              std::chrono::duration<double, std::milli>(times[times.size() / 2]).count(),
              std::chrono::duration<double, std::milli>(times.back()).count());
  EXPECT_LT(times[times.size() / 2], std::chrono::milliseconds(200));
}

TEST_F(ProgramTest, UnconfinedKeepsLimitsAndEndsEverything) {
  std::vector<uint16_t> ports;
  ProgramSpec spec = guest({"daemon-wait"});
  spec.listeners = {{"192.168.127.1", 4222, ""}};
  auto started = start_program_unconfined(deps(), spec, events(), ports);
  ASSERT_TRUE(started) << started.error().text;
  program_ = std::move(*started);
  ASSERT_TRUE(wait_for_output("left"));
  ASSERT_EQ(ports.size(), 1U);
  EXPECT_NE(ports[0], 0);
  EXPECT_EQ(program_->usage().pids, 2U);
  program_->stop(std::chrono::milliseconds(10));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_TRUE(descendants_of(getpid(), proc()).empty());
}

}  // namespace
}  // namespace brokkr::sandbox
