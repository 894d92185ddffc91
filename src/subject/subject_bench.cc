#include <benchmark/benchmark.h>
#include <malloc.h>

#include <memory>
#include <string>
#include <vector>

#include "subject/interest_tree.h"
#include "subject/subject.h"

namespace brokkr::subject {
namespace {

// A tree with its subscribers, which it outlives.
struct Fixture {
  ~Fixture() {
    for (auto& subscriber : subscribers) tree.remove(*subscriber);
  }
  void subscribe(std::string_view pattern) {
    subscribers.push_back(std::make_unique<Subscriber>());
    tree.add(pattern, {}, *subscribers.back());
  }
  InterestTree tree{42};
  std::vector<std::unique_ptr<Subscriber>> subscribers;
};

std::string device(size_t i) {
  return "factory." + std::to_string(i % 97) + ".device." + std::to_string(i);
}

// Visits the subscribers as a delivery does.
size_t deliver(InterestTree& tree, std::string_view literal) {
  size_t delivered = 0;
  for (const Interest* interest : tree.match(literal)) delivered += interest->subscribers().size();
  return delivered;
}

void match_one_literal(benchmark::State& state) {
  Fixture fixture;
  fixture.subscribe("foo.bar");
  for (auto _ : state) benchmark::DoNotOptimize(deliver(fixture.tree, "foo.bar"));
}
BENCHMARK(match_one_literal);

void match_cached(benchmark::State& state) {
  Fixture fixture;
  fixture.subscribe("foo.bar");
  fixture.subscribe("foo.*");
  for (auto _ : state) benchmark::DoNotOptimize(deliver(fixture.tree, "foo.bar"));
}
BENCHMARK(match_cached);

// A subject drawn at random from 100,000, of which the cache knows few.
void match_random(benchmark::State& state, bool is_wildcard) {
  constexpr size_t kCount = 100'000;
  Fixture fixture;
  std::vector<std::string> subjects;
  for (size_t i = 0; i < kCount; ++i) {
    fixture.subscribe(is_wildcard ? device(i) + ".*" : device(i));
    subjects.push_back(is_wildcard ? device(i) + ".temperature" : device(i));
  }
  uint64_t at = 1;
  for (auto _ : state) {
    at = at * 6364136223846793005ULL + 1442695040888963407ULL;
    benchmark::DoNotOptimize(deliver(fixture.tree, subjects[(at >> 33) % kCount]));
  }
}
BENCHMARK_CAPTURE(match_random, literals, false);
BENCHMARK_CAPTURE(match_random, wildcards, true);

void match_nothing(benchmark::State& state) {
  Fixture fixture;
  for (size_t i = 0; i < 100'000; ++i) fixture.subscribe(device(i) + ".*");
  std::vector<std::string> subjects;
  for (size_t i = 0; i < 100'000; ++i) subjects.push_back(device(i) + ".a.b");
  size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(deliver(fixture.tree, subjects[at]));
    at = (at + 7919) % subjects.size();
  }
}
BENCHMARK(match_nothing);

void add_and_remove(benchmark::State& state) {
  Fixture fixture;
  for (size_t i = 0; i < 100'000; ++i) fixture.subscribe(device(i));
  Subscriber subscriber;
  for (auto _ : state) {
    fixture.tree.add("_INBOX.abcdefghijklmnopqrstuv.*", {}, subscriber);
    fixture.tree.remove(subscriber);
  }
}
BENCHMARK(add_and_remove);

// Counter: heap bytes of the tree for each subscription on a subject of its own.
void memory_per_subscription(benchmark::State& state, bool is_wildcard) {
  constexpr size_t kCount = 100'000;
  std::vector<std::unique_ptr<Subscriber>> subscribers(kCount);
  for (auto& subscriber : subscribers) subscriber = std::make_unique<Subscriber>();
  for (auto _ : state) {
    InterestTree tree;
    const size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (size_t i = 0; i < kCount; ++i) {
      tree.add(is_wildcard ? device(i) + ".*" : device(i), {}, *subscribers[i]);
    }
    const size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    state.counters["bytes"] = static_cast<double>(after - before) / kCount;
    for (auto& subscriber : subscribers) tree.remove(*subscriber);
    state.counters["left"] =
        static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd) - static_cast<double>(before);
  }
}
BENCHMARK_CAPTURE(memory_per_subscription, literals, false)->Iterations(1);
BENCHMARK_CAPTURE(memory_per_subscription, wildcards, true)->Iterations(1);

void check_valid(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(is_valid("factory.12.device.*.temperature"));
}
BENCHMARK(check_valid);

}  // namespace
}  // namespace brokkr::subject
