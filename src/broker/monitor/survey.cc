#include "broker/monitor/survey.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "auth/account_rules.h"
#include "auth/authenticator.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

uint64_t own_subscriptions(const Account& account) {
  return account.interest().size() - account.stand_in_count();
}

SubscriptionReport report_of(const Subscription& subscription, uint64_t cid) {
  SubscriptionReport report;
  report.subject = subscription.pattern();
  report.queue = subscription.queue();
  report.sid = subscription.sid;
  report.messages = subscription.delivered;
  report.max = subscription.max_messages;
  report.cid = cid;
  return report;
}

// Shorter first puts the usual numbers in order.
bool is_sid_before(const SubscriptionReport& a, const SubscriptionReport& b) {
  if (a.sid.size() != b.sid.size()) return a.sid.size() < b.sid.size();
  return a.sid < b.sid;
}

std::vector<SubscriptionReport> subscriptions_of(const Connection& connection) {
  std::vector<SubscriptionReport> list;
  connection.for_each_subscription([&](const Subscription& subscription) {
    if (subscription.is_added()) list.push_back(report_of(subscription, connection.id()));
  });
  std::sort(list.begin(), list.end(), is_sid_before);
  return list;
}

// Only the numbers, which are cheap.
ConnectionReport figures_of(const Connection& connection) {
  ConnectionReport report;
  report.cid = connection.id();
  report.type = connection.type();
  report.start = connection.start_time();
  report.last_activity = connection.last_activity();
  report.round_trip = connection.round_trip();
  report.pending_bytes = connection.pending_bytes();
  report.traffic = connection.traffic();
  report.stalls = connection.stalls();
  report.subscription_count = connection.subscription_count();
  return report;
}

ConnectionReport figures_of(const ClosedConnection& closed) {
  ConnectionReport report;
  report.cid = closed.id;
  report.type = closed.type;
  report.start = closed.start;
  report.last_activity = closed.last_activity;
  report.stop = closed.stop;
  report.round_trip = closed.round_trip;
  report.pending_bytes = closed.pending_bytes;
  report.traffic = closed.traffic;
  report.subscription_count = closed.subscriptions;
  return report;
}

// As nats-server, which has no address for what came in without a socket.
void set_address(ConnectionReport& report, const std::string& host, uint16_t port) {
  if (port == 0) return;
  report.ip = host;
  report.port = port;
}

ConnectionReport report_of(const Connection& connection, const ConnzOptions& options) {
  ConnectionReport report = figures_of(connection);
  set_address(report, connection.peer().host, connection.peer().port);
  const protocol::ConnectOptions& connect = connection.connect_options();
  report.name = connect.name;
  report.lang = connect.lang;
  report.version = connect.version;
  report.user = connection.shown_user();
  report.account = connection.account()->name();
  report.tls = connection.origin().tls;
  if (connection.user() != nullptr) {
    report.issuer_key = connection.user()->issuer_key;
    report.tags = connection.user()->tags;
  }
  if (options.subscriptions || options.subscriptions_detail) {
    report.subscriptions = subscriptions_of(connection);
  }
  return report;
}

ConnectionReport report_of(const ClosedConnection& closed) {
  ConnectionReport report = figures_of(closed);
  set_address(report, closed.host, closed.port);
  report.reason = to_string(closed.reason);
  report.name = closed.name;
  report.lang = closed.lang;
  report.version = closed.version;
  report.user = closed.user;
  report.account = closed.account;
  report.tls = closed.tls;
  return report;
}

bool has_subscription_on(const Connection& connection, const std::string& subject) {
  bool found = false;
  connection.for_each_subscription([&](const Subscription& subscription) {
    found = found || (subscription.is_added() && subject::collide(subject, subscription.pattern()));
  });
  return found;
}

bool is_selected(const Connection& connection, const ConnzOptions& options) {
  if (!options.mqtt_client.empty()) return false;
  if (options.cid != 0 && connection.id() != options.cid) return false;
  if (!options.user.empty() && connection.shown_user() != options.user) return false;
  return options.filter_subject.empty() || has_subscription_on(connection, options.filter_subject);
}

bool is_selected(const ClosedConnection& closed, const ConnzOptions& options) {
  if (!options.mqtt_client.empty()) return false;
  if (options.cid != 0 && closed.id != options.cid) return false;
  return options.user.empty() || closed.user == options.user;
}

bool is_account_wanted(const std::string& wanted, const std::string& name) {
  return wanted.empty() || wanted == name;
}

}  // namespace

// --- asking ----------------------------------------------------------------------------------

