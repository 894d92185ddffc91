#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jetstream/api_error.h"
#include "jetstream/upkeep.h"

namespace brokkr::jetstream {

class Ingest;
class Stream;
class PublishHeaders;

// Batches that are stored whole or not at all. Their messages wait in memory until the one that
// commits; a batch nobody adds to for ten seconds is forgotten. Loop-confined.
class AtomicBatches {
 public:
  static constexpr size_t kBatchesMax = 50;         // of one stream
  static constexpr size_t kBatchesTotalMax = 1000;  // of the server
  static constexpr size_t kMessagesMax = 1000;      // of one batch
  static constexpr size_t kBytesMax = 64 << 20;     // of all batches of the server
  static constexpr Duration kTimeout = std::chrono::seconds(10);

  AtomicBatches(Stream& stream, Ingest& ingest);
  ~AtomicBatches();

  // A message with a batch's id.
  void add(const PublishHeaders& fields, std::string_view subject, std::string_view reply,
           std::string_view headers, std::string_view body);
  // Forgets all, e.g. because the stream ends or batches are allowed no more.
  void clear();

 private:
  struct Message {
    std::string subject;
    std::string headers;
    std::string body;
  };
  struct Batch;
  struct Diff;
  using Batches = std::map<std::string, std::unique_ptr<Batch>, std::less<>>;

  ApiResult<Batch*> find_or_begin(std::string_view id, uint64_t seq, bool ends_without_message);
  void forget(Batch& batch, std::string_view reason);
  void commit(Batch& batch, std::string_view reply);
  ApiStatus check(struct Incoming& in, Diff& diff);
  ApiStatus check_message(struct Incoming& in, Diff& diff);
  ApiStatus check_expectations(struct Incoming& in, Diff& diff);
  ApiStatus check_rollup(struct Incoming& in, Diff& diff);
  ApiStatus check_limits(const struct Incoming& in, Diff& diff);
  void advise_abandoned(std::string_view id, std::string_view reason);

  Stream& stream_;
  Ingest& ingest_;
  Batches batches_;
};

}  // namespace brokkr::jetstream
