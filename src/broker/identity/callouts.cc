#include "broker/identity/callouts.h"

#include <utility>

#include "base/bytes.h"
#include "broker/identity/account_loader.h"
#include "broker/nonce.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "crypto/jwt.h"
#include "subject/subject.h"

namespace brokkr::broker {
namespace {

std::string_view client_type_text(ConnectionType type) {
  switch (type) {
    case ConnectionType::WebSocket: return "websocket";
    case ConnectionType::Leaf:
    case ConnectionType::LeafWebSocket: return "";
    case ConnectionType::Tcp:
    case ConnectionType::InProcess: break;
  }
  return "nats";
}

int64_t seconds_since_1970(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

void fill_connect(const CalloutClient& client, crypto::AuthorizationRequestClaims& claims) {
  const protocol::ConnectOptions& from = client.connect;
  claims.connect.jwt = client.jwt;
  claims.connect.nkey = from.nkey;
  claims.connect.sig = from.sig;
  claims.connect.auth_token = from.auth_token;
  claims.connect.user = from.user;
  claims.connect.pass = from.pass;
  claims.connect.name = from.name;
  claims.connect.lang = from.lang;
  claims.connect.version = from.version;
  claims.connect.protocol = from.protocol;
}

void fill_client(const CalloutClient& client, crypto::AuthorizationRequestClaims& claims) {
  claims.client.host = client.host;
  claims.client.id = client.id;
  claims.client.user = client.user_name;
  claims.client.name = client.connect.name;
  claims.client.tags = client.tags;
  claims.client.name_tag = client.name_tag;
  claims.client.kind = client.kind;
  claims.client.type = client_type_text(client.type);
  if (!client.connect.sig.empty()) claims.client.nonce = client.nonce;
}

void fill_tls(const TlsFacts& facts, crypto::AuthorizationRequestClaims& claims) {
  auto& tls = claims.tls.emplace();
  tls.version = facts.version;
  tls.cipher = facts.cipher;
}

}  // namespace

Callouts::Callouts(Shard& shard)
    : shard_(shard),
      inbox_("$SYS._INBOX." + make_nonce()),
      is_alive_(std::make_shared<bool>(true)) {}

Callouts::~Callouts() { *is_alive_ = false; }

// Answers to this loop's questions in that account.
void Callouts::listen(const std::string& account) {
  if (inboxes_.contains(account)) return;
  inboxes_[account] = shard_.subscribe(
      shard_.account(account), inbox_ + ".*", {}, [this](const Message& message) {
        constexpr size_t kIdToken = 3;
        const auto id = parse_uint(subject::token_at(message.subject, kIdToken));
        if (!id) return;
        std::string answer(message.payload.substr(message.header_size));
        // Later, because a message is being routed now.
        shard_.loop().post([this, alive = is_alive_, id = *id, answer = std::move(answer)] {
          if (*alive) on_answer(id, answer);
        });
      });
}

Result<std::string> Callouts::write_request(const CalloutClient& client,
                                            auth::CalloutQuestion& question) {
  const Settings& settings = shard_.settings();
  const WallTime now = shard_.loop().clock().wall_now();
  crypto::AuthorizationRequestClaims claims;
  claims.sub = question.rule->issuer;
  claims.aud = auth::kCalloutAudience;
  claims.exp = seconds_since_1970(now + settings.auth_timeout);
  claims.user_nkey = question.user_nkey;
  claims.server.name = settings.server_name;
  claims.server.host = settings.host.empty() ? "0.0.0.0" : settings.host;
  claims.server.id = settings.server_id;
  claims.server.version = kServerVersion;
  claims.server.tags = settings.tags;
  if (!question.rule->xkey.empty()) claims.server.xkey = shard_.server().xkey().public_key();
  fill_client(client, claims);
  fill_connect(client, claims);
  if (client.tls != nullptr) fill_tls(*client.tls, claims);
  return crypto::encode_jwt(claims, shard_.server().identity(), seconds_since_1970(now));
}

bool Callouts::ask(const CalloutClient& client, const auth::Verdict& verdict, Done done) {
  if (open_.size() >= kOpenMax) return false;
  const uint64_t id = ++next_id_;
  auto& question = *open_.emplace(id, std::make_unique<Question>()).first->second;
  question.done = std::move(done);
  question.question.rule = verdict.callout;
  question.question.user_nkey =
      crypto::KeyPair::generate(crypto::NkeyType::User).public_key();
  question.question.server_id = shard_.settings().server_id;
  question.question.connection_type = connection_type_name(client.type);
  question.question.client_host = client.host;
  const std::string account = verdict.callout->account;
  question.timer = std::make_unique<io::Timer>(shard_.loop(), [this, id, account] {
    end(id, auth::Verdict::refuse("auth callout on account \"" + account +
                                  "\" was not answered in time"));
  });
  question.timer->start(shard_.settings().auth_timeout);
  auto request = write_request(client, question.question);
  std::string headers;
  if (request && !verdict.callout->xkey.empty()) {
    request = shard_.server().xkey().seal(*request, verdict.callout->xkey);
    headers = "NATS/1.0\r\n" + std::string(auth::kCalloutKeyHeader) + ": " +
              shard_.server().xkey().public_key() + "\r\n\r\n";
  }
  // Later, because this may be called while a message is routed, and `done` must come after.
  shard_.loop().post([this, alive = is_alive_, id, account, headers = std::move(headers),
                      request = std::move(request)] {
    if (!*alive || !open_.contains(id)) return;
    if (!request) return end(id, auth::Verdict::refuse("auth callout: " + request.error().text));
    listen(account);
    const std::string reply = inbox_ + "." + std::to_string(id);
    if (!shard_.publish(shard_.account(account), auth::kCalloutSubject, reply, headers, *request)) {
      end(id, auth::Verdict::refuse("nobody answers auth callouts on account \"" + account + "\""));
    }
  });
  return true;
}

void Callouts::on_answer(uint64_t id, std::string answer) {
  const auto found = open_.find(id);
  if (found == open_.end() || found->second->has_answer) return;
  found->second->has_answer = true;
  found->second->answer = std::move(answer);
  judge(id);
}

void Callouts::judge(uint64_t id) {
  const auto found = open_.find(id);
  if (found == open_.end()) return;
  Question& open = *found->second;
  const auth::Verdict verdict = shard_.authenticator()->judge_callout(
      open.question, open.answer, shard_.server().xkey(), shard_.loop().clock().wall_now());
  if (verdict.kind != auth::Verdict::Kind::NeedsAccount) return end(id, verdict);
  AccountLoader& loader = shard_.server().account_loader();
  const bool can_load = !std::exchange(open.was_account_loaded, true);
  if (can_load && loader.await(shard_, verdict.account,
                               [this, alive = is_alive_, id](const std::string&) {
                                 if (*alive) judge(id);
                               })) {
    return;
  }
  end(id, auth::Verdict::refuse("account \"" + verdict.account + "\" is not known"));
}

void Callouts::end(uint64_t id, const auth::Verdict& verdict) {
  auto node = open_.extract(id);
  if (node.empty()) return;
  // It may be what runs now.
  std::shared_ptr<Question> last(std::move(node.mapped()));
  last->timer->stop();
  shard_.loop().post([last] {});
  last->done(verdict);
  shard_.sweep();
}

}  // namespace brokkr::broker
