#pragma once

#include <string>
#include <string_view>

namespace brokkr::client {

// One delivered message. The views are valid only within the handler that receives it; keep an
// OwnedMessage when it must live longer. A value type.
struct Message {
  std::string_view subject;
  std::string_view reply;    // empty when nobody waits for an answer
  std::string_view headers;  // the whole block "NATS/1.0...", read with protocol::Headers; or empty
  std::string_view payload;
  std::string_view sid;

  // The status of the header block's first line (503, 404, 100 ...), 0 when there is none.
  int status() const;
  // First value of a header, compared exactly; empty when absent.
  std::string_view header(std::string_view key) const;
  // The subject's token at `index` from 0; empty when there are fewer.
  std::string_view token(size_t index) const;
  // Whether a subscription on `pattern` would receive it.
  bool matches(std::string_view pattern) const;
};

// A message that owns its bytes.
struct OwnedMessage {
  OwnedMessage() = default;
  explicit OwnedMessage(const Message& message)
      : subject(message.subject),
        reply(message.reply),
        headers(message.headers),
        payload(message.payload) {}
  Message view() const { return {subject, reply, headers, payload, {}}; }

  std::string subject;
  std::string reply;
  std::string headers;
  std::string payload;
};

}  // namespace brokkr::client
