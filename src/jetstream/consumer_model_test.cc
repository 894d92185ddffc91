// A consumer against a model of it: random publishes, pulls, acknowledgements of every kind, waits,
// deletes, purges, pauses, changes and restarts; everything a client sees must be what the model says,
// and so must the consumer's info. JETSTREAM_MODEL_STEPS sets how many, JETSTREAM_MODEL_SEED which.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "jetstream/consumer_test_fixture.h"
#include "jetstream/stream.h"

namespace brokkr::jetstream {
namespace {

using namespace std::chrono_literals;

// No sum of steps of the clock meets a deadline exactly.
constexpr Duration kStep = 3ms;
constexpr Duration kAckWait = 1000ms;
constexpr Duration kNakDelay = 500ms;
constexpr size_t kWaitingMax = 512;

struct ModelPending {
  uint64_t consumer_seq = 0;
  uint64_t deliveries = 1;
  Duration counted_from{};
  Duration due{};
  bool is_queued = false;
};

// What the consumer does, as simply as it can be said.
class ConsumerModel {
 public:
  struct Request {
    int64_t left = 1;
    bool no_wait = false;
    bool has_expiry = false;
    int64_t delivered = 0;
  };

  std::map<uint64_t, char> messages;  // sequence -> last letter of the subject
  uint64_t last_seq = 0;
  char filter = 0;  // 0: all
  uint64_t max_ack_pending = 10;
  uint64_t max_deliver = 3;
  bool is_paused = false;
  Duration now{};

  uint64_t next_seq = 1;
  uint64_t next_delivery = 1;
  uint64_t delivered_stream = 0;
  uint64_t floor_consumer = 0;
  uint64_t floor_stream = 0;
  std::map<uint64_t, ModelPending> pending;
  std::map<uint64_t, uint64_t> exhausted;
  std::deque<uint64_t> redeliveries;
  std::deque<Request> waiting;
  std::vector<std::string> out;  // what the client sees
  bool is_blocked = false;

  bool matches(uint64_t seq) const { return filter == 0 || messages.at(seq) == filter; }
  uint64_t num_pending() const {
    uint64_t count = 0;
    for (auto at = messages.lower_bound(next_seq); at != messages.end(); ++at) count += matches(at->first);
    return count;
  }
  uint64_t queued() const {
    return static_cast<uint64_t>(std::count_if(pending.begin(), pending.end(),
                                               [](const auto& each) { return each.second.is_queued; }));
  }
  uint64_t redelivered() const {
    const auto again = std::count_if(pending.begin(), pending.end(),
                                     [](const auto& each) { return each.second.deliveries > 1; });
    return static_cast<uint64_t>(again) + exhausted.size();
  }

  void publish(char letter) { messages[++last_seq] = letter; }
  void pull(int64_t batch, bool no_wait, bool has_expiry) {
    if (no_wait) {
      const uint64_t available = num_pending() + queued();
      if (available == 0 && !has_expiry) return out.push_back("404 No Messages");
      int64_t wanted = 0;
      for (const Request& each : waiting) wanted += each.left;
      if (available > 0 && static_cast<int64_t>(available) < wanted) return out.push_back("408 Requests Pending");
    }
    if (waiting.size() >= kWaitingMax) return out.push_back("409 Exceeded MaxWaiting");
    waiting.push_back({batch, no_wait, has_expiry, 0});
  }
  void move_floor(uint64_t consumer_seq, uint64_t seq) {
    if (pending.empty()) {
      floor_consumer = next_delivery - 1;
      floor_stream = delivered_stream;
    } else if (consumer_seq == floor_consumer + 1) {
      floor_consumer = consumer_seq;
      floor_stream = seq;
      const auto next = pending.upper_bound(seq);
      if (next != pending.end() && next_delivery - 1 > consumer_seq) {
        floor_consumer = next->second.consumer_seq - 1;
        floor_stream = next->first - 1;
      }
    }
  }
  void ack(uint64_t seq) {
    if (seq >= next_seq) return;
    const auto found = pending.find(seq);
    if (found == pending.end()) {
      exhausted.erase(seq);
      return;
    }
    const uint64_t consumer_seq = found->second.consumer_seq;
    pending.erase(found);
    move_floor(consumer_seq, seq);
  }
  void nak(uint64_t seq, uint64_t consumer_seq, bool delayed) {
    if (consumer_seq <= floor_consumer || consumer_seq > next_delivery) return;
    const auto found = pending.find(seq);
    if (found == pending.end()) return;
    if (delayed) {
      found->second.is_queued = false;
      std::erase(redeliveries, seq);
      found->second.due = now + kNakDelay;
      found->second.counted_from = found->second.due - kAckWait;
    } else if (!found->second.is_queued) {
      found->second.is_queued = true;
      redeliveries.push_back(seq);
    }
  }
  void progress(uint64_t seq) {
    const auto found = pending.find(seq);
    if (found == pending.end()) return;
    found->second.counted_from = now;
    found->second.due = now + kAckWait;
  }
  void give_up(uint64_t seq) {
    exhausted[seq] = pending.at(seq).deliveries;
    pending.erase(seq);
  }
  void expire() {
    std::vector<uint64_t> due;
    for (const auto& [seq, each] : pending) {
      if (!each.is_queued && each.due <= now) due.push_back(seq);
    }
    for (const uint64_t seq : due) {
      if (max_deliver == 1) {
        give_up(seq);
        continue;
      }
      pending.at(seq).is_queued = true;
      redeliveries.push_back(seq);
    }
  }
  void remove(uint64_t seq) {
    messages.erase(seq);
    exhausted.erase(seq);
    ack(seq);
  }
  void purge() {
    messages.clear();
    pending.clear();
    exhausted.clear();
    redeliveries.clear();
    next_seq = std::max(next_seq, last_seq + 1);
    delivered_stream = std::max(delivered_stream, next_seq - 1);
    floor_consumer = next_delivery - 1;
    floor_stream = next_seq - 1;
  }
  void restart() {
    waiting.clear();
    redeliveries.clear();
    is_blocked = false;
    next_seq = delivered_stream + 1;
    for (auto& [seq, each] : pending) {
      each.is_queued = false;
      each.due = each.counted_from + kAckWait;
    }
  }

