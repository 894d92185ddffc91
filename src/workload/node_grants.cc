#include "workload/node_grants.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/bytes.h"
#include "workload/control.h"
#include "workload/image_reference.h"

namespace brokkr::workload {
namespace {

constexpr uint16_t kFirstCommonPort = 1024;

const NamespaceRecord* find_record(std::string_view ns, const std::vector<NamespaceRecord>& all) {
  const auto found = std::find_if(all.begin(), all.end(), [ns](const auto& one) { return one.ns == ns; });
  return found == all.end() ? nullptr : &*found;
}

bool is_below(std::string_view path, std::string_view folder) {
  while (folder.size() > 1 && folder.ends_with('/')) folder.remove_suffix(1);
  if (folder == "/") return true;
  return !folder.empty() && path.starts_with(folder) &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

bool is_below_any(std::string_view path, const Words& folders) {
  return std::any_of(folders.begin(), folders.end(),
                     [path](const std::string& folder) { return is_below(path, folder); });
}

// The same with every folder as it is without links.
bool is_really_below_any(std::string_view path, const Words& folders) {
  return std::any_of(folders.begin(), folders.end(), [path](const std::string& folder) {
    char real[PATH_MAX];
    return realpath(folder.c_str(), real) != nullptr && is_below(path, real);
  });
}

bool read_port_range(std::string_view text, unsigned& first, unsigned& last) {
  const size_t dash = text.find('-');
  const auto read = [](std::string_view digits, unsigned& into) {
    const char* const end = digits.data() + digits.size();
    const auto result = std::from_chars(digits.data(), end, into);
    return result.ec == std::errc() && result.ptr == end && into > 0 && into <= 65535;
  };
  if (text == "*") {
    first = 1;
    last = 65535;
    return true;
  }
  if (!read(text.substr(0, dash), first)) return false;
  last = first;
  return dash == std::string_view::npos || (read(text.substr(dash + 1), last) && last >= first);
}

bool is_port_in(uint16_t port, const Words& ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [port](const std::string& range) {
    unsigned first = 0;
    unsigned last = 0;
    return read_port_range(range, first, last) && port >= first && port <= last;
  });
}

}  // namespace

NodeFolders node_folders_of(std::string_view ns, const Words& of_node,
                            const std::vector<NamespaceRecord>& namespaces) {
  NodeFolders folders{of_node, {}};
  const NamespaceRecord* const record = find_record(ns, namespaces);
  if (record != nullptr) folders.of_namespace = record->node_files;
  if (folders.of_namespace.empty() && ns == kDefaultNamespace) folders.of_namespace = {"/"};
  return folders;
}

std::optional<std::string> node_path_of(std::string_view uri) {
  constexpr std::string_view kFile = "file://";
  if (uri.starts_with(kFile)) return std::string(uri.substr(kFile.size()));
  if (!is_image_uri(uri)) return std::nullopt;
  const auto image = parse_image_uri(uri);
  const bool is_local = image && (image->kind == ImageUri::Kind::Folder || image->kind == ImageUri::Kind::Archive);
  return is_local ? std::optional(image->path) : std::nullopt;
}

Status check_node_path(const std::string& path, const NodeFolders& folders) {
  if (!path.starts_with('/') || path.find('\0') != std::string::npos) {
    return Error{Errc::InvalidArgument, "\"" + path + "\" is no absolute path"};
  }
  for (const std::string_view part : split(path, '/')) {
    if (part == "..") return Error{Errc::InvalidArgument, "\"" + path + "\" has \"..\" in it"};
  }
  const auto refuse = [&path](const char* why) {
    return Error{Errc::PermissionDenied, path + " is a file of the node: " + why};
  };
  if (folders.of_node.empty()) return refuse("it was started without --node-files");
  if (folders.of_namespace.empty()) return refuse("the namespace is granted none (namespace set --node-files)");
  if (!is_below_any(path, folders.of_node)) return refuse("it is not below its --node-files");
  if (!is_below_any(path, folders.of_namespace)) return refuse("it is not below what the namespace is granted");
  return {};
}

Result<NodeFile> open_node_file(const std::string& path, const NodeFolders& folders) {
  if (Status named = check_node_path(path, folders); !named) return named.error();
  NodeFile file;
  // Nothing is done to what a path handle is of, be it a device or a pipe.
  file.fd.reset(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!file.fd) return Error{Errc::NotFound, path + " is not there or cannot be read on the node"};
  char real[PATH_MAX];
  const ssize_t size = readlink(file.again().c_str(), real, sizeof real);
  if (size <= 0 || size == sizeof real) return system_error(path.c_str(), errno);
  const std::string_view place(real, static_cast<size_t>(size));
  if (!is_really_below_any(place, folders.of_node) ||
      !is_really_below_any(place, folders.of_namespace)) {
    return Error{Errc::PermissionDenied, path + " leads to where no deployment may read on the node"};
  }
  struct stat facts {};
  if (fstat(file.fd.get(), &facts) != 0) return system_error(path.c_str(), errno);
  file.is_folder = S_ISDIR(facts.st_mode);
  file.is_public = (facts.st_mode & S_IROTH) != 0;
  if (!file.is_folder && !S_ISREG(facts.st_mode)) {
    return Error{Errc::PermissionDenied, path + " is neither a file nor a folder"};
  }
  return file;
}

bool is_port_range(std::string_view text) {
  unsigned first = 0;
  unsigned last = 0;
  return read_port_range(text, first, last);
}

Status check_published_ports(const std::vector<PublishedPort>& ports, std::string_view ns,
                             const std::vector<NamespaceRecord>& namespaces) {
  const NamespaceRecord* const record = find_record(ns, namespaces);
  for (const PublishedPort& port : ports) {
    if (port.host_port == 0) continue;
    const bool is_listed = record != nullptr && !record->ports.empty();
    const bool may = is_listed ? is_port_in(port.host_port, record->ports)
                               : ns == kDefaultNamespace || port.host_port >= kFirstCommonPort;
    if (may) continue;
    return Error{Errc::PermissionDenied, "port " + std::to_string(port.host_port) +
                                             " of the node: namespace \"" + std::string(ns) +
                                             "\" may not publish there"};
  }
  return {};
}

bool may_read_uploads(std::string_view ns, const std::vector<NamespaceRecord>& namespaces) {
  if (namespaces.empty() || ns == kDefaultNamespace) return true;
  const NamespaceRecord* const record = find_record(ns, namespaces);
  return record != nullptr && std::find(record->object_buckets.begin(), record->object_buckets.end(),
                                        "NEXCLIFILES") != record->object_buckets.end();
}

bool may_use_registry_of_node(std::string_view registry, std::string_view ns,
                              const std::vector<NamespaceRecord>& namespaces) {
  const NamespaceRecord* const record = find_record(ns, namespaces);
  if (record == nullptr || record->registries.empty()) return ns == kDefaultNamespace;
  return std::any_of(record->registries.begin(), record->registries.end(),
                     [registry](const std::string& one) { return one == "*" || one == registry; });
}

}  // namespace brokkr::workload
