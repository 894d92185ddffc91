// brokkr object: the group's tree, and the sub-commands on buckets.

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/object_commands.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

int run_object_add(const Context& context, const Values& values) {
  client::ObjectStoreConfig config;
  if (Status taken = take_bucket_flags(values, config); !taken) return fail(context.program, taken.error());
  auto api = BucketApi::open(context, values);
  if (!api) return fail(context.program, api.error());
  auto made = client::wait_for<client::ObjectStore>(api->session().loop(), [&](auto done) {
    client::ObjectStore::create(api->jetstream(), config, std::move(done));
  });
  if (!made) return fail(context.program, creation_error(made.error(), config.bucket));
  const Status status = show_store(*api, *made);
  return status ? 0 : fail(context.program, status.error());
}

Status edit(ObjectStoreTask& task, const Values& values) {
  auto status = task.api.wait<client::ObjectStoreStatus>(
      [&](auto done) { task.store.status(std::move(done)); });
  if (!status) return status.error();
  client::StreamConfig config = status->info.config;
  if (values.has("description")) config.description = values.text("description");
  if (values.has("ttl")) config.max_age = values.duration("ttl");
  if (values.has("replicas")) config.num_replicas = static_cast<int64_t>(values.number("replicas"));
  if (values.has("max-bucket-size")) {
    auto size = bytes_of(values, "max-bucket-size");
    if (!size) return size.error();
    config.max_bytes = *size;
  }
  if (auto placement = placement_of(values)) config.placement = std::move(placement);
  if (values.has("metadata")) config.metadata = metadata_of(values);
  if (values.has("compress")) {
    config.compression =
        values.is_on("compress") ? client::Compression::S2 : client::Compression::None;
  }
  auto updated = task.api.wait<client::StreamInfo>(
      [&](auto done) { task.api.jetstream().update_stream(config, std::move(done)); });
  if (!updated) return updated.error();
  return show_store(task.api, task.store);
}

int run_object_edit(const Context& context, const Values& values) {
  auto task = open_store(context, values);
  if (!task) return fail(context.program, task.error());
  const Status status = edit(*task, values);
  return status ? 0 : fail(context.program, status.error());
}

Status list_object_buckets(const Context& context, const Values& values) {
  auto api = BucketApi::open(context, values);
  if (!api) return api.error();
  auto buckets = api->wait<std::vector<client::ObjectStoreStatus>>(
      [&](auto done) { client::ObjectStore::list_buckets(api->jetstream(), std::move(done)); });
  if (!buckets) return buckets.error();
  if (buckets->empty()) {
    print_line("No Object Store buckets found");
    return {};
  }
  if (values.is_on("names")) {
    for (const client::ObjectStoreStatus& bucket : *buckets) print_line(bucket.bucket());
    return {};
  }
  std::stable_sort(buckets->begin(), buckets->end(), [](const auto& left, const auto& right) {
    return left.info.state.bytes < right.info.state.bytes;
  });
  Table table("Object Store Buckets");
  table.header({"Bucket", "Description", "Created", "Size", "Last Update"});
  for (const client::ObjectStoreStatus& bucket : *buckets) {
    const client::StreamInfo& info = bucket.info;
    table.row({bucket.bucket(), info.config.description,
               local_date_text(info.created.value_or(WallTime())), short_bytes(info.state.bytes),
               last_update_text(info, api->session().clock().wall_now())});
  }
  print(table.text());
  print("\n");
  return {};
}

Status list_objects(const Context& context, const Values& values) {
  auto task = open_store(context, values);
  if (!task) return task.error();
  auto objects = task->api.wait<std::vector<client::ObjectInfo>>(
      [&](auto done) { task->store.list(std::move(done)); });
  if (!objects) return objects.error();
  if (objects->empty()) {
    print_line("No entries found");
    return {};
  }
  if (values.is_on("names")) {
    for (const client::ObjectInfo& object : *objects) print_line(object.name);
    return {};
  }
  Table table("Bucket Contents");
  table.header({"Name", "Size", "Time"});
  for (const client::ObjectInfo& object : *objects) {
    table.row({object.name, short_bytes(object.size), local_date_text(object.mod_time)});
  }
  print(table.text());
  print("\n");
  return {};
}

