#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "client/jetstream.h"
#include "client/pull.h"
#include "workload/trigger_plan.h"

namespace brokkr::workload {

// Runs a function for each message of a durable consumer that all replicas share. A message is
// acknowledged when the function has succeeded; a call that takes long says so; one that fails comes
// again after a pause, and when the last attempt has failed it goes to the dead-letter stream, exactly
// once, and is given up. A message a node held when it was lost comes again after the ack wait.
//
// When a process ends with several calls, any of them may be why: those are run again one by one, so
// that only the guilty one counts as failed. Loop-confined.
class StreamTrigger final : public TriggerSource {
 public:
  StreamTrigger(const Deps&, const Facts&, const Trigger&);
  // What is unanswered may come again at once.
  ~StreamTrigger() override;

  void start(client::DoneHandler on_live) override;
  void drain(Callback<void()> done) override;

 private:
  // A message that was taken and not answered.
  struct Item {
    client::OwnedMessage message;
    client::Delivery delivery;  // views into `message.reply`
    MonotonicTime told{};       // when the server last heard of it
    uint32_t alone = 0;         // how often it was run by itself
  };
  // Why the server has no stream, bucket or consumer for this trigger, or can have none.
  using Failed = const client::ApiError&;

  void find_stream();
  void make_stream();
  void on_stream(const client::StreamInfo&);
  void find_consumer();
  void put_consumer(const client::ConsumerConfig* existing);
  void on_ready();
  void fail(Failed);
  void retry();

  void fetch();
  void on_message(const client::Message&, const client::Delivery&);
  void on_fetch_end(const client::ApiResult<client::Done>&);
  void pump();
  void run(uint64_t id);
  void on_result(uint64_t id, const CallResult&);
  void on_no_capacity(uint64_t id);
  void on_failure(uint64_t id, uint16_t code, const std::string& error);
  void publish_dead_letter(uint64_t id, uint16_t code, const std::string& error, bool may_create);
  void on_dead_letter(uint64_t id, const std::string& error);
  void come_again(uint64_t id, Duration pause);
  void forget(uint64_t id);
  void tell_progress();
  void check_drained();
  bool is_alone() const { return alone_ != 0; }

  const Deps deps_;
  const Facts facts_;
  const Trigger trigger_;
  const TriggerPlan plan_;
  const client::JetStream js_;
  client::DoneHandler on_live_;
  Callback<void()> on_drained_;
  std::unique_ptr<client::ReconnectWatch> reconnects_;
  std::unique_ptr<client::Fetch> fetch_;
  std::map<uint64_t, Item> items_;
  std::deque<uint64_t> waiting_;   // not given to the function yet
  std::deque<uint64_t> suspects_;  // to be run one by one
  uint64_t next_id_ = 0;
  uint64_t alone_ = 0;             // the suspect that runs; 0: none
  uint32_t running_ = 0;
  uint32_t limit_;                 // of `running_`: less while the function cannot keep up
  Duration retry_pause_{};
  bool is_work_queue_ = false;
  bool is_draining_ = false;
  bool is_fetch_over_ = false;     // while draining
  io::Timer retry_;
  io::Timer pump_;
  io::Timer progress_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
