#include "config/reload.h"

#include <string_view>
#include <type_traits>

namespace brokkr::config {
namespace {

std::string shown(const std::string& text) {
  return text;
}
std::string shown(bool truth) {
  return truth ? "true" : "false";
}
template <typename Number>
requires std::is_arithmetic_v<Number> std::string shown(Number number) {
  return std::to_string(number);
}
std::string shown(SandboxMode mode) {
  return mode == SandboxMode::Required ? "required" : "best-effort";
}

std::string shown(const JetStreamOptions&) {
  return "(a block)";
}

class Comparison {
 public:
  Comparison(const Options& before, const Options& after) : before_(before), after_(after) {}

  template <typename T>
  void hot(std::string_view name, T Options::*field) {
    if (before_.*field != after_.*field) difference_.hot.emplace_back(name);
  }

  template <typename T>
  void fixed(std::string_view name, T Options::*field) {
    if (before_.*field == after_.*field) return;
    difference_.errors.push_back("config reload not supported for " + std::string(name) + ": old=" +
                                 shown(before_.*field) + ", new=" + shown(after_.*field));
  }

  Difference take() { return std::move(difference_); }

 private:
  const Options& before_;
  const Options& after_;
  Difference difference_;
};

}  // namespace

Difference compare(const Options& before, const Options& after) {
  Comparison c(before, after);
  c.fixed("host", &Options::host);
  c.fixed("port", &Options::port);
  c.fixed("server_name", &Options::server_name);
  c.fixed("http_host", &Options::http_host);
  c.fixed("http_port", &Options::http_port);
  c.fixed("https_port", &Options::https_port);
  c.fixed("http_base_path", &Options::http_base_path);
  c.fixed("ports_file_dir", &Options::ports_file_dir);
  c.fixed("jetstream", &Options::jetstream);
  c.fixed("store_dir", &Options::store_dir);
  c.fixed("jetstream options", &Options::jetstream_options);
  c.fixed("no_header_support", &Options::no_header_support);
  c.fixed("loops", &Options::loops);
  c.fixed("sandbox", &Options::sandbox);
  c.fixed("data_dir", &Options::data_dir);
  c.hot("authorization", &Options::authorization);
  c.hot("accounts", &Options::accounts);
  c.hot("mappings", &Options::mappings);
  c.hot("operator_mode", &Options::operator_mode);
  c.hot("tls", &Options::tls);
  c.hot("allow_non_tls", &Options::allow_non_tls);
  c.hot("websocket", &Options::websocket);
  c.hot("leafnodes", &Options::leafnodes);
  c.hot("system_account", &Options::system_account);
  c.hot("no_system_account", &Options::no_system_account);
  c.hot("client_advertise", &Options::client_advertise);
  c.hot("server_tags", &Options::server_tags);
  c.hot("server_metadata", &Options::server_metadata);
  c.hot("pid_file", &Options::pid_file);
  c.hot("log_file", &Options::log_file);
  c.hot("log_size_limit", &Options::log_size_limit);
  c.hot("log_max_files", &Options::log_max_files);
  c.hot("debug", &Options::debug);
  c.hot("trace", &Options::trace);
  c.hot("trace_verbose", &Options::trace_verbose);
  c.hot("trace_headers", &Options::trace_headers);
  c.hot("logtime", &Options::logtime);
  c.hot("logtime_utc", &Options::logtime_utc);
  c.hot("max_traced_msg_len", &Options::max_traced_msg_len);
  c.hot("connect_error_reports", &Options::connect_error_reports);
  c.hot("reconnect_error_reports", &Options::reconnect_error_reports);
  c.hot("max_payload", &Options::max_payload);
  c.hot("max_connections", &Options::max_connections);
  c.hot("max_subscriptions", &Options::max_subscriptions);
  c.hot("max_control_line", &Options::max_control_line);
  c.hot("max_pending", &Options::max_pending);
  c.hot("max_sub_tokens", &Options::max_sub_tokens);
  c.hot("max_closed_clients", &Options::max_closed_clients);
  c.hot("ping_interval", &Options::ping_interval);
  c.hot("ping_max", &Options::ping_max);
  c.hot("write_deadline", &Options::write_deadline);
  c.hot("write_timeout", &Options::write_timeout);
  c.hot("lame_duck_duration", &Options::lame_duck_duration);
  c.hot("lame_duck_grace_period", &Options::lame_duck_grace_period);
  c.hot("no_fast_producer_stall", &Options::no_fast_producer_stall);
  c.hot("later_keys", &Options::later_keys);
  return c.take();
}

}  // namespace brokkr::config
