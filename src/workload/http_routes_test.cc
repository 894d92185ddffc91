#include "workload/http_routes.h"

#include <gtest/gtest.h>

#include "workload/http_trigger.h"

namespace brokkr::workload {
namespace {

HttpRoutes::Handler answering(std::string text) {
  return [text](RouteRequest, RouteAnswer answer) { answer({200, "text/plain", {}, text}); };
}

std::string ask_route(HttpRoutes& routes, const std::string& path) {
  RouteRequest request;
  request.path = path;
  std::string got;
  routes.serve(std::move(request), [&](RouteResponse response) {
    got = response.status == 200 ? response.body : std::to_string(response.status);
  });
  return got;
}

TEST(HttpRoutes, TheLongestMatchCounts) {
  HttpRoutes routes;
  routes.set_listening("http://h");
  const auto all = routes.add("default", "/*", "default/a", answering("all"));
  const auto some = routes.add("default", "/x/*", "default/b", answering("some"));
  const auto one = routes.add("default", "/x/y", "default/c", answering("one"));
  ASSERT_TRUE(all && some && one);
  EXPECT_EQ(ask_route(routes, "/x/y"), "one");
  EXPECT_EQ(ask_route(routes, "/x/y/z"), "some");
  EXPECT_EQ(ask_route(routes, "/x/"), "some");
  EXPECT_EQ(ask_route(routes, "/x"), "all");
  EXPECT_EQ(ask_route(routes, "/x/*"), "some");
}

TEST(HttpRoutes, APathIsOneWorkloadsAndTheNewerVersionHasIt) {
  HttpRoutes routes;
  EXPECT_EQ(routes.add("default", "/a", "default/a", answering("")).error().code, Errc::Unavailable);
  routes.set_listening("http://h");
  auto old = routes.add("default", "/a", "default/a", answering("old"));
  ASSERT_TRUE(old);
  EXPECT_EQ(routes.add("default", "/a", "default/b", answering("")).error().code,
            Errc::AlreadyExists);
  auto newer = routes.add("default", "/a", "default/a", answering("new"));
  ASSERT_TRUE(newer);
  EXPECT_EQ(ask_route(routes, "/a"), "new");
  old->reset();
  EXPECT_EQ(ask_route(routes, "/a"), "new");
  newer->reset();
  EXPECT_EQ(ask_route(routes, "/a"), "404");
}

TEST(HttpRoutes, NamespacesHaveTheirOwnPaths) {
  HttpRoutes routes;
  routes.set_listening("http://h");
  EXPECT_FALSE(routes.add("default", "/ns/acme/a", "default/a", answering("stolen")));
  const auto theirs = routes.add("acme", "/a", "acme/a", answering("theirs"));
  ASSERT_TRUE(theirs);
  const auto all = routes.add("default", "/*", "default/a", answering("all"));
  ASSERT_TRUE(all);
  EXPECT_EQ(ask_route(routes, "/ns/acme/a"), "theirs");
  EXPECT_EQ(ask_route(routes, "/ns/acme/b"), "404");
  EXPECT_EQ(ask_route(routes, "/ns/beta/"), "404");
  EXPECT_EQ(ask_route(routes, "/ns"), "all");
  EXPECT_EQ(ask_route(routes, "/a"), "all");
}

TEST(HttpRoutes, KnowsWhatIsNoPath) {
  for (const char* path : {"", "a", "/a b", "/a?b", "/a#b", "/a/../b", "/a//b", "/a*", "/*/b", "/\x7f"}) {
    EXPECT_FALSE(is_route_path(path)) << path;
  }
  EXPECT_TRUE(is_route_path("/") && is_route_path("/*") && is_route_path("/a/b-c_d.e/*"));
}

TEST(HttpTrigger, TakesNoHeadersOfTheNodeFromOutside) {
  RouteRequest request;
  request.method = "POST";
  request.query = "a=1";
  request.remote = "127.0.0.1:1";
  request.headers = {{"X-A", "1"}, {"nats-brokkr-hops", "3"}, {"Nats-Msg-Id", "x"},
                     {"Connection", "close"}, {"Traceparent", "t"}};
  EXPECT_EQ(headers_of(request),
            "NATS/1.0\r\nX-A: 1\r\nTraceparent: t\r\nNats-Brokkr-Hops: 3\r\nNats-Brokkr-Http-Method: POST\r\n"
            "Nats-Brokkr-Http-Query: a=1\r\nNats-Brokkr-Http-Remote: 127.0.0.1:1\r\n\r\n");
}

TEST(HttpTrigger, ResultsBecomeResponses) {
  CallResult result;
  result.payload = "{}";
  EXPECT_EQ(make_response(result).content_type, "application/json");
  result.payload = "x";
  EXPECT_EQ(make_response(result).content_type, "application/octet-stream");
  result.headers = "NATS/1.0\r\nStatus-Code: 201\r\nContent-Type: a/b\r\nX: y\r\nDate: z\r\n\r\n";
  const RouteResponse made = make_response(result);
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(made.content_type, "a/b");
  ASSERT_EQ(made.headers.size(), 1U);
  result = {};
  result.has_reply = false;
  EXPECT_EQ(make_response(result).status, 204);
  result.code = runtime::OutcomeCode::TimedOut;
  result.error = "timed out";
  EXPECT_EQ(make_response(result).status, 504);
  EXPECT_EQ(make_response(result).body, R"({"error":{"code":504,"message":"timed out"}})");
}

}  // namespace
}  // namespace brokkr::workload
