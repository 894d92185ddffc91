// Prints one line per configuration file named on stdin (or as arguments): its digest, or "ERR" and
// the errors joined by " | ". With --grammar as first argument the options are not looked at.
// tests/conformance/config_digest.py compares the lines with nats-server.
#include <cstdio>
#include <string>
#include <vector>

#include "config/digest.h"
#include "config/loader.h"
#include "config/parser.h"

namespace {

void print_file(const std::string& path, bool grammar_only) {
  brokkr::config::SystemSources sources;
  const brokkr::config::Document document = brokkr::config::parse_file(path, sources);
  std::vector<brokkr::config::Diagnostic> errors = document.errors;
  if (errors.empty() && !grammar_only) errors = brokkr::config::load_options(document).errors;
  std::string line;
  for (const auto& error : errors) {
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
  const bool grammar_only = argc > 1 && std::string(argv[1]) == "--grammar";
  const int first = grammar_only ? 2 : 1;
  for (int i = first; i < argc; ++i)
    print_file(argv[i], grammar_only);
  char path[4096];
  while (argc == first && std::fgets(path, sizeof path, stdin) != nullptr) {
    std::string text(path);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    print_file(text, grammar_only);
  }
  return 0;
}
