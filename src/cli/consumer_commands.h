#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "cli/command.h"
#include "cli/jetstream_api.h"

// What the files of the consumer group share. Each run_* is one sub-command.
namespace brokkr::cli {

struct ConsumerTask {
  JetStream js;
  std::string stream;
  std::string name;  // empty when no consumer was asked for
  json::Value info;
  const json::Value& config() const;
};
// Connects and selects the stream and, with `wants_consumer`, the consumer that the arguments
// "stream" and "consumer" name, or those the user picks. `is_forced` means not to ask.
Result<ConsumerTask> open_consumer(const Context&, const Values&, bool wants_consumer,
                                   bool is_forced = false);

Result<json::Value> consumer_info(JetStream&, const std::string& stream, const std::string& name);
// Creates or, with the same name, updates; the answer is the consumer's info.
Result<json::Value> create_consumer(JetStream&, const std::string& stream, const json::Value& config);
bool is_pull(const json::Value& config);

enum class ConsumerView : uint8_t { Whole, State, Json };
void show_consumer(const json::Value& info, ConsumerView view);
ConsumerView consumer_view(const Values&, ConsumerView otherwise = ConsumerView::Whole);
std::string ack_policy_text(std::string_view word);

// The flags that describe a consumer, of add and copy or of edit.
std::vector<Flag> consumer_config_flags(bool is_edit);
// "2026-11-23 14:07:23" in UTC or a duration from now, as RFC 3339.
Result<std::string> pause_time(const std::string& text, WallTime now);

int run_consumer_add(const Context&, const Values&);
int run_consumer_edit(const Context&, const Values&);
int run_consumer_copy(const Context&, const Values&);
int run_consumer_list(const Context&, const Values&);
int run_consumer_report(const Context&, const Values&);
int run_consumer_find(const Context&, const Values&);
int run_consumer_next(const Context&, const Values&);
int run_consumer_sub(const Context&, const Values&);

}  // namespace brokkr::cli
