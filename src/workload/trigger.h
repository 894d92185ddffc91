#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/callback.h"
#include "base/log.h"
#include "client/connection.h"
#include "io/loop.h"
#include "workload/access.h"
#include "workload/http_routes.h"
#include "workload/instance.h"
#include "workload/run_request.h"

namespace brokkr::workload {

// What happened, as a function is told of it. The views live within the call.
struct TriggerCall {
  std::string_view subject;
  std::string_view headers;
  std::string_view payload;
  uint16_t deliveries = 0;  // which attempt it is, from 1
};

// The function a trigger belongs to.
class TriggerTarget {
 public:
  virtual ~TriggerTarget() = default;
  // Runs the function when there is room, in order; `done` is called once, never from within. The
  // result NoCapacity means that it did not run or was stopped with its function.
  virtual void run(const TriggerCall&, Callback<void(const CallResult&)> done) = 0;
  // An event of the workload with further members (`,"stream":"x"`), bounded in rate, and a line in its log.
  virtual void report(std::string_view event, std::string_view text, std::string_view members) = 0;
};

// What starts a function besides a core subscription: a durable consumer, a clock. Destroying it ends
// it at once; what it took and did not answer comes again. Loop-confined.
class TriggerSource {
 public:
  // The server behind `connection` has to be reachable while it starts.
  struct Deps {
    io::Loop& loop;
    Log& log;
    client::Connection& connection;
    TriggerTarget& target;
    HttpRoutes* routes = nullptr;  // null: the node serves no HTTP
  };
  struct Facts {
    std::string ns;
    std::string name;     // of the workload
    uint32_t index = 0;   // of the trigger within it
    uint32_t slot = 0;    // which replica the workload is
    Duration wall_time{};
    uint32_t window = 1;  // calls the function works on at once
  };
  virtual ~TriggerSource() = default;
  // `on_live` is called once, not from within: when it is in place or why it cannot be.
  virtual void start(client::DoneHandler on_live) = 0;
  // Takes nothing more; calls back once what it took has been run and answered.
  virtual void drain(Callback<void()> done) = 0;
};

// For every kind but Subject. Fails with Syntax or InvalidArgument when its
// members cannot be.
Result<std::unique_ptr<TriggerSource>> make_trigger(const TriggerSource::Deps&,
                                                    const TriggerSource::Facts&, const Trigger&);
// What `make_trigger` would refuse, without a server.
Status check_trigger(const Trigger&);
// Whether a function of the namespace may be deployed with these triggers: there is one, and none
// listens to the server's own subjects or reads what belongs to the control plane.
Status check_triggers(std::string_view ns, const RunRequest&);
// The trigger with its bucket's name at the server; PermissionDenied when the workload may not read there.
Result<Trigger> with_rights(const Access&, Trigger);
// "stream ORDERS orders.>", "kv CONFIG", "schedule @daily": for people.
std::string describe(const Trigger&);

}  // namespace brokkr::workload
