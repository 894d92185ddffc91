#include "broker/system/system_services.h"

#include "auth/authenticator.h"
#include "auth/permissions.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/system/request.h"
#include "broker/system/services.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

// Requests that wait for the thread; more are not answered.
constexpr size_t kWaitingMax = 4096;
constexpr size_t kAccountToken = 3;

void write_texts(json::Writer& out, std::string_view name, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  out.key(name).begin_array();
  for (const std::string& text : texts)
    out.string(text);
  out.end_array();
}

void write_permissions(json::Writer& out, const auth::PermissionRules& rules) {
  out.begin_object();
  const auto side = [&out](std::string_view name, const auth::PermissionRules::Side& what) {
    out.key(name).begin_object();
    write_texts(out, "allow", what.allow);
    write_texts(out, "deny", what.deny);
    out.end_object();
  };
  side("publish", rules.publish);
  side("subscribe", rules.subscribe);
  if (rules.allow_responses) {
    out.key("responses").begin_object();
    out.field("max", rules.responses_max).field("ttl", int64_t{rules.responses_ttl.count()});
    out.end_object();
  }
  out.end_object();
}

}  // namespace

constexpr SystemServices::Service SystemServices::kServices[] = {
    {"IDZ", Service::Kind::Idz, Service::Scope::Servers},
    {"STATSZ", Service::Kind::Statsz, Service::Scope::Servers},
    {"VARZ", Service::Kind::Varz, Service::Scope::Servers},
    {"SUBSZ", Service::Kind::Subsz, Service::Scope::Servers},
    {"CONNZ", Service::Kind::Connz, Service::Scope::Servers},
    {"ROUTEZ", Service::Kind::Routez, Service::Scope::Servers},
    {"GATEWAYZ", Service::Kind::Gatewayz, Service::Scope::Servers},
    {"LEAFZ", Service::Kind::Leafz, Service::Scope::Servers},
    {"ACCOUNTZ", Service::Kind::Accountz, Service::Scope::Servers},
    {"JSZ", Service::Kind::Jsz, Service::Scope::Servers},
    {"HEALTHZ", Service::Kind::Healthz, Service::Scope::Servers},
    {"PROFILEZ", Service::Kind::Profilez, Service::Scope::Servers},
    {"EXPVARZ", Service::Kind::Expvarz, Service::Scope::Servers},
    {"IPQUEUESZ", Service::Kind::Ipqueuesz, Service::Scope::Servers},
    {"RAFTZ", Service::Kind::Raftz, Service::Scope::Servers},
    {"RELOAD", Service::Kind::Reload, Service::Scope::ThisServer},
    {"KICK", Service::Kind::Kick, Service::Scope::ThisServer},
    {"LDM", Service::Kind::LameDuck, Service::Scope::ThisServer},
    {"SUBSZ", Service::Kind::AccountSubsz, Service::Scope::Account},
    {"CONNZ", Service::Kind::AccountConnz, Service::Scope::Account},
    {"LEAFZ", Service::Kind::AccountLeafz, Service::Scope::Account},
    {"JSZ", Service::Kind::AccountJsz, Service::Scope::Account},
    {"INFO", Service::Kind::AccountInfo, Service::Scope::Account},
    {"STATZ", Service::Kind::AccountStatz, Service::Scope::Account},
    {"CONNS", Service::Kind::AccountConns, Service::Scope::Account},
    {"$SYS.REQ.SERVER.PING", Service::Kind::Statsz, Service::Scope::Whole},
    {"$SYS.REQ.ACCOUNT.PING.STATZ", Service::Kind::AllAccountStatz, Service::Scope::Whole},
    {"$SYS.REQ.ACCOUNT.NSUBS", Service::Kind::CountRequest, Service::Scope::Whole},
    {"$SYS.DEBUG.SUBSCRIBERS", Service::Kind::CountSubscribers, Service::Scope::Whole},
};

SystemServices::SystemServices(Server& server, io::Loop& main_loop)
    : server_(server),
      main_loop_(main_loop),
      identity_(server),
      pages_(server),
      is_alive_(std::make_shared<bool>(true)),
      worker_(std::make_unique<io::Worker>("system")) {
  worker_->set_queue_max(kWaitingMax);
}

SystemServices::~SystemServices() {
  stop();
  join();
}

void SystemServices::start(Shard& main_shard) {
  main_shard_ = &main_shard;
  const std::string id = server_.snapshot()->settings->server_id;
  for (const Service& service : kServices) {
    const std::string name = service.name;
    switch (service.scope) {
      case Service::Scope::Servers:
        subscribe("$SYS.REQ.SERVER.PING." + name, service);
        [[fallthrough]];
      case Service::Scope::ThisServer: subscribe("$SYS.REQ.SERVER." + id + "." + name, service); break;
      case Service::Scope::Account: subscribe("$SYS.REQ.ACCOUNT.*." + name, service); break;
      case Service::Scope::Whole: subscribe(name, service); break;
    }
  }
  start_heartbeat();
}

