#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "cli/context_store.h"
#include "client/sync.h"

namespace brokkr::cli {

// The flags every command that talks to a server shares: --server, --user, --context and so on.
std::vector<Flag> connection_flags();

// The chosen context with what the flags say over it; and only the latter.
Result<ContextSettings> connection_settings(const Values&);
void apply_connection_flags(const Values&, ContextSettings&);

Result<client::Options> make_options(const Context&, const Values&);
// With settings that are not those of the flags.
Result<client::Options> make_options(const Context&, const Values&, const ContextSettings&);
// Connects; fails with the words of the nats CLI where there are some. Errors the server reports
// later, such as a missing permission, are printed and counted in `errors`.
Result<std::unique_ptr<client::Session>> connect(const Context&, const Values&,
                                                 uint64_t* errors = nullptr);

// What stands before the verbs of JetStream's API: "$JS.API", with a domain "$JS.<domain>.API", or
// what --js-api-prefix says.
Result<std::string> jetstream_prefix(const Values&);

// "K:V" flags as a header block; empty when there are none. Fails on a flag without a colon.
Result<std::string> make_headers(const std::vector<std::string>& flags);

}  // namespace brokkr::cli
