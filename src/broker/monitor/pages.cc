#include "broker/monitor/pages.h"

#include <algorithm>
#include <thread>

#include "auth/authenticator.h"
#include "broker/server.h"

namespace brokkr::broker {
namespace {

Error too_busy() {
  return {Errc::Unavailable, "the server is too busy or stopping"};
}

}  // namespace

DocumentHead Pages::head() const {
  const auto snapshot = server_.snapshot();
  const Settings& settings = *snapshot->settings;
  return {settings.server_id, settings.server_name, server_.clock().wall_now(),
          server_.start_time(),  settings.system_account, settings.jetstream_api_level > 0,
          settings.jetstream_domain};
}

std::optional<Varz> Pages::gather_varz() {
  auto loops = survey_.loops();
  if (!loops) return std::nullopt;
  const auto snapshot = server_.snapshot();
  Varz varz;
  varz.settings = snapshot->settings;
  server_.fill_info(varz.info);
  varz.auth_required = snapshot->authenticator->is_required();
  if (!snapshot->websocket_addresses.empty()) {
    varz.websocket_port = snapshot->websocket_addresses.front().port;
  }
  varz.start = server_.start_time();
  varz.now = server_.clock().wall_now();
  varz.config_load_time = snapshot->config_load_time;
  varz.cores = std::max(1U, std::thread::hardware_concurrency());
  varz.connections = server_.connection_count();
  varz.loops = std::move(*loops);
  auto jetstream = survey_.jetstream();
  if (!jetstream) return std::nullopt;
  varz.jetstream = std::move(*jetstream);
  const auto leafs = survey_.leafs(false);
  if (!leafs) return std::nullopt;
  varz.leafnodes = leafs->size();
  MonitorFacts& facts = server_.monitor_facts();
  const std::lock_guard lock(facts.mutex);
  varz.http_host = facts.http_host;
  varz.http_port = facts.http_port;
  varz.https_port = facts.https_port;
  varz.http_base_path = facts.base_path;
  varz.process = facts.meter.measure(server_.clock().now());
  varz.http_requests = facts.requests;
  return varz;
}

Result<std::string> Pages::varz() {
  const auto varz = gather_varz();
  if (!varz) return too_busy();
  return render_varz(*varz);
}

Result<std::string> Pages::connz(const ConnzOptions& options) {
  const auto connz = survey_.connz(options, server_.clock().wall_now());
  if (!connz) return too_busy();
  return render_connz(*connz, options);
}

Result<std::string> Pages::subsz(const SubszOptions& options) {
  const auto subsz = survey_.subsz(options, server_.clock().wall_now());
  if (!subsz) return too_busy();
  return render_subsz(*subsz, options);
}

std::optional<std::optional<AccountReport>> Pages::account(std::string_view name) {
  auto accounts = survey_.accounts();
  if (!accounts) return std::nullopt;
  for (AccountReport& each : *accounts) {
    if (each.name == name) return std::optional<AccountReport>(std::move(each));
  }
  return std::optional<AccountReport>();
}

Result<std::string> Pages::accountz(const std::string& account) {
  if (account.empty()) {
    const auto accounts = survey_.accounts();
    if (!accounts) return too_busy();
    return render_accountz(head(), *accounts);
  }
  const auto found = this->account(account);
  if (!found) return too_busy();
  if (!*found) return Error{Errc::InvalidArgument, "Account " + account + " does not exist"};
  return render_account_detail(head(), **found, server_.account_rules(account).get());
}

Result<std::string> Pages::accstatz(const std::vector<std::string>& names, bool unused) {
  auto accounts = survey_.accounts();
  if (!accounts) return too_busy();
  if (!names.empty()) {
    std::erase_if(*accounts, [&](const AccountReport& each) {
      return std::find(names.begin(), names.end(), each.name) == names.end();
    });
  }
  return render_accstatz(head(), *accounts, unused);
}

Result<std::string> Pages::leafz(const LeafzOptions& options) {
  auto leafs = survey_.leafs(options.subscriptions);
  if (!leafs) return too_busy();
  if (!options.account.empty()) {
    std::erase_if(*leafs, [&](const LeafReport& leaf) { return leaf.account != options.account; });
  }
  return render_leafz(head(), *leafs, options);
}

Result<std::string> Pages::jsz(const JszOptions& options) {
  auto answer = survey_.jsz(options);
  if (!answer) return too_busy();
  return *answer ? std::move(**answer) : render_jsz(head());
}

Result<Healthz> Pages::healthz(const HealthzOptions& options) {
  const bool is_ready = !server_.is_lame_duck() && !server_.snapshot()->addresses.empty();
  Healthz health = render_healthz(options, is_ready);
  if (health.status != 200 || options.skips_assets) return health;
  const auto problem = survey_.jetstream_health(options);
  if (!problem) return too_busy();
  if (!problem->kind.empty()) health = render_healthz(options, *problem);
  return health;
}

std::string compact_json(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool is_quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_quoted) {
      out.push_back(c);
      if (c == '\\' && i + 1 < text.size()) out.push_back(text[++i]);
      if (c == '"') is_quoted = false;
      continue;
    }
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') continue;
    if (c == '"') is_quoted = true;
    out.push_back(c);
  }
  return out;
}

}  // namespace brokkr::broker
