// brokkr stream add, edit, copy: flags and questions become a configuration.

#include <cstdlib>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/files.h"
#include "cli/json_shape.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr int64_t kMessageSizeMax = INT32_MAX;
constexpr int64_t kRequiredSizeDefault = 256 << 20;
constexpr Duration kDuplicateWindow = std::chrono::minutes(2);

json::Value shaped(const Draft& draft) {
  auto parsed = json::parse(shaped_text(draft.value(), kStreamConfigShape));
  return parsed ? std::move(*parsed) : json::Value();
}

std::string retention_word(const std::string& word) {
  return word == "work" || word == "workq" || word == "Work Queue" ? "workqueue" : to_lower(word);
}
std::string storage_word(const std::string& word) {
  return word == "f" ? "file" : word == "m" ? "memory" : word;
}

Result<Duration> long_duration_of(const std::string& text, const char* what) {
  Duration duration{};
  if (!parse_duration(text, duration)) {
    return Error{Errc::InvalidArgument, std::string(what) + ": invalid duration"};
  }
  return duration;
}

Status check_flags(const Values& values) {
  for (const auto& [flag, words] : {std::pair{"storage", "file,f,memory,m"},
                                    {"compression", "none,s2"},
                                    {"retention", "limits,interest,workq,work"},
                                    {"discard", "new,old"},
                                    {"persist-mode", "default,async"}}) {
    if (Status status = check_word(values, flag, words); !status) return status;
  }
  const auto pair_given = [&](const char* a, const char* b) { return values.has(a) == values.has(b); };
  if (!pair_given("republish-source", "republish-destination") ||
      (values.is_on("republish-headers") && !values.has("republish-source"))) {
    return Error{Errc::InvalidArgument,
                 std::string("must specify both --republish-source and --republish-destination") +
                     (values.is_on("republish-headers") ? " when using --headers-only" : "")};
  }
  if (!pair_given("transform-source", "transform-destination")) {
    return Error{Errc::InvalidArgument,
                 "must specify both --transform-source and --transform-destination"};
  }
  return {};
}

// The parts that add, edit and copy take from flags alike; nothing is asked.
void set_plain_parts(Draft& config, const Values& values) {
  for (const auto& [flag, member] : {std::pair{"deny-delete", "deny_delete"},
                                     {"deny-purge", "deny_purge"},
                                     {"allow-rollup", "allow_rollup_hdrs"},
                                     {"allow-direct", "allow_direct"},
                                     {"allow-mirror-direct", "mirror_direct"},
                                     {"allow-msg-ttl", "allow_msg_ttl"},
                                     {"allow-batch", "allow_atomic"},
                                     {"allow-fast", "allow_batched"},
                                     {"allow-counter", "allow_msg_counter"},
                                     {"allow-schedules", "allow_msg_schedules"},
                                     {"discard-per-subject", "discard_new_per_subject"}}) {
    if (values.has(flag)) config.flag(member, values.is_on(flag));
  }
  if (values.has("ack")) config.flag("no_ack", !values.is_on("ack"));
  for (const char* word : {"description", "compression"}) {
    if (values.has(word)) config.text(word, values.text(word));
  }
  if (values.has("metadata")) config.map("metadata", pairs_of(values.all("metadata")));
  if (values.has("subject-del-markers-ttl")) {
    config.number("subject_delete_marker_ttl", values.duration("subject-del-markers-ttl").count());
  }
  if (values.has("republish-source")) {
    Draft republish;
    republish.text("src", values.text("republish-source"));
    republish.text("dest", values.text("republish-destination"));
    if (values.is_on("republish-headers")) republish.flag("headers_only", true);
    config.object("republish", republish);
  }
  if (values.has("transform-source")) {
    Draft transform;
    transform.text("src", values.text("transform-source"));
    transform.text("dest", values.text("transform-destination"));
    config.object("subject_transform", transform);
  }
}

// An empty --cluster or --tag takes the old one away.
void set_placement(Draft& config, const Values& values, const json::Value* before) {
  if (!values.has("cluster") && !values.has("tag")) return;
  std::string cluster(before == nullptr ? "" : before->get_string("cluster"));
  auto tags = before == nullptr ? std::vector<std::string>() : texts_of(before->find("tags"));
  if (values.has("cluster")) cluster = values.text("cluster");
  if (values.has("tag")) tags = values.all("tag");
  std::erase(tags, std::string());
  Draft placement;
  if (!cluster.empty()) placement.text("cluster", cluster);
  if (!tags.empty()) placement.texts("tags", tags);
  config.erase("placement");
  if (!cluster.empty() || !tags.empty()) config.object("placement", placement);
}

