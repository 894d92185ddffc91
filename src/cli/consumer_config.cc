// brokkr consumer add, edit, copy: flags and questions become a configuration.

#include <algorithm>
#include <cstdlib>

#include "base/bytes.h"
#include "base/ids.h"
#include "cli/columns.h"
#include "cli/consumer_commands.h"
#include "cli/files.h"
#include "cli/json_shape.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kGeneratedNameSize = 8;

json::Value shaped_consumer(const Draft& draft) {
  auto parsed = json::parse(shaped_text(draft.value(), kConsumerConfigShape));
  return parsed ? std::move(*parsed) : json::Value();
}

Status check_words(const Values& values) {
  for (const auto& [flag, words] : {std::pair{"ack", "none,all,explicit,flow_control"},
                                    {"backoff", "linear,none"},
                                    {"replay", "instant,original"}}) {
    if (Status status = check_word(values, flag, words); !status) return status;
  }
  return {};
}

Error bad_flag(const char* what, const Error& error) { return prefixed(what, error); }

// "all", "new", "last", "subject", a sequence, or how far back in time.
Status set_start(Draft& config, const std::string& policy, WallTime now) {
  config.erase("opt_start_seq");
  config.erase("opt_start_time");
  if (policy == "all" || policy == "last" || policy == "new") {
    config.text("deliver_policy", policy);
  } else if (policy == "next") {
    config.text("deliver_policy", "new");
  } else if (policy == "subject" || policy == "last_per_subject") {
    config.text("deliver_policy", "last_per_subject");
  } else if (const auto seq = parse_uint(policy)) {
    config.text("deliver_policy", "by_start_sequence");
    config.number("opt_start_seq", static_cast<int64_t>(*seq));
  } else {
    Duration back{};
    if (!parse_duration(policy, back)) {
      return Error{Errc::InvalidArgument, "could not parse starting delta: invalid duration"};
    }
    config.text("deliver_policy", "by_start_time");
    config.text("opt_start_time", format_rfc3339(now - back));
  }
  return {};
}

void set_filters(Draft& config, const std::vector<std::string>& filters) {
  if (filters.empty()) return;
  config.erase("filter_subject");
  config.erase("filter_subjects");
  if (filters.size() == 1) {
    config.text("filter_subject", filters[0]);
  } else {
    config.texts("filter_subjects", filters);
  }
}

struct Backoff {
  std::string mode;
  int64_t steps = 10;
  Duration min{};
  Duration max{};
};

Result<std::vector<Duration>> backoff_steps(const Backoff& backoff) {
  std::vector<Duration> out;
  if (backoff.mode != "linear") return out;
  if (backoff.steps <= 0 || backoff.min <= Duration(0) || backoff.max <= Duration(0)) {
    return Error{Errc::InvalidArgument,
                 "could not determine backoff policy: required policy properties not supplied"};
  }
  const Duration low = std::min(backoff.min, backoff.max);
  const Duration step = (std::max(backoff.min, backoff.max) - low) / backoff.steps;
  for (int64_t i = 0; i < backoff.steps; ++i) {
    out.push_back(low + std::chrono::round<std::chrono::milliseconds>(step * i));
  }
  return out;
}

void set_backoff(Draft& config, const std::vector<Duration>& steps) {
  config.erase("backoff");
  if (steps.empty()) return;
  json::Writer out;
  out.begin_array();
  for (const Duration step : steps) out.number(int64_t{step.count()});
  config.raw("backoff", out.end_array().take());
}

Backoff backoff_of(const Values& values) {
  return {values.text("backoff"), parse_int(values.text("backoff-steps")).value_or(10),
          values.duration("backoff-min"), values.duration("backoff-max")};
}

Status set_sampling(Draft& config, const Values& values, bool is_edit) {
  auto percent = integer_of(values, "sample", -1);
  if (!percent) return percent.error();
  if (*percent == -1) return {};
  if (*percent > 100 || *percent < 0) {
    return Error{Errc::InvalidArgument, "sample percent is not between 0 and 100"};
  }
  if (*percent > 0 || is_edit) config.text("sample_freq", *percent > 0 ? std::to_string(*percent) : "");
  return {};
}

