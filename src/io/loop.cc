#include "io/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace brokkr::io {
namespace {

constexpr int kEventsMax = 512;
constexpr size_t kHeapArity = 4;
// Spinning is judged over this many tries; with fewer hits it pauses for `kSpinPause` waits.
constexpr uint32_t kSpinWindow = 16;
constexpr uint32_t kSpinHitsMin = 6;
constexpr uint32_t kSpinPause = 256;

uint32_t to_epoll(uint32_t interest) {
  return ((interest & kReadable) != 0 ? EPOLLIN | EPOLLRDHUP : 0U) |
         ((interest & kWritable) != 0 ? EPOLLOUT : 0U);
}

uint32_t from_epoll(uint32_t events) {
  uint32_t ready = 0;
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) ready |= kReadable;
  if ((events & EPOLLOUT) != 0) ready |= kWritable;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) ready |= kHangup;
  return ready;
}

int to_wait_ms(Duration wait) {
  if (wait <= Duration::zero()) return 0;
  // Rounded up, so that a timer is never polled for before it is due.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return static_cast<int>(std::min<int64_t>(ms, 60'000));
}

// Runs what other threads posted.
class PostedHandler final : public FdHandler {
 public:
  explicit PostedHandler(Mailbox<Callback<void()>>& mailbox) : mailbox_(mailbox) {}
  void on_ready(uint32_t) override {
    mailbox_.take_all([](Callback<void()> callback) { callback(); });
  }

 private:
  Mailbox<Callback<void()>>& mailbox_;
};

}  // namespace

Wakeup::Wakeup() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  CHECK(fd_ >= 0);
}

Wakeup::~Wakeup() {
  close(fd_);
}

void Wakeup::signal() {
  const uint64_t one = 1;
  // EAGAIN means the counter is full, so the reader is already being woken.
  [[maybe_unused]] const ssize_t n = write(fd_, &one, sizeof one);
}

void Wakeup::drain() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = read(fd_, &count, sizeof count);
}

Task::~Task() {
  if (loop_ != nullptr) loop_->cancel(*this);
}

Result<std::unique_ptr<Loop>> Loop::open(const Options& options, Clock& clock) {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return system_error("epoll_create1", errno);
  std::unique_ptr<Loop> loop(new Loop(options, clock, fd));
  loop->posted_handler_ = std::make_unique<PostedHandler>(loop->posted_);
  if (Status watched = loop->watch(loop->posted_.fd(), kReadable, *loop->posted_handler_); !watched) {
    return watched.error();
  }
  return loop;
}

Loop::Loop(const Options& options, Clock& clock, int epoll_fd)
    : options_(options), clock_(clock), epoll_fd_(epoll_fd), now_(clock.now()) {
  event_storage_.resize(sizeof(epoll_event) * kEventsMax);
  if (std::thread::hardware_concurrency() < 2) spin_allowed_ = false;
}

Loop::~Loop() {
  for (Task* task : tasks_) {
    if (task != nullptr) task->loop_ = nullptr;
  }
  for (Timer* timer : timers_) timer->index_ = Timer::kNotArmed;
  close(epoll_fd_);
}

bool Loop::is_here() const {
  const std::thread::id id = thread_.load(std::memory_order_relaxed);
  return id == std::thread::id() || id == std::this_thread::get_id();
}

void Loop::run() {
  while (!stopping_.load(std::memory_order_relaxed)) run_once(std::chrono::minutes(1));
}

void Loop::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  post([] {});
}

void Loop::run_once(Duration wait) {
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  const int count = wait_for_events(wait);
  now_ = clock_.now();
  dispatch(count);
  run_tasks();
  run_timers();
  run_phases();
}

int Loop::wait_for_events(Duration wait_max) {
  auto* events = reinterpret_cast<epoll_event*>(event_storage_.data());
  if (has_pending_work()) wait_max = Duration::zero();
  if (!timers_.empty()) wait_max = std::min(wait_max, timers_.front()->deadline_ - clock_.now());
  if (wait_max > Duration::zero() && spin_allowed_ && options_.spin_max > Duration::zero()) {
    if (const int count = spin(); count > 0) return count;
  }
  const int count = epoll_wait(epoll_fd_, events, kEventsMax, to_wait_ms(wait_max));
  return std::max(count, 0);  // EINTR: the turn goes on without events
}

int Loop::spin() {
  if (spin_pause_ > 0) {
    --spin_pause_;
    return 0;
  }
  auto* events = reinterpret_cast<epoll_event*>(event_storage_.data());
  const MonotonicTime end = clock_.now() + options_.spin_max;
  int count = 0;
  do {
    count = epoll_wait(epoll_fd_, events, kEventsMax, 0);
  } while (count == 0 && clock_.now() < end);
  ++spins_;
  if (count > 0) ++spin_hits_;
  if (spins_ == kSpinWindow) {
    if (spin_hits_ < kSpinHitsMin) spin_pause_ = kSpinPause;
    spins_ = spin_hits_ = 0;
  }
  return std::max(count, 0);
}

void Loop::dispatch(int count) {
  const auto* events = reinterpret_cast<const epoll_event*>(event_storage_.data());
  for (int i = 0; i < count; ++i) {
    const auto fd = static_cast<size_t>(events[i].data.u64 & 0xffffffffU);
    const auto generation = static_cast<uint32_t>(events[i].data.u64 >> 32);
    // An earlier handler of this turn may have unwatched this one, or reused its number.
    if (slots_[fd].handler == nullptr || slots_[fd].generation != generation) continue;
    slots_[fd].handler->on_ready(from_epoll(events[i].events));
  }
}

