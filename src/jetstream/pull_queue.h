#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace brokkr::jetstream {

// A client's wish for messages.
struct PullRequest {
  std::string reply;
  int64_t batch = 1;       // messages still wanted
  int64_t delivered = 0;
  int64_t bytes = 0;       // bytes still wanted; 0: no limit
  bool no_wait = false;
  Duration expires_in{};   // as asked for; zero: never
  MonotonicTime expires{};
  Duration heartbeat{};
  MonotonicTime heartbeat_at{};
  // Priority groups.
  bool is_formal = false;  // came as JSON, so the following count
  std::string group;
  std::string pin_id;
  int64_t min_pending = 0;
  int64_t min_ack_pending = 0;
  int64_t priority = 0;

  // For the queue.
  PullRequest* next = nullptr;
  PullRequest* previous = nullptr;

  // As new, keeping the memory of the texts.
  void clear();
};

// Reads a request's body: empty (one message), a number, or JSON. False with nats-server's words in
// `reason`. `out` is blank; its reply and deadlines are not set.
bool parse_pull_request(std::string_view body, PullRequest& out, std::string& reason);

// The requests that wait for messages of one consumer, first come first served; each goes to the end
// after a message. Requests are recycled. Loop-confined.
class PullQueue {
 public:
  explicit PullQueue(size_t requests_max) : requests_max_(requests_max) {}
  ~PullQueue();
  PullQueue(const PullQueue&) = delete;
  PullQueue& operator=(const PullQueue&) = delete;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool is_full() const { return size_ >= requests_max_; }
  // How many will not wait.
  size_t no_wait_count() const { return no_wait_count_; }
  PullRequest* front() const { return first_; }

  // A blank request to fill in: to be given to `add` or back with `recycle`.
  std::unique_ptr<PullRequest> take_blank();
  void recycle(std::unique_ptr<PullRequest> request);
  // At the end, or with `is_prioritized` before all of a lesser priority. Must not be full.
  void add(std::unique_ptr<PullRequest> request, bool is_prioritized);
  void remove(PullRequest& request);
  // Moves the request to where `add` would put it.
  void rotate(PullRequest& request, bool is_prioritized);

 private:
  void link(PullRequest& request, bool is_prioritized);
  void unlink(PullRequest& request);

  const size_t requests_max_;
  size_t size_ = 0;
  size_t no_wait_count_ = 0;
  PullRequest* first_ = nullptr;
  PullRequest* last_ = nullptr;
  std::vector<std::unique_ptr<PullRequest>> blanks_;
};

}  // namespace brokkr::jetstream
