#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/columns.h"
#include "cli/command.h"
#include "client/jetstream.h"
#include "client/jetstream_sync.h"
#include "client/sync.h"

// What the groups of key-value and object-store buckets share. Confined to the main thread.
namespace brokkr::cli {

// A connection and the JetStream the flags mean.
class BucketApi {
 public:
  static Result<BucketApi> open(const Context&, const Values&);

  const client::JetStream& jetstream() const { return *js_; }
  client::Session& session() { return *session_; }

  // Runs the loop until the call's handler was called; errors in the original's words.
  template <typename T>
  Result<T> wait(FunctionRef<void(client::ApiHandler<T>)> start);

 private:
  BucketApi() = default;
  std::unique_ptr<client::Session> session_;
  std::optional<client::JetStream> js_;
};

// "nats: key not found", "nats: API error: code=400 err_code=10058 description=...".
Error original_error(const client::ApiError&);
// The server's own part of that.
std::string api_error_text(const client::ApiError&);

// The argument "bucket", or what the user picks of those whose streams begin with `stream_prefix`.
Result<std::string> pick_bucket(BucketApi&, const Values&, std::string_view stream_prefix,
                                const char* when_none);
// True to go on; prints `when_not` when the user says no. --force goes on.
Result<bool> confirm(const Values&, const std::string& question, std::string_view when_not = {});

// The value when all its bytes are printable, else base64; the latter as the original decides it.
std::string printable(std::string_view value);
// "012345678901234...567890123456789" for more than 40.
std::string shortened(const std::string& text);

// --storage, --cluster and --tags, --metadata. Fails on words that are none.
Result<client::Storage> storage_of(const Values&);
std::optional<client::Placement> placement_of(const Values&);
client::Metadata metadata_of(const Values&);
// A flag in bytes; -1 when it was not given.
Result<int64_t> bytes_of(const Values&, const char* flag);

// What either kind of bucket is made with: the flags above, "bucket", --description, --ttl,
// --replicas, --max-bucket-size and --compress.
template <typename Config>
Status take_bucket_flags(const Values& values, Config& config) {
  config.bucket = values.text("bucket");
  config.description = values.text("description");
  config.ttl = values.duration("ttl");
  config.num_replicas = static_cast<int64_t>(values.number("replicas"));
  auto size = bytes_of(values, "max-bucket-size");
  if (!size) return size.error();
  config.max_bytes = *size;
  auto storage = storage_of(values);
  if (!storage) return storage.error();
  config.storage = *storage;
  config.placement = placement_of(values);
  config.metadata = metadata_of(values);
  config.is_compressed = values.is_on("compress");
  return {};
}
// The words for a name that is taken; others as `original_error`.
Error creation_error(const client::ApiError&, const std::string& bucket);

// "unlimited" or the text.
std::string size_or_unlimited(int64_t bytes);
std::string age_or_unlimited(Duration);
const char* storage_title(client::Storage);
// "k: v", without what the server adds.
std::vector<std::string> metadata_lines(const client::Metadata&);
// The section "Cluster Information" when the stream has one.
void add_cluster(Columns&, const client::StreamInfo&);
// "2m3s" since the stream's last message, or "never".
std::string last_update_text(const client::StreamInfo&, WallTime now);

template <typename T>
Result<T> BucketApi::wait(FunctionRef<void(client::ApiHandler<T>)> start) {
  auto answer = client::wait_for<T>(session_->loop(), start);
  if (!answer) return original_error(answer.error());
  return std::move(*answer);
}

}  // namespace brokkr::cli
