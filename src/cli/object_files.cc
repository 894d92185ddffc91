// brokkr object: the sub-commands on single objects.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/bytes.h"
#include "cli/object_commands.h"
#include "cli/prompt.h"
#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
namespace {

// Smaller files are there before a bar could be seen.
constexpr uint64_t kProgressMin = 20480;
constexpr Duration kLongTransfer = std::chrono::seconds(2);

void show_object(const client::ObjectInfo& object) {
  Columns out("Object information for " + object.bucket + " > " + object.name);
  out.row_if_any("Description", object.description);
  out.row("Size", short_bytes(object.size));
  out.row("Modification Time", local_date_text(object.mod_time));
  out.row("Chunks", object.chunks);
  const size_t equals = object.digest.find('=');
  if (equals != std::string::npos) {
    const auto digest = base64_decode(std::string_view(object.digest).substr(equals + 1));
    out.row("Digest", object.digest.substr(0, equals) + " " + hex_encode(digest.value_or("")));
  }
  if (object.is_deleted) out.row("Deleted", true);
  std::string title = "Headers";
  for (const auto& [key, values] : object.headers) {
    for (const std::string& value : values) {
      out.row(title, key + ": " + value);
      title.clear();
    }
  }
  print(out.text());
}

Result<std::map<std::string, std::vector<std::string>>> headers_of(const Values& values) {
  std::map<std::string, std::vector<std::string>> headers;
  for (const std::string& flag : values.all("header")) {
    const size_t colon = flag.find(':');
    if (colon == std::string::npos) {
      return Error{Errc::InvalidArgument, "invalid header \"" + flag + "\""};
    }
    const std::string_view text = flag;
    headers[std::string(trim(text.substr(0, colon)))].emplace_back(trim(text.substr(colon + 1)));
  }
  return headers;
}

// A descriptor that closes itself.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() { close_now(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }
  void close_now() {
    if (fd_ > STDERR_FILENO) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// A bar while bytes move, and what the original leaves of it on stdout.
class Transfer {
 public:
  Transfer(const Clock& clock, uint64_t total, bool is_wanted)
      : clock_(clock),
        total_(total),
        is_shown_(is_wanted && total > kProgressMin),
        started_(clock.now()),
        bar_(std::in_place, "", total, is_shown_) {}

  void advance(uint64_t bytes) {
    done_ += bytes;
    bar_->update(done_, clock_.now());
  }
  Duration elapsed() const { return clock_.now() - started_; }
  uint64_t done() const { return done_; }

  void finish() {
    bar_.reset();
    if (!is_shown_) return;
    const Duration took = elapsed();
    const auto rounded = std::chrono::round<std::chrono::milliseconds>(took);
    const double seconds = std::max(1e-9, std::chrono::duration<double>(took).count());
    print_line(" done! [" + short_bytes(total_) + " in " + format_go_duration(rounded) + "; " +
               short_bytes(static_cast<uint64_t>(static_cast<double>(total_) / seconds)) + "/s]\n");
  }

 private:
  const Clock& clock_;
  const uint64_t total_;
  const bool is_shown_;
  const MonotonicTime started_;
  std::optional<ProgressBar> bar_;
  uint64_t done_ = 0;
};

// Asks before an object of that name is replaced; false to stop quietly.
Result<bool> may_replace(ObjectStoreTask& task, const Values& values, const std::string& name) {
  if (values.is_on("force")) return true;
  auto old = client::wait_for<client::ObjectInfo>(
      task.api.session().loop(), [&](auto done) { task.store.info(name, std::move(done)); });
  if (!old) return true;
  show_object(*old);
  print("\n");
  auto agreed = ask_yes("Replace existing file " + task.store.bucket() + " > " + name, false);
  if (!agreed) return prefixed("could not obtain confirmation", agreed.error());
  if (*agreed) print("\n");
  return agreed;
}

Status put_file(ObjectStoreTask& task, const Values& values, int fd, uint64_t size,
                client::ObjectMeta meta) {
  Transfer transfer(task.api.session().clock(), size, values.is_on("progress"));
  auto stored = task.api.wait<client::ObjectInfo>([&](auto done) {
    task.store.put(
        meta,
        [&](std::span<char> out) -> Result<size_t> {
          while (true) {
            const ssize_t got = read(fd, out.data(), out.size());
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return system_error("read", errno);
            transfer.advance(static_cast<uint64_t>(got));
            return static_cast<size_t>(got);
          }
        },
        std::move(done));
  });
  transfer.finish();
  if (!stored) return stored.error();
  print("\n");
  show_object(*stored);
  return {};
}

Status put(const Context& context, const Values& values) {
  const std::string path = values.text("file");
  File file(path.empty() ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about {};
  if (!path.empty()) {
    if (file.fd() < 0 && errno == ENOENT) {
      return Error{Errc::NotFound, "path '" + path + "' does not exist"};
    }
    if (file.fd() < 0) return system_error(path.c_str(), errno);
    if (fstat(file.fd(), &about) != 0) return system_error(path.c_str(), errno);
    if (S_ISDIR(about.st_mode)) {
      return Error{Errc::InvalidArgument, "'" + path + "' is a directory"};
    }
  }
  auto task = open_store(context, values);
  if (!task) return task.error();
  const std::string name = values.text("name").empty() ? path : values.text("name");
  if (name.empty()) {
    return Error{Errc::InvalidArgument, "--name is required when reading from stdin"};
  }
  auto goes_on = may_replace(*task, values, name);
  if (!goes_on) return goes_on.error();
  if (!*goes_on) return {};
  client::ObjectMeta meta;
  meta.name = std::filesystem::path(name).lexically_normal().string();
  meta.description = values.text("description");
  meta.max_chunk_size = values.number("chunk-size");
  auto headers = headers_of(values);
  if (!headers) return headers.error();
  meta.headers = std::move(*headers);
  const auto size = path.empty() ? uint64_t{0} : static_cast<uint64_t>(about.st_size);
  return put_file(*task, values, file.fd(), size, std::move(meta));
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error("write", errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

// The file an object is written to: its place and, once the user agrees, the file itself.
Result<std::string> target_of(const Values& values, const client::ObjectInfo& object) {
  std::filesystem::path out = values.text("output");
  if (out.empty()) out = std::filesystem::path(object.name).filename();
  std::error_code failure;
  const std::string target = std::filesystem::absolute(out, failure).lexically_normal().string();
  if (failure) return Error{Errc::System, failure.message()};
  if (values.is_on("force") || !std::filesystem::exists(target, failure)) return target;
  auto agreed = ask_yes("Replace existing target file " + target, false);
  if (!agreed) return prefixed("could not obtain confirmation", agreed.error());
  return *agreed ? target : std::string();
}

Status get(const Context& context, const Values& values) {
  auto task = open_store(context, values);
  if (!task) return task.error();
  const Clock& clock = task->api.session().clock();
  std::string target;
  bool is_wanted = true;
  Status opened;
  std::optional<File> file;
  std::optional<Transfer> transfer;
  client::ObjectSink sink;
  sink.on_start = [&](const client::ObjectInfo& object) {
    auto place = target_of(values, object);
    if (!place) {
      opened = place.error();
      return;
    }
    target = *place;
    is_wanted = !target.empty();
    if (!is_wanted) return;
    file.emplace(open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (file->fd() < 0) opened = system_error(target.c_str(), errno);
    if (values.is_on("progress") && object.size > kProgressMin) print("\n");
    transfer.emplace(clock, object.size, values.is_on("progress"));
  };
  sink.on_chunk = [&](std::string_view chunk) -> Status {
    if (!opened) return opened;
    if (!is_wanted) return Error{Errc::Closed, "not wanted"};
    transfer->advance(chunk.size());
    return write_all(file->fd(), chunk);
  };
  auto got = task->api.wait<client::ObjectInfo>(
      [&](auto done) { task->store.get(values.text("file"), std::move(sink), std::move(done)); });
  if (!opened) return opened;
  if (!is_wanted) return {};
  if (!transfer) return got.error();
  transfer->finish();
  if (!got) {
    file->close_now();
    unlink(target.c_str());  // half an object is none
    return got.error();
  }
  const Duration elapsed = transfer->elapsed();
  std::string line = "Wrote: " + short_bytes(transfer->done()) + " to " + target + " in " +
                     long_duration(elapsed);
  if (elapsed > kLongTransfer) {
    const double seconds = std::chrono::duration<double>(elapsed).count();
    line += " average " +
            short_bytes(static_cast<uint64_t>(static_cast<double>(got->size) / seconds)) + "/s";
  }
  print_line(line);
  return {};
}

Status info(const Context& context, const Values& values) {
  auto task = open_store(context, values);
  if (!task) return task.error();
  if (values.text("file").empty()) return show_store(task->api, task->store);
  auto object = task->api.wait<client::ObjectInfo>(
      [&](auto done) { task->store.info(values.text("file"), std::move(done)); });
  if (!object) return object.error();
  show_object(*object);
  return {};
}

Status remove_bucket(ObjectStoreTask& task, const Values& values) {
  const std::string bucket = task.store.bucket();
  auto goes_on =
      confirm(values, "Delete bucket " + bucket + " and all its files?", "Skipping delete");
  if (!goes_on) return goes_on.error();
  if (!*goes_on) return {};
  auto gone = task.api.wait<client::Done>([&](auto done) {
    client::ObjectStore::delete_bucket(task.api.jetstream(), bucket, std::move(done));
  });
  return gone ? Status() : Status(gone.error());
}

Status remove(const Context& context, const Values& values) {
  auto task = open_store(context, values);
  if (!task) return task.error();
  const std::string name = values.text("file");
  if (name.empty()) return remove_bucket(*task, values);
  auto object = task->api.wait<client::ObjectInfo>(
      [&](auto done) { task->store.info(name, std::move(done)); });
  if (!object) return object.error();
  const std::string place = task->store.bucket() + " > " + name;
  auto goes_on = confirm(values, "Delete " + short_bytes(object->size) + " byte file " + place + "?",
                         "Skipping delete");
  if (!goes_on) return goes_on.error();
  if (!*goes_on) return {};
  auto gone = task->api.wait<client::Done>(
      [&](auto done) { task->store.remove(name, std::move(done)); });
  if (!gone) return gone.error();
  print_line("Removed " + place);
  return show_store(task->api, task->store);
}

int finish(const Context& context, const Status& status) {
  return status ? 0 : fail(context.program, status.error());
}

}  // namespace

int run_object_put(const Context& context, const Values& values) {
  return finish(context, put(context, values));
}
int run_object_get(const Context& context, const Values& values) {
  return finish(context, get(context, values));
}
int run_object_info(const Context& context, const Values& values) {
  return finish(context, info(context, values));
}
int run_object_delete(const Context& context, const Values& values) {
  return finish(context, remove(context, values));
}

}  // namespace brokkr::cli
