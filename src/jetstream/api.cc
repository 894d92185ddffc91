#include "jetstream/api.h"

#include <charconv>
#include <memory>

#include "jetstream/account.h"
#include "jetstream/go_json.h"
#include "jetstream/jetstream.h"
#include "protocol/headers.h"

namespace brokkr::jetstream {
namespace {

constexpr size_t kPrefixTokens = 2;  // "$JS", "API"
constexpr const char* kZeroTime = "0001-01-01T00:00:00Z";

// The members that nats-server writes after an error, because its type cannot leave them out.
void write_fixed_members(std::string_view type, json::Writer& out) {
  const bool is_list = type == "stream_list_response" || type == "consumer_list_response" ||
                       type == "consumer_names_response";
  if (is_list || type == "stream_names_response" || type == "stream_info_response") {
    out.field("total", 0).field("offset", 0).field("limit", 0);
  }
  if (is_list) {
    out.key(type.starts_with("stream") ? "streams" : "consumers").begin_array().end_array();
  } else if (type == "stream_names_response") {
    out.key("streams").null();
  } else if (type == "stream_purge_response") {
    out.field("purged", 0);
  } else if (type == "stream_restore_response") {
    out.field("deliver_subject", "");
  } else if (type == "consumer_pause_response") {
    out.field("paused", false).field("pause_until", kZeroTime);
  }
}

json::Writer begin_response(std::string_view type) {
  json::Writer out;
  out.begin_object();
  out.field("type", "io.nats.jetstream.api.v1." + std::string(type));
  return out;
}

struct Answer {
  Account* account;
  std::string subject;
  std::string reply;
  std::string request;
  std::string client;
  std::string text;
  bool is_audited;
};

void send(const Answer& answer) {
  Account& account = *answer.account;
  if (!answer.reply.empty()) account.publish(answer.reply, {}, {}, answer.text);
  if (!answer.is_audited) return;
  account.advise("$JS.EVENT.ADVISORY.API", "io.nats.jetstream.advisory.v1.api_audit",
                 [&](json::Writer& out) {
                   out.field("server", account.jetstream().server().snapshot()->settings->server_name);
                   if (!answer.client.empty()) out.key("client").raw(answer.client);
                   out.field("subject", answer.subject);
                   if (!answer.request.empty()) out.field("request", answer.request);
                   out.field("response", answer.text);
                 });
}

// What is said instead when the disk fails while an answer waits for it: an error of the same type.
std::string failed_answer(std::string_view text) {
  const auto parsed = json::parse(text);
  const std::string_view type = parsed ? parsed->get_string("type") : std::string_view();
  json::Writer out;
  out.begin_object().field("type", type);
  write_api_error(out, api_error(10008));
  out.end_object();
  return out.take();
}

}  // namespace

ApiRequest::ApiRequest(Account& account, std::string subject, std::string reply,
                       std::string headers, std::string body, std::string client)
    : account_(&account),
      subject_(std::move(subject)),
      reply_(std::move(reply)),
      headers_(std::move(headers)),
      body_(std::move(body)),
      client_(std::move(client)) {
  size_t tokens = 0;
  size_t start = 0;
  for (;;) {
    if (tokens++ >= kPrefixTokens) starts_.push_back(start);
    const size_t dot = subject_.find('.', start);
    if (dot == std::string::npos) break;
    start = dot + 1;
  }
}

std::string_view ApiRequest::token(size_t index) const {
  if (index >= starts_.size()) return {};
  const std::string_view rest = std::string_view(subject_).substr(starts_[index]);
  return rest.substr(0, rest.find('.'));
}

std::string_view ApiRequest::tail(size_t index) const {
  if (index >= starts_.size()) return {};
  return std::string_view(subject_).substr(starts_[index]);
}

ApiResult<json::Value> ApiRequest::parse_body() const {
  return parse_go_json(body_);
}

ApiResult<json::Value> ApiRequest::parse_optional_body() const {
  const size_t first = body_.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || (body_[first] != '{' && body_[first] != '[')) {
    return json::Value();
  }
  return parse_go_json(body_);
}

bool ApiRequest::has_empty_body() const {
  if (body_.empty()) return true;
  const auto parsed = json::parse(body_);
  return parsed && parsed->is_object() && parsed->members().empty();
}

ApiStatus ApiRequest::expect_empty_body() const {
  if (has_empty_body()) return {};
  return api_error(10038);
}

bool ApiRequest::is_strict() const {
  return account_->jetstream().options().strict;
}

void ApiRequest::respond(std::string_view type, FunctionRef<void(json::Writer&)> members) const {
  json::Writer out = begin_response(type);
  members(out);
  out.end_object();
  respond_raw(out.take(), false);
}

void ApiRequest::respond_unaudited(std::string_view type,
                                   FunctionRef<void(json::Writer&)> members) const {
  json::Writer out = begin_response(type);
  members(out);
  out.end_object();
  leave_when_durable(out.take(), false);
}

void ApiRequest::respond_error(std::string_view type, const ApiError& error) const {
  respond_error(type, error, [&](json::Writer& out) { write_fixed_members(type, out); });
}

void ApiRequest::respond_error(std::string_view type, const ApiError& error,
                               FunctionRef<void(json::Writer&)> members) const {
  json::Writer out = begin_response(type);
  write_api_error(out, error);
  members(out);
  out.end_object();
  respond_raw(out.take(), true);
}

void ApiRequest::respond_raw(std::string text, bool is_error) const {
  JetStream& jetstream = account_->jetstream();
  for (ApiStats* stats : {&account_->api_stats(), &jetstream.api_stats()}) {
    ++stats->total;
    if (is_error) ++stats->errors;
  }
  leave_when_durable(std::move(text), true);
}

void ApiRequest::leave_when_durable(std::string text, bool is_audited) const {
  Answer answer{account_, subject_, reply_, body_, client_, std::move(text), is_audited};
  store::Store& store = account_->jetstream().store();
  // Of a store that has failed only what it can still read is told; see dispatch.
  // Removals are gathered until the turn ends: `appended` alone would not tell.
  const bool is_settled = store.appended() == store.durable() && !store.has_uncommitted();
  if (store.failure() != nullptr || is_settled) return send(answer);
  const auto waiting = std::make_shared<Answer>(std::move(answer));
  store.when_durable([waiting] { send(*waiting); },
                     [waiting] {
                       waiting->text = failed_answer(waiting->text);
                       send(*waiting);
                     });
}

ApiStatus check_request(const ApiRequest& request) {
  if (!request.headers().empty()) {
    const auto headers = protocol::Headers::parse(request.headers());
    const std::string_view level =
        headers ? headers->get("Nats-Required-Api-Level") : std::string_view();
    int wanted = 0;
    const char* const end = level.data() + level.size();
    const bool is_number = std::from_chars(level.data(), end, wanted).ptr == end;
    if (!level.empty() && (!is_number || wanted > kApiLevel)) return api_error(10185);
  }
  if (!request.account().is_enabled()) return api_error(10039);
  return {};
}

void write_api_error(json::Writer& out, const ApiError& error) {
  out.key("error").begin_object();
  out.field("code", int64_t{error.code}).field("err_code", int64_t{error.err_code});
  out.field("description", error.description);
  out.end_object();
}

}  // namespace brokkr::jetstream
