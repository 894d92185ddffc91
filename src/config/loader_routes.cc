#include <algorithm>
#include <map>
#include <unordered_set>

#include "base/bytes.h"
#include "config/reader.h"
#include "subject/subject.h"
#include "subject/transform.h"

// What an account gives to others, takes from others, and moves to other subjects.
namespace brokkr::config {
namespace {

// One entry of `exports` before it is known to be a stream or a service.
struct ExportEntry {
  std::string stream;
  std::string service;
  bool is_stream = false;
  bool is_service = false;
  bool has_response = false;
  bool has_trace = false;
  ServiceExport common;
};

void read_response_type(Reader& reader, const Value& value, ServiceExport& out) {
  std::string word;
  reader.read(value, "response_type", word);
  word = to_lower(word);
  if (word == "single" || word == "singleton") {
    out.response_type = ResponseType::Singleton;
  } else if (word == "stream") {
    out.response_type = ResponseType::Streamed;
  } else if (word == "chunk" || word == "chunked") {
    out.response_type = ResponseType::Chunked;
  } else if (value.is_string()) {
    reader.fail(value.at, "Unknown response type: \"" + word + "\"");
  }
}

void read_latency(Reader& reader, const Value& value, ServiceExport& out) {
  ServiceLatency latency;
  if (value.is_string()) {
    latency.subject = value.text;
  } else if (value.is_map()) {
    reader.for_each_member(value, "latency", [&](const std::string& key, const Member& member) {
      if (key == "subject") {
        reader.read(member.value, key, latency.subject);
      } else if (key == "sampling") {
        const bool is_by_header = member.value.is_string() &&
                                  equals_ignore_case(trim(member.value.text), "headers");
        if (is_by_header) {
          latency.sampling = 0;
        } else {
          read_percentage(reader, member.value, key, 1, latency.sampling);
        }
      } else {
        return false;
      }
      return true;
    });
    if (latency.subject.empty()) {
      reader.fail(value.at, "Latency subject required, but missing");
    }
  } else {
    return reader.fail_type(value, "latency", "a subject or a map");
  }
  out.latency = std::move(latency);
}

bool read_export_field(Reader& reader, const std::string& name, const Value& value,
                       ExportEntry& entry) {
  ServiceExport& common = entry.common;
  if (name == "stream") {
    entry.is_stream = true;
    reader.read(value, name, common.subject);
  } else if (name == "service") {
    entry.is_service = true;
    reader.read(value, name, common.subject);
  } else if (name == "response" || name == "response_type") {
    if (entry.has_response) reader.fail(value.at, "Duplicate response type definition");
    entry.has_response = true;
    read_response_type(reader, value, common);
  } else if (name == "threshold" || name == "response_threshold" || name == "response_max_time" ||
             name == "response_time") {
    entry.has_response = true;
    reader.read_duration_text(value, name, common.response_threshold);
  } else if (name == "accounts") {
    reader.read_list(value, name, common.accounts);
  } else if (name == "latency") {
    read_latency(reader, value, common);
  } else if (name == "account_token_position") {
    int64_t position = 0;
    reader.read(value, name, position, 0, 255);
    common.account_token_position = static_cast<uint32_t>(position);
  } else if (name == "allow_trace") {
    entry.has_trace = true;
    reader.read(value, name, common.allow_trace);
  } else {
    return false;
  }
  return true;
}

void add_export(Reader& reader, Position at, ExportEntry&& entry, Account& account) {
  ServiceExport& common = entry.common;
  if (entry.is_stream && entry.is_service) {
    return reader.fail(at, "Detected stream \"" + common.subject + "\" but already saw a service");
  }
  if (!entry.is_stream && !entry.is_service) {
    return reader.fail(at, "Export needs a stream or a service");
  }
  if (entry.is_service) {
    account.service_exports.push_back(std::move(common));
    return;
  }
  if (entry.has_response) reader.fail(at, "Detected response directive on non-service");
  if (common.latency) reader.fail(at, "Detected latency directive on non-service");
  if (entry.has_trace) reader.fail(at, "Detected allow_trace directive on non-service");
  account.stream_exports.push_back({std::move(common.subject), std::move(common.accounts),
                                    common.account_token_position});
}

// One entry of `imports` before it is known to be a stream or a service.
struct ImportEntry {
  bool is_stream = false;
  bool is_service = false;
  bool has_trace = false;
  StreamImport common;
  bool share = false;
};

void read_import_source(Reader& reader, const std::string& name, const Value& value,
                        StreamImport& out) {
  out.account.clear();
  out.subject.clear();
  reader.for_each_member(value, name, [&](const std::string& key, const Member& member) {
    if (key != "account" && key != "subject") return false;
    reader.read(member.value, key, key == "account" ? out.account : out.subject);
    return true;
  });
  if (value.is_map() && (out.account.empty() || out.subject.empty())) {
    reader.fail(value.at, "Expect an account name and a subject");
  }
}

bool read_import_field(Reader& reader, const std::string& name, const Value& value,
                       ImportEntry& entry) {
  if (name == "stream" || name == "service") {
    (name == "stream" ? entry.is_stream : entry.is_service) = true;
    read_import_source(reader, name, value, entry.common);
  } else if (name == "prefix") {
    reader.read(value, name, entry.common.prefix);
  } else if (name == "to") {
    reader.read(value, name, entry.common.to);
  } else if (name == "share") {
    reader.read(value, name, entry.share);
  } else if (name == "allow_trace") {
    entry.has_trace = true;
    reader.read(value, name, entry.common.allow_trace);
  } else {
    return false;
  }
  return true;
}

void add_import(Reader& reader, Position at, ImportEntry&& entry, Account& account) {
  StreamImport& common = entry.common;
  if (entry.is_stream && entry.is_service) {
    return reader.fail(at, "Detected stream but already saw a service");
  }
  if (!entry.is_stream && !entry.is_service) {
    return reader.fail(at, "Import needs a stream or a service");
  }
  if (entry.is_stream) {
    if (!common.prefix.empty() && !common.to.empty()) {
      reader.fail(at, "Stream import can not have a 'prefix' and a 'to' property");
    }
    account.stream_imports.push_back(std::move(common));
    return;
  }
  if (entry.has_trace) reader.fail(at, "Detected allow_trace directive on a non-stream");
  if (common.to.empty()) common.to = common.subject;
  for (const ServiceImport& other : account.service_imports) {
    if (other.to != common.to || other.account != common.account) continue;
    return reader.fail(at, "Duplicate service import subject \"" + common.to +
                               "\", previously used in import for account \"" + other.account +
                               "\", subject \"" + other.subject + "\"");
  }
  account.service_imports.push_back({std::move(common.account), std::move(common.subject),
                                     std::move(common.to), entry.share});
}

std::optional<SubjectMapping::Destination> read_destination(Reader& reader, const Value& value) {
  SubjectMapping::Destination destination;
  bool has_weight = false;
  if (!value.is_map()) {
    reader.fail(value.at, "Expected an entry for the mapping destination");
    return std::nullopt;
  }
  reader.for_each_member(value, "mappings", [&](const std::string& key, const Member& member) {
    if (key == "dest" || key == "destination") {
      reader.read(member.value, key, destination.subject);
    } else if (key == "weight") {
      has_weight = true;
      read_percentage(reader, member.value, key, 0, destination.weight);
    } else if (key == "cluster") {
      reader.read(member.value, key, destination.cluster);
    } else {
      return false;
    }
    return true;
  });
  if (!has_weight) {
    reader.fail(value.at,
                "Missing weight for mapping destination \"" + destination.subject + "\"");
  }
  return destination;
}

// What is wrong with the destinations together; empty when nothing is.
std::string mapping_fault(const SubjectMapping& mapping) {
  std::unordered_set<std::string_view> seen;
  std::map<std::string_view, int> weights;
  for (const SubjectMapping::Destination& to : mapping.destinations) {
    if (!seen.insert(to.subject).second) return "duplicate entry for \"" + to.subject + "\"";
    if ((weights[to.cluster] += to.weight) > 100) return "total weight needs to be <= 100";
    const auto transform = subject::Transform::make(mapping.source, to.subject);
    if (!transform) return transform.error().text;
  }
  return {};
}

void read_mapping(Reader& reader, const Member& member, std::vector<SubjectMapping>& out) {
  SubjectMapping mapping;
  mapping.source = member.name;
  const Value& value = member.value;
  if (!subject::is_valid(mapping.source)) {
    return reader.fail(value.at, "Subject \"" + mapping.source + "\" is not a valid subject");
  }
  if (value.is_string()) {
    mapping.destinations.push_back({value.text, 100, {}});
  } else if (value.is_array()) {
    for (const Value& item : value.items) {
      auto destination = read_destination(reader, item);
      if (destination) mapping.destinations.push_back(std::move(*destination));
    }
  } else if (auto destination = read_destination(reader, value)) {
    mapping.destinations.push_back(std::move(*destination));
  }
  const std::string fault = mapping_fault(mapping);
  if (!fault.empty()) {
    return reader.fail(value.at,
                       "Error adding mapping for \"" + mapping.source + "\" : " + fault);
  }
  out.push_back(std::move(mapping));
}

}  // namespace

void read_exports(Reader& reader, const Value& value, Account& account) {
  if (!value.is_array()) return reader.fail_type(value, "exports", "a list of maps");
  account.stream_exports.clear();
  account.service_exports.clear();
  for (const Value& item : value.items) {
    ExportEntry entry;
    reader.for_each_member(item, "exports", [&](const std::string& name, const Member& member) {
      return read_export_field(reader, name, member.value, entry);
    });
    if (item.is_map()) add_export(reader, item.at, std::move(entry), account);
  }
}

void read_imports(Reader& reader, const Value& value, Account& account) {
  if (!value.is_array()) return reader.fail_type(value, "imports", "a list of maps");
  account.stream_imports.clear();
  account.service_imports.clear();
  for (const Value& item : value.items) {
    ImportEntry entry;
    reader.for_each_member(item, "imports", [&](const std::string& name, const Member& member) {
      return read_import_field(reader, name, member.value, entry);
    });
    if (item.is_map()) add_import(reader, item.at, std::move(entry), account);
  }
}

void read_mappings(Reader& reader, const Value& value, std::vector<SubjectMapping>& out) {
  out.clear();
  reader.for_each_member(value, "mappings", [&](const std::string&, const Member& member) {
    read_mapping(reader, member, out);
    return true;
  });
}

void read_percentage(Reader& reader, const Value& value, std::string_view name, int min,
                     int& out) {
  std::optional<int64_t> number;
  if (value.is_int()) {
    number = value.integer;
  } else if (value.is_string()) {
    std::string_view text = value.text;
    if (text.ends_with('%')) text.remove_suffix(1);
    number = parse_int(text);
  }
  if (!number) return reader.fail_type(value, name, "a percentage like 50 or \"50%\"");
  if (*number < min || *number > 100) {
    return reader.fail(value.at, std::string(name) + ": " + std::to_string(*number) +
                                     " is not between " + std::to_string(min) + " and 100");
  }
  out = static_cast<int>(*number);
}

}  // namespace brokkr::config
