#pragma once

#include "workload/host_services/buckets.h"
#include "workload/host_services/open_calls.h"

namespace brokkr::workload {

// kv.*: target is the bucket, key the key, payload the value.
//
//   get                 the value; headers Revision, Operation, Created (ms). 404 without one; a
//                       header Revision asks for that one, deletions included
//   set put             the new revision in header Revision
//   create              409 when the key has a value
//   update              header Revision must be the last one's, or 409
//   delete purge        header Revision as above, when it is there
//   keys                those that have a value and match the pattern `key` (all without), one record
//                       each in `more`; at most replies_max, or 413 beyond what an answer may have
//   watch               what has changed: three records per entry in `more`, its key, its headers as with
//                       get, and the value; the last one's revision in header Revision. Waits until there
//                       is one. A header Revision gives those after it, without one the last of every key;
//                       a header Watch names, with blanks between, history (all that is kept of every
//                       key), updates (only what comes from now on), no-deletes and no-values
//   history             two records per entry in `more`: its headers as with get, and the value
//
// Loop-confined.
class KeyValueService {
 public:
  KeyValueService(const client::JetStream& js, std::shared_ptr<const Access> access,
                  const HostServiceOptions& options)
      : js_(js), options_(options) {
    set_access(std::move(access));
  }
  void set_access(std::shared_ptr<const Access> access) {
    buckets_ = std::make_shared<Buckets<client::KeyValue>>(js_, std::move(access), options_);
  }

  void serve(const runtime::HostCall& call, const Answer& answer);

 private:
  const client::JetStream js_;
  const HostServiceOptions& options_;
  std::shared_ptr<Buckets<client::KeyValue>> buckets_;
};

}  // namespace brokkr::workload
