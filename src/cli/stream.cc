// brokkr stream: the group's tree, and the sub-commands that change or look at one stream.

#include <algorithm>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/json_shape.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

// True to go on, false to stop quietly; --force goes on.
Result<bool> confirmed(const Values& values, const std::string& question) {
  if (values.is_on("force")) return true;
  auto answer = ask_yes(question, false);
  if (!answer) return prefixed("could not obtain confirmation", answer.error());
  return answer;
}

int run_show(const Context& context, const Values& values, StreamView view) {
  auto task = open_stream(context, values, values.is_on("no-select"));
  if (!task) return fail(context.program, task.error());
  if (values.is_on("state")) view = StreamView::State;
  show_stream(task->stream.info, stream_view(values, view));
  print("\n");
  return 0;
}

Command stream_part(const char* name, std::vector<std::string> aliases, const char* summary,
                  int (*run)(const Context&, const Values&)) {
  Command command{name, std::move(aliases), summary};
  command.run = run;
  return command;
}

const Flag kJson{"json,j", "Produce JSON output"};
const Flag kNoSelect{"no-select", "Do not select streams from a list"};
Flag force_flag(const char* help) { return {"force,f", help}; }
Argument stream_argument(const char* help) { return {"stream", help, false}; }
Flag text_flag(const char* names, const char* help, const char* placeholder = "") {
  return {names, help, Kind::Text, placeholder};
}
Flag duration_flag(const char* name, const char* help) { return {name, help, Kind::Duration, "DURATION"}; }

void add_editing(Command& group) {
  Command add = stream_part("add", {"create", "new"}, "Create a new stream", run_stream_add);
  add.arguments = {stream_argument("Stream name")};
  add.flags = {text_flag("config", "JSON file to read configuration from"),
               {"validate", "Only validates the configuration against the official Schema"},
               text_flag("output", "Save configuration instead of creating", "FILE")};
  for (Flag& flag : stream_config_flags(false)) add.flags.push_back(std::move(flag));
  add.flags.push_back({"defaults", "Accept default values for all prompts"});
  Command edit = stream_part("edit", {"update"}, "Edits an existing stream", run_stream_edit);
  edit.arguments = {stream_argument("Stream to retrieve edit")};
  edit.flags = {text_flag("config", "JSON file to read configuration from"),
                force_flag("Force edit without prompting"),
                {"interactive,i", "Edit the configuring using your editor"},
                {"dry-run", "Only shows differences, do not edit the stream"}};
  for (Flag& flag : stream_config_flags(true)) edit.flags.push_back(std::move(flag));
  Command copy = stream_part("copy", {"cp"},
                           "Creates a new stream based on the configuration of another, does not copy data",
                           run_stream_copy);
  copy.arguments = {{"source-stream", "Source stream to copy"}, {"destination", "New stream to create"}};
  copy.flags = stream_config_flags(false);
  for (Command* one : {&add, &edit, &copy}) group.subcommands.push_back(std::move(*one));
}

void add_lists(Command& group) {
  Command list = stream_part("ls", {"list", "l"}, "List all known streams", run_stream_list);
  list.flags = {text_flag("subject", "Limit the list to streams with matching subjects"),
                {"names,n", "Show just the stream names"}, kJson};
  Command report = stream_part("report", {}, "Reports on stream statistics", run_stream_report);
  report.flags = {text_flag("subject", "Limit the report to streams with matching subjects"),
                  text_flag("cluster", "Limit report to streams within a specific cluster"),
                  {"consumers,o", "Sort by number of Consumers"},
                  {"messages,m", "Sort by number of Messages"},
                  {"name,n", "Sort by stream name"},
                  {"storage,t", "Sort by Storage type"},
                  {"raw,r", "Show un-formatted numbers"}};
  Command find = stream_part("find", {"query"}, "Finds streams matching certain criteria", run_stream_find);
  find.flags = {
      text_flag("server-name", "Display streams present on a server with this in its name"),
      text_flag("cluster", "Display streams present on a cluster with this in its name"),
      {"empty", "Display streams with no messages"},
      duration_flag("idle", "Display streams with no new messages or consumer deliveries for a period"),
      duration_flag("created", "Display streams created longer ago than duration"),
      text_flag("consumers", "Display streams with fewer consumers than threshold", "THRESHOLD"),
      text_flag("subject", "Filters streams by those with interest matching a subject or wildcard"),
      text_flag("replicas", "Display streams with fewer or equal replicas than the value", "REPLICAS"),
      {"sourced", "Display that sources data from other streams"},
      {"mirrored", "Display that mirrors data from other streams"},
      text_flag("leader", "Display only clustered streams with a specific leader", "SERVER"),
      {"names,n", "Show just the stream names"},
      {"invert", "Invert the check - before becomes after, with becomes without"},
      text_flag("api-level", "Match streams that support at least the given api level"),
      {"expression", "", Kind::Text, "", "", "", false, true},
  };
  Command subjects = stream_part("subjects", {"subj"}, "Query subjects held in a stream", run_stream_subjects);
  subjects.arguments = {stream_argument("Stream name"),
                        {"filter", "Limit the subjects to those matching a filter", false}};
  subjects.flags = {kJson,
                    {"sort", "Adjusts the sorting order (name, messages)", Kind::Text, "", "messages"},
                    {"reverse,R", "Reverse sort servers"},
                    {"names", "List only subject names"}};
  for (Command* one : {&list, &report, &find, &subjects}) group.subcommands.push_back(std::move(*one));
}

