// brokkr kv: the group's tree, and the sub-commands that change something.

#include <algorithm>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/kv_commands.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

constexpr size_t kValueMax = 64 << 20;
constexpr size_t kShownMax = 120;
constexpr Duration kDuplicateWindowMax = std::chrono::minutes(2);

// The words for a failed call that needs more than `original_error` knows.
Error put_error(const client::ApiError& error) {
  const std::string api = "nats: " + api_error_text(error);
  if (error.code == Errc::AlreadyExists) return {error.code, api};
  if (error.err_code == client::kWrongLastSequenceError) {
    return {error.code, api + ": nats: key revision mismatch"};
  }
  if (error.code == Errc::InvalidArgument && error.err_code == 0) {
    return {error.code, "nats: invalid key"};
  }
  return original_error(error);
}

Error bucket_error(const client::ApiError& error, const std::string& bucket) {
  if (error.err_code == client::kStreamNotFoundError) {
    client::ApiError server = error;
    server.text = "stream not found";
    return {error.code, "nats: bucket not found: " + bucket + "\n" + api_error_text(server)};
  }
  return creation_error(error, bucket);
}

Result<std::optional<client::Republish>> republish_of(const Values& values) {
  if (values.text("republish-destination").empty()) return std::optional<client::Republish>();
  return std::optional(client::Republish{values.text("republish-source"),
                                         values.text("republish-destination"),
                                         values.is_on("republish-headers")});
}

Result<client::KeyValueConfig> config_of(const Values& values) {
  client::KeyValueConfig config;
  if (Status taken = take_bucket_flags(values, config); !taken) return taken.error();
  config.history = static_cast<int64_t>(values.number("history"));
  if (config.history > 64) {
    return Error{Errc::InvalidArgument, "history: must be less than or equal to 64"};
  }
  config.limit_marker_ttl = values.duration("marker-ttl");
  auto value_size = bytes_of(values, "max-value-size");
  if (!value_size) return value_size.error();
  config.max_value_size = *value_size;
  auto republish = republish_of(values);
  if (!republish) return republish.error();
  config.republish = std::move(*republish);
  if (const std::string mirror = values.text("mirror"); !mirror.empty()) {
    config.mirror.emplace().name = mirror;
    if (const std::string domain = values.text("mirror-domain"); !domain.empty()) {
      config.mirror->external = client::External{"$JS." + domain + ".API", {}};
    }
  }
  for (const std::string& source : values.all("source")) {
    config.sources.emplace_back().name = source;
  }
  return config;
}

int run_add(const Context& context, const Values& values) {
  const auto config = config_of(values);
  if (!config) return fail(context.program, config.error());
  auto api = BucketApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto made = client::wait_for<client::KeyValue>(api->session().loop(), [&](auto done) {
    client::KeyValue::create(api->jetstream(), *config, std::move(done));
  });
  if (!made) return fail(context.program, bucket_error(made.error(), config->bucket));
  const Status status = show_key_value(*api, *made);
  return status ? 0 : fail(context.program, status.error());
}

// Lays the flags that were given over the bucket's configuration.
Status edit_config(const Values& values, client::StreamConfig& config) {
  if (values.has("description")) config.description = values.text("description");
  if (values.has("history")) {
    config.max_msgs_per_subject = static_cast<int64_t>(values.number("history"));
  }
  if (values.has("ttl")) {
    config.max_age = values.duration("ttl");
    config.duplicate_window = config.max_age > Duration(0)
                                  ? std::min(config.max_age, kDuplicateWindowMax)
                                  : kDuplicateWindowMax;
  }
  if (values.has("marker-ttl")) {
    config.subject_delete_marker_ttl = values.duration("marker-ttl");
    config.allow_msg_ttl = true;
  }
  if (values.has("replicas")) config.num_replicas = static_cast<int64_t>(values.number("replicas"));
  for (auto [flag, target] : {std::pair{"max-value-size", &config.max_msg_size},
                              std::pair{"max-bucket-size", &config.max_bytes}}) {
    if (!values.has(flag)) continue;
    auto size = bytes_of(values, flag);
    if (!size) return size.error();
    *target = *size;
  }
  if (auto placement = placement_of(values)) config.placement = std::move(placement);
  if (values.has("compress")) {
    config.compression =
        values.is_on("compress") ? client::Compression::S2 : client::Compression::None;
  }
  if (values.has("metadata")) config.metadata = metadata_of(values);
  auto republish = republish_of(values);
  if (!republish) return republish.error();
  if (*republish) config.republish = std::move(*republish);
  if (values.is_on("no-mirror")) {
    config.mirror.reset();
    config.mirror_direct = false;
    config.subjects = {"$KV." + config.name.substr(3) + ".>"};
  }
  if (values.has("source")) {
    client::KeyValueConfig sources;
    sources.bucket = values.text("bucket");
    for (const std::string& source : values.all("source")) {
      sources.sources.emplace_back().name = source;
    }
    auto stream = client::make_stream_config(sources);
    if (!stream) return stream.error();
    config.sources = std::move(stream->sources);
  }
  return {};
}

