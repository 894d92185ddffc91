#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What host and guest of a microVM say to each other over one stream of bytes (a virtio or serial port,
// or vsock): frames, after the guest's greeting. Shared with the guest's init, so only the standard
// library here. Pure.
namespace brokkr::sandbox::wire {

// The guest's first bytes; what comes before them is noise of the port.
constexpr std::string_view kGreeting = "\nBROKKR-GUEST-1\n";
constexpr size_t kHeaderBytes = 12;
constexpr size_t kPayloadMax = 1024 * 1024;
// Of one connection, in each direction: bytes on their way before the receiver has passed some on.
constexpr uint32_t kWindowBytes = 64 * 1024;
// Bytes on the link to the guest it has not taken off.
constexpr uint32_t kLinkWindowBytes = 256 * 1024;
constexpr uint32_t kLinkAckBytes = 1024;
constexpr uint32_t kStreamsMax = 1024;

enum class Kind : uint8_t {
  // From the host.
  Spec = 1,    // Spec
  Signal,      // u32: to the program
  Execute,     // stream: its number; u32 time-out in ms, strings
  // From the guest.
  Started = 16,
  Failed,      // text: the program could not be started
  Output,      // stream 1 or 2
  Exit,        // u32 1 when signalled, u32 code or signal, u32 1 when the kernel killed for memory
  Executed,    // stream: number of the Execute; u32 exit code, output
  Usage,       // u64 bytes of memory, u64 ns of CPU, u32 processes
  LinkAck,     // u32: bytes taken off the link since the last one
  // From either: connections. The host's have odd numbers, the guest's even ones.
  Open = 32,   // host: u32 port inside; guest: u32 listener
  Opened,      // answers the host's Open: u32 1 when connected
  Data,
  Credit,      // u32: so many bytes more may be sent
  End,         // no more data from here
  Reset,       // the connection is gone
};

struct Frame {
  Kind kind{};
  uint32_t stream = 0;
  std::string_view payload;
};

void append_frame(std::string& out, Kind kind, uint32_t stream, std::string_view payload);
// Takes whole frames off the front of `bytes`. 1: `frame` is one and `used` its size; 0: needs more;
// -1: no frame at all.
int read_frame(std::string_view bytes, Frame& frame, size_t& used);

// Numbers and texts within payloads.
class Encoder {
 public:
  Encoder& u32(uint32_t value);
  Encoder& u64(uint64_t value);
  Encoder& text(std::string_view value);
  Encoder& texts(const std::vector<std::string>& values);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reading past the end or a count that cannot be gives zeros and `is_bad`.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : bytes_(bytes) {}
  uint32_t u32();
  uint64_t u64();
  std::string text();
  std::vector<std::string> texts();
  std::string_view rest() const { return bytes_; }
  bool is_bad() const { return is_bad_; }

 private:
  std::string_view bytes_;
  bool is_bad_ = false;
};

// A disk of the machine: found by its serial, or where the monitor gives it none by its place.
struct Disk {
  std::string serial;
  std::string target;  // where it is mounted inside the root; empty: it is the root
  bool is_writable = false;
};

// What the guest is to run.
struct Spec {
  std::string host_name;
  std::string hosts;  // content of /etc/hosts
  std::string user;
  std::string working_folder;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  uint32_t pids = 0;
  uint64_t disk_bytes = 0;  // of what is written to the root, and of /tmp
  std::vector<std::pair<std::string, uint32_t>> listeners;  // address and port
  std::vector<Disk> disks;    // in the order in which the machine has them; one is the root
};
std::string encode(const Spec&);
bool decode(std::string_view bytes, Spec& out);

}  // namespace brokkr::sandbox::wire
