#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "broker/interest_watch.h"
#include "broker/traffic.h"
#include "subject/interest_tree.h"

namespace brokkr::auth {
struct AccountRules;
}

namespace brokkr::broker {

class AccountRoutes;

// The global account: everybody's, unless a user says otherwise.
constexpr std::string_view kGlobalAccount = "$G";

class Account;
struct Subscription;

// Hears of every change of an account's interest, also of what other loops have. Called while nothing
// is being delivered; must not change interest.
class InterestObserver {
 public:
  virtual ~InterestObserver() = default;
  // `change` subscriptions more, or fewer, like `which` on `pattern`, in the group `queue` unless empty.
  virtual void on_interest_changed(Account& account, std::string_view pattern,
                                   std::string_view queue, const Subscription& which,
                                   int64_t change) = 0;
};

// One tenant as one loop sees it: its interest and nothing of anybody else's. Loop-confined.
class Account {
 public:
  Account(std::string name, uint64_t hash_seed);
  ~Account();
  const std::string& name() const { return name_; }
  subject::InterestTree& interest() { return interest_; }
  const subject::InterestTree& interest() const { return interest_; }
  // Whether anybody subscribes to it, here or on another loop.
  bool has_interest(std::string_view subject) { return interest_.has_interest(subject); }
  InterestWatches& watches() { return watches_; }
  // Null while nobody wants to know.
  InterestObserver* observer() const { return observer_; }
  void set_observer(InterestObserver* observer) { observer_ = observer; }
  // How many entries of `interest` stand for what other loops have.
  size_t stand_in_count() const { return stand_ins_; }
  void add_stand_in() { ++stand_ins_; }
  void remove_stand_in() { --stand_ins_; }
  // What the account's connections that have ended did here.
  struct Ended {
    Traffic traffic;
    uint64_t slow_consumers = 0;
  };
  Ended& ended() { return ended_; }
  const Ended& ended() const { return ended_; }

  // What is configured for it; null for an account without rules.
  const auth::AccountRules* rules() const { return rules_.get(); }
  // Mappings and imports; null while it has neither.
  AccountRoutes* routes() const { return routes_.get(); }
  void set_rules(std::shared_ptr<const auth::AccountRules> rules) { rules_ = std::move(rules); }
  void set_routes(std::unique_ptr<AccountRoutes> routes);

 private:
  const std::string name_;
  subject::InterestTree interest_;
  InterestWatches watches_;
  InterestObserver* observer_ = nullptr;
  size_t stand_ins_ = 0;
  Ended ended_;
  std::shared_ptr<const auth::AccountRules> rules_;
  std::unique_ptr<AccountRoutes> routes_;
};

}  // namespace brokkr::broker
