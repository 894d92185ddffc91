// brokkr kv: the sub-commands that only look.

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "cli/kv_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

const char* operation_title(client::KeyOperation operation) {
  return operation == client::KeyOperation::Delete ? "DELETE" : client::to_string(operation);
}

void add_limits(Columns& out, const client::StreamConfig& config) {
  out.row("Maximum Bucket Size", size_or_unlimited(config.max_bytes));
  out.row("Maximum Value Size", size_or_unlimited(config.max_msg_size));
  out.row("Maximum Age", age_or_unlimited(config.max_age));
  out.row("JetStream Stream", config.name);
  out.row("Storage", storage_title(config.storage));
  if (config.republish) {
    out.row(config.republish->headers_only ? "Republishing Headers" : "Republishing",
            config.republish->src + " to " + config.republish->dest);
  }
}

void add_origin(Columns& out, const char* title, const client::StreamSourceInfo& source) {
  const std::string_view name = source.name;
  out.row(title, std::string(name.starts_with("KV_") ? name.substr(3) : name));
  if (source.external && !source.external->api.empty()) {
    out.row("External API", source.external->api);
  }
  const bool is_seen = source.active > Duration(0) && source.active < Duration::max();
  out.row("Last Seen", is_seen ? long_duration(source.active) : "never");
  out.row("Lag", source.lag);
}

void add_metadata(Columns& out, const client::Metadata& metadata) {
  if (metadata_lines(metadata).empty()) return;
  out.section("Metadata");
  for (const auto& [key, value] : metadata) {
    if (!key.starts_with("_nats.")) out.row(key, value);
  }
}

Status list_keys(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return Error{task.error().code, "unable to load bucket: " + task.error().text};
  std::vector<std::string> patterns;
  if (!values.text("key").empty()) patterns.push_back(values.text("key"));
  auto keys = task->api.wait<std::vector<std::string>>(
      [&](auto done) { task->bucket.keys(std::move(done), patterns); });
  if (!keys) return keys.error();
  if (!values.is_on("verbose")) {
    for (const std::string& key : *keys) print_line(key);
  } else {
    Table table("Contents for bucket '" + task->bucket.bucket() + "'");
    std::vector<std::string> titles{"Key", "Created", "Delta", "Revision"};
    const bool has_values = values.is_on("display-value");
    if (has_values) titles.emplace_back("Value");
    table.header(titles);
    table.align_right(2);
    table.align_right(3);
    for (const std::string& key : *keys) {
      auto entry = task->api.wait<client::KeyValueEntry>(
          [&](auto done) { task->bucket.get(key, std::move(done)); });
      if (!entry) {
        return Error{entry.error().code, "unable to display key info: unable to fetch key " + key +
                                             ": " + entry.error().text};
      }
      std::vector<std::string> cells{entry->key, local_date_text(entry->created),
                                     std::to_string(entry->delta), std::to_string(entry->revision)};
      if (has_values) cells.push_back(entry->value);
      table.row(std::move(cells));
    }
    print(table.text());
    print("\n");
  }
  if (keys->empty()) print_line("No keys found in bucket");
  return {};
}

Status list_buckets(const Context& context, const Values& values) {
  auto api = BucketApi::open(context, values);
  if (!api) return api.error();
  auto buckets = api->wait<std::vector<client::KeyValueStatus>>(
      [&](auto done) { client::KeyValue::list_buckets(api->jetstream(), std::move(done)); });
  if (!buckets) return buckets.error();
  if (buckets->empty()) {
    print_line("No Key-Value buckets found");
    return {};
  }
  if (values.is_on("names")) {
    for (const client::KeyValueStatus& bucket : *buckets) print_line(bucket.bucket());
    return {};
  }
  std::stable_sort(buckets->begin(), buckets->end(), [](const auto& left, const auto& right) {
    return left.info.state.bytes < right.info.state.bytes;
  });
  Table table("Key-Value Buckets");
  table.header({"Bucket", "Description", "Created", "Size", "Values", "Last Update"});
  for (const client::KeyValueStatus& bucket : *buckets) {
    const client::StreamInfo& info = bucket.info;
    table.row({bucket.bucket(), info.config.description,
               local_date_text(info.created.value_or(WallTime())), short_bytes(info.state.bytes),
               comma(info.state.messages),
               last_update_text(info, api->session().clock().wall_now())});
  }
  print(table.text());
  print("\n");
  return {};
}

void print_change(const std::string& bucket, const client::KeyValueEntry& entry) {
  const bool is_put = entry.operation == client::KeyOperation::Put;
  std::string word = operation_title(entry.operation);
  if (is_terminal_stdout()) word = (is_put ? "\x1b[32m" : "\x1b[31m") + word + "\x1b[0m";
  std::string line =
      "[" + local_date_text(entry.created) + "] " + word + " " + bucket + " > " + entry.key;
  if (is_put) line += ": " + entry.value;
  print_line(line);
}

