#pragma once

#include "cli/command.h"

// Every command group, one file each.
namespace brokkr::cli {

Command publish_command();
Command subscribe_command();
Command request_command();
Command reply_command();
Command rtt_command();
Command bench_command();
Command server_command();
Command service_command();
Command events_command();  // and those of nodes and workloads
Command trace_command();
Command top_command();
Command latency_command();

// JetStream.
Command stream_command();
Command kv_command();
Command object_command();
Command consumer_command();
Command backup_command();
Command account_command();

// Identities, and named connection settings.
Command auth_command();
Command context_command();

// The workload side, with nex's spelling.
Command devrun_command();
Command run_command();
Command apply_command();
Command scale_command();
Command rollout_command();
Command clone_command();
Command move_command();
Command stats_command();
Command list_command();
Command info_command();
Command stop_command();
Command logs_command();
Command workload_command();
Command node_command();
Command invoke_command();
Command invocations_command();
Command dead_letters_command();
Command secret_command();
Command namespace_command();
Command image_command();

// The script that makes a shell complete this program's commands; empty for an unknown shell.
std::string completion_script(const std::string& program, std::string_view shell);

}  // namespace brokkr::cli
