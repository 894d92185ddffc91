#include "protocol/info.h"

#include "base/json.h"

namespace brokkr::protocol {
namespace {

// Writes the fields Go marks "omitempty".
class SparseFields {
 public:
  explicit SparseFields(json::Writer& writer) : writer_(writer) {}
  void text(std::string_view name, const std::string& value) {
    if (!value.empty()) writer_.field(name, value);
  }
  void flag(std::string_view name, bool value) {
    if (value) writer_.field(name, true);
  }
  void list(std::string_view name, const std::vector<std::string>& values) {
    if (values.empty()) return;
    writer_.key(name).begin_array();
    for (const std::string& value : values) writer_.string(value);
    writer_.end_array();
  }

 private:
  json::Writer& writer_;
};

std::vector<std::string> read_list(const json::Value& object, std::string_view name) {
  std::vector<std::string> values;
  if (const json::Value* list = object.find(name)) {
    for (const json::Value& item : list->items()) {
      if (item.is_string()) values.emplace_back(item.as_string());
    }
  }
  return values;
}

int read_small(const json::Value& object, std::string_view name, int fallback) {
  const int64_t value = object.get_int(name, fallback);
  return value < INT32_MIN || value > INT32_MAX ? fallback : static_cast<int>(value);
}

}  // namespace

std::string make_info_line(const ServerInfo& info) {
  json::Writer writer;
  SparseFields sparse(writer);
  writer.begin_object();
  writer.field("server_id", info.server_id);
  writer.field("server_name", info.server_name);
  writer.field("version", info.version);
  writer.field("proto", info.proto);
  sparse.text("git_commit", info.git_commit);
  writer.field("go", info.go);
  writer.field("host", info.host);
  writer.field("port", info.port);
  writer.field("headers", info.headers);
  sparse.flag("auth_required", info.auth_required);
  sparse.flag("tls_required", info.tls_required);
  sparse.flag("tls_verify", info.tls_verify);
  sparse.flag("tls_available", info.tls_available);
  writer.field("max_payload", info.max_payload);
  sparse.flag("jetstream", info.jetstream);
  sparse.text("ip", info.ip);
  if (info.client_id != 0) writer.field("client_id", info.client_id);
  sparse.text("client_ip", info.client_ip);
  sparse.text("nonce", info.nonce);
  sparse.text("cluster", info.cluster);
  sparse.flag("cluster_dynamic", info.cluster_dynamic);
  sparse.text("domain", info.domain);
  sparse.list("connect_urls", info.connect_urls);
  sparse.list("ws_connect_urls", info.ws_connect_urls);
  sparse.flag("ldm", info.lame_duck_mode);
  sparse.flag("connect_info", info.connect_info);
  sparse.text("remote_account", info.remote_account);
  sparse.flag("acc_is_sys", info.acc_is_sys);
  if (info.api_lvl != 0) writer.field("api_lvl", info.api_lvl);
  sparse.text("xkey", info.xkey);
  writer.end_object();
  return "INFO " + writer.take() + " \r\n";
}

Result<ServerInfo> parse_info(std::string_view text) {
  const auto parsed = json::parse(text);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return Error{Errc::Syntax, "server info is no object"};
  const json::Value& object = *parsed;
  ServerInfo info;
  info.server_id = object.get_string("server_id");
  info.server_name = object.get_string("server_name");
  info.version = object.get_string("version");
  info.proto = read_small(object, "proto", 0);
  info.git_commit = object.get_string("git_commit");
  info.go = object.get_string("go");
  info.host = object.get_string("host");
  info.port = read_small(object, "port", 0);
  info.headers = object.get_bool("headers");
  info.auth_required = object.get_bool("auth_required");
  info.tls_required = object.get_bool("tls_required");
  info.tls_verify = object.get_bool("tls_verify");
  info.tls_available = object.get_bool("tls_available");
  info.max_payload = object.get_int("max_payload", info.max_payload);
  info.jetstream = object.get_bool("jetstream");
  info.ip = object.get_string("ip");
  info.client_id = static_cast<uint64_t>(object.get_int("client_id"));
  info.client_ip = object.get_string("client_ip");
  info.nonce = object.get_string("nonce");
  info.cluster = object.get_string("cluster");
  info.cluster_dynamic = object.get_bool("cluster_dynamic");
  info.domain = object.get_string("domain");
  info.connect_urls = read_list(object, "connect_urls");
  info.ws_connect_urls = read_list(object, "ws_connect_urls");
  info.lame_duck_mode = object.get_bool("ldm");
  info.connect_info = object.get_bool("connect_info");
  info.remote_account = object.get_string("remote_account");
  info.acc_is_sys = object.get_bool("acc_is_sys");
  info.api_lvl = read_small(object, "api_lvl", 0);
  info.xkey = object.get_string("xkey");
  return info;
}

}  // namespace brokkr::protocol
