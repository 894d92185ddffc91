// The store's promise: what it said is durable is there after any crash, and nothing else has changed.
// Machines crash here in the middle of everything, on a disk that forgets, tears and reorders whatever
// was not synced.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "base/random.h"
#include "store/store.h"
#include "store/testing/fault_files.h"

namespace brokkr::store {
namespace {

using testing::CrashKind;
using testing::FaultFiles;
using testing::FileCall;
using testing::ManualExecutor;

// How many seeds a test tries: BROKKR_CRASH_SEEDS for the long run.
uint64_t seed_count(uint64_t usual) {
  const char* const wanted = std::getenv("BROKKR_CRASH_SEEDS");
  return wanted == nullptr ? usual : std::strtoull(wanted, nullptr, 10);
}

// A message as the test knows it.
struct Known {
  std::string subject;
  std::string body;
  uint64_t batch = 0;         // not 0: stored together with others of that number
  bool is_acked = false;
  bool is_removed = false;    // somebody asked for it to go
  bool removal_acked = false;
};

struct KnownStream {
  uint64_t generation = 0;  // streams of one name, one after another
  bool is_acked = false;
  bool is_deleted = false;
  bool deletion_acked = false;
  uint64_t last_acked = 0;
  uint64_t last = 0;
  std::map<uint64_t, Known> messages;
  std::set<uint64_t> pending;  // of its consumer, acknowledged deliveries excepted
};

// A store on such a disk, and what was promised.
class Machine {
 public:
  explicit Machine(uint64_t seed) : random_(seed) {
    options_.directory = "d";
    options_.checkpoint_bytes = 20'000;
    options_.log_file_bytes = 64 << 10;
  }

  void start() {
    auto store = Store::open(options_, {disk, log_executor_, background_, clock_, *log_,
                                        [](Duration, const Callback<void()>&) {}});
    ASSERT_TRUE(store) << store.error().text;
    store_ = std::move(*store);
  }

  void crash() {
    ++life_;
    log_executor_.clear();
    background_.clear();
    store_.reset();
    disk.crash(random_.next());
  }

  void act() {
    const std::string name = "S" + std::to_string(random_.below(3));
    KnownStream& known = streams_[name];
    Stream* stream = store_->find_stream("$G", name);
    if (stream == nullptr) {
      // A stream whose end is not durable yet may come back.
      return known.is_deleted && !known.deletion_acked ? turn() : create(name);
    }
    const uint64_t dice = random_.below(100);
    if (dice < 60) {
      publish(*stream, known);
    } else if (dice < 70) {
      publish_batch(*stream, known);
    } else if (dice < 85) {
      remove(*stream, known);
    } else if (dice < 86) {
      purge(*stream, known);
    } else if (dice < 90) {
      deliver(*stream, known);
    } else if (dice == 90 && random_.below(5) == 0) {
      known.is_deleted = true;
      promise(known, [&known] { known.deletion_acked = true; });
      store_->delete_stream(*stream);
      arm();
    } else {
      turn();
    }
  }

  // The end of a turn, and some of the work elsewhere.
  void turn() {
    store_->commit();
    for (uint64_t i = random_.below(6); i > 0; --i) {
      (random_.below(3) == 0 ? background_ : log_executor_).step(random_);
    }
  }

  void check() {
    for (auto& [name, known] : streams_) {
      Stream* stream = store_->find_stream("$G", name);
      if (known.deletion_acked) {
        EXPECT_EQ(stream, nullptr) << name << " is back";
      } else if (known.is_acked && !known.is_deleted) {
        ASSERT_NE(stream, nullptr) << name << " is gone";
      }
      if (stream != nullptr) check_stream(name, *stream, known);
      adopt(stream, known);
    }
  }

  FaultFiles disk;

