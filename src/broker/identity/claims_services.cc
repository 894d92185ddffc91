#include "broker/identity/claims_services.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/json.h"
#include "broker/identity/account_loader.h"
#include "broker/nonce.h"
#include "broker/server.h"
#include "crypto/jwt.h"
#include "crypto/nkey.h"
#include "crypto/validate.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

constexpr size_t kNoToken = SIZE_MAX;
constexpr int kGood = 200;
constexpr int kBad = 500;

int64_t unix_seconds(const Clock& clock) {
  return std::chrono::duration_cast<std::chrono::seconds>(clock.wall_now().time_since_epoch())
      .count();
}

// Who may delete accounts: the first operator's keys. Absent: nobody.
bool is_operator_key(const crypto::OperatorClaims* owner, const std::string& key) {
  if (owner == nullptr) return false;
  if (!owner->strict_signing_key_usage && owner->sub == key) return true;
  return std::find(owner->signing_keys.begin(), owner->signing_keys.end(), key) !=
         owner->signing_keys.end();
}

// The accounts a request to delete names.
Result<std::vector<std::string>> accounts_to_delete(const crypto::GenericClaims& claims,
                                                    const std::string& system_account) {
  const Error malformed{Errc::Syntax, "malformed request"};
  const auto data = json::parse(claims.data);
  if (!data) return malformed;
  const json::Value* const list = data->find("accounts");
  if (list == nullptr || !list->is_array()) return malformed;
  std::vector<std::string> out;
  for (const json::Value& entry : list->items()) {
    if (!entry.is_string()) return malformed;
    const std::string id(entry.as_string());
    if (!crypto::is_public_key(id, crypto::NkeyType::Account)) return malformed;
    if (id == system_account) {
      return Error{Errc::PermissionDenied, "not allowed to delete system account"};
    }
    out.push_back(id);
  }
  return out;
}

}  // namespace

ClaimsServices::ClaimsServices(AccountLoader& loader)
    : loader_(loader), identity_(loader.server()), is_alive_(std::make_shared<bool>(true)) {}

ClaimsServices::~ClaimsServices() { *is_alive_ = false; }

void ClaimsServices::start(Shard& main_shard) {
  shard_ = &main_shard;
  constexpr size_t kOldToken = 2;  // $SYS.ACCOUNT.<id>
  constexpr size_t kToken = 3;     // $SYS.REQ.ACCOUNT.<id>
  subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", {}, kToken, &ClaimsServices::update);
  subscribe("$SYS.ACCOUNT.*.CLAIMS.UPDATE", {}, kOldToken, &ClaimsServices::update);
  if (!loader_.source().has_directory()) return;
  subscribe("$SYS.REQ.CLAIMS.UPDATE", {}, kNoToken, &ClaimsServices::update);
  subscribe("$SYS.REQ.CLAIMS.LIST", {}, kNoToken, &ClaimsServices::list);
  subscribe("$SYS.REQ.CLAIMS.DELETE", {}, kNoToken, &ClaimsServices::remove);
  if (loader_.source().kind() != AccountSource::Kind::Full) return;
  subscribe("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", {}, kToken, &ClaimsServices::look_up);
  subscribe("$SYS.REQ.CLAIMS.PACK", "responder", kNoToken, &ClaimsServices::pack);
  sync_inbox_ = "_INBOX." + make_nonce();
  subscribe(sync_inbox_, {}, kNoToken, &ClaimsServices::merge);
  sync_timer_ = std::make_unique<io::Timer>(main_shard.loop(), [this] { sync(); });
  sync();
}

void ClaimsServices::subscribe(const std::string& pattern, std::string_view queue,
                               size_t account_token, Handler handler) {
  // Later, because a message is being routed now.
  subscriptions_.push_back(shard_->subscribe(
      shard_->system_account(), pattern, queue, [this, account_token, handler](const Message& in) {
        auto request = std::make_shared<Request>();
        if (account_token != kNoToken) {
          request->account = subject::token_at(in.subject, account_token);
        }
        request->reply = in.reply;
        request->body = in.payload.substr(in.header_size);
        shard_->loop().post([this, alive = is_alive_, request, handler] {
          if (*alive) (this->*handler)(*request);
        });
      }));
}

