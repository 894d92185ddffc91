#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/options_auth.h"

namespace brokkr::config {

// What an account may use of JetStream; -1 means no limit.
struct AccountJetStream {
  int64_t max_memory = -1;
  int64_t max_storage = -1;
  int64_t max_streams = -1;
  int64_t max_consumers = -1;
  int64_t max_ack_pending = -1;
  int64_t memory_max_stream_bytes = -1;
  int64_t storage_max_stream_bytes = -1;
  bool max_bytes_required = false;
  bool operator==(const AccountJetStream&) const = default;
};

// A subject others may subscribe to.
struct StreamExport {
  std::string subject;
  std::vector<std::string> accounts;  // who may import it; empty: all
  // The token (from 1) of `subject`, a '*', that must name the importing account; 0: none.
  uint32_t account_token_position = 0;
  bool operator==(const StreamExport&) const = default;
};

// Where measured answers of a service are reported.
struct ServiceLatency {
  std::string subject;
  int sampling = 100;  // per cent; 0: only requests whose headers ask for it
  bool operator==(const ServiceLatency&) const = default;
};

enum class ResponseType : uint8_t { Singleton, Streamed, Chunked };

// A subject others may send requests to.
struct ServiceExport {
  std::string subject;
  std::vector<std::string> accounts;  // who may import it; empty: all
  uint32_t account_token_position = 0;
  ResponseType response_type = ResponseType::Singleton;
  Duration response_threshold{};  // zero: the default, 2 min
  std::optional<ServiceLatency> latency;
  bool allow_trace = false;
  bool operator==(const ServiceExport&) const = default;
};

// A stream of another account. At most one of `prefix` and `to`; without, the subject is the same.
struct StreamImport {
  std::string account;
  std::string subject;
  std::string prefix;
  std::string to;
  bool allow_trace = false;
  bool operator==(const StreamImport&) const = default;
};

// A service of another account; `to` is the local subject of it (`subject` when not given).
struct ServiceImport {
  std::string account;
  std::string subject;
  std::string to;
  bool share = false;
  bool operator==(const ServiceImport&) const = default;
};

// What is published to `source` goes to one of the destinations instead.
struct SubjectMapping {
  struct Destination {
    std::string subject;
    int weight = 100;     // per cent; what is missing to 100 keeps the source subject
    std::string cluster;  // empty: everywhere
    bool operator==(const Destination&) const = default;
  };
  std::string source;
  std::vector<Destination> destinations;
  bool operator==(const SubjectMapping&) const = default;
};

// One entry of `accounts`. Limits of -1 mean none.
struct Account {
  std::string name;
  std::string nkey;
  std::optional<PermissionRules> default_permissions;
  std::optional<AccountJetStream> jetstream;  // absent: not for this account
  int64_t max_connections = -1;
  int64_t max_subscriptions = -1;
  int64_t max_payload = -1;
  int64_t max_leafnodes = -1;

  std::vector<StreamExport> stream_exports;
  std::vector<ServiceExport> service_exports;
  std::vector<StreamImport> stream_imports;
  std::vector<ServiceImport> service_imports;
  std::vector<SubjectMapping> mappings;

  std::string trace_destination;  // of messages with an external trace header; empty: none
  int trace_sampling = 0;         // per cent, 1 to 100 with a destination
  bool operator==(const Account&) const = default;
};

}  // namespace brokkr::config