// The parts that add, edit and copy take alike.
Status set_common(Draft& config, const Values& values, bool is_edit) {
  if (values.has("description")) config.text("description", values.text("description"));
  if (values.has("metadata")) config.map("metadata", pairs_of(values.all("metadata")));
  if (values.has("headers-only")) config.flag("headers_only", values.is_on("headers-only"));
  for (const auto& [flag, member] : {std::pair{"max-pull-batch", "max_batch"},
                                     {"max-pull-bytes", "max_bytes"},
                                     {"replicas", "num_replicas"}}) {
    auto number = integer_of(values, flag, 0);
    if (!number) return number.error();
    if (*number > 0) config.number(member, *number);
  }
  for (const auto& [flag, member] : {std::pair{"max-pull-expire", "max_expires"},
                                     {"inactive-threshold", "inactive_threshold"},
                                     {"wait", "ack_wait"}}) {
    if (const Duration time = values.duration(flag); time > Duration(0)) config.number(member, time.count());
  }
  return set_sampling(config, values, is_edit);
}

// Asks for what the flags leave open, or takes the defaults.
class ConsumerQuestions {
 public:
  ConsumerQuestions(const Values& values, WallTime now)
      : values_(values), now_(now), is_default_(values.is_on("defaults")), backoff_(backoff_of(values)) {}

  Result<Draft> make() {
    for (auto step : {&ConsumerQuestions::ask_name, &ConsumerQuestions::ask_delivery,
                      &ConsumerQuestions::ask_policies, &ConsumerQuestions::ask_filter,
                      &ConsumerQuestions::ask_limits, &ConsumerQuestions::ask_push,
                      &ConsumerQuestions::ask_headers, &ConsumerQuestions::ask_backoff,
                      &ConsumerQuestions::set_rest, &ConsumerQuestions::set_groups}) {
      if (Status status = (this->*step)(); !status) return status.error();
    }
    return config_;
  }

 private:
  Status ask_name() {
    std::string name = values_.text("consumer");
    const bool is_ephemeral = values_.is_on("ephemeral");
    if (name.empty() && !is_ephemeral) {
      auto answer = ask_text("Consumer name", "", true);
      if (!answer) return bad_flag("could not request durable name", answer.error());
      name = std::move(*answer);
    }
    if (is_ephemeral) {
      if (!name.empty()) config_.text("name", name);
      return {};
    }
    if (name.find_first_of(".*>") != std::string::npos) {
      return Error{Errc::InvalidArgument, "durable name can not contain '.', '*', '>'"};
    }
    config_.text("durable_name", name);
    return {};
  }

  Status ask_delivery() {
    target_ = values_.text("target");
    if (!values_.is_on("pull") && target_.empty()) {
      auto answer = ask_text("Delivery target (empty for Pull Consumers)", "");
      if (!answer) return bad_flag("could not request delivery target", answer.error());
      target_ = std::move(*answer);
    }
    if (target_.empty()) return {};
    config_.text("deliver_subject", target_);
    std::string group = values_.text("deliver-group");
    if (!values_.has("deliver-group") && !is_default_) {
      auto answer = ask_text("Delivery Queue Group", "");
      if (!answer) return bad_flag("could not request delivery group", answer.error());
      group = std::move(*answer);
    }
    if (!group.empty()) config_.text("deliver_group", group);
    return {};
  }

