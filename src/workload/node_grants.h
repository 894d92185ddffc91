#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sandbox/image_files.h"
#include "workload/desired.h"

// What of the node itself a deployment may name: its files, its ports, its way into registries. Namespace
// "default" may do what the node's operator allows, others what their record grants of that.
namespace brokkr::workload {

// Folders below which a file must be, of both lists. "/" is everything; an empty list nothing.
struct NodeFolders {
  Words of_node;
  Words of_namespace;
};
NodeFolders node_folders_of(std::string_view ns, const Words& of_node,
                            const std::vector<NamespaceRecord>& namespaces);

// The file of the node a run request's `uri` names; empty when it names something else. Pure.
std::optional<std::string> node_path_of(std::string_view uri);

// By its path alone: absolute, without "..", below the folders. Pure. Fails with PermissionDenied or
// InvalidArgument.
Status check_node_path(const std::string& path, const NodeFolders& folders);

// A file or folder that is really there: links may lead anywhere below the folders and not out. What is
// opened stays the same whatever happens to the path.
struct NodeFile {
  sandbox::image::OwnedFd fd;  // O_PATH
  bool is_folder = false;
  bool is_public = false;      // everybody on the node may read it
  // Opens the same again, for reading.
  std::string again() const { return "/proc/self/fd/" + std::to_string(fd.get()); }
};
// Blocks as a look at a disk does. Fails as check_node_path, and with NotFound.
Result<NodeFile> open_node_file(const std::string& path, const NodeFolders& folders);

// "80", "8000-8100", "*": whether it is a way to say which ports of nodes a namespace may publish.
bool is_port_range(std::string_view text);
// Ports below 1024 are for "default" and whom their record grants them; a record with `ports` allows no
// others. Any free port (0) is everybody's. Pure. Fails with PermissionDenied.
Status check_published_ports(const std::vector<PublishedPort>& ports, std::string_view ns,
                             const std::vector<NamespaceRecord>& namespaces);

// Whether the node shows its credentials to a registry (host[:port]), and asks it at a private address,
// for an image of the namespace. Pure.
bool may_use_registry_of_node(std::string_view registry, std::string_view ns,
                              const std::vector<NamespaceRecord>& namespaces);

// Whether the bucket in which clients of old leave what they deploy may be read: it is everybody's, so once
// there are records only "default" and whose record lists it.
bool may_read_uploads(std::string_view ns, const std::vector<NamespaceRecord>& namespaces);

}  // namespace brokkr::workload