Status edit(KeyValueTask& task, const Values& values) {
  auto status = task.api.wait<client::KeyValueStatus>(
      [&](auto done) { task.bucket.status(std::move(done)); });
  if (!status) return status.error();
  client::StreamConfig config = status->info.config;
  if (Status edited = edit_config(values, config); !edited) return edited;
  auto updated = task.api.wait<client::StreamInfo>(
      [&](auto done) { task.api.jetstream().update_stream(config, std::move(done)); });
  if (!updated) return updated.error();
  return show_key_value(task.api, task.bucket);
}

int run_edit(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const Status status = edit(*task, values);
  return status ? 0 : fail(context.program, status.error());
}

// The argument, or all of stdin when it is empty and stdin no terminal.
Result<std::string> value_of(const Values& values) {
  std::string value = values.text("value");
  if (!value.empty() || is_terminal_stdin()) return value;
  return read_stdin(kValueMax);
}

Result<uint64_t> revision_of(const Values& values) {
  const std::string text = values.text("revision");
  if (const auto revision = parse_uint(text)) return *revision;
  return Error{Errc::InvalidArgument, "strconv.ParseUint: parsing \"" + text + "\": invalid syntax"};
}

enum class Write : uint8_t { Put, Create, Update };

int run_write(const Context& context, const Values& values, Write kind) {
  uint64_t revision = 0;
  if (kind == Write::Update) {
    auto given = revision_of(values);
    if (!given) return fail(context.program, given.error());
    revision = *given;
  }
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  auto value = value_of(values);
  if (!value) return fail(context.program, value.error());
  const std::string key = values.text("key");
  auto done = client::wait_for<uint64_t>(task->api.session().loop(), [&](auto handler) {
    if (kind == Write::Put) return task->bucket.put(key, *value, std::move(handler));
    if (kind == Write::Update) {
      return task->bucket.update_key(key, *value, revision, std::move(handler));
    }
    task->bucket.create_key(key, *value, std::move(handler), values.duration("ttl"));
  });
  if (!done) return fail(context.program, put_error(done.error()));
  print_line(values.text("value"));
  return 0;
}

int run_get(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const std::string key = values.text("key");
  const uint64_t revision = values.number("revision");
  auto entry = client::wait_for<client::KeyValueEntry>(task->api.session().loop(), [&](auto done) {
    revision > 0 ? task->bucket.get_revision(key, revision, std::move(done))
                 : task->bucket.get(key, std::move(done));
  });
  if (!entry) return fail(context.program, put_error(entry.error()));
  if (values.is_on("raw")) {
    print(entry->value);
    return 0;
  }
  print_line(task->bucket.bucket() + " > " + entry->key + " revision: " +
             std::to_string(entry->revision) + " created @ " + local_date_text(entry->created));
  print_line("");
  const std::string text = printable(entry->value);
  if (text.size() > kShownMax) {
    print_line("Showing first 120 bytes of " + comma(uint64_t{text.size()}) +
               ", use --raw for full data\n");
  }
  print_line(text.substr(0, kShownMax));
  print_line("");
  return 0;
}

// Gives up quietly, with 0, when the user says no.
int run_confirmed(const Context& context, const Values& values, const std::string& question,
                  const char* when_not, FunctionRef<Status()> action) {
  auto goes_on = confirm(values, question, when_not);
  if (!goes_on) return fail(context.program, goes_on.error());
  if (!*goes_on) return 0;
  const Status status = action();
  return status ? 0 : fail(context.program, status.error());
}

int delete_bucket(const Context& context, const Values& values) {
  const std::string bucket = values.text("bucket");
  return run_confirmed(
      context, values, "Delete bucket " + bucket + "?", "Skipping delete", [&]() -> Status {
        auto api = BucketApi::open(context, values);
        if (!api) return api.error();
        auto gone = client::wait_for<client::Done>(api->session().loop(), [&](auto done) {
          client::KeyValue::delete_bucket(api->jetstream(), bucket, std::move(done));
        });
        return gone ? Status() : Status(bucket_error(gone.error(), bucket));
      });
}

