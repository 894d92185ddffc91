#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/callback.h"
#include "base/clock.h"
#include "base/result.h"
#include "sandbox/image.h"
#include "workload/image_reference.h"

// Pulling images from registries (OCI distribution spec). Blocking; for a worker thread.
namespace brokkr::workload {

struct RegistryOptions {
  std::string ca_file;           // instead of the system's
  // Docker's config.json with "auths"; empty or not there: none.
  std::string credentials_file;
  // Registries at loopback addresses are asked by plain http.
  bool allows_plain_loopback = false;
  // Registries (host[:port]) that may be at private or loopback addresses; "*" all.
  std::vector<std::string> private_hosts;
  const std::atomic<bool>* is_cancelled = nullptr;
  int attempts = 3;  // for what may pass: no connection, cut, 429, 5xx
};

// A node's settings for registries, the file registries.json of its data folder; without one the defaults:
//   {"ca_file": "…", "credentials_file": "…", "private_hosts": ["registry.lan:5000"],
//    "plain_loopback": false, "local_paths": true, "images_unused": "168h", "images_bytes": 21474836480}
// `local_paths` says whether images may be files of the node. Images no workload uses are removed when they
// were not used for so long, the oldest also when all take more than so many bytes. Fails with Syntax.
struct RegistrySettings {
  RegistryOptions options;
  bool allows_local_paths = true;
  Duration images_unused_max = std::chrono::hours(7 * 24);
  uint64_t images_bytes_max = 20ULL << 30;
};
Result<RegistrySettings> read_registry_settings(const std::string& path);

// Brings what is missing of the image into the store; returns the manifest's digest. `on_blob` tells of
// each blob before it is fetched. Fails with NotFound, PermissionDenied (the registry wants other
// credentials), Corrupt, Unsupported, LimitExceeded, Unavailable, Closed (cancelled).
Result<std::string> pull_image(sandbox::ImageStore& store, const RegistryReference& from,
                               const RegistryOptions& options,
                               FunctionRef<void(const std::string& digest, uint64_t size)> on_blob);

// What of a WWW-Authenticate header matters. Pure.
struct AuthChallenge {
  std::string scheme;  // lower case
  std::string realm;
  std::string service;
  std::string scope;
};
AuthChallenge parse_challenge(std::string_view header);
// "user:password" for a registry from the text of a config.json; empty when there is none. Pure.
std::string find_credentials(std::string_view config_json, std::string_view registry);

}  // namespace brokkr::workload
