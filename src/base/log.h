#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brokkr {

// Levels and labels are nats-server's: FTL ERR WRN INF DBG TRC.
enum class LogLevel : uint8_t { Fatal, Error, Warn, Info, Debug, Trace };

// The process's log: lines of the form `[pid] 2026/11/23 08:39:28.335747 [INF] text` on stderr or in
// a file. Thread-safe. One lives in app and is passed by reference.
class Log {
 public:
  struct Options {
    LogLevel level = LogLevel::Info;
    bool logtime = true;
    bool logtime_utc = false;
    bool colors = false;
    std::string file;  // empty means stderr
    uint64_t file_bytes_max = 0;  // 0 means no rotation; else renamed with a time stamp when full
  };
  // Fails when the file cannot be opened for append.
  static Result<std::unique_ptr<Log>> open(const Options&);
  // A log that drops everything, for tests.
  static std::unique_ptr<Log> discard();

  virtual ~Log() = default;
  virtual void write(LogLevel, std::string_view text) = 0;
  // Opens the file again under its name (SIGUSR1 after logrotate moved it).
  virtual Status reopen() = 0;
  virtual void set_level(LogLevel) = 0;
  // Goes on with other options, in another file if they say so; on failure nothing has changed.
  virtual Status change(const Options& options) {
    set_level(options.level);
    return {};
  }
  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  bool is_on(LogLevel wanted) const { return wanted <= level(); }

  void error(std::string_view text) { write(LogLevel::Error, text); }
  void warn(std::string_view text) { write(LogLevel::Warn, text); }
  void info(std::string_view text) { write(LogLevel::Info, text); }
  void debug(std::string_view text) { if (is_on(LogLevel::Debug)) write(LogLevel::Debug, text); }
  void trace(std::string_view text) { if (is_on(LogLevel::Trace)) write(LogLevel::Trace, text); }

 protected:
  // Every loop asks before it makes a line; a reload changes it on the main loop.
  std::atomic<LogLevel> level_ = LogLevel::Info;
};

}  // namespace brokkr
