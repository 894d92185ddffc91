#include "app/server_options.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <thread>

#include "base/bytes.h"
#include "base/machine.h"
#include "broker/monitor/listeners.h"
#include "broker/tls_rules.h"
#include "broker/websocket/rules.h"
#include "jetstream/jetstream.h"

namespace brokkr::app {
namespace {

constexpr int kLoopsMax = 64;

uint32_t to_limit(int64_t value, uint32_t none) {
  if (value <= 0) return none;
  return static_cast<uint32_t>(std::min<int64_t>(value, UINT32_MAX));
}

// Reads flags one after the other and keeps what is not ours.
class FlagTaker {
 public:
  explicit FlagTaker(std::vector<std::string>& args) : args_(args) {}

  // The value of `--name value` or `--name=value` at the front; absent when another flag is there.
  std::optional<std::string> value(std::string_view name) {
    std::string_view arg = args_[at_];
    if (!arg.starts_with('-')) return std::nullopt;
    arg.remove_prefix(arg.starts_with("--") ? 2 : 1);
    if (arg.starts_with(name) && arg.substr(name.size()).starts_with('=')) {
      const std::string out(arg.substr(name.size() + 1));
      drop(1);
      return out;
    }
    if (arg != name) return std::nullopt;
    if (at_ + 1 >= args_.size()) {
      missing_ = name;
      return std::nullopt;
    }
    const std::string out = args_[at_ + 1];
    drop(2);
    return out;
  }
  bool toggle(std::string_view name) {
    std::string_view arg = args_[at_];
    if (arg != "--" + std::string(name)) return false;
    drop(1);
    return true;
  }
  void skip() { ++at_; }
  bool at_end() const { return at_ >= args_.size(); }
  const std::string& missing() const { return missing_; }

