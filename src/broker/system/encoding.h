#pragma once

#include <string>
#include <string_view>

namespace brokkr::broker {

// Compresses `body` where the request's header block accepts that, and says so in `headers`.
void encode_as_accepted(std::string_view request_headers, std::string& headers, std::string& body);

// The value of the first header of that name, without blanks around it; empty when there is none.
std::string_view find_message_header(std::string_view block, std::string_view name);

}  // namespace brokkr::broker
