#pragma once

#include <cstdint>

#include "jetstream/api_error.h"
#include "jetstream/consumer_config.h"
#include "jetstream/stream_config.h"

// What a consumer's configuration must fulfil. Pure functions.
namespace brokkr::jetstream {

// Limits that come from the server or account; zero or less: none.
struct ConsumerLimitsGiven {
  int64_t server_max_ack_pending = -1;
  int64_t server_max_request_batch = -1;
  int64_t account_max_ack_pending = -1;
};

constexpr size_t kNameBytesMax = 255;

// Fills in what was left out. With `is_pedantic`, 10157 where that would change what was said.
ApiStatus set_consumer_defaults(ConsumerConfig& config, const StreamConfig& stream,
                                const ConsumerLimitsGiven& limits, bool is_pedantic);
// All rules that need no other consumer.
ApiStatus check_consumer_config(const ConsumerConfig& config, const StreamConfig& stream,
                                const ConsumerLimitsGiven& limits);
// Whether `config` may replace `before`. `is_bound`: somebody subscribes to its deliver subject.
ApiStatus check_consumer_update(const ConsumerConfig& before, const ConsumerConfig& config,
                                bool is_bound);

// The server's own metadata. Kept: the API level the configuration needs; in answers also what this
// server is.
void set_kept_metadata(Metadata& metadata, int required_level);
int required_api_level(const ConsumerConfig& config);
ConsumerConfig with_server_metadata(const ConsumerConfig& config);

bool is_valid_group_name(std::string_view name);
// The share of acknowledgements that are reported, in percent; absent when it cannot be read, with
// Go's words in `reason`.
std::optional<int64_t> parse_sample_frequency(std::string_view text, std::string& reason);

}  // namespace brokkr::jetstream
