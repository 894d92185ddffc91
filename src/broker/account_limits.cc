// What an account may have on all loops together: connections and subscriptions.
#include "auth/account_rules.h"
#include "broker/account.h"
#include "broker/connection.h"

namespace brokkr::broker {

// Counts the connection in the total of the account it is about to be opened for. False when the
// account has as many as it may.
bool Connection::join_account() {
  leave_account();
  const auth::AccountRules* rules = account_->rules();
  if (rules == nullptr) return true;
  totals_ = rules->totals;
  const int64_t others = totals_->connections.fetch_add(1, std::memory_order_relaxed);
  const int64_t most = rules->settings.max_connections;
  if (most < 0 || others < most) return true;
  leave_account();
  return false;
}

void Connection::leave_account() {
  if (totals_ == nullptr) return;
  totals_->connections.fetch_sub(1, std::memory_order_relaxed);
  totals_.reset();
}

// False when the account has as many subscriptions as it may.
bool Connection::count_subscription(Subscription& subscription) {
  const auth::AccountRules* rules = account_->rules();
  if (rules == nullptr || totals_ == nullptr || rules->settings.max_subscriptions < 0) return true;
  const int64_t others = totals_->subscriptions.fetch_add(1, std::memory_order_relaxed);
  subscription.is_counted = true;
  if (others < rules->settings.max_subscriptions) return true;
  discount_subscription(subscription);
  return false;
}

void Connection::discount_subscription(Subscription& subscription) {
  if (!subscription.is_counted) return;
  subscription.is_counted = false;
  if (totals_ != nullptr) totals_->subscriptions.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace brokkr::broker
