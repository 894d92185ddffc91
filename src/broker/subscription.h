#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "subject/interest_tree.h"

namespace brokkr::broker {

class Connection;
class InternalSubscription;
class LeafLink;
class LoopLink;
struct ServiceRoute;
struct StreamRoute;

// One entry of an account's interest tree: a client's SUB, a subscription of the server's own, the
// stand-in for the interest other loops have, a way to another account (a service that is imported, or
// the shadow that a subscription of an importing account casts), or what the server at the other end
// of a leaf link wants. Loop-confined.
struct Subscription : subject::Subscriber {
  enum class Kind : uint8_t { Client, Internal, OtherLoop, Service, Shadow, Leaf };

  Kind kind = Kind::Client;
  bool is_closing = false;  // delivers nothing more; taken out when the message at hand is done
  bool is_counted = false;  // in its account's total
  bool has_delivery_filter = false;  // wider than what the user may see: each subject is checked
  uint32_t max_messages = 0;         // 0 means no end
  uint32_t other_loop = 0;           // OtherLoop: which
  uint64_t delivered = 0;            // OtherLoop, Leaf: how many subscriptions it stands for
  union {
    Connection* connection = nullptr;
    InternalSubscription* internal;
    ServiceRoute* service;
    const StreamRoute* stream;  // Shadow, which is a ShadowSubscription
    LeafLink* leaf;
  };
  std::string sid;
};

// In the tree of the account that exports a stream: what somebody subscribed to in an account that
// imports it. Gets what the origin gets, under the importer's subject.
struct ShadowSubscription : Subscription {
  Subscription* origin = nullptr;
};

}  // namespace brokkr::broker
