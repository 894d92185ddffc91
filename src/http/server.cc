#include "http/server.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "base/bytes.h"
#include "http/listen.h"

namespace brokkr::http {
namespace {

// A body too large is read and dropped up to this many times the limit, so that a client that sends
// all before it reads gets to see its 413.
constexpr size_t kDroppedBodyFactor = 16;

const std::string kTlsPriorities = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

// The library takes its options without const, and does not write to them.
void* text_option(const std::string& text) { return const_cast<char*>(text.c_str()); }

std::string text_of(const sockaddr* address) {
  char host[INET6_ADDRSTRLEN] = "";
  if (address != nullptr && address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
    return std::string(host) + ":" + std::to_string(ntohs(in.sin_port));
  }
  if (address != nullptr && address->sa_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
    return "[" + std::string(host) + "]:" + std::to_string(ntohs(in.sin6_port));
  }
  return {};
}

MHD_Result add_field(void* fields, MHD_ValueKind, const char* key, size_t key_size,
                     const char* value, size_t value_size) {
  static_cast<Request::Fields*>(fields)->emplace_back(
      std::string(key, key_size),
      value == nullptr ? std::string() : std::string(value, value_size));
  return MHD_YES;
}

Response refusal(int status, std::string text) {
  Response response;
  response.status = status;
  response.body = std::move(text) + "\n";
  return response;
}

// Blocks all signals while it lives, so that threads started meanwhile never take one.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// A request being received.
struct Incoming {
  std::string body;
  size_t body_bytes = 0;  // received, kept or not
};

class MicrohttpdServer final : public Server {
 public:
  MicrohttpdServer(Options options, Handler handler)
      : options_(std::move(options)), handler_(std::move(handler)) {}
  ~MicrohttpdServer() override { stop(); }

  Status start();
  uint16_t port() const override { return port_; }

 private:
  static MHD_Result on_access(void* self, MHD_Connection* connection, const char* path,
                              const char* method, const char*, const char* upload,
                              size_t* upload_size, void** state) {
    return static_cast<MicrohttpdServer*>(self)->access(connection, path, method, upload,
                                                        upload_size, state);
  }
  static void on_completed(void* self, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
    static_cast<MicrohttpdServer*>(self)->complete(state);
  }

  MHD_Result access(MHD_Connection*, const char* path, const char* method, const char* upload,
                    size_t* upload_size, void** state);
  Response answer(MHD_Connection*, const char* path, const char* method, const Incoming&);
  MHD_Result send(MHD_Connection*, Response response);
  void complete(void** state);
  void stop();

