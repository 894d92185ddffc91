#include "broker/leaf/leafs.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "auth/account_rules.h"
#include "auth/authenticator.h"
#include "auth/permissions.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/json.h"
#include "broker/error_text.h"
#include "broker/identity/callouts.h"
#include "broker/identity/account_loader.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/system/system_services.h"
#include "broker/tls_rules.h"
#include "http/websocket.h"

namespace brokkr::broker {
namespace {

// "2.10.3-beta" -> {2, 10, 3}; what is missing or no number is 0.
std::array<uint64_t, 3> version_parts(std::string_view text) {
  if (!text.empty() && text[0] == 'v') text.remove_prefix(1);
  text = text.substr(0, text.find_first_of("-+"));
  std::array<uint64_t, 3> parts{};
  size_t i = 0;
  for (const std::string_view part : split(text, '.')) {
    if (i < parts.size()) parts[i++] = parse_uint(part).value_or(0);
  }
  return parts;
}

bool is_any_address(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::";
}

// Where others reach a server that listens on every address; on a machine by itself, its own.
std::vector<std::string> machine_addresses() {
  std::vector<std::string> out;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {"127.0.0.1"};
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    const bool is_usable = each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET &&
                           (each->ifa_flags & IFF_UP) != 0 && (each->ifa_flags & IFF_LOOPBACK) == 0;
    char text[NI_MAXHOST];
    if (is_usable && getnameinfo(each->ifa_addr, sizeof(sockaddr_in), text, sizeof text, nullptr, 0,
                                 NI_NUMERICHOST) == 0) {
      out.emplace_back(text);
    }
  }
  freeifaddrs(all);
  if (out.empty()) out.emplace_back("127.0.0.1");
  return out;
}

bool is_version_at_least(std::string_view version, std::string_view least) {
  return version_parts(version) >= version_parts(least);
}

// Accepted links that have not said who they are yet.
constexpr size_t kStrangersMax = 1024;

}  // namespace

Leafs::Leafs(Server& server)
    : server_(server), shard_(server.main_shard()), random_(secure_seed()) {
  loop().add_hook(io::Phase::Send, *this);
}

Leafs::~Leafs() {
  server_.set_leaf_acceptor(nullptr);
  listener_.reset();
  dialers_.clear();
  close_all("Server Shutdown");
  loop().remove_hook(*this);
}

io::Loop& Leafs::loop() { return shard_.loop(); }
Log& Leafs::log() { return shard_.log(); }
const Settings& Leafs::settings() const { return shard_.settings(); }

// --- settings --------------------------------------------------------------------------------

Status Leafs::configure(const config::LeafnodeOptions& options) {
  auto dialers = make_dialers(options.remotes);
  if (!dialers) return dialers.error();
  std::shared_ptr<const TlsRules> rules;
  if (options.tls && options.port != 0) {
    auto made = make_tls_rules(*options.tls);
    if (!made) return made.error();
    rules = std::move(*made);
  }
  const bool is_same_listener = options.host == options_.host && options.port == options_.port;
  if (!is_same_listener || (options.port != 0 && listener_ == nullptr)) {
    if (Status listens = listen(options); !listens) return listens;
  }
  options_ = options;
  tls_rules_ = std::move(rules);
  Server::LeafAcceptor acceptor;
  if (options_.port != 0) {
    acceptor = [this](std::unique_ptr<io::Transport> stream, Origin origin) {
      adopt(std::move(stream), std::move(origin));
    };
  }
  server_.set_leaf_acceptor(std::move(acceptor));
  change_remotes(std::move(*dialers), options.remotes);
  // The loops get what else has changed one after the other.
  loop().post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) review_users();
  });
  return {};
}