// One question to several loops. Shared with what is queued on them, so it may outlive the asking.
template <typename T>
struct Survey::Round {
  std::function<T(Shard&, size_t)> question;
  std::vector<T> answers;
  size_t left = 0;
  bool is_given_up = false;  // under State::mutex, like `left`
};

template <typename T>
std::optional<std::vector<T>> Survey::ask(std::vector<uint32_t> shards,
                                          std::function<T(Shard&, size_t)> question) {
  auto round = std::make_shared<Round<T>>();
  round->question = std::move(question);
  round->answers.resize(shards.size());
  round->left = shards.size();
  for (size_t i = 0; i < shards.size(); ++i) {
    server_.post_to_shard(shards[i], [round, i, state = state_](Shard& shard) {
      if (state->is_cancelled.load(std::memory_order_acquire)) return;
      {
        const std::lock_guard lock(state->mutex);
        if (round->is_given_up) return;
      }
      // Each answer has its own place, so loops do not wait for each other.
      round->answers[i] = round->question(shard, i);
      const std::lock_guard lock(state->mutex);
      if (--round->left == 0) state->changed.notify_all();
    });
  }
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, kWaitMax,
                           [&] { return round->left == 0 || state_->is_cancelled; });
  if (round->left != 0) {
    round->is_given_up = true;
    return std::nullopt;
  }
  return std::move(round->answers);
}

template <typename T>
std::optional<std::vector<T>> Survey::ask_all(std::function<T(Shard&, size_t)> question) {
  std::vector<uint32_t> shards(server_.loop_count());
  for (uint32_t i = 0; i < shards.size(); ++i)
    shards[i] = i;
  return ask<T>(std::move(shards), std::move(question));
}

std::optional<std::optional<std::string>> Survey::jsz(const JszOptions& options) {
  using Answer = std::optional<std::string>;
  const auto answers = ask<Answer>({0}, [options](Shard& shard, size_t) -> Answer {
    JetStreamReporter* const jetstream = shard.server().jetstream();
    if (jetstream == nullptr) return std::nullopt;
    return jetstream->jsz(options);
  });
  if (!answers) return std::nullopt;
  return answers->front();
}

std::optional<std::optional<JetStreamSummary>> Survey::jetstream() {
  using Answer = std::optional<JetStreamSummary>;
  const auto answers = ask<Answer>({0}, [](Shard& shard, size_t) -> Answer {
    JetStreamReporter* const jetstream = shard.server().jetstream();
    if (jetstream == nullptr) return std::nullopt;
    return jetstream->summary();
  });
  if (!answers) return std::nullopt;
  return answers->front();
}

std::optional<JetStreamProblem> Survey::jetstream_health(const HealthzOptions& options) {
  const auto answers = ask<JetStreamProblem>({0}, [options](Shard& shard, size_t) {
    JetStreamReporter* const jetstream = shard.server().jetstream();
    if (jetstream == nullptr) return JetStreamProblem{};
    return jetstream->check_health(options.account, options.stream, options.consumer);
  });
  if (!answers) return std::nullopt;
  return answers->front();
}

std::optional<std::vector<LeafReport>> Survey::leafs(bool with_subscriptions) {
  using Answer = std::vector<LeafReport>;
  auto answers = ask<Answer>({0}, [with_subscriptions](Shard& shard, size_t) {
    LeafReporter* const leafs = shard.server().leafs();
    return leafs == nullptr ? Answer{} : leafs->leafs(with_subscriptions);
  });
  if (!answers) return std::nullopt;
  return std::move(answers->front());
}

std::optional<bool> Survey::kick(uint64_t id) {
  // Bytes, because a vector of bool shares them between loops.
  const auto answers = ask_all<char>([id](Shard& shard, size_t) -> char {
    Connection* const connection = shard.find_connection(id);
    if (connection == nullptr) {
      LeafReporter* const leafs = shard.index() == 0 ? shard.server().leafs() : nullptr;
      return leafs != nullptr && leafs->kick(id) ? 1 : 0;
    }
    connection->close_later(CloseReason::Kicked);
    shard.sweep();
    return 1;
  });
  if (!answers) return std::nullopt;
  return std::find(answers->begin(), answers->end(), 1) != answers->end();
}

std::optional<Survey::Notified> Survey::announce_lame_duck(uint64_t id) {
  const auto answers = ask_all<Notified>([id](Shard& shard, size_t) {
    Connection* const connection = shard.find_connection(id);
    if (connection == nullptr) return Notified::NoSuchClient;
    return connection->send_lame_duck_info() ? Notified::Yes : Notified::NotReady;
  });
  if (!answers) return std::nullopt;
  return *std::max_element(answers->begin(), answers->end());
}