 private:
  // Calls back when everything so far is durable; not when the machine crashes before.
  void promise(const KnownStream& known, Callback<void()> done) {
    pending_.push_back([this, &known, generation = known.generation, life = life_, kept = std::move(done)] {
      if (life == life_ && generation == known.generation) kept();
    });
  }
  void arm() {
    for (auto& done : pending_) store_->when_durable(std::move(done));
    pending_.clear();
  }

  void create(const std::string& name) {
    KnownStream& known = streams_[name];
    const uint64_t generation = known.generation + 1;
    known = {};
    known.generation = generation;
    StreamOptions options;
    options.account = "$G";
    options.name = name;
    options.config = "configuration";
    auto made = store_->create_stream(options);
    ASSERT_TRUE(made) << made.error().text;
    (*made)->put_consumer("c", "consumer", false);
    promise(known, [&known] { known.is_acked = true; });
    arm();
  }

  NewMessage message(Known& known) {
    known.subject = "k." + std::to_string(random_.below(10));
    known.body.assign(random_.below(300), static_cast<char>('a' + random_.below(26)));
    NewMessage out;
    out.subject = known.subject;
    out.body = known.body;
    out.timestamp_ns = ++now_;
    return out;
  }

  void publish(Stream& stream, KnownStream& known) {
    Known made;
    auto seq = stream.append(message(made));
    ASSERT_TRUE(seq) << seq.error().text;
    EXPECT_GT(*seq, known.last_acked) << "a sequence is used twice";
    known.last = *seq;
    known.messages[*seq] = made;
    acknowledge(known, *seq, *seq);
  }

  void acknowledge(KnownStream& known, uint64_t from, uint64_t to) {
    promise(known, [&known, from, to] {
      for (auto at = known.messages.lower_bound(from); at != known.messages.end() && at->first <= to; ++at) {
        at->second.is_acked = true;
      }
      known.last_acked = std::max(known.last_acked, to);
    });
    arm();
  }

  void publish_batch(Stream& stream, KnownStream& known) {
    std::vector<Known> made(2 + random_.below(5));
    std::vector<NewMessage> messages;
    const uint64_t batch = ++batches_;
    for (Known& one : made) {
      one.batch = batch;
      messages.push_back(message(one));
    }
    auto last = stream.append_batch(messages);
    ASSERT_TRUE(last) << last.error().text;
    uint64_t seq = *last - made.size();
    for (const Known& one : made) known.messages[++seq] = one;
    known.last = *last;
    acknowledge(known, *last - made.size() + 1, *last);
  }

  void remove(Stream& stream, KnownStream& known) {
    const uint64_t seq = 1 + random_.below(known.last + 1);
    if (!stream.remove(seq, Removal::Deleted)) return;
    known.messages[seq].is_removed = true;
    promise(known, [&known, seq] { known.messages[seq].removal_acked = true; });
    arm();
  }

  void purge(Stream& stream, KnownStream& known) {
    const uint64_t below = 2 + random_.below(known.last + 1);
    stream.purge({{}, below, 0});
    known.last = std::max(known.last, below - 1);
    std::vector<uint64_t> gone;
    for (auto& [seq, one] : known.messages) {
      if (seq >= below || one.is_removed) continue;
      one.is_removed = true;
      gone.push_back(seq);
    }
    promise(known, [&known, gone] {
      for (const uint64_t seq : gone) known.messages[seq].removal_acked = true;
    });
    arm();
  }

  // The consumer is given the next message, or acknowledges one.
  void deliver(Stream& stream, KnownStream& known) {
    ConsumerStore* consumer = stream.find_consumer("c");
    if (consumer == nullptr) return;
    const ConsumerState& state = consumer->state();
    if (random_.below(2) == 0 && state.delivered.stream < stream.visible_seq()) {
      consumer->delivered(state.delivered.consumer + 1, state.delivered.stream + 1, 1, ++now_, true);
      return;
    }
    if (state.pending.empty()) return;
    const uint64_t seq = const_cast<PendingMap&>(state.pending).first()->stream_seq;
    consumer->settled(seq);
    promise(known, [&known, seq] { known.pending.insert(seq); });
    arm();
  }

