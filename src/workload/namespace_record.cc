#include "workload/namespace_record.h"

#include <algorithm>

#include "subject/subject.h"
#include "workload/egress.h"
#include "workload/node_grants.h"

namespace brokkr::workload {
namespace {

constexpr size_t kRecordNameMax = 255;

bool is_record_name(const std::string& name) {
  return !name.empty() && name.size() <= kRecordNameMax && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

bool is_record_subject(const std::string& subject) { return subject::is_valid(subject); }
bool is_record_folder(const std::string& folder) {
  return folder.starts_with('/') && folder.find("/../") == std::string::npos && !folder.ends_with("/..");
}
bool is_record_text(const std::string& text) { return !text.empty(); }

}  // namespace

Status check_namespace_record(const NamespaceRecord& record) {
  const struct {
    const char* name;
    const Words& words;
    bool (*is_good)(const std::string&);
  } lists[] = {
      {"subjects", record.subjects, is_record_subject},
      {"imports", record.imports, is_record_subject},
      {"buckets", record.buckets, is_record_name},
      {"object_buckets", record.object_buckets, is_record_name},
      {"streams", record.streams, is_record_name},
      {"node_files", record.node_files, is_record_folder},
      {"ports", record.ports, [](const std::string& text) { return is_port_range(text); }},
      {"registries", record.registries, is_record_text},
      {"issuers", record.issuers, is_record_text},
  };
  for (const auto& list : lists) {
    for (const std::string& word : list.words) {
      if (!list.is_good(word)) {
        return Error{Errc::InvalidArgument, "\"" + word + "\" in " + list.name + " is not valid"};
      }
    }
  }
  if (auto egress = EgressPolicy::parse(record.egress, false); !egress) return egress.error();
  return {};
}

}  // namespace brokkr::workload
