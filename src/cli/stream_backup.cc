// brokkr stream backup, restore and brokkr backup: streams as folders, interchangeable with the nats
// CLI's: backup.json beside the server's archive, stream.arc.s2 or, from older servers, stream.tar.s2.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/json_shape.h"
#include "cli/prompt.h"
#include "cli/s2_frames.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"
#include "client/headers.h"

namespace brokkr::cli {
namespace {

constexpr const char* kArchiveName = "stream.arc.s2";
constexpr const char* kTarName = "stream.tar.s2";
constexpr const char* kMetaName = "backup.json";
constexpr std::string_view kArchiveMagic = "NATSARC";
constexpr int64_t kSnapshotChunk = 128 << 10;
constexpr size_t kRestoreChunk = 64 << 10;
constexpr size_t kMetaMax = 64 << 20;
constexpr Duration kIdleMin = std::chrono::seconds(5);
constexpr Duration kRestoreMax = std::chrono::hours(1);

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

std::string done_line(uint64_t bytes, Duration took) {
  const double seconds = std::max(std::chrono::duration<double>(took).count(), 1e-6);
  return " done! [" + short_bytes(bytes) + " in " + long_duration(took) + "; " +
         short_bytes(static_cast<uint64_t>(static_cast<double>(bytes) / seconds)) + "/s]\n";
}

bool file_exists(const std::string& path, bool wants_content = false) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && (!wants_content || info.st_size > 0);
}
bool is_folder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Status make_folders(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return system_error(("mkdir " + part).c_str(), errno);
    if (at == std::string::npos) return {};
  }
}

struct BackupOptions {
  bool has_progress = true;
  bool has_consumers = true;
  bool is_checked = false;
  int64_t chunk_bytes = kSnapshotChunk;
  int64_t window_bytes = 0;
};

// One stream on its way into a folder.
class Backup {
 public:
  Backup(JetStream& js, std::string stream, std::string folder, const BackupOptions& options)
      : js_(js), stream_(std::move(stream)), folder_(std::move(folder)), options_(options) {}

  // Leaves no half backup behind.
  Status run() {
    if (file_exists(path(kMetaName), true)) return Error{Errc::AlreadyExists, "backup already exists in " + folder_};
    if (Status made = make_folders(folder_); !made) return made;
    for (const char* name : {kMetaName, kArchiveName, kTarName}) unlink(path(name).c_str());
    const std::string part = path("stream.part");
    Status status = receive(part);
    if (status) status = finish(part);
    if (!status) {
      unlink(part.c_str());
      unlink(path(kMetaName).c_str());
    }
    return status;
  }

 private:
  std::string path(const char* name) const { return folder_ + "/" + name; }

  Result<json::Value> start(const std::string& inbox) {
    Draft body;
    body.text("deliver_subject", inbox);
    if (!options_.has_consumers) body.flag("no_consumers", true);
    body.number("chunk_size", options_.chunk_bytes);
    if (options_.window_bytes > 0) body.number("window_size", options_.window_bytes);
    if (options_.is_checked) body.flag("jsck", true);
    return js_.request("STREAM.SNAPSHOT." + stream_, body.text());
  }

  void on_chunk(const client::Message& message) {
    if (message.payload.empty()) {
      const int status = message.status();
      if (status != 0 && status != 204) {
        const auto headers = client::Headers::parse(message.headers);
        error_ = Error{Errc::Unavailable, std::to_string(status) + " " +
                                              std::string(headers ? headers->status_text() : "")};
      }
      is_done_ = true;
      return;
    }
    // The server's window moves on while we write.
    if (!message.reply.empty()) static_cast<void>(js_.session().connection().publish(message.reply, ""));
    ++chunks_;
    bytes_ += message.payload.size();
    frames_.add(message.payload);
    if (std::fwrite(message.payload.data(), 1, message.payload.size(), file_.get()) != message.payload.size()) {
      error_ = system_error(folder_.c_str(), errno);
      is_done_ = true;
    }
  }

