#include "sandbox/microvm.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "sandbox/cgroup.h"
#include "sandbox/microvm_firecracker.h"
#include "sandbox/microvm_link.h"
#include "sandbox/microvm_qemu.h"
#include "sandbox/microvm_wire.h"

namespace brokkr::sandbox {
namespace {

namespace fs = std::filesystem;
using microvm::GuestLink;
using wire::Kind;

const std::atomic<bool> kNever = false;
constexpr uint32_t kSmallWindow = 3 * 1024;

TEST(MicroVmWire, FramesInAnyPieces) {
  std::string bytes;
  wire::append_frame(bytes, Kind::Data, 7, "hello");
  wire::append_frame(bytes, Kind::End, 8, "");
  wire::Frame frame;
  size_t used = 0;
  for (size_t size = 0; size < wire::kHeaderBytes + 5; ++size) {
    EXPECT_EQ(wire::read_frame(std::string_view(bytes).substr(0, size), frame, used), 0) << size;
  }
  ASSERT_EQ(wire::read_frame(bytes, frame, used), 1);
  EXPECT_EQ(frame.stream, 7U);
  EXPECT_EQ(frame.payload, "hello");
  ASSERT_EQ(wire::read_frame(std::string_view(bytes).substr(used), frame, used), 1);
  EXPECT_EQ(frame.kind, Kind::End);
  EXPECT_EQ(wire::read_frame(std::string(12, '\xff'), frame, used), -1);
}

TEST(MicroVmWire, SpecsAndWhatIsNone) {
  wire::Spec spec;
  spec.host_name = "vm";
  spec.arguments = {"a", "", "c d"};
  spec.environment = {"A=b"};
  spec.disk_bytes = 5ULL << 32;
  spec.listeners = {{"192.168.127.1", 4222}};
  spec.disks = {{"brokkr-0", "", false}, {"brokkr-1", "/data", true}};
  const std::string bytes = wire::encode(spec);
  wire::Spec again;
  ASSERT_TRUE(wire::decode(bytes, again));
  EXPECT_EQ(again.arguments, spec.arguments);
  EXPECT_EQ(again.disk_bytes, spec.disk_bytes);
  EXPECT_EQ(again.listeners, spec.listeners);
  ASSERT_EQ(again.disks.size(), 2U);
  EXPECT_EQ(again.disks[1].target, "/data");
  EXPECT_TRUE(again.disks[1].is_writable);
  for (size_t size = 0; size < bytes.size(); ++size) {
    wire::Spec cut;
    EXPECT_FALSE(wire::decode(std::string_view(bytes).substr(0, size), cut)) << size;
  }
}

TEST(MicroVmQemu, ItsMachineIsAsSmallAsItCanBe) {
  const auto has = [](const std::vector<std::string>& all, const std::string& one) {
    return std::any_of(all.begin(), all.end(), [&](const std::string& word) { return word.find(one) != std::string::npos; });
  };
  microvm::Machine machine = microvm::size_machine({});
  machine.counter_khz = 2'300'001;
  machine.disks = {{false}, {true}};
  const auto emulated = microvm::qemu_arguments(MicroVmKind::QemuEmulated, "/q", machine);
  EXPECT_TRUE(has(emulated, "-nodefaults"));
  EXPECT_FALSE(has(emulated, "-netdev"));
  EXPECT_TRUE(has(emulated, "224"));  // MiB
  EXPECT_TRUE(has(emulated, "tsc_early_khz=2300001"));
  EXPECT_TRUE(has(emulated, "file=/vm-disk0,readonly=on"));
  EXPECT_TRUE(has(emulated, "file=/vm-disk1,readonly=off"));
  EXPECT_TRUE(has(emulated, "virtio-blk-device,drive=disk1,serial=brokkr-1"));
  EXPECT_TRUE(has(emulated, "virtio-serial-device"));
  const auto kvm = microvm::qemu_arguments(MicroVmKind::QemuKvm, "/q", microvm::size_machine({.cpu_millis = 1500}));
  EXPECT_TRUE(has(kvm, "kvm"));
  EXPECT_FALSE(has(kvm, "tsc_early_khz"));
  EXPECT_TRUE(has(kvm, "virtio-serial-device"));
  EXPECT_EQ(kvm[static_cast<size_t>(std::find(kvm.begin(), kvm.end(), "-smp") - kvm.begin()) + 1], "2");
  const ProgramLimits limits{.memory_bytes = 64U << 20};
  EXPECT_EQ(microvm::size_machine(limits).memory_bytes, (64U + 96U) << 20) << "its root is a disk";
}

// Firecracker's API and vsock sockets, played by this test; no machine with KVM has run the real ones.
TEST(MicroVmFirecracker, TheApiIsToldInOrderAndBelieved) {
  char folder[] = "/tmp/brokkr-fc-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/api.sock";
  for (const bool is_refusing : {false, true}) {
    std::vector<std::string> seen;
    std::thread server([&] {
      const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      path.copy(address.sun_path, sizeof address.sun_path - 1);
      unlink(path.c_str());
      ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
      listen(listener, 1);
      const int fd = accept(listener, nullptr, nullptr);
      std::string in;
      char bytes[4096];
      ssize_t n = 0;
      while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        in.append(bytes, static_cast<size_t>(n));
        if (in.find("\r\n\r\n{") == std::string::npos || !in.ends_with("}")) continue;
        seen.push_back(in.substr(0, in.find(" HTTP")) + " " + in.substr(in.find("\r\n\r\n") + 4));
        in.clear();
        const std::string answer = is_refusing && seen.size() == 2
                                       ? "HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\n\r\nbad kernel!"
                                       : "HTTP/1.1 204 No Content\r\n\r\n";
        if (write(fd, answer.data(), answer.size()) < 0) break;
      }
      close(fd);
      close(listener);
    });
    const Status told = microvm::configure_firecracker(path, {.memory_bytes = 256U << 20, .cpus = 2}, std::chrono::seconds(20), kNever);
    server.join();
    if (is_refusing) {
      ASSERT_FALSE(told);
      EXPECT_NE(told.error().text.find("bad kernel!"), std::string::npos) << told.error().text;
      EXPECT_EQ(seen.size(), 2U);
      continue;
    }
    ASSERT_TRUE(told) << told.error().text;
    ASSERT_EQ(seen.size(), 4U);
    EXPECT_EQ(seen[0], R"(PUT /machine-config {"vcpu_count":2,"mem_size_mib":256,"smt":false})");
    EXPECT_NE(seen[1].find("brokkr.port=vsock:1024"), std::string::npos);
    EXPECT_EQ(seen[3], R"(PUT /actions {"action_type":"InstanceStart"})");
  }
  const auto late = microvm::configure_firecracker(std::string(folder) + "/none", {}, std::chrono::milliseconds(50), kNever);
  EXPECT_EQ(late.error().code, Errc::TimedOut);
  fs::remove_all(folder);
}

TEST(MicroVmFirecracker, VsockIsAskedUntilTheGuestListens) {
  char folder[] = "/tmp/brokkr-fc-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/vsock.sock";
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  listen(listener, 4);
  std::thread server([&] {
    for (int attempt = 0; attempt < 3; ++attempt) {
      const int fd = accept(listener, nullptr, nullptr);
      char bytes[64] = {};
      if (read(fd, bytes, sizeof bytes) > 0 && attempt == 2) {
        EXPECT_STREQ(bytes, "CONNECT 1024\n");
        EXPECT_EQ(write(fd, "OK 7\n\nBROKKR", 12), 12);
      }
      close(fd);
    }
  });
  auto fd = microvm::connect_vsock(path, microvm::kGuestVsockPort, std::chrono::seconds(20), kNever);
  server.join();
  ASSERT_TRUE(fd) << fd.error().text;
  char bytes[16] = {};
  EXPECT_EQ(read(*fd, bytes, sizeof bytes), 7) << "what the guest says is left in place";
  close(*fd);
  close(listener);
  fs::remove_all(folder);
}

TEST(MicroVmFirecracker, TheJailerIsToldEverything) {
  const auto arguments = microvm::jailer_arguments({"/usr/bin/jailer", "/opt/firecracker", "/jail", "m1", 65534, "/net"});
  const std::vector<std::string> wanted = {"/usr/bin/jailer", "--id", "m1", "--exec-file", "/opt/firecracker", "--uid", "65534", "--gid", "65534",
                                           "--chroot-base-dir", "/jail", "--netns", "/net", "--", "--api-sock", "/api.sock"};
  EXPECT_EQ(arguments, wanted);
  EXPECT_EQ(microvm::make_jail("/jail", "/opt/firecracker", "m1").api(), "/jail/firecracker/m1/root/api.sock");
}

// A link to a guest that this test plays.
class MicroVmLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = io::Loop::open({}, clock_);
    ASSERT_TRUE(opened);
    loop_ = std::move(*opened);
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    guest_ = pair[1];
    fcntl(guest_, F_SETFL, O_NONBLOCK);
    GuestLink::Events events;
    events.on_greeting = [this] { greeted_++; };
    events.on_frame = [this](const wire::Frame& frame) { frames_.emplace_back(frame.kind, std::string(frame.payload)); };
    events.on_connection = [this](uint32_t listener, int fd) {
      EXPECT_EQ(listener, 3U);
      connection_ = fd;
    };
    events.on_lost = [this](const std::string& why) { lost_ += why; };
    link_ = std::make_unique<GuestLink>(*loop_, pair[0], kSmallWindow, std::move(events));
  }
  void TearDown() override {
    link_.reset();
    close(guest_);
    if (connection_ >= 0) close(connection_);
  }
  void say(std::string_view bytes) { ASSERT_EQ(write(guest_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size())); }
  void say(Kind kind, uint32_t stream, std::string_view payload) {
    std::string bytes;
    wire::append_frame(bytes, kind, stream, payload);
    say(bytes);
  }
  void turn(int count = 8) {
    for (int i = 0; i < count; ++i) loop_->run_once(Duration::zero());
  }
  // Everything the host has sent, acknowledged as it comes.
  std::string heard() {
    turn();
    char bytes[65536];
    ssize_t n = 0;
    while ((n = read(guest_, bytes, sizeof bytes)) > 0) {
      in_.append(bytes, static_cast<size_t>(n));
      say(Kind::LinkAck, 0, wire::Encoder().u32(static_cast<uint32_t>(n)).bytes());
      turn();
    }
    return in_;
  }
  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<GuestLink> link_;
  int guest_ = -1;
  int connection_ = -1;
  int greeted_ = 0;
  std::vector<std::pair<Kind, std::string>> frames_;
  std::string lost_;
  std::string in_;
};

