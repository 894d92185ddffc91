// brokkr consumer: the group's tree, and the sub-commands that change or look at one consumer.

#include <algorithm>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/consumer_commands.h"
#include "cli/json_shape.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr int64_t kPauseLevel = 1;

// True to go on, false to stop quietly; --force goes on.
Result<bool> allowed(const Values& values, const std::string& question) {
  if (values.is_on("force")) return true;
  auto answer = ask_yes(question, false);
  if (!answer) return prefixed("could not obtain confirmation", answer.error());
  return answer;
}

std::string full_name_of(const ConsumerTask& task) { return task.stream + " > " + task.name; }

int run_consumer_show(const Context& context, const Values& values, ConsumerView view) {
  auto task = open_consumer(context, values, true, values.is_on("no-select"));
  if (!task) return fail(context.program, task.error());
  show_consumer(task->info, consumer_view(values, view));
  return 0;
}
int run_consumer_info(const Context& context, const Values& values) {
  return run_consumer_show(context, values, ConsumerView::Whole);
}
int run_consumer_state(const Context& context, const Values& values) {
  return run_consumer_show(context, values, ConsumerView::State);
}

int run_consumer_rm(const Context& context, const Values& values) {
  if (values.is_on("force")) {
    const std::string stream = values.text("stream");
    const std::string name = values.text("consumer");
    if (stream.empty() || name.empty()) {
      return fail(context.program, "--force requires a stream and consumer name");
    }
    auto js = JetStream::open(context, values);
    if (!js) return fail(context.program, prefixed("setup failed", js.error()));
    if (!is_valid_name(stream)) return fail(context.program, "\"" + stream + "\" is not a valid stream name");
    if (!is_valid_name(name)) return fail(context.program, "\"" + name + "\" is not a valid consumer name");
    auto gone = js->request("CONSUMER.DELETE." + stream + "." + name);
    return gone ? 0 : fail(context.program, gone.error());
  }
  auto task = open_consumer(context, values, true);
  if (!task) return fail(context.program, task.error());
  auto go = allowed(values, "Really delete Consumer " + full_name_of(*task));
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  auto gone = task->js.request("CONSUMER.DELETE." + task->stream + "." + task->name);
  return gone ? 0 : fail(context.program, gone.error());
}

int run_consumer_reset(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  auto go = allowed(values, "Really reset the consumer");
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  Draft body;
  if (values.has("sequence")) body.number("seq", static_cast<int64_t>(values.number("sequence")));
  auto reset = task->js.request("CONSUMER.RESET." + task->stream + "." + task->name, body.text());
  if (!reset) return fail(context.program, reset.error());
  auto info = consumer_info(task->js, task->stream, task->name);
  if (!info) return fail(context.program, info.error());
  show_consumer(*info, ConsumerView::State);
  return 0;
}

// Whether the server is new enough; its level in --trace and errors of INFO count too.
Status require_level(JetStream& js, int64_t wanted, const char* text) {
  auto level = js.level();
  if (!level) return level.error();
  return *level >= wanted ? Status() : Error{Errc::Unsupported, text};
}

int run_consumer_pause(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  if (Status status = require_level(task->js, kPauseLevel, "pausing Consumers requires NATS Server 2.11"); !status) {
    return fail(context.program, status.error());
  }
  const WallTime now = task->js.session().clock().wall_now();
  std::string text = values.text("until");
  if (text.empty()) {
    auto answer = ask_text("Pause until (time or duration)",
                           local_date_text(now + std::chrono::hours(1)), true);
    if (!answer) return fail(context.program, answer.error());
    text = std::move(*answer);
  }
  auto until = pause_time(text, now);
  if (!until) return fail(context.program, until.error());
  auto go = allowed(values, "Really pause Consumer " + full_name_of(*task) + " until " + date_text(*until));
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  Draft body;
  body.text("pause_until", *until);
  auto paused = task->js.request("CONSUMER.PAUSE." + task->stream + "." + task->name, body.text());
  if (!paused) return fail(context.program, paused.error());
  if (!paused->get_bool("paused")) {
    return fail(context.program, "consumer failed to pause, perhaps a time in the past was given");
  }
  const auto left = std::chrono::round<std::chrono::seconds>(Duration(paused->get_int("pause_remaining")));
  print_line("Paused " + full_name_of(*task) + " until " + date_text(paused->get_string("pause_until")) + " (" +
             format_go_duration(left) + ")");
  return 0;
}

