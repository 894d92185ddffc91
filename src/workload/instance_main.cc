#include "workload/instance_main.h"

#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "workload/instance_protocol.h"
#include "workload/log_limiter.h"
#include "workload/watchdog.h"
#include "workload/zygote_protocol.h"

namespace brokkr::workload {
namespace {

using std::chrono::microseconds;

// Reads start small, as an idle instance's memory counts, and grow while they are filled.
constexpr size_t kFrameReadBytesMin = 4U << 10;
constexpr size_t kFrameReadBytesMax = 64U << 10;
constexpr size_t kFlushBytes = 64U << 10;
// An outcome waits at most this long for company.
constexpr auto kFlushAfter = microseconds(100);
// How long to look for the next message before sleeping, while looking has paid off.
constexpr auto kSpin = microseconds(25);
constexpr int kSpinTriesMax = 64;
constexpr size_t kLogLineBytesMax = 16U << 10;
constexpr uint64_t kOwnLogBytesPerSecondMax = 1U << 20;
constexpr auto kTrimAfterIdle = std::chrono::seconds(2);
constexpr int64_t kTrimPagesMin = 1024;  // 4 MiB
constexpr uint16_t kNoDeadlineCode = 408;

bool has_one_cpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2;
}

// The descriptor: frames in, frames out, each direction in batches. Ends the process when the node
// has closed its end: nobody is left to answer.
class Channel {
 public:
  bool next(Frame& frame) {
    if (!in_.next(frame)) {
      if (in_.is_corrupt()) _exit(1);
      return false;
    }
    return true;
  }
  std::string& out() { return out_; }
  // For times without traffic.
  void trim() {
    read_bytes_ = kFrameReadBytesMin;
    in_.shrink();
    out_ = {};
  }
  FrameBuffer& in() { return in_; }

  void flush() {
    size_t sent = 0;
    while (sent < out_.size()) {
      const ssize_t n = write(kInstanceDescriptor, out_.data() + sent, out_.size() - sent);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) _exit(0);
      sent += static_cast<size_t>(n);
    }
    out_.clear();
    if (out_.capacity() > kFlushBytes * 4) out_.shrink_to_fit();
  }

  // Reads what has come, waiting for it until `deadline`. False when nothing came.
  bool read_more(FrameBuffer& into, MonotonicTime deadline) {
    if (try_read(into)) return true;
    if (is_spin_allowed_ && spin(into)) return true;
    if (!wait(deadline)) return false;
    return try_read(into);
  }