// Marks the key, by `mark`, once the user has agreed.
int run_mark(const Context& context, const Values& values, const std::string& verb,
             const char* when_not, bool is_purge) {
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const std::string key = values.text("key");
  const std::string question = verb + " key " + task->bucket.bucket() + " > " + key + "?";
  return run_confirmed(context, values, question, when_not, [&]() -> Status {
    auto gone = client::wait_for<client::Done>(task->api.session().loop(), [&](auto done) {
      is_purge ? task->bucket.purge_key(key, std::move(done), values.duration("ttl"))
               : task->bucket.delete_key(key, std::move(done));
    });
    return gone ? Status() : Status(put_error(gone.error()));
  });
}

int run_delete(const Context& context, const Values& values) {
  if (values.text("key").empty()) return delete_bucket(context, values);
  return run_mark(context, values, "Delete", "Skipping delete", false);
}

int run_purge(const Context& context, const Values& values) {
  return run_mark(context, values, "Purge", "Skipping purge", true);
}

int run_compact(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const std::string question =
      "Purge all historic values and audit trails for deleted keys in bucket " +
      task->bucket.bucket() + "?";
  return run_confirmed(context, values, question, "Skipping delete", [&]() -> Status {
    auto purged = task->api.wait<uint64_t>(
        [&](auto done) { task->bucket.purge_deletes(std::move(done)); });
    return purged ? Status() : Status(purged.error());
  });
}

Status revert(KeyValueTask& task, const Values& values, uint64_t revision) {
  const std::string key = values.text("key");
  auto history = task.api.wait<std::vector<client::KeyValueEntry>>(
      [&](auto done) { task.bucket.history(key, std::move(done)); });
  if (!history) return history.error();
  if (history->size() <= 1) {
    return Error{Errc::InvalidArgument, "cannot revert key in a bucket where history=1"};
  }
  auto entry = task.api.wait<client::KeyValueEntry>(
      [&](auto done) { task.bucket.get_revision(key, revision, std::move(done)); });
  if (!entry) return entry.error();
  if (!values.is_on("force")) {
    print_line("Revision: " + std::to_string(entry->revision) + "\n\n" +
               shortened(printable(entry->value)) + "\n");
    auto agreed = ask_yes("Really revert to revision " + std::to_string(revision), false);
    if (!agreed) return prefixed("could not obtain confirmation", agreed.error());
    if (!*agreed) return {};
  }
  // On the last revision seen: a change meanwhile is not to be lost unseen.
  auto done = client::wait_for<uint64_t>(task.api.session().loop(), [&](auto handler) {
    task.bucket.update_key(key, entry->value, history->back().revision, std::move(handler));
  });
  if (!done) return put_error(done.error());
  return show_history(task, key);
}

int run_revert(const Context& context, const Values& values) {
  auto revision = revision_of(values);
  if (!revision) return fail(context.program, revision.error());
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const Status status = revert(*task, values, *revision);
  return status ? 0 : fail(context.program, status.error());
}

const Argument kBucket{"bucket", "The bucket to act on"};
const Argument kKey{"key", "The key to act on"};
const Argument kValue{"value", "The value to store, when empty reads STDIN", false};
const Flag kForce{"force,f", "Act without confirmation"};

std::vector<Flag> config_flags(bool is_edit) {
  std::vector<Flag> flags = {
      {"description", "A description for the bucket", Kind::Text, "DESCRIPTION"},
      {"history", "How many historic values to keep per key", Kind::Number, "", "1"},
      {"ttl", "How long to keep values for", Kind::Duration, "DURATION"},
      {"marker-ttl", "Enables Per-Key TTLs and Limit Markers", Kind::Duration, "DURATION"},
      {"replicas", "How many replicas of the data to store", Kind::Number, "", "1"},
      {"max-value-size", "Maximum size for any single value", Kind::Text, "BYTES"},
      {"max-bucket-size", "Maximum size for the bucket", Kind::Text, "BYTES"},
      {"tags", "Place the bucket on servers that has specific tags", Kind::Text, "TAGS", "", "", true},
      {"cluster", "Place the bucket on a specific cluster", Kind::Text, "CLUSTER"},
      {"compress", "Compress the bucket data"},
      {"metadata", "Adds metadata to the stream", Kind::Text, "META", "", "", true},
      {"republish-source", "Republish messages to --republish-destination", Kind::Text, "SRC"},
      {"republish-destination", "Republish destination for messages in --republish-source",
       Kind::Text, "DEST"},
      {"republish-headers", "Republish only message headers, no bodies"}};
  if (is_edit) {
    flags.push_back({"no-mirror", "Removes mirror configuration from a bucket"});
  } else {
    flags.insert(flags.begin() + 2, {"storage", "Storage backend to use (file, memory)", Kind::Text,
                                     "STORAGE"});
    flags.push_back({"mirror", "Creates a mirror of a different bucket", Kind::Text, "MIRROR"});
    flags.push_back({"mirror-domain", "When mirroring find the bucket in a different domain",
                     Kind::Text, "MIRROR-DOMAIN"});
  }
  flags.push_back({"source", "Source from a different bucket", Kind::Text, "BUCKET", "", "", true});
  return flags;
}

