#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/system/identity.h"
#include "io/loop.h"

namespace brokkr::broker {

class AccountLoader;
class InternalSubscription;
class Shard;
struct Message;

// What nsc push, pull and delete, and `nats auth account push` ask: $SYS.REQ.CLAIMS.> and
// $SYS.REQ.ACCOUNT.<id>.CLAIMS.>, in the system account. With a folder of JWTs everything; without
// one accounts in use can be updated, until the server ends. Main loop only.
class ClaimsServices {
 public:
  explicit ClaimsServices(AccountLoader& loader);
  ~ClaimsServices();
  void start(Shard& main_shard);

 private:
  // A request on its way; the message it came in is gone by the time it is answered.
  struct Request {
    std::string account;  // of the subject; empty without one
    std::string reply;
    std::string body;
  };
  using Handler = void (ClaimsServices::*)(const Request&);

  void subscribe(const std::string& pattern, std::string_view queue, size_t account_token,
                 Handler handler);
  void update(const Request&);
  void look_up(const Request&);
  void list(const Request&);
  void pack(const Request&);
  void remove(const Request&);
  void merge(const Request&);
  void sync();

  void put_to_work(const std::string& id, const std::string& jwt);
  void send(const std::string& reply, std::string_view body);
  void answer(const Request&, const std::string& account, const std::string& message,
              const std::string& error = {});

  AccountLoader& loader_;
  ServerIdentity identity_;
  Shard* shard_ = nullptr;
  std::shared_ptr<bool> is_alive_;
  std::string sync_inbox_;
  std::unique_ptr<io::Timer> sync_timer_;
  std::vector<std::unique_ptr<InternalSubscription>> subscriptions_;
};

}  // namespace brokkr::broker