// Asks for what the flags leave open, or takes the defaults.
class StreamQuestions {
 public:
  StreamQuestions(const Values& values, bool requires_size)
      : values_(values), is_default_(values.is_on("defaults")), requires_size_(requires_size) {}

  Result<Draft> make() {
    for (auto step : {&StreamQuestions::ask_name_and_subjects, &StreamQuestions::ask_policies,
                      &StreamQuestions::ask_counts, &StreamQuestions::ask_sizes,
                      &StreamQuestions::ask_times, &StreamQuestions::ask_permissions,
                      &StreamQuestions::ask_replication}) {
      if (Status status = (this->*step)(); !status) return status.error();
    }
    set_plain_parts(config_, values_);
    set_placement(config_, values_, nullptr);
    if (!values_.has("allow-direct")) config_.flag("allow_direct", true);
    set_consumer_limits();
    if (values_.has("first-sequence")) {
      config_.number("first_seq", static_cast<int64_t>(values_.number("first-sequence")));
    }
    if (values_.has("persist-mode")) config_.text("persist_mode", values_.text("persist-mode"));
    return config_;
  }

 private:
  static Error invalid(const Error& error) { return prefixed("invalid input", error); }

  Status ask_name_and_subjects() {
    std::string name = values_.text("stream");
    if (name.empty()) {
      auto answer = ask_text("Stream Name", "", true);
      if (!answer) return invalid(answer.error());
      name = std::move(*answer);
    }
    config_.text("name", name);
    subjects_ = split_subjects(values_.all("subjects"));
    const bool is_mirror = values_.has("mirror");
    if (is_mirror && !subjects_.empty()) {
      return Error{Errc::InvalidArgument, "mirrors cannot listen for messages on subjects"};
    }
    if (!is_mirror && !values_.has("source") && subjects_.empty()) {
      auto answer = ask_text("Subjects", "", true);
      if (!answer) return invalid(answer.error());
      subjects_ = split_subjects({*answer});
    }
    if (!subjects_.empty()) config_.texts("subjects", subjects_);
    return {};
  }

  Result<std::string> choose(const char* flag, const char* question,
                             const std::vector<std::string>& choices, const char* preset) {
    if (values_.has(flag)) return values_.text(flag);
    if (is_default_) return std::string(preset);
    auto answer = ask_choice(question, choices, preset);
    if (!answer) return invalid(answer.error());
    return answer;
  }

  Status ask_policies() {
    auto storage = choose("storage", "Storage", {"file", "memory"}, "file");
    if (!storage) return storage.error();
    config_.text("storage", storage_word(*storage));
    auto replicas = count("replicas", "Replication", "1", 1);
    if (!replicas) return replicas.error();
    if (*replicas <= 0) return Error{Errc::InvalidArgument, "replicas should be >= 1"};
    config_.number("num_replicas", *replicas);
    auto retention =
        choose("retention", "Retention Policy", {"Limits", "Interest", "Work Queue"}, "Limits");
    if (!retention) return retention.error();
    config_.text("retention", retention_word(*retention));
    auto discard = choose("discard", "Discard Policy", {"New", "Old"}, "Old");
    if (!discard) return discard.error();
    config_.text("discard", to_lower(*discard));
    return {};
  }

  // The flag's number; 0 counts as not given.
  Result<int64_t> count(const char* flag, const char* question, const char* shown, int64_t preset) {
    auto given = integer_of(values_, flag, 0);
    if (!given || *given != 0) return given;
    if (is_default_) return preset;
    auto answer = ask_number(question, shown);
    if (!answer) return invalid(answer.error());
    return answer;
  }

  Status ask_counts() {
    auto messages = count("max-msgs", "Stream Messages Limit", "-1", -1);
    if (!messages) return messages.error();
    config_.number("max_msgs", *messages <= 0 ? -1 : *messages);
    Result<int64_t> per_subject = int64_t{0};
    if (!subjects_.empty() || is_default_ || values_.has("max-msgs-per-subject")) {
      per_subject = count("max-msgs-per-subject", "Per Subject Messages Limit", "-1", -1);
      if (!per_subject) return per_subject.error();
      if (*per_subject <= 0) per_subject = int64_t{-1};
    }
    config_.number("max_msgs_per_subject", *per_subject);
    auto consumers = integer_of(values_, "max-consumers", -1);
    if (!consumers) return consumers.error();
    config_.number("max_consumers", *consumers);
    return {};
  }

