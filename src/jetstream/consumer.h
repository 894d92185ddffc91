#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "broker/shard.h"
#include "jetstream/consumer_config.h"
#include "store/stream.h"

namespace brokkr::jetstream {

class Stream;

// A client's view on a stream: what it has been given, what it has acknowledged, what comes next.
// Pull or push. Loop-confined; owned by its stream.
class Consumer {
 public:
  // Why a consumer ends; its waiting requests hear of it.
  enum class End : uint8_t { Deleted, StreamDeleted, Inactive, ServerShutdown };

  virtual ~Consumer() = default;
  virtual const std::string& name() const = 0;
  virtual const ConsumerConfig& config() const = 0;

  // --- what its stream tells it
  // Messages up to `seq` may be delivered.
  virtual void on_visible(uint64_t seq) = 0;
  virtual void on_removed(uint64_t seq, std::string_view subject, store::Removal why) = 0;
  virtual void on_purged(std::string_view filter, uint64_t below) = 0;
  // Whether a message that is in the stream must stay for this consumer (interest and work-queue
  // retention): its filter chooses it and it is not settled.
  virtual bool needs(uint64_t seq, std::string_view subject) const = 0;
  // Whether its filter chooses the subject at all.
  virtual bool wants(std::string_view subject) const = 0;

  // --- what the API tells it
  // The members of a ConsumerInfo, without `type`.
  virtual void write_info(json::Writer& out) = 0;
  // Delivers nothing more. The owner destroys it after.
  virtual void end(End reason) = 0;
};

}  // namespace brokkr::jetstream
