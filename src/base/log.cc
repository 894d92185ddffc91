#include "base/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <mutex>

namespace brokkr {
namespace {

constexpr const char* kLabels[] = {"FTL", "ERR", "WRN", "INF", "DBG", "TRC"};
constexpr const char* kColors[] = {"31", "31", "33", "32", "36", "33"};

// One write(2) a line, so that lines of several threads and processes never mix.
class FileLog final : public Log {
 public:
  explicit FileLog(Options options) : options_(std::move(options)) { level_ = options_.level; }
  ~FileLog() override { close_file(); }

  // Only app's thread changes the options, so it may read them without the lock.
  Status open_file() { return change(Options(options_)); }

  Status change(const Options& options) override {
    int fd = STDERR_FILENO;
    struct stat info {};
    if (!options.file.empty()) {
      fd = ::open(options.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
      if (fd < 0) return system_error(("open log file " + options.file).c_str(), errno);
      fstat(fd, &info);
    }
    const std::lock_guard lock(mutex_);
    close_file();
    fd_ = fd;
    bytes_ = static_cast<uint64_t>(info.st_size);
    options_ = options;
    level_ = options.level;
    return {};
  }

  void write(LogLevel level, std::string_view text) override {
    if (!is_on(level)) return;
    const std::lock_guard lock(mutex_);
    std::string line = prefix(level);
    line += text;
    line += '\n';
    if (::write(fd_, line.data(), line.size()) < 0) return;  // nowhere left to say so
    bytes_ += line.size();
    if (options_.file_bytes_max > 0 && bytes_ > options_.file_bytes_max) rotate();
  }

  Status reopen() override { return open_file(); }
  void set_level(LogLevel level) override {
    const std::lock_guard lock(mutex_);
    level_ = options_.level = level;
  }

 private:
  // Called with the lock held.
  std::string prefix(LogLevel level) const {
    char text[96];
    std::string out;
    std::snprintf(text, sizeof text, "[%d] ", static_cast<int>(getpid()));
    out += text;
    if (options_.logtime) {
      timespec now{};
      clock_gettime(CLOCK_REALTIME, &now);
      tm parts{};
      options_.logtime_utc ? gmtime_r(&now.tv_sec, &parts) : localtime_r(&now.tv_sec, &parts);
      const size_t n = strftime(text, sizeof text, "%Y/%m/%d %H:%M:%S", &parts);
      std::snprintf(text + n, sizeof text - n, ".%06ld ", now.tv_nsec / 1000);
      out += text;
    }
    const auto index = static_cast<size_t>(level);
    if (options_.colors) {
      std::snprintf(text, sizeof text, "[\033[%sm%s\033[0m] ", kColors[index], kLabels[index]);
    } else {
      std::snprintf(text, sizeof text, "[%s] ", kLabels[index]);
    }
    return out + text;
  }

  // Called with the lock held.
  void rotate() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm parts{};
    gmtime_r(&now.tv_sec, &parts);
    char suffix[64];
    const size_t n = strftime(suffix, sizeof suffix, ".%Y.%m.%d.%H.%M.%S", &parts);
    std::snprintf(suffix + n, sizeof suffix - n, ".%09ld", now.tv_nsec);
    if (rename(options_.file.c_str(), (options_.file + suffix).c_str()) != 0) return;
    const int fd = ::open(options_.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) return;
    close_file();
    fd_ = fd;
    bytes_ = 0;
  }

  void close_file() {
    if (fd_ != STDERR_FILENO) ::close(fd_);
    fd_ = STDERR_FILENO;
  }

  Options options_;
  std::mutex mutex_;
  int fd_ = STDERR_FILENO;
  uint64_t bytes_ = 0;
};

class NullLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
  Status reopen() override { return {}; }
  void set_level(LogLevel level) override { level_ = level; }
};

}  // namespace

Result<std::unique_ptr<Log>> Log::open(const Options& options) {
  auto log = std::make_unique<FileLog>(options);
  if (Status opened = log->open_file(); !opened) return opened.error();
  return std::unique_ptr<Log>(std::move(log));
}

std::unique_ptr<Log> Log::discard() {
  return std::make_unique<NullLog>();
}

}  // namespace brokkr