int run_list(const Context& context, const Values& values) {
  const Status status = values.text("bucket").empty() ? list_object_buckets(context, values)
                                                      : list_objects(context, values);
  return status ? 0 : fail(context.program, status.error());
}

Status seal(const Context& context, const Values& values) {
  const std::string question = "Really seal Bucket " + values.text("bucket") +
                               ", sealed buckets can not be unsealed or modified";
  auto goes_on = confirm(values, question);
  if (!goes_on) return prefixed("could not obtain confirmation", goes_on.error());
  if (!*goes_on) return {};
  auto task = open_store(context, values);
  if (!task) return task.error();
  auto sealed =
      task->api.wait<client::Done>([&](auto done) { task->store.seal(std::move(done)); });
  if (!sealed) return sealed.error();
  print_line(task->store.bucket() + " has been sealed");
  return show_store(task->api, task->store);
}

int run_seal(const Context& context, const Values& values) {
  const Status status = seal(context, values);
  return status ? 0 : fail(context.program, status.error());
}

void print_object_change(const client::ObjectInfo& object) {
  const char* word = object.is_deleted ? "DEL" : "PUT";
  const bool is_coloured = is_terminal_stdout();
  std::string line = "[" + local_date_text(object.mod_time) + "] ";
  if (is_coloured) line += object.is_deleted ? "\x1b[31m" : "\x1b[32m";
  line += word;
  if (is_coloured) line += "\x1b[0m";
  line += " " + object.bucket + " > " + object.name;
  if (!object.is_deleted) {
    line += ": " + short_bytes(object.size) + " bytes in " + comma(object.chunks) + " chunks";
  }
  print_line(line);
}

Status watch(const Context& context, const Values& values) {
  auto task = open_store(context, values);
  if (!task) return task.error();
  std::optional<client::ApiError> end;
  const auto watch = client::ObjectWatch::start(
      task->store, {.include_history = true},
      {.on_object = print_object_change,
       .on_initial_done = {},
       .on_end = [&](const client::ApiError& error) { end = error; }});
  while (!end) {
    task->api.session().loop().run_once(std::chrono::seconds(60));
    std::fflush(stdout);
  }
  return original_error(*end);
}

int run_watch(const Context& context, const Values& values) {
  const Status status = watch(context, values);
  return status ? 0 : fail(context.program, status.error());
}

const Argument kStore{"bucket", "The bucket to act on"};
const Argument kAnyStore{"bucket", "The bucket to act on", false};
const Argument kObject{"file", "The file to retrieve"};
const Argument kAnyObject{"file", "The file to retrieve", false};
const Flag kForceObject{"force,f", "Act without confirmation"};
const Flag kProgress{"progress", "Disable progress bars", Kind::Bool, "", "true"};

std::vector<Flag> store_flags(bool is_edit) {
  std::vector<Flag> flags = {
      {"ttl", "How long to keep objects for", Kind::Duration, "TTL"},
      {"replicas", "How many replicas of the data to store", Kind::Number, "", "1"},
      {"max-bucket-size", "Maximum size for the bucket", Kind::Text, "MAX-BUCKET-SIZE"},
      {"description", "A description for the bucket", Kind::Text, "DESCRIPTION"},
      {"storage", "Storage backend to use (file, memory)", Kind::Text, "STORAGE"},
      {"tags", "Place the store on servers that has specific tags", Kind::Text, "TAGS", "", "", true},
      {"cluster", "Place the store on a specific cluster", Kind::Text, "CLUSTER"},
      {"metadata", "Adds metadata to the bucket", Kind::Text, "META", "", "", true},
      {"compress", "Compress the bucket data"}};
  if (is_edit) flags.erase(flags.begin() + 4);
  return flags;
}

Command object_part(const char* name, const char* summary,
                    int (*run)(const Context&, const Values&), std::vector<Argument> arguments,
                    std::vector<Flag> flags = {}, std::vector<std::string> aliases = {}) {
  Command command{name, std::move(aliases), summary};
  command.arguments = std::move(arguments);
  command.flags = std::move(flags);
  command.run = run;
  return command;
}

}  // namespace

