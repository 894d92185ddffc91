#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "io/mailbox.h"

namespace brokkr::io {

class Loop;
class Timer;

// What a file descriptor is ready for, and what its owner wants to hear of.
enum Ready : uint32_t { kReadable = 1, kWritable = 2, kHangup = 4 };

// Called on the loop when a watched descriptor is ready. The handler may unwatch and destroy itself
// or any other handler: events already collected for those are dropped.
class FdHandler {
 public:
  virtual ~FdHandler() = default;
  // `ready` is a set of Ready bits; kHangup also covers errors.
  virtual void on_ready(uint32_t ready) = 0;
};

// Work for the next turn of the loop, without waiting in between. Cancels itself when destroyed.
// Loop-confined.
class Task {
 public:
  Task() = default;
  virtual ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual void run() = 0;
  bool is_scheduled() const { return loop_ != nullptr; }

 private:
  friend class Loop;
  Loop* loop_ = nullptr;
  size_t index_ = 0;
};

// The phases that end every turn, in this order. One write per log precedes the acknowledgements
// that depend on it, and those precede the one send per client.
enum class Phase : uint8_t { Append, Sync, Acknowledge, Send };
constexpr size_t kPhases = 4;

// Does the work a turn has collected. Called once a turn in its phase while `has_work`.
class TurnHook {
 public:
  virtual ~TurnHook() = default;
  virtual bool has_work() const = 0;
  virtual void on_turn_end() = 0;
};

// An event loop on epoll, one thread. A turn is: wait (spin, then sleep) -> descriptors -> scheduled
// tasks -> posted callbacks -> timers -> phases. Loop-confined, save `post` and `stop`, which are
// thread-safe.
class Loop {
 public:
  struct Options {
    // How long to poll before sleeping. Spinning switches itself off while it seldom hits and is
    // never used on a machine with one CPU. Zero switches it off.
    Duration spin_max = std::chrono::microseconds(50);
    // Bytes one read may bring in; the buffer is shared by all connections of the loop.
    size_t receive_buffer_bytes = 256 << 10;
  };

  // `clock` outlives the loop. Fails with System when epoll or eventfd cannot be had.
  static Result<std::unique_ptr<Loop>> open(const Options&, Clock& clock);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Runs turns on the calling thread until `stop`.
  void run();
  // One turn that waits at most `wait`; for tests and for programs with their own loop.
  void run_once(Duration wait);
  void stop();

  // True on the thread that runs the loop, and before it first runs.
  bool is_here() const;
  // After the loop's thread has ended: what is left may be taken down from another thread.
  void release_thread() { thread_.store(std::thread::id(), std::memory_order_relaxed); }
  void check_here() const { DCHECK(is_here()); }

  Clock& clock() const { return clock_; }
  // The time this turn began; cheap.
  MonotonicTime now() const { return now_; }

  // Watches `fd` (level-triggered) for the Ready bits in `interest`; kHangup is always reported.
  Status watch(int fd, uint32_t interest, FdHandler& handler);
  void change(int fd, uint32_t interest);
  // Must come before the descriptor is closed.
  void unwatch(int fd);
  // Tells a handler whether it survived a callback of its own.
  bool is_watched_by(int fd, const FdHandler& handler) const {
    return slots_[static_cast<size_t>(fd)].handler == &handler;
  }

  // Runs `task` in the next turn; no effect when it is scheduled already.
  void schedule(Task& task);
  void cancel(Task& task);

  // `hook` outlives the loop or is removed before it dies.
  void add_hook(Phase, TurnHook& hook);
  void remove_hook(TurnHook& hook);

  // Runs `callback` on the loop's thread, in order of posting. What is still queued when the loop is
  // destroyed is destroyed unrun.
  void post(Callback<void()> callback);

  // At least Options::receive_buffer_bytes, plus room in front for a partial message of up to
  // `receive_prefix_bytes`. Valid within one handler call.
  std::span<char> receive_buffer(size_t prefix_bytes);

 private:
  friend class Timer;
  struct Slot {
    FdHandler* handler = nullptr;
    uint32_t generation = 0;
    uint32_t interest = 0;
  };

  Loop(const Options&, Clock&, int epoll_fd);
  int wait_for_events(Duration wait_max);
  int spin();
  void dispatch(int count);
  void run_tasks();
  void run_timers();
  void run_phases();
  bool has_pending_work() const;
  void sift_up(size_t index);
  void sift_down(size_t index);
  void place(size_t index, Timer* timer);
  void insert_timer(Timer&);
  void erase_timer(Timer&);

  const Options options_;
  Clock& clock_;
  const int epoll_fd_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::thread::id> thread_{};
  MonotonicTime now_;
  std::vector<Slot> slots_;  // by descriptor
  std::vector<char> event_storage_;
  std::vector<Task*> tasks_;
  std::vector<Task*> running_tasks_;
  std::vector<Timer*> timers_;  // 4-ary heap by deadline
  std::vector<TurnHook*> hooks_[kPhases];
  std::vector<char> receive_buffer_;
  Mailbox<Callback<void()>> posted_;
  std::unique_ptr<FdHandler> posted_handler_;
  Timer* running_timer_ = nullptr;
  bool spin_allowed_ = true;
  uint32_t spin_pause_ = 0;  // waits left without spinning
  uint32_t spins_ = 0;
  uint32_t spin_hits_ = 0;
};

// Calls back once when its time has come; arm it again for the next. Cancels itself when destroyed;
// may be destroyed or armed from its own callback. Loop-confined; the loop outlives it.
class Timer {
 public:
  Timer(Loop& loop, Callback<void()> callback) : loop_(loop), callback_(std::move(callback)) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Arms, or moves the deadline when armed.
  void start(Duration after) { start_at(loop_.clock().now() + after); }
  void start_at(MonotonicTime deadline);
  void stop();
  bool is_armed() const { return index_ != kNotArmed; }
  MonotonicTime deadline() const { return deadline_; }

 private:
  friend class Loop;
  static constexpr size_t kNotArmed = SIZE_MAX;
  Loop& loop_;
  Callback<void()> callback_;
  MonotonicTime deadline_{};
  size_t index_ = kNotArmed;
};

}  // namespace brokkr::io