Status Leafs::listen(const config::LeafnodeOptions& options) {
  if (options.port == 0) {
    listener_.reset();
    return {};
  }
  const uint16_t port = options.port < 0 ? uint16_t{0} : static_cast<uint16_t>(options.port);
  const std::string host = options.host == "0.0.0.0" ? "" : options.host;
  auto listener = io::Listener::open(loop(), {host, port, {}}, [this](int fd) {
    auto transport = io::adopt_socket(loop(), fd);
    if (!transport) return log().error("leafnode connection cannot be used: " + transport.error().text);
    adopt(std::move(*transport), Origin{ConnectionType::Leaf, {}, {}});
  });
  if (!listener) return listener.error();
  listener_ = std::move(*listener);
  log().info("Listening for leafnode connections on " + listener_->address().text());
  reached_at_.clear();
  if (!options.advertise.empty()) {
    reached_at_.push_back(options.advertise);
    return {};
  }
  const std::vector<std::string> hosts =
      is_any_address(options.host) ? machine_addresses() : std::vector{options.host};
  for (const std::string& each : hosts) {
    reached_at_.push_back(io::Address{each, listener_->address().port, {}}.text());
  }
  return {};
}

io::Address Leafs::address() const {
  return listener_ == nullptr ? io::Address{} : listener_->address();
}

uint16_t Leafs::port() const { return address().port; }

const std::shared_ptr<http::WebSocketPool>& Leafs::websocket_pool() {
  if (websocket_pool_ == nullptr) websocket_pool_ = http::make_websocket_pool();
  return websocket_pool_;
}

// For the remotes that are new.
Result<Leafs::Dialers> Leafs::make_dialers(const std::vector<config::LeafRemote>& remotes) {
  Dialers added;
  for (const config::LeafRemote& remote : remotes) {
    const bool is_known = std::any_of(dialers_.begin(), dialers_.end(), [&](const auto& dialer) {
      return dialer->config() == remote;
    });
    if (remote.disabled || is_known) continue;
    auto dialer = LeafDialer::make(*this, remote);
    if (!dialer) return dialer.error();
    added.push_back(std::move(*dialer));
  }
  return added;
}

// Remotes that stay keep their links.
void Leafs::change_remotes(Dialers added, const std::vector<config::LeafRemote>& remotes) {
  std::erase_if(dialers_, [&](const auto& dialer) {
    return std::find(remotes.begin(), remotes.end(), dialer->config()) == remotes.end();
  });
  for (auto& dialer : added) {
    dialers_.push_back(std::move(dialer));
    dialers_.back()->start();
  }
}

// --- links -----------------------------------------------------------------------------------

void Leafs::adopt(std::unique_ptr<io::Transport> transport, Origin origin) {
  const auto strangers = static_cast<size_t>(std::count_if(
      links_.begin(), links_.end(),
      [](const auto& link) { return !link->is_solicited() && !link->was_opened(); }));
  if (strangers >= kStrangersMax || server_.is_lame_duck()) return;  // closes it
  add_link(std::move(transport), std::move(origin), nullptr).start();
}

LeafLink& Leafs::add_link(std::unique_ptr<io::Transport> transport, Origin origin,
                          LeafDialer* dialer) {
  links_.push_back(std::make_unique<LeafLink>(*this, server_.next_client_id(), std::move(transport),
                                              std::move(origin), dialer));
  LeafLink& link = *links_.back();
  std::string text = link.log_name() + " - Leafnode connection created";
  if (dialer != nullptr) text += " for account: " + dialer->account_name();
  log().info(text);
  return link;
}

void Leafs::on_link_opened(LeafLink& link) {
  Account& account = *link.account();
  by_account_[&account].push_back(&link);
  account.set_observer(this);
  ++open_count_;
  if (link.dialer() != nullptr) link.dialer()->on_link_opened();
  if (server_.jetstream() != nullptr) server_.jetstream()->on_leaf_opened(account.name());
  if (!link.is_spoke()) tell_connected(account);
}

// The other servers of a system want to know; here it is told to who listens.
void Leafs::tell_connected(const Account& account) {
  Account& system = shard_.system_account();
  const std::string subject = "$SYS.ACCOUNT." + account.name() + ".LEAFNODE.CONNECT";
  if (!system.has_interest(subject)) return;
  json::Writer out;
  out.begin_object().key("server").begin_object();
  server_.system().identity().write(out);
  out.end_object().field("acc", account.name()).end_object();
  shard_.publish(system, subject, {}, {}, out.text());
}

