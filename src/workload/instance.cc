#include "workload/instance.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

namespace brokkr::workload {
namespace {

constexpr size_t kReadBytes = 64U << 10;
constexpr size_t kOutKeptBytes = 256U << 10;
constexpr int kReadsPerTurn = 16;
// How long the report of a process's end may lag behind the end of its socket.
constexpr auto kExitReportLag = std::chrono::milliseconds(500);
constexpr uint32_t kInstancePidsMax = 4;
constexpr auto kMemoryCheckEvery = std::chrono::milliseconds(100);
// What frames may carry besides reply or host-call payload.
constexpr size_t kFrameOverheadBytes = 1U << 20;
constexpr size_t kUntakenBytesMax = 128U << 20;

CallResult failure(runtime::OutcomeCode code, const std::string& reason) {
  CallResult result;
  result.code = code;
  result.error = reason;
  return result;
}

}  // namespace

InstanceFlusher::InstanceFlusher(io::Loop& loop) : loop_(loop) {
  loop_.add_hook(io::Phase::Send, *this);
}

InstanceFlusher::~InstanceFlusher() { loop_.remove_hook(*this); }

void InstanceFlusher::add(Instance& instance) { dirty_.push_back(&instance); }

void InstanceFlusher::remove(Instance& instance) {
  std::erase(dirty_, &instance);
  std::replace(flushing_.begin(), flushing_.end(), &instance, static_cast<Instance*>(nullptr));
}

void InstanceFlusher::on_turn_end() {
  flushing_.swap(dirty_);
  for (size_t i = 0; i < flushing_.size(); ++i) {
    if (Instance* instance = flushing_[i]; instance != nullptr) instance->flush();
  }
  flushing_.clear();
}

Instance::Instance(const Deps& deps, const Options& options, InstanceOwner& owner)
    : deps_(deps), options_(options), owner_(owner),
      body_bytes_max_(std::max<size_t>(options.spec.limits.reply_bytes_max, runtime::kHostCallBytesMax) +
                      kFrameOverheadBytes),
      in_(body_bytes_max_),
      deadline_(deps.loop, [this] { on_deadline(); }),
      memory_check_(deps.loop, [this] { check_memory(); }) {
  progress_ = deps_.loop.clock().now();
  deadline_.start(options_.start_limit);
  open_process();
}

Instance::~Instance() {
  if (process_.number != 0) deps_.zygote.forget(process_.number);
  if (is_dirty_) deps_.flusher.remove(*this);
  close_socket();
  if (process_.pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, process_.pidfd, SIGKILL, nullptr, 0);
    close(process_.pidfd);
  }
}

sandbox::CgroupLimits Instance::cgroup_limits() const {
  return {options_.memory_bytes_max, kInstancePidsMax, options_.cpu_millis};
}

void Instance::open_process() {
  const bool is_forked =
      deps_.spare != nullptr && deps_.spare->take(process_, *this, cgroup_limits());
  Status opened;
  if (!is_forked) opened = process_.fork(deps_.zygote, *this);
  if (opened) opened = deps_.loop.watch(process_.socket, io::kReadable, *this);
  if (!opened) {
    kill_reason_ = opened.error().text;
    deadline_.start(Duration::zero());
  } else if (is_forked) {
    send_load();
  }
}

void Instance::on_forked(int pidfd) {
  if (state_ == State::Dead || !kill_reason_.empty()) {
    process_.pidfd = pidfd;
    if (pidfd >= 0) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
    return;
  }
  // The process waits for its Load frame, so it runs nothing before it is in its group.
  process_.settle(pidfd, deps_.cgroups, cgroup_limits());
  send_load();
}

void Instance::send_load() {
  const runtime::FunctionSpec& spec = options_.spec;
  FrameWriter load(out_, FrameType::Load, 0, static_cast<uint16_t>(spec.kind));
  load.number(static_cast<uint64_t>(spec.limits.wall_time.count()));
  load.number(spec.limits.heap_bytes_max).number(spec.limits.reply_bytes_max);
  load.number(options_.log_lines_per_second);
  load.text(spec.name).text(spec.file_name).text(spec.artifact);
  load.number(spec.environment.size());
  for (const auto& [key, value] : spec.environment) load.text(key).text(value);
  load.finish();
  mark_dirty();
}

