#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

// What is to run and with which rights: the content of `run_request` of a deployment and of
// `start_request` of a Nexfile. `uri argv environment expose_ports` are those of Nex 0.4.x; all else
// is ours. Absent members and zeros mean the node's default. Values.
namespace brokkr::workload {

using Pairs = std::vector<std::pair<std::string, std::string>>;
using Words = std::vector<std::string>;

// Limits of one function.
struct RunLimits {
  uint64_t wall_time_ms = 0;
  uint64_t heap_bytes = 0;
  uint64_t reply_bytes = 0;
  uint32_t in_flight = 0;      // calls an instance works on at once
  uint32_t queue = 0;          // calls waiting beyond that before 503
  uint32_t max_instances = 0;
  uint32_t log_lines_per_second = 0;
};

// What a service, job, image or microVM may use of the machine; also what placement counts.
struct Resources {
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;  // 1000 is one CPU
  uint32_t pids = 0;
  uint64_t io_bytes_per_second = 0;
  uint64_t disk_bytes = 0;  // of its writable root and /tmp
};

// What starts a function. A plain `trigger_subjects` entry is a Subject trigger.
struct Trigger {
  enum class Kind : uint8_t { Subject, Stream, KeyValue, Object, Schedule, Http };
  Kind kind = Kind::Subject;
  std::string subject;   // Subject; Stream: filter, empty means all of the stream
  std::string stream;    // Stream: consumed durably, acknowledged after success
  std::string bucket;    // KeyValue, Object
  std::string key;       // KeyValue: a pattern, ">" when empty
  std::string schedule;  // Schedule: "@every 5s", "@daily" or five or six cron fields
  std::string path;      // Http: "/orders"
  // Stream, KeyValue and Object: attempts, the pauses between them in nanoseconds, and where a
  // message goes that no attempt could handle ("" means stream NEX_DLQ_<ns>).
  uint32_t max_deliver = 0;
  std::vector<int64_t> backoff_ns;
  int64_t ack_wait_ns = 0;
  std::string dead_letter;
  bool is_kept = false;  // "keep": its durable consumer stays when the function is undeployed
  std::string start;     // Stream: "all", "new" (default), "seq:N" or an RFC 3339 time
};

// What a workload may touch. With nothing declared it may use what its namespace may; once anything is
// declared, only what is.
struct Grants {
  bool is_declared = false;  // "grants" was there
  Words publish;             // subject patterns
  Words subscribe;
  Words buckets;             // key-value buckets by name
  Words object_buckets;
  Words streams;             // consumed or published to with acknowledgement
  Words secrets;
};

// "8080" (the same on both sides), "8080:80", "127.0.0.1:8080:80", "…/tcp": host address, host port
// (0: any free) and port inside.
struct PublishedPort {
  std::string host = "127.0.0.1";
  uint16_t host_port = 0;
  uint16_t port = 0;
};

struct HealthCheck {
  enum class Kind : uint8_t { None, Command, Tcp, Service };
  Kind kind = Kind::None;
  Words command;        // Command: run inside; exit code 0 is healthy
  uint16_t port = 0;    // Tcp: accepts a connection
  std::string service;  // Service: answers $SRV.PING.<name>
  int64_t interval_ns = 0;
  int64_t timeout_ns = 0;
  int64_t start_period_ns = 0;  // failures do not count so long
  uint32_t retries = 0;
};

struct RestartPolicy {
  enum class Kind : uint8_t { Default, Always, OnFailure, Never };
  Kind kind = Kind::Default;   // services: always; jobs: never
  uint32_t attempts_max = 0;   // in a row; 0 means without end
  int64_t backoff_ns = 0;      // first pause, doubling up to backoff_max_ns
  int64_t backoff_max_ns = 0;
  int64_t reset_after_ns = 0;  // running so long ends the row
};

// How a program is kept apart. Default: namespaces, for functions the zygote's profile.
enum class Isolation : uint8_t { Default, Sandbox, MicroVm, None };

struct RunRequest {
  // Where the program is: bytes here, or a place:
  //   nats://BUCKET/name[:tag]  object store, key "name_tag" when a tag is given
  //   sha256://HEX              the namespace's artifacts
  //   file:///path              on the node
  //   oci:FOLDER[:tag] | docker-archive:FILE[:tag] | oci-archive:FILE[:tag] | image:NAME[:tag]
  //   docker://REGISTRY/REPO[:tag|@digest]
  std::string artifact;  // bytes; base64 in JSON
  std::string uri;
  std::string sha256;    // lower-case hex of the bytes; the node refuses a mismatch
  std::string file_name;             // what stack traces and /proc call it
  Words trigger_subjects;
  std::vector<Trigger> triggers;
  std::string queue_group;           // empty means "nex.<ns>.<name>", so that replicas share
  bool is_broadcast = false;         // no queue group: every replica runs every message
  Words argv;                        // without argv[0]; of an image: instead of its command
  Words entrypoint;                  // of an image: instead of its own
  std::string workdir;
  std::string user;                  // of an image: instead of its own
  Pairs environment;                 // a value "secret://name" is the namespace's secret
  // The environment as a box sealed to the node's xkey, base64, and who sealed it; its JSON object
  // adds to `environment`.
  std::string sealed_environment;
  std::string sender_xkey;
  Pairs volumes;                     // name -> path inside, kept over restarts on one node
  RunLimits limits;
  Resources resources;
  Isolation isolation = Isolation::Default;
  Grants grants;
  Words egress;                      // "host", "host:port", "*.host:port", "10.0.0.0/8:443"
  std::vector<PublishedPort> ports;
  RestartPolicy restart;
  HealthCheck health;
  int64_t stop_grace_ns = 0;         // from SIGTERM to SIGKILL
  // Signed deploys: a generic-claims JWT of an issuer, see workload/signature.h.
  std::string workload_jwt;
};

// Fails with Syntax when the text is no JSON object and with InvalidArgument, naming the member, when
// one has another type or value than it may have. Unknown members are ignored.
Result<RunRequest> decode_run_request(std::string_view);
// Leaves out what has its default.
std::string encode(const RunRequest&);

// The JSON Schema of a run request. Lives as long as the program.
std::string_view run_request_schema();

// One entry of `ports`. Fails with InvalidArgument, naming the text.
Result<PublishedPort> parse_published_port(std::string_view);
// "64MiB", "64MB" (the same), "1.5G", "1000"; "0.5", "500m" of a CPU. False on anything else.
bool parse_byte_size(std::string_view, uint64_t& bytes);
bool parse_cpu(std::string_view, uint32_t& millis);

}  // namespace brokkr::workload
