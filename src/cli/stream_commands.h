#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cli/command.h"
#include "cli/jetstream_api.h"

// What the files of the stream group share. Each run_* is one sub-command.
namespace brokkr::cli {

struct SelectedStream {
  std::string name;
  json::Value info;
  bool was_asked = false;
};
// The stream called `name`, or the one the user picks from a list when there is none of that name.
// Without a terminal, and with `is_forced`, that fails instead.
Result<SelectedStream> select_stream(JetStream&, const std::string& name, bool is_forced,
                                     bool is_all);
// Connects and selects as the flags and the argument "stream" say; failures have the original's
// words. `is_forced` stands for --force or --no-select.
struct StreamTask {
  JetStream js;
  SelectedStream stream;
};
Result<StreamTask> open_stream(const Context&, const Values&, bool is_forced);

Result<json::Value> stream_info(JetStream&, const std::string& name);

enum class StreamView : uint8_t { Whole, State, Json };
void show_stream(const json::Value& info, StreamView view);
StreamView stream_view(const Values&, StreamView otherwise = StreamView::Whole);
// Asks before changing a stream that belongs to a key-value bucket.
Status confirm_key_value(const std::string& stream);
// Streams that a server of the cluster did not tell about.
std::string missing_tables(const JetStream&, const std::string& kind);
// "n1*, n2, n3!": the leader has a star, who is behind an exclamation mark.
std::string cluster_text(const json::Value* cluster);
// Metadata whose names do not begin with "_nats.".
std::vector<std::pair<std::string, std::string>> user_metadata(const json::Value* metadata);
// The rows "Host Version" and "Required API Level".
class Columns;
void add_api_level(Columns&, const json::Value* metadata);
std::string joined(const std::vector<std::string>& words);
std::vector<std::string> texts_of(const json::Value* list);

// `backup stream` under another name, and `backup restore stream`.
Command backup_stream_command(const char* name);
Command restore_stream_command(const char* name);
Command backup_account_command(const char* name);
Command restore_account_command(const char* name);

// The flags that describe a stream, of add and copy or of edit.
std::vector<Flag> stream_config_flags(bool is_edit);
// "K:V" and "K=V" flags.
std::vector<std::pair<std::string, std::string>> pairs_of(const std::vector<std::string>& flags);
// Fails as the original does when the flag's value is none of the words (with commas).
Status check_word(const Values&, const char* flag, std::string_view words);
// The flag as a whole number, or `otherwise` when it was not given.
Result<int64_t> integer_of(const Values&, const char* flag, int64_t otherwise);
// "a, b c" and repeated flags as one list.
std::vector<std::string> split_subjects(const std::vector<std::string>& flags);
// A configuration from a file: a config, or an info with one.
Result<json::Value> read_config_file(const std::string& path);
// Prints what differs; false when nothing does.
bool print_differences(const json::Value& before, const json::Value& after);

int run_stream_add(const Context&, const Values&);
int run_stream_edit(const Context&, const Values&);
int run_stream_copy(const Context&, const Values&);
int run_stream_list(const Context&, const Values&);
int run_stream_report(const Context&, const Values&);
int run_stream_find(const Context&, const Values&);
int run_stream_info(const Context&, const Values&);
int run_stream_state(const Context&, const Values&);
int run_stream_subjects(const Context&, const Values&);
int run_stream_rm(const Context&, const Values&);
int run_stream_purge(const Context&, const Values&);
int run_stream_rmm(const Context&, const Values&);
int run_stream_seal(const Context&, const Values&);
int run_stream_get(const Context&, const Values&);
int run_stream_view(const Context&, const Values&);
int run_stream_gaps(const Context&, const Values&);
int run_stream_backup(const Context&, const Values&);
int run_stream_restore(const Context&, const Values&);
int run_stream_step_down(const Context&, const Values&);
int run_stream_peer_remove(const Context&, const Values&);
int run_stream_evacuate(const Context&, const Values&);
int run_stream_cancel_move(const Context&, const Values&);

}  // namespace brokkr::cli
