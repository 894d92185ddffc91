#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "broker/connection.h"
#include "broker/monitor/query.h"

// /connz: which connections, in which order, and the document of them. Pure: what the loops know
// comes in as plain values (survey.h gathers it).
namespace brokkr::broker {

enum class ConnzSort : uint8_t {
  Cid,
  Start,
  Subs,
  Pending,
  MsgsTo,
  MsgsFrom,
  BytesTo,
  BytesFrom,
  Last,
  Idle,
  Uptime,
  Stop,
  Reason,
  Rtt,
};
enum class ConnzState : uint8_t { Open, Closed, All };

struct ConnzOptions {
  static constexpr uint64_t kLimitDefault = 1024;
  ConnzSort sort = ConnzSort::Cid;
  ConnzState state = ConnzState::Open;
  bool auth = false;
  bool subscriptions = false;
  bool subscriptions_detail = false;
  uint64_t offset = 0;
  uint64_t limit = kLimitDefault;
  uint64_t cid = 0;  // 0: all
  std::string user;
  std::string account;
  std::string mqtt_client;
  std::string filter_subject;  // open connections with a subscription that can match it
};

// Reads the request's parameters. Like nats-server's page it pays no heed to filter_subject, which
// is for requests over NATS. What is wrong is in `query.error()`.
ConnzOptions parse_connz_options(QueryReader& query);

// The order of that name; some are for closed connections only.
Result<ConnzSort> parse_connz_sort(const std::string& text, ConnzState state);

// One subscription in a list of them.
struct SubscriptionReport {
  std::string account;  // only in /subsz
  std::string subject;
  std::string queue;
  std::string sid;
  uint64_t messages = 0;
  uint64_t max = 0;
  uint64_t cid = 0;
};

// One connection, open or closed.
struct ConnectionReport {
  ConnectionType type = ConnectionType::Tcp;
  uint64_t cid = 0;
  std::string ip;
  uint16_t port = 0;
  WallTime start;
  WallTime last_activity;
  std::optional<WallTime> stop;
  std::string reason;
  Duration round_trip{};
  uint64_t pending_bytes = 0;
  Traffic traffic;
  uint64_t stalls = 0;
  uint64_t subscription_count = 0;
  std::string name;
  std::string lang;
  std::string version;
  std::string user;
  std::string account;
  std::string issuer_key;         // who signed the user's JWT
  std::vector<std::string> tags;  // of that JWT
  std::shared_ptr<const TlsFacts> tls;  // null: none
  std::vector<SubscriptionReport> subscriptions;
};

// What sorting needs to know of a connection; cheap to gather for all of them.
struct ConnectionKey {
  uint64_t cid = 0;
  uint32_t shard = 0;
  bool is_closed = false;
  int64_t rank = 0;
  std::string reason;  // only when sorted by it
};

// The measure `sort` goes by, from the numbers of a report; 0 for cid and reason.
int64_t rank_of(ConnzSort sort, const ConnectionReport& report, WallTime now);
// Sorts as nats-server does, equal ones by cid, and cuts out the page.
std::vector<ConnectionKey> select_page(std::vector<ConnectionKey> keys,
                                       const ConnzOptions& options);

struct Connz {
  std::string server_id;  // empty, as is the rest, when the account is unknown
  WallTime now;
  uint64_t total = 0;
  bool is_account_known = true;
  std::vector<ConnectionReport> connections;
};
std::string render_connz(const Connz& connz, const ConnzOptions& options);

// The round-trip time as nats-server rounds it.
std::string format_round_trip(Duration);

}  // namespace brokkr::broker