std::optional<uint64_t> Survey::count_subscribers(const std::string& account,
                                                  const std::string& subject,
                                                  const std::string& queue) {
  const auto answers = ask_all<uint64_t>([=](Shard& shard, size_t) {
    uint64_t count = 0;
    for (const auto& known : shard.accounts()) {
      if (known->name() != account) continue;
      const auto count_in = [&](const subject::SubscriberList& list) {
        for (const subject::Subscriber* each : list) {
          const auto& subscription = static_cast<const Subscription&>(*each);
          if (subscription.kind == Subscription::Kind::Client) ++count;
        }
      };
      const bool is_literal = subject::is_literal(subject);
      known->interest().for_each([&](const subject::Interest& interest) {
        const bool is_wanted = is_literal ? subject::matches(interest.pattern(), subject)
                                          : subject::is_subset(interest.pattern(), subject);
        if (!is_wanted) return;
        if (queue.empty()) count_in(interest.subscribers());
        for (const auto* group = interest.first_group(); group != nullptr; group = group->next()) {
          if (queue.empty() || group->name() == queue) count_in(group->members());
        }
      });
    }
    return count;
  });
  if (!answers) return std::nullopt;
  uint64_t sum = 0;
  for (const uint64_t count : *answers)
    sum += count;
  return sum;
}

void Survey::cancel() {
  const std::lock_guard lock(state_->mutex);
  state_->is_cancelled.store(true, std::memory_order_release);
  state_->changed.notify_all();
}

// --- the server as a whole -------------------------------------------------------------------

std::optional<std::vector<LoopReport>> Survey::loops() {
  return ask_all<LoopReport>([](Shard& shard, size_t) {
    LoopReport report;
    report.connections = shard.connections().size();
    for (const auto& [id, connection] : shard.connections()) {
      report.pending_bytes += connection->pending_bytes();
    }
    report.stats = shard.stats();
    for (const auto& account : shard.accounts()) {
      report.interest.add(account->interest().stats(), own_subscriptions(*account));
    }
    return report;
  });
}

std::optional<std::vector<AccountReport>> Survey::accounts() {
  using Reports = std::map<std::string, AccountReport>;
  auto answers = ask_all<Reports>([](Shard& shard, size_t) {
    Reports reports;
    for (const auto& account : shard.accounts()) {
      reports[account->name()].interest.add(account->interest().stats(),
                                            own_subscriptions(*account));
    }
    const auto add = [](Traffic& into, const Traffic& more) {
      into.in_msgs += more.in_msgs;
      into.in_bytes += more.in_bytes;
      into.out_msgs += more.out_msgs;
      into.out_bytes += more.out_bytes;
    };
    for (const auto& account : shard.accounts()) {
      AccountReport& report = reports[account->name()];
      add(report.traffic, account->ended().traffic);
      report.slow_consumers = account->ended().slow_consumers;
      JetStreamReporter* const jetstream = shard.index() == 0 ? shard.server().jetstream() : nullptr;
      report.has_jetstream = jetstream != nullptr && jetstream->is_enabled_for(account->name());
    }
    for (const auto& [id, connection] : shard.connections()) {
      AccountReport& report = reports[connection->account()->name()];
      if (connection->was_open()) ++report.connections;
      add(report.traffic, connection->traffic());
    }
    if (LeafReporter* const leafs = shard.index() == 0 ? shard.server().leafs() : nullptr) {
      for (const LeafReport& leaf : leafs->leafs(false)) {
        AccountReport& report = reports[leaf.account];
        ++report.leafnodes;
        add(report.leaf_traffic, leaf.traffic);
      }
    }
    return reports;
  });
  if (!answers) return std::nullopt;
  Reports sum;
  const std::string system_account = server_.snapshot()->settings->system_account;
  sum[system_account];
  server_.snapshot()->authenticator->accounts()->for_each(
      [&](const auth::AccountRules& rules) { sum[rules.name]; });
  for (const Reports& reports : *answers) {
    for (const auto& [name, report] : reports) {
      AccountReport& into = sum[name];
      into.connections += report.connections;
      into.slow_consumers += report.slow_consumers;
      into.traffic.in_msgs += report.traffic.in_msgs;
      into.traffic.in_bytes += report.traffic.in_bytes;
      into.traffic.out_msgs += report.traffic.out_msgs;
      into.traffic.out_bytes += report.traffic.out_bytes;
      into.has_jetstream = into.has_jetstream || report.has_jetstream;
      into.leafnodes += report.leafnodes;
      into.leaf_traffic.in_msgs += report.leaf_traffic.in_msgs;
      into.leaf_traffic.in_bytes += report.leaf_traffic.in_bytes;
      into.leaf_traffic.out_msgs += report.leaf_traffic.out_msgs;
      into.leaf_traffic.out_bytes += report.leaf_traffic.out_bytes;
      into.interest.add(report.interest);
    }
  }
  std::vector<AccountReport> list;
  for (auto& [name, report] : sum) {
    report.name = name;
    list.push_back(std::move(report));
  }
  return list;
}

