#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/result.h"
#include "client/connection.h"
#include "io/loop.h"
#include "io/worker.h"

namespace brokkr::client {

// Runs turns of `loop` until `done` says so; false when `timeout` passed first.
bool run_until(io::Loop& loop, Duration timeout, FunctionRef<bool()> done);

// A connection with a loop of its own, for programs and tests that do one thing at a time: the
// calls run the loop until their answer is there. Confined to the thread that calls.
class Session {
 public:
  // Returns once connected. Fails with why it could not.
  static Result<std::unique_ptr<Session>> connect(Options options, Events events = {});
  ~Session();

  io::Loop& loop() { return *loop_; }
  Connection& connection() { return *connection_; }
  Clock& clock() { return clock_; }
  Random& random() { return random_; }
  io::Worker& resolver() { return resolver_; }

  Result<OwnedMessage> request(std::string_view subject, std::string_view payload, Duration timeout,
                               std::string_view headers = {});
  // NoResponders and TimedOut count as "none": the list is then empty.
  Result<std::vector<OwnedMessage>> request_many(std::string_view subject, std::string_view payload,
                                                 const ManyOptions& options,
                                                 std::string_view headers = {});
  Status flush(Duration timeout);
  // The time of one flush.
  Result<Duration> round_trip(Duration timeout);

 private:
  Session() : random_(secure_seed()), resolver_("resolver") {}

  SystemClock clock_;
  SeededRandom random_;
  std::unique_ptr<io::Loop> loop_;
  io::Worker resolver_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace brokkr::client