void add_single(Command& group) {
  Command info = stream_part("info", {"nfo", "i"}, "Stream information", run_stream_info);
  info.arguments = {stream_argument("Stream to retrieve information for")};
  info.flags = {kJson, {"state", "Shows only the stream state"}, kNoSelect};
  Command state = stream_part("state", {}, "Stream state", run_stream_state);
  state.arguments = {stream_argument("Stream to retrieve state information for")};
  state.flags = {kJson, kNoSelect};
  Command rm = stream_part("rm", {"delete", "del"}, "Removes a stream", run_stream_rm);
  rm.arguments = {stream_argument("Stream name")};
  rm.flags = {force_flag("Force removal without prompting")};
  Command purge = stream_part("purge", {}, "Bulk removes messages from a stream", run_stream_purge);
  purge.arguments = {stream_argument("Stream name")};
  purge.flags = {kJson, force_flag("Force removal without prompting"),
                 text_flag("subject", "Limits the purge to a specific subject", "SUBJECT"),
                 {"seq", "Purge up to but not including a specific message sequence", Kind::Number, "SEQUENCE"},
                 {"keep", "Keeps a certain number of messages after the purge", Kind::Number, "MESSAGES"}};
  Command rmm = stream_part("rmm", {}, "Securely removes an individual message from a stream", run_stream_rmm);
  rmm.arguments = {stream_argument("Stream name"), {"id", "Message Sequence to remove", false}};
  rmm.flags = {force_flag("Force removal without prompting")};
  Command seal = stream_part("seal", {}, "Seals a stream preventing further updates", run_stream_seal);
  seal.arguments = {{"stream", "The name of the stream to seal"}};
  seal.flags = {force_flag("Force sealing without prompting")};
  for (Command* one : {&info, &state, &rm, &purge, &rmm, &seal}) group.subcommands.push_back(std::move(*one));
}

void add_reading(Command& group) {
  const Flag translate = text_flag(
      "translate", "Translate the message data by running it through the given command before output");
  Command get = stream_part("get", {}, "Retrieves a specific message from a Stream", run_stream_get);
  get.arguments = {stream_argument("Stream name"), {"id", "Message Sequence to retrieve", false}};
  get.flags = {text_flag("last-for,S", "Retrieves the message for a specific subject", "SUBJECT"), kJson,
               translate};
  Command view = stream_part("view", {}, "View messages in a stream", run_stream_view);
  view.arguments = {stream_argument("Stream name"), {"size", "Page size <= 25", false}};
  view.flags = {{"id", "Start at a specific message Sequence", Kind::Number},
                duration_flag("since", "Delivers messages received since a duration like 1d3h5m2s"),
                {"raw", "Show the raw data received"},
                translate,
                text_flag("subject", "Filter the stream using a subject")};
  Command gaps = stream_part("gaps", {},
                           "Detect gaps in the stream content that would be reported as deleted messages",
                           run_stream_gaps);
  gaps.arguments = {stream_argument("Stream to act on")};
  gaps.flags = {force_flag("Act without prompting"),
                {"progress", "Enable progress bar", Kind::Bool, "", "true"},
                {"json", "Show detected gaps in JSON format"}};
  for (Command* one : {&get, &view, &gaps}) group.subcommands.push_back(std::move(*one));
}