  Result<int64_t> size(const char* flag, const char* question, int64_t preset, bool is_required) {
    if (values_.has(flag)) return parse_bytes(values_.text(flag));
    if (is_default_) return preset;
    while (true) {
      auto answer = ask_bytes(question, is_required ? "256MB" : "-1");
      if (!answer) return invalid(answer.error());
      if (!is_required || *answer > 0) return answer;
      print_line("MaxBytes is required per Account Settings");
    }
  }

  Status ask_sizes() {
    auto bytes = size("max-bytes", "Total Stream Size", requires_size_ ? kRequiredSizeDefault : -1,
                      requires_size_);
    if (!bytes) return bytes.error();
    config_.number("max_bytes", *bytes <= 0 ? -1 : *bytes);
    return {};
  }

  Result<std::string> duration_text(const char* flag, const char* question, const std::string& preset) {
    if (!values_.text(flag).empty()) return values_.text(flag);
    if (is_default_) return preset;
    auto answer = ask_text(question, preset);
    if (!answer) return invalid(answer.error());
    return answer;
  }

  Status ask_times() {
    auto text = duration_text("max-age", "Message TTL", "-1");
    if (!text) return text.error();
    Duration age{};
    if (*text != "-1") {
      auto parsed = long_duration_of(*text, "invalid maximum age limit format");
      if (!parsed) return parsed.error();
      age = *parsed;
    }
    config_.number("max_age", age.count());
    auto bytes = size("max-msg-size", "Max Message Size", -1, false);
    if (!bytes) return bytes.error();
    if (*bytes > kMessageSizeMax) {
      return Error{Errc::LimitExceeded, "max value size " + format_count(static_cast<uint64_t>(*bytes)) +
                                            " is too big maximum is " + format_count(kMessageSizeMax)};
    }
    config_.number("max_msg_size", *bytes == 0 ? -1 : *bytes);
    if (values_.text("dupe-window").empty() && values_.has("mirror")) return {};
    const Duration preset = age > Duration(0) ? std::min(age, kDuplicateWindow) : kDuplicateWindow;
    auto window = duration_text("dupe-window", "Duplicate tracking time window", format_go_duration(preset));
    if (!window) return window.error();
    auto parsed = long_duration_of(*window, "invalid duplicate window format");
    if (!parsed) return parsed.error();
    config_.number("duplicate_window", parsed->count());
    return {};
  }

  Status ask_permissions() {
    if (is_default_) return {};
    struct Question {
      const char* flag;
      const char* member;
      const char* text;
      bool is_denial;
    };
    for (const Question& question :
         {Question{"allow-rollup", "allow_rollup_hdrs", "Allow message Roll-ups", false},
          Question{"deny-delete", "deny_delete", "Allow message deletion", true},
          Question{"deny-purge", "deny_purge", "Allow purging subjects or the entire stream", true}}) {
      if (values_.has(question.flag)) continue;
      auto answer = ask_yes(question.text, question.is_denial);
      if (!answer) return invalid(answer.error());
      config_.flag(question.member, *answer != question.is_denial);
    }
    return {};
  }

  // One source or the mirror, by its name or as JSON.
  Result<std::string> source_text(const std::string& text, bool is_mirror) {
    const std::string_view trimmed = trim(text);
    if (trimmed.starts_with('{') && trimmed.ends_with('}')) {
      auto parsed = json::parse(trimmed);
      const char* what = is_mirror ? "invalid mirror: " : "invalid source: ";
      if (!parsed) return Error{Errc::Syntax, what + parsed.error().text};
      if (parsed->get_string("name").empty()) return Error{Errc::InvalidArgument, std::string(what) + "name is required"};
      return std::string(trimmed);
    }
    Draft source;
    source.text("name", text);
    if (!is_default_) {
      if (Status status = ask_source(source, text, is_mirror); !status) return status.error();
    }
    return source.text();
  }