  Status receive(const std::string& part) {
    client::Session& session = js_.session();
    file_.reset(std::fopen(part.c_str(), "wb"));
    if (file_ == nullptr) return system_error(part.c_str(), errno);
    started_ = session.clock().now();
    const std::string inbox = session.connection().make_inbox();
    auto subscription =
        session.connection().subscribe(inbox, [this](const client::Message& message) { on_chunk(message); });
    if (!subscription) return subscription.error();
    auto answer = start(inbox);
    if (!answer) return answer.error();
    const json::Value* state = answer->find("state");
    const auto expected = static_cast<uint64_t>(state == nullptr ? 0 : state->get_int("bytes"));
    meta_ = std::move(*answer);
    print_line("Starting backup of Stream \"" + stream_ + "\" with " + short_bytes(expected));
    if (options_.has_progress) print("\n");
    if (options_.is_checked) {
      print("Health Check was requested, this can take a long time without progress reports\n\n");
    }
    std::fflush(stdout);
    ProgressBar bar("Receiving", expected, options_.has_progress);
    const Duration idle = std::max(kIdleMin, js_.timeout());
    while (!is_done_) {
      const uint64_t before = chunks_;
      if (!client::run_until(session.loop(), idle, [&] { return is_done_ || chunks_ != before; })) {
        return Error{Errc::TimedOut, "backup timed out after receiving no data for a long period"};
      }
      bar.update(frames_.uncompressed_bytes(), session.clock().now());
    }
    took_ = session.clock().now() - started_;
    return error_ ? Status(*error_) : Status();
  }

  Status finish(const std::string& part) {
    if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) return system_error(part.c_str(), errno);
    file_.reset();
    // The content says which format the server sent, whatever its version.
    const std::string archive = path(frames_.beginning().starts_with(kArchiveMagic) ? kArchiveName : kTarName);
    if (std::rename(part.c_str(), archive.c_str()) != 0) return system_error(archive.c_str(), errno);
    if (Status written = write_file(path(kMetaName), shaped_text(meta_, kBackupShape)); !written) return written;
    const uint64_t content = frames_.uncompressed_bytes();
    if (options_.has_progress) print(done_line(content, took_));
    print_line("\nReceived " + short_bytes(bytes_) + " compressed data in " + comma(chunks_) +
               " chunks for stream \"" + stream_ + "\" in " +
               format_go_duration(std::chrono::round<std::chrono::milliseconds>(took_)) + ", " +
               short_bytes(content) + " uncompressed ");
    return {};
  }

  JetStream& js_;
  const std::string stream_;
  const std::string folder_;
  const BackupOptions options_;
  File file_;
  S2Frames frames_;
  json::Value meta_;
  MonotonicTime started_{};
  Duration took_{};
  uint64_t chunks_ = 0;
  uint64_t bytes_ = 0;
  bool is_done_ = false;
  std::optional<Error> error_;
};

Result<BackupOptions> backup_options(const Values& values) {
  BackupOptions options;
  options.has_progress = values.text("progress") != "false";
  options.has_consumers = values.text("consumers") != "false";
  options.is_checked = values.is_on("check");
  for (const auto& [flag, bytes] : {std::pair{"chunk-size", &options.chunk_bytes},
                                    {"window-size", &options.window_bytes}}) {
    if (values.text(flag).empty()) continue;
    auto size = parse_bytes(values.text(flag));
    if (!size) return size.error();
    *bytes = *size;
  }
  return options;
}

Result<std::string> archive_in(const std::string& folder) {
  const std::string archive = folder + "/" + kArchiveName;
  const std::string tar = folder + "/" + kTarName;
  if (file_exists(archive) && file_exists(tar)) {
    return Error{Errc::AlreadyExists, folder + " holds both " + kArchiveName + " and " + kTarName};
  }
  if (file_exists(archive)) return archive;
  if (file_exists(tar)) return tar;
  return Error{Errc::NotFound, "stat " + archive + ": no such file or directory"};
}

struct Restored {
  uint64_t bytes = 0;
  Duration took{};
};

