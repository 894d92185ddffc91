// brokkr logs, and the events of nodes and workloads.

#include <cstdio>
#include <deque>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/feed.h"
#include "cli/terminal.h"
#include "cli/workload_client.h"

namespace brokkr::cli {
namespace {

// Prints log lines of one workload, or of all with their names before them.
class LogView {
 public:
  LogView(WorkloadClient& workloads, const Values& values, bool is_following)
      : workloads_(workloads), values_(values), wanted_(wanted_of(values)),
        is_following_(is_following), is_errors_only_(is_error_level(values.text("level"))) {
    if (values.has("since")) since_ = workloads.session().clock().wall_now() - values.duration("since");
  }

  Status run() {
    if (Status known = learn_names(); !known) return known;
    if (!wanted_.empty() && wanted_ids_.empty()) {
      return Error{Errc::NotFound, "no workload \"" + wanted_ + "\" in namespace \"" +
                                       workloads_.ns() + "\""};
    }
    // All ids, as a workload deployed again has a new one.
    auto subscription = workloads_.session().connection().subscribe(
        workload::log_subject(workloads_.ns(), "*", "*"),
        [this](const client::Message& message) { waiting_.emplace_back(message); });
    if (!subscription) return subscription.error();
    if (Status ready = workloads_.session().flush(std::chrono::seconds(5)); !ready) return ready;
    if (Status shown = show_kept(); !shown || is_enough() || !is_following_) return shown;
    remark("Listening for logs");
    return follow();
  }

 private:
  static std::string wanted_of(const Values& values) {
    const std::string named = values.text("workload_name");
    return values.has("workload") || named == "*" ? values.text("workload") : named;
  }
  // A line's level is its stream: what goes to stderr is worth a warning at least.
  static bool is_error_level(std::string_view level) {
    return level == "error" || level == "warn" || level == "warning" || level == "fatal" || level == "stderr";
  }

  Status follow() {
    const Duration wait = values_.duration("wait");
    while (true) {
      const bool came = client::run_until(workloads_.session().loop(),
                                          wait > Duration(0) ? wait : std::chrono::hours(1),
                                          [this] { return is_over() || !waiting_.empty(); });
      if (is_over()) return workloads_.session().connection().last_error();
      if (!came && wait > Duration(0)) return {};
      while (!waiting_.empty()) {
        const client::OwnedMessage message = std::move(waiting_.front());
        waiting_.pop_front();
        if (Status shown = show(message); !shown) return shown;
        if (is_enough()) return {};
      }
      std::fflush(stdout);
    }
  }

  bool is_enough() const { return values_.has("count") && count_ >= values_.number("count"); }

  // What was written before now. Nodes publish a line and keep it at once, so the messages that
  // came before a node's answer are in the answer.
  Status show_kept() {
    const std::map<std::string, std::string> names = names_;
    for (const auto& [id, name] : names) {
      if (!wanted_.empty() && !wanted_ids_.contains(id)) continue;
      auto log = workloads_.log(id, [this, &id = id] {
        std::erase_if(waiting_, [&](const auto& message) { return message.view().token(4) == id; });
      });
      if (!log) return log.error();
      for (const workload::LogEntry& entry : log->entries) {
        if (is_enough()) return {};
        WallTime written{};
        if (since_ && parse_rfc3339(entry.time, written) && written < *since_) continue;
        show_text(name, entry.stream, entry.text);
      }
    }
    return {};
  }

  bool is_over() const {
    return workloads_.session().connection().state() == client::State::Closed;
  }

  Status learn_names() {
    auto found = workloads_.list({});
    if (!found) return found.error();
    for (const workload::WorkloadSummary& one : *found) {
      names_[one.id] = one.name;
      if (one.id == wanted_ || one.name == wanted_) wanted_ids_[one.id] = true;
    }
    return {};
  }

