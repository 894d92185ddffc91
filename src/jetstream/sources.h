#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "jetstream/stream_config.h"

namespace brokkr::jetstream {

class Stream;

// The mirror or the sources of one stream: each origin is followed by a push consumer of its own,
// made through the JetStream API of the account, so that an origin on another server is no other
// case. Loop-confined; part of its stream.
class Sources {
 public:
  explicit Sources(Stream& stream);
  ~Sources();
  // After construction and every change of the stream's configuration. Origins that stay are followed
  // without a break.
  void configure();
  // What is behind a link that has just come is asked again at once.
  void hurry();
  // The members "mirror" and "sources" of a StreamInfo.
  void write_info(json::Writer& out);

 private:
  class Feed;
  void find_positions();

  Stream& stream_;
  std::vector<std::unique_ptr<Feed>> feeds_;
};

// "name[:hash] filter destination": names an origin in Nats-Stream-Source.
std::string source_index_name(const StreamSource& source);

}  // namespace brokkr::jetstream
