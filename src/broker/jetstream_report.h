#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

// What JetStream, which lives in a room of its own, tells the monitoring pages.
namespace brokkr::broker {

struct JetStreamSummary {
  // As configured.
  uint64_t max_memory = 0;
  uint64_t max_storage = 0;
  std::string store_directory;
  Duration sync_interval{};  // zero: every group is synced
  std::string domain;
  bool is_strict = true;
  // In use.
  uint64_t memory = 0;
  uint64_t storage = 0;
  uint64_t reserved_memory = 0;
  uint64_t reserved_storage = 0;
  uint64_t accounts = 0;
  int api_level = 0;
  uint64_t api_total = 0;
  uint64_t api_errors = 0;
  uint64_t streams = 0;
  uint64_t consumers = 0;
  uint64_t messages = 0;
  uint64_t bytes = 0;
};

// What /jsz shall tell of.
struct JszOptions {
  std::string account;  // only this one
  bool accounts = false;
  bool streams = false;
  bool consumers = false;
  bool config = false;
  bool raft = false;  // says how many streams and consumers this server leads: all
  uint64_t offset = 0;
  uint64_t limit = 1024;
};

// What may be wrong: the kind is nats-server's, "STREAM".
struct JetStreamProblem {
  int status = 503;
  std::string kind;  // empty: all is well
  std::string account;
  std::string stream;
  std::string consumer;
  std::string text;
};

// Called on the main loop.
class JetStreamReporter {
 public:
  virtual ~JetStreamReporter() = default;
  virtual JetStreamSummary summary() = 0;
  virtual bool is_enabled_for(const std::string& account) = 0;
  // The whole document, indented.
  virtual std::string jsz(const JszOptions& options) = 0;
  // Of everything, or of the account, stream or consumer that are given.
  virtual JetStreamProblem check_health(const std::string& account, const std::string& stream,
                                        const std::string& consumer) = 0;
  // The account has reached another server: what is followed there need not wait any longer.
  virtual void on_leaf_opened(const std::string&) {}
};

}  // namespace brokkr::broker
