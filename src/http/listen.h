#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace brokkr::http {

struct ListeningSocket {
  int fd = -1;
  uint16_t port = 0;  // the one the kernel chose when 0 was asked for
};

// A listening, close-on-exec TCP socket. An empty host or "0.0.0.0" means every interface, of IPv6
// too where there is one. Fails with System, naming the address. Thread-safe.
Result<ListeningSocket> listen_tcp(const std::string& host, uint16_t port);

}  // namespace brokkr::http
