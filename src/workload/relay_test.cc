// Relays over real socket pairs: bytes, half-close, back-pressure, ports that workloads share.
#include "workload/relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "workload/port_table.h"

namespace brokkr::workload {
namespace {

class RelayTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*io::Loop::open({}, clock_));
    int a[2];
    int b[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    left_ = a[0];
    right_ = b[0];
    relay_ = std::make_unique<Relay>(*loop_, std::move(*io::adopt_socket(*loop_, a[1])),
                                     std::move(*io::adopt_socket(*loop_, b[1])),
                                     [this] { has_ended_ = true; });
  }
  void TearDown() override {
    relay_.reset();
    if (left_ >= 0) close(left_);
    if (right_ >= 0) close(right_);
  }
  void turns(int count = 10) {
    for (int i = 0; i < count; ++i) loop_->run_once(Duration::zero());
  }
  static std::string read_all(int fd) {
    std::string text;
    char buffer[65536];
    for (;;) {
      const ssize_t n = read(fd, buffer, sizeof buffer);
      if (n <= 0) return text;
      text.append(buffer, static_cast<size_t>(n));
    }
  }
  static bool is_at_end(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK) == 0;
  }

  SystemClock clock_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Relay> relay_;
  int left_ = -1;
  int right_ = -1;
  bool has_ended_ = false;
};

TEST_F(RelayTest, CarriesBothWaysAndKeepsHalfOpen) {
  ASSERT_EQ(write(left_, "ask", 3), 3);
  shutdown(left_, SHUT_WR);
  turns();
  EXPECT_EQ(read_all(right_), "ask");
  EXPECT_TRUE(is_at_end(right_)) << "the end of one side is told to the other";
  ASSERT_EQ(write(right_, "answer", 6), 6);
  turns();
  EXPECT_EQ(read_all(left_), "answer");
  EXPECT_FALSE(has_ended_);
  shutdown(right_, SHUT_WR);
  turns();
  EXPECT_TRUE(has_ended_);
  EXPECT_EQ(relay_->bytes_from_a(), 3U);
  EXPECT_EQ(relay_->bytes_from_b(), 6U);
}

TEST_F(RelayTest, HoldsBackAFastSideAndLosesNothing) {
  std::string sent;
  char next = 0;
  const std::string piece(8192, 'x');
  // Written until nothing moves any more: the socket buffers and one pending piece are all there is.
  for (int quiet = 0; quiet < 5;) {
    std::string chunk = piece;
    chunk[0] = next++;
    const ssize_t n = write(left_, chunk.data(), chunk.size());
    if (n > 0) sent += chunk.substr(0, static_cast<size_t>(n));
    quiet = n > 0 ? 0 : quiet + 1;
    turns(2);
    ASSERT_LT(sent.size(), 8U << 20) << "without end";
  }
  std::string got;
  for (int i = 0; i < 1000 && got.size() < sent.size(); ++i) {
    got += read_all(right_);
    turns(2);
  }
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
}

TEST_F(RelayTest, DeliversWhatWasPendingBeforeTheEnd) {
  const std::string big(1 << 20, 'y');
  size_t offset = 0;
  std::string got;
  while (offset < big.size()) {
    const ssize_t n = write(left_, big.data() + offset, big.size() - offset);
    if (n > 0) offset += static_cast<size_t>(n);
    turns(1);
    if (n <= 0) got += read_all(right_);
  }
  close(left_);
  left_ = -1;
  for (int i = 0; i < 1000 && got.size() < big.size(); ++i) {
    turns(1);
    got += read_all(right_);
  }
  EXPECT_EQ(got.size(), big.size());
}

TEST_F(RelayTest, EndsWhenASideIsGoneWhileTheOtherSends) {
  close(right_);
  right_ = -1;
  ASSERT_EQ(write(left_, "x", 1), 1);
  turns();
  EXPECT_TRUE(has_ended_);
  EXPECT_TRUE(is_at_end(left_));
}

TEST_F(RelayTest, DoesNotSpinOnASideThatHungUp) {
  // The right side takes nothing, so the left one is not read; then the left one goes.
  const std::string piece(65536, 'x');
  for (int i = 0; i < 100; ++i) {
    (void)!write(left_, piece.data(), piece.size());
    turns(1);
  }
  close(left_);
  left_ = -1;
  turns();
  const MonotonicTime before = clock_.now();
  loop_->run_once(std::chrono::milliseconds(30));
  EXPECT_GE(clock_.now() - before, std::chrono::milliseconds(20));
}

int connect_to(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST(PortTable, SharesAPortAmongReplicasAndRefusesOthers) {
  SystemClock clock;
  const auto loop = std::move(*io::Loop::open({}, clock));
  PortTable table(*loop);
  int first_count = 0;
  int second_count = 0;
  auto first = table.take("ns/a", {"127.0.0.1", 0, 80}, [&](int fd) {
    ++first_count;
    close(fd);
  });
  ASSERT_TRUE(first) << first.error().text;
  const PublishedPort port = (*first)->port();
  EXPECT_NE(port.host_port, 0);
  const auto other = table.take("ns/b", port, [](int fd) { close(fd); });
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().text.find("is published by ns/a"), std::string::npos);
  auto second = table.take("ns/a", port, [&](int fd) {
    ++second_count;
    close(fd);
  });
  ASSERT_TRUE(second);
  const auto connect_some = [&](int count) {
    for (int i = 0; i < count; ++i) close(connect_to(port.host_port));
    for (int i = 0; i < 20; ++i) loop->run_once(Duration::zero());
  };
  connect_some(2);
  EXPECT_EQ(first_count + second_count, 0) << "none is live yet";
  (*first)->set_live(true);
  connect_some(4);
  EXPECT_EQ(first_count, 4);
  (*second)->set_live(true);
  connect_some(4);
  EXPECT_EQ(first_count, 6);
  EXPECT_EQ(second_count, 2);
  (*first).reset();
  connect_some(3);
  EXPECT_EQ(second_count, 5);
  (*second).reset();
  EXPECT_TRUE(table.take("ns/b", port, [](int fd) { close(fd); })) << "free again";
}

TEST(PortTable, NamesAPortThatIsInUse) {
  SystemClock clock;
  const auto loop = std::move(*io::Loop::open({}, clock));
  auto listener = io::Listener::open(*loop, {"127.0.0.1", 0, {}}, [](int fd) { close(fd); });
  ASSERT_TRUE(listener);
  PortTable table(*loop);
  const uint16_t port = (*listener)->address().port;
  const auto lease = table.take("ns/a", {"127.0.0.1", port, 80}, [](int fd) { close(fd); });
  ASSERT_FALSE(lease);
  EXPECT_NE(lease.error().text.find(std::to_string(port)), std::string::npos);
  EXPECT_NE(lease.error().text.find("in use"), std::string::npos) << lease.error().text;
}

}  // namespace
}  // namespace brokkr::workload