void add_cluster_group(Command& group) {
  Command cluster{"cluster", {"c"}, "Manages a clustered stream"};
  Command down = stream_part("step-down", {"stepdown", "sd", "elect", "down", "d"},
                           "Force a new leader election by standing down the current leader",
                           run_stream_step_down);
  down.arguments = {stream_argument("Stream to act on")};
  down.flags = {text_flag("preferred", "Prefer placing the leader on a specific host"),
                force_flag("Force leader step down ignoring current leader")};
  Command cancel = stream_part("cancel-move", {}, "Cancels an in-progress stream move", run_stream_cancel_move);
  cancel.arguments = {stream_argument("The stream to act on")};
  cancel.flags = {force_flag("Force cancel without prompting or checks")};
  Command remove = stream_part("peer-remove", {"pr"}, "Removes a peer from the stream cluster",
                             run_stream_peer_remove);
  remove.arguments = {stream_argument("The stream to act on"),
                      {"peer", "The name of the peer to remove", false}};
  remove.flags = {force_flag("Force removal without prompting")};
  remove.is_hidden = true;
  Command evacuate = stream_part("evacuate", {}, "Removes a stream from a peer", run_stream_evacuate);
  evacuate.arguments = remove.arguments;
  evacuate.flags = {force_flag("Force evacuation without prompt")};
  for (Command* one : {&down, &cancel, &remove, &evacuate}) cluster.subcommands.push_back(std::move(*one));
  group.subcommands.push_back(std::move(cluster));
}

}  // namespace

Result<json::Value> stream_info(JetStream& js, const std::string& name) {
  return js.request("STREAM.INFO." + name);
}

Result<SelectedStream> select_stream(JetStream& js, const std::string& name, bool is_forced,
                                     bool is_all) {
  if (is_valid_name(name)) {
    auto info = stream_info(js, name);
    if (info) return SelectedStream{name, std::move(*info), false};
  }
  auto names = js.names("STREAM.NAMES", "streams");
  if (!names) return names.error();
  if (!is_terminal()) {
    return Error{Errc::Unavailable,
                 "cannot pick a Stream without a terminal and no Stream name supplied"};
  }
  if (is_forced) return Error{Errc::NotFound, "unknown stream \"" + name + "\""};
  if (!is_all) std::erase_if(*names, [](const std::string& one) { return is_internal_stream(one); });
  if (names->empty()) return Error{Errc::NotFound, "no Streams are defined"};
  auto chosen = ask_choice("Select a Stream", *names);
  if (!chosen) return chosen.error();
  auto info = stream_info(js, *chosen);
  if (!info) return info.error();
  return SelectedStream{*chosen, std::move(*info), name.empty()};
}

Result<StreamTask> open_stream(const Context& context, const Values& values, bool is_forced) {
  auto js = JetStream::open(context, values);
  if (!js) return prefixed("setup failed", js.error());
  auto stream = select_stream(*js, values.text("stream"), is_forced, values.is_on("all"));
  if (!stream) return prefixed("could not pick a Stream to operate on", stream.error());
  return StreamTask{std::move(*js), std::move(*stream)};
}

Status confirm_key_value(const std::string& stream) {
  if (!is_key_value_stream(stream)) return {};
  print("WARNING: Operating on the underlying stream of a Key-Value bucket is dangerous.\n\n"
        "Key-Value stores are an abstraction above JetStream streams and as such require particular\n"
        "configuration to be set. Interacting with KV buckets outside of the 'nats kv' subcommand can lead\n"
        "unexpected outcomes, data loss and, technically, will mean your KV bucket is no longer a KV bucket.\n\n"
        "Continuing this operation is an unsupported action.\n\n");
  auto answer = ask_yes("Really operate on the KV stream?", false);
  if (!answer) return answer.error();
  if (!*answer) return Error{Errc::Closed, "aborting Key-Value store operation"};
  return {};
}

int run_stream_info(const Context& context, const Values& values) {
  return run_show(context, values, StreamView::Whole);
}
int run_stream_state(const Context& context, const Values& values) {
  return run_show(context, values, StreamView::State);
}

