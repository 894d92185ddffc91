#pragma once

#include <string>

#include "config/value.h"

namespace brokkr::config {

// The configuration as Go's json.Encoder writes nats-server's parsed map: members sorted by name,
// < > & escaped, one line feed at the end. Pure.
std::string to_json(const Value&);

// "sha256:" and the hash of that text: what `nats-server -t` prints for the same file.
std::string digest(const Value&);

}  // namespace brokkr::config
