#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "auth/account_rules.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/jetstream_report.h"
#include "broker/settings.h"
#include "broker/shard.h"
#include "config/options_listeners.h"
#include "crypto/nkey.h"
#include "crypto/xkey.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/worker.h"
#include "protocol/info.h"

namespace brokkr::broker {

class AccountLoader;
class LeafReporter;
class Leafs;
class SystemServices;
struct MonitorFacts;

// A whole broker: its loops, its listeners, and what all loops need to know. Made, reloaded and
// stopped on the main loop's thread; methods say when another may call.
class Server {
 public:
  // What may change while the server runs. Immutable; swapped whole.
  struct Snapshot {
    std::shared_ptr<const Settings> settings;
    std::shared_ptr<const auth::Authenticator> authenticator;
    WallTime config_load_time;
    std::vector<io::Address> addresses;  // listened on, with the ports the kernel chose
    std::vector<io::Address> websocket_addresses;
  };
  struct Options {
    Settings settings;
    std::shared_ptr<const auth::Authenticator> authenticator;
    uint32_t loops = 1;  // the main loop counts as the first
    io::Loop::Options loop;
  };

  // `main_loop`, `clock` and `log` outlive the server. The other loops run on threads of their own.
  static Result<std::unique_ptr<Server>> open(Options options, io::Loop& main_loop, Clock& clock,
                                              Log& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Accepts clients; may be called for several addresses. Logs the line harnesses look for.
  Status listen(const io::Address& address);
  // Accepts WebSocket clients, by the rules in the settings.
  Status listen_websocket(const io::Address& address);
  // A connection without a socket, for parts of the server that are clients of it. Main loop only.
  std::unique_ptr<io::Transport> connect_in_process();

  // Swaps settings and users; clients that are no longer allowed are closed. Main loop only.
  void reload(Settings settings, std::shared_ptr<const auth::Authenticator> authenticator);
  // Puts the settings of leaf nodes to work, at the start and after a reload. Main loop only.
  Status configure_leafs(const config::LeafnodeOptions& options);
  // Null while none are configured. Main loop only.
  Leafs* leaf_nodes() const { return leaf_nodes_.get(); }
  // Swaps the accounts of operator mode; clients of `changed` ones are looked at again. Main loop only.
  void change_accounts(std::shared_ptr<const auth::OperatorMode> mode,
                       std::set<std::string> changed);
  // Stops accepting, tells the clients, closes them bit by bit over lame_duck_duration after the
  // grace period, then calls `done`. Main loop only.
  void enter_lame_duck(Callback<void()> done);
  // Who takes over the streams of leaves that come in by WebSocket. Main loop only.
  using LeafAcceptor = Callback<void(std::unique_ptr<io::Transport>, Origin)>;
  void set_leaf_acceptor(LeafAcceptor acceptor);
  void accept_leaf(std::unique_ptr<io::Transport> stream, Origin origin);
  // Thread-safe.
  bool has_leaf_acceptor() const { return has_leaf_acceptor_.load(std::memory_order_relaxed); }
  bool is_lame_duck() const { return is_lame_duck_.load(std::memory_order_relaxed); }
  // Closes everything and joins the loops' threads; the destructor does it too.
  void stop();

  // Runs `visit` on every shard's own loop and waits for all. Only from a thread that is no loop, and
  // not after `stop`.
  void visit_shards(FunctionRef<void(Shard&)> visit);
  // Runs `visit` on that shard's own loop, later, without waiting. From any thread, not after `stop`;
  // what is still queued then may run when the shard is gone, so `visit` must know.
  void post_to_shard(size_t index, Callback<void(Shard&)> visit);
  Shard& main_shard() { return *shards_[0]; }
  // Called after the accounts, or what is said of them, changed. Main loop only.
  void set_on_accounts_changed(Callback<void(const auth::AccountTable&)> callback) {
    on_accounts_changed_ = std::move(callback);
  }
  // Who speaks for JetStream on the monitoring pages; null while there is none. Main loop only.
  void set_jetstream(JetStreamReporter* jetstream) { jetstream_ = jetstream; }
  JetStreamReporter* jetstream() const { return jetstream_; }
  // The same for the leaf nodes.
  void set_leafs(LeafReporter* leafs) { leafs_ = leafs; }
  LeafReporter* leafs() const { return leafs_; }
  // What the system account offers. Thread-safe where SystemServices says so.
  SystemServices& system() { return *system_; }
  // What the account was configured to be; null for one without rules.
  std::shared_ptr<const auth::AccountRules> account_rules(std::string_view name) const;
  MonitorFacts& monitor_facts() { return *monitor_facts_; }
  size_t loop_count() const { return shards_.size(); }

  // Thread-safe, for shards and monitoring.
  uint64_t next_client_id() { return next_client_id_.fetch_add(1, std::memory_order_relaxed) + 1; }
  uint32_t connection_count() const { return connections_.load(std::memory_order_relaxed); }
  // Counts a connection; false, counting nothing, when there are too many.
  bool take_place();
  void on_connection_ended() { connections_.fetch_sub(1, std::memory_order_relaxed); }
  void fill_info(protocol::ServerInfo& info) const;
  std::shared_ptr<const Snapshot> snapshot() const { return std::atomic_load(&snapshot_); }
  WallTime start_time() const { return start_time_; }
  // Who the server is: its id is the public key, made anew at each start. Signs what it asks the
  // service of an auth callout; the curve key opens what that answers.
  const crypto::KeyPair& identity() const { return identity_; }
  const crypto::CurveKey& xkey() const { return xkey_; }
  // Loads nothing outside of operator mode. Any thread.
  AccountLoader& account_loader() const { return *account_loader_; }
  Clock& clock() const { return clock_; }
  // Compares a bcrypt password off the loops and tells the connection. False when too many wait.
  bool check_password(Shard& shard, uint64_t connection_id, auth::Verdict verdict);

 private:
  struct ExtraLoop {
    std::unique_ptr<io::Loop> loop;
    std::thread thread;
  };
  Server(io::Loop& main_loop, Clock& clock, Log& log);
  Status start(Options options);
  void swap_snapshot(Snapshot next);
  void on_accept(int fd);
  void on_accept_websocket(int fd);
  void close_next_clients();

  io::Loop& main_loop_;
  Clock& clock_;
  Log& log_;
  const WallTime start_time_;
  const crypto::KeyPair identity_ = crypto::KeyPair::generate(crypto::NkeyType::Server);
  const crypto::CurveKey xkey_ = crypto::CurveKey::generate();
  std::atomic<uint64_t> next_client_id_{0};
  std::atomic<uint32_t> connections_{0};
  std::atomic<bool> is_lame_duck_{false};
  std::shared_ptr<const Snapshot> snapshot_;  // read and written with std::atomic_load and _store
  io::Worker password_worker_{"bcrypt"};
  std::vector<ExtraLoop> extra_loops_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<io::Loop*> loops_;
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  size_t next_shard_ = 0;
  Callback<void()> lame_duck_done_;
  std::unique_ptr<io::Timer> lame_duck_timer_;
  Duration lame_duck_step_{};
  size_t lame_duck_batch_ = 1;
  bool is_stopped_ = false;
  LeafAcceptor leaf_acceptor_;
  std::atomic<bool> has_leaf_acceptor_{false};
  JetStreamReporter* jetstream_ = nullptr;
  Callback<void(const auth::AccountTable&)> on_accounts_changed_;
  LeafReporter* leafs_ = nullptr;
  std::unique_ptr<MonitorFacts> monitor_facts_;
  std::unique_ptr<SystemServices> system_;
  std::unique_ptr<Leafs> leaf_nodes_;
  std::unique_ptr<AccountLoader> account_loader_;
};

}  // namespace brokkr::broker
