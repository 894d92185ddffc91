#pragma once

#include "cli/command.h"

// The parts of `server`, one file each.
namespace brokkr::cli {

Command server_account_command();
Command server_check_command();
Command server_cluster_command();
Command server_config_command();
Command server_info_command();
Command server_list_command();
Command server_mappings_command();
Command server_passwd_command();
Command server_ping_command();
Command server_report_command();
Command server_request_command();
Command server_watch_command();

// The page of `server info` for one server, by name or ID; the one that is nearest without.
int show_server(const Context&, const Values&, const std::string& server);

}  // namespace brokkr::cli
