#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "broker/account.h"
#include "broker/leaf/dialer.h"
#include "broker/leaf/link.h"
#include "broker/leaf_report.h"
#include "broker/settings.h"
#include "config/options.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/worker.h"
#include "protocol/leaf_info.h"

namespace brokkr::http {
class WebSocketPool;
}

namespace brokkr::broker {

class Server;
class Shard;
struct TlsRules;

// All leaf links of a server: those it dials and those it accepts. They live on the main loop, which
// knows the interest of all loops. Confined to it.
class Leafs final : public LeafReporter, private InterestObserver, private io::TurnHook {
 public:
  explicit Leafs(Server& server);
  ~Leafs() override;
  Leafs(const Leafs&) = delete;
  Leafs& operator=(const Leafs&) = delete;

  // Puts the settings to work, at the start and after a reload: listens, dials what is new, ends what
  // is no longer there. Fails, changing nothing, on settings that cannot be.
  Status configure(const config::LeafnodeOptions& options);
  // The port the kernel chose; 0 without a listener.
  uint16_t port() const;
  // The address listened on; empty host and port 0 without a listener.
  io::Address address() const;
  // Takes over a stream on which a leaf is about to begin.
  void adopt(std::unique_ptr<io::Transport> transport, Origin origin);
  void close_all(std::string_view reason);
  std::vector<LeafReport> leafs(bool with_subscriptions) override;
  bool kick(uint64_t id) override;
  const std::vector<std::unique_ptr<LeafLink>>& links() const { return links_; }
  const std::vector<std::unique_ptr<LeafDialer>>& dialers() const { return dialers_; }
  // Open links, and those of one account.
  size_t count() const { return open_count_; }
  size_t count(const Account& account) const;

  // For links and dialers.
  Server& server() { return server_; }
  Shard& shard() { return shard_; }
  io::Loop& loop();
  Log& log();
  Random& random() { return random_; }
  // Of the leaf port; null without TLS.
  const std::shared_ptr<const TlsRules>& tls_rules() const { return tls_rules_; }
  const std::shared_ptr<http::WebSocketPool>& websocket_pool();
  io::Worker& resolver() { return resolver_; }
  const Settings& settings() const;
  const config::LeafnodeOptions& options() const { return options_; }
  std::string cluster_name() const;
  protocol::LeafInfo make_info() const;
  LeafLink& add_link(std::unique_ptr<io::Transport> transport, Origin origin, LeafDialer* dialer);
  void put_dirty(LeafLink& link) { dirty_.push_back(&link); }
  void put_closing(LeafLink& link) { closing_.push_back(&link); }
  void on_link_opened(LeafLink& link);
  // Whether who sent these may be a leaf, by the rules of the leaf port.
  auth::Verdict check(const auth::Credentials& credentials) const;
  // Compares a bcrypt password off the loop and tells the link. False when too many wait.
  bool check_password(LeafLink& link, auth::Verdict verdict);
  // Asks the callout of `verdict` and tells the link. False when too many wait.
  bool ask_callout(LeafLink& link, const auth::Verdict& verdict);
  // Has the link told when the account of its user is there, or cannot be. False when too many wait.
  bool await_account(const LeafLink& link, const std::string& account);
  // After a change of the users: links whose user may no longer come end.
  void review_users();
  // Why a link whose user is known is refused all the same; empty when it is not.
  std::string reason_to_refuse(const LeafLink& link, const protocol::LeafConnect& connect) const;
  // Ends older accepted links of the same server, which has come back before they were missed.
  void evict_duplicates(const LeafLink& link);
  // What a link subscribes to at the other side, to notice when it comes back around.
  std::string_view loop_subject(const Account& account);
  bool is_system_account(const Account& account) const;

 private:
  bool has_work() const override { return !dirty_.empty() || !closing_.empty(); }
  void on_turn_end() override;
  void sweep();
  void remove_link(LeafLink& link);
  void on_interest_changed(Account& account, std::string_view pattern, std::string_view queue,
                           const Subscription& which, int64_t change) override;
  Status listen(const config::LeafnodeOptions& options);
  void tell_connected(const Account& account);
  using Dialers = std::vector<std::unique_ptr<LeafDialer>>;
  Result<Dialers> make_dialers(const std::vector<config::LeafRemote>& remotes);
  void change_remotes(Dialers added, const std::vector<config::LeafRemote>& remotes);

  Server& server_;
  Shard& shard_;
  config::LeafnodeOptions options_;
  SeededRandom random_;
  io::Worker resolver_{"leaf resolver"};
  io::Worker passwords_{"leaf bcrypt"};
  std::shared_ptr<http::WebSocketPool> websocket_pool_;  // made at first use
  std::shared_ptr<const TlsRules> tls_rules_;
  std::unique_ptr<io::Listener> listener_;
  std::vector<std::string> reached_at_;  // "host:port"
  std::vector<std::unique_ptr<LeafDialer>> dialers_;
  std::vector<std::unique_ptr<LeafLink>> links_;
  std::vector<LeafLink*> dirty_;
  std::vector<LeafLink*> closing_;
  std::unordered_map<const Account*, std::vector<LeafLink*>> by_account_;  // open ones
  std::unordered_map<const Account*, std::string> loop_subjects_;
  size_t open_count_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks that come later
};

}  // namespace brokkr::broker
