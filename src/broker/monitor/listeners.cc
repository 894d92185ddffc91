#include "broker/monitor/listeners.h"

#include "base/json.h"
#include "config/options.h"

namespace brokkr::broker {
namespace {

constexpr double kDefaultTimeout = 2;  // seconds

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

void write_texts(json::Writer& out, std::string_view name, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  out.key(name).begin_array();
  for (const std::string& text : texts)
    out.string(text);
  out.end_array();
}

// "nats-leaf://user:secret@host:7422/x" -> "host:7422".
std::string host_of(const std::string& url) {
  const size_t scheme = url.find("://");
  std::string rest = scheme == std::string::npos ? url : url.substr(scheme + 3);
  rest = rest.substr(0, rest.find('/'));
  const size_t at = rest.rfind('@');
  return at == std::string::npos ? rest : rest.substr(at + 1);
}

void write_remote(json::Writer& out, const config::LeafRemote& remote) {
  out.begin_object();
  out.field("local_account", remote.account.empty() ? "$G" : remote.account);
  out.field("tls_timeout", remote.tls ? seconds(remote.tls->timeout) : kDefaultTimeout);
  std::vector<std::string> hosts;
  for (const std::string& url : remote.urls) hosts.push_back(host_of(url));
  write_texts(out, "urls", hosts);
  if (!remote.deny_exports.empty() || !remote.deny_imports.empty()) {
    out.key("deny").begin_object();
    write_texts(out, "exports", remote.deny_exports);
    write_texts(out, "imports", remote.deny_imports);
    out.end_object();
  }
  out.end_object();
}

}  // namespace

std::string describe_leafnodes(const config::Options& options) {
  const config::LeafnodeOptions& leaf = options.leafnodes;
  json::Writer out;
  out.begin_object();
  if (leaf.port != 0) {
    out.field("host", leaf.host.empty() ? "0.0.0.0" : leaf.host).field("port", leaf.port);
  }
  if (leaf.port != 0) {
    const double tls = leaf.tls ? seconds(leaf.tls->timeout) : kDefaultTimeout;
    const double usual = leaf.tls ? tls + 1 : kDefaultTimeout;
    out.field("auth_timeout", leaf.auth_timeout ? seconds(*leaf.auth_timeout) : usual);
    out.field("tls_timeout", tls);
    if (leaf.tls) out.field("tls_required", true);
    if (leaf.tls && (leaf.tls->verify || leaf.tls->verify_and_map)) out.field("tls_verify", true);
  }
  if (!leaf.remotes.empty()) {
    out.key("remotes").begin_array();
    for (const config::LeafRemote& remote : leaf.remotes) write_remote(out, remote);
    out.end_array();
  }
  out.end_object();
  return out.take();
}

}  // namespace brokkr::broker
