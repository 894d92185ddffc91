#pragma once

#include <memory>
#include <vector>

#include "jetstream/api.h"

namespace brokkr::jetstream {

class Account;
class Stream;

// One backup or restore on its way.
class Transfer {
 public:
  virtual ~Transfer() = default;
};

// The backups and restores of one account, each at its own pace. Loop-confined; owned by the account.
class Transfers {
 public:
  explicit Transfers(Account& account);
  ~Transfers();

  // Both have been checked for whatever concerns the API in general; they answer.
  void start_snapshot(const ApiRequest& request);
  void start_restore(const ApiRequest& request);
  // The transfer is over; it is destroyed. Not from within its own subscription's callback.
  void end(const Transfer& transfer);
  size_t size() const { return transfers_.size(); }

 private:
  Account& account_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
};

}  // namespace brokkr::jetstream
