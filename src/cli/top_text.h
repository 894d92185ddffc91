#pragma once

#include <map>
#include <string>

#include "base/json.h"

// The page of `top`: one server's load and its connections. Pure.
namespace brokkr::cli {

struct TopOptions {
  bool has_subscriptions = false;
  bool is_raw = false;       // numbers without K, M, G
  bool has_rates = false;    // per second in place of totals, for connections
  std::string delimiter{};   // a table of fields with it between them, when not empty
};

// What one look at a server gave.
struct TopSample {
  json::Value varz;
  json::Value connz;
};

// `before`: the look before it, for the rates; null for none. `hosts` names addresses.
std::string top_text(const TopSample&, const TopSample* before, const TopOptions&,
                     const std::map<std::string, std::string>& hosts = {});

}  // namespace brokkr::cli