int run_consumer_resume(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  if (Status status = require_level(task->js, kPauseLevel, "resuming Consumers requires NATS Server 2.11"); !status) {
    return fail(context.program, status.error());
  }
  if (!task->info.get_bool("paused")) return fail(context.program, "consumer is not paused");
  auto go = allowed(values, "Really resume Consumer " + full_name_of(*task));
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  auto resumed = task->js.request("CONSUMER.PAUSE." + task->stream + "." + task->name);
  if (!resumed) return fail(context.program, resumed.error());
  const auto asked = parse_time(task->info.get_string("ts"));
  const Duration left(task->info.get_int("pause_remaining"));
  print_line("Consumer " + full_name_of(*task) + " was resumed while previously paused until " +
             local_date_text(asked.value_or(WallTime()) + left));
  return 0;
}

int run_consumer_unpin(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  if (task->config().get_string("priority_policy") != "pinned_client") {
    return fail(context.program, "consumer is not a pinned priority consumer");
  }
  std::vector<std::pair<std::string, std::string>> pinned;
  std::vector<std::string> names;
  if (const json::Value* groups = task->info.find("priority_groups")) {
    for (const json::Value& group : groups->items()) {
      const std::string client(group.get_string("pinned_client_id"));
      if (client.empty()) continue;
      names.emplace_back(group.get_string("group"));
      pinned.emplace_back(names.back(), client);
    }
  }
  if (pinned.empty()) return fail(context.program, "no priority groups have pinned clients");
  std::string group = values.text("group");
  if (group.empty()) {
    auto chosen = ask_choice("Select a Group", names);
    if (!chosen) return fail(context.program, chosen.error());
    group = std::move(*chosen);
  }
  const std::string full = full_name_of(*task) + " > " + group;
  auto go = allowed(values, "Really unpin client from group " + full);
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  Draft body;
  body.text("group", group);
  auto unpinned = task->js.request("CONSUMER.UNPIN." + task->stream + "." + task->name, body.text());
  if (!unpinned) return fail(context.program, unpinned.error());
  std::string client;
  for (const auto& [name, id] : pinned) {
    if (name == group) client = id;
  }
  print_line("Unpinned client " + client + " from Priority Group " + full);
  return 0;
}

// A single server has no cluster to manage; with one, its own answer counts.
int run_consumer_step_down(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const json::Value* cluster = task->info.find("cluster");
  if (cluster == nullptr) {
    return fail(context.program, "consumer \"" + task->stream + "\" > \"" + task->name + "\" is not clustered");
  }
  Draft body;
  if (values.has("preferred")) {
    Draft placement;
    placement.text("preferred", values.text("preferred"));
    body.object("placement", placement);
  }
  auto answer = task->js.request("CONSUMER.LEADER.STEPDOWN." + task->stream + "." + task->name,
                                 values.has("preferred") ? body.text() : "");
  if (!answer) return fail(context.program, answer.error());
  remark("Requested leader step down of \"" + std::string(cluster->get_string("leader")) + "\"");
  return 0;
}

int run_consumer_evacuate(const Context& context, const Values& values) {
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  if (task->info.find("cluster") == nullptr) {
    return fail(context.program, "consumer \"" + task->name + "\" is not clustered");
  }
  const std::string peer = values.text("peer");
  if (peer.empty()) return fail(context.program, "cannot prompt for user input without a terminal");
  auto go = allowed(values, "Really evacuate \"" + peer + "\"");
  if (!go) return fail(context.program, go.error());
  if (!*go) return 0;
  Draft body;
  body.text("peer", peer);
  auto answer = task->js.request("CONSUMER.PEER.EVACUATE." + task->stream + "." + task->name, body.text());
  if (!answer) return fail(context.program, answer.error());
  remark("Requested evacuation of peer \"" + peer + "\"");
  return 0;
}

Command consumer_part(const char* name, std::vector<std::string> aliases, const char* summary,
                      int (*run)(const Context&, const Values&)) {
  Command command{name, std::move(aliases), summary};
  command.run = run;
  command.arguments = {{"stream", "Stream name", false}, {"consumer", "Consumer name", false}};
  return command;
}

const Flag kConsumerJson{"json,j", "Produce JSON output"};
const Flag kConsumerNoSelect{"no-select", "Do not select consumers from a list"};
Flag consumer_force(const char* help) { return {"force,f", help}; }
Flag consumer_text(const char* name, const char* help, const char* placeholder = "") {
  return {name, help, Kind::Text, placeholder};
}

