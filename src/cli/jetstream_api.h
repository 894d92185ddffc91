#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cli/command.h"
#include "client/sync.h"

// JetStream's API as the commands use it: requests and answers in JSON, whole lists page by page.
namespace brokkr::cli {

class JetStream {
 public:
  static Result<JetStream> open(const Context&, const Values&);

  client::Session& session() { return *session_; }
  // "$JS.API.<verb>" or what the flags say instead.
  std::string subject(std::string_view verb) const { return prefix_ + "." + std::string(verb); }
  Duration timeout() const { return timeout_; }

  // The answer without its envelope checks; an answer that is an error becomes one, with the text
  // "<description> (<code>)", NotFound for 404; Unsupported when nobody serves JetStream.
  Result<json::Value> request(std::string_view verb, std::string_view body = {});
  // Every item of `member` ("streams", "consumers") of a paged answer. `body_members` are further
  // members of each request: "\"subject\":\"a\"".
  Result<std::vector<json::Value>> list(std::string_view verb, std::string_view member,
                                        std::string_view body_members = {});
  // Sorted.
  Result<std::vector<std::string>> names(std::string_view verb, std::string_view member,
                                         std::string_view body_members = {});
  // What the API of the meta leader understands.
  Result<int64_t> level();

  // What the last `list` said was missing or offline: the names.
  std::vector<std::string> missing;
  std::vector<std::pair<std::string, std::string>> offline;

 private:
  JetStream() = default;
  std::unique_ptr<client::Session> session_;
  std::string prefix_;
  Duration timeout_{};
  bool is_tracing_ = false;
};

bool is_valid_name(std::string_view name);
// Streams that belong to a key-value bucket, an object store or MQTT.
bool is_internal_stream(std::string_view name);
bool is_key_value_stream(std::string_view name);

// `error` as FatalIfError words it: "text: <error>".
Error prefixed(std::string_view text, const Error& error);

}  // namespace brokkr::cli
