#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/callback.h"
#include "base/hash.h"
#include "io/loop.h"

namespace brokkr::broker {

class Account;
class InterestWatch;
class InterestWatches;

// Tells the watches of one loop whose subjects may have gained or lost their interest, once the
// message or command at hand is done. Loop-confined.
class InterestNews final : private io::Task {
 public:
  explicit InterestNews(io::Loop& loop) : loop_(loop) {}
  void add(InterestWatch& watch);
  void remove(InterestWatch& watch);

 private:
  void run() override;
  io::Loop& loop_;
  std::vector<InterestWatch*> news_;
  InterestWatch* running_ = nullptr;  // whose handler runs; null again when it was destroyed
};

// Somebody's wish to know whether anybody subscribes to a subject: exactly to it, a subscription with
// wildcards does not count, as with nats-server's push consumers. With a queue only that group
// counts, without only subscriptions of no group. Ends when destroyed.
class InterestWatch {
 public:
  using Handler = Callback<void(bool is_interested)>;
  InterestWatch(Account& account, InterestNews& news, std::string_view subject,
                std::string_view queue, Handler handler);
  ~InterestWatch();
  InterestWatch(const InterestWatch&) = delete;
  InterestWatch& operator=(const InterestWatch&) = delete;
  const std::string& subject() const { return subject_; }
  bool is_interested() const { return is_interested_; }

 private:
  friend class InterestNews;
  bool look() const;
  Account& account_;
  InterestNews& news_;
  const std::string subject_;
  const std::string queue_;
  Handler handler_;
  bool is_interested_;
  bool is_queued_ = false;
};

// The watches of one account. A change costs nothing while there are none, else one look-up.
// Loop-confined.
class InterestWatches {
 public:
  bool empty() const { return watches_.empty(); }
  void add(InterestWatch& watch) { watches_.emplace(watch.subject(), &watch); }
  void remove(InterestWatch& watch);
  // The interest in `pattern` has changed.
  void mark(std::string_view pattern, InterestNews& news);

 private:
  // The keys are the watches' own texts.
  std::unordered_multimap<std::string_view, InterestWatch*, StringHash> watches_;
};

}  // namespace brokkr::broker
