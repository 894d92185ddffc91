#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sandbox/cgroup.h"
#include "sandbox/launchers.h"
#include "sandbox/program.h"

// For the room's tests: starts the guest program and keeps what is told about it.
namespace brokkr::sandbox {

inline constexpr auto kPatience = std::chrono::seconds(20);

class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    log_ = Log::discard();
    cgroups_ = CgroupTree::open();
    launchers_ = std::make_unique<Launchers>(*loop_, BROKKR_SANDBOX_PROBE);
  }
  void TearDown() override { program_.reset(); }

  ProgramDeps deps() { return {*loop_, *log_, *cgroups_, BROKKR_SANDBOX_PROBE, launchers_.get()}; }

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
      sockaddr_storage inner{};
      socklen_t size = sizeof inner;
      getsockname(fd, reinterpret_cast<sockaddr*>(&inner), &size);
      int type = 0;
      socklen_t type_size = sizeof type;
      getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size);
      if (type == SOCK_DGRAM) {
        close(fd);
        return;
      }
      char text[64] = "";
      getnameinfo(reinterpret_cast<sockaddr*>(&inner), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
      inner_address_ = text;
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
    status_.reset();
    out_.clear();
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
  std::unique_ptr<Launchers> launchers_;
  std::unique_ptr<Program> program_;
  pid_t started_pid_ = 0;
  uint32_t layers_ = 0;
  std::string out_;
  std::string error_out_;
  std::optional<size_t> connected_listener_;
  std::string inner_address_;
  std::optional<io::ExitStatus> status_;
  bool is_memory_kill_ = false;
  std::string reason_;
};

}  // namespace brokkr::sandbox