TEST_F(MicroVmLinkTest, NoiseThenGreetingThenFrames) {
  say("boot noise");
  turn();
  EXPECT_EQ(greeted_, 0);
  say(wire::kGreeting.substr(0, 5));
  turn();
  say(wire::kGreeting.substr(5));
  say(Kind::Output, 1, "out");
  turn();
  EXPECT_EQ(greeted_, 1);
  ASSERT_EQ(frames_.size(), 1U);
  EXPECT_EQ(frames_[0].second, "out");
  close(guest_);
  guest_ = -1;
  turn();
  EXPECT_NE(lost_, "");
}

TEST_F(MicroVmLinkTest, ConnectionsFromTheGuestKeepTheirWindow) {
  say(wire::kGreeting);
  say(Kind::Open, 2, wire::Encoder().u32(3).bytes());
  say(Kind::Data, 2, "ping");
  turn();
  ASSERT_GE(connection_, 0);
  char bytes[64] = {};
  EXPECT_EQ(read(connection_, bytes, sizeof bytes), 4);
  // More than the window: what does not fit waits at our side.
  const std::string much(200 * 1024, 'x');
  fcntl(connection_, F_SETFL, O_NONBLOCK);
  size_t sent = 0;
  for (int i = 0; i < 100; ++i) {
    const ssize_t n = write(connection_, much.data(), 4096);
    if (n > 0) sent += static_cast<size_t>(n);
    heard();
  }
  wire::Frame frame;
  size_t used = 0;
  size_t data = 0;
  for (size_t at = 0; wire::read_frame(std::string_view(in_).substr(at), frame, used) == 1; at += used) {
    if (frame.kind == Kind::Data) data += frame.payload.size();
  }
  EXPECT_EQ(data, wire::kWindowBytes);
  say(Kind::End, 2, "");
  turn();
  EXPECT_EQ(read(connection_, bytes, sizeof bytes), 0);
  EXPECT_EQ(lost_, "");
}

