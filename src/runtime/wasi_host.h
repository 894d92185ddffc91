#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/wasi_memory.h"

// WASI preview 1 for a program that has arguments, an environment, clocks, randomness and three
// streams, and no file system: stdin is the message, stdout the reply, stderr the log.
namespace brokkr::runtime {

// The errno values of preview 1 that are used here.
enum class WasiErrno : uint16_t {
  Success = 0,
  Badf = 8,
  Fault = 21,
  Fbig = 22,
  Inval = 28,
  Intr = 27,
  Nosys = 52,
  Notdir = 54,
  Notsock = 57,
  Spipe = 70,
};

// One imported function: its name and the types of its parameters, 'i' for i32 and 'I' for i64.
// Every function of preview 1 is in the table, so that every module links.
struct WasiFunction {
  std::string_view name;
  std::string_view parameters;
  bool has_result;
};
std::span<const WasiFunction> wasi_functions();
constexpr size_t kWasiParametersMax = 9;

// Where a program's time and randomness come from.
class WasiWorld {
 public:
  virtual ~WasiWorld() = default;
  virtual uint64_t monotonic_ns() = 0;
  virtual uint64_t realtime_ns() = 0;
  virtual void fill_random(std::span<uint8_t>) = 0;
  // False when the program is being stopped meanwhile.
  virtual bool sleep_ns(uint64_t) = 0;
};

// The state of one run of a program. Knows no engine: memory comes with each call. Loop-confined.
class WasiHost {
 public:
  explicit WasiHost(WasiWorld& world) : world_(world) {}

  // Environment as "NAME=value" texts; kept for every run.
  void set_environment(const std::vector<std::pair<std::string, std::string>>&);
  // Starts a run. `input` must outlive it. Output beyond `output_bytes_max` ends the program.
  void begin(std::string_view subject, std::string_view input, uint64_t output_bytes_max);

  // Runs the function at `index` of wasi_functions() with as many arguments as it has parameters;
  // what it returns to the program.
  uint16_t call(size_t index, WasiMemory, std::span<const uint64_t> arguments);

  // True once the program must not run on: it called proc_exit, or wrote too much.
  bool has_ended() const { return has_exited_ || is_output_exceeded_; }
  bool has_exited() const { return has_exited_; }
  uint32_t exit_code() const { return exit_code_; }
  bool is_output_exceeded() const { return is_output_exceeded_; }
  std::string& output() { return output_; }

  // Whole lines written to stderr since the last call, without the last newline; everything left
  // when `all`. Empty when there is none.
  std::string take_log(bool all);
  // The end of what was written to stderr.
  const std::string& log_tail() const { return log_tail_; }

 private:
  using Words = std::span<const uint64_t>;
  WasiErrno dispatch(std::string_view name, WasiMemory, Words);
  WasiErrno put_list(WasiMemory, const std::vector<std::string>&, Words);
  WasiErrno put_list_sizes(WasiMemory, const std::vector<std::string>&, Words);
  WasiErrno fd_read(WasiMemory, Words);
  WasiErrno fd_write(WasiMemory, Words);
  WasiErrno fd_stat(std::string_view name, WasiMemory, Words);
  WasiErrno clock_time(WasiMemory, Words);
  WasiErrno random(WasiMemory, Words);
  WasiErrno poll(WasiMemory, Words);
  void write_log(std::string_view);
  bool is_open(uint64_t fd) const { return fd <= 2 && is_open_[fd]; }

  WasiWorld& world_;
  std::vector<std::string> arguments_;
  std::vector<std::string> environment_;
  std::string_view input_;
  std::string output_;
  uint64_t output_bytes_max_ = 0;
  std::string log_;       // not taken yet
  std::string log_tail_;  // the last kLogTailBytes
  bool is_open_[3] = {true, true, true};
  bool has_exited_ = false;
  bool is_output_exceeded_ = false;
  uint32_t exit_code_ = 0;
};

}  // namespace brokkr::runtime
