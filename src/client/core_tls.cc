// TLS towards a server: when, with whom, and what becomes of it.
#include <arpa/inet.h>

#include <algorithm>

#include "client/core.h"

namespace brokkr::client {
namespace {

bool is_number(const std::string& host) {
  in6_addr any{};
  return inet_pton(AF_INET, host.c_str(), &any) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

Result<std::shared_ptr<const io::TlsContext>> load_tls(const TlsOptions& options) {
  io::TlsSettings settings;
  settings.ca = options.ca_file;
  settings.insecure = options.insecure;
  if (!options.certificate_file.empty() || !options.key_file.empty()) {
    settings.certificates.push_back({options.certificate_file, options.key_file, false});
  }
  return io::TlsContext::client(settings);
}

}  // namespace

bool Core::wants_tls() const {
  // One URL that asks for it speaks for the servers of its cluster too.
  return options_.tls.is_required ||
         std::any_of(servers_.begin(), servers_.end(),
                     [](const KnownServer& server) { return server.url.is_tls; });
}

// Servers tell each other's addresses as numbers, while certificates hold names: then the name is
// that of a server we were given.
std::string Core::tls_server_name() const {
  if (!options_.tls.server_name.empty()) return options_.tls.server_name;
  const KnownServer& current = servers_[server_];
  if (current.is_discovered && is_number(current.url.address.host)) {
    for (const KnownServer& server : servers_) {
      if (!server.is_discovered && !is_number(server.url.address.host)) {
        return server.url.address.host;
      }
    }
  }
  return current.url.address.host;
}

void Core::start_tls() {
  const std::string name = tls_server_name();
  auto context = load_tls(options_.tls);
  if (!context) return attempt_failed({context.error().code, "tls: " + context.error().text},
                                      Failure::Network);
  if (name.empty() && !options_.tls.insecure) {
    return attempt_failed({Errc::InvalidArgument, "tls: " + server_text() + " has no host name"},
                          Failure::Network);
  }
  // What has come behind INFO in plain text is not from whom we are about to verify.
  ++stream_;
  partial_.clear();
  partial_needed_ = 0;
  auto wrapped = io::wrap_tls_client(loop_, std::move(transport_), std::move(*context), name);
  tls_ = wrapped.get();
  transport_ = std::move(wrapped);
  tls_->start_handshake([this](const Status& done) { on_tls(done); });
}

void Core::on_tls(const Status& done) {
  const Entry entry(*this);
  if (!done) {
    return attempt_failed({done.error().code, server_text() + ": tls: " + done.error().text},
                          Failure::Network);
  }
  transport_->listen(this, true, false);
  if (has_info_) send_connect();
}

}  // namespace brokkr::client
