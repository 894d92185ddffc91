#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/shard.h"
#include "io/loop.h"
#include "jetstream/api.h"

namespace brokkr::jetstream {

class Account;
class JetStream;

// Listens to `$JS.API` for the accounts and has requests answered one after the other, between
// messages. Those that come too fast are dropped, with an advisory. Loop-confined.
class ApiService final : private io::Task {
 public:
  explicit ApiService(JetStream& jetstream);
  ~ApiService() override;

  // Accounts outlive the service.
  void serve(Account& account);
  // The requests to the whole server, from its own account.
  void serve_system(Account& account);
  // Drops what waits and hears nothing more.
  void stop();
  size_t waiting() const { return queue_.size(); }

 private:
  void run() override;
  void listen(Account& account, const std::string& tail);
  void forward(Account& account, const std::string& pattern, size_t prefix_size,
               std::string_view prefix);
  void take(Account& account, std::string_view subject, const broker::Message& message);
  void dispatch(const ApiRequest& request);
  void tell_dropped();

  JetStream& jetstream_;
  std::deque<ApiRequest> queue_;
  uint64_t dropped_ = 0;  // not told yet
  Account* dropped_of_ = nullptr;
  std::vector<std::unique_ptr<broker::InternalSubscription>> subscriptions_;
};

}  // namespace brokkr::jetstream
