#include "store/consumer_store.h"

#include <cstdio>
#include <map>

#include <gtest/gtest.h>

#include "base/random.h"
#include "store/stream.h"

namespace brokkr::store {
namespace {

// A consumer never looks into its stream; this stands in for one.
Stream& no_stream() {
  alignas(Stream) static char place[sizeof(Stream)];
  return reinterpret_cast<Stream&>(place);
}

class ConsumerStoreTest : public ::testing::Test {
 protected:
  ConsumerStore::Queue queue_;
  ConsumerStore consumer_{no_stream(), 1, "c", "{}", false, &queue_};
  ConsumerStore copy_{no_stream(), 1, "c", "{}", false, nullptr};

  std::string take() {
    std::string delta;
    consumer_.take_delta(delta);
    queue_.clear();
    return delta;
  }
  std::string image_of(const ConsumerStore& consumer) {
    std::string image;
    consumer.encode(image);
    return image;
  }
  void expect_equal() { EXPECT_EQ(image_of(consumer_), image_of(copy_)); }
};

TEST_F(ConsumerStoreTest, DeltaBringsACopyUpToDate) {
  for (uint64_t i = 1; i <= 10; ++i) {
    consumer_.delivered(i, 100 + i, 1, 1'000'000 + static_cast<int64_t>(i), true);
  }
  consumer_.settled(101);
  consumer_.settled(105);
  consumer_.set_ack_floor({1, 101});
  ASSERT_TRUE(copy_.apply_delta(take()));
  expect_equal();
  consumer_.delivered(11, 103, 2, 2'000'000, true);
  consumer_.forget_delivery(103);
  ASSERT_TRUE(copy_.apply_delta(take()));
  expect_equal();
  EXPECT_EQ(copy_.pending().find(103)->deliveries, 1U);
}

TEST_F(ConsumerStoreTest, ExhaustedMessagesAreRemembered) {
  consumer_.delivered(1, 7, 5, 5, true);
  consumer_.exhausted(7);
  ASSERT_TRUE(copy_.apply_delta(take()));
  expect_equal();
  EXPECT_TRUE(copy_.pending().empty());
  ASSERT_NE(copy_.state().exhausted.find(7), nullptr);
  EXPECT_EQ(copy_.state().exhausted.find(7)->deliveries, 5U);
  ASSERT_TRUE(copy_.decode(image_of(consumer_)));
  expect_equal();
  consumer_.settled(7);
  ASSERT_TRUE(copy_.apply_delta(take()));
  expect_equal();
  EXPECT_TRUE(copy_.state().exhausted.empty());
}

TEST_F(ConsumerStoreTest, ADeltaNeedsNotTheOneBefore) {
  consumer_.delivered(1, 7, 1, 5, true);
  take();
  consumer_.delivered(2, 9, 3, 6, true);
  ASSERT_TRUE(copy_.apply_delta(take()));
  ASSERT_NE(copy_.pending().find(9), nullptr);
  EXPECT_EQ(copy_.pending().find(9)->consumer_seq, 2U);
  EXPECT_EQ(copy_.pending().find(9)->deliveries, 3U);
  EXPECT_EQ(copy_.pending().find(9)->timestamp_ns, 6);
}

TEST_F(ConsumerStoreTest, SequencesMayBeHuge) {
  const uint64_t huge = UINT64_MAX - 5;
  consumer_.delivered(1, huge, 1, 5, true);
  consumer_.delivered(2, 3, 1, 5, true);
  consumer_.delivered(3, huge + 1, 1, 5, true);
  consumer_.set_ack_floor({1, 2});
  ASSERT_TRUE(copy_.apply_delta(take()));
  expect_equal();
  ASSERT_TRUE(copy_.decode(image_of(consumer_)));
  expect_equal();
}

TEST_F(ConsumerStoreTest, ResetReplacesWhatWasSaid) {
  consumer_.delivered(1, 7, 1, 5, true);
  ConsumerState state;
  state.delivered = {0, 41};
  state.ack_floor = {0, 41};
  consumer_.reset(std::move(state));
  consumer_.delivered(1, 42, 1, 5, true);
  const std::string delta = take();
  ASSERT_TRUE(copy_.apply_delta(delta));
  expect_equal();
  EXPECT_EQ(copy_.pending().size(), 1U);
}

TEST_F(ConsumerStoreTest, AsksForAPlaceOnceAGroup) {
  consumer_.delivered(1, 1, 1, 5, true);
  consumer_.settled(1);
  EXPECT_EQ(queue_.size(), 1U);
  take();
  consumer_.settled(1);  // not pending: nothing to say
  EXPECT_TRUE(queue_.empty());
  EXPECT_TRUE(take().empty());
}

TEST_F(ConsumerStoreTest, InMemoryLogsNothing) {
  ConsumerStore volatile_one(no_stream(), 2, "m", "{}", true, &queue_);
  volatile_one.delivered(1, 1, 1, 5, true);
  volatile_one.set_ack_floor({1, 1});
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ConsumerStoreTest, ADestroyedConsumerLeavesTheQueue) {
  {
    ConsumerStore brief(no_stream(), 2, "b", "{}", false, &queue_);
    brief.delivered(1, 1, 1, 5, true);
    EXPECT_EQ(queue_.size(), 1U);
  }
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ConsumerStoreTest, DamagedBytesNeverGrowOrCrash) {
  for (uint64_t i = 1; i <= 20; ++i) consumer_.delivered(i, 3 * i, 1, 77, true);
  consumer_.set_ack_floor({1, 2});
  const std::string image = image_of(consumer_);
  const std::string delta = take();
  for (size_t size = 0; size < image.size(); ++size) {
    EXPECT_FALSE(copy_.decode(std::string_view(image).substr(0, size)));
  }
  EXPECT_FALSE(copy_.decode(image + "x"));
  const uint64_t seed = secure_seed();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  SeededRandom random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const bool of_image = random.below(2) == 0;
    std::string bytes = of_image ? image : delta;
    for (uint64_t flips = 1 + random.below(3); flips > 0; --flips) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    ConsumerStore target(no_stream(), 1, "c", "", false, nullptr);
    const Status status = of_image ? target.decode(bytes) : target.apply_delta(bytes);
    if (status) {
      EXPECT_LE(target.pending().size() + target.state().exhausted.size(), bytes.size());
    }
  }
  EXPECT_FALSE(copy_.decode(std::string("\x01\x01\x01\x01\x01\x01\x01\xff\xff\xff\xff\x0f", 12)));
}

// Against a std::map, with images and deltas checked on the way.
TEST_F(ConsumerStoreTest, PendingMapBehavesAsAnOrderedMap) {
  const uint64_t seed = secure_seed();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  SeededRandom random(seed);
  PendingMap map;
  std::map<uint64_t, uint32_t> model;
  uint64_t next = 1;
  for (int step = 0; step < 200'000; ++step) {
    const bool is_recent = next > 200 && random.below(8) != 0;
    const uint64_t seq = is_recent ? next - random.below(200) : 1 + random.below(next);
    switch (random.below(5)) {
      case 0:
      case 1: {
        next += 1 + (random.below(4) == 0 ? random.below(5) : 0);
        const auto deliveries = static_cast<uint32_t>(1 + random.below(5));
        map.put({next, 0, 0, deliveries, false});
        model[next] = deliveries;
        break;
      }
      case 2:
        if (random.below(20) == 0) {
          map.put({seq, 0, 0, 9, false});
          model[seq] = 9;
        }
        break;
      default: EXPECT_EQ(map.erase(seq), model.erase(seq) == 1);
    }
    ASSERT_EQ(map.size(), model.size());
    const auto expected = model.lower_bound(seq);
    const Pending* found = map.lower_bound(seq);
    ASSERT_EQ(found == nullptr, expected == model.end());
    if (found != nullptr) {
      ASSERT_EQ(found->stream_seq, expected->first);
      ASSERT_EQ(found->deliveries, expected->second);
    }
    if (step % 10'000 == 0) {
      auto it = model.begin();
      for (const Pending* p = map.first(); p != nullptr; p = map.next(*p), ++it) {
        ASSERT_EQ(p->stream_seq, it->first);
      }
      ASSERT_EQ(it, model.end());
    }
    if (random.below(50'000) == 0) {
      map.clear();
      model.clear();
    }
  }
}

}  // namespace
}  // namespace brokkr::store