  Status ask_source(Draft& source, const std::string& name, bool is_mirror) {
    const auto failed = [&](const Error& error) {
      return prefixed(is_mirror ? "Could not request mirror details" : "Could not request source details", error);
    };
    const std::string what = is_mirror ? "mirror" : "source \"" + name + "\"";
    auto durable = ask_yes(is_mirror ? "Configure a custom durable consumer"
                                     : "Configure a custom durable consumer for \"" + name + "\"", false);
    if (!durable) return failed(durable.error());
    if (*durable) {
      auto consumer = ask_text("Durable consumer name", "", true);
      if (!consumer) return failed(consumer.error());
      auto to = ask_text("Delivery subject", "", true);
      if (!to) return failed(to.error());
      Draft part;
      part.text("name", *consumer);
      part.text("deliver_subject", *to);
      source.object("consumer", part);
    } else if (Status status = ask_start(source, what, is_mirror ? "Mirror" : name + " Source"); !status) {
      return failed(status.error());
    }
    if (Status status = ask_transforms(source, what, is_mirror); !status) return failed(status.error());
    Status status = ask_external(source, is_mirror ? "mirror" : "\"" + name + "\"", *durable);
    return status ? Status() : failed(status.error());
  }

  static Status ask_start(Draft& source, const std::string& what, const std::string& title) {
    auto wants = ask_yes("Adjust " + what + " start", false);
    if (!wants) return wants.error();
    if (!*wants) return {};
    auto seq = ask_number(title + " Start Sequence", "0");
    if (!seq) return seq.error();
    if (*seq > 0) {
      source.number("opt_start_seq", *seq);
      return {};
    }
    auto time = ask_text(title + " UTC Time Stamp (YYYY:MM:DD HH:MM:SS)", "");
    if (!time) return time.error();
    if (time->empty()) return {};
    std::string stamp = *time;
    if (stamp.size() != 19) return Error{Errc::InvalidArgument, "invalid time format"};
    stamp[4] = stamp[7] = '-';
    stamp[10] = 'T';
    source.text("opt_start_time", stamp + "Z");
    return {};
  }

  static Status ask_transforms(Draft& source, const std::string& what, bool is_mirror) {
    auto wants = ask_yes("Adjust " + what + " filter and transform", false);
    if (!wants) return wants.error();
    std::string list;
    while (*wants) {
      auto from = ask_text(is_mirror ? "Filter mirror by subject (hit enter to finish)"
                                     : "Filter source by subject (hit enter to finish)", "");
      if (!from) return from.error();
      if (from->empty()) break;
      auto to = ask_text("Subject transform destination", "");
      if (!to) return to.error();
      Draft transform;
      transform.text("src", *from);
      transform.text("dest", *to);
      list += (list.empty() ? "" : ",") + transform.text();
    }
    if (!list.empty()) source.raw("subject_transforms", "[" + list + "]");
    return {};
  }

  static Status ask_external(Draft& source, const std::string& what, bool has_durable) {
    auto is_domain = ask_yes("Import " + what + " from a different JetStream domain", false);
    if (!is_domain) return is_domain.error();
    Result<bool> is_account = false;
    if (!*is_domain) is_account = ask_yes("Import " + what + " from a different account", false);
    if (!is_account) return is_account.error();
    if (!*is_domain && !*is_account) return {};
    auto where = ask_text(*is_domain ? "Foreign JetStream domain name" : "Foreign account API prefix", "", true);
    if (!where) return where.error();
    Draft external;
    external.text("api", *is_domain ? "$JS." + *where + ".API" : *where);
    if (!has_durable) {
      auto deliver = ask_text(*is_domain ? "Delivery prefix" : "Foreign account delivery prefix", "", !*is_domain);
      if (!deliver) return deliver.error();
      external.text("deliver", *deliver);
    }
    source.object("external", external);
    return {};
  }

  Status ask_replication() {
    if (values_.has("mirror")) {
      auto mirror = source_text(values_.text("mirror"), true);
      if (!mirror) return mirror.error();
      config_.raw("mirror", *mirror);
    }
    std::string list;
    for (const std::string& name : values_.all("source")) {
      auto source = source_text(name, false);
      if (!source) return source.error();
      list += (list.empty() ? "" : ",") + *source;
    }
    if (!list.empty()) config_.raw("sources", "[" + list + "]");
    return {};
  }

  void set_consumer_limits() {
    Draft limits;
    if (values_.has("limit-consumer-inactive")) {
      limits.number("inactive_threshold", values_.duration("limit-consumer-inactive").count());
    }
    if (values_.has("limit-consumer-max-pending")) {
      limits.number("max_ack_pending", static_cast<int64_t>(values_.number("limit-consumer-max-pending")));
    }
    config_.object("consumer_limits", limits);
  }