  Status ask_policies() {
    std::string start = values_.text("deliver");
    if (start.empty() && is_default_) start = "all";
    if (start.empty()) {
      auto answer = ask_text("Start policy (all, new, last, subject, 1h, msg sequence)", "all", true);
      if (!answer) return bad_flag("could not request start policy", answer.error());
      start = std::move(*answer);
    }
    is_last_per_subject_ = start == "subject" || start == "last_per_subject";
    if (Status status = set_start(config_, start, now_); !status) return status;
    ack_ = values_.text("ack");
    const char* preset = target_.empty() ? "explicit" : "none";
    if (ack_.empty() && is_default_) ack_ = preset;
    if (ack_.empty()) {
      auto answer = ask_choice("Acknowledgment policy", {"explicit", "all", "none"}, preset);
      if (!answer) return bad_flag("could not ask acknowledgement policy", answer.error());
      ack_ = std::move(*answer);
    }
    config_.text("ack_policy", ack_);
    std::string replay = values_.text("replay");
    if (is_default_ && (replay.empty() || !target_.empty())) replay = "instant";
    if (replay.empty()) {
      auto answer = ask_choice("Replay policy", {"instant", "original"}, "instant");
      if (!answer) return bad_flag("could not ask replay policy", answer.error());
      replay = std::move(*answer);
    }
    config_.text("replay_policy", replay);
    return {};
  }

  Status ask_filter() {
    auto filters = values_.all("filter");
    if (filters.empty() && !is_default_) {
      auto answer = ask_text("Filter Stream by subjects (blank for all)", "");
      if (!answer) return bad_flag("could not ask for filtering subject", answer.error());
      filters = split_subjects({*answer});
    }
    if (filters.empty() && is_last_per_subject_) filters = {">"};
    set_filters(config_, filters);
    return {};
  }

  Status ask_limits() {
    auto tries = integer_of(values_, "max-deliver", 0);
    if (!tries) return tries.error();
    tries_ = *tries == 0 && is_default_ ? -1 : *tries;
    if (tries_ == 0 && ack_ != "none") {
      auto answer = ask_number("Maximum Allowed Deliveries", "-1");
      if (!answer) return bad_flag("could not ask for maximum allowed deliveries", answer.error());
      tries_ = *answer;
    }
    auto pending = integer_of(values_, "max-pending", -1);
    if (!pending) return pending.error();
    if (*pending == -1 && !is_default_ && ack_ != "none") {
      pending = ask_number("Maximum Acknowledgments Pending", "0");
      if (!pending) return bad_flag("could not ask for maximum outstanding acknowledgements", pending.error());
    }
    if (*pending > 0) config_.number("max_ack_pending", *pending);
    return {};
  }

  Status ask_push() {
    std::string heartbeat = values_.text("heartbeat");
    if (target_.empty()) {
      if (!heartbeat.empty() && heartbeat != "-1") {
        return Error{Errc::InvalidArgument, "pull subscribers does not support idle heartbeats"};
      }
      return {};
    }
    if (heartbeat.empty() && is_default_) heartbeat = "-1";
    if (heartbeat.empty()) {
      auto answer = ask_text("Idle Heartbeat", "0s");
      if (!answer) return bad_flag("could not ask for idle heartbeat", answer.error());
      heartbeat = std::move(*answer);
    }
    Duration time{};
    if (heartbeat != "-1" && !parse_duration(heartbeat, time)) {
      return Error{Errc::InvalidArgument, "invalid heartbeat duration: invalid duration"};
    }
    if (time > Duration(0)) config_.number("idle_heartbeat", time.count());
    bool has_flow_control = values_.is_on("flow-control");
    if (!values_.has("flow-control") && !is_default_) {
      auto answer = ask_yes("Enable Flow Control, ie --flow-control", false);
      if (!answer) return bad_flag("could not ask flow control", answer.error());
      has_flow_control = *answer;
    }
    config_.flag("flow_control", has_flow_control);
    return {};
  }

  Status ask_headers() {
    if (values_.has("headers-only") || is_default_) return {};
    auto answer = ask_yes("Deliver headers only without bodies", false);
    if (!answer) return bad_flag("could not ask headers only", answer.error());
    config_.flag("headers_only", *answer);
    return {};
  }

