#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "auth/account_claims.h"
#include "auth/operator_mode.h"
#include "base/callback.h"
#include "base/log.h"
#include "broker/identity/account_source.h"
#include "io/loop.h"

namespace brokkr::broker {

class ClaimsServices;
class Server;
class Shard;

// The accounts of operator mode that are in use: loads them when a user of theirs first comes, with
// the accounts they import from, and puts changed ones to work. Owned by the Server; main loop only
// but for what says so.
class AccountLoader {
 public:
  AccountLoader(Server& server, io::Loop& main_loop, Log& log);
  ~AccountLoader();

  // Once the server's shards are there. Fails when the folder of JWTs cannot be used.
  Status start(const auth::OperatorMode& mode);
  void stop();

  // On the shard's own loop: calls `done` there when the account is in, or with the reason when it
  // cannot be. False, and `done` is not called, when too many wait.
  using Done = Callback<void(const std::string& error)>;
  bool await(Shard& shard, const std::string& id, Done done);

  // What accounts a new configuration goes on with: those in use, and those it brings itself.
  std::shared_ptr<const auth::OperatorMode> carry_over(const auth::OperatorMode& next) const;

  // A newer JWT of an account, which the caller has read; put to work if it is in use or wanted.
  void update(std::shared_ptr<const auth::JwtAccount> account);
  // The account is deleted: its clients leave, and nobody of it comes in.
  void drop(const std::string& id);
  // After a reload: another source when the configuration names one, and the tokens of all accounts
  // in use are read again.
  void reload();

  const auth::OperatorMode& mode() const;
  bool is_in_use(const std::string& id) const { return mode().find(id) != nullptr; }
  AccountSource& source() { return *source_; }
  Server& server() { return server_; }
  Log& log() { return log_; }

 private:
  struct Waiter {
    Shard* shard;
    std::shared_ptr<Done> done;
  };
  // One account on its way in, with all it imports from.
  struct Job {
    std::vector<Waiter> waiters;
    std::set<std::string> seen;
    size_t outstanding = 0;
    auth::JwtAccounts loaded;
    std::string error;  // of the account itself
  };

  void on_wanted(Waiter waiter, const std::string& id);
  void load(const std::string& id);
  void fetch(const std::string& root, const std::string& id);
  void on_fetched(const std::string& root, const std::string& id, const Result<std::string>& jwt);
  void finish(const std::string& root);
  void tell(const Waiter& waiter, const std::string& error);
  Status open_source(const auth::OperatorMode& mode);
  void refresh();
  void apply(const auth::JwtAccounts& changed);
  void load_missing_exporters(const auth::JwtAccount& account);
  bool is_imported(const std::string& id) const;

  Server& server_;
  io::Loop& main_loop_;
  Log& log_;
  std::shared_ptr<bool> is_alive_;
  std::unique_ptr<AccountSource> source_;
  std::unique_ptr<ClaimsServices> services_;
  std::unique_ptr<io::Timer> expiry_timer_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, MonotonicTime> missing_;  // looked for not long ago
  std::atomic<size_t> waiting_{0};
};

}  // namespace brokkr::broker
