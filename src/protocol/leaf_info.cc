#include "protocol/leaf_info.h"

#include "base/json.h"

namespace brokkr::protocol {
namespace {

void put_list(json::Writer& out, std::string_view name, const std::vector<std::string>& values) {
  if (values.empty()) return;
  out.key(name).begin_array();
  for (const std::string& value : values) out.string(value);
  out.end_array();
}

void put_text(json::Writer& out, std::string_view name, const std::string& value) {
  if (!value.empty()) out.field(name, value);
}

void put_flag(json::Writer& out, std::string_view name, bool value) {
  if (value) out.field(name, true);
}

void put_subjects(json::Writer& out, std::string_view name,
                  const std::optional<LeafSubjects>& subjects) {
  if (!subjects) return;
  out.key(name).begin_object();
  put_list(out, "allow", subjects->allow);
  put_list(out, "deny", subjects->deny);
  out.end_object();
}

std::vector<std::string> texts_of(const json::Value& list) {
  std::vector<std::string> out;
  for (const json::Value& item : list.items()) {
    if (item.is_string()) out.emplace_back(item.as_string());
  }
  return out;
}

std::vector<std::string> texts_at(const json::Value& object, std::string_view name) {
  const json::Value* list = object.find(name);
  return list == nullptr ? std::vector<std::string>() : texts_of(*list);
}

std::optional<LeafSubjects> subjects_at(const json::Value& object, std::string_view name) {
  const json::Value* found = object.find(name);
  if (found == nullptr || !found->is_object()) return std::nullopt;
  LeafSubjects out;
  out.allow = texts_at(*found, "allow");
  out.deny = texts_at(*found, "deny");
  out.has_allow = !out.allow.empty();
  return out;
}

int small_at(const json::Value& object, std::string_view name) {
  const int64_t value = object.get_int(name);
  return value < INT32_MIN || value > INT32_MAX ? 0 : static_cast<int>(value);
}

// A member that is there has the right kind.
bool is_kind(const json::Value& object, std::string_view name, bool (json::Value::*is)() const) {
  const json::Value* found = object.find(name);
  return found == nullptr || found->is_null() || (found->*is)();
}

bool has_right_kinds(const json::Value& object) {
  for (const char* name : {"version", "nkey", "jwt", "sig", "user", "pass", "auth_token", "server_id",
                           "domain", "name", "cluster", "compress_mode", "remote_account", "gateway",
                           "lang"}) {
    if (!is_kind(object, name, &json::Value::is_string)) return false;
  }
  for (const char* name : {"is_hub", "headers", "jetstream", "isolate"}) {
    if (!is_kind(object, name, &json::Value::is_bool)) return false;
  }
  return is_kind(object, "deny_pub", &json::Value::is_array) &&
         is_kind(object, "protocol", &json::Value::is_number);
}

Result<json::Value> parse_object(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return Error{Errc::Syntax, "not a JSON object"};
  return parsed;
}

}  // namespace

std::string make_leaf_info_line(const LeafInfo& info) {
  json::Writer out;
  out.begin_object();
  out.field("server_id", info.server_id).field("server_name", info.server_name);
  out.field("version", info.version).field("proto", info.proto).field("go", "");
  out.field("host", info.host).field("port", info.port).field("headers", info.headers);
  put_flag(out, "auth_required", info.auth_required);
  put_flag(out, "tls_required", info.tls_required);
  put_flag(out, "tls_verify", info.tls_verify);
  out.field("max_payload", info.max_payload);
  put_flag(out, "jetstream", info.jetstream);
  put_text(out, "ip", info.ip);
  if (info.client_id != 0) out.field("client_id", info.client_id);
  put_text(out, "nonce", info.nonce);
  put_text(out, "cluster", info.cluster);
  put_text(out, "domain", info.domain);
  put_list(out, "ws_connect_urls", info.ws_connect_urls);
  put_flag(out, "ldm", info.lame_duck_mode);
  put_text(out, "compression", info.compression);
  put_flag(out, "connect_info", info.connect_info);
  put_text(out, "remote_account", info.remote_account);
  put_flag(out, "acc_is_sys", info.acc_is_sys);
  if (info.api_lvl != 0) out.field("api_lvl", info.api_lvl);
  put_subjects(out, "import", info.import_);
  put_subjects(out, "export", info.export_);
  put_flag(out, "info_on_connect", info.info_on_connect);
  put_list(out, "leafnode_urls", info.leafnode_urls);
  out.end_object();
  return "INFO " + out.take() + "\r\n";
}

Result<LeafInfo> parse_leaf_info(std::string_view text) {
  auto parsed = parse_object(text);
  if (!parsed) return parsed.error();
  const json::Value& from = *parsed;
  LeafInfo info;
  info.server_id = from.get_string("server_id");
  info.server_name = from.get_string("server_name");
  info.version = from.get_string("version");
  info.proto = small_at(from, "proto");
  info.host = from.get_string("host");
  info.port = small_at(from, "port");
  info.headers = from.get_bool("headers");
  info.auth_required = from.get_bool("auth_required");
  info.tls_required = from.get_bool("tls_required");
  info.tls_verify = from.get_bool("tls_verify");
  info.max_payload = from.get_int("max_payload", info.max_payload);
  info.jetstream = from.get_bool("jetstream");
  info.ip = from.get_string("ip");
  const json::Value* id = from.find("client_id");
  info.client_id = id == nullptr ? 0 : id->as_uint().value_or(0);
  info.nonce = from.get_string("nonce");
  info.cluster = from.get_string("cluster");
  info.domain = from.get_string("domain");
  info.compression = from.get_string("compression");
  info.lame_duck_mode = from.get_bool("ldm");
  info.connect_info = from.get_bool("connect_info");
  info.info_on_connect = from.get_bool("info_on_connect");
  info.remote_account = from.get_string("remote_account");
  info.acc_is_sys = from.get_bool("acc_is_sys");
  info.api_lvl = small_at(from, "api_lvl");
  info.import_ = subjects_at(from, "import");
  info.export_ = subjects_at(from, "export");
  info.leafnode_urls = texts_at(from, "leafnode_urls");
  info.ws_connect_urls = texts_at(from, "ws_connect_urls");
  const json::Value* urls = from.find("leafnode_urls");
  info.has_leafnode_urls = urls != nullptr && urls->is_array();
  return info;
}

std::string make_leaf_connect_line(const LeafConnect& connect) {
  json::Writer out;
  out.begin_object();
  put_text(out, "version", connect.version);
  put_text(out, "nkey", connect.nkey);
  put_text(out, "jwt", connect.jwt);
  put_text(out, "sig", connect.sig);
  put_text(out, "user", connect.user);
  put_text(out, "pass", connect.pass);
  put_text(out, "auth_token", connect.auth_token);
  put_text(out, "server_id", connect.server_id);
  put_text(out, "domain", connect.domain);
  put_text(out, "name", connect.name);
  put_flag(out, "is_hub", connect.is_hub);
  put_text(out, "cluster", connect.cluster);
  put_flag(out, "headers", connect.headers);
  put_flag(out, "jetstream", connect.jetstream);
  put_list(out, "deny_pub", connect.deny_pub);
  put_flag(out, "isolate", connect.isolate);
  put_text(out, "compress_mode", connect.compression);
  put_text(out, "remote_account", connect.remote_account);
  if (connect.protocol != 0) out.field("protocol", connect.protocol);
  out.end_object();
  return "CONNECT " + out.take() + "\r\n";
}

Result<LeafConnect> parse_leaf_connect(std::string_view text) {
  auto parsed = parse_object(text);
  if (!parsed) return parsed.error();
  const json::Value& from = *parsed;
  if (!has_right_kinds(from)) return Error{Errc::Syntax, "a member of the wrong type"};
  LeafConnect connect;
  connect.version = from.get_string("version");
  connect.nkey = from.get_string("nkey");
  connect.jwt = from.get_string("jwt");
  connect.sig = from.get_string("sig");
  connect.user = from.get_string("user");
  connect.pass = from.get_string("pass");
  connect.auth_token = from.get_string("auth_token");
  connect.server_id = from.get_string("server_id");
  connect.domain = from.get_string("domain");
  connect.name = from.get_string("name");
  connect.is_hub = from.get_bool("is_hub");
  connect.cluster = from.get_string("cluster");
  connect.headers = from.get_bool("headers");
  connect.jetstream = from.get_bool("jetstream");
  connect.deny_pub = texts_at(from, "deny_pub");
  connect.isolate = from.get_bool("isolate");
  connect.compression = from.get_string("compress_mode");
  connect.remote_account = from.get_string("remote_account");
  connect.protocol = small_at(from, "protocol");
  connect.lang = from.get_string("lang");
  connect.gateway = from.get_string("gateway");
  return connect;
}

}  // namespace brokkr::protocol
