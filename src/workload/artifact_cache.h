#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace brokkr::workload {

// Artifacts by their SHA-256, one file each, in a folder of the node: "<folder>/<hex>". Written
// through a temporary file and a rename, checked when read. When it is full, what was used longest
// ago goes first. Loop-confined.
class ArtifactCache {
 public:
  // Makes the folder. `bytes_max` bounds the sum of all files. Fails with System.
  static Result<std::unique_ptr<ArtifactCache>> open(const std::string& folder, uint64_t bytes_max);

  // Keeps `bytes` and returns their digest; one that is there already is only touched. Fails with
  // LimitExceeded when one artifact is larger than the whole cache, or System.
  Result<std::string> put(std::string_view bytes);
  // Fails with NotFound, or Corrupt (and removes the file) when the bytes do not match.
  Result<std::string> get(std::string_view sha256) const;
  bool has(std::string_view sha256) const;
  // Where an artifact of that digest lies.
  std::string file_of(std::string_view sha256) const { return path_of(sha256); }

 private:
  ArtifactCache(std::string folder, uint64_t bytes_max)
      : folder_(std::move(folder)), bytes_max_(bytes_max) {}
  std::string path_of(std::string_view sha256) const;
  void make_room(uint64_t bytes);

  const std::string folder_;
  const uint64_t bytes_max_;
};

}  // namespace brokkr::workload
