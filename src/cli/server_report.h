#pragma once

#include <string>
#include <vector>

#include "cli/system_api.h"

// The reports of `server report`: each asks the servers and prints a table.
namespace brokkr::cli {

// What one report needs. `expected`: servers to wait for, 0 for any.
struct ReportCall {
  const Context& context;
  const Values& values;
  SystemApi& api;
  uint64_t expected = 0;
};
using Report = int (*)(ReportCall&);

// The answers of every server the flags choose; an answer that is an error makes it one. `verb` is
// what follows "$SYS.REQ.SERVER.PING", "JSZ", or empty.
Result<std::vector<ServerReply>> ask_for_report(ReportCall&, const std::string& verb, Draft body);

// Name, and flags besides those that every report has.
Command report_command(std::string name, std::vector<std::string> aliases, std::string summary,
                       Report, std::vector<Flag> flags);

int report_jetstream(ReportCall&);
int report_health(ReportCall&);
int report_cpu(ReportCall&);
int report_memory(ReportCall&);
int report_routes(ReportCall&);
int report_gateways(ReportCall&);
int report_leafnodes(ReportCall&);

}  // namespace brokkr::cli
