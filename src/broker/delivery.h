#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "broker/shard.h"
#include "protocol/encode.h"

namespace brokkr::broker {

// One message being delivered.
struct Shard::Delivery {
  Delivery(Connection* publisher, const Message& what)
      : from(publisher),
        message(what),
        header_text(what.header_size),
        body_text(what.header_size == 0 ? 0 : what.payload.size() - what.header_size) {}
  // Without the header block.
  std::string_view body() const { return message.payload.substr(message.header_size); }

  Connection* from;
  const Message& message;
  const protocol::SizeText header_text;  // sizes in decimal; of use only with a header block
  const protocol::SizeText body_text;
  bool delivered = false;
  bool delivered_here = false;  // to a client or subscription of this loop
  // Each leaf gets the message once, with the groups that chose it.
  struct LeafTarget {
    LeafLink* link;
    std::string queues;
  };
  std::vector<LeafTarget> leafs;
};

}  // namespace brokkr::broker
