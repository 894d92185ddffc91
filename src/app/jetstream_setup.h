#pragma once

#include <string>

#include "base/log.h"
#include "base/result.h"
#include "config/options.h"
#include "jetstream/jetstream.h"

namespace brokkr::app {

// What JetStream is started with. `default_folder` is where its files go unless the options say.
jetstream::JetStream::Options make_jetstream_options(const config::Options& options,
                                                     const std::string& default_folder);
// Fails with AlreadyExists when the folder holds files of another program: nothing of it is touched.
Status check_store_folder(const std::string& folder);
// The lines nats-server's users know, after the start.
void announce_jetstream(Log& log, const jetstream::JetStream& jetstream);

}  // namespace brokkr::app