void Leafs::evict_duplicates(const LeafLink& link) {
  if (link.is_solicited() || link.remote_name().empty() || link.remote_account().empty()) return;
  const auto found = by_account_.find(link.account());
  if (found == by_account_.end()) return;
  for (LeafLink* other : found->second) {
    if (other->is_solicited() || !other->is_open()) continue;
    if (other->remote_name() != link.remote_name() ||
        other->remote_cluster() != link.remote_cluster() ||
        other->remote_account() != link.remote_account()) {
      continue;
    }
    log().warn(link.log_name() + " - Replacing connection from same server");
    other->close_later("Duplicate Remote LeafNode Connection",
                       "Duplicate Remote LeafNode Connection");
  }
}

size_t Leafs::count(const Account& account) const {
  const auto found = by_account_.find(&account);
  return found == by_account_.end() ? 0 : found->second.size();
}

std::string_view Leafs::loop_subject(const Account& account) {
  std::string& subject = loop_subjects_[&account];
  if (subject.empty()) {
    subject = std::string(kLoopSubjectPrefix) + std::string(Nuid(random_).next());
  }
  return subject;
}

bool Leafs::is_system_account(const Account& account) const { return account.name() == settings().system_account; }

// A server that joins others is told from them by its name: what came from it never returns.
std::string Leafs::cluster_name() const {
  if (options_.remotes.empty()) return {};
  const std::string& name = settings().server_name;
  return name.find(' ') == std::string::npos ? name : settings().server_id;
}

protocol::LeafInfo Leafs::make_info() const {
  protocol::LeafInfo info;
  info.proto = kLeafProtocol;
  const Settings& now = settings();
  info.server_id = now.server_id;
  info.server_name = now.server_name;
  info.version = kServerVersion;
  info.host = options_.host.empty() ? "0.0.0.0" : options_.host;
  info.port = port();
  info.headers = now.headers;
  info.max_payload = now.max_payload;
  info.jetstream = now.jetstream_api_level > 0;
  if (tls_rules_ != nullptr) {
    info.tls_required = true;
    info.tls_verify = tls_rules_->verify;
  }
  info.api_lvl = now.jetstream_api_level;
  info.domain = now.jetstream_domain;
  info.cluster = cluster_name();
  info.info_on_connect = true;
  info.lame_duck_mode = server_.is_lame_duck();
  if (!reached_at_.empty()) info.ip = "nats-leaf://" + reached_at_.front() + "/";
  if (!options_.no_advertise) info.leafnode_urls = reached_at_;
  return info;
}

// --- who may come ----------------------------------------------------------------------------

auth::Verdict Leafs::check(const auth::Credentials& credentials) const {
  return shard_.authenticator()->check(credentials);
}

bool Leafs::check_password(LeafLink& link, auth::Verdict verdict) {
  auto pending = std::make_shared<auth::Verdict>(std::move(verdict));
  return passwords_.run(
      loop(),
      [pending] {
        const bool matches = auth::bcrypt_matches(pending->hash, pending->password);
        pending->kind = matches ? auth::Verdict::Kind::Accepted : auth::Verdict::Kind::Refused;
        if (!matches) pending->reason = "password does not match";
      },
      [this, id = link.id(), pending] {
        const auto found = std::find_if(links_.begin(), links_.end(),
                                        [id](const auto& each) { return each->id() == id; });
        if (found != links_.end()) (*found)->on_verdict(*pending);
      });
}

bool Leafs::ask_callout(LeafLink& link, const auth::Verdict& verdict) {
  return shard_.callouts().ask(
      link.callout_client(), verdict,
      [this, alive = std::weak_ptr<bool>(alive_), id = link.id()](const auth::Verdict& answer) {
        if (alive.expired()) return;
        const auto found = std::find_if(links_.begin(), links_.end(),
                                        [id](const auto& each) { return each->id() == id; });
        if (found != links_.end()) (*found)->on_verdict(answer);
      });
}

