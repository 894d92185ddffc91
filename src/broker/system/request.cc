#include "broker/system/request.h"

#include <algorithm>

#include "base/bytes.h"

namespace brokkr::broker {
namespace {

std::string_view kind_name(const json::Value& value) {
  using Kind = json::Value::Kind;
  switch (value.kind()) {
    case Kind::Null: return "null";
    case Kind::Bool: return "bool";
    case Kind::Int:
    case Kind::Uint:
    case Kind::Double: return "number";
    case Kind::String: return "string";
    case Kind::Array: return "array";
    case Kind::Object: return "object";
  }
  return "value";
}

bool is_same(std::string_view wanted, std::string_view own, bool exact) {
  if (wanted.empty()) return true;
  return exact ? wanted == own : own.find(wanted) != std::string_view::npos;
}

}  // namespace

OptionReader::OptionReader(std::string_view body) {
  if (body.empty()) return;
  auto parsed = json::parse(body);
  if (!parsed) {
    error_ = parsed.error().text;
  } else if (!parsed->is_object() && !parsed->is_null()) {
    error_ = "json: cannot unmarshal " + std::string(kind_name(*parsed)) +
             " into Go value of type server options";
  } else {
    object_ = std::move(*parsed);
  }
}

// As Go: the exact name first, then whatever differs only in case.
const json::Value* OptionReader::find(std::string_view name) const {
  if (const json::Value* exact = object_.find(name)) return exact->is_null() ? nullptr : exact;
  for (const auto& [key, value] : object_.members()) {
    if (equals_ignore_case(key, name) && !value.is_null()) return &value;
  }
  return nullptr;
}

void OptionReader::fail(std::string_view got, std::string_view name, std::string_view wanted) {
  if (!error_.empty()) return;
  error_ = "json: cannot unmarshal ";
  error_.append(got).append(" into Go struct field .").append(name);
  error_.append(" of type ").append(wanted);
}

bool OptionReader::boolean(std::string_view name) {
  const json::Value* value = find(name);
  if (value == nullptr) return false;
  if (!value->is_bool()) fail(kind_name(*value), name, "bool");
  return value->as_bool().value_or(false);
}

int64_t OptionReader::integer(std::string_view name) {
  const json::Value* value = find(name);
  if (value == nullptr) return 0;
  const auto number = value->as_int();
  if (!number) fail(kind_name(*value), name, "int");
  return number.value_or(0);
}

std::string OptionReader::text(std::string_view name) {
  const json::Value* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_string()) fail(kind_name(*value), name, "string");
  return std::string(value->as_string());
}

std::vector<std::string> OptionReader::texts(std::string_view name) {
  std::vector<std::string> list;
  const json::Value* value = find(name);
  if (value == nullptr) return list;
  if (!value->is_array()) fail(kind_name(*value), name, "[]string");
  for (const json::Value& item : value->items())
    list.emplace_back(item.as_string());
  return list;
}

bool is_meant(OptionReader& reader, const Settings& settings) {
  const bool exact = reader.boolean("exact_match");
  const std::string host = settings.host.empty() ? "0.0.0.0" : settings.host;
  if (!is_same(reader.text("server_name"), settings.server_name, exact)) return false;
  if (!is_same(reader.text("host"), host, exact)) return false;
  if (!is_same(reader.text("cluster"), "", exact)) return false;
  for (const std::string& tag : reader.texts("tags")) {
    const bool has_tag = std::any_of(settings.tags.begin(), settings.tags.end(), [&](const auto& own) {
      return equals_ignore_case(own, tag);
    });
    if (!has_tag) return false;
  }
  const std::string domain = reader.text("domain");
  return domain.empty() || domain == settings.jetstream_domain;
}

Result<ConnzOptions> read_connz_options(OptionReader& reader) {
  ConnzOptions options;
  options.auth = reader.boolean("auth");
  options.subscriptions = reader.boolean("subscriptions");
  options.subscriptions_detail = reader.boolean("subscriptions_detail");
  options.offset = reader.unsigned_integer("offset");
  const int64_t limit = reader.integer("limit");
  if (limit > 0) options.limit = static_cast<uint64_t>(limit);
  options.cid = reader.unsigned_integer("cid");
  options.mqtt_client = reader.text("mqtt_client");
  options.user = reader.text("user");
  options.account = reader.text("acc");
  options.filter_subject = reader.text("filter_subject");
  switch (reader.integer("state")) {
    case 1: options.state = ConnzState::Closed; break;
    case 2: options.state = ConnzState::All; break;
    default: break;
  }
  const auto sort = parse_connz_sort(reader.text("sort"), options.state);
  if (!sort) return sort.error();
  options.sort = *sort;
  if (options.cid != 0) options.limit = 1;
  return options;
}

SubszOptions read_subsz_options(OptionReader& reader) {
  SubszOptions options;
  options.subscriptions = reader.boolean("subscriptions");
  options.offset = reader.unsigned_integer("offset");
  const int64_t limit = reader.integer("limit");
  if (limit > 0) options.limit = static_cast<uint64_t>(limit);
  options.account = reader.text("account");
  options.test = reader.text("test");
  return options;
}

JszOptions read_jsz_options(OptionReader& reader) {
  JszOptions options;
  options.account = reader.text("account");
  options.accounts = reader.boolean("accounts");
  options.streams = reader.boolean("streams");
  options.consumers = reader.boolean("consumer");
  options.config = reader.boolean("config");
  options.offset = reader.unsigned_integer("offset");
  const int64_t limit = reader.integer("limit");
  if (limit > 0) options.limit = static_cast<uint64_t>(limit);
  options.raft = reader.boolean("raft");
  for (const char* name : {"direct_consumer", "leader_only", "stream_leader_only"})
    reader.boolean(name);
  return options;
}

HealthzOptions read_healthz_options(OptionReader& reader) {
  HealthzOptions options;
  for (const char* name : {"js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"}) {
    options.skips_assets |= reader.boolean(name);
  }
  options.account = reader.text("account");
  options.stream = reader.text("stream");
  options.consumer = reader.text("consumer");
  options.details = reader.boolean("details");
  return options;
}

}  // namespace brokkr::broker