// A chunk's answer: empty, or an error in JSON or as text.
Status chunk_status(const Result<client::OwnedMessage>& reply) {
  if (!reply) return reply.error();
  if (reply->payload.starts_with("-ERR")) return Error{Errc::Unavailable, "restore failed: \"" + reply->payload + "\""};
  auto parsed = json::parse(reply->payload);
  if (parsed && parsed->find("error") != nullptr) {
    return Error{Errc::Unavailable, "restore failed: \"" + reply->payload + "\""};
  }
  return {};
}

Result<Restored> send_archive(JetStream& js, const std::string& to, const std::string& path, bool has_progress) {
  client::Session& session = js.session();
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return system_error(path.c_str(), errno);
  struct stat info {};
  const uint64_t size = fstat(fileno(file.get()), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  const auto payload_max = static_cast<size_t>(session.connection().server_info().max_payload);
  std::string chunk(payload_max > 0 ? std::min(kRestoreChunk, payload_max) : kRestoreChunk, '\0');
  Restored out;
  const MonotonicTime start = session.clock().now();
  ProgressBar bar("Sending", size, has_progress);
  while (const size_t n = std::fread(chunk.data(), 1, chunk.size(), file.get())) {
    auto reply = session.request(to, std::string_view(chunk).substr(0, n), js.timeout());
    if (Status status = chunk_status(reply); !status) return status.error();
    out.bytes += n;
    bar.update(out.bytes, session.clock().now());
  }
  if (std::ferror(file.get()) != 0) return Error{Errc::System, "could not read " + path};
  // The empty message ends it; the server answers when everything is in place.
  auto reply = session.request(to, "", kRestoreMax);
  if (!reply) return reply.error();
  out.took = session.clock().now() - start;
  auto parsed = json::parse(reply->payload);
  if (!parsed) return Error{Errc::Corrupt, "restore failed: \"" + reply->payload + "\""};
  if (const json::Value* error = parsed->find("error")) {
    return Error{Errc::Unavailable, std::string(error->get_string("description")) + " (" +
                                        std::to_string(error->get_int("err_code")) + ")"};
  }
  return out;
}

Result<Draft> restore_config(const Values& values, const json::Value& backup) {
  Draft config(backup);
  if (!values.text("config").empty()) {
    auto file = read_config_file(values.text("config"));
    if (!file) return file.error();
    if (file->get_string("name") != backup.get_string("name")) {
      return Error{Errc::InvalidArgument, "stream names may not be changed during restore"};
    }
    config = Draft(*file);
  }
  if (values.has("cluster") || values.has("tag")) {
    Draft placement;
    if (values.has("cluster")) placement.text("cluster", values.text("cluster"));
    if (values.has("tag")) placement.texts("tags", values.all("tag"));
    config.object("placement", placement);
  }
  auto replicas = integer_of(values, "replicas", 0);
  if (!replicas) return replicas.error();
  if (*replicas > 0) config.number("num_replicas", *replicas);
  return config;
}

Status restore_folder(JetStream& js, const Values& values, const std::string& folder) {
  const auto failed = [](const Error& error) { return prefixed("restore failed", error); };
  auto text = read_file(folder + "/" + kMetaName, kMetaMax);
  if (!text) return failed(text.error());
  auto meta = json::parse(*text);
  if (!meta) return failed(meta.error());
  const json::Value* backup = meta->find("config");
  const json::Value* state = meta->find("state");
  if (backup == nullptr || state == nullptr) {
    return failed({Errc::Corrupt, folder + "/" + kMetaName + ": no config or no state"});
  }
  const std::string name(backup->get_string("name"));
  if (!is_valid_name(name)) return Error{Errc::InvalidArgument, "invalid stream name \"" + name + "\""};
  auto known = stream_info(js, name);
  if (known) return Error{Errc::AlreadyExists, "Stream \"" + name + "\" already exist"};
  if (known.error().code != Errc::NotFound) {
    return prefixed("Could not check if the stream already exist", known.error());
  }
  auto config = restore_config(values, *backup);
  if (!config) return config.error();
  print("Starting restore of Stream \"" + name + "\" from file \"" + folder + "\"\n\n");
  std::fflush(stdout);
  auto archive = archive_in(folder);
  if (!archive) return failed(archive.error());
  Draft body;
  body.object("config", *config);
  body.object("state", Draft(*state));
  auto answer = js.request("STREAM.RESTORE." + name, body.text());
  if (!answer) return failed(answer.error());
  const bool has_progress = values.text("progress") != "false";
  auto sent = send_archive(js, std::string(answer->get_string("deliver_subject")), *archive, has_progress);
  if (!sent) return failed(sent.error());
  if (has_progress) print(done_line(sent->bytes, sent->took));
  print("\nRestored stream \"" + name + "\" in " +
        format_go_duration(std::chrono::round<std::chrono::seconds>(sent->took)) + "\n\n");
  auto info = stream_info(js, name);
  if (!info) return prefixed("could not request Stream info", info.error());
  show_stream(*info, StreamView::Whole);
  return {};
}

void warn_old_name(const Context& context, const char* old_name, const char* new_name) {
  if (context.program != "nats") return;
  std::fprintf(stderr, "WARNING: \"nats %s\" is deprecated and will be removed in a future release, use \"nats %s\" instead\n\n",
               old_name, new_name);
}

int backup_one(const Context& context, const Values& values) {
  auto options = backup_options(values);
  if (!options) return fail(context.program, options.error());
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  const std::string stream = values.text("stream");
  if (!is_valid_name(stream)) return fail(context.program, "\"" + stream + "\" is not a valid stream name");
  if (auto known = stream_info(*js, stream); !known) return fail(context.program, known.error());
  const Status status = Backup(*js, stream, values.text("target"), *options).run();
  return status ? 0 : fail(context.program, prefixed("snapshot failed", status.error()));
}

int restore_one(const Context& context, const Values& values) {
  const std::string folder = values.text("file");
  if (!is_folder(folder)) return fail(context.program, "path '" + folder + "' does not exist");
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  const Status status = restore_folder(*js, values, folder);
  return status ? 0 : fail(context.program, status.error());
}

int run_backup_account(const Context& context, const Values& values) {
  auto options = backup_options(values);
  if (!options) return fail(context.program, options.error());
  options->has_progress = false;
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  auto streams = js->list("STREAM.LIST", "streams");
  if (!streams) return fail(context.program, streams.error());
  if (!js->missing.empty()) {
    return fail(context.program, "could not obtain stream information for " + std::to_string(js->missing.size()) + " streams");
  }
  if (streams->empty()) return fail(context.program, "no streams found");
  uint64_t bytes = 0;
  int64_t consumers = 0;
  std::vector<std::string> names;
  for (const json::Value& info : *streams) {
    const json::Value* state = info.find("state");
    const json::Value* config = info.find("config");
    bytes += static_cast<uint64_t>(state == nullptr ? 0 : state->get_int("bytes"));
    consumers += state == nullptr ? 0 : state->get_int("consumer_count");
    names.emplace_back(config == nullptr ? "" : config->get_string("name"));
  }
  const std::string target = values.text("target");
  Columns out("Performing backup of all streams to " + target);
  out.row("Streams", uint64_t{names.size()});
  out.row("Size", short_bytes(bytes));
  out.row("Consumers", consumers);
  out.line();
  print(out.text());
  if (!values.is_on("force")) {
    auto answer = ask_yes("Perform backup", false);
    if (!answer) return fail(context.program, answer.error());
    if (!*answer) return 0;
  }
  std::vector<std::string> failures;
  for (const std::string& name : names) {
    const Status status = Backup(*js, name, target + "/" + name, *options).run();
    if (!status) {
      print_line("Backup of " + name + " failed: " + status.error().text);
      failures.push_back(name + ": " + status.error().text);
    }
    print("\n");
  }
  if (failures.empty()) return 0;
  print_line("Backup failures: ");
  for (const std::string& failure : failures) print_line("  " + failure);
  print("\n");
  return fail(context.program, "backup failed");
}

int run_restore_account(const Context& context, const Values& values) {
  const std::string folder = values.text("directory");
  if (!is_folder(folder)) return fail(context.program, "path '" + folder + "' does not exist");
  auto js = JetStream::open(context, values);
  if (!js) return fail(context.program, prefixed("setup failed", js.error()));
  auto known = js->names("STREAM.NAMES", "streams");
  if (!known) return fail(context.program, known.error());
  auto names = list_folder(folder);
  if (!names) return fail(context.program, names.error());
  for (const std::string& name : *names) {
    if (!is_folder(folder + "/" + name)) return fail(context.program, "expected a directory \"" + name + "\"");
    if (std::find(known->begin(), known->end(), name) != known->end()) {
      return fail(context.program, "stream \"" + name + "\" exists already");
    }
    if (!file_exists(folder + "/" + name + "/" + kMetaName)) {
      return fail(context.program, "expected backup.json: " + folder + "/" + name);
    }
  }
  print("Restoring backup of all " + std::to_string(names->size()) + " streams in directory \"" + folder + "\"\n\n");
  for (const std::string& name : *names) {
    const Status status = restore_folder(*js, values, folder + "/" + name);
    if (!status) return fail(context.program, prefixed("restore for " + name + " failed", status.error()));
  }
  return 0;
}

}  // namespace

