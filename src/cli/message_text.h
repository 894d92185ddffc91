#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "client/message.h"

namespace brokkr::cli {

// A body as the nats CLI prints it: followed by two empty lines unless it ends a line itself.
std::string body_text(std::string_view payload);
// "K: V" for each header of the block, the status line first when it has one.
std::vector<std::string> header_lines(std::string_view block);
// One JSON object on one line: subject, reply, headers, payload (payload_base64 when it is no UTF-8).
std::string message_json(const client::Message&);
// The payload, or what the words' program makes of it.
Result<std::string> translate(const std::vector<std::string>& words, std::string_view payload);

}  // namespace brokkr::cli
