#pragma once

#include <string>
#include <vector>

#include "config/options.h"
#include "config/parser.h"
#include "config/value.h"

namespace brokkr::config {

// Options read from a file. `errors` non-empty: the file is refused, `options` is not to be used.
struct Loaded {
  Options options;
  std::vector<Diagnostic> errors;
  std::vector<Diagnostic> warnings;

  // All errors, one per line.
  std::string error_text() const;
};

// Turns a well-formed document into options, on top of `base`. Unknown names, wrong types and
// values out of range are errors, all of them reported. Files that options name (certificates, JWTs
// of operators) are looked at when there are `sources`.
Loaded load_options(const Document& document, Options base = {}, Sources* sources = nullptr);

// parse_file, then load_options.
Loaded load_file(const std::string& path, Sources& sources, Options base = {});

// What contradicts itself in the final options, file and flags together; empty when nothing does.
// Pure.
std::vector<std::string> find_contradictions(const Options& options);

// "these settings have no effect in this release: a, b"; empty when there are none.
std::string later_keys_warning(const Options& options);

}  // namespace brokkr::config