int run_stream_backup(const Context& context, const Values& values) {
  warn_old_name(context, "stream backup", "backup stream");
  return backup_one(context, values);
}
int run_stream_restore(const Context& context, const Values& values) {
  warn_old_name(context, "stream restore", "backup restore stream");
  return restore_one(context, values);
}

Command backup_stream_command(const char* name) {
  Command command{name, {}, "Creates a backup of a stream over the NATS network"};
  command.arguments = {{"stream", "Stream to backup"}, {"target", "Directory to create the backup in"}};
  command.flags = {
      {"progress", "Enables or disables progress reporting using a progress bar", Kind::Bool, "", "true"},
      {"check", "Checks the stream for health prior to backup"},
      {"consumers", "Enable or disable consumer backups", Kind::Bool, "", "true"},
      {"chunk-size", "Sets a specific chunk size that the server will send", Kind::Text},
      {"window-size", "Sets a specific window size that the server will send", Kind::Text},
  };
  command.run = backup_one;
  return command;
}

Command restore_stream_command(const char* name) {
  Command command{name, {}, "Restore a stream over the NATS network"};
  command.arguments = {{"file", "The directory holding the backup to restore"}};
  command.flags = {
      {"progress", "Enables or disables progress reporting using a progress bar", Kind::Bool, "", "true"},
      {"config", "Load a different configuration when restoring the stream", Kind::Text},
      {"cluster", "Place the stream in a specific cluster", Kind::Text},
      {"tag", "Place the stream on servers that has specific tags (pass multiple times)", Kind::Text, "TAG", "", "", true},
      {"replicas", "Override how many replicas of the data to create", Kind::Text},
  };
  command.run = restore_one;
  return command;
}