  const Values& values_;
  const bool is_default_;
  const bool requires_size_;
  Draft config_;
  std::vector<std::string> subjects_;
};

Draft without_server_metadata(const json::Value& config) {
  Draft draft(config);
  const auto metadata = user_metadata(config.find("metadata"));
  draft.erase("metadata");
  if (!metadata.empty()) draft.map("metadata", metadata);
  return draft;
}

// `add` with --config: the file, and the few flags that stand above it.
Result<Draft> config_from_file(const Values& values, const std::string& name) {
  auto file = read_config_file(values.text("config"));
  if (!file) return file.error();
  Draft config = without_server_metadata(*file);
  if (!name.empty()) config.text("name", name);
  if (values.has("subjects")) config.texts("subjects", values.all("subjects"));
  if (values.has("description")) config.text("description", values.text("description"));
  auto replicas = integer_of(values, "replicas", 0);
  if (!replicas) return replicas.error();
  if (*replicas > 0) config.number("num_replicas", *replicas);
  set_placement(config, values, file->find("placement"));
  return config;
}

// What the flags change of an existing configuration.
Result<Draft> edited_config(const json::Value& before, const Values& values) {
  if (values.has("config")) return config_from_file(values, std::string(before.get_string("name")));
  if (values.has("source") || values.has("mirror")) {
    return Error{Errc::Unsupported, "cannot edit mirrors, or sources using the CLI, use --config instead"};
  }
  Draft config = without_server_metadata(before);
  set_plain_parts(config, values);
  set_placement(config, values, before.find("placement"));
  if (values.has("discard")) config.text("discard", values.text("discard"));
  if (values.has("storage")) config.text("storage", storage_word(values.text("storage")));
  if (values.has("retention")) config.text("retention", retention_word(values.text("retention")));
  if (values.has("subjects")) config.texts("subjects", split_subjects(values.all("subjects")));
  for (const auto& [flag, member] : {std::pair{"max-msgs", "max_msgs"},
                                     {"max-msgs-per-subject", "max_msgs_per_subject"},
                                     {"max-consumers", "max_consumers"},
                                     {"replicas", "num_replicas"}}) {
    auto number = integer_of(values, flag, 0);
    if (!number) return number.error();
    if (*number != 0) config.number(member, *number);
  }
  for (const auto& [flag, member] : {std::pair{"max-bytes", "max_bytes"}, {"max-msg-size", "max_msg_size"}}) {
    if (!values.has(flag)) continue;
    auto bytes = parse_bytes(values.text(flag));
    if (!bytes) return bytes.error();
    if (*bytes != 0) config.number(member, *bytes);
  }
  for (const auto& [flag, member, what] :
       {std::tuple{"max-age", "max_age", "invalid maximum age limit format"},
        {"dupe-window", "duplicate_window", "invalid duplicate window"}}) {
    if (values.text(flag).empty()) continue;
    auto time = values.text(flag) == "-1" ? Result<Duration>(Duration(0))
                                          : long_duration_of(values.text(flag), what);
    if (!time) return time.error();
    config.number(member, time->count());
  }
  for (const auto& [flag, member] : {std::pair{"no-republish", "republish"},
                                     {"no-transform", "subject_transform"},
                                     {"no-mirror", "mirror"}}) {
    if (values.is_on(flag)) config.erase(member);
  }
  return config;
}

Status check_config(const json::Value& config) {
  if (!is_valid_name(config.get_string("name"))) {
    return Error{Errc::InvalidArgument, "\"" + std::string(config.get_string("name")) + "\" is not a valid stream name"};
  }
  for (const std::string& subject : texts_of(config.find("subjects"))) {
    if (subject == ">" && !config.get_bool("no_ack")) {
      return Error{Errc::InvalidArgument, "subjects cannot be '>' when acknowledgement is enabled"};
    }
  }
  return {};
}

// --validate and --output: nothing is created.
int write_config(const Context& context, const Values& values, const json::Value& config) {
  const std::string text = shaped_text(config, kStreamConfigShape);
  const Status status = check_config(config);
  if (values.is_on("validate")) print(text + "\n\n");
  if (!status) return fail(context.program, "Validation Failed: " + status.error().text);
  if (values.is_on("validate")) {
    print_line("Configuration is a valid Stream matching io.nats.jetstream.api.v1.stream_configuration");
    return 0;
  }
  const Status written = write_file(values.text("output"), text);
  return written ? 0 : fail(context.program, written.error());
}