 private:
  bool try_read(FrameBuffer& into) {
    char* bytes = into.prepare(read_bytes_);
    for (;;) {
      const ssize_t n = recv(kInstanceDescriptor, bytes, into.room(), MSG_DONTWAIT);
      if (n > 0) {
        if (static_cast<size_t>(n) >= read_bytes_) {
          read_bytes_ = std::min(read_bytes_ * 2, kFrameReadBytesMax);
        }
        into.commit(static_cast<size_t>(n));
        return true;
      }
      if (n == 0) _exit(0);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) _exit(0);
      return false;
    }
  }

  bool spin(FrameBuffer& into) {
    if (spin_credit_ <= 0) {
      // Asleep for a while; one in so many waits tries again whether traffic has become dense.
      if (++waits_ % kSpinTriesMax != 0) return false;
      spin_credit_ = 2;
    }
    const MonotonicTime end = clock_.now() + kSpin;
    do {
      if (try_read(into)) {
        spin_credit_ = std::min(spin_credit_ + 1, 16);
        return true;
      }
    } while (clock_.now() < end);
    spin_credit_ -= 2;
    return false;
  }

  bool wait(MonotonicTime deadline) {
    pollfd waited{kInstanceDescriptor, POLLIN, 0};
    for (;;) {
      timespec limit{};
      timespec* limit_pointer = nullptr;
      if (deadline != MonotonicTime::max()) {
        const Duration left = std::max(deadline - clock_.now(), Duration::zero());
        limit.tv_sec = static_cast<time_t>(left.count() / 1'000'000'000);
        limit.tv_nsec = static_cast<long>(left.count() % 1'000'000'000);
        limit_pointer = &limit;
      }
      const int ready = ppoll(&waited, 1, limit_pointer, nullptr);
      if (ready >= 0 || errno != EINTR) return ready > 0;
    }
  }

  SystemClock clock_;
  FrameBuffer in_;
  size_t read_bytes_ = kFrameReadBytesMin;
  std::string out_;
  const bool is_spin_allowed_ = !has_one_cpu();
  int spin_credit_ = 0;
  uint32_t waits_ = 0;
};

class InstanceProcess final : public runtime::Host, public runtime::OutcomeSink {
 public:
  explicit InstanceProcess(runtime::Engine& engine) : engine_(engine) {}

  Watchdog& watchdog() { return watchdog_; }

  int run() {
    for (;;) {
      Frame frame;
      while (take_frame(frame)) {
        handle(frame);
        flush_if_due();
      }
      run_due_work();
      channel_.flush();
      const MonotonicTime until = next_wake_up();
      if (!channel_.read_more(channel_.in(), until) && is_trim_due()) trim();
    }
  }

  void log(runtime::LogStream stream, std::string_view text) override {
    const MonotonicTime now = clock_.now();
    if (const uint64_t dropped = log_limit_.take_dropped(now); dropped != 0) {
      write_log(runtime::LogStream::Stderr,
                "[" + std::to_string(dropped) + " log lines dropped: over the rate limit]");
    }
    text = text.substr(0, kLogLineBytesMax);
    if (!log_limit_.admit(now, text.size())) return;
    write_log(stream, text);
    flush_if_due();
  }

  runtime::HostReply call(const runtime::HostCall& request) override {
    const uint64_t id = write_call(request);
    channel_.flush();
    // Frames that come meanwhile keep their order and wait for the code that runs now.
    nested_.append(channel_.in().take_rest());
    const MonotonicTime deadline = stretch_deadline();
    for (;;) {
      Frame frame;
      while (nested_.next(frame)) {
        if (frame.type == FrameType::HostReply && frame.id == id) return read_reply(frame);
        defer(frame);
      }
      if (nested_.is_corrupt()) _exit(1);
      if (clock_.now() >= deadline) return {kNoDeadlineCode, "timed out", {}, {}, {}};
      channel_.read_more(nested_, deadline);
    }
  }

  uint64_t start_call(const runtime::HostCall& request) override { return write_call(request); }

  void on_outcome(uint64_t id, runtime::Outcome&& outcome) override {
    if (id == current_) current_ = 0;
    std::erase_if(pending_, [id](const Pending& p) { return p.id == id; });
    write_outcome(id, outcome);
    // After this code the process may end at any moment.
    if (outcome.code == runtime::OutcomeCode::OutOfMemory) channel_.flush();
  }

 private:
  struct Pending {
    uint64_t id;
    MonotonicTime deadline;
  };

  // The next frame to handle: those set aside first, then what a host call has read, then the rest.
  bool take_frame(Frame& frame) {
    if (!deferred_.empty()) {
      set_aside_.append(deferred_.front());
      deferred_.pop_front();
      return set_aside_.next(frame);
    }
    if (!nested_.is_empty()) channel_.in().append(nested_.take_rest());
    return channel_.next(frame);
  }

  void defer(const Frame& frame) {
    std::string& bytes = deferred_.emplace_back();
    FrameWriter writer(bytes, frame.type, frame.id, frame.code, frame.flags);
    bytes.append(frame.body);
    writer.finish();
  }

  void handle(const Frame& frame) {
    switch (frame.type) {
      case FrameType::Load: return load(frame);
      case FrameType::Invoke: return invoke(frame);
      case FrameType::HostReply: return complete(frame);
      case FrameType::Trim: return trim();
      default: _exit(1);
    }
  }

  void load(const Frame& frame) {
    FieldReader in(frame.body);
    spec_.kind = static_cast<runtime::FunctionKind>(frame.code);
    spec_.limits.wall_time = Duration(static_cast<int64_t>(in.number()));
    spec_.limits.heap_bytes_max = in.number();
    spec_.limits.reply_bytes_max = in.number();
    log_limit_ = LogLimiter(in.number(), kOwnLogBytesPerSecondMax);
    spec_.name = in.text();
    spec_.file_name = in.text();
    spec_.artifact = in.text();
    const uint64_t pairs = in.number();
    for (uint64_t i = 0; i < pairs && in.is_ok(); ++i) {
      const std::string_view key = in.text();
      spec_.environment.emplace_back(key, in.text());
    }
    if (!in.is_ok()) _exit(1);
    Result<std::unique_ptr<runtime::Function>> loaded = engine_.load(spec_, *this, clock_);
    if (!loaded) {
      FrameWriter(channel_.out(), FrameType::LoadFailed).text(loaded.error().text).finish();
      channel_.flush();
      _exit(0);
    }
    function_ = std::move(*loaded);
    spec_.artifact = {};
    watchdog_.watch(*function_);
    FrameWriter(channel_.out(), FrameType::Loaded).text(engine_.version()).finish();
  }

  void invoke(const Frame& frame) {
    FieldReader in(frame.body);
    const MonotonicTime received{Duration(static_cast<int64_t>(in.number()))};
    runtime::Invocation invocation;
    invocation.id = frame.id;
    invocation.subject = in.text();
    invocation.reply = in.text();
    invocation.headers = in.text();
    invocation.payload = in.text();
    if (!in.is_ok() || function_ == nullptr) _exit(1);
    const MonotonicTime now = clock_.now();
    if (now - received > spec_.limits.wall_time) {
      runtime::Outcome outcome;
      outcome.code = runtime::OutcomeCode::NoCapacity;
      outcome.error = "no capacity: waited " + format_go_duration(now - received);
      return write_outcome(frame.id, outcome);
    }
    const MonotonicTime deadline = now + spec_.limits.wall_time;
    current_ = frame.id;
    current_deadline_ = deadline;
    last_call_ = now;
    watchdog_.set_deadline(stretch_deadline());
    function_->invoke(invocation, *this);
    watchdog_.set_deadline(MonotonicTime::max());
    if (current_ != 0) pending_.push_back({current_, deadline});
    current_ = 0;
  }

  void complete(const Frame& frame) {
    if (function_ == nullptr) _exit(1);
    watchdog_.set_deadline(stretch_deadline());
    function_->complete_call(frame.id, read_reply(frame));
    watchdog_.set_deadline(MonotonicTime::max());
  }

  void run_due_work() {
    if (function_ == nullptr) return;
    MonotonicTime now = clock_.now();
    if (function_->next_due() <= now) {
      watchdog_.set_deadline(stretch_deadline());
      function_->run_due_work();
      watchdog_.set_deadline(MonotonicTime::max());
      now = clock_.now();
    }
    // The order of deadlines is the order of calls.
    while (!pending_.empty() && pending_.front().deadline <= now) {
      const uint64_t id = pending_.front().id;
      pending_.erase(pending_.begin());
      function_->abandon(id);
    }
  }

  // Until when code may run without coming back: the first deadline of any call it holds up.
  MonotonicTime stretch_deadline() const {
    MonotonicTime deadline = current_ != 0 ? current_deadline_ : MonotonicTime::max();
    if (!pending_.empty()) deadline = std::min(deadline, pending_.front().deadline);
    if (deadline == MonotonicTime::max()) deadline = clock_.now() + spec_.limits.wall_time;
    return deadline;
  }

  MonotonicTime next_wake_up() const {
    MonotonicTime next = MonotonicTime::max();
    if (function_ != nullptr) next = function_->next_due();
    if (!pending_.empty()) next = std::min(next, pending_.front().deadline);
    if (last_call_ != MonotonicTime()) next = std::min(next, last_call_ + kTrimAfterIdle);
    return next;
  }

  bool is_trim_due() const {
    return last_call_ != MonotonicTime() && clock_.now() - last_call_ >= kTrimAfterIdle;
  }

  // Collecting garbage touches the whole heap and so takes copies of pages shared with the zygote:
  // it pays only when the process has taken far more pages than that since the last time.
  void trim() {
    last_call_ = {};
    channel_.trim();
    nested_.shrink();
    const int64_t pages = pages_taken();
    if (function_ == nullptr || pages - pages_at_trim_ < kTrimPagesMin) return;
    function_->trim();
    pages_at_trim_ = pages_taken();
  }

  static int64_t pages_taken() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
  }

  uint64_t write_call(const runtime::HostCall& request) {
    const uint64_t id = ++calls_;
    // Where the engine cannot tell: the call that runs, or the only one there is.
    uint64_t invocation = request.invocation != 0 ? request.invocation : current_;
    if (invocation == 0 && pending_.size() == 1) invocation = pending_.front().id;
    FrameWriter(channel_.out(), FrameType::HostCall, id)
        .number(static_cast<uint64_t>(request.timeout_ms))
        .number(request.replies_max)
        .text(request.service).text(request.method).text(request.target).text(request.key)
        .text(request.headers).text(request.payload)
        .number(invocation)
        .finish();
    return id;
  }

  static runtime::HostReply read_reply(const Frame& frame) {
    FieldReader in(frame.body);
    runtime::HostReply reply;
    reply.code = frame.code;
    reply.error = in.text();
    reply.headers = in.text();
    reply.payload = in.text();
    reply.more = in.text();
    return reply;
  }

  void write_outcome(uint64_t id, const runtime::Outcome& outcome) {
    FrameWriter(channel_.out(), FrameType::Outcome, id, static_cast<uint16_t>(outcome.code),
                outcome.has_reply ? kHasReply : uint8_t{0})
        .text(outcome.payload).text(outcome.headers).text(outcome.error).text(outcome.stack)
        .finish();
  }

  void write_log(runtime::LogStream stream, std::string_view text) {
    FrameWriter(channel_.out(), FrameType::Log, 0, static_cast<uint16_t>(stream))
        .text(text)
        .finish();
  }

  void flush_if_due() {
    if (channel_.out().empty()) {
      oldest_unsent_ = {};
      return;
    }
    const MonotonicTime now = clock_.now();
    if (oldest_unsent_ == MonotonicTime()) oldest_unsent_ = now;
    if (channel_.out().size() < kFlushBytes && now - oldest_unsent_ < kFlushAfter) return;
    channel_.flush();
    oldest_unsent_ = {};
  }

  runtime::Engine& engine_;
  SystemClock clock_;
  Channel channel_;
  Watchdog watchdog_;
  LogLimiter log_limit_{1000, kOwnLogBytesPerSecondMax};
  runtime::FunctionSpec spec_;
  std::unique_ptr<runtime::Function> function_;
  FrameBuffer nested_;                // what a synchronous host call has read beyond its reply
  FrameBuffer set_aside_;             // the deferred frame being handled
  std::deque<std::string> deferred_;  // whole frames read by synchronous host calls
  uint64_t current_ = 0;              // the call whose first stretch runs now
  MonotonicTime current_deadline_{};
  std::vector<Pending> pending_;      // asynchronous calls without an outcome, oldest first
  uint64_t calls_ = 0;
  MonotonicTime oldest_unsent_{};
  MonotonicTime last_call_{};         // zero once trimmed
  int64_t pages_at_trim_ = 0;
};

}  // namespace

int instance_main(runtime::Engine& engine, const sandbox::Filters* filters) {
  // Never destroyed: the watchdog thread refers to it until the process has gone.
  static auto* process = new InstanceProcess(engine);
  if (!process->watchdog().start()) return 1;
  if (filters != nullptr && !filters->apply_instance()) return 1;
  return process->run();
}

}  // namespace brokkr::workload
