#pragma once

#include "cli/command.h"

// The parts of `account` beside `info`.
namespace brokkr::cli {

Command account_report_command();
Command account_tls_command();

}  // namespace brokkr::cli
