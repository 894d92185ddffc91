#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "workload/host_services/http_client.h"

// One request on the HTTP client's thread, through its redirects. Only http_*.cc includes this.
namespace brokkr::workload {

// Where a host and port are to be found instead of by DNS.
struct ResolveEntry {
  std::string host;
  uint16_t port = 0;
  NetAddress address;
  uint16_t to_port = 0;
};
Result<ResolveEntry> parse_resolve_entry(std::string_view text);

struct TransferSettings {
  std::vector<ResolveEntry> resolve;
  std::string ca_file;
  uint64_t response_bytes_max = 0;
};

// Confined to the client's thread.
class Transfer {
 public:
  Transfer(uint64_t number, HttpRequest request, MonotonicTime deadline, const TransferSettings&);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  uint64_t number() const { return number_; }
  CURL* easy() const { return easy_; }
  HttpResponse& response() { return response_; }

  // Sets up the next hop; false when the request has ended in failure.
  bool prepare(MonotonicTime now);
  // What to do after a hop: go on with `prepare`, or the response is there.
  bool finish_hop(CURLcode result);

 private:
  bool fail(uint16_t code, std::string text);
  bool open_url();
  bool redirect(std::string_view location);
  void set_options(MonotonicTime now);
  void set_body();
  void set_headers();
  bool is_allowed(const NetAddress& address, uint16_t port) const;
  HttpResponse failure_of(CURLcode result) const;
  const ResolveEntry* find_resolve() const;
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static curl_socket_t on_open_socket(void* self, curlsocktype, curl_sockaddr* address);
  static int on_before_request(void* self, char* remote, char* local, int remote_port, int);

  const uint64_t number_;
  HttpRequest request_;
  const MonotonicTime deadline_;
  const TransferSettings& settings_;
  CURL* easy_;
  CURLU* url_ = nullptr;
  curl_slist* header_list_ = nullptr;
  curl_slist* connect_to_ = nullptr;
  std::string scheme_;
  std::string host_;
  uint16_t port_ = 0;
  int hops_ = 0;
  bool is_denied_ = false;
  bool is_too_large_ = false;
  size_t header_bytes_ = 0;
  char error_[CURL_ERROR_SIZE] = {};
  HttpResponse response_;
};

}  // namespace brokkr::workload
