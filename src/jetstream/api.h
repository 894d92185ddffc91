#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/json.h"
#include "jetstream/api_error.h"

namespace brokkr::jetstream {

class Account;

// One request to `$JS.API`, and the ways to answer it. Handlers run between messages: they may
// subscribe, unsubscribe and publish. A copy may be kept to answer later, while the account lives.
// Loop-confined.
class ApiRequest {
 public:
  // `subject` begins with "$JS.API." whatever the domain in the one published was. `client` is the
  // JSON object that advisories show of the requester.
  ApiRequest(Account& account, std::string subject, std::string reply, std::string headers,
             std::string body, std::string client);

  Account& account() const { return *account_; }
  const std::string& subject() const { return subject_; }
  // The token at `index` after "$JS.API": 0 is "STREAM", "CONSUMER"…; empty beyond the end.
  std::string_view token(size_t index) const;
  // The tokens from `index` on, with their dots; empty beyond the end.
  std::string_view tail(size_t index) const;
  size_t token_count() const { return starts_.size(); }
  const std::string& reply() const { return reply_; }
  const std::string& headers() const { return headers_; }  // a whole NATS/1.0 block, or empty
  const std::string& body() const { return body_; }
  const std::string& client() const { return client_; }

  // The body as a JSON value, for StructReader; blank is null. 10025 with Go's text when it is none.
  ApiResult<json::Value> parse_body() const;
  // For requests whose body may be left out: only one that begins with { or [ is read.
  ApiResult<json::Value> parse_optional_body() const;
  bool has_empty_body() const;  // nothing, or an empty object
  // For requests without content: 10038 unless the body is empty or an empty object.
  ApiStatus expect_empty_body() const;

  // Whether unknown members in the body are errors.
  bool is_strict() const;

  // Answers with {"type":"io.nats.jetstream.api.v1.<type>", …}; `members` adds what follows. The
  // answer leaves once everything done so far is durable, in the order of these calls.
  void respond(std::string_view type, FunctionRef<void(json::Writer&)> members) const;
  // The same without an advisory that tells of it; not counted either.
  void respond_unaudited(std::string_view type, FunctionRef<void(json::Writer&)> members) const;
  // The same with an error, and after it the members that the type always has: nats-server's for
  // the type, or those of `members`.
  void respond_error(std::string_view type, const ApiError& error) const;
  void respond_error(std::string_view type, const ApiError& error,
                     FunctionRef<void(json::Writer&)> members) const;
  // An answer that is written already.
  void respond_raw(std::string text, bool is_error) const;

 private:
  void leave_when_durable(std::string text, bool is_audited) const;

  Account* account_;
  std::string subject_;
  std::vector<size_t> starts_;  // of the tokens after "$JS.API."
  std::string reply_;
  std::string headers_;
  std::string body_;
  std::string client_;
};

// What is checked of every request first: the API level it asks for (10185), and that JetStream is
// on for the account (10039).
ApiStatus check_request(const ApiRequest& request);

// The member "error".
void write_api_error(json::Writer& out, const ApiError& error);

}  // namespace brokkr::jetstream
