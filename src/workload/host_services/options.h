#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace brokkr::workload {

// What a node gives the functions it runs. Values.
struct HostServiceOptions {
  // Buckets that do not exist are made with these limits on first use. Servers set so much storage
  // aside for each; where one has less to give, the bucket gets an eighth of it, and so on.
  uint64_t key_value_bytes_max = 256ULL << 20;
  uint64_t object_store_bytes_max = 2ULL << 30;
  uint32_t bucket_replicas = 1;

  uint64_t http_response_bytes_max = 8ULL << 20;
  std::string http_ca_file;  // PEM; empty: the authorities of the machine, or SSL_CERT_FILE
  // "HOST:PORT:ADDRESS[:PORT]": where that host and port of a URL is to be found instead of by DNS.
  // Naming an address here lets functions reach it by that name.
  std::vector<std::string> resolve;
};

}  // namespace brokkr::workload