Result<Draft> edit_by_editor(const json::Value& config) {
  auto text = edit_text(shaped_text(config, kStreamConfigShape), ".json");
  if (!text) return text.error();
  auto parsed = json::parse(*text);
  if (!parsed) return parsed.error();
  return Draft(*parsed);
}

}  // namespace

std::vector<Flag> stream_config_flags(bool is_edit) {
  const auto text = [](const char* name, const char* help, const char* placeholder = "", const char* preset = "") {
    return Flag{name, help, Kind::Text, placeholder, preset};
  };
  const auto flag = [](const char* name, const char* help) { return Flag{name, help}; };
  const auto list = [](const char* name, const char* help, const char* placeholder) {
    return Flag{name, help, Kind::Text, placeholder, "", "", true};
  };
  std::vector<Flag> flags{
      list("subjects", "Subjects that are consumed by the stream", "SUBJECTS"),
      text("description", "Sets a contextual description for the stream"),
      text("compression", "Compression algorithm to use (file storage only)"),
      text("replicas", "When clustered, how many replicas of the data to create"),
      list("tag,tags", "Place the stream on servers that has specific tags (pass multiple times)", "TAG"),
      text("cluster", "Place the stream on a specific cluster"),
      {"ack", "Acknowledge publishes", Kind::Bool, "", "true"},
      text("retention", "Defines a retention policy (limits, interest, work)"),
      text("discard", "Defines the discard policy (new, old)"),
      flag("discard-per-subject", "Sets the 'new' discard policy and applies it to every subject in the stream"),
      text("max-age", "Maximum age of messages to keep"),
      text("max-bytes", "Maximum bytes to keep", "BYTES"),
      text("max-consumers", "Maximum number of consumers to allow", "", "-1"),
      text("max-msg-size", "Maximum size any 1 message may be", "BYTES"),
      text("max-msgs", "Maximum amount of messages to keep", "", "0"),
      text("max-msgs-per-subject", "Maximum amount of messages to keep per subject", "", "0"),
      text("dupe-window", "Duration of the duplicate message tracking window"),
      text("mirror", "Completely mirror another stream"),
      list("source", "Source data from other streams, merging into this one", "STREAM"),
      flag("allow-batch", "Allow atomic batch publishing"),
      flag("allow-fast", "Allow fast batch publishing"),
      flag("allow-counter", "Configures the stream as a distributed counter"),
      flag("allow-rollup", "Allows roll-ups to be done by publishing messages with special headers"),
      flag("deny-delete", "Deny messages from being deleted via the API"),
      flag("deny-purge", "Deny entire stream or subject purges via the API"),
      {"allow-direct", "Allows fast, direct, access to stream data via the direct get API", Kind::Bool, "", "true"},
      flag("allow-mirror-direct", "Allows fast, direct, access to stream data via the direct get API on mirrors"),
      flag("allow-msg-ttl", "Allows per-message TTL handling"),
      flag("allow-schedules", "Allows message schedules"),
      {"subject-del-markers-ttl", "How long delete markers should persist in the stream", Kind::Duration, "DURATION"},
      text("transform-source", "Stream subject transform source", "SOURCE"),
      text("transform-destination", "Stream subject transform destination", "DEST"),
      list("metadata", "Adds metadata to the stream", "META"),
      text("republish-source", "Republish messages to --republish-destination", "SOURCE"),
      text("republish-destination", "Republish destination for messages in --republish-source", "DEST"),
      flag("republish-headers", "Republish only message headers, no bodies"),
      flag("json,j", "Produce JSON output"),
  };
  if (is_edit) {
    flags.push_back(flag("no-mirror", "Removes current mirror configuration"));
    flags.push_back(flag("no-transform", "Removes current subject transform configuration"));
    flags.push_back(flag("no-republish", "Removes current republish configuration"));
    return flags;
  }
  flags.push_back(text("storage", "Storage backend to use (file, memory)"));
  flags.push_back({"first-sequence", "Sets the starting sequence", Kind::Number});
  flags.push_back({"limit-consumer-inactive", "The maximum Consumer inactive threshold the stream allows",
                   Kind::Duration, "THRESHOLD"});
  flags.push_back({"limit-consumer-max-pending", "The maximum Consumer Ack Pending the stream Allows",
                   Kind::Number, "PENDING"});
  flags.push_back(text("persist-mode", "Configures the persistence mode"));
  return flags;
}

