#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace brokkr::protocol {

// What CONNECT carries. The defaults are those of a client that has not sent one.
struct ConnectOptions {
  bool verbose = true;
  bool pedantic = true;
  bool tls_required = false;
  bool echo = true;
  bool headers = false;
  bool no_responders = false;
  bool new_account = false;
  int protocol = 0;
  std::string name;
  std::string lang;
  std::string version;
  std::string user;
  std::string pass;
  std::string auth_token;
  std::string jwt;
  std::string nkey;
  std::string sig;
  std::string account;
  std::string remote_account;
  std::string proxy_sig;
};

// Reads the JSON of CONNECT over `options`: what the text does not name stays as it was, unknown
// names are ignored, null changes nothing, names match whatever their case, and a value of the
// wrong type fails the whole with Syntax (all as Go's decoder does).
Status parse_connect(std::string_view json, ConnectOptions& options);

// The JSON a client sends; strings that are empty and flags at their wire default are left out
// where official clients do.
std::string make_connect(const ConnectOptions& options);

}  // namespace brokkr::protocol
