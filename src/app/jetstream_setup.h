#pragma once

#include <string>

#include "auth/account_rules.h"
#include "base/log.h"
#include "base/result.h"
#include "config/options.h"
#include "jetstream/jetstream.h"

namespace brokkr::app {

// Which accounts JetStream is on for, and their limits: those that ask for it; when none does, the
// global one.
jetstream::JetStream::AccountMap jetstream_accounts(const auth::AccountTable& accounts);
// What JetStream is started with. `default_folder` is where its files go unless the options say.
jetstream::JetStream::Options make_jetstream_options(const config::Options& options,
                                                     const auth::AccountTable& accounts,
                                                     const std::string& default_folder);
// Fails with AlreadyExists when the folder holds files of another program: nothing of it is touched.
Status check_store_folder(const std::string& folder);
// The lines nats-server's users know, after the start.
void announce_jetstream(Log& log, const jetstream::JetStream& jetstream);

}  // namespace brokkr::app
