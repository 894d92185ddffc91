#include "sandbox/launcher_protocol.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace brokkr::sandbox {
namespace {

class OrderWriter {
 public:
  void number(uint64_t value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    number(value.size());
    out_ += value;
  }
  void texts(const std::vector<std::string>& values) {
    number(values.size());
    for (const std::string& value : values) text(value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// Anything past the end reads as zero or empty and leaves `is_good` false.
class OrderReader {
 public:
  explicit OrderReader(std::string_view bytes) : rest_(bytes) {}
  uint64_t number() {
    uint64_t value = 0;
    const std::string_view bytes = take(sizeof value);
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string text() { return std::string(take(number())); }
  std::vector<std::string> texts() {
    std::vector<std::string> values;
    const uint64_t count = number();
    for (uint64_t i = 0; i < count && is_good_; ++i) values.push_back(text());
    return values;
  }
  bool is_good() const { return is_good_; }

 private:
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) {
      is_good_ = false;
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  std::string_view rest_;
  bool is_good_ = true;
};

void write_limits(OrderWriter& out, const ProgramLimits& limits) {
  out.number(limits.memory_bytes);
  out.number(limits.cpu_millis);
  out.number(limits.pids);
  out.number(limits.io_bytes_per_second);
  out.number(limits.disk_bytes);
}

ProgramLimits read_limits(OrderReader& in) {
  ProgramLimits limits;
  limits.memory_bytes = in.number();
  limits.cpu_millis = static_cast<uint32_t>(in.number());
  limits.pids = static_cast<uint32_t>(in.number());
  limits.io_bytes_per_second = in.number();
  limits.disk_bytes = in.number();
  return limits;
}

}  // namespace

std::string encode(const LaunchOrder& order) {
  const ProgramSpec& spec = order.spec;
  OrderWriter out;
  for (const std::string* text : {&spec.name, &spec.executable, &spec.root, &spec.upper,
                                  &spec.working_folder, &spec.user}) {
    out.text(*text);
  }
  for (const auto* texts : {&spec.lower, &spec.arguments, &spec.environment}) out.texts(*texts);
  out.number(spec.binds.size());
  for (const Bind& bind : spec.binds) {
    out.text(bind.source);
    out.text(bind.target);
    out.number((bind.is_writable ? 1U : 0U) | (bind.is_device ? 2U : 0U));
  }
  write_limits(out, spec.limits);
  out.number(spec.listeners.size());
  for (const InnerListener& listener : spec.listeners) {
    out.text(listener.address);
    out.number(listener.port);
    out.text(listener.host_name);
    out.number(listener.is_datagram ? 1 : 0);
  }
  out.texts(spec.networks);
  out.number(static_cast<uint64_t>(spec.policy));
  out.number(spec.layers_off);
  out.number(static_cast<uint64_t>(spec.landlock_abi_max));
  out.number(order.is_confined ? 1 : 0);
  out.number(order.needs_libraries ? 1 : 0);
  out.number(order.groups);
  out.number(order.group_layers);
  return out.take();
}

Result<LaunchOrder> decode_order(std::string_view bytes) {
  LaunchOrder order;
  ProgramSpec& spec = order.spec;
  OrderReader in(bytes);
  for (std::string* text : {&spec.name, &spec.executable, &spec.root, &spec.upper,
                            &spec.working_folder, &spec.user}) {
    *text = in.text();
  }
  for (auto* texts : {&spec.lower, &spec.arguments, &spec.environment}) *texts = in.texts();
  for (uint64_t left = in.number(); left > 0 && in.is_good(); --left) {
    Bind bind;
    bind.source = in.text();
    bind.target = in.text();
    const uint64_t flags = in.number();
    bind.is_writable = (flags & 1U) != 0;
    bind.is_device = (flags & 2U) != 0;
    spec.binds.push_back(std::move(bind));
  }
  spec.limits = read_limits(in);
  for (uint64_t left = in.number(); left > 0 && in.is_good(); --left) {
    InnerListener listener;
    listener.address = in.text();
    listener.port = static_cast<uint16_t>(in.number());
    listener.host_name = in.text();
    listener.is_datagram = in.number() != 0;
    spec.listeners.push_back(std::move(listener));
  }
  spec.networks = in.texts();
  spec.policy = static_cast<Policy>(in.number());
  spec.layers_off = static_cast<uint32_t>(in.number());
  spec.landlock_abi_max = static_cast<int>(in.number());
  order.is_confined = in.number() != 0;
  order.needs_libraries = in.number() != 0;
  order.groups = static_cast<uint32_t>(in.number());
  order.group_layers = static_cast<uint32_t>(in.number());
  if (!in.is_good()) return Error{Errc::Corrupt, "launch order is cut short"};
  return order;
}

std::string encode(const std::vector<std::string>& texts) {
  OrderWriter out;
  out.texts(texts);
  return out.take();
}

Result<std::vector<std::string>> decode_texts(std::string_view bytes) {
  OrderReader in(bytes);
  std::vector<std::string> texts = in.texts();
  if (!in.is_good()) return Error{Errc::Corrupt, "texts are cut short"};
  return texts;
}

int make_memory_file(std::string_view bytes) {
  const int fd = memfd_create("order", MFD_CLOEXEC);
  if (fd < 0) return -1;
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n <= 0) {
      const int error = errno;
      close(fd);
      errno = error;
      return -1;
    }
    done += static_cast<size_t>(n);
  }
  return fd;
}

std::string read_memory_file(int fd) {
  struct stat info {};
  std::string bytes;
  if (fstat(fd, &info) != 0) return bytes;
  bytes.resize(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

void LauncherPacket::set_text(std::string_view words) {
  std::memset(text, 0, sizeof text);
  words.copy(text, sizeof text - 1);
}

std::string LauncherPacket::get_text() const {
  return std::string(text, strnlen(text, sizeof text));
}

bool send_launcher_packet(int fd, const LauncherPacket& packet, int descriptor) {
  iovec part{const_cast<LauncherPacket*>(&packet), sizeof packet};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptor)] = {};
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(sizeof packet);
}

int receive_launcher_packet(int fd, LauncherPacket& packet, int& descriptor) {
  descriptor = -1;
  packet = {};
  iovec part{&packet, sizeof packet};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptor)] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received = 0;
  do {
    received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received <= 0) return static_cast<int>(received);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  }
  return 1;
}

bool send_descriptors(int fd, const std::vector<int>& descriptors) {
  char byte = 'l';
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kLauncherDescriptorsMax)] = {};
  const size_t bytes = sizeof(int) * descriptors.size();
  if (descriptors.empty() || descriptors.size() > kLauncherDescriptorsMax) {
    errno = EINVAL;
    return false;
  }
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(bytes);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(bytes);
  std::memcpy(CMSG_DATA(header), descriptors.data(), bytes);
  ssize_t sent = 0;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == 1;
}

std::vector<int> receive_descriptors(int fd) {
  std::vector<int> descriptors;
  char byte = 0;
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kLauncherDescriptorsMax)] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received = 0;
  do {
    received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  const cmsghdr* header = received == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return descriptors;
  descriptors.resize((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  std::memcpy(descriptors.data(), CMSG_DATA(header), descriptors.size() * sizeof(int));
  return descriptors;
}

}  // namespace brokkr::sandbox
