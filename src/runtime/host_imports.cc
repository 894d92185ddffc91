#include "runtime/host_imports.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/json.h"

namespace brokkr::runtime {
namespace {

constexpr HostImport kImports[] = {
    {"kv_get", "kv", "get", "tk", 'P'},
    {"kv_put", "kv", "put", "tkp", 'Z'},
    {"kv_create", "kv", "create", "tkp", 'Z'},
    {"kv_update", "kv", "update", "tkpr", 'Z'},
    {"kv_delete", "kv", "delete", "tk", 'Z'},
    {"kv_purge", "kv", "purge", "tk", 'Z'},
    {"kv_keys", "kv", "keys", "tkn", 'L'},
    {"kv_history", "kv", "history", "tk", 'L'},
    {"kv_watch", "kv", "watch", "tkrT", 'L'},
    {"object_get", "objectStore", "get", "tk", 'P'},
    {"object_put", "objectStore", "put", "tkp", 'P'},
    {"object_delete", "objectStore", "delete", "tk", 'Z'},
    {"object_info", "objectStore", "info", "tk", 'P'},
    {"object_list", "objectStore", "list", "t", 'L'},
    {"object_open_read", "objectStore", "openRead", "tk", 'H'},
    {"object_open_write", "objectStore", "openWrite", "tk", 'H'},
    {"object_read", "objectStore", "read", "o", 'P'},
    {"object_write", "objectStore", "write", "op", 'Z'},
    {"object_commit", "objectStore", "commit", "o", 'P'},
    {"object_close", "objectStore", "close", "o", 'Z'},
    {"publish", "messaging", "publish", "tkhp", 'Z'},
    {"request", "messaging", "request", "thpT", 'P'},
    {"request_many", "messaging", "requestMany", "thpTn", 'L'},
    {"http", "http", "", "mthpT", 'S'},
    {"result_size", "", "size", "n", 'P'},
    {"result_read", "", "read", "nnp", 'P'},
    {"result_revision", "", "revision", "", 'R'},
};

enum Part : uint64_t { kPayload = 0, kHeaders = 1, kList = 2, kError = 3 };

// The value of a header; empty when there is none.
std::string_view header_of(std::string_view block, std::string_view name) {
  const std::string line = "\r\n" + std::string(name) + ": ";
  const size_t at = block.find(line);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = block.substr(at + line.size());
  return rest.substr(0, rest.find("\r\n"));
}

void prepend_record(std::string& list, std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  std::string record(reinterpret_cast<const char*>(&size), sizeof size);
  record.append(bytes);
  list.insert(0, record);
}

int64_t count_records(std::string_view list) {
  int64_t count = 0;
  uint32_t size = 0;
  while (list.size() >= sizeof size) {
    std::copy_n(list.data(), sizeof size, reinterpret_cast<char*>(&size));
    list.remove_prefix(std::min(list.size(), sizeof size + size_t{size}));
    ++count;
  }
  return count;
}

}  // namespace

std::span<const HostImport> host_imports() { return kImports; }

void HostImports::begin(uint64_t invocation) {
  last_ = {};
  invocation_ = invocation;
}

int64_t HostImports::call(size_t index, WasiMemory memory, Words arguments) {
  const HostImport& import = kImports[index];
  return import.service.empty() ? look(import, memory, arguments) : ask(import, memory, arguments);
}

int64_t HostImports::fail(uint16_t code, std::string text) {
  last_ = {};
  last_.code = code;
  last_.error = std::move(text);
  return -int64_t{code};
}

int64_t HostImports::ask(const HostImport& import, WasiMemory memory, Words words) {
  if (invocation_ == 0) return fail(503, "no call is being worked on");
  HostCall request;
  request.service = import.service;
  request.method = import.method;
  request.invocation = invocation_;
  std::string handle;
  std::string revision;
  size_t at = 0;
  for (const char field : import.fields) {
    if (HostImport::is_range(field)) {
      const uint64_t address = words[at];
      const uint64_t size = words[at + 1];
      at += 2;
      if (!memory.holds(address, size)) return fail(400, "a range lies outside the memory");
      const std::span<uint8_t> bytes = memory.at(address, size);
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      std::string_view& into = field == 'm'   ? request.method
                               : field == 't' ? request.target
                               : field == 'k' ? request.key
                               : field == 'h' ? request.headers
                                              : request.payload;
      into = text;
      continue;
    }
    const uint64_t word = words[at++];
    if (field == 'T') request.timeout_ms = static_cast<int32_t>(static_cast<uint32_t>(word));
    if (field == 'n') request.replies_max = static_cast<uint32_t>(word);
    if (field == 'o') request.target = handle = std::to_string(static_cast<uint32_t>(word));
    if (field == 'r') {
      revision = "NATS/1.0\r\nRevision: " + std::to_string(word) + "\r\n\r\n";
      request.headers = revision;
    }
  }
  request.timeout_ms = std::max<int64_t>(request.timeout_ms, 0);
  if (request.bytes() > kHostCallBytesMax) return fail(413, "the request is too large");
  last_ = host_.call(request);
  return result_of(import);
}

int64_t HostImports::result_of(const HostImport& import) {
  const bool is_many = import.name == "request_many";
  if (is_many && last_.code == 408) last_ = {};
  else if (last_.code != 200) return -int64_t{last_.code};
  else if (is_many && (!last_.payload.empty() || !last_.more.empty())) {
    prepend_record(last_.more, last_.payload);
  }
  switch (import.gives) {
    case 'P': return static_cast<int64_t>(last_.payload.size());
    case 'L': return count_records(last_.more);
    case 'H': return parse_int(header_of(last_.headers, "Handle")).value_or(-500);
    case 'S': {
      const auto facts = json::parse(last_.more);
      return facts ? facts->get_int("status") : 0;
    }
    default: return 0;
  }
}

std::string_view HostImports::part(uint64_t number) const {
  switch (number) {
    case kPayload: return last_.payload;
    case kHeaders: return last_.headers;
    case kList: return last_.more;
    case kError: return last_.error;
    default: return {};
  }
}

int64_t HostImports::look(const HostImport& import, WasiMemory memory, Words words) const {
  if (import.method == "revision") {
    return parse_int(header_of(last_.headers, "Revision")).value_or(0);
  }
  const std::string_view bytes = part(words[0]);
  if (import.method == "size") return static_cast<int64_t>(bytes.size());
  const uint64_t offset = words[1];
  const uint64_t room = words[3];
  if (!memory.holds(words[2], room)) return -400;
  if (offset >= bytes.size()) return 0;
  const std::string_view piece = bytes.substr(static_cast<size_t>(offset), static_cast<size_t>(room));
  std::copy(piece.begin(), piece.end(), memory.at(words[2], piece.size()).begin());
  return static_cast<int64_t>(piece.size());
}

}  // namespace brokkr::runtime
