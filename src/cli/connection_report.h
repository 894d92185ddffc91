#pragma once

#include <string>
#include <vector>

#include "cli/system_api.h"

// The table of connections that `server report` and `account report` share.
namespace brokkr::cli {

// A connection and the server that holds it.
struct ReportedConnection {
  json::Value info;
  json::Value server;
};

// What the two commands have in common: --sort, --top, --subject, --username, --state,
// --closed-reason.
std::vector<Flag> connection_report_flags();
Status check_connection_flags(const Values&);

// Every connection the flags choose, page by page. `expected`: servers to wait for, 0 for any.
Result<std::vector<ReportedConnection>> gather_connections(SystemApi&, const Values&,
                                                           const std::string& account,
                                                           uint64_t expected);
std::string connections_text(std::vector<ReportedConnection>, const Values&);
void write_connections(json::Writer&, const std::vector<ReportedConnection>&);
// What both commands print in the end: the table or, with --json, the list.
void print_connections(std::vector<ReportedConnection>, const Values&);

// Fails when `text` is none of the words, which the error names.
Status check_choice(const char* flag, const std::string& text, const std::vector<std::string>& words);

}  // namespace brokkr::cli
