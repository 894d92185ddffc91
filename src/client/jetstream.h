#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "client/api_error.h"
#include "client/connection.h"
#include "client/jetstream_config.h"
#include "client/jetstream_info.h"

namespace brokkr::client {

struct JetStreamOptions {
  // "$JS.<domain>.API" when the domain is given and the prefix is not. An API imported under another
  // name has that name as its prefix.
  std::string api_prefix;
  std::string domain;
  Duration timeout = std::chrono::seconds(5);
};

struct StreamInfoOptions {
  bool deleted_details = false;
  std::string subjects_filter;  // fills state.subjects, all pages of it
};

struct PurgeOptions {
  std::string filter;
  uint64_t seq = 0;   // everything below it
  uint64_t keep = 0;  // all but so many; not together with `seq`
};

// Which message a get means: exactly one of `seq`, `last_by_subj`, or `next_by_subj` (from `seq` or
// `start_time` on), or `start_time` alone.
struct GetOptions {
  uint64_t seq = 0;
  std::string last_by_subj;
  std::string next_by_subj;
  std::optional<WallTime> start_time;
};

// A direct get of several: `batch` messages from `seq` or `start_time` on that match `next_by_subj`,
// or the last message of each subject in `multi_last`.
struct BatchOptions {
  uint64_t batch = 0;
  uint64_t max_bytes = 0;
  uint64_t seq = 0;
  std::optional<WallTime> start_time;
  std::string next_by_subj;
  std::vector<std::string> multi_last;
  uint64_t up_to_seq = 0;
  std::optional<WallTime> up_to_time;
};

// What a publish demands and sets. Sequences are absent unless given: zero is a demand too.
struct StreamPublishOptions {
  std::string_view headers;  // a block of further headers
  std::string_view msg_id;
  std::string_view expected_stream;
  std::optional<uint64_t> expected_last_seq;
  std::optional<uint64_t> expected_last_subject_seq;
  std::string_view expected_last_subject_seq_subject;
  std::string_view expected_last_msg_id;
  Duration ttl{};  // whole seconds; negative: never expires
  Duration timeout{};  // zero: the API's
};

enum class CreateAction : uint8_t { CreateOrUpdate, Create, Update };

// The JetStream API over a connection: management, publishing with an acknowledgement, and reading
// single messages. A small value: copies speak to the same API. `connection` outlives every call's
// answer or ends it. Handlers are called exactly once while the connection lives; from within the
// call only when it cannot be sent at all. Errors are the server's, or NoResponders (no JetStream
// there), TimedOut, Closed, InvalidArgument (a name no stream can have). Loop-confined.
class JetStream {
 public:
  explicit JetStream(Connection& connection, JetStreamOptions options = {});

  void account_info(ApiHandler<AccountInfo> handler) const;

  void create_stream(const StreamConfig&, ApiHandler<StreamInfo> handler) const;
  void update_stream(const StreamConfig&, ApiHandler<StreamInfo> handler) const;
  void stream_info(const std::string& stream, ApiHandler<StreamInfo> handler,
                   const StreamInfoOptions& = {}) const;
  void delete_stream(const std::string& stream, ApiHandler<Done> handler) const;
  // Gives the number of messages removed.
  void purge_stream(const std::string& stream, const PurgeOptions&, ApiHandler<uint64_t>) const;
  // All pages, sorted by name; `subject` keeps those whose subjects overlap it.
  void list_streams(const std::string& subject, ApiHandler<std::vector<StreamInfo>> handler) const;
  void stream_names(const std::string& subject, ApiHandler<std::vector<std::string>>) const;
  // The stream that holds this subject; NotFound when there is none.
  void find_stream(const std::string& subject, ApiHandler<std::string> handler) const;

  void create_consumer(const std::string& stream, const ConsumerConfig&,
                       ApiHandler<ConsumerInfo> handler,
                       CreateAction = CreateAction::CreateOrUpdate) const;
  void consumer_info(const std::string& stream, const std::string& consumer,
                     ApiHandler<ConsumerInfo> handler) const;
  void delete_consumer(const std::string& stream, const std::string& consumer,
                       ApiHandler<Done> handler) const;
  void list_consumers(const std::string& stream, ApiHandler<std::vector<ConsumerInfo>>) const;
  void consumer_names(const std::string& stream, ApiHandler<std::vector<std::string>>) const;
  // Until the time is reached nothing is delivered; no time resumes.
  void pause_consumer(const std::string& stream, const std::string& consumer,
                      std::optional<WallTime> until, ApiHandler<PauseState> handler) const;

  void get_message(const std::string& stream, const GetOptions&, ApiHandler<StoredMessage>) const;
  // `no_erase`: the bytes may stay on the disk.
  void delete_message(const std::string& stream, uint64_t seq, bool no_erase,
                      ApiHandler<Done> handler) const;
  // From any server that has the stream, if it allows direct gets; may lag behind.
  void direct_get(const std::string& stream, const GetOptions&, ApiHandler<StoredMessage>) const;
  void direct_get_batch(const std::string& stream, const BatchOptions&,
                        Callback<void(const StoredMessage&)> on_message,
                        ApiHandler<Done> on_end) const;

  // Copies the message; the acknowledgement says that the stream has it.
  void publish(std::string_view subject, std::string_view payload, const StreamPublishOptions&,
               ApiHandler<PubAck> handler) const;

  // Any call of the API: "STREAM.INFO.x" with a JSON body; the answer is no error.
  void call(const std::string& subject, std::string_view body,
            ApiHandler<json::Value> handler) const;

  Connection& connection() const { return *connection_; }
  const JetStreamOptions& options() const { return options_; }
  // "$JS.API", without a dot at its end.
  const std::string& api_prefix() const { return options_.api_prefix; }
  bool has_default_prefix() const { return options_.api_prefix == "$JS.API"; }

 private:
  Connection* connection_;
  JetStreamOptions options_;
};

// Whether a stream or consumer may be called so.
bool is_asset_name(std::string_view);

// The block a publish with these options carries.
std::string make_publish_headers(const StreamPublishOptions&);

// The status message of a pull or direct get as an error: "no messages" 404, "exceeded maxwaiting"
// 409. Null when the message is none.
std::optional<ApiError> find_status(const Message&);

}  // namespace brokkr::client
