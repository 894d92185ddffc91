#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "broker/server.h"
#include "io/loop.h"
#include "io/worker.h"
#include "jetstream/account.h"
#include "jetstream/upkeep.h"
#include "store/store.h"

namespace brokkr::jetstream {

// The API level told to clients: what is really complete.
constexpr int kApiLevel = 2;

// JetStream for a server's accounts, on its main loop: the store, the accounts' streams, the
// `$JS.API`. Made and destroyed on the main loop.
class JetStream {
 public:
  // By name. Without limits: JetStream is off for the account.
  using AccountMap = std::map<std::string, std::optional<AccountLimits>, std::less<>>;
  struct Options {
    std::string store_directory;
    uint64_t max_memory = 0;   // bytes; 0: three quarters of the machine's
    uint64_t max_storage = 0;  // bytes; 0: what is free on the disk
    std::string domain;
    bool strict = true;
    store::SyncMode sync = store::SyncMode::Always;
    Duration sync_interval = std::chrono::minutes(2);
    store::Cipher cipher = store::Cipher::None;
    std::string key;
    std::string previous_key;
    int64_t max_ack_pending = -1;
    int64_t max_request_batch = -1;
    Duration duplicate_window{};  // zero: no limit
    size_t request_queue_limit = 10'000;
    AccountMap accounts;  // empty: $G without limits
    std::string system_account = "$SYS";
  };

  // Opens the store and brings every stream and consumer back. Fails as Store::open does.
  static Result<std::unique_ptr<JetStream>> start(broker::Server& server, io::Loop& loop,
                                                  Options options, Log& log);
  ~JetStream();
  // Tells waiting pull requests that the server goes away, makes everything durable, then calls back.
  void stop(Callback<void()> done);

  // Other accounts or limits than before: streams of accounts that come are served, those of accounts
  // that go stay in the store.
  void set_accounts(const AccountMap& accounts);
  // One that JetStream is on for.
  Account* find_account(std::string_view name);
  std::vector<Account*> accounts();
  broker::Server& server();
  broker::Shard& shard();
  io::Loop& loop();
  store::Store& store();
  Upkeep& upkeep();
  // Whether so many bytes more may be stored, by the limits of the whole server. Cheap.
  bool take_room(bool is_file, uint64_t bytes);
  Random& random();
  std::string next_id();  // a NUID
  ApiStats& api_stats();
  // Bytes that streams with max_bytes may take, over all accounts.
  uint64_t reserved_memory() const;
  uint64_t reserved_storage() const;
  uint64_t max_memory() const;
  uint64_t max_storage() const;
  Log& log();
  const Options& options() const;
  WallTime now() const;

 private:
  struct Impl;
  explicit JetStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace brokkr::jetstream
