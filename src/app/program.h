#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace brokkr::app {

// What the process is, by the name it was started under and its first words.
struct Invocation {
  std::string program;            // "brokkr", "nats-server", "nats", "nex"
  std::vector<std::string> args;  // without the program's name
};

constexpr std::string_view kVersion = "0.1.0";

// Runs a server in the foreground until a signal ends it; returns the exit code. `with_node` adds a
// workload node in the same process (`brokkr up`).
int run_server(const Invocation&, bool with_node);

// Runs a workload node that is a client of another server (`brokkr node up`).
int run_node(const Invocation&);

// Looks into a store's directory (`brokkr store verify|dump|export`); returns the exit code.
int run_store(const Invocation&);

// `-sl command[=pid]`: sends a running server a signal; returns the exit code.
int send_signal(const Invocation&, const std::string& what);

// The folder for data when none is given: $XDG_DATA_HOME/brokkr, ~/.local/share/brokkr, or
// /var/lib/brokkr for root.
std::string default_data_dir();

}  // namespace brokkr::app
