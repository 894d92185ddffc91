#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

// Where an image is, as `uri` of a run request says it. Values; parsing is pure.
namespace brokkr::workload {

// "REGISTRY/REPO[:tag][@digest]", with Docker's short forms: "busybox" is docker.io/library/busybox:latest.
struct RegistryReference {
  std::string registry;    // host[:port], as it is written
  std::string repository;  // "library/busybox"
  std::string tag;         // "latest" when neither tag nor digest is given
  std::string digest;      // "sha256:…"
  std::string host() const;  // whom to ask: registry-1.docker.io for docker.io
  std::string text() const;
};
// Fails with InvalidArgument.
Result<RegistryReference> parse_registry_reference(std::string_view);

struct ImageUri {
  enum class Kind : uint8_t { Folder, Archive, Stored, Registry };
  Kind kind = Kind::Folder;
  std::string path;       // Folder, Archive
  std::string name;       // Stored
  std::string reference;  // tag of any of the three; Stored: "latest" when none is given
  RegistryReference registry;
};
// oci:FOLDER[:tag], oci-archive:FILE[:tag], docker-archive:FILE[:tag], image:NAME[:tag],
// docker://REGISTRY/REPO[:tag][@digest]. Fails with InvalidArgument.
Result<ImageUri> parse_image_uri(std::string_view);
bool is_image_uri(std::string_view);

// Names and tags of stored images: letters, digits and . _ - within, names also / between parts.
bool is_image_name(std::string_view);
bool is_image_tag(std::string_view);

}  // namespace brokkr::workload