  // The redelivery that comes next, giving up those that have had enough.
  std::optional<uint64_t> next_redelivery() {
    while (!redeliveries.empty()) {
      const uint64_t seq = redeliveries.front();
      const auto found = pending.find(seq);
      if (found == pending.end() || !found->second.is_queued) {
        redeliveries.pop_front();
      } else if (max_deliver > 0 && found->second.deliveries >= max_deliver) {
        redeliveries.pop_front();
        give_up(seq);
      } else {
        return seq;
      }
    }
    return {};
  }
  void deliver(uint64_t seq, ModelPending& to) {
    to.counted_from = now;
    to.due = now + kAckWait;
    to.is_queued = false;
    out.push_back(std::to_string(to.deliveries) + "." + std::to_string(seq) + "." +
                  std::to_string(next_delivery++) + "/" + std::to_string(num_pending()));
  }
  bool deliver_next() {
    is_blocked = false;
    if (const auto seq = next_redelivery()) {
      redeliveries.pop_front();
      ModelPending& again = pending.at(*seq);
      ++again.deliveries;
      deliver(*seq, again);
      return true;
    }
    if (max_ack_pending > 0 && pending.size() >= max_ack_pending) {
      is_blocked = true;
      return false;
    }
    auto at = messages.lower_bound(next_seq);
    while (at != messages.end() && !matches(at->first)) ++at;
    if (at == messages.end()) {
      next_seq = last_seq + 1;
      return false;
    }
    const uint64_t seq = at->first;
    next_seq = seq + 1;
    delivered_stream = std::max(delivered_stream, seq);
    ModelPending& fresh = pending[seq];
    fresh = ModelPending();
    fresh.consumer_seq = next_delivery;
    deliver(seq, fresh);
    return true;
  }
  // After every event.
  void pump() {
    while (!is_paused && !waiting.empty() && deliver_next()) {
      Request request = waiting.front();
      waiting.pop_front();
      ++request.delivered;
      if (--request.left > 0) waiting.push_back(request);
    }
    if (is_blocked && !is_paused) return;
    for (size_t i = 0; i < waiting.size();) {
      if (waiting[i].no_wait && (!waiting[i].has_expiry || waiting[i].delivered > 0)) {
        out.push_back("404 No Messages");
        waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }
};

class ConsumerModelTest : public testing::Test {
 protected:
  void run(ConsumerFixture& fixture, int steps, bool with_restarts, uint64_t seed = chosen_seed());
  void step(bool with_restarts);
  void acknowledge();
  void change();
  void settle();
  void compare_info();
  static uint64_t chosen_seed();
  std::string config() const;
  std::vector<std::string> seen();

  ConsumerFixture* fixture_ = nullptr;
  std::unique_ptr<SeededRandom> random_;
  ConsumerModel model_;
  MonotonicTime begin_{};
  std::string what_;  // the last steps, for who looks into a failure
};

std::string ConsumerModelTest::config() const {
  std::string text = R"({"durable_name":"C","ack_policy":"explicit","ack_wait":1000000000,"max_deliver":)" +
                     std::to_string(model_.max_deliver) + R"(,"max_ack_pending":)" +
                     std::to_string(model_.max_ack_pending);
  if (model_.filter != 0) text += std::string(R"(,"filter_subject":"s.)") + model_.filter + "\"";
  return text + "}";
}

// What has come, in the model's words.
std::vector<std::string> ConsumerModelTest::seen() {
  const std::string text = fixture_->client().sync();
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find("\r\n", at);
    const std::string line = text.substr(at, end - at);
    const std::vector<std::string_view> words = split(line, ' ');
    const uint64_t size = parse_uint(words.back()).value_or(0);
    if (words[0] == "HMSG") {
      const std::string block = text.substr(end + 2, size);
      out.push_back(block.substr(9, block.find("\r\n") - 9));
    } else {
      const std::vector<std::string_view> tokens = split(words[3], '.');
      std::string shown(tokens[4]);
      for (const size_t i : {size_t{5}, size_t{6}}) shown.append(".").append(tokens[i]);
      out.push_back(shown.append("/").append(tokens[8]));
    }
    at = end + 2 + size + 2;
  }
  return out;
}

// Waits until what was published can be seen by consumers.
void ConsumerModelTest::settle() {
  store::Stream& messages = fixture_->jetstream().find_account("$G")->find_stream("S")->messages();
  EXPECT_TRUE(fixture_->run_until([&] { return messages.visible_seq() >= messages.last_seq(); }));
}

void ConsumerModelTest::acknowledge() {
  if (model_.last_seq == 0) return;
  uint64_t seq = 1 + random_->below(model_.last_seq + 1);
  if (!model_.pending.empty() && random_->below(8) != 0) {
    auto chosen = model_.pending.begin();
    std::advance(chosen, static_cast<ptrdiff_t>(random_->below(model_.pending.size())));
    seq = chosen->first;
  }
  const auto found = model_.pending.find(seq);
  const uint64_t consumer_seq = found == model_.pending.end() ? 1 : found->second.consumer_seq;
  const char* body = "";
  switch (random_->below(8)) {
    case 0: body = "-NAK"; model_.nak(seq, consumer_seq, false); break;
    case 1: body = "-NAK {\"delay\":500000000}"; model_.nak(seq, consumer_seq, true); break;
    case 2: body = "+WPI"; model_.progress(seq); break;
    case 3: body = "+TERM"; model_.ack(seq); break;
    default: model_.ack(seq);
  }
  what_ += std::string(" ack ") + std::to_string(seq) + body;
  fixture_->client().publish("$JS.ACK.S.C.1." + std::to_string(seq) + "." + std::to_string(consumer_seq) + ".1.0", {}, body);
}

void ConsumerModelTest::change() {
  switch (random_->below(3)) {
    case 0: model_.max_ack_pending = 1 + random_->below(20); break;
    case 1: model_.max_deliver = 1 + random_->below(5); break;
    default: model_.filter = "\0ab"[random_->below(3)];
  }
  what_ += " change " + config();
  EXPECT_EQ(fixture_->api_error_code("CONSUMER.CREATE.S.C", R"({"stream_name":"S","config":)" + config() + "}"), 0);
}

void ConsumerModelTest::step(bool with_restarts) {
  PipeClient& client = fixture_->client();
  const uint64_t choice = random_->below(1000);
  if (choice < 300) {
    const char letter = "abc"[random_->below(3)];
    what_ += std::string(" pub ") + letter;
    model_.publish(letter);
    client.publish(std::string("s.") + letter, {}, "x");
    if (with_restarts) client.turn();
    settle();
  } else if (choice < 500) {
    const auto batch = static_cast<int64_t>(1 + random_->below(5));
    const bool no_wait = random_->below(3) != 0;
    const bool expires = random_->below(3) == 0;
    std::string body = "{\"batch\":" + std::to_string(batch);
    if (no_wait) body += ",\"no_wait\":true";
    if (expires) body += ",\"expires\":1000000000000000";
    what_ += " pull " + body;
    model_.pull(batch, no_wait, expires);
    client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", body + "}");
  } else if (choice < 850) {
    acknowledge();
  } else if (choice < 950) {
    const Duration by = kStep * static_cast<int64_t>(1 + random_->below(120));
    what_ += " wait " + std::to_string(by / 1ms);
    model_.now += by;
    model_.expire();
    fixture_->advance(by);
  } else if (choice < 970 && model_.last_seq > 0) {
    const uint64_t seq = 1 + random_->below(model_.last_seq);
    if (!model_.messages.contains(seq)) return;
    what_ += " delete " + std::to_string(seq);
    model_.remove(seq);
    EXPECT_EQ(fixture_->api_error_code("STREAM.MSG.DELETE.S", "{\"seq\":" + std::to_string(seq) + "}"), 0);
  } else if (choice < 971) {
    what_ += " purge";
    model_.purge();
    EXPECT_EQ(fixture_->api_error_code("STREAM.PURGE.S", ""), 0);
  } else if (choice < 985) {
    change();
  } else if (choice < 995) {
    model_.is_paused = !model_.is_paused;
    what_ += model_.is_paused ? " pause" : " resume";
    EXPECT_EQ(fixture_->api_error_code("CONSUMER.PAUSE.S.C", model_.is_paused ? R"({"pause_until":"2200-01-01T00:00:00Z"})" : ""), 0);
  } else if (with_restarts) {
    what_ += " restart";
    fixture_->restart();
    fixture_->client().send("SUB in 7\r\n");
    model_.restart();
    model_.now = fixture_->clock().now() - begin_;
    model_.expire();
    fixture_->advance(Duration());
  }
}

void ConsumerModelTest::compare_info() {
  const json::Value info = fixture_->info("S", "C");
  const auto floor = info.find("ack_floor");
  const auto delivered = info.find("delivered");
  ASSERT_NE(floor, nullptr);
  EXPECT_EQ(info.get_int("num_ack_pending", -1), static_cast<int64_t>(model_.pending.size()));
  EXPECT_EQ(info.get_int("num_pending", -1), static_cast<int64_t>(model_.num_pending()));
  EXPECT_EQ(info.get_int("num_waiting", -1), static_cast<int64_t>(model_.waiting.size()));
  EXPECT_EQ(info.get_int("num_redelivered", -1), static_cast<int64_t>(model_.max_deliver == 1 ? 0 : model_.redelivered()));
  EXPECT_EQ(floor->get_int("consumer_seq", -1), static_cast<int64_t>(model_.floor_consumer));
  EXPECT_EQ(floor->get_int("stream_seq", -1), static_cast<int64_t>(model_.floor_stream));
  EXPECT_EQ(delivered->get_int("consumer_seq", -1), static_cast<int64_t>(model_.next_delivery - 1));
  EXPECT_EQ(delivered->get_int("stream_seq", -1), static_cast<int64_t>(model_.delivered_stream));
}

uint64_t ConsumerModelTest::chosen_seed() {
  const char* given = getenv("JETSTREAM_MODEL_SEED");
  return given != nullptr ? parse_uint(given).value_or(1) : secure_seed();
}

void ConsumerModelTest::run(ConsumerFixture& fixture, int steps, bool with_restarts, uint64_t seed) {
  fixture_ = &fixture;
  begin_ = fixture.clock().now();
  std::printf("JETSTREAM_MODEL_SEED=%llu\n", static_cast<unsigned long long>(seed));
  random_ = std::make_unique<SeededRandom>(seed);
  fixture.add_stream(R"({"name":"S","subjects":["s.>"]})");
  fixture.add_consumer("S", config());
  fixture.client().send("SUB in 7\r\n").sync();
  for (int i = 0; i < steps && !HasFatalFailure(); ++i) {
    model_.out.clear();
    step(with_restarts);
    // What a request is answered at once comes before what is delivered.
    const std::vector<std::string> at_once = model_.out;
    model_.out.clear();
    model_.pump();
    std::vector<std::string> expected = at_once;
    expected.insert(expected.end(), model_.out.begin(), model_.out.end());
    const std::vector<std::string> got = seen();
    ASSERT_EQ(got, expected) << "step " << i << what_;
    if (i % 16 == 0) compare_info();
    ASSERT_FALSE(HasFailure()) << "step " << i << what_;
    if (what_.size() > 4000) what_.erase(0, 2000);
  }
}

int steps_of(int by_default) {
  const char* given = getenv("JETSTREAM_MODEL_STEPS");
  return given != nullptr ? static_cast<int>(parse_uint(given).value_or(1)) : by_default;
}

TEST_F(ConsumerModelTest, RandomOperationsAgreeWithTheModel) {
  ConsumerFixture fixture;
  run(fixture, steps_of(100'000), false);
}

// Two delays of the same length, one of them of a message that was queued for redelivery.
TEST_F(ConsumerModelTest, AKnownSeedAgreesWithTheModel) {
  ConsumerFixture fixture;
  run(fixture, steps_of(60'000), false, 6553506127524747582U);
}

TEST_F(ConsumerModelTest, SoTheyDoWithRestarts) {
  char name[] = "/tmp/consumer_model_XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  {
    ConsumerFixture fixture(name);
    run(fixture, steps_of(100'000) / 100, true);
  }
  std::filesystem::remove_all(name);
}

}  // namespace
}  // namespace brokkr::jetstream
