#pragma once

#include <vector>

#include "base/result.h"
#include "sandbox/program.h"

// The network of a sandbox: a loopback interface and nothing else. Run in the new network namespace,
// with its rights, by one thread.
namespace brokkr::sandbox {

// Brings the loopback interface up, puts the listeners' addresses on it, has the networks lead there,
// and listens. The sockets are the caller's, non-blocking and close-on-exec, in the order of
// `listeners`. Fails with System, naming the address.
Result<std::vector<int>> open_inner_network(const std::vector<InnerListener>& listeners,
                                            const std::vector<std::string>& networks);

// A non-blocking connection to `port` on the loopback address, which may still be on its way.
Result<int> connect_inside(uint16_t port);

}  // namespace brokkr::sandbox
