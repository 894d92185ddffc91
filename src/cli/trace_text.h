#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"

// The way of one message through servers, as their trace events tell it. Pure.
namespace brokkr::cli {

// Everything servers said about one message; the order in which it came does not matter.
class MessageTrace {
 public:
  // False when `event` is none.
  bool add(json::Value event);
  // The first server and every one it and the others passed the message on to have told.
  bool is_complete() const;
  bool has_origin() const { return origin_.is_object(); }

  // The tree of hops, with the time since the start before each line if wanted.
  std::string text(bool has_times) const;
  // How often the message left, by kind: "Client", "JetStream". Known once `text` was made.
  const std::map<std::string, int64_t>& egress_counts() const { return counts_; }

 private:
  void render(const json::Value& event, size_t depth, bool has_times, std::string& out) const;
  void render_egress(const json::Value& egress, size_t depth, bool has_times, std::string& out) const;
  std::string stamped(const json::Value& event, bool has_times, std::string text) const;
  bool has_all_links(const json::Value& event) const;

  json::Value origin_;
  std::map<std::string, json::Value> hops_;  // by what Nats-Trace-Hop says
  mutable std::map<std::string, int64_t> counts_;
  mutable std::string start_;
};

// "--C" and so on: how a message travels to a connection of that kind.
std::string arrow_of(int64_t kind);

}  // namespace brokkr::cli