void ClaimsServices::send(const std::string& reply, std::string_view body) {
  if (!reply.empty()) shard_->publish(shard_->system_account(), reply, {}, {}, body);
}

void ClaimsServices::answer(const Request& request, const std::string& account,
                            const std::string& message, const std::string& error) {
  const std::string about = account.empty() ? message : message + " - " + account;
  if (error.empty()) {
    loader_.log().debug(about);
  } else {
    loader_.log().error(about + " - " + error);
  }
  if (request.reply.empty()) return;
  json::Writer out;
  out.begin_object().key("server").begin_object();
  identity_.write(out);
  out.end_object();
  out.key(error.empty() ? "data" : "error").begin_object();
  if (!account.empty()) out.field("account", account);
  out.field("code", error.empty() ? kGood : kBad);
  if (error.empty()) {
    out.field("message", message);
  } else {
    out.field("description", message + " - " + error);
  }
  out.end_object().end_object();
  send(request.reply, out.text());
}

// --- changes ---------------------------------------------------------------------------------

void ClaimsServices::put_to_work(const std::string& id, const std::string& jwt) {
  auto account = auth::read_jwt_account(id, jwt);
  if (!account) return;
  if (!loader_.mode().trusts((*account)->claims.iss)) {
    return loader_.log().warn("Account " + id + " is not signed by a trusted operator");
  }
  loader_.update(std::move(*account));
}

void ClaimsServices::update(const Request& request) {
  const bool has_directory = loader_.source().has_directory();
  const bool is_cache = loader_.source().kind() == AccountSource::Kind::Cache;
  const std::string kind = is_cache ? "jwt update cache" : "jwt update";
  const std::string failed = kind + " resulted in error";
  const std::string jwt(trim(request.body));
  const auto claims = crypto::decode_account(jwt);
  if (!claims) {
    const bool names_one = !request.account.empty() && (is_cache || !has_directory);
    return answer(request, names_one ? request.account : "n/a", failed, claims.error().text);
  }
  const std::string id = request.account.empty() ? claims->sub : request.account;
  const auto* const owner = loader_.mode().main_operator();
  const crypto::Issues issues = crypto::validate(*claims, unix_seconds(loader_.server().clock()));
  if (claims->sub != id) {
    return answer(request, id, failed, "subject does not match jwt content");
  }
  if (owner != nullptr && owner->strict_signing_key_usage && claims->iss == owner->sub) {
    return answer(request, id, failed, "operator requires issuer to be a signing key");
  }
  if ((is_cache || !has_directory) && !loader_.is_in_use(id)) {
    return answer(request, id, kind + " skipped");
  }
  if (issues.is_blocking(false)) {
    return answer(request, id, is_cache ? "jwt update cache validation failed"
                                        : "jwt validation failed",
                  "validation errors: " + issues.text());
  }
  // What no trusted operator signed would only take up room.
  if (!loader_.mode().trusts(claims->iss)) {
    return answer(request, id, failed, "the issuer is not a trusted operator");
  }
  const std::string done = is_cache ? "jwt updated cache" : "jwt updated";
  if (!has_directory) {
    put_to_work(id, jwt);
    return answer(request, id, done);
  }
  loader_.source().save(id, jwt, false,
                        [this, request, id, jwt, failed, done](const Result<bool>& saved) {
                          if (!saved) return answer(request, id, failed, saved.error().text);
                          if (*saved) put_to_work(id, jwt);
                          answer(request, id, done);
                        });
}

