#pragma once

#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "client/jetstream.h"
#include "workload/desired.h"

namespace brokkr::workload {

// The durable consumer of one trigger, as some revision of a workload made it.
struct TriggerConsumer {
  std::string stream;
  std::string name;
  std::string description;  // a consumer with another one is somebody else's
  bool operator==(const TriggerConsumer&) const = default;
};

// Those of all known revisions that do not ask to be kept. Pure.
std::vector<TriggerConsumer> trigger_consumers(const DesiredWorkload&,
                                               const std::vector<NamespaceRecord>& namespaces);

// Removes them; what is not there is fine. `done` is called once, with why one may be left; not when the
// connection goes first.
void remove_trigger_consumers(const client::JetStream& js, std::vector<TriggerConsumer> consumers,
                              client::DoneHandler done);

}  // namespace brokkr::workload