TEST_F(MicroVmLinkTest, TheLinkWindowHoldsBytesBack) {
  say(wire::kGreeting);
  turn();
  link_->send(Kind::Spec, 0, std::string(10'000, 's'));
  turn();
  char bytes[20'000];
  EXPECT_EQ(read(guest_, bytes, sizeof bytes), static_cast<ssize_t>(kSmallWindow));
  EXPECT_EQ(read(guest_, bytes, sizeof bytes), -1);
  say(Kind::LinkAck, 0, wire::Encoder().u32(1000).bytes());
  turn();
  EXPECT_EQ(read(guest_, bytes, sizeof bytes), 1000);
}

TEST_F(MicroVmLinkTest, AGuestThatMeansHarmIsLost) {
  say(wire::kGreeting);
  say(Kind::Open, 2, wire::Encoder().u32(3).bytes());
  const std::string large(wire::kWindowBytes + 1, 'x');
  std::string bytes;
  wire::append_frame(bytes, Kind::Data, 2, large);
  // Nobody reads at our side, so what is over the window cannot be passed on.
  const int size = 1 << 20;
  setsockopt(guest_, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  say(bytes);
  turn();
  EXPECT_NE(lost_.find("more than it may"), std::string::npos) << lost_;
}

TEST_F(MicroVmLinkTest, OddNumbersAreTheHosts) {
  say(wire::kGreeting);
  say(Kind::Open, 5, wire::Encoder().u32(3).bytes());
  turn();
  EXPECT_NE(lost_, "");
}

TEST_F(MicroVmLinkTest, ConnectAnswersOnceEitherWay) {
  say(wire::kGreeting);
  turn();
  std::vector<std::string> answers;
  const auto note = [&](Result<int> fd) {
    answers.push_back(fd ? "fd" : fd.error().text);
    if (fd) close(*fd);
  };
  link_->connect(80, note);
  link_->connect(81, note);
  link_->connect(82, note);
  heard();
  say(Kind::Opened, 1, wire::Encoder().u32(1).bytes());
  say(Kind::Opened, 3, wire::Encoder().u32(0).bytes());
  turn();
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0], "fd");
  EXPECT_NE(answers[1].find("nothing listens"), std::string::npos);
  shutdown(guest_, SHUT_RDWR);
  turn();
  ASSERT_EQ(answers.size(), 3U);
}

}  // namespace
}  // namespace brokkr::sandbox
