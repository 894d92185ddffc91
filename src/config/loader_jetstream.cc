#include <algorithm>

#include "base/bytes.h"
#include "config/reader.h"

namespace brokkr::config {
namespace {

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A number of bytes, or text with a unit: "64M", "1GB" with K, M, G, T of 1024.
void read_size(Reader& reader, const Value& value, std::string_view name, int64_t& out) {
  if (!value.is_string()) return reader.read(value, name, out, -1, INT64_MAX);
  std::string_view text = value.text;
  if (text.ends_with('B') || text.ends_with('b')) text.remove_suffix(1);
  int shift = 0;
  if (!text.empty()) {
    const size_t unit = std::string_view("KMGT").find(static_cast<char>(text.back() & ~0x20));
    if (unit != std::string_view::npos) {
      shift = 10 * static_cast<int>(unit + 1);
      text.remove_suffix(1);
    }
  }
  const auto number = parse_uint(text);
  if (!number || *number > static_cast<uint64_t>(INT64_MAX) >> shift) {
    return reader.fail_type(value, name, "a number of bytes like 64M or 1GB");
  }
  out = static_cast<int64_t>(*number << shift);
}

// "enabled", "disabled" and the like; absent when it is something else.
std::optional<bool> read_switch(const Value& value) {
  if (value.is_bool()) return value.boolean;
  const std::string word = to_lower(value.text);
  if (word == "enabled" || word == "enable") return true;
  if (word == "disabled" || word == "disable") return false;
  return std::nullopt;
}

void read_sync(Reader& reader, const Value& value, JetStreamOptions& out) {
  if (value.is_string() && equals_ignore_case(value.text, "always")) {
    out.sync_interval = Duration::zero();
    return;
  }
  Duration interval{};
  reader.read_duration(value, "sync_interval", interval);
  if (interval > Duration::zero()) out.sync_interval = interval;
}

void read_cipher(Reader& reader, const Value& value, JetStreamOptions& out) {
  const std::string word = to_lower(value.text);
  if (is_one_of(word, {"chacha", "chachapoly"})) {
    out.cipher = "chacha";
  } else if (is_one_of(word, {"aes", "aesgcm"})) {
    out.cipher = "aes";
  } else if (value.is_string()) {
    reader.fail(value.at, "Unknown cipher type: \"" + value.text + "\"");
  }
}

void read_limits(Reader& reader, const Value& value, JetStreamOptions& out) {
  if (!value.is_map()) return;
  for (const Member* member : in_text_order(value)) {
    const std::string name = to_lower(member->name);
    if (name == "max_ack_pending") {
      reader.read(member->value, name, out.max_ack_pending, INT64_MIN, INT64_MAX);
    } else if (name == "max_request_batch") {
      reader.read(member->value, name, out.max_request_batch, INT64_MIN, INT64_MAX);
    } else if (name == "duplicate_window") {
      reader.read_duration(member->value, name, out.duplicate_window);
    } else {
      reader.add_later("jetstream.limits." + name);
    }
  }
}

// Names and types have been checked.
void read_member(Reader& reader, const std::string& name, const Value& value, Options& options) {
  JetStreamOptions& out = options.jetstream_options;
  if (is_one_of(name, {"enabled", "enable"})) {
    reader.read(value, name, options.jetstream);
  } else if (is_one_of(name, {"store", "store_dir", "storedir"})) {
    read_store_dir(reader, value, options);
  } else if (is_one_of(name, {"max_memory_store", "max_mem_store", "max_mem"})) {
    read_size(reader, value, name, out.max_memory);
  } else if (is_one_of(name, {"max_file_store", "max_file"})) {
    read_size(reader, value, name, out.max_storage);
  } else if (name == "domain") {
    reader.read(value, name, out.domain);
  } else if (name == "strict") {
    reader.read(value, name, out.strict);
  } else if (is_one_of(name, {"sync", "sync_interval"})) {
    read_sync(reader, value, out);
  } else if (is_one_of(name, {"key", "ek", "encryption_key"})) {
    reader.read(value, name, out.key);
  } else if (is_one_of(name, {"prev_key", "prev_ek", "prev_encryption_key"})) {
    reader.read(value, name, out.previous_key);
  } else if (name == "cipher") {
    read_cipher(reader, value, out);
  } else if (name == "request_queue_limit") {
    reader.read(value, name, out.request_queue_limit, 0, INT64_MAX);
  } else if (name == "limits") {
    read_limits(reader, value, out);
  } else {
    reader.add_later("jetstream." + name);
  }
}

bool read_account_limit(Reader& reader, const std::string& name, const Value& value,
                        AccountJetStream& out) {
  if (is_one_of(name, {"max_memory", "max_mem", "mem", "memory"})) {
    read_size(reader, value, name, out.max_memory);
  } else if (is_one_of(name, {"max_store", "max_file", "max_disk", "store", "disk"})) {
    read_size(reader, value, name, out.max_storage);
  } else if (is_one_of(name, {"max_streams", "streams"})) {
    reader.read(value, name, out.max_streams, INT64_MIN, INT64_MAX);
  } else if (is_one_of(name, {"max_consumers", "consumers"})) {
    reader.read(value, name, out.max_consumers, INT64_MIN, INT64_MAX);
  } else if (name == "max_ack_pending") {
    reader.read(value, name, out.max_ack_pending, INT64_MIN, INT64_MAX);
  } else if (is_one_of(name, {"max_bytes_required", "max_stream_bytes", "max_bytes"})) {
    reader.read(value, name, out.max_bytes_required);
  } else if (is_one_of(name, {"mem_max_stream_bytes", "memory_max_stream_bytes"})) {
    read_size(reader, value, name, out.memory_max_stream_bytes);
  } else if (is_one_of(name, {"disk_max_stream_bytes", "store_max_stream_bytes"})) {
    read_size(reader, value, name, out.storage_max_stream_bytes);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void read_store_dir(Reader& reader, const Value& value, Options& options) {
  if (!options.store_dir.empty()) {
    return reader.fail(value.at, "Duplicate 'store_dir' configuration");
  }
  reader.read(value, "store_dir", options.store_dir);
}

void read_jetstream(Reader& reader, const Value& value, Options& options) {
  if (value.is_map()) {
    check_key_names(reader, "jetstream", value);
    options.jetstream = true;
    for (const Member* member : in_text_order(value)) {
      read_member(reader, to_lower(member->name), member->value, options);
    }
    return;
  }
  const auto is_on = read_switch(value);
  if (is_on) {
    options.jetstream = *is_on;
  } else if (value.is_string()) {
    reader.fail_type(value, "jetstream", "'enabled' or 'disabled' for string value");
  } else {
    check_key_names(reader, "jetstream", value);
  }
}

void read_account_jetstream(Reader& reader, const Value& value, Account& account) {
  if (!value.is_map()) {
    const auto is_on = read_switch(value);
    account.jetstream.reset();
    if (is_on.value_or(false)) account.jetstream = AccountJetStream{};
    return;
  }
  AccountJetStream limits;
  for (const Member* member : in_text_order(value)) {
    read_account_limit(reader, to_lower(member->name), member->value, limits);
  }
  account.jetstream = limits;
}

}  // namespace brokkr::config
