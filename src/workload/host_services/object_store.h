#pragma once

#include <map>
#include <memory>
#include <unordered_map>

#include "workload/host_services/buckets.h"
#include "workload/host_services/object_transfer.h"
#include "workload/host_services/open_calls.h"

namespace brokkr::workload {

// objectStore.*: target is the bucket, key the object's name. Descriptions are the JSON every NATS
// client writes, plus mtime.
//
//   get         the object, when it is no larger than kWholeBytesMax (413), and its description in `more`
//   put         payload is the object; header Description is its description, all others are the
//               object's own headers. The description is the payload
//   delete
//   info        the description is the payload
//   list        descriptions, one record each in `more`
//   openRead    the description is the payload; header Handle
//   openWrite   headers as with put; header Handle
//
// With a handle as target:
//
//   read        up to 1 MiB; nothing at the end
//   write       payload is the next piece
//   commit      the description is the payload
//   close       what was not committed is removed
//
// A function has at most kHandlesMax handles; one that is not used for kHandleIdleMax, and all of a
// caller that has gone, are closed. Loop-confined.
class ObjectStoreService {
 public:
  static constexpr size_t kWholeBytesMax = 4U << 20;
  static constexpr size_t kHandlesMax = 32;
  static constexpr Duration kHandleIdleMax = std::chrono::seconds(60);

  ObjectStoreService(io::Loop& loop, const client::JetStream& js,
                     std::shared_ptr<const Access> access, const HostServiceOptions& options);
  ~ObjectStoreService();

  void serve(const runtime::HostCall& call, const HostCaller& caller, const Answer& answer);
  void forget(const HostCaller& caller);
  void set_access(std::shared_ptr<const Access> access);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace brokkr::workload
