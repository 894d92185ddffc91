#include "store/scrubber.h"

#include <algorithm>
#include <utility>

namespace brokkr::store {

// One run on its way through the executor. Belongs to whoever works on it just then.
struct ScrubJob {
  Scrubber::Target target;
  std::unique_ptr<RunIndex> index;
  uint32_t ordinal = 0;
  std::shared_ptr<const std::string> block;
  // Of the last step.
  uint64_t bytes = 0;
  bool is_rebuilt = false;
  std::vector<uint64_t> damaged;

  bool is_done() const { return index != nullptr && ordinal >= index->info.count; }

  void load() {
    bool is_damaged = false;
    auto loaded = target.file->load_index(target.info, is_damaged);
    bytes += target.info.footer_bytes;
    if (!loaded) {
      // Nothing of it can be read now; the next round tries again.
      index = std::make_unique<RunIndex>();
      return;
    }
    index = std::move(*loaded);
    is_rebuilt = index->is_rebuilt;
  }

  void work(uint64_t bytes_max) {
    bytes = 0;
    is_rebuilt = false;
    damaged.clear();
    if (index == nullptr) load();
    for (; ordinal < index->info.count && bytes < bytes_max; ++ordinal) {
      const auto got = target.file->read(*index, ordinal, block);
      bytes += index->sizes[ordinal];
      const bool is_whole = got && got->damage == RecordDamage::None;
      if (!is_whole) damaged.push_back(index->seq_at(ordinal));
      if (got && got->block != nullptr) block = got->block;
    }
  }
};

struct Scrubber::State {
  Executor* executor = nullptr;
  Options options;
  Events events;
  std::shared_ptr<ScrubJob> job;
  bool is_stopped = false;
  bool has_started = false;
  uint64_t rounds = 0;
  uint64_t bytes_read = 0;
  uint64_t damaged = 0;
};

Scrubber::Scrubber(Executor& executor, Options options, Events events)
    : state_(std::make_shared<State>()) {
  state_->executor = &executor;
  state_->options = options;
  state_->events = std::move(events);
}

Scrubber::~Scrubber() {
  state_->is_stopped = true;
}

uint64_t Scrubber::rounds() const {
  return state_->rounds;
}
uint64_t Scrubber::bytes_read() const {
  return state_->bytes_read;
}
uint64_t Scrubber::damaged() const {
  return state_->damaged;
}

void Scrubber::start() {
  if (std::exchange(state_->has_started, true)) return;
  state_->events.after(state_->options.pause, [state = state_] { step(state); });
}

void Scrubber::step(const std::shared_ptr<State>& state) {
  if (state->is_stopped) return;
  if (state->job == nullptr) {
    auto target = state->events.next();
    if (!target) {
      ++state->rounds;
      state->events.after(state->options.pause, [state] { step(state); });
      return;
    }
    state->job = std::make_shared<ScrubJob>();
    state->job->target = std::move(*target);
  }
  state->executor->run([job = state->job, bytes = state->options.step_bytes] { job->work(bytes); },
                       [state] { finish_step(state); });
}

void Scrubber::finish_step(const std::shared_ptr<State>& state) {
  if (state->is_stopped) return;
  const std::shared_ptr<ScrubJob> job = state->job;
  state->bytes_read += job->bytes;
  state->damaged += job->damaged.size();
  if (job->is_rebuilt) state->events.footer_damaged(job->target);
  if (!job->damaged.empty()) state->events.damaged(job->target, job->damaged);
  if (state->is_stopped) return;
  if (job->is_done()) state->job.reset();
  const uint64_t rate = std::max<uint64_t>(state->options.bytes_per_second, 1);
  const auto wait = Duration(
      static_cast<int64_t>(static_cast<double>(job->bytes) / static_cast<double>(rate) * 1e9));
  state->events.after(std::max<Duration>(wait, std::chrono::milliseconds(1)),
                      [state] { step(state); });
}

}  // namespace brokkr::store