void SystemServices::stop() {
  if (!*is_alive_) return;
  *is_alive_ = false;
  heartbeat_.reset();
  subscriptions_.clear();
  pages_.cancel();
  main_shard_ = nullptr;
}

void SystemServices::join() {
  worker_.reset();
}

void SystemServices::subscribe(const std::string& pattern, const Service& service) {
  subscriptions_.push_back(main_shard_->subscribe(
      main_shard_->system_account(), pattern, {},
      [this, &service](const Message& message) { on_message(service, message); }));
}

void SystemServices::on_message(const Service& service, const Message& message) {
  auto request = std::make_shared<Request>();
  request->kind = service.kind;
  if (service.scope == Service::Scope::Account) {
    request->account = subject::token_at(message.subject, kAccountToken);
    // "PING" stands for all accounts; those requests have services of their own.
    if (request->account == "PING" && service.kind == Service::Kind::AccountStatz) return;
  }
  request->reply_account = server_.snapshot()->settings->system_account;
  request->reply = message.reply;
  request->headers = message.payload.substr(0, message.header_size);
  request->body = message.payload.substr(message.header_size);
  put(std::move(request));
}

// Any shard's loop.
void SystemServices::put(std::shared_ptr<const Request> request) {
  if (request->reply.empty() && request->kind != Service::Kind::Statsz) return;
  if (request->kind == Service::Kind::Reload) {
    return main_loop_.post([this, alive = is_alive_, request] {
      if (*alive) reload(*request);
    });
  }
  auto reply = std::make_shared<std::optional<Reply>>();
  worker_->run(
      main_loop_, [this, request, reply] { *reply = answer(*request); },
      [this, alive = is_alive_, request, reply] {
        if (*alive && *reply) send(*request, **reply);
      });
}

void SystemServices::send(const Request& request, const Reply& reply) {
  std::string to = request.reply;
  if (to.empty()) to = "$SYS.SERVER." + server_.snapshot()->settings->server_id + ".STATSZ";
  main_shard_->publish(main_shard_->account(request.reply_account), to, {}, reply.headers,
                       reply.body);
}

void SystemServices::reload(const Request& request) {
  OptionReader reader(request.body);
  if (!reader.has_failed() && !is_meant(reader, *server_.snapshot()->settings)) return;
  if (reader.has_failed()) return send(request, {{}, identity_.wrap_error(400, reader.error())});
  const Status done = reload_ ? reload_() : Error{Errc::Unsupported, "no configuration file"};
  send(request, {{}, done ? identity_.wrap({}) : identity_.wrap_error(500, done.error().text)});
}

// --- what every account may ask ----------------------------------------------------------------

bool SystemServices::take_request(Shard& shard, Account& account, Connection& from,
                                  const Message& message) {
  std::string_view what = message.subject;
  what.remove_prefix(kSystemRequestPrefix.size());
  if (what == "USER.INFO") {
    if (!message.reply.empty()) answer_user_info(shard, account, from, message.reply);
    return true;
  }
  if (account.name() == shard.settings().system_account) return false;
  const bool is_connz = what == "ACCOUNT.PING.CONNZ" || what == "SERVER.PING.CONNZ";
  if (!is_connz && what != "ACCOUNT.PING.STATZ") return false;
  auto request = std::make_shared<Request>();
  request->kind = is_connz ? Service::Kind::AccountConnz : Service::Kind::AccountStatz;
  request->account = account.name();
  request->reply_account = account.name();
  request->reply = message.reply;
  request->headers = message.payload.substr(0, message.header_size);
  request->body = message.payload.substr(message.header_size);
  put(std::move(request));
  return true;
}

void SystemServices::answer_user_info(Shard& shard, Account& account, const Connection& from,
                                      std::string_view reply) {
  json::Writer out;
  out.begin_object();
  out.field("user", from.shown_user()).field("account", account.name());
  const auto rules = server_.account_rules(account.name());
  const bool has_name = rules != nullptr && !rules->display_name.empty();
  out.field("account_name", has_name ? rules->display_name : account.name());
  if (from.permissions() != nullptr) {
    out.key("permissions");
    write_permissions(out, from.permissions()->rules());
  }
  const auth::User* const user = from.user();
  if (user != nullptr && user->expires) {
    const Duration left = *user->expires - server_.clock().wall_now();
    if (left > Duration::zero()) out.field("expires", int64_t{left.count()});
  }
  out.end_object();
  shard.publish(account, reply, {}, {}, identity_.wrap(out.text()));
}

}  // namespace brokkr::broker