  Status ask_backoff() {
    if (ack_ != "none" && !is_default_ && backoff_.mode.empty()) {
      auto wants = ask_yes("Add a Retry Backoff Policy", false);
      if (!wants) return wants.error();
      if (*wants) {
        if (Status status = ask_backoff_details(); !status) return status;
      }
    }
    auto steps = backoff_steps(backoff_);
    if (!steps) return steps.error();
    set_backoff(config_, *steps);
    // The server wants more tries than steps.
    if (!steps->empty() && tries_ == -1) tries_ = static_cast<int64_t>(steps->size()) + 1;
    if (ack_ == "none") tries_ = -1;
    if (tries_ != 0) config_.number("max_deliver", tries_);
    return {};
  }

  Status ask_backoff_details() {
    auto mode = ask_choice("Backoff policy", {"linear", "none"}, "none");
    if (!mode) return mode.error();
    backoff_.mode = *mode;
    if (*mode == "none") return {};
    for (const auto& [question, preset, time] : {std::tuple{"Minimum retry time", "1m", &backoff_.min},
                                                 {"Maximum retry time", "10m", &backoff_.max}}) {
      auto answer = ask_text(question, preset);
      if (!answer) return answer.error();
      if (!parse_duration(*answer, *time)) return Error{Errc::InvalidArgument, "invalid duration"};
    }
    auto steps = ask_number("Number of steps to generate in the policy", "20");
    if (!steps) return steps.error();
    if (*steps < 1) return Error{Errc::InvalidArgument, "backoff steps must be > 0"};
    backoff_.steps = *steps;
    return {};
  }

  Status set_rest() {
    if (Status status = set_common(config_, values_, false); !status) return status;
    auto rate = integer_of(values_, "bps", 0);
    if (!rate) return rate.error();
    if (*rate > 0 && target_.empty()) {
      return Error{Errc::InvalidArgument, "rate limits are only possible on Push consumers"};
    }
    if (*rate > 0) config_.number("rate_limit_bps", *rate);
    auto waiting = integer_of(values_, "max-waiting", 0);
    if (!waiting) return waiting.error();
    if (*waiting > 0 && target_.empty()) config_.number("max_waiting", *waiting);
    if (values_.is_on("memory")) config_.flag("mem_storage", true);
    if (!values_.text("pause").empty()) {
      auto until = pause_time(values_.text("pause"), now_);
      if (!until) return until.error();
      config_.text("pause_until", *until);
    }
    return {};
  }

  Status set_groups() {
    const bool has_pinned = values_.has("pinned-groups");
    const bool has_overflow = values_.has("overflow-groups");
    if (has_pinned && has_overflow) {
      return Error{Errc::InvalidArgument, "setting both overflow and pinned groups are not supported"};
    }
    const auto set = [&](const char* policy, const char* flag) {
      config_.text("priority_policy", policy);
      config_.texts("priority_groups", values_.all(flag));
    };
    if (has_pinned) {
      set("pinned_client", "pinned-groups");
      if (values_.has("pinned-ttl")) config_.number("priority_timeout", values_.duration("pinned-ttl").count());
    } else if (has_overflow) {
      set("overflow", "overflow-groups");
    } else if (values_.has("prioritized-groups")) {
      set("prioritized", "prioritized-groups");
    }
    return {};
  }

  const Values& values_;
  const WallTime now_;
  const bool is_default_;
  Backoff backoff_;
  Draft config_;
  std::string target_;
  std::string ack_;
  int64_t tries_ = 0;
  bool is_last_per_subject_ = false;
};

Draft plain_config(const json::Value& config) {
  Draft draft(config);
  const auto metadata = user_metadata(config.find("metadata"));
  draft.erase("metadata");
  if (!metadata.empty()) draft.map("metadata", metadata);
  return draft;
}

