#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "http/server.h"
#include "io/loop.h"
#include "workload/http_routes.h"

namespace brokkr::app {

// The HTTP listener of a node's functions: its threads take requests, the loop finds the function, and
// the thread waits for its answer. Opened and destroyed on the loop's thread, before and after the node.
class HttpGateway {
 public:
  // `address` is "port", ":port" or "host:port"; without a host this machine only. Fails with Syntax or
  // System.
  static Result<std::unique_ptr<HttpGateway>> open(io::Loop& loop, Log& log,
                                                   const std::string& address);
  ~HttpGateway();
  HttpGateway(const HttpGateway&) = delete;
  HttpGateway& operator=(const HttpGateway&) = delete;

  workload::HttpRoutes& routes() { return routes_; }

 private:
  explicit HttpGateway(io::Loop& loop) : loop_(loop) {}
  http::Response answer(const http::Request& request);

  struct Waiting;
  io::Loop& loop_;
  workload::HttpRoutes routes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stopping_ = false;
  std::unique_ptr<http::Server> server_;  // ends first
};

}  // namespace brokkr::app
