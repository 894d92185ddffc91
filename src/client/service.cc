#include "client/service.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/json.h"
#include "protocol/headers.h"

namespace brokkr::client {
namespace {

bool is_service_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    const char lower = to_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

// major.minor.patch, then optionally "-pre" and "+build" of letters, digits, '-' and '.'.
bool is_semantic_version(std::string_view text) {
  const size_t core_end = text.find_first_of("-+");
  const auto numbers = split(text.substr(0, core_end), '.');
  if (numbers.size() != 3) return false;
  for (const std::string_view number : numbers) {
    if (!parse_uint(number) || (number.size() > 1 && number[0] == '0')) return false;
  }
  if (core_end == std::string_view::npos) return true;
  const std::string_view rest = text.substr(core_end + 1);
  return !rest.empty() && std::all_of(rest.begin(), rest.end(), [](char c) {
    const char lower = to_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '+';
  });
}

void write_metadata(json::Writer& out, const ServiceMetadata& metadata) {
  out.key("metadata").begin_object();
  for (const auto& [name, value] : metadata) out.field(name, value);
  out.end_object();
}

}  // namespace

// What Service and its requests share. Requests hold it weakly: an answer to a service that has
// gone is dropped.
class ServiceCore : public std::enable_shared_from_this<ServiceCore> {
 public:
  struct EndpointState {
    Service::Endpoint endpoint;
    Service::Handler handler;
    Service::EndpointStats stats;
    std::unique_ptr<Subscription> subscription;
  };

  ServiceCore(Connection& connection, std::string_view id, Service::Options options)
      : connection_(connection),
        options_(std::move(options)),
        id_(id),
        started_(connection.loop().clock().wall_now()) {}

  Status subscribe_verbs() {
    for (const std::string verb : {"PING", "INFO", "STATS"}) {
      const std::string plain = "$SRV." + verb;
      for (const std::string& subject :
           {plain, plain + "." + options_.name, plain + "." + options_.name + "." + id_}) {
        auto subscription =
            connection_.subscribe(subject, [this, verb](const Message& message) {
              if (!may_answer(message.reply)) return;
              static_cast<void>(connection_.publish(message.reply, describe(verb)));
            });
        if (!subscription) return subscription.error();
        verbs_.push_back(std::move(*subscription));
      }
    }
    return {};
  }

  Result<size_t> add_endpoint(Service::Endpoint endpoint, Service::Handler handler) {
    if (!is_service_name(endpoint.name)) {
      return Error{Errc::InvalidArgument, "endpoint name \"" + endpoint.name +
                                              "\": only letters, digits, '-' and '_'"};
    }
    if (endpoint.subject.empty()) endpoint.subject = endpoint.name;
    if (endpoint.queue_group.empty()) endpoint.queue_group = options_.queue_group;
    if (endpoint.is_queue_disabled) endpoint.queue_group.clear();
    const size_t number = endpoints_.size();
    auto subscription = connection_.subscribe(
        endpoint.subject, [this, number](const Message& message) { on_request(number, message); },
        {endpoint.queue_group, 0});
    if (!subscription) return subscription.error();
    auto state = std::make_unique<EndpointState>();
    state->endpoint = std::move(endpoint);
    state->handler = std::move(handler);
    state->subscription = std::move(*subscription);
    endpoints_.push_back(std::move(state));
    return number;
  }

  void on_request(size_t number, const Message& message) {
    const auto keep = shared_from_this();  // the handler may destroy the service
    endpoints_[number]->handler(ServiceRequest(weak_from_this(), number, message));
  }

  void count(size_t number, MonotonicTime started, std::string_view error) {
    Service::EndpointStats& stats = endpoints_[number]->stats;
    ++stats.requests;
    stats.processing_time += connection_.loop().clock().now() - started;
    if (error.empty()) return;
    ++stats.errors;
    stats.last_error = error;
  }

  void stop(DoneHandler done) {
    verbs_.clear();
    for (const auto& state : endpoints_) state->subscription->drain();
    connection_.flush(std::chrono::seconds(10), [done = std::move(done)](const Status& status) {
      if (done) done(status);
    });
  }

  // The service is going: nothing reaches it any more.
  void end() {
    is_ended_ = true;
    verbs_.clear();
    for (const auto& state : endpoints_) state->subscription.reset();
  }

  // Nobody awaits answers at "$...": there they would be somebody's request, made with our rights.
  bool may_answer(std::string_view reply) const {
    if (options_.is_answering_inboxes_only) return reply.starts_with('_');
    return !reply.empty() && !reply.starts_with('$');
  }

  Status send(std::string_view reply, std::string_view payload, std::string_view headers) {
    return connection_.publish(reply, payload, {{}, headers});
  }

