#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/context_store.h"

// A context as a person edits it. Pure.
namespace brokkr::cli {

// One "name: value" line for each setting, below what it is for.
std::string context_yaml(const ContextSettings&);
// Reads such lines: comments, plain, quoted and empty values, lists. Fails with Syntax and the line.
Result<ContextSettings> parse_context_yaml(std::string_view text);

}  // namespace brokkr::cli
