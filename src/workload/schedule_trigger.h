#pragma once

#include <memory>
#include <optional>
#include <string>

#include "workload/cron.h"
#include "workload/stream_trigger.h"

namespace brokkr::workload {

// Runs a function at times. Every replica puts each tick into the namespace's stream of ticks under a
// message id of its time: the server keeps one, and the durable consumer all share gives it to one.
// What fell into a time when no replica ran is not caught up. Where there is no JetStream, the replica
// in slot 0 ticks by itself. The function gets `{"schedule":"@daily","time":"2026-…"}` on the subject
// "schedule". Loop-confined.
class ScheduleTrigger final : public TriggerSource {
 public:
  ScheduleTrigger(const Deps&, const Facts&, const Trigger&, Schedule);

  void start(client::DoneHandler on_live) override;
  void drain(Callback<void()> done) override;

 private:
  void on_stream(const Status&);
  void wait();
  void on_time();
  void tick(WallTime time, int attempt);

  const Deps deps_;
  const Facts facts_;
  const Trigger trigger_;
  const Schedule schedule_;
  const std::string subject_;
  const client::JetStream js_;
  StreamTrigger ticks_;
  bool is_local_ = false;
  uint32_t local_running_ = 0;
  std::optional<WallTime> next_;
  client::DoneHandler on_live_;
  Callback<void()> on_drained_;
  io::Timer timer_;
  io::Timer retry_;
  WallTime retried_{};
  int attempts_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace brokkr::workload