// --- connections -----------------------------------------------------------------------------

struct Survey::KeyList {
  std::vector<ConnectionKey> keys;
  uint64_t total = 0;  // before selection by user, cid or subject
  bool is_account_known = false;
};

std::optional<Connz> Survey::connz(const ConnzOptions& options, WallTime now) {
  auto answers = ask_all<KeyList>([options, now](Shard& shard, size_t index) {
    KeyList list;
    for (const auto& account : shard.accounts()) {
      if (account->name() == options.account) list.is_account_known = true;
    }
    const auto shard_index = static_cast<uint32_t>(index);
    if (options.state != ConnzState::Closed) {
      for (const auto& [id, connection] : shard.connections()) {
        if (!is_account_wanted(options.account, connection->account()->name())) continue;
        ++list.total;
        if (!is_selected(*connection, options)) continue;
        const int64_t rank = rank_of(options.sort, figures_of(*connection), now);
        list.keys.push_back({id, shard_index, false, rank, {}});
      }
    }
    if (options.state == ConnzState::Open) return list;
    for (const ClosedConnection& closed : shard.closed_connections()) {
      if (!is_account_wanted(options.account, closed.account)) continue;
      ++list.total;
      if (!is_selected(closed, options)) continue;
      const int64_t rank = rank_of(options.sort, figures_of(closed), now);
      list.keys.push_back({closed.id, shard_index, true, rank, {}});
      if (options.sort == ConnzSort::Reason) list.keys.back().reason = to_string(closed.reason);
    }
    return list;
  });
  if (!answers) return std::nullopt;
  Connz connz;
  connz.server_id = server_.snapshot()->settings->server_id;
  connz.now = now;
  connz.is_account_known = options.account.empty() || options.account == server_.snapshot()->settings->system_account;
  std::vector<ConnectionKey> keys;
  for (KeyList& list : *answers) {
    connz.total += list.total;
    connz.is_account_known = connz.is_account_known || list.is_account_known;
    std::move(list.keys.begin(), list.keys.end(), std::back_inserter(keys));
  }
  auto reports = fetch(select_page(std::move(keys), options), options);
  if (!reports) return std::nullopt;
  connz.connections = std::move(*reports);
  return connz;
}

// The full reports of a page, in its order. What ended since it was selected is taken from the
// closed ones, and left out when those are not asked for.
std::optional<std::vector<ConnectionReport>> Survey::fetch(const std::vector<ConnectionKey>& page,
                                                           const ConnzOptions& options) {
  std::vector<ConnectionReport> reports;
  reports.reserve(page.size());
  for (size_t begin = 0; begin < page.size(); begin += kConnectionsPerVisit) {
    const size_t end = std::min(page.size(), begin + kConnectionsPerVisit);
    // By shard: the ids wanted there.
    std::map<uint32_t, std::unordered_set<uint64_t>> wanted;
    for (size_t i = begin; i < end; ++i)
      wanted[page[i].shard].insert(page[i].cid);
    std::vector<uint32_t> shards;
    std::vector<std::unordered_set<uint64_t>> ids;
    for (auto& [shard, set] : wanted) {
      shards.push_back(shard);
      ids.push_back(std::move(set));
    }
    using Found = std::unordered_map<uint64_t, ConnectionReport>;
    auto answers = ask<Found>(shards, [ids, options](Shard& shard, size_t index) {
      Found found;
      for (const uint64_t id : ids[index]) {
        const Connection* connection = shard.find_connection(id);
        if (connection != nullptr) found.emplace(id, report_of(*connection, options));
      }
      if (options.state == ConnzState::Open) return found;
      for (const ClosedConnection& closed : shard.closed_connections()) {
        if (found.size() == ids[index].size()) break;
        if (ids[index].contains(closed.id)) found.emplace(closed.id, report_of(closed));
      }
      return found;
    });
    if (!answers) return std::nullopt;
    for (size_t i = begin; i < end; ++i) {
      const auto shard = std::find(shards.begin(), shards.end(), page[i].shard) - shards.begin();
      auto& found = (*answers)[static_cast<size_t>(shard)];
      const auto report = found.find(page[i].cid);
      if (report != found.end()) reports.push_back(std::move(report->second));
    }
  }
  return reports;
}

