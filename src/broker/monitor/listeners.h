#pragma once

#include <string>

namespace brokkr::config {
struct Options;
}

namespace brokkr::broker {

// The member "leaf" of /varz: what the configuration says of the leaf nodes' listener and of the remotes
// this server connects to, as JSON. Pure.
std::string describe_leafnodes(const config::Options& options);

}  // namespace brokkr::broker
