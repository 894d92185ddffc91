#include "sandbox/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "sandbox/cgroup.h"
#include "sandbox/landlock.h"
#include "sandbox/process_tree.h"
#include "sandbox/program_sockets.h"
#include "sandbox/program_test_support.h"

namespace brokkr::sandbox {
namespace {

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

TEST_F(ProgramTest, NetworksLeadToTheListenerForAnyAddress) {
  const struct {
    const char* asked;
    size_t listener;
  } kCases[] = {{"10.9.8.7", 1}, {"192.168.127.2", 0}, {"2001:db8::7", 2}, {"2001:db9::1", 3}};
  for (const auto& one : kCases) {
    ProgramSpec spec = guest({"ask", one.asked, "8443"});
    spec.listeners = {{"192.168.127.2", 8443, "named"}, {"0.0.0.0", 8443, ""}, {"::", 8443, ""},
                      {"2001:db9::1", 8443, ""}, {"192.168.127.1", 53, "", true}};
    spec.networks = {"10.9.3.0/16", "2001:db8::5/32"};
    EXPECT_EQ(run(std::move(spec)), 0) << one.asked << " " << reason_;
    EXPECT_EQ(connected_listener_, one.listener) << one.asked;
    EXPECT_EQ(inner_address_, one.asked);
  }
  ProgramSpec spec = guest({"ask", "10.10.1.1", "8443"});
  spec.listeners = {{"0.0.0.0", 8443, ""}};
  spec.networks = {"10.9.0.0/16"};
  EXPECT_EQ(run(std::move(spec)), ENETUNREACH);
  spec = guest({"cat", "/etc/resolv.conf"});
  spec.listeners = {{"192.168.127.1", 53, "", true}};
  EXPECT_EQ(run(std::move(spec)), 0);
  EXPECT_EQ(out_, "nameserver 192.168.127.1\n");
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
  launchers_.reset();  // all that descends from us is then the program's
  start(guest({"daemon"}));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_EQ(out_, "left\n");
  program_.reset();
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

TEST_F(ProgramTest, RunsByALauncherOfItsOwn) {
  launchers_.reset();
  EXPECT_EQ(run(guest({"exit", "4"})), 4);
  start(guest({"wait"}));
  status_.reset();
  ASSERT_TRUE(wait_for_output("waiting"));
  program_->stop(std::chrono::seconds(10));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_EQ(status_->value, SIGTERM);
}

TEST_F(ProgramTest, OutlivesTheLaunchersThatStartedIt) {
  start(guest({"wait"}));
  ASSERT_TRUE(wait_for_output("waiting"));
  launchers_ = std::make_unique<Launchers>(*loop_, BROKKR_SANDBOX_PROBE);  // kills the first
  const std::unique_ptr<Program> first = std::move(program_);
  EXPECT_EQ(run(guest({"exit", "4"})), 4);
  EXPECT_NE(first->usage().memory_bytes, 0U);
  status_.reset();
  first->stop(std::chrono::seconds(10));
  ASSERT_TRUE(wait_for([&] { return status_.has_value(); }));
  EXPECT_EQ(status_->value, SIGTERM);
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

TEST_F(ProgramTest, TheProcessorIsLimited) {
  if ((cgroups_->layers() & kCgroupCpu) == 0) GTEST_SKIP() << "no processor groups here";
  ProgramSpec spec = guest({"spin"});
  spec.limits.cpu_millis = 200;
  start(std::move(spec));
  const MonotonicTime begin = clock_.now();
  ASSERT_TRUE(wait_for([&] { return program_->usage().cpu_ns >= 200'000'000; }));
  // A fifth of a processor takes a second for it; the first period is given at once.
  EXPECT_GT(clock_.now() - begin, std::chrono::milliseconds(700));
}

TEST_F(ProgramTest, AFloodOfOutputHasToWait) {
  uint64_t bytes = 0;
  ProgramEvents told = events();
  told.on_output = [&](OutputStream, std::string_view part) { bytes += part.size(); };
  auto started = start_program(deps(), guest({"flood"}), std::move(told));
  ASSERT_TRUE(started);
  program_ = std::move(*started);
  ASSERT_TRUE(wait_for([&] { return bytes > 0; }));
  const MonotonicTime begin = clock_.now();
  // Five windows of 50 ms with 2 MiB each.
  ASSERT_TRUE(wait_for([&] { return bytes >= 12 << 20; }));
  EXPECT_GE(clock_.now() - begin, std::chrono::milliseconds(200));
}

TEST_F(ProgramTest, DestroyingItKillsEverything) {
  start(guest({"daemon-wait"}));
  ASSERT_TRUE(wait_for_output("left"));
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, started_pid_, 0));
  ASSERT_GE(pidfd, 0);
  program_.reset();
  pollfd waited{pidfd, POLLIN, 0};
  EXPECT_EQ(poll(&waited, 1, 10'000), 1);
  close(pidfd);
  EXPECT_FALSE(status_.has_value());
}

TEST_F(ProgramTest, NothingOutlivesTheNode) {
  for (const int way : {0, 1, 2, 3}) {
    const bool is_confined = (way & 1) != 0;
    const bool has_launchers = (way & 2) != 0;
    int told[2];
    ASSERT_EQ(pipe(told), 0);
    const pid_t node = fork();
    if (node == 0) {
      launchers_.reset();
      loop_ = std::move(*io::Loop::open({}, clock_));
      if (has_launchers) launchers_ = std::make_unique<Launchers>(*loop_, BROKKR_SANDBOX_PROBE);
      std::vector<uint16_t> ports;
      auto program = is_confined
                         ? start_program(deps(), guest({"daemon-wait"}), events())
                         : start_program_unconfined(deps(), guest({"daemon-wait"}), events(), ports);
      program_ = std::move(*program);
      wait_for_output("left");
      (void)!write(told[1], &started_pid_, sizeof started_pid_);
      pause();
    }
    pid_t pid = 0;
    ASSERT_EQ(read(told[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    ASSERT_GE(pidfd, 0);
    kill(node, SIGKILL);
    waitpid(node, nullptr, 0);
    pollfd waited{pidfd, POLLIN, 0};
    EXPECT_EQ(poll(&waited, 1, 10'000), 1) << way;
    for (const int fd : {told[0], told[1], pidfd}) close(fd);
  }
}

TEST_F(ProgramTest, EveryLandlockKeepsTheHostsFiles) {
  // Without a root of its own only Landlock stands before the files.
  for (int abi = 1; abi <= landlock_abi(); ++abi) {
    ProgramSpec spec = guest({"cat", "/etc/passwd"});
    spec.layers_off = kMountNamespace;
    spec.landlock_abi_max = abi;
    status_.reset();
    EXPECT_EQ(run(std::move(spec)), EACCES) << abi;
    EXPECT_NE(layers_ & kLandlock, 0U);
  }
}

TEST_F(ProgramTest, LandlockStandsInForTheNetworkNamespace) {
  uint16_t port = 0;
  const Result<int> host = listen_on_loopback(port);
  ASSERT_TRUE(host);
  close(*host);  // nobody listens there: an attempt that gets through is refused by the host
  for (const int abi : {3, 4}) {
    if (landlock_abi() < 4) GTEST_SKIP() << "this Landlock knows no ports";
    ProgramSpec spec = guest({"ask", "127.0.0.1", std::to_string(port)});
    spec.layers_off = kNetNamespace;
    spec.landlock_abi_max = abi;
    status_.reset();
    EXPECT_EQ(run(std::move(spec)), abi < 4 ? ECONNREFUSED : EACCES) << abi;
  }
}

TEST_F(ProgramTest, RequiredRefusesWhatIsMissing) {
  ProgramSpec spec = guest({"exit", "0"});
  spec.policy = Policy::Required;
  EXPECT_EQ(run(std::move(spec)), 0);
  spec = guest({"exit", "0"});
  spec.policy = Policy::Off;
  EXPECT_EQ(start_program(deps(), std::move(spec), {}).error().code, Errc::InvalidArgument);
}

TEST_F(ProgramTest, UnconfinedKeepsLimitsAndEndsEverything) {
  launchers_.reset();
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
  program_.reset();
  EXPECT_TRUE(descendants_of(getpid(), proc()).empty());
}

}  // namespace
}  // namespace brokkr::sandbox
