#pragma once

#include <string>
#include <string_view>

namespace brokkr::jetstream {

// What Go's JSON decoder says of the first thing wrong in `text`, one value after another to the
// end: "invalid character 'x' looking for beginning of value at offset 3". Empty when nothing is.
std::string find_go_syntax_error(std::string_view text);

// What Go's `json.Unmarshal` says of it, which names no place.
std::string find_go_unmarshal_error(std::string_view text);

}  // namespace brokkr::jetstream
