#include "runtime/wasi_host.h"

#include <algorithm>

namespace brokkr::runtime {
namespace {

constexpr size_t kLogTailBytes = 2048;
// A program that never ends its line is logged in pieces of this size.
constexpr size_t kLogLineBytesMax = 16384;

constexpr WasiFunction kFunctions[] = {
    {"args_get", "ii", true},
    {"args_sizes_get", "ii", true},
    {"environ_get", "ii", true},
    {"environ_sizes_get", "ii", true},
    {"clock_res_get", "ii", true},
    {"clock_time_get", "iIi", true},
    {"fd_advise", "iIIi", true},
    {"fd_allocate", "iII", true},
    {"fd_close", "i", true},
    {"fd_datasync", "i", true},
    {"fd_fdstat_get", "ii", true},
    {"fd_fdstat_set_flags", "ii", true},
    {"fd_fdstat_set_rights", "iII", true},
    {"fd_filestat_get", "ii", true},
    {"fd_filestat_set_size", "iI", true},
    {"fd_filestat_set_times", "iIIi", true},
    {"fd_pread", "iiiIi", true},
    {"fd_prestat_get", "ii", true},
    {"fd_prestat_dir_name", "iii", true},
    {"fd_pwrite", "iiiIi", true},
    {"fd_read", "iiii", true},
    {"fd_readdir", "iiiIi", true},
    {"fd_renumber", "ii", true},
    {"fd_seek", "iIii", true},
    {"fd_sync", "i", true},
    {"fd_tell", "ii", true},
    {"fd_write", "iiii", true},
    {"path_create_directory", "iii", true},
    {"path_filestat_get", "iiiii", true},
    {"path_filestat_set_times", "iiiiIIi", true},
    {"path_link", "iiiiiii", true},
    {"path_open", "iiiiiIIii", true},
    {"path_readlink", "iiiiii", true},
    {"path_remove_directory", "iii", true},
    {"path_rename", "iiiiii", true},
    {"path_symlink", "iiiii", true},
    {"path_unlink_file", "iii", true},
    {"poll_oneoff", "iiii", true},
    {"proc_exit", "i", false},
    {"proc_raise", "i", true},
    {"random_get", "ii", true},
    {"sched_yield", "", true},
    {"sock_accept", "iii", true},
    {"sock_recv", "iiiiii", true},
    {"sock_send", "iiiii", true},
    {"sock_shutdown", "ii", true},
};

// Calls `each(bytes)` for every buffer of an iovec array of `count` pairs (address, size) until it
// returns false. Fault when the array or a buffer lies outside.
template <typename F>
WasiErrno for_each_buffer(WasiMemory memory, uint64_t array, uint64_t count, F&& each) {
  if (!memory.holds(array, count * 8)) return WasiErrno::Fault;
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t address = 0;
    uint32_t size = 0;
    if (!memory.load(array + 8 * i, address) || !memory.load(array + 8 * i + 4, size) ||
        !memory.holds(address, size)) {
      return WasiErrno::Fault;
    }
    if (!each(memory.at(address, size))) break;
  }
  return WasiErrno::Success;
}

}  // namespace

std::span<const WasiFunction> wasi_functions() { return kFunctions; }

void WasiHost::set_environment(const std::vector<std::pair<std::string, std::string>>& variables) {
  environment_.clear();
  for (const auto& [name, value] : variables) environment_.push_back(name + "=" + value);
}

void WasiHost::begin(std::string_view subject, std::string_view input, uint64_t output_bytes_max) {
  arguments_.resize(2);
  arguments_[0] = "nexfunction";
  arguments_[1] = subject;
  input_ = input;
  output_.clear();
  output_bytes_max_ = output_bytes_max;
  log_.clear();
  log_tail_.clear();
  std::fill(std::begin(is_open_), std::end(is_open_), true);
  has_exited_ = is_output_exceeded_ = false;
  exit_code_ = 0;
}

uint16_t WasiHost::call(size_t index, WasiMemory memory, Words arguments) {
  return static_cast<uint16_t>(dispatch(kFunctions[index].name, memory, arguments));
}