Command backup_account_command(const char* name) {
  Command account{name, {}, "Creates a backup of all JetStream Streams over the NATS network"};
  account.arguments = {{"target", "Directory to create the backup in"}};
  account.flags = {{"check", "Checks the Stream for health prior to backup"},
                   {"consumers", "Enable or disable consumer backups", Kind::Bool, "", "true"},
                   {"force,f", "Perform backup without prompting"},
                   {"critical-warnings,w", "Treat warnings as failures"}};
  account.run = run_backup_account;
  return account;
}

Command restore_account_command(const char* name) {
  Command all{name, {}, "Restore an account backup over the NATS network"};
  all.arguments = {{"directory", "The directory holding the account backup to restore"}};
  all.flags = {{"cluster", "Place the stream in a specific cluster", Kind::Text},
               {"tag", "Place the stream on servers that has specific tags (pass multiple times)", Kind::Text, "TAG", "", "", true}};
  all.run = run_restore_account;
  return all;
}

Command backup_command() {
  Command restore{"restore", {}, "Restores backups over the NATS network"};
  restore.subcommands.push_back(restore_stream_command("stream"));
  restore.subcommands.push_back(restore_account_command("account"));
  Command group{"backup", {}, "Backup and restore JetStream streams"};
  group.subcommands.push_back(backup_stream_command("stream"));
  group.subcommands.push_back(backup_account_command("account"));
  group.subcommands.push_back(std::move(restore));
  return group;
}

}  // namespace brokkr::cli
