#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/options_accounts.h"
#include "config/options_auth.h"
#include "config/options_listeners.h"
#include "config/options_tls.h"

namespace brokkr::config {

enum class SandboxMode : uint8_t { BestEffort, Required };

// The block `jetstream`, beside whether it is on and where it keeps its files.
struct JetStreamOptions {
  int64_t max_memory = -1;   // bytes; -1: by the machine
  int64_t max_storage = -1;  // bytes; -1: by the disk
  std::string domain;
  bool strict = true;
  Duration sync_interval{};  // zero: every group of messages is synced before it is acknowledged
  std::string cipher;        // "chacha", "aes" or empty
  std::string key;           // empty: not encrypted
  std::string previous_key;
  int64_t request_queue_limit = 10'000;
  int64_t max_ack_pending = -1;
  int64_t max_request_batch = -1;
  Duration duplicate_window{};  // zero: no limit
  bool operator==(const JetStreamOptions&) const = default;
};

// Every setting of the server, with nats-server's names and defaults. Ports: -1 means any free one,
// 0 means none (for the client port: 4222). A value type.
struct Options {
  // Addresses.
  std::string host = "0.0.0.0";
  int port = 4222;
  std::string client_advertise;
  std::string server_name;  // empty: one is made up
  std::vector<std::string> server_tags;
  std::map<std::string, std::string> server_metadata;

  // Monitoring.
  std::string http_host;  // empty: `host`
  int http_port = 0;
  int https_port = 0;  // needs `tls`
  std::string http_base_path;

  // Files of the process.
  std::string pid_file;
  std::string ports_file_dir;

  // Log.
  std::string log_file;
  int64_t log_size_limit = 0;
  int64_t log_max_files = 0;
  bool debug = false;
  bool trace = false;
  bool trace_verbose = false;
  bool trace_headers = false;
  bool logtime = true;
  bool logtime_utc = false;
  int64_t max_traced_msg_len = 0;
  int64_t connect_error_reports = 3600;
  int64_t reconnect_error_reports = 1;

  // Limits; -1 means none where it makes sense.
  int64_t max_payload = 1 << 20;
  int64_t max_connections = 64 << 10;
  int64_t max_subscriptions = 0;  // per connection; 0 and less mean no limit
  int64_t max_control_line = 4096;
  int64_t max_pending = 64 << 20;
  int64_t max_sub_tokens = 0;  // 0 means no limit
  int64_t max_closed_clients = 10000;

  // Timers.
  Duration ping_interval = std::chrono::minutes(2);
  int64_t ping_max = 2;
  Duration write_deadline = std::chrono::seconds(10);
  WriteTimeoutPolicy write_timeout = WriteTimeoutPolicy::Default;
  Duration lame_duck_duration = std::chrono::minutes(2);
  Duration lame_duck_grace_period = std::chrono::seconds(10);

  bool no_fast_producer_stall = false;
  bool no_header_support = false;

  Authorization authorization;
  std::vector<Account> accounts;
  std::vector<SubjectMapping> mappings;  // of $G
  OperatorOptions operator_mode;

  // TLS of the client port and of https. The flags --tls... are on top of the file's.
  std::optional<TlsOptions> tls;
  bool allow_non_tls = false;  // who does not begin a handshake is served without

  WebsocketOptions websocket;
  LeafnodeOptions leafnodes;

  bool jetstream = false;
  std::string store_dir;  // empty: chosen by the program
  JetStreamOptions jetstream_options;
  std::string system_account;  // empty: $SYS
  bool no_system_account = false;

  // The block `brokkr { }`, ours alone.
  int loops = 0;  // 0: chosen by the number of CPUs
  SandboxMode sandbox = SandboxMode::BestEffort;
  std::string data_dir;

  // Where this came from; empty without a file.
  std::string config_file;
  std::string config_digest;
  // Keys that were understood and have no effect in this release, sorted: one warning at the start.
  std::vector<std::string> later_keys;
};

}  // namespace brokkr::config
