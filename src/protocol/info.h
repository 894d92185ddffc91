#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace brokkr::protocol {

// What INFO carries to a client. Empty strings, empty lists, zeros and falses of the conditional
// fields are not written.
struct ServerInfo {
  std::string server_id;
  std::string server_name;
  std::string version;
  int proto = 1;
  std::string git_commit;
  std::string go;
  std::string host;
  int port = 0;
  bool headers = true;
  bool auth_required = false;
  bool tls_required = false;
  bool tls_verify = false;
  bool tls_available = false;
  int64_t max_payload = 1024 * 1024;
  bool jetstream = false;
  std::string ip;
  uint64_t client_id = 0;
  std::string client_ip;
  std::string nonce;
  std::string cluster;
  bool cluster_dynamic = false;
  std::string domain;
  std::vector<std::string> connect_urls;
  std::vector<std::string> ws_connect_urls;
  bool lame_duck_mode = false;  // "ldm"
  bool connect_info = false;
  std::string remote_account;
  bool acc_is_sys = false;
  int api_lvl = 0;
  std::string xkey;
};

// "INFO {json} \r\n": the fields in nats-server's order, a blank before the CRLF.
std::string make_info_line(const ServerInfo& info);

// Reads the JSON of INFO. Unknown names are ignored; a value of the wrong type leaves its default.
// Fails with Syntax when the text is no JSON object.
Result<ServerInfo> parse_info(std::string_view json);

}  // namespace brokkr::protocol
