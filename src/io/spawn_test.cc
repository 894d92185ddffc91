#include "io/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <optional>

#include "base/callback.h"

namespace brokkr::io {
namespace {

class SpawnTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
  }
  // Runs `script` with sh, what it writes in `output_`, how it ended in `status_`.
  void run(const char* script, SpawnOptions options = {}) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    options.path = "/bin/sh";
    options.arguments = {"sh", "-c", script};
    options.descriptors.emplace_back(ends[1], 1);
    auto child = ChildProcess::start(*loop_, options, [this](const ExitStatus& s) { status_ = s; });
    close(ends[1]);
    ASSERT_TRUE(child) << child.error().text;
    const MonotonicTime end = clock_.now() + std::chrono::seconds(5);
    while (!status_ && clock_.now() < end) loop_->run_once(std::chrono::milliseconds(10));
    ASSERT_TRUE(status_);
    char bytes[4096];
    for (ssize_t n; (n = read(ends[0], bytes, sizeof bytes)) > 0;) {
      output_.append(bytes, static_cast<size_t>(n));
    }
    close(ends[0]);
  }
  SystemClock clock_;
  std::unique_ptr<Loop> loop_;
  std::optional<ExitStatus> status_;
  std::string output_;
};

TEST_F(SpawnTest, ReportsCodeAndSignal) {
  run("exit 3");
  EXPECT_EQ(status_->text(), "exit code 3");
  status_.reset();
  run("kill -9 $$");
  EXPECT_TRUE(status_->is_signalled);
  EXPECT_EQ(status_->text(), "signal 9 (Killed)");
}

TEST_F(SpawnTest, ChildLeadsASessionOfItsOwn) {
  run("read -r pid name state parent group session rest </proc/$$/stat; [ $session = $$ ]");
  EXPECT_EQ(status_->text(), "exit code 0");
}

TEST_F(SpawnTest, ChildHasOnlyTheDescriptorsItWasGiven) {
  const int leaked = open("/dev/null", O_RDWR);  // not close-on-exec
  // The shell keeps its own copies from 10 up.
  run("for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && printf '%s ' $n; done; true");
  close(leaked);
  EXPECT_EQ(output_, "0 1 2 ");
}

TEST_F(SpawnTest, SwapsDescriptorsWithoutLosingOne) {
  int a[2];
  int b[2];
  ASSERT_EQ(pipe2(a, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(b, O_CLOEXEC), 0);
  SpawnOptions options;
  options.descriptors = {{a[1], b[1]}, {b[1], a[1]}};
  const std::string script = "echo to-b >&" + std::to_string(a[1]) + "; echo to-a >&" +
                             std::to_string(b[1]);
  run(script.c_str(), options);
  char bytes[16];
  EXPECT_EQ(std::string(bytes, static_cast<size_t>(read(a[0], bytes, sizeof bytes))), "to-a\n");
  EXPECT_EQ(std::string(bytes, static_cast<size_t>(read(b[0], bytes, sizeof bytes))), "to-b\n");
  for (const int fd : {a[0], a[1], b[0], b[1]}) close(fd);
}

TEST_F(SpawnTest, EnvironmentIsWhatWasGiven) {
  SpawnOptions options;
  options.environment = {"GIVEN=yes"};
  run("echo $GIVEN-$HOME", options);
  EXPECT_EQ(output_, "yes-\n");
}

TEST_F(SpawnTest, LimitsApply) {
  SpawnOptions options;
  options.limits = {{RLIMIT_NOFILE, 77}};
  run("ulimit -n", options);
  EXPECT_EQ(output_, "77\n");
}

TEST_F(SpawnTest, BlockedSignalsAreNotInherited) {
  sigset_t term;
  sigset_t before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, &before);
  run("kill -TERM $$; echo alive");
  sigprocmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(output_, "");
  EXPECT_EQ(status_->value, SIGTERM);
}

TEST_F(SpawnTest, MissingProgramNamesItself) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer turns vfork into fork: nothing comes back from the child";
#endif
  SpawnOptions options;
  options.path = "/no/such/program";
  options.arguments = {"x"};
  const auto child = ChildProcess::start(*loop_, options, {});
  ASSERT_FALSE(child);
  EXPECT_NE(child.error().text.find("/no/such/program"), std::string::npos);
}

TEST_F(SpawnTest, DestructorKills) {
  SpawnOptions options;
  options.path = "/bin/sleep";
  options.arguments = {"sleep", "100"};
  auto child = ChildProcess::start(*loop_, options, {});
  ASSERT_TRUE(child);
  const pid_t pid = (*child)->pid();
  child->reset();
  EXPECT_EQ(kill(pid, 0), -1);
}

}  // namespace
}  // namespace brokkr::io
