#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Questions on a terminal. Each fails when stdin or stdout is none, and with Closed when the user
// gives up with ctrl-c or ctrl-d. Confined to the main thread.
namespace brokkr::cli {

bool is_terminal();  // both ends

// "? question (y/N) "
Result<bool> ask_yes(std::string_view question, bool is_yes_default);
// "? question (default) "; asks again while the answer is empty and `is_required`.
Result<std::string> ask_text(std::string_view question, std::string_view default_text,
                             bool is_required = false);
// What is typed is not shown.
Result<std::string> ask_hidden(std::string_view question);
Result<int64_t> ask_number(std::string_view question, std::string_view default_text);
// Bytes with a unit; "-1" gives 0.
Result<int64_t> ask_bytes(std::string_view question, std::string_view default_text);
// One of the choices, with the arrow keys; typing narrows the list.
Result<std::string> ask_choice(std::string_view question, const std::vector<std::string>& choices,
                               std::string_view default_text = {});

// "1024", "1KB", "4MiB"; negative or empty means -1. Fails as the nats CLI words it.
Result<int64_t> parse_bytes(std::string_view text);

}  // namespace brokkr::cli