Result<Draft> consumer_from_file(const Values& values) {
  auto file = read_config_file(values.text("config"));
  if (!file) return file.error();
  Draft config = plain_config(*file);
  const std::string name = values.text("consumer");
  if (!name.empty() && !file->get_string("durable_name").empty()) config.text("durable_name", name);
  if (!name.empty()) config.text("name", name);
  if (values.has("target") && !is_pull(*file)) config.text("deliver_subject", values.text("target"));
  return config;
}

Result<Draft> edited_consumer(const json::Value& before, const Values& values) {
  if (values.has("config")) return consumer_from_file(values);
  Draft config = plain_config(before);
  if (Status status = set_common(config, values, true); !status) return status.error();
  auto tries = integer_of(values, "max-deliver", 0);
  if (!tries) return tries.error();
  if (*tries != 0) config.number("max_deliver", *tries);
  auto pending = integer_of(values, "max-pending", -1);
  if (!pending) return pending.error();
  if (*pending != -1) config.number("max_ack_pending", *pending);
  if (values.has("backoff")) {
    auto steps = backoff_steps(backoff_of(values));
    if (!steps) return steps.error();
    set_backoff(config, *steps);
  }
  if (values.has("target")) config.text("deliver_subject", values.text("target"));
  set_filters(config, values.all("filter"));
  return config;
}

// What copy may change beyond what edit may.
Status set_copied(Draft& config, const Values& values, const std::string& name, WallTime now) {
  config.erase("durable_name");
  config.text("name", name);
  if (!values.is_on("ephemeral")) config.text("durable_name", name);
  if (!values.text("deliver").empty()) {
    if (Status status = set_start(config, values.text("deliver"), now); !status) return status;
  }
  if (values.has("ack")) config.text("ack_policy", values.text("ack"));
  if (values.has("replay")) config.text("replay_policy", values.text("replay"));
  auto rate = integer_of(values, "bps", 0);
  if (!rate) return rate.error();
  if (*rate > 0) config.number("rate_limit_bps", *rate);
  if (values.is_on("pull")) {
    config.erase("deliver_subject");
    auto waiting = integer_of(values, "max-waiting", 0);
    if (!waiting) return waiting.error();
    config.number("max_waiting", *waiting);
  }
  const std::string heartbeat = values.text("heartbeat");
  Duration time{};
  if (!heartbeat.empty() && heartbeat != "-1") {
    if (!parse_duration(heartbeat, time)) {
      return Error{Errc::InvalidArgument, "Invalid heartbeat duration: invalid duration"};
    }
    config.number("idle_heartbeat", time.count());
  }
  if (values.has("flow-control")) config.flag("flow_control", values.is_on("flow-control"));
  config.erase("deliver_group");
  if (values.has("deliver-group") && values.has("target")) {
    config.text("deliver_group", values.text("deliver-group"));
  }
  if (is_pull(config.value())) {
    config.erase("idle_heartbeat");
    config.erase("flow_control");
  }
  return {};
}

int write_consumer_config(const Context& context, const Values& values, const json::Value& config) {
  const std::string text = shaped_text(config, kConsumerConfigShape);
  if (values.is_on("validate")) {
    print(text + "\n\nConfiguration is a valid Consumer\n");
    return 0;
  }
  const Status written = write_file(values.text("output"), text);
  return written ? 0 : fail(context.program, written.error());
}

}  // namespace

Result<std::string> pause_time(const std::string& text, WallTime now) {
  if (const auto time = parse_time(text); time && text.size() == 19) return format_rfc3339(*time);
  Duration length{};
  if (!parse_duration(text, length)) {
    return Error{Errc::InvalidArgument, "could not parse the pause time as either timestamp or duration"};
  }
  return format_rfc3339(now + length);
}