int run_stream_rm(const Context& context, const Values& values) {
  std::string name = values.text("stream");
  if (values.is_on("force")) {
    if (name.empty()) return fail(context.program, "--force requires a stream name");
    auto js = JetStream::open(context, values);
    if (!js) return fail(context.program, prefixed("setup failed", js.error()));
    if (!is_valid_name(name)) return fail(context.program, "\"" + name + "\" is not a valid stream name");
    auto gone = js->request("STREAM.DELETE." + name);
    return gone ? 0 : fail(context.program, gone.error());
  }
  auto task = open_stream(context, values, false);
  if (!task) return fail(context.program, task.error());
  auto go = confirmed(values, "Really delete Stream " + task->stream.name);
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  auto gone = task->js.request("STREAM.DELETE." + task->stream.name);
  return gone ? 0 : fail(context.program, prefixed("could not remove Stream", gone.error()));
}

int run_stream_purge(const Context& context, const Values& values) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const std::string& name = task->stream.name;
  auto go = confirmed(values, "Really purge Stream " + name);
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  if (Status status = confirm_key_value(name); !status) return fail(context.program, status.error());
  const uint64_t seq = values.number("seq");
  const uint64_t keep = values.number("keep");
  if (seq > 0 && keep > 0) {
    return fail(context.program, "sequence and keep cannot be combined when purging");
  }
  Draft body;
  if (seq > 0) body.number("seq", static_cast<int64_t>(seq));
  if (values.has("subject")) body.text("filter", values.text("subject"));
  if (keep > 0) body.number("keep", static_cast<int64_t>(keep));
  auto purged = task->js.request("STREAM.PURGE." + name, body.text() == "{}" ? "" : body.text());
  if (!purged) return fail(context.program, prefixed("could not purge Stream", purged.error()));
  print("Purged " + std::to_string(purged->get_int("purged")) + " messages from " + name + "\n\n");
  auto info = stream_info(task->js, name);
  if (!info) return fail(context.program, info.error());
  show_stream(*info, stream_view(values, StreamView::State));
  return 0;
}

int run_stream_rmm(const Context& context, const Values& values) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const std::string& name = task->stream.name;
  std::string id = values.text("id");
  if (id.empty()) {
    auto answer = ask_text("Message Sequence to remove", "", true);
    if (!answer) return fail(context.program, prefixed("invalid input", answer.error()));
    id = std::move(*answer);
    if (parse_int(id).value_or(1) <= 0) return fail(context.program, "positive message ID required");
  }
  const auto seq = parse_uint(id);
  if (!seq) return fail(context.program, "invalid number: \"" + id + "\"");
  if (Status status = confirm_key_value(name); !status) return fail(context.program, status.error());
  auto go = confirmed(values, "Really remove message " + id + " from Stream " + name);
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  if (*seq == 0) return fail(context.program, "sequence number is required");
  auto gone = task->js.request("STREAM.MSG.DELETE." + name, "{\"seq\":" + std::to_string(*seq) + "}");
  return gone ? 0 : fail(context.program, gone.error());
}

int run_stream_seal(const Context& context, const Values& values) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  auto go = confirmed(values, "Really seal Stream " + task->stream.name +
                                  ", sealed streams can not be unsealed or modified");
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  const json::Value* config = task->stream.info.find("config");
  Draft sealed(config == nullptr ? json::Value() : *config);
  sealed.flag("sealed", true);
  auto info = task->js.request("STREAM.UPDATE." + task->stream.name, sealed.text());
  if (!info) return fail(context.program, prefixed("could not seal Stream", info.error()));
  show_stream(*info, StreamView::Whole);
  return 0;
}

// A single server has no cluster to manage; with one, its own answer counts.
int run_stream_step_down(const Context& context, const Values& values) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const json::Value* cluster = task->stream.info.find("cluster");
  const json::Value* replicas = cluster == nullptr ? nullptr : cluster->find("replicas");
  if (replicas == nullptr || replicas->items().empty()) {
    return fail(context.program, "stream \"" + task->stream.name + "\" is not clustered");
  }
  Draft body;
  if (values.has("preferred")) {
    Draft placement;
    placement.text("preferred", values.text("preferred"));
    body.object("placement", placement);
  }
  const std::string leader(cluster->get_string("leader"));
  remark("Requesting leader step down of \"" + leader + "\" for stream \"" + task->stream.name +
         "\" in a " + std::to_string(replicas->items().size() + 1) + " peer cluster group");
  auto answer = task->js.request("STREAM.LEADER.STEPDOWN." + task->stream.name,
                                 values.has("preferred") ? body.text() : "");
  if (!answer) return fail(context.program, answer.error());
  for (int attempt = 0; attempt < 10; ++attempt) {
    client::run_until(task->js.session().loop(), std::chrono::milliseconds(500), [] { return false; });
    auto info = stream_info(task->js, task->stream.name);
    const json::Value* now = info ? info->find("cluster") : nullptr;
    if (now == nullptr || now->get_string("leader").empty()) {
      remark("No leader elected");
    } else if (now->get_string("leader") != leader) {
      remark("New leader elected \"" + std::string(now->get_string("leader")) + "\"");
      print("\n");
      show_stream(*info, StreamView::Whole);
      return 0;
    }
  }
  return fail(context.program, "stream \"" + task->stream.name + "\" did not elect a new leader in time");
}

