#include "workload/host_services/http.h"

#include <algorithm>

#include "base/json.h"
#include "client/headers.h"

namespace brokkr::workload {
namespace {

constexpr size_t kMethodBytesMax = 16;
constexpr size_t kRequestHeaderBytesMax = 64U << 10;

// Counts one request while it lives.
class OpenRequest {
 public:
  explicit OpenRequest(std::shared_ptr<size_t> count) : count_(std::move(count)) { ++*count_; }
  ~OpenRequest() { --*count_; }
  OpenRequest(const OpenRequest&) = delete;
  OpenRequest& operator=(const OpenRequest&) = delete;

 private:
  const std::shared_ptr<size_t> count_;
};

// Upper case; empty when it is none that may be asked for.
std::string method_of(std::string_view text) {
  std::string method(text);
  for (char& c : method) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (c < 'A' || c > 'Z') return {};
  }
  if (method.size() > kMethodBytesMax || method == "CONNECT" || method == "TRACE") return {};
  return method;
}

runtime::HostReply to_reply(HttpResponse& response) {
  if (response.code != 200) return refusal(response.code, std::move(response.error));
  runtime::HostReply reply;
  client::HeaderWriter headers;
  bool has_headers = false;
  for (const auto& [name, value] : response.headers) has_headers |= headers.add(name, value);
  if (has_headers) reply.headers = headers.take();
  json::Writer facts;
  facts.begin_object().field("status", static_cast<int64_t>(response.status));
  facts.field("statusText", response.status_text).field("url", response.url);
  facts.field("redirected", response.is_redirected).end_object();
  reply.more = facts.take();
  reply.payload = std::move(response.body);
  return reply;
}

}  // namespace

void HttpService::serve(const runtime::HostCall& call, Duration timeout, const Answer& answer) {
  HttpRequest request;
  request.method = method_of(call.method);
  if (request.method.empty()) {
    return answer.fail(501, "http has no method " + std::string(call.method.substr(0, 32)));
  }
  if (call.key == "manual") request.redirects = HttpRequest::Redirects::Manual;
  else if (call.key == "error") request.redirects = HttpRequest::Redirects::Error;
  else if (!call.key.empty() && call.key != "follow") {
    return answer.fail(400, "redirects are follow, manual or error");
  }
  if (call.headers.size() > kRequestHeaderBytesMax) return answer.fail(413, "the headers are too large");
  if (!call.headers.empty()) {
    const auto headers = client::Headers::parse(call.headers);
    if (!headers) return answer.fail(400, "the headers are not a header block");
    for (const client::Header& header : *headers) {
      request.headers.emplace_back(header.key, header.value);
    }
  }
  if (*open_ >= kRequestsMax) return answer.fail(429, "too many HTTP requests under way");
  request.url = call.target;
  request.body = call.payload;
  request.has_body = !call.payload.empty();
  request.timeout = timeout;
  request.egress = egress_;
  const auto open = std::make_shared<OpenRequest>(open_);
  const uint64_t number =
      client_.start(std::move(request), [answer, open](HttpResponse response) {
        answer.send(to_reply(response));
      });
  if (number == 0) return answer.fail(503, "too many HTTP requests under way");
  answer.on_cancel([&client = client_, number] { client.cancel(number); });
}

}  // namespace brokkr::workload