  std::string describe(std::string_view verb) const {
    json::Writer out;
    out.begin_object();
    out.field("name", options_.name).field("id", id_).field("version", options_.version);
    write_metadata(out, options_.metadata);
    out.field("type", "io.nats.micro.v1." + to_lower(verb) + "_response");
    if (verb == "INFO") out.field("description", options_.description);
    if (verb == "STATS") out.field("started", format_rfc3339(started_));
    if (verb != "PING") write_endpoints(out, verb == "STATS");
    out.end_object();
    return out.take();
  }

  void write_endpoints(json::Writer& out, bool with_stats) const {
    out.key("endpoints").begin_array();
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      const Service::Endpoint& endpoint = endpoints_[i]->endpoint;
      out.begin_object();
      out.field("name", endpoint.name).field("subject", endpoint.subject);
      out.field("queue_group", endpoint.queue_group);
      if (!with_stats) {
        write_metadata(out, endpoint.metadata);
        out.end_object();
        continue;
      }
      const Service::EndpointStats& stats = endpoints_[i]->stats;
      const int64_t total = stats.processing_time.count();
      out.field("num_requests", stats.requests).field("num_errors", stats.errors);
      out.field("last_error", stats.last_error).field("processing_time", total);
      const auto requests = static_cast<int64_t>(std::max<uint64_t>(stats.requests, 1));
      out.field("average_processing_time", total / requests);
      if (make_data_) {
        if (const std::string data = make_data_(i); !data.empty()) out.key("data").raw(data);
      }
      out.end_object();
    }
    out.end_array();
  }

  Connection& connection_;
  const Service::Options options_;
  const std::string id_;
  const WallTime started_;
  bool is_ended_ = false;
  std::vector<std::unique_ptr<EndpointState>> endpoints_;
  std::vector<std::unique_ptr<Subscription>> verbs_;
  Callback<std::string(size_t)> make_data_;
};

ServiceRequest::ServiceRequest(std::weak_ptr<ServiceCore> core, size_t endpoint,
                               const Message& message)
    : core_(std::move(core)), endpoint_(endpoint), message_(message), reply_(message.reply) {
  if (const auto locked = core_.lock()) started_ = locked->connection_.loop().clock().now();
}
ServiceRequest::ServiceRequest(ServiceRequest&&) noexcept = default;
ServiceRequest& ServiceRequest::operator=(ServiceRequest&&) noexcept = default;
ServiceRequest::~ServiceRequest() = default;

Status ServiceRequest::respond(std::string_view payload, std::string_view headers) {
  return answer(payload, headers, {});
}

Status ServiceRequest::respond_error(int code, std::string_view description,
                                     std::string_view payload, std::string_view headers) {
  const std::string number = std::to_string(code);
  std::string line(description);
  // A description may come from a program's own text; a header takes one line.
  std::replace_if(line.begin(), line.end(), [](char c) { return c == '\r' || c == '\n'; }, ' ');
  const std::string block = protocol::with_header(
      protocol::with_header(headers, "Nats-Service-Error", line), "Nats-Service-Error-Code",
      number);
  return answer(payload, block, number + ":" + line);
}

Status ServiceRequest::answer(std::string_view payload, std::string_view headers,
                              std::string_view error) {
  if (answered_) return Error{Errc::InvalidArgument, "the request has been answered already"};
  const auto core = core_.lock();
  if (core == nullptr || core->is_ended_) return Error{Errc::Closed, "the service has gone"};
  Status sent;
  if (core->may_answer(reply_)) sent = core->send(reply_, payload, headers);
  answered_ = static_cast<bool>(sent);  // what could not be sent may be answered shorter
  if (sent) core->count(endpoint_, started_, error);
  return sent;
}

Result<std::unique_ptr<Service>> Service::start(Connection& connection, Random& random,
                                                Options options) {
  if (!is_service_name(options.name)) {
    return Error{Errc::InvalidArgument,
                 "service name \"" + options.name + "\": only letters, digits, '-' and '_'"};
  }
  if (!is_semantic_version(options.version)) {
    return Error{Errc::InvalidArgument,
                 "service version \"" + options.version + "\" is no semantic version"};
  }
  Nuid nuid(random);
  std::unique_ptr<Service> service(new Service());
  service->core_ = std::make_shared<ServiceCore>(connection, nuid.next(), std::move(options));
  if (Status status = service->core_->subscribe_verbs(); !status) return status.error();
  return service;
}

Service::~Service() {
  core_->end();
}

Result<size_t> Service::add_endpoint(Endpoint endpoint, Handler handler) {
  return core_->add_endpoint(std::move(endpoint), std::move(handler));
}
void Service::on_stats(Callback<std::string(size_t)> make_data) {
  core_->make_data_ = std::move(make_data);
}
void Service::stop(DoneHandler done) { core_->stop(std::move(done)); }
const std::string& Service::id() const { return core_->id_; }
Service::EndpointStats Service::stats(size_t endpoint) const {
  return core_->endpoints_[endpoint]->stats;
}
void Service::reset_stats() {
  for (const auto& state : core_->endpoints_) state->stats = {};
}

}  // namespace brokkr::client
