#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace brokkr {
class Random;
}

namespace brokkr::broker {

class Server;

// How the server calls itself in what it says in the system account: the object "server", with a
// number that counts up. Thread-safe.
class ServerIdentity {
 public:
  explicit ServerIdentity(Server& server) : server_(server) {}
  // The members, into the object that is open.
  void write(json::Writer& out);
  // {"server":{…},"data":…}; `data` is JSON, or empty for none.
  std::string wrap(std::string_view data);
  // {"server":{…},"error":{"code":…,"description":…}}; with `has_data` also "data":null, as where
  // a document was asked for.
  std::string wrap_error(int code, std::string_view description, bool has_data = false);
  // {"name":…,"host":…,"id":…}
  std::string id() const;

 private:
  Server& server_;
  std::atomic<uint64_t> sequence_{0};
};

// The first members of an event: type, id, timestamp.
void write_event_head(json::Writer& out, std::string_view type, Random& random,
                      std::string_view timestamp);

}  // namespace brokkr::broker