Result<json::Value> create_consumer(JetStream& js, const std::string& stream, const json::Value& config) {
  Draft sent(config);
  std::string name(config.get_string("durable_name"));
  if (name.empty()) name = config.get_string("name");
  if (name.empty()) {
    name = std::string(Nuid(js.session().random()).next().substr(0, kGeneratedNameSize));
  }
  sent.text("name", name);
  if (!is_valid_name(name)) {
    return Error{Errc::InvalidArgument, "\"" + name + "\" is not a valid consumer name"};
  }
  if (!parse_time(config.get_string("pause_until"))) sent.erase("pause_until");
  Draft body;
  body.text("stream_name", stream);
  body.object("config", sent);
  std::string verb = "CONSUMER.CREATE." + stream + "." + name;
  if (const auto filter = config.get_string("filter_subject"); !filter.empty()) verb += "." + std::string(filter);
  return js.request(verb, body.text());
}

std::vector<Flag> consumer_config_flags(bool is_edit) {
  const auto text = [](const char* name, const char* help, const char* placeholder = "", const char* preset = "") {
    return Flag{name, help, Kind::Text, placeholder, preset};
  };
  const auto time = [](const char* name, const char* help, const char* placeholder, const char* preset = "") {
    return Flag{name, help, Kind::Duration, placeholder, preset};
  };
  const auto list = [](const char* name, const char* help, const char* placeholder) {
    return Flag{name, help, Kind::Text, placeholder, "", "", true};
  };
  std::vector<Flag> flags{
      text("backoff", "Creates a consumer backoff policy using a specific pre-written algorithm (none, linear)", "MODE"),
      text("backoff-steps", "Number of steps to use when creating the backoff policy", "", "10"),
      time("backoff-min", "The shortest backoff period that will be generated", "", "1m"),
      time("backoff-max", "The longest backoff period that will be generated", "", "20m"),
      text("description", "Sets a contextual description for the consumer"),
      list("filter", "Filter Stream by subjects", "SUBJECTS"),
      {"headers-only", "Deliver only headers and no bodies"},
      text("max-deliver", "Maximum amount of times a message will be delivered", "TRIES"),
      text("max-pending,max-outstanding", "Maximum pending Acks before consumers are paused", "", "-1"),
      text("max-pull-batch", "Maximum size batch size for a pull request to accept", "BATCH_SIZE"),
      time("max-pull-expire", "Maximum expire duration for a pull request to accept", "EXPIRES"),
      text("max-pull-bytes", "Maximum max bytes for a pull request to accept", "BYTES"),
      text("sample", "Percentage of requests to sample for monitoring purposes", "", "-1"),
      text("target", "Push based delivery target subject", "SUBJECT"),
      time("wait", "Acknowledgment waiting time", "", "-1s"),
      time("inactive-threshold", "How long to allow an ephemeral consumer to be idle before removing it", "THRESHOLD"),
      text("replicas", "Sets a custom replica count rather than inherit from the stream"),
      list("metadata", "Adds metadata to the consumer", "META"),
  };
  if (is_edit) return flags;
  for (Flag& flag : std::vector<Flag>{
           text("ack", "Acknowledgment policy (none, all, explicit, flow_control)"),
           text("bps", "Restrict message delivery to a certain bit per second", "", "0"),
           text("deliver", "Start policy (all, new, last, subject, 1h, msg sequence)", "POLICY"),
           text("deliver-group", "Delivers push messages only to subscriptions matching this group", "GROUP"),
           {"ephemeral", "Create an ephemeral consumer"},
           {"flow-control", "Enable Push consumer flow control"},
           text("heartbeat", "Enable idle Push consumer heartbeats (-1 disable)"),
           text("max-waiting", "Maximum number of outstanding pulls allowed", "PULLS"),
           {"pull", "Deliver messages in 'pull' mode"},
           text("replay", "Replay Policy (instant, original)", "POLICY"),
           {"memory", "Force the consumer state to be stored in memory rather than inherit from the stream"},
           text("pause", "Pause the consumer for a duration after start or until a specific timestamp (eg 2026-11-23 14:07:23)"),
           list("pinned-groups", "Create a Pinned Client consumer based on these groups", "GROUPS"),
           time("pinned-ttl", "The time to allow for a client to pull before losing the pinned status", "TTL"),
           list("overflow-groups", "Create a Overflow consumer based on these groups", "GROUPS"),
           list("prioritized-groups", "Create a Prioritized consumer based on these groups", "GROUPS"),
           {"json,j", "Produce JSON output", Kind::Bool, "", "", "", false, true}}) {
    flags.push_back(std::move(flag));
  }
  return flags;
}

