// Prints one line per configuration file named on stdin (or as arguments): its digest, or the
// errors joined by " | ". tests/conformance/config_digest.py compares the lines with nats-server.
#include <cstdio>
#include <string>

#include "config/digest.h"
#include "config/parser.h"

namespace {

void print_file(const std::string& path) {
  brokkr::config::SystemSources sources;
  const brokkr::config::Document document = brokkr::config::parse_file(path, sources);
  std::string line;
  for (const auto& error : document.errors) {
    line += (line.empty() ? "ERR " : " | ") + error.to_string();
  }
  if (line.empty()) line = brokkr::config::digest(document.root);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::puts(line.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) print_file(argv[i]);
  char path[4096];
  while (argc == 1 && std::fgets(path, sizeof path, stdin) != nullptr) {
    std::string text(path);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    print_file(text);
  }
  return 0;
}