// --- subscriptions ---------------------------------------------------------------------------

// How far the listing of one loop's subscriptions has come.
struct Survey::SubscriptionVisit {
  std::vector<uint64_t> left;  // connections still to look at, the next one last
  std::vector<SubscriptionReport> found;
};

std::optional<Subsz> Survey::subsz(const SubszOptions& options, WallTime now) {
  auto summaries = ask_all<InterestSummary>([options](Shard& shard, size_t) {
    InterestSummary summary;
    for (const auto& account : shard.accounts()) {
      if (!is_account_wanted(options.account, account->name())) continue;
      summary.add(account->interest().stats(), own_subscriptions(*account));
    }
    return summary;
  });
  if (!summaries) return std::nullopt;
  Subsz subsz;
  subsz.server_id = server_.snapshot()->settings->server_id;
  subsz.now = now;
  for (const InterestSummary& summary : *summaries)
    subsz.summary.add(summary);
  if (!options.subscriptions) return subsz;
  auto list = list_subscriptions(options, subsz.total);
  if (!list) return std::nullopt;
  subsz.subscriptions = std::move(*list);
  return subsz;
}

namespace {

// The server's own subscriptions belong to no connection; they are found in the trees, which is
// done only where there are any.
void add_internal(const Shard& shard, const SubszOptions& options,
                  std::vector<SubscriptionReport>& into) {
  std::unordered_map<const Account*, size_t> client_owned;
  for (const auto& [id, connection] : shard.connections()) {
    client_owned[connection->account()] += connection->subscription_count();
  }
  for (const auto& account : shard.accounts()) {
    if (!is_account_wanted(options.account, account->name())) continue;
    if (own_subscriptions(*account) <= client_owned[account.get()]) continue;
    account->interest().for_each([&](const subject::Interest& interest) {
      const auto add = [&](const subject::SubscriberList& list) {
        for (const subject::Subscriber* each : list) {
          const auto& subscription = static_cast<const Subscription&>(*each);
          if (subscription.kind != Subscription::Kind::Internal) continue;
          into.push_back(report_of(subscription, 0));
          into.back().account = account->name();
        }
      };
      add(interest.subscribers());
      for (const auto* group = interest.first_group(); group != nullptr; group = group->next()) {
        add(group->members());
      }
    });
  }
}

}  // namespace

// Ordered by loop, connection and sid, so that pages fit together. Only the page is kept.
std::optional<std::vector<SubscriptionReport>> Survey::list_subscriptions(
    const SubszOptions& options, uint64_t& total) {
  std::vector<SubscriptionReport> page;
  const auto take = [&](std::vector<SubscriptionReport>& found) {
    for (SubscriptionReport& each : found) {
      if (!options.test.empty() && !subject::matches(each.subject, options.test)) continue;
      if (total >= options.offset && page.size() < options.limit) page.push_back(std::move(each));
      ++total;
    }
    found.clear();
  };
  auto visits = ask_all<SubscriptionVisit>([options](Shard& shard, size_t) {
    SubscriptionVisit visit;
    add_internal(shard, options, visit.found);
    for (const auto& [id, connection] : shard.connections()) {
      if (is_account_wanted(options.account, connection->account()->name())) {
        visit.left.push_back(id);
      }
    }
    std::sort(visit.left.rbegin(), visit.left.rend());
    return visit;
  });
  if (!visits) return std::nullopt;
  for (uint32_t i = 0; i < visits->size(); ++i) {
    SubscriptionVisit visit = std::move((*visits)[i]);
    take(visit.found);
    while (!visit.left.empty()) {
      auto next = ask<SubscriptionVisit>({i}, [left = std::move(visit.left)](Shard& shard, size_t) {
        SubscriptionVisit more{left, {}};
        for (size_t looked_at = 0; !more.left.empty() && looked_at < kConnectionsPerVisit &&
                                   more.found.size() < kSubscriptionsPerVisit;
             ++looked_at) {
          const Connection* connection = shard.find_connection(more.left.back());
          more.left.pop_back();
          if (connection == nullptr) continue;
          for (SubscriptionReport& each : subscriptions_of(*connection)) {
            each.account = connection->account()->name();
            more.found.push_back(std::move(each));
          }
        }
        return more;
      });
      if (!next) return std::nullopt;
      visit = std::move(next->front());
      take(visit.found);
    }
  }
  return page;
}

}  // namespace brokkr::broker