// NOLINTNEXTLINE(readability-function-size): one line a function.
WasiErrno WasiHost::dispatch(std::string_view name, WasiMemory memory, Words words) {
  if (name == "fd_write") return fd_write(memory, words);
  if (name == "fd_read") return fd_read(memory, words);
  if (name == "args_get") return put_list(memory, arguments_, words);
  if (name == "args_sizes_get") return put_list_sizes(memory, arguments_, words);
  if (name == "environ_get") return put_list(memory, environment_, words);
  if (name == "environ_sizes_get") return put_list_sizes(memory, environment_, words);
  if (name == "clock_time_get") return clock_time(memory, words);
  if (name == "clock_res_get") {
    if (words[0] > 3) return WasiErrno::Inval;
    return memory.store<uint64_t>(words[1], 1000) ? WasiErrno::Success : WasiErrno::Fault;
  }
  if (name == "random_get") return random(memory, words);
  if (name == "sched_yield") return WasiErrno::Success;
  if (name == "poll_oneoff") return poll(memory, words);
  if (name == "proc_exit") {
    has_exited_ = true;
    exit_code_ = static_cast<uint32_t>(words[0]);
    return WasiErrno::Success;
  }
  if (name.starts_with("fd_")) return fd_stat(name, memory, words);
  // There is no directory to start a path from.
  if (name.starts_with("path_")) {
    const uint64_t folder = name == "path_symlink" ? words[2] : words[0];
    return is_open(folder) ? WasiErrno::Notdir : WasiErrno::Badf;
  }
  if (name.starts_with("sock_")) return is_open(words[0]) ? WasiErrno::Notsock : WasiErrno::Badf;
  return WasiErrno::Nosys;
}

WasiErrno WasiHost::put_list(WasiMemory memory, const std::vector<std::string>& list, Words words) {
  uint64_t pointer = words[0];
  uint64_t text = words[1];
  for (const std::string& item : list) {
    const uint64_t size = item.size() + 1;
    if (!memory.holds(text, size) || !memory.store(pointer, static_cast<uint32_t>(text))) {
      return WasiErrno::Fault;
    }
    std::memcpy(memory.at(text, size).data(), item.c_str(), size);
    pointer += 4;
    text += size;
  }
  return WasiErrno::Success;
}

WasiErrno WasiHost::put_list_sizes(WasiMemory memory, const std::vector<std::string>& list,
                                   Words words) {
  size_t bytes = 0;
  for (const std::string& item : list) bytes += item.size() + 1;
  return memory.store(words[0], static_cast<uint32_t>(list.size())) &&
                 memory.store(words[1], static_cast<uint32_t>(bytes))
             ? WasiErrno::Success
             : WasiErrno::Fault;
}

WasiErrno WasiHost::fd_read(WasiMemory memory, Words words) {
  if (words[0] != 0 || !is_open_[0]) return WasiErrno::Badf;
  if (!memory.holds(words[3], 4)) return WasiErrno::Fault;
  uint32_t total = 0;
  const WasiErrno result =
      for_each_buffer(memory, words[1], words[2], [&](std::span<uint8_t> buffer) {
        const size_t size = std::min(buffer.size(), input_.size());
        if (size > 0) std::memcpy(buffer.data(), input_.data(), size);
        input_.remove_prefix(size);
        total += static_cast<uint32_t>(size);
        return size == buffer.size();
      });
  if (result != WasiErrno::Success) return result;
  memory.store(words[3], total);
  return result;
}

WasiErrno WasiHost::fd_write(WasiMemory memory, Words words) {
  if (words[0] == 0 || !is_open(words[0])) return WasiErrno::Badf;
  if (!memory.holds(words[3], 4)) return WasiErrno::Fault;
  uint64_t total = 0;
  const WasiErrno result =
      for_each_buffer(memory, words[1], words[2], [&](std::span<uint8_t> buffer) {
        // The count returned is 32 bits: a write beyond it is a short one.
        if (total + buffer.size() > UINT32_MAX) return false;
        const std::string_view bytes(reinterpret_cast<const char*>(buffer.data()), buffer.size());
        if (words[0] == 2) {
          write_log(bytes);
        } else if (bytes.size() > output_bytes_max_ - output_.size()) {
          is_output_exceeded_ = true;
          return false;
        } else {
          output_.append(bytes);
        }
        total += bytes.size();
        return true;
      });
  if (result != WasiErrno::Success) return result;
  if (is_output_exceeded_) return WasiErrno::Fbig;
  memory.store(words[3], static_cast<uint32_t>(total));
  return result;
}

WasiErrno WasiHost::fd_stat(std::string_view name, WasiMemory memory, Words words) {
  const uint64_t fd = words[0];
  if (!is_open(fd)) return WasiErrno::Badf;
  if (name == "fd_close") {
    is_open_[fd] = false;
    return WasiErrno::Success;
  }
  if (name == "fd_fdstat_get") {
    // File type 0, unknown: neither a terminal, so that libraries buffer whole blocks, nor
    // anything that seeks.
    constexpr uint64_t kRightRead = 1U << 1;
    constexpr uint64_t kRightWrite = 1U << 6;
    if (!memory.holds(words[1], 24)) return WasiErrno::Fault;
    std::memset(memory.at(words[1], 24).data(), 0, 24);
    memory.store(words[1] + 8, fd == 0 ? kRightRead : kRightWrite);
    return WasiErrno::Success;
  }
  if (name == "fd_filestat_get") {
    if (!memory.holds(words[1], 64)) return WasiErrno::Fault;
    std::memset(memory.at(words[1], 64).data(), 0, 64);
    return WasiErrno::Success;
  }
  if (name == "fd_fdstat_set_flags" || name == "fd_fdstat_set_rights" || name == "fd_sync" ||
      name == "fd_datasync") {
    return WasiErrno::Success;
  }
  if (name == "fd_seek" || name == "fd_tell" || name == "fd_pread" || name == "fd_pwrite" ||
      name == "fd_advise" || name == "fd_allocate") {
    return WasiErrno::Spipe;
  }
  if (name == "fd_readdir") return WasiErrno::Notdir;
  // The program's start asks for prestats until Badf: none is open.
  if (name == "fd_prestat_get" || name == "fd_prestat_dir_name") return WasiErrno::Badf;
  return name == "fd_renumber" ? WasiErrno::Nosys : WasiErrno::Inval;
}

