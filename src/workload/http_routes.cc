#include "workload/http_routes.h"

#include <algorithm>

namespace brokkr::workload {
namespace {

constexpr std::string_view kNamespacesPath = "/ns/";
constexpr size_t kRoutePathMax = 512;

std::string whole_path(std::string_view ns, std::string_view path) {
  if (ns == "default") return std::string(path);
  return std::string(kNamespacesPath) + std::string(ns) + std::string(path);
}

}  // namespace

bool is_route_path(std::string_view path) {
  if (!path.starts_with('/') || path.size() > kRoutePathMax) return false;
  if (path.find("..") != std::string_view::npos || path.find("//") != std::string_view::npos) {
    return false;
  }
  const size_t star = path.find('*');
  if (star != std::string_view::npos && (star + 1 != path.size() || path[star - 1] != '/')) {
    return false;
  }
  return std::all_of(path.begin(), path.end(),
                     [](char c) { return c > ' ' && c < 127 && c != '?' && c != '#'; });
}

HttpRoutes::Route::~Route() {
  const auto routes = routes_.lock();
  if (routes == nullptr) return;
  auto& entries = (*routes)->entries_;
  const auto found = entries.find(path_);
  if (found == entries.end()) return;
  std::erase_if(found->second.handlers, [&](const auto& entry) { return entry.first == number_; });
  if (found->second.handlers.empty()) entries.erase(found);
}

Result<std::unique_ptr<HttpRoutes::Route>> HttpRoutes::add(std::string_view ns,
                                                           std::string_view path,
                                                           std::string owner, Handler handler) {
  if (address_.empty()) {
    return Error{Errc::Unavailable, "the node serves no HTTP: it was started without --http-triggers"};
  }
  if (!is_route_path(path) || (ns == "default" && path.starts_with(kNamespacesPath))) {
    return Error{Errc::InvalidArgument, "\"" + std::string(path) + "\" is no path for a trigger"};
  }
  std::unique_ptr<Route> route(new Route);
  route->path_ = whole_path(ns, path);
  Entry& entry = entries_[route->path_];
  if (!entry.handlers.empty() && entry.owner != owner) {
    return Error{Errc::AlreadyExists,
                 "path " + route->path_ + " is of workload " + entry.owner + " here"};
  }
  entry.owner = std::move(owner);
  route->routes_ = self_;
  route->number_ = ++last_number_;
  entry.handlers.emplace_back(route->number_, std::move(handler));
  return route;
}

const HttpRoutes::Entry* HttpRoutes::find(std::string_view path) const {
  auto found = entries_.find(std::string(path));
  if (found != entries_.end() && !path.ends_with('*')) return &found->second;
  // What no workload of a namespace takes is nobody else's.
  const bool is_of_namespace = path.starts_with(kNamespacesPath);
  for (size_t slash = path.rfind('/'); slash != std::string_view::npos;
       slash = slash == 0 ? std::string_view::npos : path.rfind('/', slash - 1)) {
    if (is_of_namespace && slash + 1 < kNamespacesPath.size()) return nullptr;
    found = entries_.find(std::string(path.substr(0, slash + 1)) + "*");
    if (found != entries_.end()) return &found->second;
  }
  return nullptr;
}

void HttpRoutes::serve(RouteRequest request, RouteAnswer answer) {
  const Entry* entry = find(request.path);
  if (entry == nullptr || entry->handlers.empty()) {
    return answer({404, "application/json", {}, "{\"error\":{\"code\":404,\"message\":\"no function at this path\"}}\n"});
  }
  entry->handlers.back().second(std::move(request), std::move(answer));
}

}  // namespace brokkr::workload