int run_stream_cancel_move(const Context& context, const Values& values) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  if (!values.is_on("force")) {
    const json::Value* cluster = task->stream.info.find("cluster");
    if (cluster == nullptr) return fail(context.program, "stream is not clustered");
    if (cluster->find("desired") == nullptr) return fail(context.program, "stream is not busy moving");
    auto go = confirmed(values, "Really cancel move of \"" + task->stream.name + "\"");
    if (!go) return fail(context.program, go.error());
    if (!*go) return fail(context.program, "canceling request");
  }
  auto answer = task->js.request("STREAM.CANCEL_MOVE." + task->stream.name);
  if (!answer) return fail(context.program, answer.error());
  print_line("Canceled move of \"" + task->stream.name + "\"");
  return 0;
}

namespace {

int remove_peer(const Context& context, const Values& values, bool is_evacuation) {
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const std::string& name = task->stream.name;
  const json::Value* cluster = task->stream.info.find("cluster");
  const json::Value* replicas = cluster == nullptr ? nullptr : cluster->find("replicas");
  const bool has_replicas = replicas != nullptr && !replicas->items().empty();
  if (cluster == nullptr || (!is_evacuation && !has_replicas)) {
    return fail(context.program, "stream \"" + name + "\" is not clustered");
  }
  std::vector<std::string> peers{std::string(cluster->get_string("leader"))};
  if (has_replicas) {
    for (const json::Value& one : replicas->items()) peers.emplace_back(one.get_string("name"));
  }
  std::string peer = values.text("peer");
  if (peer.empty()) {
    auto chosen = ask_choice("Select a Peer", peers);
    if (!chosen) return fail(context.program, chosen.error());
    peer = std::move(*chosen);
  }
  remark((is_evacuation ? "Evacuating stream from peer \"" : "Removing peer \"") + peer + "\"");
  if (is_evacuation) {
    auto go = confirmed(values, "Really evacuate \"" + peer + "\"");
    if (!go) return fail(context.program, go.error());
    if (!*go) return 0;
  }
  Draft body;
  body.text("peer", peer);
  const std::string verb = is_evacuation ? "STREAM.PEER.EVACUATE." : "STREAM.PEER.REMOVE.";
  auto answer = task->js.request(verb + name, body.text());
  if (!answer) return fail(context.program, answer.error());
  remark((is_evacuation ? "Requested evacuation of peer \"" : "Requested removal of peer \"") + peer + "\"");
  return 0;
}

}  // namespace

int run_stream_peer_remove(const Context& context, const Values& values) {
  print("WARNING: Users should use the new `nats stream cluster evacuate` and replica count adjustments\n"
        "for peer membership management which is a newer and safer approach.\n\n");
  return remove_peer(context, values, false);
}
int run_stream_evacuate(const Context& context, const Values& values) {
  return remove_peer(context, values, true);
}

Command stream_command() {
  Command group{"stream", {"str", "st", "ms", "s"}, "JetStream stream management"};
  group.flags = {{"all,a", "When listing or selecting streams show all streams including system ones"}};
  add_editing(group);
  add_lists(group);
  add_single(group);
  add_reading(group);
  add_cluster_group(group);
  Command backup = backup_stream_command("backup");
  backup.aliases = {"snapshot"};
  backup.run = run_stream_backup;
  Command restore = restore_stream_command("restore");
  restore.run = run_stream_restore;
  group.subcommands.push_back(std::move(backup));
  group.subcommands.push_back(std::move(restore));
  return group;
}

}  // namespace brokkr::cli
