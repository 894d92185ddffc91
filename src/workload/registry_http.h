#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"

// Downloads for image registries: the adapter of libcurl. Blocking; confined to the thread that calls.
namespace brokkr::workload {

struct DownloadReply {
  long status = 0;
  std::vector<std::string> challenges;  // WWW-Authenticate
  std::string content_digest;           // Docker-Content-Digest
  std::string body;                     // what no sink took
};

class Downloader {
 public:
  struct Options {
    std::string ca_file;        // instead of the system's
    bool is_plain = false;      // http to loopback addresses only, instead of https
    bool allows_private = true; // loopback, private and link-local addresses
    const std::atomic<bool>* is_cancelled = nullptr;
  };
  explicit Downloader(Options options);
  ~Downloader();
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  // Follows redirects; what is in `headers` does not go to another host. The bytes of a 200 go to
  // `sink` when there is one, else at most `body_max` of them into the reply. Fails with Unavailable
  // (worth another try), PermissionDenied (an address, a certificate), LimitExceeded, Closed
  // (cancelled), or what the sink says.
  using Sink = FunctionRef<Status(std::string_view)>;
  Result<DownloadReply> get(const std::string& url, const std::vector<std::string>& headers,
                            uint64_t body_max, const Sink* sink = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace brokkr::workload
