#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sandbox/image.h"

// The JSON documents of images: index, manifest, config, and docker save's list. Pure; every text is
// untrusted.
namespace brokkr::sandbox::image {

constexpr uint64_t kManifestBytesMax = 4U << 20;
constexpr uint64_t kConfigBytesMax = 8U << 20;
constexpr size_t kLayersMax = 256;

struct Descriptor {
  std::string media_type;
  std::string digest;
  uint64_t size = 0;
  std::string architecture;  // of an index's entry; empty when it has no platform
  std::string os;
  std::string reference;       // annotation org.opencontainers.image.ref.name
  std::string reference_full;  // annotation io.containerd.image.name
};

// Either a list of manifests or one manifest.
struct Document {
  bool is_index = false;
  std::vector<Descriptor> manifests;
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
};

struct ConfigDocument {
  ImageConfig config;
  std::vector<std::string> diff_ids;  // bottom first
};

// One image of docker save's manifest.json; the names are paths in the archive.
struct SavedImage {
  std::string config;
  std::vector<std::string> tags;
  std::vector<std::string> layers;
};

// "sha256:" and 64 lower-case hexadecimal digits.
bool is_digest(std::string_view);
// Its hexadecimal part.
std::string hex_of(std::string_view digest);
std::string digest_of(std::string_view bytes);

// Fail with Corrupt, or Unsupported for a kind this does not read.
Result<Document> parse_document(std::string_view json);
Result<ConfigDocument> parse_config(std::string_view json);
Result<std::vector<SavedImage>> parse_saved(std::string_view json);

// This machine, as Go calls it.
std::string machine_architecture();
// The entry for this machine. Fails with Unsupported, naming what there is.
Result<Descriptor> choose_platform(const std::vector<Descriptor>&);
// The chain id of each layer, bottom first.
std::vector<std::string> chain_ids(const std::vector<std::string>& diff_ids);
std::string make_manifest(const Descriptor& config, const std::vector<Descriptor>& layers);

}  // namespace brokkr::sandbox::image