Status Loop::watch(int fd, uint32_t interest, FdHandler& handler) {
  check_here();
  const auto index = static_cast<size_t>(fd);
  if (index >= slots_.size()) slots_.resize(std::max(index + 1, slots_.size() * 2));
  Slot& slot = slots_[index];
  CHECK(slot.handler == nullptr);
  ++slot.generation;
  epoll_event event{};
  event.events = to_epoll(interest);
  event.data.u64 = (static_cast<uint64_t>(slot.generation) << 32) | index;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return system_error("epoll_ctl", errno);
  slot.handler = &handler;
  slot.interest = interest;
  return {};
}

void Loop::change(int fd, uint32_t interest) {
  Slot& slot = slots_[static_cast<size_t>(fd)];
  CHECK(slot.handler != nullptr);
  if (slot.interest == interest) return;
  slot.interest = interest;
  epoll_event event{};
  event.events = to_epoll(interest);
  event.data.u64 = (static_cast<uint64_t>(slot.generation) << 32) | static_cast<uint64_t>(fd);
  CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0);
}

void Loop::unwatch(int fd) {
  Slot& slot = slots_[static_cast<size_t>(fd)];
  CHECK(slot.handler != nullptr);
  slot.handler = nullptr;
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

void Loop::schedule(Task& task) {
  check_here();
  if (task.loop_ != nullptr) return;
  task.loop_ = this;
  task.index_ = tasks_.size();
  tasks_.push_back(&task);
}

void Loop::cancel(Task& task) {
  if (task.loop_ == nullptr) return;
  // A task is in one of the two lists; the other's slot holds something else or nothing.
  for (auto* list : {&tasks_, &running_tasks_}) {
    if (task.index_ < list->size() && (*list)[task.index_] == &task) (*list)[task.index_] = nullptr;
  }
  task.loop_ = nullptr;
}

void Loop::run_tasks() {
  running_tasks_.swap(tasks_);
  for (size_t i = 0; i < running_tasks_.size(); ++i) {
    Task* task = running_tasks_[i];
    if (task == nullptr) continue;
    running_tasks_[i] = nullptr;
    task->loop_ = nullptr;
    task->run();
  }
  running_tasks_.clear();
}

void Loop::add_hook(Phase phase, TurnHook& hook) {
  hooks_[static_cast<size_t>(phase)].push_back(&hook);
}

void Loop::remove_hook(TurnHook& hook) {
  for (auto& hooks : hooks_) std::erase(hooks, &hook);
}

void Loop::run_phases() {
  for (auto& hooks : hooks_) {
    for (size_t i = 0; i < hooks.size(); ++i) {
      if (hooks[i]->has_work()) hooks[i]->on_turn_end();
    }
  }
}

bool Loop::has_pending_work() const {
  if (!tasks_.empty()) return true;
  for (const auto& hooks : hooks_) {
    for (const TurnHook* hook : hooks) {
      if (hook->has_work()) return true;
    }
  }
  return false;
}

void Loop::post(Callback<void()> callback) {
  posted_.put(std::move(callback));
}

std::span<char> Loop::receive_buffer(size_t prefix_bytes) {
  const size_t wanted = prefix_bytes + options_.receive_buffer_bytes;
  if (receive_buffer_.size() < wanted) receive_buffer_.resize(wanted);
  return receive_buffer_;
}

void Loop::run_timers() {
  // Timers armed by a callback with a deadline already past wait for the next turn.
  const MonotonicTime now = now_;
  while (!timers_.empty() && timers_.front()->deadline_ <= now) {
    Timer& timer = *timers_.front();
    erase_timer(timer);
    // The callback may destroy the timer, so it runs from here and goes back only if it lives.
    Callback<void()> callback = std::move(timer.callback_);
    running_timer_ = &timer;
    callback();
    if (running_timer_ == &timer) timer.callback_ = std::move(callback);
    running_timer_ = nullptr;
  }
}

void Loop::place(size_t index, Timer* timer) {
  timers_[index] = timer;
  timer->index_ = index;
}

void Loop::sift_up(size_t index) {
  Timer* timer = timers_[index];
  while (index > 0) {
    const size_t parent = (index - 1) / kHeapArity;
    if (timers_[parent]->deadline_ <= timer->deadline_) break;
    place(index, timers_[parent]);
    index = parent;
  }
  place(index, timer);
}

void Loop::sift_down(size_t index) {
  Timer* timer = timers_[index];
  for (;;) {
    const size_t first = index * kHeapArity + 1;
    if (first >= timers_.size()) break;
    const size_t last = std::min(first + kHeapArity, timers_.size());
    size_t least = first;
    for (size_t child = first + 1; child < last; ++child) {
      if (timers_[child]->deadline_ < timers_[least]->deadline_) least = child;
    }
    if (timers_[least]->deadline_ >= timer->deadline_) break;
    place(index, timers_[least]);
    index = least;
  }
  place(index, timer);
}

void Loop::insert_timer(Timer& timer) {
  timers_.push_back(&timer);
  sift_up(timers_.size() - 1);
}

void Loop::erase_timer(Timer& timer) {
  const size_t index = timer.index_;
  Timer* last = timers_.back();
  timers_.pop_back();
  timer.index_ = Timer::kNotArmed;
  if (last == &timer) return;
  place(index, last);
  sift_up(index);
  sift_down(last->index_);
}

Timer::~Timer() {
  stop();
  if (loop_.running_timer_ == this) loop_.running_timer_ = nullptr;
}

void Timer::start_at(MonotonicTime deadline) {
  loop_.check_here();
  if (is_armed()) loop_.erase_timer(*this);
  deadline_ = deadline;
  loop_.insert_timer(*this);
}

void Timer::stop() {
  if (is_armed()) loop_.erase_timer(*this);
}

}  // namespace brokkr::io
