#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "broker/subscription.h"
#include "io/loop.h"
#include "io/mailbox.h"

// How the loops of one server work as one broker. Each loop keeps the interest of its own clients,
// and for the interest of every other loop one stand-in per (account, pattern, queue). A message
// crosses to a loop once, however many subscribers it has there, in a batch with the others of the
// turn. Loops share nothing but the batches.
namespace brokkr::broker {

class Account;
class MessageTrace;
class Shard;
class TurnBudget;
struct Message;

// A message as it arrives from another loop; views into the batch.
struct ForwardedMessage {
  std::string_view account;
  std::string_view subject;
  std::string_view route;   // see Message
  std::string_view client;  // see Message
  std::string_view reply;
  std::string_view payload;  // CRLF follows
  uint32_t header_size = 0;
  uint64_t requester = 0;  // connection to tell when nobody takes it; 0 for none
  bool is_retry = false;  // another loop could not take it
  MessageTrace* trace = nullptr;  // held for the receiver; see Message
  bool to_plain = false;  // to the subscriptions without a queue
  // The queue groups that chose a member of this loop: pattern, queue.
  std::vector<std::pair<std::string_view, std::string_view>> groups;
};

// A turn's worth of frames from one loop to another. Immutable once sent.
struct LoopBatch {
  uint32_t from = 0;
  std::atomic<uint64_t>* in_flight = nullptr;  // the sender's count, lowered when handled
  std::string bytes;
};

// This loop's ends of the links to all other loops. Loop-confined but for what Mailbox allows.
class LoopLinks final : private io::FdHandler, private io::TurnHook {
  struct Mark;

 public:
  // Bytes one loop may have under way to another before the publishers that feed it are paused.
  static constexpr uint64_t kInFlightMax = 8 << 20;

  LoopLinks(Shard& shard, uint32_t index, uint32_t loops);
  ~LoopLinks() override;
  // Connects to the others; called once on each shard when all exist, before any loop runs.
  void connect(const std::vector<LoopLinks*>& all);
  Status start(io::Loop& loop);
  void stop();
  bool is_alone() const { return loops_ < 2; }

  // The interest of this loop's own clients changed. Others learn of it at the end of the turn.
  // Queue members whose messages are filtered are counted apart: others are asked first.
  void on_interest_added(const Account&, const Subscription&);
  void on_interest_removed(const Account&, const Subscription&);
  // Counts up with each change others must learn of; `known_version` is what all have confirmed.
  uint64_t version() const { return version_; }
  uint64_t known_version() const { return known_version_; }

  // Makes a version that changes nothing: once all have confirmed it, whatever this loop sent them
  // before has been handled, and what they sent back because of it has arrived.
  uint64_t make_barrier() {
    has_output_ = true;
    return ++version_;
  }

  // Marks that the message at hand goes to `loop`, to its plain subscribers or to a queue group of
  // it; `forward` then queues it for all marked loops.
  void mark_plain(uint32_t loop);
  void mark_group(uint32_t loop, std::string_view pattern, std::string_view queue);
  bool has_marks() const { return !marked_.empty(); }
  bool has_group_marks() const;
  // While it lives, the marks made so far are set aside: another message is routed from within.
  class MarkHold {
   public:
    explicit MarkHold(LoopLinks& links);
    ~MarkHold();
    MarkHold(const MarkHold&) = delete;
    MarkHold& operator=(const MarkHold&) = delete;

   private:
    LoopLinks& links_;
    std::vector<Mark> marks_;
    std::vector<uint32_t> marked_;
    bool is_holding_;
  };
  struct ForwardOptions {
    // A connection to be told when the one marked loop has no taker after all; 0 for none. With
    // several marked loops nobody is told.
    uint64_t requester = 0;
    bool is_retry = false;  // the loop chosen first had no taker; it is passed on only once
  };
  void forward(const Account&, const Message&, ForwardOptions options);
  // True while a loop has too much under way; the publisher should pause.
  bool is_congested() const;

  // Handles what other loops sent. Called by the loop when woken, and before a PONG, so that a PONG
  // never overtakes a message that was sent before its PING.
  void receive();

 private:
  struct LocalInterest {
    uint32_t count = 0;
    uint32_t announced = 0;
    bool is_dirty = false;
  };
  struct Peer {
    LoopLinks* links = nullptr;
    std::string out;
    uint64_t confirmed = 0;  // version of ours that it has confirmed
    std::unordered_map<std::string, std::unique_ptr<Subscription>, StringHash, std::equal_to<>>
        interest;  // its interest, by key
  };
  struct Mark {
    bool plain = false;
    std::vector<std::pair<std::string_view, std::string_view>> groups;
  };

  // Goes on with batches that took more than their share of a turn.
  struct Continuation final : io::Task {
    explicit Continuation(LoopLinks& owner) : links(owner) {}
    void run() override { links.on_ready(0); }
    LoopLinks& links;
  };
  struct Received {
    std::unique_ptr<LoopBatch> batch;
    size_t handled = 0;  // bytes of it
  };

  void on_ready(uint32_t) override;
  void handle_inbox(TurnBudget* budget);
  bool has_work() const override { return has_output_ || confirmed_news_; }
  void on_turn_end() override;
  void change_interest(const Account&, const Subscription&, int by);
  void announce_changes();
  bool handle_batch(Received&, TurnBudget* budget);
  void handle_message(uint32_t from, ForwardedMessage&);
  void report_no_taker(uint32_t to, const ForwardedMessage&);
  void handle_interest(uint32_t from, std::string_view key, uint64_t count);
  void handle_version(uint32_t from, uint64_t version);
  void handle_confirmed(uint32_t from, uint64_t version);

  Shard& shard_;
  io::Loop* loop_ = nullptr;
  const uint32_t index_;
  const uint32_t loops_;
  std::vector<Peer> peers_;  // by loop; the own one unused
  std::vector<std::atomic<uint64_t>> in_flight_;  // bytes under way to each loop
  io::Mailbox<std::unique_ptr<LoopBatch>> mailbox_;
  std::deque<Received> inbox_;
  Continuation continuation_{*this};
  std::unordered_map<std::string, LocalInterest, StringHash, std::equal_to<>> local_;
  std::vector<std::string> dirty_keys_;
  uint64_t version_ = 0;
  uint64_t announced_version_ = 0;
  uint64_t known_version_ = 0;
  std::vector<Mark> marks_;        // by loop
  std::vector<uint32_t> marked_;   // loops with a mark
  bool has_output_ = false;
  bool is_receiving_ = false;
  bool confirmed_news_ = false;
  bool is_watched_ = false;
};

}  // namespace brokkr::broker
