#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "client/sync.h"

// What `pub --jetstream` does beyond publishing: wait for the stream's word.
namespace brokkr::cli {

std::vector<Flag> schedule_flags();
bool has_schedule_flags(const Values&);
// Puts the schedule that the flags describe onto a header block. Fails when they contradict.
Result<std::string> with_schedule(const Values&, const std::string& headers, WallTime now);

// Sends one message and remarks where it was stored.
Status store_message(client::Session&, const Values&, std::string_view subject, std::string_view payload,
                     const std::string& headers);
// All of them or none, as one batch.
Status store_batch(client::Session&, const Values&, const std::string& subject,
                   const std::vector<std::string>& payloads, const std::string& headers);

}  // namespace brokkr::cli