using Run = int (*)(const Context&, const Values&);

Command part(const char* name, const char* summary, Run run, std::vector<Argument> arguments,
             std::vector<Flag> flags = {}, std::vector<std::string> aliases = {}) {
  Command command{name, std::move(aliases), summary};
  command.arguments = std::move(arguments);
  command.flags = std::move(flags);
  command.run = run;
  return command;
}

void add_writing(Command& group) {
  auto& parts = group.subcommands;
  parts.push_back(part("add", "Adds a new KV Store Bucket", run_add, {kBucket},
                       config_flags(false), {"new"}));
  parts.push_back(part("edit", "Edits an existing KV Store Bucket", run_edit, {kBucket},
                       config_flags(true)));
  parts.push_back(part(
      "put", "Puts a value into a key",
      [](const Context& context, const Values& values) {
        return run_write(context, values, Write::Put);
      },
      {kBucket, kKey, kValue}));
  parts.push_back(part("get", "Gets a value for a key", run_get, {kBucket, kKey},
                       {{"revision", "Gets a specific revision", Kind::Number, "REVISION"},
                        {"raw", "Show only the value string"}}));
  parts.push_back(part(
      "create",
      "Puts a value into a key only if the key is new or it's last operation was a delete",
      [](const Context& context, const Values& values) {
        return run_write(context, values, Write::Create);
      },
      {kBucket, kKey, kValue},
      {{"ttl", "Sets a TTL for the key", Kind::Duration, "DURATION"}}));
  parts.push_back(part(
      "update", "Updates a key with a new value if the previous value matches the given revision",
      [](const Context& context, const Values& values) {
        return run_write(context, values, Write::Update);
      },
      {kBucket, kKey, {"value", "The value to store"},
       {"revision", "The revision of the previous value in the bucket"}}));
  parts.push_back(part("del", "Deletes a key or the entire bucket", run_delete,
                       {kBucket, {"key", "The key to act on", false}}, {kForce}, {"rm"}));
  parts.push_back(part(
      "purge", "Deletes a key from the bucket, clearing history before creating a delete marker",
      run_purge, {kBucket, kKey},
      {kForce, {"ttl", "Sets a TTL for the purge marker", Kind::Duration, "DURATION"}}));
}

}  // namespace

Command kv_command() {
  Command group{"kv", {}, "Interacts with a JetStream based Key-Value store"};
  group.description =
      "The JetStream Key-Value store uses streams to store key-value pairs for an\n"
      "indefinite period or a per-bucket configured TTL.";
  add_writing(group);
  auto& parts = group.subcommands;
  const Argument any_bucket{"bucket", "The bucket to act on", false};
  parts.push_back(part("history", "Shows the full history for a key", run_kv_history,
                       {kBucket, kKey}));
  parts.push_back(part("revert", "Reverts a value to a previous revision using put", run_revert,
                       {kBucket, kKey, {"revision", "The revision to revert to"}},
                       {{"force", "Force reverting without prompting"}}));
  parts.push_back(part("info", "View the status of a KV store", run_kv_info, {any_bucket}, {},
                       {"view", "status"}));
  parts.push_back(part(
      "watch", "Watch the bucket or a specific key for updated", run_kv_watch,
      {kBucket, {"key", "The key to act on", false}},
      {{"history", "Includes historic values"},
       {"deletes", "Includes deletes in watched values", Kind::Bool, "", "true"},
       {"updates", "Only show new values written"},
       {"revision", "Starts from a certain revision", Kind::Number, "REVISION"}}));
  parts.push_back(part(
      "ls", "List available buckets or the keys in a bucket", run_kv_list,
      {{"bucket", "The bucket to list the keys", false}, {"key", "The key to act on", false}},
      {{"names,n", "Show just the bucket names"},
       {"verbose,v", "Show detailed info about the key"},
       {"display-value", "Display value in verbose output (has no effect without 'verbose')"}},
      {"list"}));
  parts.push_back(part("compact", "Reclaim space used by deleted keys", run_compact, {kBucket},
                       {kForce}));
  return group;
}

}  // namespace brokkr::cli