Result<ObjectStoreTask> open_store(const Context& context, const Values& values) {
  auto api = BucketApi::open(context, values);
  if (!api) return api.error();
  auto name = pick_bucket(*api, values, "OBJ_", "no Object buckets found");
  if (!name) return name.error();
  auto store = api->wait<client::ObjectStore>(
      [&](auto done) { client::ObjectStore::open(api->jetstream(), *name, std::move(done)); });
  if (!store) return store.error();
  return ObjectStoreTask{std::move(*api), std::move(*store)};
}

Status show_store(BucketApi& api, const client::ObjectStore& store) {
  auto status =
      api.wait<client::ObjectStoreStatus>([&](auto done) { store.status(std::move(done)); });
  if (!status) return status.error();
  const client::StreamInfo& info = status->info;
  Columns out("Information for Object Store Bucket " + status->bucket() + " created " +
              local_date_text(info.created.value_or(WallTime())));
  out.section("Configuration");
  out.row("Bucket Name", status->bucket());
  out.row_if_any("Description", info.config.description);
  out.row("Replicas", info.config.num_replicas);
  out.row("TTL", age_or_unlimited(info.config.max_age));
  out.row("Sealed", info.config.sealed);
  out.row("Size", short_bytes(info.state.bytes));
  out.row("Maximum Bucket Size", size_or_unlimited(info.config.max_bytes));
  out.row("Storage", storage_title(info.config.storage));
  out.row("Backing Store Kind", "JetStream");
  out.row("JetStream Stream", info.config.name);
  const char* title = "Metadata";
  for (const std::string& line : metadata_lines(info.config.metadata)) {
    out.row(std::exchange(title, ""), line);
  }
  add_cluster(out, info);
  print(out.text());
  return {};
}

Command object_command() {
  Command group{"object", {"obj"}, "Interacts with a JetStream based Object store"};
  group.description =
      "The JetStream Object store uses streams to store large objects for an indefinite\n"
      "period or a per-bucket configured TTL.";
  auto& parts = group.subcommands;
  parts.push_back(object_part("add", "Adds a new Object Store Bucket", run_object_add, {kStore},
                              store_flags(false)));
  parts.push_back(object_part("edit", "Edit an existing Object Store Bucket", run_object_edit, {kStore},
                              store_flags(true)));
  parts.push_back(object_part(
      "put", "Puts a file into the store", run_object_put,
      {kStore, {"file", "The file to put", false}},
      {{"name", "Override the name supplied to the object store", Kind::Text, "NAME"},
       {"description", "Sets an optional description for the object", Kind::Text, "DESCRIPTION"},
       {"header,H", "Adds headers to the object using K:V format", Kind::Text, "HEADER", "", "", true},
       {"chunk-size", "Sets the chunk size for the file", Kind::Number, "CHUNK-SIZE"},
       kProgress,
       kForceObject}));
  parts.push_back(object_part("del", "Deletes a file or bucket from the store", run_object_delete,
                              {kStore, kAnyObject}, {kForceObject}, {"rm"}));
  parts.push_back(object_part(
      "get", "Retrieves a file from the store", run_object_get, {kStore, kObject},
      {{"output,O", "Override the output file name", Kind::Text, "OUTPUT"}, kProgress, kForceObject}));
  parts.push_back(object_part("info", "Get information about a bucket or object", run_object_info,
                              {kAnyStore, kAnyObject}, {}, {"show", "i"}));
  parts.push_back(object_part("ls", "List buckets or contents of a specific bucket", run_list,
                              {kAnyStore},
                              {{"names,n", "When listing buckets, show just the bucket names"}}));
  parts.push_back(object_part("seal", "Seals a bucket preventing further updates", run_seal,
                              {kStore}, {{"force,f", "Force sealing without prompting"}}));
  parts.push_back(object_part("watch", "Watch a bucket for changes", run_watch, {kStore}));
  return group;
}

}  // namespace brokkr::cli