 private:
  void drop(size_t count) {
    const auto first = args_.begin() + static_cast<std::ptrdiff_t>(at_);
    args_.erase(first, first + static_cast<std::ptrdiff_t>(count));
  }
  std::vector<std::string>& args_;
  size_t at_ = 0;
  std::string missing_;
};

Status read_loops(const std::string& text, OwnFlags& flags) {
  const auto number = parse_uint(text);
  if (!number || *number < 1 || *number > kLoopsMax) {
    return Error{Errc::Syntax, "--loops takes a number from 1 to 64, not \"" + text + "\""};
  }
  flags.loops = static_cast<int>(*number);
  return {};
}

Status read_sandbox(const std::string& text, OwnFlags& flags) {
  if (text != "required" && text != "best-effort" && text != "off") {
    return Error{Errc::Syntax,
                 "--sandbox takes required, best-effort or off, not \"" + text + "\""};
  }
  flags.sandbox = text;
  return {};
}

Status read_number(const char* name, const std::string& text, uint64_t& out) {
  const auto number = parse_uint(text);
  if (!number || *number == 0 || *number > INT64_MAX) {
    return Error{Errc::Syntax,
                 std::string("--") + name + " takes a number above 0, not \"" + text + "\""};
  }
  out = *number;
  return {};
}

// Of host services; false when another flag is at the front.
bool take_host_service_flag(FlagTaker& taker, workload::HostServiceOptions& options, Status& read) {
  if (auto entry = taker.value("resolve")) {
    options.resolve.push_back(*entry);
  } else if (auto file = taker.value("http-ca")) {
    options.http_ca_file = *file;
  } else if (auto kv = taker.value("kv-bytes")) {
    read = read_number("kv-bytes", *kv, options.key_value_bytes_max);
  } else if (auto objects = taker.value("object-bytes")) {
    read = read_number("object-bytes", *objects, options.object_store_bytes_max);
  } else if (auto replicas = taker.value("bucket-replicas")) {
    uint64_t number = 0;
    read = read_number("bucket-replicas", *replicas, number);
    if (read && number > 5) read = Error{Errc::Syntax, "--bucket-replicas takes 1 to 5"};
    options.bucket_replicas = static_cast<uint32_t>(number);
  } else {
    return false;
  }
  return true;
}

Result<std::string> read_text(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return system_error(path.c_str(), errno);
  std::string text;
  char part[4096];
  size_t size = 0;
  while ((size = std::fread(part, 1, sizeof part, file)) > 0) text.append(part, size);
  std::fclose(file);
  return text;
}

Status read_node_files(const std::string& text, OwnFlags& flags) {
  if (!flags.node_files) flags.node_files.emplace();
  if (text == "none") return {};
  for (const std::string_view folder : split(text, ',')) {
    if (!folder.starts_with('/')) {
      return Error{Errc::Syntax, "--node-files takes absolute folders or none, not \"" + std::string(folder) + "\""};
    }
    flags.node_files->emplace_back(folder);
  }
  return {};
}

}  // namespace

Result<OwnFlags> take_own_flags(std::vector<std::string>& args) {
  OwnFlags flags;
  FlagTaker taker(args);
  while (!taker.at_end()) {
    Status read;
    if (auto data = taker.value("data")) {
      flags.data_dir = *data;
    } else if (auto loops = taker.value("loops")) {
      read = read_loops(*loops, flags);
    } else if (auto sandbox = taker.value("sandbox")) {
      read = read_sandbox(*sandbox, flags);
    } else if (auto name = taker.value("node-name")) {
      flags.node_name = *name;
    } else if (auto tag = taker.value("tag")) {
      if (tag->find('=') == std::string::npos) {
        read = Error{Errc::Syntax, "--tag takes key=value, not \"" + *tag + "\""};
      }
      flags.tags.push_back(*tag);
    } else if (auto issuer = taker.value("issuer")) {
      if (issuer->size() != 56 || !issuer->starts_with("A")) {
        read = Error{Errc::Syntax, "--issuer takes the public key of an account (A…), not \"" + *issuer + "\""};
      }
      flags.issuers.push_back(*issuer);
    } else if (auto address = taker.value("http-triggers")) {
      flags.http_triggers = *address;
    } else if (auto endpoint = taker.value("otlp-endpoint")) {
      flags.otlp_endpoint = *endpoint;
    } else if (auto folders = taker.value("node-files")) {
      read = read_node_files(*folders, flags);
    } else if (taker.toggle("cold-start")) {
      flags.cold_start = true;
    } else if (take_host_service_flag(taker, flags.host_services, read)) {
    } else if (taker.missing().empty()) {
      taker.skip();
    }
    if (!read) return read.error();
    if (!taker.missing().empty()) {
      return Error{Errc::Syntax, "flag --" + taker.missing() + " needs a value"};
    }
  }
  return flags;
}

std::string own_flags_text() {
  return "Brokkr Options:\n"
         "    --data <dir>                     Folder for data (default: per user)\n"
         "    --loops <n>                      Network loops (default: 1 up to 4 CPUs)\n"
         "    --sandbox <mode>                 required, best-effort (default) or off\n"
         "    --node-name <name>               Name of the workload node\n"
         "    --tag <key=value>                Tag of the workload node, repeatable\n"
         "    --issuer <account key>           Deploys need a signature of one of these, repeatable\n"
         "    --http-triggers <[host:]port>    Listen for functions with HTTP triggers\n"
         "    --otlp-endpoint <url>            OpenTelemetry collector for traces of workloads\n"
         "    --node-files <dir>[,<dir>]       Files of this machine deployments may name: below these, or none\n"
         "    --cold-start                     Start the engine in each function process\n"
         "    --resolve <host:port:addr[:port]>  Where functions find a web host, repeatable\n"
         "    --http-ca <file>                 Authorities functions' HTTPS trusts (default: the machine's)\n"
         "    --bucket-replicas <n>            Copies of buckets functions make (default: 1)\n"
         "    --kv-bytes, --object-bytes <n>   Their size at most (default: 256 MiB, 2 GiB)\n";
}

Result<broker::Settings> make_settings(const config::Options& options) {
  broker::Settings settings;
  settings.server_name = options.server_name;
  settings.config_digest = options.config_digest;
  settings.host = options.host;
  settings.port = options.port > 0 ? static_cast<uint16_t>(options.port) : uint16_t{0};
  settings.client_advertise = options.client_advertise;
  settings.tags = options.server_tags;
  settings.metadata.assign(options.server_metadata.begin(), options.server_metadata.end());
  settings.max_control_line = to_limit(options.max_control_line, 4096);
  settings.max_payload = to_limit(options.max_payload, 1 << 20);
  constexpr uint64_t kUsualPending = 64 << 20;
  settings.max_pending =
      options.max_pending > 0 ? static_cast<uint64_t>(options.max_pending) : kUsualPending;
  // A few clients that read nothing must not take a small machine with them.
  if (settings.max_pending == kUsualPending) {
    const uint64_t share = std::min(usable_memory() / 16, kUsualPending);
    settings.max_pending = std::max<uint64_t>(share, settings.max_payload);
  }
  settings.max_connections = options.max_connections == 0
                                 ? 65536
                                 : to_limit(options.max_connections, UINT32_MAX);
  settings.max_subscriptions = to_limit(options.max_subscriptions, 0);
  settings.max_sub_tokens = to_limit(options.max_sub_tokens, 0);
  settings.max_closed_clients = to_limit(options.max_closed_clients, 0);
  settings.ping_interval = options.ping_interval;
  settings.ping_max = to_limit(options.ping_max, 2);
  settings.write_deadline = options.write_deadline;
  Duration auth_timeout = std::chrono::seconds(2);
  if (options.tls) {
    auto tls = broker::make_tls_rules(*options.tls, options.allow_non_tls);
    if (!tls) return tls.error();
    settings.tls = std::move(*tls);
    auth_timeout = options.tls->timeout + std::chrono::seconds(1);
  }
  if (options.websocket.port != 0) {
    auto websocket = broker::make_websocket_rules(options.websocket);
    if (!websocket) return websocket.error();
    settings.websocket = std::move(*websocket);
  }
  settings.auth_timeout = options.authorization.timeout.value_or(auth_timeout);
  settings.lame_duck_duration = options.lame_duck_duration;
  settings.lame_duck_grace = options.lame_duck_grace_period;
  settings.headers = !options.no_header_support;
  settings.trace_headers = options.trace_headers;
  settings.max_traced_msg_len = to_limit(options.max_traced_msg_len, 0);
  settings.no_fast_producer_stall = options.no_fast_producer_stall;
  settings.jetstream_api_level = options.jetstream ? jetstream::kApiLevel : 0;
  settings.leafnodes_shown = broker::describe_leafnodes(options);
  if (!options.system_account.empty()) settings.system_account = options.system_account;
  settings.jetstream_domain = options.jetstream ? options.jetstream_options.domain : "";
  return settings;
}

Result<broker::Monitor::Options> make_monitor_options(const config::Options& options) {
  broker::Monitor::Options monitor;
  monitor.host = options.http_host.empty() ? options.host : options.http_host;
  const int port = options.https_port != 0 ? options.https_port : options.http_port;
  monitor.port = port < 0 ? uint16_t{0} : static_cast<uint16_t>(port);
  monitor.base_path = options.http_base_path;
  if (options.https_port == 0 || !options.tls) return monitor;
  const config::TlsOptions& tls = *options.tls;
  auto certificate = read_text(tls.certs.empty() ? tls.cert_file : tls.certs[0].cert_file);
  if (!certificate) return certificate.error();
  auto key = read_text(tls.certs.empty() ? tls.key_file : tls.certs[0].key_file);
  if (!key) return key.error();
  monitor.tls_certificate = std::move(*certificate);
  monitor.tls_key = std::move(*key);
  return monitor;
}

uint32_t choose_loops(const config::Options& options, int asked) {
  if (asked > 0) return static_cast<uint32_t>(asked);
  if (options.loops > 0) return static_cast<uint32_t>(std::min(options.loops, kLoopsMax));
  return std::max(1U, std::min(std::thread::hardware_concurrency() / 4, 16U));
}

}  // namespace brokkr::app
