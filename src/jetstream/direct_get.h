#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "broker/shard.h"
#include "io/loop.h"
#include "jetstream/outbox.h"
#include "store/stream.h"

namespace brokkr::jetstream {

class Stream;

// Answers `$JS.API.DIRECT.GET.<stream>` with the messages themselves. An answer leaves once what it
// shows is durable. Many messages leave bit by bit, as fast as the requester takes them.
// Loop-confined; part of its stream.
class DirectGet {
 public:
  explicit DirectGet(Stream& stream);
  ~DirectGet();
  // After construction and every change of the stream's configuration.
  void configure();

 private:
  struct Request {
    std::string reply;
    uint64_t requester = 0;  // connection's id; 0 when it is on another loop or inside the server
    uint64_t seq = 0;
    std::string last_by_subject;
    std::string next_by_subject;
    std::optional<WallTime> start_time;
    std::vector<std::string> multi_last;
    uint64_t up_to_seq = 0;
    std::optional<WallTime> up_to_time;
    uint64_t batch = 0;
    uint64_t max_bytes = 0;
    bool no_headers = false;
  };
  class Batch;

  void on_request(const broker::Message& message, bool is_subject_form);
  static bool parse_request(std::string_view body, Request& out);
  static bool is_contradictory(const Request& request);
  void get_one(const Request& request);
  void begin_batch(Request request);
  void begin_multi(Request request);
  void send_status(std::string_view reply, std::string_view status);
  // `more` is put behind the headers of an answer in a batch.
  void send_message(const Request& request, const store::Record& message, std::string_view more);
  void send(std::string_view reply, std::string_view headers, std::string_view body);
  void release();
  void fail();
  void drop_finished();

  Stream& stream_;
  std::vector<std::unique_ptr<broker::InternalSubscription>> subscriptions_;
  std::vector<std::string> subjects_;  // what `subscriptions_` are on
  Outbox outbox_;                      // by position in the log
  std::deque<std::unique_ptr<Batch>> batches_;
  std::shared_ptr<DirectGet*> self_;  // null once destroyed, for callbacks that come later
  uint64_t awaited_ = 0;              // position in the log a callback will come for
};

}  // namespace brokkr::jetstream
