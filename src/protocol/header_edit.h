#pragma once

#include <string>
#include <string_view>

// Changes to a NATS/1.0 header block, from its first line to the empty one. Keys are compared as they
// are written, as nats-server does. Pure.
namespace brokkr::protocol {

// Takes out every line of that key; what has no line left becomes empty.
void remove_header(std::string& block, std::string_view key);
// The same for every spelling of the key in capitals and small letters: of what only the server says.
void remove_header_any_case(std::string& block, std::string_view key);
// Adds a line at the end, and what makes a block of an empty text.
void append_header(std::string& block, std::string_view key, std::string_view value);
// Changes the first line of that key, or adds one.
void set_header(std::string& block, std::string_view key, std::string_view value);

}  // namespace brokkr::protocol
