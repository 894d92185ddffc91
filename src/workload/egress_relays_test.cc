// Connections of programs to the outside: carried where they may go, closed and told where not.
#include "workload/egress_relays.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace brokkr::workload {
namespace {

class EgressRelaysTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*io::Loop::open({}, clock_));
    // Says hello to whoever comes.
    listener_ = std::move(*io::Listener::open(*loop_, {"127.0.0.1", 0, {}}, [this](int fd) {
      ++visitors_;
      EXPECT_EQ(write(fd, "hello", 5), 5);
      close(fd);
    }));
  }
  void TearDown() override {
    relays_.reset();
    if (program_ >= 0) close(program_);
  }
  void start(const std::vector<std::string>& declared, bool is_server = false) {
    relays_ = std::make_unique<EgressRelays>(
        EgressRelays::Deps{*loop_, resolver_,
                           [is_server](const NetAddress&, uint16_t) { return is_server; }},
        *EgressPolicy::parse(declared, false),
        [this](const std::string& line) { troubles_.push_back(line); });
  }
  // What the program reads until the connection ends.
  std::string connect(const EgressTarget& target) {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    program_ = pair[0];
    relays_->accept(target, pair[1]);
    std::string got;
    const MonotonicTime end = clock_.now() + std::chrono::seconds(10);
    while (clock_.now() < end) {
      loop_->run_once(std::chrono::milliseconds(1));
      char buffer[64];
      const ssize_t n = read(program_, buffer, sizeof buffer);
      if (n == 0) return got;
      if (n > 0) got.append(buffer, static_cast<size_t>(n));
    }
    ADD_FAILURE() << "the connection does not end";
    return got;
  }
  uint16_t port() const { return listener_->address().port; }
  std::string here() const { return "127.0.0.1:" + std::to_string(port()); }
  bool is_told(const char* part) const {
    return troubles_.size() == 1 && troubles_[0].find(part) != std::string::npos;
  }

  SystemClock clock_;
  io::Worker resolver_{"resolver"};
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<io::Listener> listener_;
  std::unique_ptr<EgressRelays> relays_;
  std::vector<std::string> troubles_;
  int program_ = -1;
  int visitors_ = 0;
};

TEST_F(EgressRelaysTest, CarriesWhatIsDeclared) {
  start({here()});
  EXPECT_EQ(connect({"127.0.0.1", port()}), "hello");
  EXPECT_TRUE(troubles_.empty());
  EXPECT_EQ(relays_->counters().connections, 1U);
}

TEST_F(EgressRelaysTest, RefusesWhatIsNot) {
  start({"127.0.0.1:1"});
  EXPECT_EQ(connect({"127.0.0.1", port()}), "");
  EXPECT_TRUE(is_told("it is not declared"));
  EXPECT_EQ(relays_->counters().refused, 1U);
  EXPECT_EQ(visitors_, 0);
}

TEST_F(EgressRelaysTest, RefusesTheServersOfTheNode) {
  start({here()}, true);
  EXPECT_EQ(connect({"127.0.0.1", port()}), "");
  EXPECT_TRUE(is_told("NATS_URL"));
  EXPECT_EQ(visitors_, 0);
}

TEST_F(EgressRelaysTest, FollowsAPolicyThatChanges) {
  start({here()});
  relays_->set_policy(*EgressPolicy::parse({}, false));
  EXPECT_EQ(connect({"127.0.0.1", port()}), "");
  EXPECT_EQ(visitors_, 0);
}

TEST_F(EgressRelaysTest, TellsWhyAConnectionFailed) {
  start({here()});
  const EgressTarget target{"127.0.0.1", port()};
  listener_.reset();
  EXPECT_EQ(connect(target), "");
  EXPECT_TRUE(is_told("refused")) << (troubles_.empty() ? "" : troubles_[0]);
  EXPECT_EQ(relays_->counters().failed, 1U);
}

TEST_F(EgressRelaysTest, GoesWhileANameIsLookedUp) {
  start({here()});
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
  program_ = pair[0];
  relays_->accept({"127.0.0.1", port()}, pair[1]);
  relays_.reset();
  for (int i = 0; i < 20; ++i) loop_->run_once(std::chrono::milliseconds(1));
  char byte;
  EXPECT_EQ(read(program_, &byte, 1), 0);
  EXPECT_EQ(visitors_, 0);
}

}  // namespace
}  // namespace brokkr::workload