bool Leafs::await_account(const LeafLink& link, const std::string& account) {
  return server_.account_loader().await(
      shard_, account, [&server = server_, id = link.id()](const std::string& error) {
        Leafs* const leafs = server.leaf_nodes();
        if (leafs == nullptr) return;
        for (const auto& each : leafs->links_) {
          if (each->id() == id) return each->on_account_loaded(error);
        }
      });
}

std::string Leafs::reason_to_refuse(const LeafLink& link,
                                    const protocol::LeafConnect& connect) const {
  if (!options_.min_version.empty() && !is_version_at_least(connect.version, options_.min_version)) {
    return quoted("connection rejected since minimum version required is ", options_.min_version);
  }
  const auth::AccountRules* rules = link.account()->rules();
  const int64_t limit = rules == nullptr ? -1 : rules->settings.max_leafnodes;
  if (limit >= 0 && count(*link.account()) >= static_cast<size_t>(limit)) {
    return "maximum account active connections exceeded";
  }
  return {};
}

// After a change of the users: links whose user may no longer come end.
void Leafs::review_users() {
  for (const auto& link : links_) {
    if (!link->is_open() || link->is_solicited()) continue;
    if (const std::string why = link->reason_to_end(); !why.empty()) {
      log().info(link->log_name() + " - " + why);
      link->close_later("Authentication Failure", "Authorization Violation");
    }
  }
}

// --- for monitoring --------------------------------------------------------------------------

std::vector<LeafReport> Leafs::leafs(bool with_subscriptions) {
  std::vector<LeafReport> out;
  for (const auto& link : links_) {
    if (!link->is_open()) continue;
    LeafReport& report = out.emplace_back();
    report.id = link->id();
    report.name = link->remote_name();
    report.is_spoke = link->is_spoke();
    report.is_isolated = link->is_isolated();
    report.account = link->account()->name();
    report.ip = link->peer().host;
    report.port = link->peer().port;
    report.round_trip = link->round_trip();
    report.traffic = link->traffic();
    report.subscription_count = link->subscription_count();
    if (with_subscriptions) report.subscriptions = link->subscription_list();
    report.compression = "off";
    report.is_websocket = link->origin().type == ConnectionType::LeafWebSocket;
  }
  return out;
}

bool Leafs::kick(uint64_t id) {
  const auto found = std::find_if(links_.begin(), links_.end(),
                                  [id](const auto& link) { return link->id() == id; });
  if (found == links_.end()) return false;
  (*found)->close_later("Kicked");
  return true;
}

// --- interest --------------------------------------------------------------------------------

void Leafs::on_interest_changed(Account& account, std::string_view pattern, std::string_view queue,
                                const Subscription& which, int64_t change) {
  const auto found = by_account_.find(&account);
  if (found == by_account_.end()) return;
  for (LeafLink* link : found->second) link->on_interest_changed(pattern, queue, which, change);
}

// --- ending links ----------------------------------------------------------------------------

void Leafs::close_all(std::string_view reason) {
  for (const auto& link : links_) link->close_later(reason);
  sweep();
}

void Leafs::on_turn_end() {
  std::vector<LeafLink*> flushing;
  flushing.swap(dirty_);
  for (LeafLink* link : flushing) link->flush();
  sweep();
}

void Leafs::sweep() {
  while (!closing_.empty()) {
    LeafLink& link = *closing_.back();
    closing_.pop_back();
    link.finish();
    std::string text = link.log_name() + " - Leafnode connection closed: " + link.close_reason();
    if (!link.remote_name().empty()) text += " - Remote: " + link.remote_name();
    log().info(text);
    remove_link(link);
  }
}

void Leafs::remove_link(LeafLink& link) {
  std::erase(dirty_, &link);
  if (link.was_opened()) {
    --open_count_;
    auto& links = by_account_[link.account()];
    std::erase(links, &link);
    if (links.empty()) {
      by_account_.erase(link.account());
      link.account()->set_observer(nullptr);
    }
  }
  LeafDialer* dialer = link.dialer();
  std::erase_if(links_, [&](const auto& each) { return each.get() == &link; });
  if (dialer != nullptr) dialer->on_link_ended();
}

}  // namespace brokkr::broker
