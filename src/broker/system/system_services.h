#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "broker/monitor/pages.h"
#include "broker/system/identity.h"
#include "io/loop.h"
#include "io/worker.h"

namespace brokkr::broker {

class Account;
class Connection;
class InternalSubscription;
class OptionReader;
class Server;
class Shard;
struct Message;

// What every request to the system begins with.
constexpr std::string_view kSystemRequestPrefix = "$SYS.REQ.";

// The services and events of the system account: the monitoring documents as replies, reload, kick,
// who connects and goes. Documents are made on a thread of its own, because asking the loops blocks;
// no loop waits for them. Owned by the Server; made, started and stopped on the main loop. What says
// so may be called on any shard's loop.
class SystemServices {
 public:
  // Reloads the configuration; the error says what was wrong.
  using Reload = Callback<Status()>;
  using Encoder = Callback<std::string(std::string_view plain)>;

  SystemServices(Server& server, io::Loop& main_loop);
  ~SystemServices();
  // Subscribes in the system account.
  void start(Shard& main_shard);
  // Ends what is under way and answers nothing more. The other loops may still run.
  void stop();
  // Waits for the thread; when no other loop runs any more, before the shards go.
  void join();
  void set_reload(Reload reload) { reload_ = std::move(reload); }
  // Who packs answers in Snappy's frames, on any thread; before the first request.
  void set_snappy(Encoder encoder) { snappy_ = std::move(encoder); }

  // On the shard's loop: a client's message under kSystemRequestPrefix. True when it was one of the
  // requests that every account may make about itself, which this then answers.
  bool take_request(Shard& shard, Account& account, Connection& from, const Message& message);
  // On the shard's loop: a connection was let in, and has ended.
  void on_connected(Shard& shard, const Connection& connection);
  void on_closed(Shard& shard, const Connection& connection);
  // Thread-safe.
  ServerIdentity& identity() { return identity_; }
  // Main loop: the server is about to end, and has ended.
  void announce_lame_duck();
  void announce_shutdown();

 private:
  struct Request;
  struct Service;
  struct Reply {
    std::string headers;
    std::string body;
  };
  // Runs on the worker; absent: no answer.
  std::optional<Reply> answer(const Request& request);
  Result<std::string> make_document(const Request& request, OptionReader& reader);
  Result<std::string> account_document(const Request& request, OptionReader& reader);
  Result<std::string> account_jsz(JszOptions options);
  Result<std::string> account_info(const std::string& account);
  Result<std::string> healthz(const HealthzOptions& options);
  Result<std::string> notify(const Request& request, OptionReader& reader);
  std::string statsz();
  std::string account_event(const AccountReport& account);
  std::optional<std::string> count_subscribers(const Request& request);

  void subscribe(const std::string& pattern, const Service& service);
  void on_message(const Service& service, const Message& message);
  void put(std::shared_ptr<const Request> request);
  void send(const Request& request, const Reply& reply);
  void reload(const Request& request);
  void answer_user_info(Shard& shard, Account& account, const Connection& from,
                        std::string_view reply);
  void announce(std::string_view event);
  void start_heartbeat();
  void beat();
  static bool is_account_watched(Shard& shard, const std::string& account);
  void mark_account(Shard& shard, const std::string& account);
  void tell_account(const std::string& account, bool is_change);
  void send_account_updates();

  static const Service kServices[];

  Server& server_;
  io::Loop& main_loop_;
  Shard* main_shard_ = nullptr;
  ServerIdentity identity_;
  Pages pages_;
  std::shared_ptr<bool> is_alive_;  // what is posted looks whether it is still true
  std::unique_ptr<io::Worker> worker_;
  std::vector<std::unique_ptr<InternalSubscription>> subscriptions_;
  Reload reload_;
  Encoder snappy_;
  std::unique_ptr<io::Timer> heartbeat_;
  Duration heartbeat_every_{};
  // Whose figures are to be told; true when they changed, false when it is only time again.
  std::unordered_map<std::string, bool> told_accounts_;
  MonotonicTime accounts_due_{};
  bool is_updating_accounts_ = false;
};

}  // namespace brokkr::broker
