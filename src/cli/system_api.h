#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "cli/command.h"
#include "cli/json_shape.h"
#include "client/sync.h"

// What servers answer in the system account: one question to all of them or to one.
namespace brokkr::cli {

// What one server answered.
struct ServerReply {
  std::string text;   // as it came
  json::Value json;
  Duration took{};    // since the question was sent

  // "server", "data" or "statsz", "error"; null when absent.
  const json::Value* server() const { return json.find("server"); }
  const json::Value* data() const { return json.find("data"); }
  // Why the server could not answer, or empty.
  std::string error() const;
  // The same, with the number that JetStream's errors have: "not found (10059)".
  std::string coded_error() const;
};

// Text and numbers of a member of a member; empty and zero when absent.
std::string_view text_in(const json::Value* object, std::string_view member);
int64_t number_in(const json::Value* object, std::string_view member);
bool flag_in(const json::Value* object, std::string_view member);
// Its items; none when it is no array.
const std::vector<json::Value>& items_in(const json::Value* object, std::string_view member);

class SystemApi {
 public:
  static Result<SystemApi> open(const Context&, const Values&);

  client::Session& session() { return *session_; }
  Duration timeout() const { return timeout_; }
  void set_timeout(Duration timeout) { timeout_ = timeout; }

  // Waits for `expected` answers; with 0 until 300 ms have passed after the last one. Fails with
  // Unsupported when nobody serves the subject; an empty list when nobody answered in time.
  Result<std::vector<ServerReply>> ask(const std::string& subject, std::string_view body,
                                       uint64_t expected);
  // How many servers the one that is nearest knows of; 0 when it does not say.
  Result<uint64_t> active_servers();

 private:
  SystemApi() = default;
  std::unique_ptr<client::Session> session_;
  Duration timeout_{};
  bool is_tracing_ = false;
};

// --host, --cluster and --tags as the members of a question that choose the servers to answer.
void add_server_filter(Draft& body, const Values&, std::string_view name_flag);
std::vector<Flag> server_filter_flags();

// What to say when nobody answered.
inline constexpr const char* kNoSystemAccount =
    "no results received, ensure the account used has system privileges and appropriate permissions";

// Leaves out the end that names share, as ".example.net", but never a first part.
std::vector<std::string> compact_names(std::vector<std::string> names);

}  // namespace brokkr::cli