void ClaimsServices::remove(const Request& request) {
  const auto claims = crypto::decode_generic(trim(request.body));
  const auto& mode = loader_.mode();
  std::string who;
  std::string error;
  std::vector<std::string> ids;
  if (!claims) {
    error = claims.error().text;
  } else {
    who = claims->sub;
    auto named = accounts_to_delete(*claims, mode.system_account());
    if (!loader_.source().may_delete()) {
      error = "delete must be enabled in server config";
    } else if (claims->sub != claims->iss) {
      error = "not self signed";
    } else if (!is_operator_key(mode.main_operator(), claims->iss)) {
      error = "not trusted";
    } else if (!named) {
      error = named.error().text;
    } else {
      ids = std::move(*named);
    }
  }
  if (!error.empty()) {
    return answer(request, {}, "delete accounts request by " + who + " failed", error);
  }
  struct Progress {
    size_t left = 0;
    size_t passed = 0;
    std::string errors;
  };
  auto progress = std::make_shared<Progress>();
  progress->left = ids.size();
  const auto finish = [this, request, progress, total = ids.size()] {
    std::string message = "deleted " + std::to_string(progress->passed) + " accounts";
    if (progress->passed != total) {
      message += ", failed for " + std::to_string(total - progress->passed);
    }
    answer(request, {}, message, progress->errors);
  };
  if (ids.empty()) return finish();
  for (const std::string& id : ids) {
    loader_.source().remove(id, [this, id, progress, finish](const Result<bool>& removed) {
      if (removed) {
        ++progress->passed;
        if (*removed) loader_.drop(id);
      } else {
        progress->errors += (progress->errors.empty() ? "" : "\n") + removed.error().text;
      }
      if (--progress->left == 0) finish();
    });
  }
}

// --- reading ---------------------------------------------------------------------------------

void ClaimsServices::look_up(const Request& request) {
  if (request.reply.empty()) return;
  loader_.source().fetch(request.account, [this, request](const Result<std::string>& jwt) {
    if (!jwt && jwt.error().code != Errc::NotFound && jwt.error().code != Errc::InvalidArgument) {
      return loader_.log().error("Error looking up account \"" + request.account + "\": " +
                                 jwt.error().text);
    }
    send(request.reply, jwt ? *jwt : std::string());
  });
}

void ClaimsServices::list(const Request& request) {
  if (request.reply.empty()) return;
  loader_.source().list([this, request](const AccountSource::Tokens& tokens, const std::string&) {
    json::Writer out;
    out.begin_object().key("data").begin_array();
    for (const auto& [id, jwt] : tokens) out.string(id);
    out.end_array().key("server").begin_object();
    identity_.write(out);
    out.end_object().end_object();
    send(request.reply, out.text());
  });
}

// An empty message ends the answer. Whoever has the same tokens gets nothing else.
void ClaimsServices::pack(const Request& request) {
  if (request.reply.empty()) return;
  loader_.source().list([this, request](const AccountSource::Tokens& tokens,
                                        const std::string& digest) {
    if (request.body != digest) {
      for (const auto& [id, jwt] : tokens) send(request.reply, id + "|" + jwt);
    }
    send(request.reply, {});
  });
}

void ClaimsServices::sync() {
  constexpr Duration kUsual = std::chrono::minutes(1);
  const Duration interval = loader_.source().options().sync_interval;
  sync_timer_->start(interval > Duration::zero() ? interval : kUsual);
  loader_.source().digest([this, alive = is_alive_](const std::string& digest) {
    if (!*alive) return;
    shard_->publish(shard_->system_account(), "$SYS.REQ.CLAIMS.PACK", sync_inbox_, {}, digest);
  });
}

void ClaimsServices::merge(const Request& request) {
  for (const std::string_view line : split(request.body, '\n')) {
    const size_t bar = line.find('|');
    if (bar == std::string_view::npos) continue;
    const std::string id(line.substr(0, bar));
    const std::string jwt(line.substr(bar + 1));
    // A peer's word is not enough: only what an operator signed gets in.
    const auto claims = crypto::decode_account(jwt);
    if (!claims || claims->sub != id || !loader_.mode().trusts(claims->iss)) continue;
    loader_.source().save(id, jwt, true, [this, id, jwt](const Result<bool>& saved) {
      if (saved && *saved) put_to_work(id, jwt);
      if (!saved) loader_.log().error("Merging resulted in error: " + saved.error().text);
    });
  }
}

}  // namespace brokkr::broker