WasiErrno WasiHost::clock_time(WasiMemory memory, Words words) {
  if (words[0] > 3) return WasiErrno::Inval;
  const uint64_t now = words[0] == 0 ? world_.realtime_ns() : world_.monotonic_ns();
  return memory.store(words[2], now) ? WasiErrno::Success : WasiErrno::Fault;
}

WasiErrno WasiHost::random(WasiMemory memory, Words words) {
  if (!memory.holds(words[0], words[1])) return WasiErrno::Fault;
  world_.fill_random(memory.at(words[0], words[1]));
  return WasiErrno::Success;
}

// Subscription, 48 bytes: userdata u64, tag u8 at 8 (0 clock, 1 read, 2 write), at 16 the clock's
// id u32, at 24 its time u64, at 40 its flags u16 (1: the time is absolute); or the fd u32 at 16.
// Event, 32 bytes: userdata u64, errno u16 at 8, type u8 at 10, bytes available u64 at 16.
WasiErrno WasiHost::poll(WasiMemory memory, Words words) {
  const uint64_t in = words[0];
  const uint64_t out = words[1];
  const uint64_t count = words[2];
  if (count == 0) return WasiErrno::Inval;
  if (!memory.holds(in, count * 48) || !memory.holds(out, count * 32) || !memory.holds(words[3], 4)) {
    return WasiErrno::Fault;
  }
  uint32_t events = 0;
  const auto report = [&](uint64_t userdata, uint8_t tag, WasiErrno error, uint64_t available) {
    const uint64_t event = out + 32ULL * events++;
    std::memset(memory.at(event, 32).data(), 0, 32);
    memory.store(event, userdata);
    memory.store(event + 8, static_cast<uint16_t>(error));
    memory.store(event + 10, tag);
    memory.store(event + 16, available);
  };
  uint64_t wait_ns = UINT64_MAX;
  uint64_t waiter = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = in + 48 * i;
    uint64_t userdata = 0;
    uint8_t tag = 0;
    uint32_t id = 0;
    memory.load(at, userdata);
    memory.load(at + 8, tag);
    memory.load(at + 16, id);
    if (tag == 0) {
      uint64_t time = 0;
      uint16_t flags = 0;
      memory.load(at + 24, time);
      memory.load(at + 40, flags);
      const uint64_t now = id == 0 ? world_.realtime_ns() : world_.monotonic_ns();
      const uint64_t left = (flags & 1) == 0 ? time : time > now ? time - now : 0;
      if (left < wait_ns) {
        wait_ns = left;
        waiter = userdata;
      }
    } else {
      const bool is_readable = tag == 1 && id == 0 && is_open_[0];
      const bool is_writable = tag == 2 && id != 0 && is_open(id);
      report(userdata, tag, is_readable || is_writable ? WasiErrno::Success : WasiErrno::Badf,
             is_readable ? input_.size() : 0);
    }
  }
  if (events == 0) {
    if (!world_.sleep_ns(wait_ns)) return WasiErrno::Intr;
    report(waiter, 0, WasiErrno::Success, 0);
  }
  memory.store(words[3], events);
  return WasiErrno::Success;
}

void WasiHost::write_log(std::string_view bytes) {
  // What nobody has taken yet is bounded: of a flood only the first part of a line is kept.
  if (log_.size() < kLogLineBytesMax * 4) log_.append(bytes.substr(0, kLogLineBytesMax * 4));
  if (bytes.size() >= kLogTailBytes) {
    log_tail_ = bytes.substr(bytes.size() - kLogTailBytes);
    return;
  }
  log_tail_.append(bytes);
  if (log_tail_.size() > kLogTailBytes) log_tail_.erase(0, log_tail_.size() - kLogTailBytes);
}

std::string WasiHost::take_log(bool all) {
  size_t end = log_.rfind('\n');
  if (all || (end == std::string::npos && log_.size() >= kLogLineBytesMax)) end = log_.size();
  if (end == std::string::npos) return {};
  std::string text = log_.substr(0, end);
  log_.erase(0, std::min(log_.size(), end + 1));
  if (all && !text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace brokkr::runtime
