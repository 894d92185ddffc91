#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/result.h"
#include "client/connection.h"

namespace brokkr::client {

class ServiceCore;
using ServiceMetadata = std::vector<std::pair<std::string, std::string>>;

// One request to an endpoint. It may be kept and answered later, also after its service has gone
// (then answering fails with Closed). The message's views are valid only within the handler.
// Move-only; Loop-confined.
class ServiceRequest {
 public:
  ServiceRequest(ServiceRequest&&) noexcept;
  ServiceRequest& operator=(ServiceRequest&&) noexcept;
  ~ServiceRequest();

  const Message& message() const { return message_; }
  // Where the answer goes; as long as this lives.
  const std::string& reply() const { return reply_; }
  // The first answer that could be sent counts into the endpoint's statistics; a later one fails with
  // InvalidArgument. `headers` is a block made by protocol::HeaderWriter.
  Status respond(std::string_view payload, std::string_view headers = {});
  // Answers with Nats-Service-Error and Nats-Service-Error-Code. `code` is not 0.
  Status respond_error(int code, std::string_view description, std::string_view payload = {},
                       std::string_view headers = {});
  bool is_answered() const { return answered_; }

 private:
  friend class ServiceCore;
  ServiceRequest(std::weak_ptr<ServiceCore> core, size_t endpoint, const Message& message);
  Status answer(std::string_view payload, std::string_view headers, std::string_view error);

  std::weak_ptr<ServiceCore> core_;
  size_t endpoint_ = 0;
  MonotonicTime started_{};
  Message message_;
  std::string reply_;
  bool answered_ = false;
};

// A NATS micro service: endpoints that answer requests, discoverable by $SRV.PING, $SRV.INFO and
// $SRV.STATS (plain, by name, and by name and id), with the schemas io.nats.micro.v1.*.
// Destroying it unsubscribes at once. Loop-confined.
class Service {
 public:
  struct Options {
    std::string name;     // A-Z a-z 0-9 - _
    std::string version;  // semantic version
    std::string description;
    ServiceMetadata metadata;
    std::string queue_group = "q";  // of endpoints that name none; empty means no queue group
    // Answers only at subjects that begin with "_", as inboxes do. Without it whoever may ask can have
    // answers sent to any subject but "$..." ones.
    bool is_answering_inboxes_only = false;
  };
  struct Endpoint {
    std::string name;     // A-Z a-z 0-9 - _
    std::string subject;  // the name when empty
    ServiceMetadata metadata;
    std::string queue_group;      // empty means the service's
    bool is_queue_disabled = false;
  };
  struct EndpointStats {
    uint64_t requests = 0;
    uint64_t errors = 0;
    std::string last_error;
    Duration processing_time{};
  };
  using Handler = Callback<void(ServiceRequest)>;

  // `connection` and `random` outlive the service. Fails with
  // InvalidArgument on a bad name or version.
  static Result<std::unique_ptr<Service>> start(Connection& connection, Random& random, Options);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Endpoint numbers count from 0 in order of adding.
  Result<size_t> add_endpoint(Endpoint, Handler);
  // Members an endpoint's STATS carry as "data": a JSON text made when asked.
  void on_stats(Callback<std::string(size_t endpoint)> make_data);
  // Drains every subscription, then calls back.
  void stop(DoneHandler done = {});

  const std::string& id() const;
  EndpointStats stats(size_t endpoint) const;
  void reset_stats();

 private:
  Service() = default;
  std::shared_ptr<ServiceCore> core_;
};

}  // namespace brokkr::client
