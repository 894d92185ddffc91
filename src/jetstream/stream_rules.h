#pragma once

#include "jetstream/api_error.h"
#include "jetstream/stream_config.h"

namespace brokkr::jetstream {

class Account;

// Fills in what a configuration leaves out and checks all that holds whatever stream there was
// before, in nats-server's order. Pedantic: what would silently be changed is an error.
ApiStatus check_stream_config(StreamConfig& config, Account& account, bool is_pedantic);
// What holds between an old configuration and a checked new one; seals `config` when it says so.
ApiStatus check_stream_change(const StreamConfig& old, StreamConfig& config);
// Filters and transforms of where messages come from, looked at when a stream is made.
ApiStatus check_stream_origins(const StreamConfig& config);
// The same with a prefix that says how to get more than one replica.
ApiStatus check_replicas(const StreamConfig& config);

// Sets the metadata that says which API level the configuration needs, and takes out what only
// answers show.
void set_stream_versions(StreamConfig& config);
// The configuration as answers show it: with the metadata that tells of this server.
Metadata with_server_versions(Metadata metadata);
// Makes the versions in `metadata` those of `other`, to compare what users have written.
void copy_stream_versions(Metadata& metadata, const Metadata& other);

// What follows nats-server's text where a cluster would be needed.
extern const char* const kClusterHint;

// Names of streams and consumers.
bool is_valid_asset_name(std::string_view name);

}  // namespace brokkr::jetstream
