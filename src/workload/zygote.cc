#include "workload/zygote.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "workload/zygote_main.h"
#include "workload/zygote_protocol.h"

namespace brokkr::workload {
namespace {

constexpr auto kPauseMin = std::chrono::milliseconds(50);
constexpr auto kPauseMax = std::chrono::seconds(5);
// A zygote that has lived so long has proved itself: the next pause starts small again.
constexpr auto kZygoteHealthyAfter = std::chrono::seconds(10);
// The stack an engine's deepest spread call needs; the hard limit is left as it is.
constexpr uint64_t kStackBytes = 64U << 20;
constexpr int kReportsPerTurn = 64;

}  // namespace

// The node's end of the control socket.
class Zygote::Control final : public io::FdHandler {
 public:
  Control(Zygote& zygote, int fd) : zygote_(zygote), fd_(fd) {}
  ~Control() override {
    if (is_watched_) zygote_.loop_.unwatch(fd_);
    close(fd_);
  }
  Status watch() {
    Status status = zygote_.loop_.watch(fd_, io::kReadable, *this);
    is_watched_ = status.operator bool();
    return status;
  }
  int fd() const { return fd_; }
  void want_writable(bool wanted) {
    zygote_.loop_.change(fd_, wanted ? io::kReadable | io::kWritable : uint32_t{io::kReadable});
  }
  void on_ready(uint32_t ready) override {
    if ((ready & io::kWritable) != 0) zygote_.send_waiting();
    if ((ready & (io::kReadable | io::kHangup)) != 0) zygote_.on_control();
  }

 private:
  Zygote& zygote_;
  const int fd_;
  bool is_watched_ = false;
};

Zygote::Zygote(io::Loop& loop, Log& log, Options options, std::string ns)
    : loop_(loop), log_(log), options_(std::move(options)), ns_(std::move(ns)),
      restart_(loop, [this] { start(); }) {}

Zygote::~Zygote() {
  for (const Waiting& waiting : waiting_) close(waiting.descriptor);
}

uint32_t Zygote::fork(int descriptor, ForkedChild& child) {
  const uint32_t number = next_number_++;
  children_[number] = &child;
  waiting_.push_back({number, descriptor});
  if (process_ != nullptr) {
    send_waiting();
  } else if (!restart_.is_armed()) {
    restart_.start(restart_pause_);
  }
  return number;
}

void Zygote::forget(uint32_t number) {
  children_.erase(number);
  // One that has not been asked for yet never is.
  std::erase_if(waiting_, [number](const Waiting& waiting) {
    if (waiting.number == number) close(waiting.descriptor);
    return waiting.number == number;
  });
}

void Zygote::hand_over(uint32_t number, ForkedChild& child) {
  if (const auto found = children_.find(number); found != children_.end()) found->second = &child;
}

void Zygote::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return on_ended(system_error("socketpair", errno).text);
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  io::SpawnOptions spawn;
  spawn.path = options_.executable;
  spawn.arguments = {"brokkr", kZygoteRole, "--engine=" + options_.engine_path,
                     options_.is_warm ? "--mode=warm" : "--mode=cold",
                     std::string("--sandbox=") + sandbox::to_string(options_.policy),
                     "--namespace=" + ns_};
  if (const char* zone = getenv("TZ"); zone != nullptr) {
    spawn.environment.push_back(std::string("TZ=") + zone);
  }
  spawn.descriptors = {{ends[1], kZygoteControlDescriptor}, {2, 2}};
  spawn.limits = {{RLIMIT_STACK, kStackBytes}};
  control_ = std::make_unique<Control>(*this, ends[0]);
  started_ = loop_.clock().now();
  failure_.clear();
  auto process = io::ChildProcess::start(loop_, spawn, [this](const io::ExitStatus& status) {
    on_control();  // what it said last
    on_ended(failure_.empty() ? "the zygote ended: " + status.text() : failure_);
  });
  close(ends[1]);
  if (!process) return on_ended(process.error().text);
  process_ = std::move(*process);
  if (Status watched = control_->watch(); !watched) return on_ended(watched.error().text);
  send_waiting();
}

void Zygote::send_waiting() {
  while (!waiting_.empty()) {
    const Waiting next = waiting_.front();
    const ZygoteRequest request{next.number};
    if (!send_packet(control_->fd(), &request, sizeof request, next.descriptor)) {
      // A full socket has room again soon; a broken one shows as the end of the process.
      if (errno == EAGAIN) control_->want_writable(true);
      return;
    }
    close(next.descriptor);
    waiting_.pop_front();
  }
  control_->want_writable(false);
}

void Zygote::on_control() {
  for (int i = 0; i < kReportsPerTurn && control_ != nullptr; ++i) {
    ZygoteReport report;
    int descriptor = -1;
    const int64_t size = receive_packet(control_->fd(), &report, sizeof report, descriptor);
    if (size == 0) {
      // The process's end follows.
      control_->want_writable(false);
      loop_.change(control_->fd(), 0);
      return;
    }
    if (size < 0) return;
    if (size == sizeof report) on_report(report, descriptor);
  }
}

void Zygote::on_report(const ZygoteReport& report, int descriptor) {
  const std::string text(report.text, strnlen(report.text, sizeof report.text));
  if (report.kind == ZygoteReport::kReady) {
    facts_ = {text, report.layers};
    return;
  }
  if (report.kind == ZygoteReport::kFailed) {
    failure_ = text;
    return;
  }
  const auto found = children_.find(report.number);
  if (found == children_.end()) {
    if (descriptor >= 0) close(descriptor);
    return;
  }
  ForkedChild& child = *found->second;
  if (report.kind == ZygoteReport::kForked) return child.on_forked(descriptor);
  children_.erase(found);
  if (report.kind == ZygoteReport::kRefused) return child.on_fork_failed(text);
  child.on_exited({report.is_signalled != 0, report.value});
}

void Zygote::on_ended(const std::string& reason) {
  const Duration lived = loop_.clock().now() - started_;
  restart_pause_ = lived > kZygoteHealthyAfter
                       ? Duration(kPauseMin)
                       : std::clamp<Duration>(restart_pause_ * 2, kPauseMin, kPauseMax);
  log_.error("workload: namespace " + ns_ + ": " + reason);
  process_.reset();
  control_.reset();
  for (const Waiting& waiting : waiting_) close(waiting.descriptor);
  waiting_.clear();
  // The children ask for new ones from within.
  std::unordered_map<uint32_t, ForkedChild*> children;
  children.swap(children_);
  for (const auto& [number, child] : children) child->on_fork_failed(reason);
}

}  // namespace brokkr::workload
