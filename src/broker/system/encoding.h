#pragma once

#include <string>
#include <string_view>

#include "base/callback.h"

namespace brokkr::broker {

// Compresses `body` where the request's header block accepts that, and says so in `headers`. `snappy`
// may be missing.
void encode_as_accepted(std::string_view request_headers,
                        const Callback<std::string(std::string_view)>& snappy, std::string& headers,
                        std::string& body);

// The value of the first header of that name, without blanks around it; empty when there is none.
std::string_view find_message_header(std::string_view block, std::string_view name);

}  // namespace brokkr::broker