Status watch_bucket(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return task.error();
  client::KeyWatchOptions options;
  if (!values.text("key").empty()) options.patterns = {values.text("key")};
  options.include_history = values.is_on("history");
  options.ignore_deletes = !values.is_on("deletes");
  options.updates_only = values.is_on("updates");
  options.resume_from_revision = values.number("revision");
  if (!client::is_key_pattern(options.patterns[0])) {
    return Error{Errc::InvalidArgument,
                 "nats: invalid key: key cannot be empty and must be a valid NATS subject"};
  }
  std::optional<client::ApiError> end;
  auto watch = client::KeyWatch::start(
      task->bucket, options,
      {.on_entry = [&](const client::KeyValueEntry& entry) {
         print_change(task->bucket.bucket(), entry);
       },
       .on_initial_done = {},
       .on_end = [&](const client::ApiError& error) { end = error; }});
  if (!watch) return Error{watch.error().code, "nats: " + watch.error().text};
  while (!end) {
    task->api.session().loop().run_once(std::chrono::seconds(60));
    std::fflush(stdout);
  }
  return original_error(*end);
}

}  // namespace

Result<KeyValueTask> open_key_value(const Context& context, const Values& values) {
  auto api = BucketApi::open(context, values);
  if (!api) return api.error();
  auto name = pick_bucket(*api, values, "KV_", "no KV buckets found");
  if (!name) return name.error();
  auto bucket = api->wait<client::KeyValue>(
      [&](auto done) { client::KeyValue::open(api->jetstream(), *name, std::move(done)); });
  if (!bucket) return bucket.error();
  return KeyValueTask{std::move(*api), std::move(*bucket)};
}

Status show_key_value(BucketApi& api, const client::KeyValue& bucket) {
  auto status =
      api.wait<client::KeyValueStatus>([&](auto done) { bucket.status(std::move(done)); });
  if (!status) return status.error();
  const client::StreamInfo& info = status->info;
  Columns out("Information for Key-Value Store Bucket " + status->bucket() + " created " +
              local_date_text(info.created.value_or(WallTime())));
  out.section("Configuration");
  out.row("Bucket Name", status->bucket());
  out.row("History Kept", info.config.max_msgs_per_subject);
  out.row("Values Stored", info.state.messages);
  out.row("Compressed", status->is_compressed());
  out.row("Per-Key TTL Supported", info.config.allow_msg_ttl);
  if (info.config.subject_delete_marker_ttl > Duration(0)) {
    out.row("Limit Marker TTL", info.config.subject_delete_marker_ttl);
  }
  out.row("Backing Store Kind", "JetStream");
  out.row_if_any("Description", info.config.description);
  out.row("Bucket Size", short_bytes(info.state.bytes));
  add_limits(out, info.config);
  if (info.mirror) {
    out.section("Mirror Information");
    add_origin(out, "Origin Bucket", *info.mirror);
  }
  if (!info.sources.empty()) {
    out.section("Sources Information");
    for (const client::StreamSourceInfo& source : info.sources) {
      add_origin(out, "Source Bucket", source);
    }
  }
  add_metadata(out, info.config.metadata);
  add_cluster(out, info);
  print(out.text());
  return {};
}

Status show_history(KeyValueTask& task, const std::string& key) {
  auto history = task.api.wait<std::vector<client::KeyValueEntry>>(
      [&](auto done) { task.bucket.history(key, std::move(done)); });
  if (!history) return history.error();
  Table table("History for " + task.bucket.bucket() + " > " + key);
  table.header({"Key", "Revision", "Op", "Created", "Length", "Value"});
  table.align_right(1);
  for (const client::KeyValueEntry& entry : *history) {
    table.row({entry.key, std::to_string(entry.revision), operation_title(entry.operation),
               local_date_text(entry.created), comma(uint64_t{entry.value.size()}),
               shortened(printable(entry.value))});
  }
  print(table.text());
  print("\n");
  return {};
}

int run_kv_list(const Context& context, const Values& values) {
  const Status status = values.text("bucket").empty() ? list_buckets(context, values)
                                                      : list_keys(context, values);
  return status ? 0 : fail(context.program, status.error());
}

int run_kv_info(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const Status status = show_key_value(task->api, task->bucket);
  return status ? 0 : fail(context.program, status.error());
}

int run_kv_history(const Context& context, const Values& values) {
  auto task = open_key_value(context, values);
  if (!task) return fail(context.program, task.error());
  const Status status = show_history(*task, values.text("key"));
  return status ? 0 : fail(context.program, status.error());
}

int run_kv_watch(const Context& context, const Values& values) {
  const Status status = watch_bucket(context, values);
  return status ? 0 : fail(context.program, status.error());
}

}  // namespace brokkr::cli