  Status show(const client::OwnedMessage& message) {
    // "$NEX.FEED.<ns>.logs.<id>.<stream>"
    const std::string id(message.view().token(4));
    const std::string_view stream = message.view().token(5);
    if (!names_.contains(id)) {
      names_[id] = id;  // asked for once, also when it has gone by now
      if (Status known = learn_names(); !known) return known;
    }
    if (!wanted_.empty() && !wanted_ids_.contains(id)) return {};
    show_text(names_[id], stream, message.payload);
    return {};
  }

  void show_text(const std::string& name, std::string_view stream, std::string_view text) {
    if (is_errors_only_ && stream != "stderr") return;
    ++count_;
    while (text.ends_with('\n')) text.remove_suffix(1);
    const bool is_colored = is_terminal_stdout() && stream == "stderr";
    for (const std::string_view line : split(text, '\n')) {
      std::string out = wanted_.empty() ? name + " " + std::string(line) : std::string(line);
      if (is_colored) out = "\x1b[31m" + out + "\x1b[0m";
      print_line(out);
    }
  }

  WorkloadClient& workloads_;
  const Values& values_;
  const std::string wanted_;
  const bool is_following_;
  const bool is_errors_only_;
  std::optional<WallTime> since_;
  std::map<std::string, std::string> names_;
  std::map<std::string, bool> wanted_ids_;
  std::deque<client::OwnedMessage> waiting_;
  uint64_t count_ = 0;
};

int run_logs(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  // nex's own command knows nothing else than following.
  const bool is_following = values.is_on("follow") || values.has("count") || values.has("wait") ||
                            context.program == "nex";
  LogView view(**workloads, values, is_following);
  if (Status done = view.run(); !done) return fail(context.program, done.error());
  return 0;
}

}  // namespace

Command logs_command() {
  Command command{"logs", {}, "Show what workloads wrote lately, or write"};
  command.arguments = {{"workload", "ID or name; all when absent", false}};
  command.flags = {namespace_flag(),
                   {"follow,f", "Go on until interrupted, as nex always does"},
                   {"since", "Only what was written in this time", Kind::Duration, "DURATION"},
                   {"level", "warn or error: only what went to stderr", Kind::Text, "LEVEL"},
                   {"count", "Quit after so many messages, wait for them", Kind::Number, "COUNT"},
                   {"wait", "Quit after this long without a message", Kind::Duration, "WAIT"},
                   {"node", "Of nex 0.2.7", Kind::Text, "", "", "", false, true},
                   {"workload_name,workload_id", "Of nex 0.2.7: the workload", Kind::Text, "", "", "", false, true}};
  command.run = run_logs;
  return command;
}

int run_workload_events(const Context& context, const Values& values) {
  auto workloads = WorkloadClient::connect(context, values);
  if (!workloads) return fail(context.program, workloads.error());
  client::Session& session = (*workloads)->session();
  const std::string ns = values.has("namespace") ? (*workloads)->ns() : "*";
  uint64_t count = 0;
  auto subscription = session.connection().subscribe(
      workload::event_subject(ns, "*"), [&](const client::Message& message) {
        ++count;
        if (values.is_on("json")) {
          print_line(message.payload);
        } else {
          print_line(local_clock_text(session.clock().wall_now()) + " [" +
                     std::string(message.token(2)) + "] " +
                     std::string(message.token(4)) + " " +
                     std::string(message.payload));
        }
        std::fflush(stdout);
      });
  if (!subscription) return fail(context.program, subscription.error());
  if (Status ready = session.flush(std::chrono::seconds(5)); !ready) {
    return fail(context.program, ready.error());
  }
  remark("Listening for events");
  while (session.connection().state() != client::State::Closed) {
    if (values.has("count") && count >= values.number("count")) return 0;
    session.loop().run_once(std::chrono::seconds(60));
  }
  return fail(context.program, session.connection().last_error());
}

}  // namespace brokkr::cli
