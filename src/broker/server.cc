#include "broker/server.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "auth/authenticator.h"
#include "auth/operator_mode.h"
#include "broker/identity/account_loader.h"
#include "broker/leaf/leafs.h"
#include "broker/monitor/facts.h"
#include "broker/system/system_services.h"
#include "broker/tls_rules.h"

namespace brokkr::broker {
namespace {

constexpr size_t kPasswordChecksMax = 256;
// Lame duck closes clients in at most this many steps.
constexpr int64_t kLameDuckSteps = 1000;

// An operator's JWT may name it.
std::string system_account_of(const Settings& settings, const auth::Authenticator* authenticator) {
  const auto* mode = authenticator == nullptr ? nullptr : authenticator->operator_mode().get();
  if (mode == nullptr || mode->system_account().empty()) return settings.system_account;
  return mode->system_account();
}

}  // namespace

Result<std::unique_ptr<Server>> Server::open(Options options, io::Loop& main_loop, Clock& clock,
                                             Log& log) {
  std::unique_ptr<Server> server(new Server(main_loop, clock, log));
  if (Status started = server->start(std::move(options)); !started) return started.error();
  return server;
}

Server::Server(io::Loop& main_loop, Clock& clock, Log& log)
    : main_loop_(main_loop), clock_(clock), log_(log), start_time_(clock.wall_now()) {
  password_worker_.set_queue_max(kPasswordChecksMax);
  monitor_facts_ = std::make_unique<MonitorFacts>(clock.now());
  system_ = std::make_unique<SystemServices>(*this, main_loop);
  account_loader_ = std::make_unique<AccountLoader>(*this, main_loop, log);
}

Server::~Server() {
  stop();
}

Status Server::start(Options options) {
  Settings& settings = options.settings;
  settings.system_account = system_account_of(settings, options.authenticator.get());
  if (settings.server_id.empty()) settings.server_id = identity_.public_key();
  if (settings.server_name.empty()) settings.server_name = settings.server_id;
  Snapshot first;
  first.settings = std::make_shared<const Settings>(std::move(settings));
  first.authenticator = options.authenticator != nullptr ? options.authenticator
                                                         : auth::Authenticator::open_to_all();
  first.config_load_time = start_time_;
  const Shared shared{first.settings, first.authenticator};
  swap_snapshot(std::move(first));
  loops_.push_back(&main_loop_);
  for (uint32_t i = 1; i < options.loops; ++i) {
    auto loop = io::Loop::open(options.loop, clock_);
    if (!loop) return loop.error();
    loops_.push_back(loop->get());
    extra_loops_.push_back({std::move(*loop), {}});
  }
  const auto count = static_cast<uint32_t>(loops_.size());
  std::vector<LoopLinks*> links;
  for (uint32_t i = 0; i < count; ++i) {
    shards_.push_back(std::make_unique<Shard>(*this, *loops_[i], i, count, shared, log_));
    links.push_back(&shards_.back()->links());
  }
  for (uint32_t i = 0; i < count; ++i) {
    links[i]->connect(links);
    if (Status started = links[i]->start(*loops_[i]); !started) return started;
  }
  system_->start(*shards_[0]);
  if (const auto& mode = snapshot()->authenticator->operator_mode(); mode != nullptr) {
    if (Status loader = account_loader_->start(*mode); !loader) return loader;
  }
  for (ExtraLoop& extra : extra_loops_) {
    extra.thread = std::thread([loop = extra.loop.get()] { loop->run(); });
  }
  return {};
}

void Server::stop() {
  if (is_stopped_) return;
  is_stopped_ = true;
  account_loader_->stop();
  system_->stop();
  listeners_.clear();
  lame_duck_timer_.reset();
  set_leafs(nullptr);
  leaf_nodes_.reset();
  for (size_t i = 1; i < loops_.size(); ++i) {
    loops_[i]->post([shard = shards_[i].get()] { shard->close_all(CloseReason::ServerShutdown); });
    loops_[i]->stop();
  }
  for (ExtraLoop& extra : extra_loops_) extra.thread.join();
  shards_[0]->close_all(CloseReason::ServerShutdown);
  // The loops' threads are gone, so their shards may be taken down from here.
  for (ExtraLoop& extra : extra_loops_) extra.loop->release_thread();
  system_->join();
  shards_.clear();
}

Status Server::listen(const io::Address& address) {
  auto listener = io::Listener::open(main_loop_, address, [this](int fd) { on_accept(fd); });
  if (!listener) return listener.error();
  const io::Address bound = (*listener)->address();
  listeners_.push_back(std::move(*listener));
  Snapshot next = *snapshot();
  next.addresses.push_back(bound);
  swap_snapshot(std::move(next));
  log_.info("Listening for client connections on " + bound.text());
  if (const auto& tls = snapshot()->settings->tls; tls != nullptr) {
    log_.info(tls->allow_non_tls ? "TLS available for client connections"
                                 : "TLS required for client connections");
  }
  return {};
}

void Server::swap_snapshot(Snapshot next) {
  std::atomic_store(&snapshot_, std::make_shared<const Snapshot>(std::move(next)));
}

void Server::on_accept(int fd) {
  // One that is to be told so and closed takes nobody's place meanwhile.
  const bool is_refused = !take_place();
  const size_t target = next_shard_++ % shards_.size();
  if (target == 0) return shards_[0]->adopt(fd, is_refused);
  loops_[target]->post(
      [shard = shards_[target].get(), fd, is_refused] { shard->adopt(fd, is_refused); });
}

bool Server::take_place() {
  const uint32_t others = connections_.fetch_add(1, std::memory_order_relaxed);
  if (others < snapshot()->settings->max_connections) return true;
  on_connection_ended();
  return false;
}

std::unique_ptr<io::Transport> Server::connect_in_process() {
  auto [server_end, client_end] = io::make_pipe(main_loop_);
  connections_.fetch_add(1, std::memory_order_relaxed);
  shards_[0]->adopt(std::move(server_end), Origin{ConnectionType::InProcess, {}, {}});
  return std::move(client_end);
}

void Server::fill_info(protocol::ServerInfo& info) const {
  const std::shared_ptr<const Snapshot> now = snapshot();
  const Settings& settings = *now->settings;
  info.server_id = settings.server_id;
  info.xkey = xkey_.public_key();
  info.server_name = settings.server_name;
  info.version = kServerVersion;
  info.go = "brokkr";
  info.host = settings.host.empty() ? "0.0.0.0" : settings.host;
  info.port = now->addresses.empty() ? settings.port : now->addresses.front().port;
  info.lame_duck_mode = is_lame_duck();
  info.jetstream = settings.jetstream_api_level > 0;
  info.api_lvl = settings.jetstream_api_level;
  info.domain = settings.jetstream_domain;
  if (!settings.client_advertise.empty()) info.connect_urls = {settings.client_advertise};
}

bool Server::check_password(Shard& shard, uint64_t connection_id, auth::Verdict verdict) {
  auto pending = std::make_shared<auth::Verdict>(std::move(verdict));
  return password_worker_.run(
      shard.loop(),
      [pending] {
        const bool matches = auth::bcrypt_matches(pending->hash, pending->password);
        pending->kind = matches ? auth::Verdict::Kind::Accepted : auth::Verdict::Kind::Refused;
        if (!matches) pending->reason = "password does not match";
      },
      [&shard, connection_id, pending] {
        Connection* connection = shard.find_connection(connection_id);
        if (connection == nullptr || !connection->is_open()) return;
        connection->on_verdict(*pending);
        shard.sweep();
      });
}

void Server::reload(Settings settings, std::shared_ptr<const auth::Authenticator> authenticator) {
  Snapshot next = *snapshot();
  settings.system_account = system_account_of(settings, authenticator.get());
  const bool has_mode = authenticator->operator_mode() != nullptr;
  const bool had_mode = next.authenticator->operator_mode() != nullptr;
  if (has_mode && had_mode) {
    // The accounts in use stay in use.
    authenticator = authenticator->with_operator_mode(
        account_loader_->carry_over(*authenticator->operator_mode()), clock_.wall_now());
  }
  next.settings = std::make_shared<const Settings>(std::move(settings));
  next.authenticator = std::move(authenticator);
  next.config_load_time = clock_.wall_now();
  const Shared shared{next.settings, next.authenticator};
  const auto accounts_before = snapshot()->authenticator->accounts();
  swap_snapshot(std::move(next));
  for (size_t i = 0; i < shards_.size(); ++i) {
    loops_[i]->post([shard = shards_[i].get(), shared] {
      shard->reload(shared);
    });
  }
  const auto& accounts_now = shared.authenticator->accounts();
  if (on_accounts_changed_ && accounts_now != accounts_before) on_accounts_changed_(*accounts_now);
  if (has_mode && had_mode) account_loader_->reload();
  if (has_mode && !had_mode) {
    Status loader = account_loader_->start(*shared.authenticator->operator_mode());
    if (!loader) log_.error("Account resolver: " + loader.error().text);
  }
}

void Server::change_accounts(std::shared_ptr<const auth::OperatorMode> mode,
                             std::set<std::string> changed) {
  Snapshot next = *snapshot();
  next.authenticator = next.authenticator->with_operator_mode(std::move(mode), clock_.wall_now());
  for (const std::string& problem : next.authenticator->accounts()->problems()) {
    log_.warn("Account " + problem);
  }
  const Shared shared{next.settings, next.authenticator};
  swap_snapshot(std::move(next));
  if (on_accounts_changed_) on_accounts_changed_(*shared.authenticator->accounts());
  const auto names = std::make_shared<const std::set<std::string>>(std::move(changed));
  for (size_t i = 0; i < shards_.size(); ++i) {
    loops_[i]->post([shard = shards_[i].get(), shared, names] {
      shard->change_accounts(shared, *names);
    });
  }
  main_loop_.post([this] {
    if (leaf_nodes_ != nullptr) leaf_nodes_->review_users();
  });
}

Status Server::configure_leafs(const config::LeafnodeOptions& options) {
  if (leaf_nodes_ == nullptr) {
    if (options.port == 0 && options.remotes.empty()) return {};
    leaf_nodes_ = std::make_unique<Leafs>(*this);
    set_leafs(leaf_nodes_.get());
  }
  return leaf_nodes_->configure(options);
}

void Server::enter_lame_duck(Callback<void()> done) {
  if (is_lame_duck_.exchange(true)) return;
  log_.info("Entering lame duck mode, stop accepting new clients");
  listeners_.clear();
  system_->announce_lame_duck();
  lame_duck_done_ = std::move(done);
  for (size_t i = 0; i < shards_.size(); ++i) {
    loops_[i]->post([shard = shards_[i].get()] { shard->announce_lame_duck(); });
  }
  const std::shared_ptr<const Settings> now = snapshot()->settings;
  const int64_t clients = std::max<int64_t>(1, connection_count());
  const int64_t steps = std::min(clients, kLameDuckSteps);
  const Duration closing = std::max<Duration>(now->lame_duck_duration - now->lame_duck_grace, Duration(0));
  lame_duck_step_ = closing / steps;
  lame_duck_batch_ = static_cast<size_t>((clients + steps - 1) / steps);
  lame_duck_timer_ = std::make_unique<io::Timer>(main_loop_, [this] { close_next_clients(); });
  lame_duck_timer_->start(connection_count() == 0 ? Duration(0) : now->lame_duck_grace);
}

void Server::close_next_clients() {
  if (connection_count() == 0) return lame_duck_done_();
  const size_t share = std::max<size_t>(1, lame_duck_batch_ / shards_.size());
  for (size_t i = 0; i < shards_.size(); ++i) {
    loops_[i]->post([shard = shards_[i].get(), share] {
      shard->close_some(share, CloseReason::ServerShutdown);
    });
  }
  lame_duck_timer_->start(std::max<Duration>(lame_duck_step_, std::chrono::milliseconds(1)));
}

std::shared_ptr<const auth::AccountRules> Server::account_rules(std::string_view name) const {
  return snapshot()->authenticator->accounts()->find(name);
}

void Server::post_to_shard(size_t index, Callback<void(Shard&)> visit) {
  loops_[index]->post(
      [shard = shards_[index].get(), visit = std::move(visit)] { visit(*shard); });
}

void Server::visit_shards(FunctionRef<void(Shard&)> visit) {
  std::mutex mutex;
  std::condition_variable done;
  size_t left = shards_.size();
  for (size_t i = 0; i < shards_.size(); ++i) {
    loops_[i]->post([&, shard = shards_[i].get()] {
      const std::lock_guard lock(mutex);
      visit(*shard);
      if (--left == 0) done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return left == 0; });
}

}  // namespace brokkr::broker
