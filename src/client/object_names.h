#pragma once

#include <string>
#include <string_view>

namespace brokkr::client {

// RFC 4648 section 5 with padding, as names of objects stand in subjects and digests in
// descriptions. Pure.
std::string base64url_padded(std::string_view bytes);

}  // namespace brokkr::client