int run_consumer_add(const Context& context, const Values& values) {
  if (Status status = check_words(values); !status) return fail(context.program, status.error());
  auto task = open_consumer(context, values, false);
  if (!task) return fail(context.program, task.error());
  const WallTime now = task->js.session().clock().wall_now();
  auto draft = values.has("config") ? consumer_from_file(values) : ConsumerQuestions(values, now).make();
  if (!draft) return fail(context.program, draft.error());
  const json::Value config = shaped_consumer(*draft);
  if (values.is_on("validate") || values.has("output")) return write_consumer_config(context, values, config);
  auto info = create_consumer(task->js, task->stream, config);
  if (!info) return fail(context.program, prefixed("Consumer creation failed", info.error()));
  show_consumer(*info, consumer_view(values));
  return 0;
}

int run_consumer_edit(const Context& context, const Values& values) {
  if (Status status = check_words(values); !status) return fail(context.program, status.error());
  auto task = open_consumer(context, values, true, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  if (task->config().get_string("durable_name").empty()) {
    return fail(context.program, "only durable consumers can be edited");
  }
  const json::Value before = shaped_consumer(plain_config(task->config()));
  Result<Draft> draft = Draft();
  if (values.is_on("interactive")) {
    auto text = edit_text(shaped_text(before, kConsumerConfigShape), ".json");
    if (!text) return fail(context.program, text.error());
    auto parsed = json::parse(*text);
    if (!parsed) return fail(context.program, parsed.error());
    draft = Draft(*parsed);
  } else {
    draft = edited_consumer(before, values);
  }
  if (!draft) {
    return fail(context.program,
                prefixed("could not create new configuration for Consumer " + task->name, draft.error()));
  }
  const json::Value after = shaped_consumer(*draft);
  const json::Value* backoff = after.find("backoff");
  if (backoff != nullptr && after.get_int("ack_wait") != before.get_int("ack_wait")) {
    return fail(context.program, "consumers with backoff policies do not support editing Ack Wait");
  }
  if (!print_differences(before, after)) {
    if (!values.is_on("dry-run")) print_line("No difference in configuration");
    return 0;
  }
  if (values.is_on("dry-run")) return 1;
  if (!values.is_on("force")) {
    auto answer = ask_yes("Really edit Consumer " + task->stream + " > " + task->name, false);
    if (!answer) return fail(context.program, prefixed("could not obtain confirmation", answer.error()));
    if (!*answer) return 0;
  }
  auto info = create_consumer(task->js, task->stream, after);
  if (!info) return fail(context.program, info.error());
  show_consumer(*info, consumer_view(values));
  return 0;
}

int run_consumer_copy(const Context& context, const Values& values) {
  if (Status status = check_words(values); !status) return fail(context.program, status.error());
  auto task = open_consumer(context, values, false);
  if (!task) return fail(context.program, task.error());
  auto source = consumer_info(task->js, task->stream, values.text("source"));
  if (!source) return fail(context.program, prefixed("could not load source Consumer", source.error()));
  const json::Value* before = source->find("config");
  auto draft = edited_consumer(before == nullptr ? json::Value() : *before, values);
  if (!draft) return fail(context.program, draft.error());
  const Status status = set_copied(*draft, values, values.text("destination"),
                                   task->js.session().clock().wall_now());
  if (!status) return fail(context.program, status.error());
  auto info = create_consumer(task->js, task->stream, shaped_consumer(*draft));
  if (!info) return fail(context.program, prefixed("Consumer creation failed", info.error()));
  if (!values.is_on("ephemeral")) show_consumer(*info, consumer_view(values));
  return 0;
}

}  // namespace brokkr::cli