void add_consumer_editing(Command& group) {
  Command add = consumer_part("add", {"create", "new"}, "Creates a new consumer", run_consumer_add);
  add.flags = {consumer_text("config", "JSON file to read configuration from"),
               {"validate", "Only validates the configuration against the official Schema"},
               consumer_text("output", "Save configuration instead of creating", "FILE")};
  for (Flag& flag : consumer_config_flags(false)) add.flags.push_back(std::move(flag));
  add.flags.push_back({"defaults", "Accept default values for all prompts"});
  Command edit = consumer_part("edit", {"update"}, "Edits the configuration of a consumer", run_consumer_edit);
  edit.flags = {consumer_text("config", "JSON file to read configuration from"),
                consumer_force("Force removal without prompting"),
                {"interactive,i", "Edit the configuring using your editor"},
                {"dry-run", "Only shows differences, do not edit the stream"}};
  for (Flag& flag : consumer_config_flags(true)) edit.flags.push_back(std::move(flag));
  Command copy = consumer_part("copy", {"cp"}, "Creates a new consumer based on the configuration of another",
                               run_consumer_copy);
  copy.arguments = {{"stream", "Stream name"}, {"source", "Source consumer name"},
                    {"destination", "Destination consumer name"}};
  copy.flags = consumer_config_flags(false);
  for (Command* one : {&add, &edit, &copy}) group.subcommands.push_back(std::move(*one));
}

void add_consumer_lists(Command& group) {
  Command list = consumer_part("ls", {"list"}, "List known consumers", run_consumer_list);
  list.flags = {kConsumerJson, {"names,n", "Show just the consumer names"}, kConsumerNoSelect};
  Command report = consumer_part("report", {}, "Reports on consumer statistics", run_consumer_report);
  report.flags = {{"raw,r", "Show un-formatted numbers"}};
  Command find = consumer_part("find", {"query"}, "Finds consumers matching certain criteria", run_consumer_find);
  find.flags = {
      {"pull", "Display only pull based consumers"},
      {"push", "Display only push based consumers"},
      {"bound", "Display push-bound or pull consumers with waiting pulls"},
      consumer_text("waiting", "Display consumers with fewer waiting pulls"),
      consumer_text("ack-pending", "Display consumers with fewer pending acks"),
      consumer_text("pending", "Display consumers with fewer unprocessed messages"),
      {"idle", "Display consumers with no new deliveries for a period", Kind::Duration, "IDLE"},
      {"created", "Display consumers created longer ago than duration", Kind::Duration, "DURATION"},
      consumer_text("replicas", "Display consumers with fewer or equal replicas than the value", "REPLICAS"),
      consumer_text("leader", "Display only clustered streams with a specific leader", "SERVER"),
      {"pinned", "Finds Pinned Client priority group consumers that are fully pinned"},
      {"invert", "Invert the check - before becomes after, with becomes without"},
      consumer_text("api-level", "Match consumers that support at least the given api level"),
      {"expression", "", Kind::Text, "", "", "", false, true},
  };
  for (Command* one : {&list, &report, &find}) {
    one->arguments = {{"stream", "Stream name", false}};
    group.subcommands.push_back(std::move(*one));
  }
}

void add_consumer_single(Command& group) {
  Command info = consumer_part("info", {"nfo"}, "Consumer information", run_consumer_info);
  info.flags = {kConsumerJson, kConsumerNoSelect};
  Command state = consumer_part("state", {}, "Consumer state", run_consumer_state);
  state.flags = info.flags;
  Command rm = consumer_part("rm", {"delete", "del"}, "Removes a consumer", run_consumer_rm);
  rm.flags = {consumer_force("Force removal without prompting")};
  Command reset = consumer_part("reset", {}, "Resets the consumer to a previous state", run_consumer_reset);
  reset.flags = {{"sequence", "Sequence to reset to", Kind::Number}, consumer_force("Force reset without prompting")};
  Command pause = consumer_part("pause", {}, "Pause a consumer until a later time", run_consumer_pause);
  pause.arguments.push_back({"until", "Pause until a specific time (eg 2026-11-23 14:07:23)", false});
  pause.flags = {consumer_force("Force pause without prompting")};
  Command resume = consumer_part("resume", {}, "Resume a paused consumer", run_consumer_resume);
  resume.flags = {consumer_force("Force resume without prompting")};
  Command unpin = consumer_part("unpin", {}, "Unpin the current Pinned Client from a Priority Group",
                                run_consumer_unpin);
  unpin.arguments.push_back({"group", "The group to unpin", false});
  unpin.flags = {consumer_force("Force unpin without prompting")};
  for (Command* one : {&info, &state, &rm, &reset, &pause, &resume, &unpin}) {
    group.subcommands.push_back(std::move(*one));
  }
}

