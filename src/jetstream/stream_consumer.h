#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "broker/interest_watch.h"
#include "io/loop.h"
#include "jetstream/account.h"
#include "jetstream/ack_deadlines.h"
#include "jetstream/ack_subject.h"
#include "jetstream/api_error.h"
#include "jetstream/consumer.h"
#include "jetstream/jetstream.h"
#include "jetstream/pull_queue.h"
#include "jetstream/stream.h"
#include "store/consumer_store.h"
#include "store/stream.h"

namespace brokkr::jetstream {

// The consumer that the API makes. What is delivered and acknowledged is in its ConsumerStore; this
// adds what a restart may forget: who waits, when what is due, what comes next. It delivers from a
// task of its own, a bounded piece a turn, never from within a call by somebody else.
//
// stream_consumer.cc: life and what the stream says; consumer_next.cc: which message comes next and
// how many are left; consumer_pull.cc, consumer_push.cc: to whom; consumer_acks.cc: acknowledgements
// and redelivery; consumer_info.cc: what clients are told of it. Loop-confined; owned by its stream.
class StreamConsumer final : public Consumer, private io::Task {
 public:
  // A fresh one selects where it starts; else the state says so.
  StreamConsumer(Stream& stream, ConsumerConfig config, store::ConsumerStore& state,
                 WallTime created, bool is_fresh);
  ~StreamConsumer() override;

  const std::string& name() const override { return name_; }
  const ConsumerConfig& config() const override { return config_; }
  void on_visible(uint64_t seq) override;
  void on_removed(uint64_t seq, std::string_view subject, store::Removal why) override;
  void on_purged(std::string_view filter, uint64_t below) override;
  bool needs(uint64_t seq, std::string_view subject) const override;
  bool wants(std::string_view subject) const override;
  void write_info(json::Writer& out) override;
  // As a list shows it: the configuration without what is told about the server.
  void write_listed(json::Writer& out);
  void end(End reason) override;

  // "<stream>.<consumer>".
  const std::string& key() const { return key_; }
  WallTime created() const { return created_; }
  // A checked new configuration takes effect.
  void update(ConsumerConfig config);
  bool is_bound() const { return push_ != nullptr && push_->is_active; }
  // Starts again at `seq`, or after the acknowledgement floor when it is 0. Returns where it starts,
  // or why it may not.
  ApiResult<uint64_t> reset(uint64_t seq);
  void unpin(std::string_view group);
  // Tells of a pause that has begun or ended.
  void advise_pause();
  void advise_created(bool is_created);

  // --- from the router
  bool takes_acks() const;
  void on_ack(const AckSubject& ack, std::string_view body, std::string_view reply);
  void on_pull_request(std::string_view reply, std::string_view headers, std::string_view body);
  void on_flow_control(std::string_view subject, std::string_view headers);

 private:
  void write_info(json::Writer& out, const ConsumerConfig& shown);
  // A push consumer's part.
  struct Push {
    bool is_active = false;  // somebody subscribes
    std::unique_ptr<broker::InterestWatch> watch;
    MonotonicTime last_sent{};       // message or heartbeat
    MonotonicTime send_after{};      // rate, replay, or nobody took the last one
    // Flow control: the window, what is out, what was out when the client was asked, and its name.
    int64_t window = 0;
    int64_t bytes_out = 0;
    int64_t bytes_asked = 0;
    std::string asked;
    // A token bucket of bytes.
    double rate = 0;  // per second; 0: no limit
    double burst = 0;
    double tokens = 0;
    MonotonicTime tokens_at{};
  };
  // What is to be delivered next.
  struct Candidate {
    store::Record record;
    uint32_t deliveries = 1;
    uint64_t seq_after = 0;  // where to go on when this is delivered; 0 for a redelivery
  };
  enum class Next : uint8_t { Message, End, TooManyPending, Error };
  // A message that went away while it was pending.
  struct Gone {
    uint64_t stream_seq;
    uint64_t consumer_seq;
    uint32_t deliveries;
  };

  // --- stream_consumer.cc
  void run() override;
  void wake() { stream_.account().jetstream().loop().schedule(*this); }
  void start_delivering();
  void set_filter();
  void select_start();
  uint64_t skip_to_filtered(uint64_t start);
  void restore();
  void on_timer();
  void move_past_purge(uint64_t start, bool is_wider);
  void rearm();
  void arm(MonotonicTime at);
  void set_inactive_threshold();
  void check_inactivity();
  bool is_paused() const;
  void save_config();
  int64_t now_ns() const;
  MonotonicTime monotonic(int64_t wall_ns) const;
  MonotonicTime now() const { return stream_.account().jetstream().loop().now(); }
  void restart_at(uint64_t seq, uint64_t consumer_seq);

  // --- consumer_next.cc
  Next next_message(Candidate& out);
  bool next_redelivery(Candidate& out);
  Next next_new(Candidate& out);
  Next next_of_skip_list(Candidate& out);
  // Takes note that the candidate is on its way; `reply` is what it was sent with.
  void mark_delivered(const Candidate& candidate);
  uint64_t num_pending();
  void forget_num_pending() { is_counted_ = false; }
  // Writes the acknowledgement subject of the candidate to `ack_text_`.
  void write_ack_reply(const Candidate& candidate);
  // What the candidate counts of a request's bytes.
  size_t size_of(const Candidate& candidate) const;
  // Sends the candidate to whoever is interested in `route`; false when nobody took it.
  bool send(const Candidate& candidate, std::string_view route, std::string_view pin_id);
  // Headers and body as this consumer sends them; views into the record or `headers_`.
  void shape(const Candidate& candidate, std::string_view pin_id, std::string_view& headers,
             std::string_view& body);
  bool may_deliver_more();

