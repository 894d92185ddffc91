#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "io/loop.h"
#include "runtime/engine.h"
#include "sandbox/cgroup.h"
#include "workload/host_services/host_caller.h"
#include "workload/instance_protocol.h"
#include "workload/trace_context.h"
#include "workload/spare_instance.h"
#include "workload/zygote.h"

namespace brokkr::workload {

class Instance;

// Sends what instances have to say once a turn, in the loop's Send phase. Loop-confined.
class InstanceFlusher final : private io::TurnHook {
 public:
  explicit InstanceFlusher(io::Loop& loop);
  ~InstanceFlusher() override;
  void add(Instance& instance);
  void remove(Instance& instance);

 private:
  bool has_work() const override { return !dirty_.empty(); }
  void on_turn_end() override;
  io::Loop& loop_;
  std::vector<Instance*> dirty_;
  std::vector<Instance*> flushing_;
};

// How a call ended. The views live within the callback.
struct CallResult {
  runtime::OutcomeCode code = runtime::OutcomeCode::Ok;
  bool has_reply = true;
  std::string_view payload;
  std::string_view headers;
  std::string_view error;
  std::string_view stack;
  // It ended with its process, as others did: any of them may be the cause.
  bool is_shared_fate = false;
};

// What the owner of an instance keeps with a call until its result; the instance looks at none of it.
struct CallFacts {
  std::string subject;
  uint32_t payload_bytes = 0;
  uint16_t deliveries = 0;  // of a durable trigger: which attempt this is
  uint8_t hops = 0;         // functions the message has passed through
  std::array<uint8_t, 8> parent_span{};
  TraceContext trace;       // this call's place in it; not set when it is part of none
  Callback<void(const CallResult&)> done;  // hears of the end instead of a reply subject
};

// A call an instance works on.
struct Call {
  uint64_t id = 0;  // 0: the slot is free
  std::string reply;
  MonotonicTime received{};
  MonotonicTime sent{};
  CallFacts facts;
};

// A host call as the instance asked for it. The views live within the callback.
struct HostCallRequest {
  uint64_t id = 0;
  runtime::HostCall call;
};

// Hears of an instance. May not destroy it from within a callback.
class InstanceOwner {
 public:
  virtual ~InstanceOwner() = default;
  virtual void on_ready(Instance&) = 0;
  virtual void on_load_failed(Instance&, const std::string& reason) = 0;
  virtual void on_result(Instance&, const Call&, const CallResult&) = 0;
  virtual void on_host_call(Instance&, const HostCallRequest&) = 0;
  // A host call of it has been answered.
  virtual void on_host_reply(Instance&, uint64_t /*id*/, uint16_t /*code*/) {}
  virtual void on_log(Instance&, runtime::LogStream, std::string_view text) = 0;
  // Its process has gone and every call has its result; nothing follows.
  virtual void on_dead(Instance&, const std::string& reason) = 0;
};

// The node's side of one function instance: its process, the socket pair to it, the calls it works on
// and the deadlines it must keep. Loop-confined.
//
//   Starting -> Ready <-> (busy) -> Draining -> Dead
//
// A process that does not answer within wall time and grace, or takes too much memory, is killed; a
// process that dies has every call answered with the cause.
class Instance final : public HostCaller, private ForkedChild, private io::FdHandler {
 public:
  enum class State : uint8_t { Starting, Ready, Draining, Dead };
  // What it has not read yet may take so much before it gets no further call.
  static constexpr size_t kOutBytesMax = 4U << 20;
  struct Deps {
    io::Loop& loop;
    Zygote& zygote;
    sandbox::CgroupTree& cgroups;
    InstanceFlusher& flusher;
    SpareInstance* spare = nullptr;  // null: every process is forked when it is needed
  };
  struct Options {
    runtime::FunctionSpec spec;  // the artifact may be empty once the instance is loaded
    uint32_t in_flight_max = 64;
    uint32_t log_lines_per_second = 1000;
    uint64_t memory_bytes_max = 0;
    uint32_t cpu_millis = 2000;  // its own thread and the engine's helpers
    Duration start_limit = std::chrono::seconds(10);
    Duration grace = std::chrono::milliseconds(250);
  };

  // `deps`, `options` and `owner` outlive the instance. Starts at once; answers come later.
  Instance(const Deps& deps, const Options& options, InstanceOwner& owner);
  // Kills the process; no callbacks.
  ~Instance() override;
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  State state() const { return state_; }
  bool has_room() const {
    return state_ == State::Ready && in_flight_ < options_.in_flight_max &&
           out_.size() - out_sent_ < kOutBytesMax;
  }
  uint32_t in_flight() const { return in_flight_; }
  const std::string& engine_version() const { return engine_version_; }
  pid_t pid() const { return process_.pid; }
  uint64_t memory_bytes() const;
  // CPU time of its process so far, or up to when it was last asked for once that has gone.
  Duration cpu_time();

  // Hands over a call; `has_room` must be true. Its result comes once, later; NoCapacity when it had
  // no turn within its wall time from `waits_since`.
  void call(std::string_view subject, std::string_view reply, std::string_view headers,
            std::string_view payload, MonotonicTime received, MonotonicTime waits_since,
            CallFacts facts);
  void call(std::string_view subject, std::string_view reply, std::string_view headers,
            std::string_view payload, MonotonicTime received) {
    call(subject, reply, headers, payload, received, received, {});
  }
  // The call of that id while it has no result, or null; as instances name calls, so nothing to trust.
  const Call* find_call(uint64_t id) const;
  // The most hops of any call it works on.
  uint8_t hops_max() const;
  void reply_to_host_call(uint64_t id, const runtime::HostReply& reply) override;
  size_t pending_bytes() const override { return out_.size() - out_sent_; }
  bool has_reply_subject(std::string_view subject) const override;
  // Takes no more calls and ends once those it has are done.
  void drain();
  // Ends it now; its calls are answered with `code` and `reason`.
  void kill(runtime::OutcomeCode code, std::string reason);

 private:
  friend class InstanceFlusher;
  void on_forked(int pidfd) override;
  void on_fork_failed(const std::string& reason) override;
  void on_exited(const io::ExitStatus& status) override;
  void on_ready(uint32_t ready) override;
  void open_process();
  sandbox::CgroupLimits cgroup_limits() const;
  void send_load();
  void mark_dirty();
  void flush();
  bool read_frames();
  void handle(const Frame& frame);
  void finish(Call& call, const CallResult& result);
  void on_deadline();
  void become_dead(runtime::OutcomeCode code, const std::string& reason);
  void close_socket();
  // While there is work: kills it when it is over its memory limit.
  void check_memory();

  const Deps deps_;
  const Options& options_;
  InstanceOwner& owner_;
  State state_ = State::Starting;
  ForkedProcess process_;
  std::string out_;
  size_t out_sent_ = 0;
  bool is_dirty_ = false;
  bool wants_writable_ = false;
  const size_t body_bytes_max_;
  FrameBuffer in_;                // the beginning of a frame whose rest has not come
  std::vector<Call> calls_;       // by the low half of the id
  std::vector<uint32_t> free_;
  uint32_t generation_ = 0;
  uint32_t in_flight_ = 0;
  MonotonicTime progress_{};      // when it last proved alive
  io::Timer deadline_;
  io::Timer memory_check_;
  runtime::OutcomeCode kill_code_ = runtime::OutcomeCode::Crashed;
  std::string kill_reason_;
  std::string engine_version_;
  Duration cpu_time_{};
  bool has_lost_heap_ = false;
};

}  // namespace brokkr::workload