int run_stream_add(const Context& context, const Values& values) {
  if (Status status = check_flags(values); !status) return fail(context.program, status.error());
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("could not create Stream", js.error()));
  bool requires_size = false;
  if (auto info = js->request("INFO")) {
    const json::Value* limits = info->find("limits");
    requires_size = limits != nullptr && limits->get_bool("max_bytes_required");
  }
  auto draft = values.has("config") ? config_from_file(values, values.text("stream"))
                                    : StreamQuestions(values, requires_size).make();
  if (!draft) {
    return fail(context.program, values.has("config") ? prefixed("invalid input", draft.error()) : draft.error());
  }
  const json::Value config = shaped(*draft);
  if (values.is_on("validate") || values.has("output")) return write_config(context, values, config);
  const std::string name(config.get_string("name"));
  if (!is_valid_name(name)) {
    return fail(context.program, "could not create Stream: \"" + name + "\" is not a valid stream name");
  }
  auto info = js->request("STREAM.CREATE." + name, Draft(config).text());
  if (!info) return fail(context.program, prefixed("could not create Stream", info.error()));
  print("Stream " + name + " was created\n\n");
  show_stream(*info, stream_view(values));
  return 0;
}

int run_stream_edit(const Context& context, const Values& values) {
  if (Status status = check_flags(values); !status) return fail(context.program, status.error());
  auto task = open_stream(context, values, values.is_on("force"));
  if (!task) return fail(context.program, task.error());
  const std::string& name = task->stream.name;
  static const json::Value kNone;
  const json::Value* found = task->stream.info.find("config");
  const json::Value before = shaped(without_server_metadata(found == nullptr ? kNone : *found));
  auto draft = values.is_on("interactive") ? edit_by_editor(before) : edited_config(before, values);
  if (!draft) {
    return fail(context.program, prefixed("could not create new configuration for Stream " + name, draft.error()));
  }
  const json::Value after = shaped(*draft);
  if (!print_differences(before, after)) {
    if (!values.is_on("dry-run")) print_line("No difference in configuration");
    return 0;
  }
  if (values.is_on("dry-run")) return 1;
  if (Status status = confirm_key_value(name); !status) return fail(context.program, status.error());
  if (!values.is_on("force")) {
    auto answer = ask_yes("Really edit Stream " + name, false);
    if (!answer) return fail(context.program, prefixed("could not obtain confirmation", answer.error()));
    if (!*answer) return 0;
  }
  auto updated = task->js.request("STREAM.UPDATE." + name, Draft(after).text());
  if (!updated) return fail(context.program, prefixed("could not edit Stream " + name, updated.error()));
  if (!values.is_on("json")) print("Stream " + name + " was updated\n\n");
  auto info = stream_info(task->js, name);
  if (!info) return fail(context.program, info.error());
  show_stream(*info, stream_view(values));
  return 0;
}

int run_stream_copy(const Context& context, const Values& values) {
  if (Status status = check_flags(values); !status) return fail(context.program, status.error());
  const std::string source = values.text("source-stream");
  const std::string destination = values.text("destination");
  if (source == destination) {
    return fail(context.program, "source and destination Stream names cannot be the same");
  }
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  auto stream = select_stream(*js, source, false, values.is_on("all"));
  if (!stream) {
    return fail(context.program, prefixed("could not pick a Stream to operate on", stream.error()));
  }
  const json::Value* before = stream->info.find("config");
  auto draft = edited_config(before == nullptr ? json::Value() : *before, values);
  if (!draft) return fail(context.program, prefixed("could not copy Stream " + source, draft.error()));
  draft->text("name", destination);
  if (!is_valid_name(destination)) {
    return fail(context.program, "could not create Stream: \"" + destination + "\" is not a valid stream name");
  }
  auto info = js->request("STREAM.CREATE." + destination, Draft(shaped(*draft)).text());
  if (!info) return fail(context.program, prefixed("could not create Stream", info.error()));
  if (!values.is_on("json")) print("Stream " + destination + " was created\n\n");
  show_stream(*info, stream_view(values));
  return 0;
}

}  // namespace brokkr::cli