  void check_stream(const std::string& name, Stream& stream, KnownStream& known) {
    EXPECT_GE(stream.last_seq(), known.last_acked) << name << ": a sequence would be used again";
    EXPECT_TRUE(stream.lost().empty()) << name << " says it lost " << stream.lost().front();
    std::map<uint64_t, std::pair<size_t, size_t>> batches;  // number: present, all
    uint64_t present = 0;
    for (const auto& [seq, one] : known.messages) {
      auto record = stream.load(seq);
      if (one.removal_acked) {
        EXPECT_FALSE(record) << name << " " << seq << " is back";
      }
      if (one.is_acked && !one.is_removed) {
        ASSERT_TRUE(record) << name << " " << seq << " was acknowledged and is gone";
      }
      if (one.batch != 0 && !one.is_removed) {
        auto& [there, all] = batches[one.batch];
        there += record ? 1 : 0;
        ++all;
      }
      if (!record) continue;
      ++present;
      EXPECT_EQ(record->subject, one.subject);
      EXPECT_EQ(record->body, one.body);
    }
    for (const auto& [batch, counts] : batches) {
      EXPECT_TRUE(counts.first == 0 || counts.first == counts.second)
          << name << ": " << counts.first << " of the " << counts.second << " messages of a batch";
    }
    EXPECT_EQ(stream.messages(), present) << name << " has messages nobody published";
    if (ConsumerStore* consumer = stream.find_consumer("c")) {
      for (const uint64_t seq : known.pending) {
        EXPECT_EQ(consumer->state().pending.find(seq), nullptr) << name << ": settled " << seq << " waits again";
      }
    }
  }

  // What is there now is there to stay.
  void adopt(Stream* stream, KnownStream& known) {
    KnownStream next;
    next.generation = known.generation + 1;
    if (stream != nullptr) {
      next.is_acked = true;
      next.last = next.last_acked = stream->last_seq();
      next.pending = known.pending;
      for (auto& [seq, one] : known.messages) {
        if (!stream->load(seq)) continue;
        one.is_acked = true;
        one.is_removed = false;
        next.messages[seq] = one;
      }
    }
    known = std::move(next);
  }

  SeededRandom random_;
  ManualClock clock_;
  std::unique_ptr<Log> log_ = std::getenv("BROKKR_SEED") == nullptr ? Log::discard() : std::move(*Log::open({}));
  Store::Options options_;
  ManualExecutor log_executor_;
  ManualExecutor background_;
  std::unique_ptr<Store> store_;
  std::map<std::string, KnownStream> streams_;
  std::vector<Callback<void()>> pending_;
  int64_t now_ = 1'700'000'000'000'000'000;
  uint64_t batches_ = 0;
  uint64_t life_ = 0;
};

// BROKKR_SEED repeats a run.
uint64_t first_seed() {
  const char* const wanted = std::getenv("BROKKR_SEED");
  return wanted == nullptr ? secure_seed() : std::strtoull(wanted, nullptr, 10);
}

TEST(StoreCrash, NothingAcknowledgedIsLostWhateverTheDiskForgets) {
  const uint64_t first = first_seed();
  for (uint64_t i = 0; i < seed_count(60); ++i) {
    const uint64_t seed = first + i;
    SCOPED_TRACE("seed " + std::to_string(seed));
    Machine machine(seed);
    SeededRandom lives(seed);
    for (int life = 0; life < 4; ++life) {
      machine.start();
      if (::testing::Test::HasFailure()) return;
      if (life > 0) machine.check();
      for (uint64_t step = lives.below(400); step > 0; --step) machine.act();
      if (::testing::Test::HasFailure()) return;
      machine.crash();
    }
  }
}

}  // namespace
}  // namespace brokkr::store
