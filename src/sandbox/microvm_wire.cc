#include "sandbox/microvm_wire.h"

namespace brokkr::sandbox::wire {
namespace {

constexpr uint32_t kTextsMax = 16 * 1024;

void put_u32(char* out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}

uint32_t get_u32(const char* in) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(in[i]);
  return value;
}

}  // namespace

void append_frame(std::string& out, Kind kind, uint32_t stream, std::string_view payload) {
  char header[kHeaderBytes] = {};
  put_u32(header, static_cast<uint32_t>(payload.size()));
  header[4] = static_cast<char>(kind);
  put_u32(header + 8, stream);
  out.append(header, sizeof header).append(payload);
}

int read_frame(std::string_view bytes, Frame& frame, size_t& used) {
  if (bytes.size() < kHeaderBytes) return 0;
  const uint32_t size = get_u32(bytes.data());
  if (size > kPayloadMax || bytes[5] != 0 || bytes[6] != 0 || bytes[7] != 0) return -1;
  if (bytes.size() < kHeaderBytes + size) return 0;
  frame.kind = static_cast<Kind>(bytes[4]);
  frame.stream = get_u32(bytes.data() + 8);
  frame.payload = bytes.substr(kHeaderBytes, size);
  used = kHeaderBytes + size;
  return 1;
}

Encoder& Encoder::u32(uint32_t value) {
  char out[4];
  put_u32(out, value);
  bytes_.append(out, sizeof out);
  return *this;
}

Encoder& Encoder::u64(uint64_t value) {
  return u32(static_cast<uint32_t>(value)).u32(static_cast<uint32_t>(value >> 32));
}

Encoder& Encoder::text(std::string_view value) {
  u32(static_cast<uint32_t>(value.size()));
  bytes_.append(value);
  return *this;
}

Encoder& Encoder::texts(const std::vector<std::string>& values) {
  u32(static_cast<uint32_t>(values.size()));
  for (const std::string& value : values) text(value);
  return *this;
}

uint32_t Decoder::u32() {
  if (bytes_.size() < 4) {
    is_bad_ = true;
    bytes_ = {};
    return 0;
  }
  const uint32_t value = get_u32(bytes_.data());
  bytes_.remove_prefix(4);
  return value;
}

uint64_t Decoder::u64() {
  const uint64_t low = u32();
  return low | static_cast<uint64_t>(u32()) << 32;
}

std::string Decoder::text() {
  const uint32_t size = u32();
  if (size > bytes_.size()) {
    is_bad_ = true;
    bytes_ = {};
    return {};
  }
  std::string value(bytes_.substr(0, size));
  bytes_.remove_prefix(size);
  return value;
}

std::vector<std::string> Decoder::texts() {
  const uint32_t count = u32();
  std::vector<std::string> values;
  if (count > kTextsMax) is_bad_ = true;
  for (uint32_t i = 0; i < count && !is_bad_; ++i) values.push_back(text());
  return values;
}

std::string encode(const Spec& spec) {
  Encoder out;
  out.text(spec.host_name).text(spec.hosts).text(spec.user).text(spec.working_folder);
  out.texts(spec.arguments).texts(spec.environment).u32(spec.pids).u64(spec.disk_bytes);
  out.u32(static_cast<uint32_t>(spec.listeners.size()));
  for (const auto& [address, port] : spec.listeners) out.text(address).u32(port);
  out.u32(static_cast<uint32_t>(spec.disks.size()));
  for (const Disk& disk : spec.disks) out.text(disk.serial).text(disk.target).u32(disk.is_writable ? 1 : 0);
  return out.bytes();
}

bool decode(std::string_view bytes, Spec& out) {
  Decoder in(bytes);
  out.host_name = in.text();
  out.hosts = in.text();
  out.user = in.text();
  out.working_folder = in.text();
  out.arguments = in.texts();
  out.environment = in.texts();
  out.pids = in.u32();
  out.disk_bytes = in.u64();
  const uint32_t count = in.u32();
  for (uint32_t i = 0; i < count && !in.is_bad(); ++i) {
    std::string address = in.text();
    out.listeners.emplace_back(std::move(address), in.u32());
  }
  const uint32_t disks = in.u32();
  for (uint32_t i = 0; i < disks && !in.is_bad(); ++i) {
    std::string serial = in.text();
    std::string target = in.text();
    out.disks.push_back({std::move(serial), std::move(target), in.u32() != 0});
  }
  return !in.is_bad() && !out.arguments.empty();
}

}  // namespace brokkr::sandbox::wire