void Instance::call(std::string_view subject, std::string_view reply, std::string_view headers,
                    std::string_view payload, MonotonicTime received, MonotonicTime waits_since,
                    CallFacts facts) {
  DCHECK(has_room());
  uint32_t slot = 0;
  if (free_.empty()) {
    slot = static_cast<uint32_t>(calls_.size());
    calls_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Call& call = calls_[slot];
  call.id = (uint64_t{++generation_} << 32) | slot;
  if (generation_ == 0) call.id = (uint64_t{++generation_} << 32) | slot;
  call.reply = reply;
  call.received = received;
  call.sent = deps_.loop.now();
  call.facts = std::move(facts);
  FrameWriter(out_, FrameType::Invoke, call.id)
      .number(static_cast<uint64_t>(waits_since.time_since_epoch().count()))
      .text(subject).text(reply).text(headers).text(payload)
      .finish();
  if (in_flight_++ == 0) {
    progress_ = call.sent;
    if (!deadline_.is_armed()) deadline_.start(options_.spec.limits.wall_time + options_.grace);
    // With a control group the kernel watches.
    if (process_.cgroup == nullptr && options_.memory_bytes_max != 0 && !memory_check_.is_armed()) {
      memory_check_.start(kMemoryCheckEvery);
    }
  }
  mark_dirty();
}

void Instance::reply_to_host_call(uint64_t id, const runtime::HostReply& reply) {
  owner_.on_host_reply(*this, id, reply.code);
  if (process_.socket < 0) return;
  FrameWriter(out_, FrameType::HostReply, id, reply.code)
      .text(reply.error).text(reply.headers).text(reply.payload).text(reply.more)
      .finish();
  if (pending_bytes() > kUntakenBytesMax) {
    return kill(runtime::OutcomeCode::Crashed, "it does not take the answers to its host calls");
  }
  mark_dirty();
}

bool Instance::has_reply_subject(std::string_view subject) const {
  return std::any_of(calls_.begin(), calls_.end(),
                     [subject](const Call& call) { return call.id != 0 && call.reply == subject; });
}

void Instance::mark_dirty() {
  if (is_dirty_ || wants_writable_) return;
  is_dirty_ = true;
  deps_.flusher.add(*this);
}

void Instance::flush() {
  is_dirty_ = false;
  while (process_.socket >= 0 && out_sent_ < out_.size()) {
    const ssize_t n =
        send(process_.socket, out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      // A broken pipe is told by the end of the stream.
      wants_writable_ = errno == EAGAIN;
      if (out_sent_ > out_.size() / 2) {
        out_.erase(0, out_sent_);
        out_sent_ = 0;
      }
      if (wants_writable_) deps_.loop.change(process_.socket, io::kReadable | io::kWritable);
      return;
    }
    out_sent_ += static_cast<size_t>(n);
  }
  out_.clear();
  out_sent_ = 0;
  if (out_.capacity() > kOutKeptBytes) out_.shrink_to_fit();
  if (wants_writable_ && process_.socket >= 0) {
    wants_writable_ = false;
    deps_.loop.change(process_.socket, io::kReadable);
  }
}

void Instance::on_ready(uint32_t ready) {
  if ((ready & io::kWritable) != 0) flush();
  if ((ready & (io::kReadable | io::kHangup)) == 0) return;
  for (int i = 0; i < kReadsPerTurn && process_.socket >= 0; ++i) {
    if (!read_frames()) return;
  }
}

// False when there is nothing more to read for now. Whole frames are handled where they were received,
// in the loop's buffer; only the piece of one is kept here.
bool Instance::read_frames() {
  const std::span<char> shared = deps_.loop.receive_buffer(0);
  const bool is_direct = in_.is_empty();
  char* into = is_direct ? shared.data() : in_.prepare(kReadBytes);
  const size_t room = is_direct ? shared.size() : in_.room();
  const ssize_t n = recv(process_.socket, into, room, 0);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return errno == EINTR;
  if (n <= 0) {
    close_socket();
    // The zygote's report says how it ended; it is on its way.
    deadline_.start(kExitReportLag);
    return false;
  }
  Frame frame;
  FrameParse parsed = FrameParse::Partial;
  if (is_direct) {
    std::string_view rest(into, static_cast<size_t>(n));
    while ((parsed = take_frame(rest, frame, body_bytes_max_)) == FrameParse::Whole) handle(frame);
    in_.append(rest);
  } else {
    in_.commit(static_cast<size_t>(n));
    while (in_.next(frame)) handle(frame);
    if (in_.is_corrupt()) parsed = FrameParse::Corrupt;
    in_.shrink();
  }
  if (parsed == FrameParse::Corrupt) {
    kill(runtime::OutcomeCode::Crashed, "its process broke the protocol");
    return false;
  }
  return static_cast<size_t>(n) == room;
}

void Instance::handle(const Frame& frame) {
  FieldReader in(frame.body);
  switch (frame.type) {
    case FrameType::Loaded: {
      if (state_ != State::Starting) return;
      engine_version_ = in.text();
      state_ = State::Ready;
      deadline_.stop();
      return owner_.on_ready(*this);
    }
    case FrameType::LoadFailed: {
      if (state_ != State::Starting) return;
      return owner_.on_load_failed(*this, std::string(in.text()));
    }
    case FrameType::Outcome: {
      const auto slot = static_cast<uint32_t>(frame.id);
      if (slot >= calls_.size() || frame.id == 0 || calls_[slot].id != frame.id) return;
      CallResult result;
      result.code = static_cast<runtime::OutcomeCode>(frame.code);
      result.has_reply = (frame.flags & kHasReply) != 0;
      result.payload = in.text();
      result.headers = in.text();
      result.error = in.text();
      result.stack = in.text();
      if (!in.is_ok()) return;
      progress_ = deps_.loop.now();
      if (result.code == runtime::OutcomeCode::OutOfMemory) {
        // The heap is all calls' heap: who filled it is not known, and the others hear of it one by one.
        has_lost_heap_ = has_lost_heap_ || in_flight_ > 1;
        result.is_shared_fate = has_lost_heap_;
      }
      return finish(calls_[slot], result);
    }
    case FrameType::HostCall: {
      HostCallRequest request;
      request.id = frame.id;
      request.call.timeout_ms = static_cast<int64_t>(in.number());
      request.call.replies_max = static_cast<uint32_t>(in.number());
      request.call.service = in.text();
      request.call.method = in.text();
      request.call.target = in.text();
      request.call.key = in.text();
      request.call.headers = in.text();
      request.call.payload = in.text();
      request.call.invocation = in.number();
      if (in.is_ok()) owner_.on_host_call(*this, request);
      return;
    }
    case FrameType::Log: {
      const auto stream = frame.code == 0 ? runtime::LogStream::Stdout : runtime::LogStream::Stderr;
      const std::string_view text = in.text();
      if (in.is_ok()) owner_.on_log(*this, stream, text);
      return;
    }
    default: return;
  }
}

void Instance::finish(Call& call, const CallResult& result) {
  const auto slot = static_cast<uint32_t>(call.id);
  call.id = 0;
  --in_flight_;
  // The owner may hand over the next call from within, so the slot is freed after.
  const Call ended = std::move(calls_[slot]);
  owner_.on_result(*this, ended, result);
  free_.push_back(slot);
  if (state_ == State::Draining && in_flight_ == 0) kill(runtime::OutcomeCode::Crashed, "stopped");
}

void Instance::drain() {
  if (state_ == State::Dead || state_ == State::Draining) return;
  state_ = State::Draining;
  if (in_flight_ == 0) kill(runtime::OutcomeCode::Crashed, "stopped");
}

void Instance::kill(runtime::OutcomeCode code, std::string reason) {
  if (state_ == State::Dead || !kill_reason_.empty()) return;
  kill_code_ = code;
  kill_reason_ = std::move(reason);
  if (process_.pidfd >= 0) syscall(SYS_pidfd_send_signal, process_.pidfd, SIGKILL, nullptr, 0);
  // Nothing of what it still says counts; its callers need not wait for the report of its end.
  close_socket();
  deadline_.start(Duration::zero());
}

void Instance::on_deadline() {
  if (process_.socket < 0 || !kill_reason_.empty()) {
    const bool is_reported = !kill_reason_.empty();
    return become_dead(kill_code_, is_reported ? kill_reason_ : "its process ended");
  }
  if (state_ == State::Starting) {
    return kill(runtime::OutcomeCode::TimedOut,
                "it did not load within " + format_go_duration(options_.start_limit));
  }
  if (in_flight_ == 0) return;
  const Duration allowed = options_.spec.limits.wall_time + options_.grace;
  const MonotonicTime now = deps_.loop.clock().now();
  bool is_late = now >= progress_ + allowed;
  for (const Call& call : calls_) {
    // A call may wait its own time in line before it runs; no call may take longer than both.
    is_late = is_late || (call.id != 0 && now >= call.sent + 2 * allowed);
  }
  if (!is_late) return deadline_.start_at(std::max(progress_ + allowed, now + options_.grace));
  kill(runtime::OutcomeCode::TimedOut,
       "timed out: no answer within " + format_go_duration(options_.spec.limits.wall_time) +
           ", its process was stopped");
}

void Instance::on_fork_failed(const std::string& reason) {
  process_.number = 0;
  become_dead(runtime::OutcomeCode::Crashed, kill_reason_.empty() ? reason : kill_reason_);
}

void Instance::on_exited(const io::ExitStatus& status) {
  process_.number = 0;
  // What it said before it ended still counts.
  if (process_.socket >= 0 && kill_reason_.empty()) on_ready(io::kReadable);
  if (state_ == State::Dead) return;
  if (!kill_reason_.empty()) return become_dead(kill_code_, kill_reason_);
  const bool is_oom_exit = !status.is_signalled && status.value == runtime::kOutOfMemoryExitStatus;
  const bool is_oom_kill = process_.cgroup != nullptr && process_.cgroup->had_memory_kill();
  if (is_oom_exit || is_oom_kill) {
    return become_dead(runtime::OutcomeCode::OutOfMemory, "out of memory: its process was stopped");
  }
  std::string reason = "its process ended: " + status.text();
  if (status.is_signalled && status.value == SIGSYS) reason += ", a call the sandbox forbids";
  become_dead(runtime::OutcomeCode::Crashed, reason);
}

void Instance::become_dead(runtime::OutcomeCode code, const std::string& reason) {
  if (state_ == State::Dead) return;
  state_ = State::Dead;
  deadline_.stop();
  close_socket();
  if (process_.pidfd >= 0) syscall(SYS_pidfd_send_signal, process_.pidfd, SIGKILL, nullptr, 0);
  CallResult result = failure(code, reason);
  result.is_shared_fate = in_flight_ > 1;
  for (size_t i = 0; i < calls_.size(); ++i) {
    if (calls_[i].id != 0) finish(calls_[i], result);
  }
  owner_.on_dead(*this, reason);
}

void Instance::close_socket() {
  if (process_.socket < 0) return;
  deps_.loop.unwatch(process_.socket);
  close(process_.socket);
  process_.socket = -1;
}

const Call* Instance::find_call(uint64_t id) const {
  const auto slot = static_cast<uint32_t>(id);
  return id != 0 && slot < calls_.size() && calls_[slot].id == id ? &calls_[slot] : nullptr;
}

uint8_t Instance::hops_max() const {
  uint8_t most = 0;
  for (const Call& call : calls_) {
    if (call.id != 0) most = std::max(most, call.facts.hops);
  }
  return most;
}

Duration Instance::cpu_time() {
  clockid_t clock = 0;
  timespec spent{};
  if (process_.pid != 0 && state_ != State::Dead && clock_getcpuclockid(process_.pid, &clock) == 0 &&
      clock_gettime(clock, &spent) == 0) {
    cpu_time_ = std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
  }
  return cpu_time_;
}

uint64_t Instance::memory_bytes() const {
  if (process_.pid == 0 || state_ == State::Dead) return 0;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/statm", process_.pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[128] = {};
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  if (n <= 0 || std::sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3) return 0;
  return (resident - std::min(resident, shared)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void Instance::check_memory() {
  if (in_flight_ == 0 || state_ == State::Dead) return;
  memory_check_.start(kMemoryCheckEvery);
  const uint64_t used = memory_bytes();
  if (used <= options_.memory_bytes_max) return;
  kill(runtime::OutcomeCode::OutOfMemory,
       "out of memory: its process took " + std::to_string(used >> 20) + " MiB and was stopped");
}

}  // namespace brokkr::workload
