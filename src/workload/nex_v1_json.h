#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "workload/control.h"
#include "workload/run_request.h"

// The JSON of Nex 0.2.7's control requests. Pure.
namespace brokkr::workload::v1 {

struct NodeFacts {
  std::string node_id;
  std::string nexus;
  std::string version;
  std::string uptime;
  std::string xkey;
  Pairs tags;
  Words types;
  std::vector<WorkloadInfo> workloads;
};

// {"type":"io.nats.nex.v1.<kind>_response",…}
std::string ping_response(const NodeFacts&, std::string_view kind);  // "ping" and "auction"
std::string workload_ping_response(const NodeFacts&);
std::string info_response(const NodeFacts&);
std::string run_response(std::string_view id, std::string_view issuer, std::string_view name);
std::string stop_response(std::string_view id, std::string_view issuer, std::string_view name);
std::string lameduck_response(std::string_view node_id, bool is_success);
std::string failure(std::string_view kind, std::string_view text);

// Unparseable text asks for any node, as Nex has it.
struct Auction {
  std::string arch;
  std::string os;
  bool is_sandboxed_said = false;
  bool is_sandboxed = true;
  Pairs tags;
  Words types;
};
Auction decode_auction(std::string_view);
bool is_viable(const Auction&, const NodeFacts&, bool is_sandboxed);

// What a workload's token says; its signature was checked.
struct Token {
  std::string issuer;
  std::string subject;
  std::string jti;
  int64_t issued = 0;
  std::string hash;  // "data.hash": a SHA-256, or the placeholder of the 0.2.7 CLI
};
// Fails with PermissionDenied when the token is none, or of an issuer that does not count.
Result<Token> decode_token(std::string_view jwt, const Words& issuers);

struct Deploy {
  DeployRequest request;  // name from the token; without its namespace
  RunRequest run;
  Token token;
};
// `location` may be Go's URL object or a text.
Result<Deploy> decode_deploy(std::string_view, const Words& issuers);

struct Stop {
  std::string workload_id;
  Token token;
};
Result<Stop> decode_stop(std::string_view, const Words& issuers);
// Whether `stop` may stop what `deploy` deployed: of the same issuer and subject, but another token.
Status check_stop(const Token& stop, const Token& deploy);

// "$NEX.events.<ns>.<type>", and "$NEX.logs.<ns>.<node>.<workload>.<id>": the order that is documented.
std::string event_subject(std::string_view ns, std::string_view type);
std::string log_subject(std::string_view ns, std::string_view node_id, std::string_view workload, std::string_view id);
// A CloudEvent 1.0; `data` is JSON.
std::string cloud_event(std::string_view id, std::string_view time, std::string_view type, std::string_view source,
                        std::string_view ns, std::string_view data);
std::string node_started_data(const NodeFacts&);
std::string heartbeat_data(const NodeFacts&);
// Written as Go's slog has them.
enum class LogLevel : uint8_t { Debug, Info, Error };
std::string log_body(LogLevel, std::string_view text, std::string_view id);

}  // namespace brokkr::workload::v1
