#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace brokkr::protocol {

// One direction of what a leaf may send or get.
struct LeafSubjects {
  bool has_allow = false;  // only what `allow` holds, even when it is empty
  std::vector<std::string> allow;
  std::vector<std::string> deny;
};

// INFO as servers send it on a leaf port: at the start, and again in answer to CONNECT.
struct LeafInfo {
  std::string server_id;
  std::string server_name;
  std::string version;
  int proto = 1;
  std::string host;
  int port = 0;
  bool headers = true;
  bool auth_required = true;
  bool tls_required = false;
  bool tls_verify = false;
  int64_t max_payload = 1024 * 1024;
  bool jetstream = false;
  std::string ip;  // "nats-leaf://host:port/"
  uint64_t client_id = 0;
  std::string nonce;
  std::string cluster;
  std::string domain;
  std::string compression;
  bool lame_duck_mode = false;
  bool connect_info = false;     // this is the answer to CONNECT
  bool info_on_connect = false;  // there will be one
  std::string remote_account;
  bool acc_is_sys = false;
  int api_lvl = 0;
  std::optional<LeafSubjects> import_;  // what the leaf may get
  std::optional<LeafSubjects> export_;  // what the leaf may send
  std::vector<std::string> leafnode_urls;
  std::vector<std::string> ws_connect_urls;
  // Whether the text held leafnode_urls at all: no other port sends it.
  bool has_leafnode_urls = false;
};

// "INFO {json}\r\n".
std::string make_leaf_info_line(const LeafInfo& info);
// Unknown names are ignored; a value of the wrong type leaves its default. Fails with Syntax when
// the text is no JSON object.
Result<LeafInfo> parse_leaf_info(std::string_view json);

// CONNECT as a leaf sends it.
struct LeafConnect {
  std::string version;
  std::string nkey;
  std::string jwt;
  std::string sig;
  std::string user;
  std::string pass;
  std::string auth_token;
  std::string server_id;
  std::string domain;
  std::string name;
  bool is_hub = false;  // who connects wants to be the hub
  std::string cluster;
  bool headers = false;
  bool jetstream = false;
  std::vector<std::string> deny_pub;  // what is not to be sent to who connects
  bool isolate = false;
  std::string compression;
  std::string remote_account;
  int protocol = 0;
  // Not of leaves: ordinary clients say their language, gateways their name.
  std::string lang;
  std::string gateway;
};

// "CONNECT {json}\r\n".
std::string make_leaf_connect_line(const LeafConnect& connect);
// As parse_leaf_info, but a value of the wrong type fails the whole, as nats-server does it.
Result<LeafConnect> parse_leaf_connect(std::string_view json);

}  // namespace brokkr::protocol
