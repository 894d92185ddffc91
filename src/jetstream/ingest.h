#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jetstream/api_error.h"
#include "jetstream/batch.h"
#include "jetstream/outbox.h"
#include "jetstream/publish_headers.h"
#include "jetstream/stream_config.h"
#include "store/stream.h"
#include "subject/transform.h"

namespace brokkr::jetstream {

class Stream;

// A message on its way into a stream. Views live as long as what they were made from or, once
// something was rewritten, as the object.
struct Incoming {
  std::string_view subject;  // after the stream's transform
  std::string_view reply;
  std::string_view headers;
  std::string_view body;
  PublishHeaders fields;  // of `headers` as they came
  bool is_sourced = false;
  bool is_rollup_sub = false;
  bool is_rollup_all = false;
  bool has_schedule = false;
  std::string counter;  // the new total, of a counter's message

  // Copies the headers into the object, once, so that they can be changed; `headers` follows when
  // `changed_headers` is called after.
  std::string& own_headers();
  void changed_headers() { headers = header_text_; }
  void set_body(std::string text);

 private:
  std::string header_text_;
  std::string body_text_;
  bool owns_headers_ = false;
};

// What comes into one stream: the checks in nats-server's order, then the store, then what follows
// from a stored message (roll-up, republish, acknowledgement). Loop-confined; part of its stream.
class Ingest {
 public:
  explicit Ingest(Stream& stream);
  ~Ingest();
  // After construction and every change of the stream's configuration.
  void configure();

  // A publish from a client or from within the server. With a reply and unless no_ack, the answer
  // goes there once the message is durable, in order.
  void publish(std::string_view subject, std::string_view reply, std::string_view headers,
               std::string_view body, const broker::Connection* from);
  // A message from another stream: already checked there. The sequence it got; 0 when it was a
  // duplicate or found no interest; absent when it was refused.
  std::optional<uint64_t> add_sourced(std::string_view subject, std::string_view headers,
                                      std::string_view body);

  // A mirror's message: as it is, under that sequence and time. False when the store refuses it.
  bool add_mirrored(uint64_t seq, int64_t timestamp_ns, std::string_view subject,
                    std::string_view headers, std::string_view body);

  void on_visible(uint64_t seq);
  // Acknowledgements that wait become refusals.
  void on_store_failed();
  void end();

  // --- for atomic batches: the checks that both share
  Outbox& outbox() { return outbox_; }
  void reply_error(std::string_view reply, const ApiError& error);
  std::string apply_transform(std::string_view subject) const;
  ApiStatus check_increment(Incoming& in) const;
  ApiStatus check_schedule(Incoming& in) const;
  ApiStatus check_size(const Incoming& in) const;
  ApiStatus check_resources(const Incoming& in) const;
  // Adds the increment to `before` (the last message of the subject when null) and makes the body.
  ApiStatus apply_counter(Incoming& in, const store::Record* before) const;
  ApiStatus find_ttl(Incoming& in, int64_t now_ns, uint64_t& expires_at) const;
  bool has_interest(std::string_view subject) const;
  // What follows from a stored message, but for the acknowledgement.
  void after_stored(const Incoming& in, uint64_t seq, int64_t now_ns, uint64_t last_before,
                    uint64_t expires_at);
  bool wants_republish(std::string_view subject) const;
  int64_t now_ns() const;
  ApiError store_error(const Error& error) const;

 private:
  void publish_plain(std::string_view subject, std::string_view reply, std::string_view body,
                     const broker::Connection* from);
  // The sequence stored; 0 when nothing was and all is said.
  ApiResult<uint64_t> process(Incoming& in);
  ApiStatus check_headers(Incoming& in);
  ApiStatus check_expectations(const Incoming& in) const;
  ApiStatus check_rollup(Incoming& in) const;
  bool has_room(size_t bytes) const;
  bool answer_duplicate(const Incoming& in);
  ApiResult<uint64_t> keep(Incoming& in);
  uint64_t skip(const Incoming& in);
  void acknowledge(const Incoming& in, uint64_t seq);
  std::string error_ack(const ApiError& error) const;
  void refuse(const Incoming& in, const ApiError& error, const broker::Connection* from);
  void refuse_busy(std::string_view reply, const broker::Connection* from);
  void hold_back(const broker::Connection* from);
  void republish(const Incoming& in, uint64_t seq, int64_t now_ns, uint64_t last_before);

  Stream& stream_;
  Outbox outbox_;
  AtomicBatches batches_;
  std::optional<subject::Transform> transform_;
  std::optional<subject::Transform> republish_;
  // Nothing stands between a message without headers and the store.
  bool is_plain_ = false;
  size_t plain_body_max_ = 0;
  bool may_answer_ = true;
  bool is_busy_ = false;  // of the message at hand: the store would not take it now
  // About how much of the stream is not visible yet.
  uint64_t waiting_bytes_ = 0;
  uint64_t visible_seq_ = 0;
};

}  // namespace brokkr::jetstream
