#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "subject/interest_tree.h"

namespace brokkr::broker {

class Connection;
class InternalSubscription;
class LoopLink;

// One entry of an account's interest tree: a client's SUB, a subscription of the server's own, or
// the stand-in for the interest other loops have. Loop-confined.
struct Subscription : subject::Subscriber {
  enum class Kind : uint8_t { Client, Internal, OtherLoop };

  Kind kind = Kind::Client;
  bool is_closing = false;  // delivers nothing more; taken out when the message at hand is done
  bool has_delivery_filter = false;  // wider than what the user may see: each subject is checked
  uint32_t max_messages = 0;         // 0 means no end
  uint32_t other_loop = 0;           // OtherLoop: which
  uint64_t delivered = 0;            // OtherLoop: how many subscriptions it stands for
  union {
    Connection* connection = nullptr;
    InternalSubscription* internal;
  };
  std::string sid;
};

}  // namespace brokkr::broker
