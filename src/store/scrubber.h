#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "store/files.h"
#include "store/run.h"

namespace brokkr::store {

// Reads all run files over and over, slowly, so that damage is found while what it hit may still be
// had from elsewhere, not years later. Reading is done by the executor in small pieces with pauses
// between them; everything else happens on the store's thread.
class Scrubber {
 public:
  struct Options {
    uint64_t bytes_per_second = 2 << 20;
    // Read at one go; other work of the executor waits so long.
    uint64_t step_bytes = 1 << 20;
    // From the end of one round to the next.
    Duration pause = std::chrono::hours(6);
  };
  // A run to be read.
  struct Target {
    std::shared_ptr<RunFile> file;
    RunInfo info;
    uint32_t stream = 0;
  };
  struct Events {
    // The run after the one asked for last; absent at the end of a round, from then on the first
    // one again.
    std::function<std::optional<Target>()> next;
    // Messages of the target that cannot be read, ascending; some may have been removed long since.
    std::function<void(const Target&, const std::vector<uint64_t>& seqs)> damaged;
    // The footer had to be rebuilt: the run should be written again.
    std::function<void(const Target&)> footer_damaged;
    // Calls back on the store's thread after the delay.
    std::function<void(Duration, Callback<void()>)> after;
  };

  // The executor outlives the scrubber. Nothing happens before `start`.
  Scrubber(Executor& executor, Options options, Events events);
  ~Scrubber();
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void start();
  uint64_t rounds() const;
  uint64_t bytes_read() const;
  uint64_t damaged() const;

 private:
  struct State;
  static void step(const std::shared_ptr<State>& state);
  static void finish_step(const std::shared_ptr<State>& state);
  // Gone callbacks find it stopped.
  std::shared_ptr<State> state_;
};

}  // namespace brokkr::store
