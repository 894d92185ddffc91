#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/callback.h"
#include "base/result.h"

namespace brokkr::workload {

// An HTTP request as a node's listener hands it over, and what goes back.
struct RouteRequest {
  std::string method;
  std::string path;   // decoded, without the query
  std::string query;  // "a=1&b=2", decoded
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string remote;
};
struct RouteResponse {
  int status = 200;
  std::string content_type;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};
using RouteAnswer = Callback<void(RouteResponse)>;

// Which workload a path is: "/orders" of namespace "default", "/ns/<namespace>/orders" of others. A path
// ending in "/*" takes everything below it; the longest match counts. Whoever listens finds routes here;
// functions put theirs. Loop-confined.
class HttpRoutes {
 public:
  using Handler = Callback<void(RouteRequest, RouteAnswer)>;

  // A path as long as it lives.
  class Route {
   public:
    ~Route();
    Route(const Route&) = delete;
    Route& operator=(const Route&) = delete;

   private:
    friend class HttpRoutes;
    Route() = default;
    std::weak_ptr<HttpRoutes*> routes_;
    std::string path_;
    uint64_t number_ = 0;
  };

  HttpRoutes() = default;
  HttpRoutes(const HttpRoutes&) = delete;
  HttpRoutes& operator=(const HttpRoutes&) = delete;

  // Somebody listens; without it no route can be had.
  void set_listening(std::string address) { address_ = std::move(address); }
  const std::string& address() const { return address_; }

  // `owner` ("ns/name") may take its own path again: the newer handler gets the requests. Fails with
  // AlreadyExists when it is another's, Unavailable when nobody listens, InvalidArgument.
  Result<std::unique_ptr<Route>> add(std::string_view ns, std::string_view path, std::string owner,
                                     Handler handler);
  // Has the request answered: 404 without a route. `answer` is called once.
  void serve(RouteRequest request, RouteAnswer answer);

 private:
  struct Entry {
    std::string owner;
    std::vector<std::pair<uint64_t, Handler>> handlers;  // the last one counts
  };
  const Entry* find(std::string_view path) const;

  std::string address_;
  std::unordered_map<std::string, Entry> entries_;
  uint64_t last_number_ = 0;
  std::shared_ptr<HttpRoutes*> self_ = std::make_shared<HttpRoutes*>(this);
};

// "/orders" or "/orders/*": begins with a slash, no query, no blanks, no "..". Pure.
bool is_route_path(std::string_view path);

}  // namespace brokkr::workload