  // --- consumer_pull.cc
  void deliver_to_requests();
  // What to do with the request at the front of the queue.
  enum class Turn : uint8_t { Serve, Skip, Drop };
  bool deliver_to_request(Candidate& candidate);
  Turn take_turn(PullRequest& request, size_t size);
  Turn check_pin(PullRequest& request);
  bool is_overflowing(const PullRequest& request);
  Turn charge(PullRequest& request, size_t size);
  void serve(PullRequest& request, const Candidate& candidate);
  std::string check_request(const PullRequest& request) const;
  bool check_no_wait(const PullRequest& request);
  void add_request(std::unique_ptr<PullRequest> request);
  bool is_request_due() const;
  // Drops requests that have expired, lost their interest (when `check_interest`), or do not wait
  // (when `is_end`); returns how many messages the rest want.
  int64_t tend_requests(bool is_end, bool check_interest);
  void end_request(PullRequest& request, std::string_view status, bool with_pending);
  void send_status(std::string_view to, std::string_view status, std::string_view more = {});
  void assign_pin(PullRequest& request);
  void drop_pin();
  void advise_pin(std::string_view group, std::string_view reason);

  // --- consumer_push.cc
  void set_up_push();
  void set_rate();
  void on_interest(bool is_interested);
  void deliver_to_subject();
  bool may_push();
  void push_message(const Candidate& candidate);
  void ask_flow_control();
  void send_heartbeat(std::string_view to);
  void tend_push();

  // --- consumer_acks.cc
  bool acknowledge(uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries, bool is_sampled);
  void acknowledge_explicit(uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries,
                            bool is_sampled);
  void acknowledge_all(uint64_t stream_seq, uint64_t consumer_seq);
  void negative_acknowledge(const AckSubject& ack, std::string_view body);
  void in_progress(uint64_t stream_seq);
  bool terminate(uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries,
                 std::string_view reason);
  void settle(uint64_t stream_seq);
  void move_ack_floor(uint64_t consumer_seq, uint64_t stream_seq);
  void track(uint64_t stream_seq);
  void expire_acks();
  // Whether the message has been delivered as often as may be; it is given up then.
  bool give_up_if_exhausted(store::Pending& pending);
  bool is_exhausted(const store::Pending& pending) const {
    return config_.max_deliver > 0 && pending.deliveries >= config_.max_deliver;
  }
  void queue_redelivery(store::Pending& pending);
  void sample(const store::Pending& pending, uint64_t deliveries);
  void process_gone();
  bool is_acks_full() const;
  void unblock() {
    if (is_blocked_) wake();
  }

  Stream& stream_;
  store::Stream& messages_;
  const std::string name_;
  const std::string key_;
  const std::string ack_prefix_;
  const WallTime created_;
  ConsumerConfig config_;
  store::ConsumerStore* state_;
  std::unique_ptr<store::SubjectFilter> filter_;
  bool has_ended_ = false;
  const int64_t clock_offset_ns_;  // what to add to the loop's time to get the time of day

  uint64_t next_seq_ = 1;       // of the stream: everything new before it was looked at
  uint64_t next_delivery_ = 1;  // consumer sequence
  // Deliver last per subject: what is left of the list made at the start, and where to go on after.
  std::vector<uint64_t> skip_list_;
  size_t skip_at_ = 0;
  uint64_t skip_resume_ = 0;
  // Messages that the filter chooses in [next_seq_, counted_to_].
  bool is_counted_ = false;
  uint64_t pending_count_ = 0;
  uint64_t counted_to_ = 0;

  AckDeadlines deadlines_;
  // Each once. Those that are not pending any more are stale; whatever else takes one off erases it.
  std::deque<uint64_t> redeliveries_;
  size_t redelivery_count_ = 0;
  uint64_t redelivered_ = 0;  // pending ones with more than one delivery
  bool is_blocked_ = false;   // by max_ack_pending
  std::vector<Gone> gone_;
  int64_t sample_percent_ = 0;

  std::unique_ptr<PullQueue> pull_;
  MonotonicTime last_request_{};
  MonotonicTime requests_tended_{};
  std::string pin_id_;
  WallTime pinned_at_{};
  MonotonicTime pin_ends_{};
  std::unique_ptr<Push> push_;
  bool is_replaying_ = false;
  uint64_t replay_until_ = 0;
  int64_t replay_timestamp_ns_ = 0;

  Duration inactive_after_{};
  MonotonicTime inactivity_check_{};
  MonotonicTime pause_ends_{};
  std::unique_ptr<io::Timer> timer_;
  std::string ack_text_;
  std::string subject_text_;
  std::string header_text_;
  MonotonicTime held_until_{};  // a client has too much waiting for it
  size_t turn_messages_ = 0;    // of the run at hand
  size_t turn_bytes_ = 0;
};

}  // namespace brokkr::jetstream