void add_consumer_reading(Command& group) {
  Command next = consumer_part("next", {}, "Retrieves messages from Pull consumers without interactive prompts",
                               run_consumer_next);
  next.arguments = {{"stream", "Stream name"}, {"consumer", "Consumer name"}};
  next.flags = {{"ack", "Acknowledge received message", Kind::Bool, "", "true"},
                {"nak", "Perform a Negative Acknowledgement on the message"},
                {"term", "Terms the message"},
                {"raw,r", "Show only the message"},
                {"wait", "Wait up to this period to acknowledge messages", Kind::Duration, "WAIT"},
                {"count", "Number of messages to try to fetch from the pull consumer", Kind::Number, "", "1"}};
  Command sub = consumer_part("sub", {}, "Retrieves messages from consumers", run_consumer_sub);
  sub.flags = {{"ack", "Acknowledge received message", Kind::Bool, "", "true"},
               {"raw,r", "Show only the message"},
               consumer_text("deliver-group", "Deliver group of the consumer")};
  sub.is_hidden = true;
  Command cluster{"cluster", {"c"}, "Manages a clustered consumer"};
  Command down = consumer_part("step-down", {"elect", "down", "d"},
                               "Force a new leader election by standing down the current leader",
                               run_consumer_step_down);
  down.flags = {consumer_text("preferred", "Prefer placing the leader on a specific host"),
                consumer_force("Force leader step down ignoring current leader")};
  Command evacuate = consumer_part("evacuate", {}, "Removes a consumer from a peer", run_consumer_evacuate);
  evacuate.arguments.push_back({"peer", "The name of the peer to remove", false});
  evacuate.flags = {consumer_force("Force evacuation without prompt")};
  for (Command* one : {&down, &evacuate}) cluster.subcommands.push_back(std::move(*one));
  for (Command* one : {&next, &sub, &cluster}) group.subcommands.push_back(std::move(*one));
}

}  // namespace

const json::Value& ConsumerTask::config() const {
  static const json::Value kNone;
  const json::Value* found = info.find("config");
  return found == nullptr ? kNone : *found;
}

Result<json::Value> consumer_info(JetStream& js, const std::string& stream, const std::string& name) {
  return js.request("CONSUMER.INFO." + stream + "." + name);
}

Result<ConsumerTask> open_consumer(const Context& context, const Values& values, bool wants_consumer,
                                   bool is_forced) {
  auto js = JetStream::open(context, values);
  if (!js) return prefixed("setup failed", js.error());
  ConsumerTask task{std::move(*js), values.text("stream"), values.text("consumer"), {}};
  if (is_valid_name(task.stream) && is_valid_name(task.name)) {
    auto info = consumer_info(task.js, task.stream, task.name);
    if (info) {
      task.info = std::move(*info);
      return task;
    }
  }
  auto stream = select_stream(task.js, task.stream, is_forced, values.is_on("all"));
  if (!stream) return prefixed("could not select Stream", stream.error());
  task.stream = stream->name;
  if (!wants_consumer) return task;
  const auto failed = [](const Error& error) { return prefixed("could not select Consumer", error); };
  if (is_forced) {
    return failed({Errc::NotFound, "unknown consumer \"" + task.stream + "\" > \"" + task.name + "\""});
  }
  if (!is_terminal()) {
    return failed({Errc::Unavailable,
                   "cannot pick a Consumer without a terminal and no Consumer name supplied"});
  }
  auto names = task.js.names("CONSUMER.NAMES." + task.stream, "consumers");
  if (!names) return failed(names.error());
  if (names->empty()) return failed({Errc::NotFound, "no Consumers are defined for Stream " + task.stream});
  auto chosen = ask_choice("Select a Consumer", *names);
  if (!chosen) return failed(chosen.error());
  task.name = *chosen;
  auto info = consumer_info(task.js, task.stream, task.name);
  if (!info) return failed(info.error());
  task.info = std::move(*info);
  return task;
}

Command consumer_command() {
  Command group{"consumer", {"con", "obs", "c"}, "JetStream consumer management"};
  group.flags = {{"all,a", "Operate on all streams including system ones"}};
  add_consumer_editing(group);
  add_consumer_lists(group);
  add_consumer_single(group);
  add_consumer_reading(group);
  return group;
}

}  // namespace brokkr::cli
