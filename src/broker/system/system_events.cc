// What SystemServices tells by itself: who comes and goes, and how the server is.
#include "auth/authenticator.h"
#include "base/random.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/system/services.h"

namespace brokkr::broker {
namespace {

// The first figures come soon after the start, later ones this far apart at most.
constexpr Duration kFirstBeat = std::chrono::milliseconds(250);
// An account's figures are told again this often though nothing changed.
constexpr Duration kAccountsEvery = std::chrono::seconds(30);
constexpr Duration kBeatMax = std::chrono::seconds(10);

// Heard by the account a refused client belonged to, as far as that is known.
constexpr std::string_view kAccountAuthError = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

struct ClientTimes {
  bool has_stopped = false;
  WallTime stop;
};

// Who a connection was, as events tell it.
void write_client(json::Writer& out, const Connection& connection, const ClientTimes& times) {
  const auto text = [&out](std::string_view name, std::string_view value) {
    if (!value.empty()) out.field(name, value);
  };
  const std::string& account = connection.account()->name();
  out.begin_object();
  out.field("start", format_rfc3339(connection.start_time()));
  text("host", connection.peer().host);
  out.field("id", connection.id());
  text("acc", account);
  text("user", connection.shown_user());
  text("name", connection.connect_options().name);
  text("lang", connection.connect_options().lang);
  text("ver", connection.connect_options().version);
  if (times.has_stopped) {
    // Of one that never got far enough to be measured, the time it was there.
    const Duration there = times.stop - connection.start_time();
    const Duration round_trip = connection.was_open() ? connection.round_trip() : there;
    if (round_trip > Duration::zero()) out.field("rtt", int64_t{round_trip.count()});
    out.field("stop", format_rfc3339(times.stop));
  }
  const auth::User* const user = connection.user();
  if (user != nullptr) text("issuer_key", user->issuer_key);
  text("name_tag", account);
  if (user != nullptr && !user->tags.empty()) {
    out.key("tags").begin_array();
    for (const std::string& tag : user->tags)
      out.string(tag);
    out.end_array();
  }
  out.field("kind", "Client").field("client_type", client_type_name(connection.type()));
  out.end_object();
}

void write_counts(json::Writer& out, std::string_view name, uint64_t messages, uint64_t bytes) {
  out.key(name).begin_object().field("msgs", messages).field("bytes", bytes).end_object();
}

bool is_refusal(CloseReason reason) {
  return reason == CloseReason::AuthenticationFailure ||
         reason == CloseReason::AuthenticationTimeout ||
         reason == CloseReason::AuthenticationExpired || reason == CloseReason::MissingAccount ||
         reason == CloseReason::MaxConnectionsExceeded ||
         reason == CloseReason::AccountConnectionsExceeded;
}

}  // namespace

void SystemServices::on_connected(Shard& shard, const Connection& connection) {
  const std::string& account = connection.account()->name();
  mark_account(shard, account);
  Account& system = shard.system_account();
  const std::string subject = "$SYS.ACCOUNT." + account + ".CONNECT";
  if (!system.has_interest(subject)) return;
  const std::string now = format_rfc3339(shard.loop().clock().wall_now());
  json::Writer out;
  out.begin_object();
  write_event_head(out, "io.nats.server.advisory.v1.client_connect", shard.random(), now);
  out.key("server").begin_object();
  identity_.write(out);
  out.end_object().key("client");
  write_client(out, connection, {});
  out.end_object();
  shard.publish(system, subject, {}, {}, out.text());
}

void SystemServices::on_closed(Shard& shard, const Connection& connection) {
  const bool is_refused = is_refusal(connection.close_reason());
  if (is_refused) {
    shard.log().info(connection.log_name() + " - Refused: " +
                     std::string(to_string(connection.close_reason())));
  }
  const bool has_failed = !connection.was_open() &&
                          connection.close_reason() == CloseReason::AuthenticationFailure;
  std::string subject;
  if (connection.was_open()) {
    const std::string& account = connection.account()->name();
    mark_account(shard, account);
    subject = "$SYS.ACCOUNT." + account + ".DISCONNECT";
  } else if (has_failed) {
    subject = "$SYS.SERVER." + shard.settings().server_id + ".CLIENT.AUTH.ERR";
  }
  Account& system = shard.system_account();
  Account& own = *connection.account();
  const bool tells_system = !subject.empty() && system.has_interest(subject);
  const bool tells_account = has_failed && own.has_interest(kAccountAuthError);
  if (!tells_system && !tells_account) return;
  const WallTime now = shard.loop().clock().wall_now();
  json::Writer out;
  out.begin_object();
  write_event_head(out, "io.nats.server.advisory.v1.client_disconnect", shard.random(),
                   format_rfc3339(now));
  out.key("server").begin_object();
  identity_.write(out);
  out.end_object().key("client");
  write_client(out, connection, {true, now});
  // Told from the client's side.
  write_counts(out, "sent", connection.traffic().in_msgs, connection.traffic().in_bytes);
  write_counts(out, "received", connection.traffic().out_msgs, connection.traffic().out_bytes);
  out.field("reason", to_string(connection.close_reason())).end_object();
  if (tells_system) shard.publish(system, subject, {}, {}, out.text());
  if (tells_account) shard.publish(own, kAccountAuthError, {}, {}, out.text());
}

// --- how many connections an account has --------------------------------------------------------

bool SystemServices::is_account_watched(Shard& shard, const std::string& account) {
  Account& system = shard.system_account();
  return account != kGlobalAccount &&
         (system.has_interest("$SYS.ACCOUNT." + account + ".SERVER.CONNS") ||
          system.has_interest("$SYS.SERVER.ACCOUNT." + account + ".CONNS"));
}

void SystemServices::mark_account(Shard& shard, const std::string& account) {
  if (!is_account_watched(shard, account)) return;
  main_loop_.post([this, alive = is_alive_, account] {
    if (*alive) tell_account(account, true);
  });
}

// The figures are all loops' sum, so another thread asks for them; changes meanwhile share an answer.
void SystemServices::tell_account(const std::string& account, bool is_change) {
  bool& known_change = told_accounts_[account];
  known_change = known_change || is_change;
  if (!is_updating_accounts_) send_account_updates();
}

void SystemServices::send_account_updates() {
  if (told_accounts_.empty()) return;
  auto names = std::make_shared<std::unordered_map<std::string, bool>>();
  names->swap(told_accounts_);
  auto events = std::make_shared<std::vector<std::pair<std::string, std::string>>>();
  is_updating_accounts_ = worker_->run(
      main_loop_,
      [this, names, events] {
        const auto accounts = pages_.survey().accounts();
        if (!accounts) return;
        for (const AccountReport& account : *accounts) {
          const auto found = names->find(account.name);
          if (found == names->end()) continue;
          const bool is_used = account.connections + account.leafnodes > 0;
          if (found->second || is_used) {
            events->emplace_back(account.name, account_event(account));
          }
        }
      },
      [this, alive = is_alive_, events] {
        if (!*alive) return;
        Account& system = main_shard_->system_account();
        for (const auto& [name, event] : *events) {
          main_shard_->publish(system, "$SYS.SERVER.ACCOUNT." + name + ".CONNS", {}, {}, event);
          main_shard_->publish(system, "$SYS.ACCOUNT." + name + ".SERVER.CONNS", {}, {}, event);
        }
        is_updating_accounts_ = false;
        send_account_updates();
      });
}

std::string SystemServices::account_event(const AccountReport& account) {
  SeededRandom random(secure_seed());
  json::Writer out;
  out.begin_object();
  write_event_head(out, "io.nats.server.advisory.v1.account_connections", random,
                   format_rfc3339(server_.clock().wall_now()));
  out.key("server").begin_object();
  identity_.write(out);
  out.end_object();
  write_account_statistics(out, account);
  out.end_object();
  return out.take();
}

// --- the server itself ----------------------------------------------------------------------------

void SystemServices::start_heartbeat() {
  heartbeat_ = std::make_unique<io::Timer>(main_loop_, [this] { beat(); });
  heartbeat_every_ = kFirstBeat;
  heartbeat_->start(heartbeat_every_);
}

void SystemServices::beat() {
  heartbeat_every_ = std::min(heartbeat_every_ * 2, kBeatMax);
  heartbeat_->start(heartbeat_every_);
  if (main_loop_.now() >= accounts_due_) {
    accounts_due_ = main_loop_.now() + kAccountsEvery;
    for (const auto& account : main_shard_->accounts()) {
      if (is_account_watched(*main_shard_, account->name())) tell_account(account->name(), false);
    }
  }
  const std::string subject =
      "$SYS.SERVER." + server_.snapshot()->settings->server_id + ".STATSZ";
  if (!main_shard_->system_account().has_interest(subject)) return;
  auto request = std::make_shared<Request>();
  request->kind = Service::Kind::Statsz;
  request->reply_account = server_.snapshot()->settings->system_account;
  put(std::move(request));
}

void SystemServices::announce_lame_duck() {
  announce("LAMEDUCK");
}

void SystemServices::announce_shutdown() {
  announce("SHUTDOWN");
}

void SystemServices::announce(std::string_view event) {
  if (main_shard_ == nullptr) return;
  const std::string subject =
      "$SYS.SERVER." + server_.snapshot()->settings->server_id + "." + std::string(event);
  json::Writer out;
  out.begin_object();
  identity_.write(out);
  out.end_object();
  main_shard_->publish(main_shard_->system_account(), subject, {}, {}, out.text());
}

}  // namespace brokkr::broker