  const Options options_;
  const Handler handler_;
  uint16_t port_ = 0;
  MHD_Daemon* daemon_ = nullptr;
  std::mutex mutex_;
  std::condition_variable idle_;
  size_t under_way_ = 0;
};

Status MicrohttpdServer::start() {
  auto listening = listen_tcp(options_.host, options_.port);
  if (!listening) return listening.error();
  port_ = listening->port;
  const SignalsBlocked blocked;
  const auto idle_seconds = static_cast<unsigned>(
      std::max<int64_t>(1, std::chrono::ceil<std::chrono::seconds>(options_.idle_timeout).count()));
  std::vector<MHD_OptionItem> items = {
      {MHD_OPTION_CONNECTION_LIMIT, static_cast<intptr_t>(options_.connections_max), nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, static_cast<intptr_t>(idle_seconds), nullptr},
      {MHD_OPTION_STRICT_FOR_CLIENT, 1, nullptr},
      {MHD_OPTION_CONNECTION_MEMORY_LIMIT, static_cast<intptr_t>(options_.connection_bytes),
       nullptr},
  };
  if (options_.threads > 1) {
    items.push_back(
        {MHD_OPTION_THREAD_POOL_SIZE, static_cast<intptr_t>(options_.threads), nullptr});
  }
  const bool is_tls = !options_.tls_certificate.empty();
  if (is_tls) {
    items.push_back({MHD_OPTION_HTTPS_MEM_CERT, 0, text_option(options_.tls_certificate)});
    items.push_back({MHD_OPTION_HTTPS_MEM_KEY, 0, text_option(options_.tls_key)});
    items.push_back({MHD_OPTION_HTTPS_PRIORITIES, 0, text_option(kTlsPriorities)});
  }
  items.push_back({MHD_OPTION_END, 0, nullptr});
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC;
  if (is_tls) flags |= MHD_USE_TLS;
  daemon_ =
      MHD_start_daemon(flags, 0, nullptr, nullptr, &on_access,
                       this, MHD_OPTION_LISTEN_SOCKET, listening->fd, MHD_OPTION_NOTIFY_COMPLETED,
                       &on_completed, this, MHD_OPTION_ARRAY, items.data(), MHD_OPTION_END);
  if (daemon_ == nullptr) {
    close(listening->fd);
    return Error{Errc::System, "start http server on " + options_.host + ":" +
                                   std::to_string(port_) + ": not possible" +
                                   (is_tls ? " with this certificate and key" : "")};
  }
  return {};
}

void MicrohttpdServer::stop() {
  if (daemon_ == nullptr) return;
  const MHD_socket listening = MHD_quiesce_daemon(daemon_);
  if (listening != MHD_INVALID_SOCKET) close(listening);
  {
    std::unique_lock lock(mutex_);
    idle_.wait_for(lock, options_.stop_grace, [this] { return under_way_ == 0; });
  }
  MHD_stop_daemon(daemon_);
  daemon_ = nullptr;
}

// Called when the headers are there, then with each piece of the body, then once more.
MHD_Result MicrohttpdServer::access(MHD_Connection* connection, const char* path,
                                    const char* method, const char* upload, size_t* upload_size,
                                    void** state) {
  if (*state == nullptr) {
    *state = new Incoming();
    const std::lock_guard lock(mutex_);
    ++under_way_;
    return MHD_YES;
  }
  auto& incoming = *static_cast<Incoming*>(*state);
  if (*upload_size > 0) {
    incoming.body_bytes += *upload_size;
    if (incoming.body_bytes <= options_.body_bytes_max) incoming.body.append(upload, *upload_size);
    *upload_size = 0;
    const bool is_flood = incoming.body_bytes / kDroppedBodyFactor > options_.body_bytes_max;
    return is_flood ? MHD_NO : MHD_YES;
  }
  return send(connection, answer(connection, path, method, incoming));
}

Response MicrohttpdServer::answer(MHD_Connection* connection, const char* path, const char* method,
                                  const Incoming& incoming) {
  if (std::find(options_.methods.begin(), options_.methods.end(), method) ==
      options_.methods.end()) {
    Response refused = refusal(405, "method not allowed");
    std::string allowed;
    for (const std::string& name : options_.methods)
      allowed += (allowed.empty() ? "" : ", ") + name;
    refused.headers.emplace_back("Allow", allowed);
    return refused;
  }
  if (incoming.body_bytes > options_.body_bytes_max) {
    return refusal(413, "request body of " + std::to_string(incoming.body_bytes) +
                            " bytes exceeds " + std::to_string(options_.body_bytes_max));
  }
  if (path[0] != '/') return refusal(400, "path must begin with /");
  Request request;
  request.method = method;
  request.path = path;
  request.body = incoming.body;
  MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, &add_field, &request.query);
  MHD_get_connection_values_n(connection, MHD_HEADER_KIND, &add_field, &request.headers);
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  request.remote = text_of(info == nullptr ? nullptr : info->client_addr);
  return handler_(request);
}

MHD_Result MicrohttpdServer::send(MHD_Connection* connection, Response response) {
  MHD_Response* made = MHD_create_response_from_buffer(response.body.size(), response.body.data(),
                                                       MHD_RESPMEM_MUST_COPY);
  if (made == nullptr) return MHD_NO;
  MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, response.content_type.c_str());
  for (const auto& [name, value] : response.headers) {
    MHD_add_response_header(made, name.c_str(), value.c_str());
  }
  const MHD_Result queued =
      MHD_queue_response(connection, static_cast<unsigned>(response.status), made);
  MHD_destroy_response(made);
  return queued;
}

void MicrohttpdServer::complete(void** state) {
  if (*state == nullptr) return;
  delete static_cast<Incoming*>(*state);
  *state = nullptr;
  const std::lock_guard lock(mutex_);
  if (--under_way_ == 0) idle_.notify_all();
}

}  // namespace

std::string_view Request::find_query(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return {};
}

std::string_view Request::find_header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (equals_ignore_case(key, name)) return value;
  }
  return {};
}

Result<std::unique_ptr<Server>> Server::open(Options options, Handler handler) {
  auto server = std::make_unique<MicrohttpdServer>(std::move(options), std::move(handler));
  if (Status started = server->start(); !started) return started.error();
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace brokkr::http
