// Prints one line per configuration file named on stdin (or as arguments): its digest, or "ERR" and
// the errors joined by " | ". With --grammar as first argument the options are not looked at, with
// --whole their contradictions are reported too. --reload BEFORE AFTER prints "OK" or why the second
// file cannot replace the first.
// tests/conformance/config_digest.py compares the lines with nats-server.
#include <cstdio>
#include <string>
#include <vector>

#include "config/digest.h"
#include "config/loader.h"
#include "config/parser.h"
#include "config/reload.h"

namespace {

enum class Depth { Grammar, Options, Whole };

void print_file(const std::string& path, Depth depth) {
  brokkr::config::SystemSources sources;
  const brokkr::config::Document document = brokkr::config::parse_file(path, sources);
  std::vector<brokkr::config::Diagnostic> errors = document.errors;
  if (errors.empty() && depth != Depth::Grammar) {
    const auto loaded = brokkr::config::load_options(document, {}, &sources);
    errors = loaded.errors;
    if (errors.empty() && depth == Depth::Whole) {
      for (const std::string& reason : brokkr::config::find_contradictions(loaded.options)) {
        errors.push_back({path, 0, 0, reason});
      }
    }
  }
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

int print_reload(const std::string& before, const std::string& after) {
  brokkr::config::SystemSources sources;
  const auto old = brokkr::config::load_file(before, sources);
  const auto fresh = brokkr::config::load_file(after, sources);
  std::string line = old.error_text() + fresh.error_text();
  const auto difference = brokkr::config::compare(old.options, fresh.options);
  for (const std::string& error : difference.errors) {
    line += (line.empty() ? "ERR " : " | ") + error;
  }
  std::puts(line.empty() ? "OK" : line.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--reload") return print_reload(argv[2], argv[3]);
  const std::string flag = argc > 1 ? argv[1] : "";
  const Depth depth = flag == "--grammar" ? Depth::Grammar
                      : flag == "--whole" ? Depth::Whole
                                          : Depth::Options;
  const int first = depth == Depth::Options ? 1 : 2;
  for (int i = first; i < argc; ++i)
    print_file(argv[i], depth);
  char path[4096];
  while (argc == first && std::fgets(path, sizeof path, stdin) != nullptr) {
    std::string text(path);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    print_file(text, depth);
  }
  return 0;
}
