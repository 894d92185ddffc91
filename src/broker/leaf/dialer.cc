#include "broker/leaf/dialer.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/bytes.h"
#include "broker/leaf/leafs.h"
#include "broker/leaf/link.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "broker/tls_rules.h"
#include "crypto/creds.h"
#include "http/websocket.h"

namespace brokkr::broker {
namespace {

constexpr Duration kDialTimeout = std::chrono::seconds(1);
// After so many attempts in vain the pause between them doubles, up to kSlowdownMax times.
constexpr int64_t kAttemptsPerStep = 10;
constexpr int64_t kSlowdownMax = 8;
constexpr int64_t kReportEvery = 3600;  // attempts

}  // namespace

Result<std::unique_ptr<LeafDialer>> LeafDialer::make(Leafs& leafs, config::LeafRemote config) {
  if (config.urls.empty()) return Error{Errc::InvalidArgument, "leaf remote without a URL"};
  std::unique_ptr<LeafDialer> dialer(new LeafDialer(leafs, std::move(config)));
  for (const std::string& text : dialer->config_.urls) {
    auto url = parse_leaf_url(text);
    if (!url) return url.error();
    dialer->configured_.push_back(std::move(*url));
  }
  if (!dialer->config_.nkey_seed.empty()) {
    auto key = crypto::KeyPair::from_seed(dialer->config_.nkey_seed);
    if (!key) return Error{Errc::InvalidArgument, "leaf remote: nkey: " + key.error().text};
  }
  auto tls = make_tls_client(dialer->config_.tls.value_or(config::TlsOptions{}));
  if (!tls) return tls.error();
  dialer->tls_ = std::move(*tls);
  dialer->shuffle();
  return dialer;
}

LeafDialer::LeafDialer(Leafs& leafs, config::LeafRemote config)
    : leafs_(leafs),
      config_(std::move(config)),
      tls_timer_(leafs.loop(), [this] { fail_attempt("TLS handshake timeout"); }),
      timer_(leafs.loop(), [this] { dial(); }) {}

void LeafDialer::shuffle() {
  if (!config_.no_randomize) {
    for (size_t i = configured_.size(); i > 1; --i) {
      std::swap(configured_[i - 1], configured_[leafs_.random().below(i)]);
    }
  }
  urls_ = configured_;
}

LeafDialer::~LeafDialer() {
  if (link_ == nullptr) return;
  link_->forget_dialer();
  link_->close_later("Client Closed");
}

std::string LeafDialer::account_name() const {
  return config_.account.empty() ? std::string(kGlobalAccount) : config_.account;
}

Duration LeafDialer::first_info_timeout() const {
  return config_.first_info_timeout > Duration() ? config_.first_info_timeout : kFirstInfoTimeout;
}

Duration LeafDialer::tls_timeout() const {
  return config_.tls.value_or(config::TlsOptions{}).timeout;
}

Duration LeafDialer::timeout() const {
  if (config_.dial_timeout > Duration()) return config_.dial_timeout;
  const Duration common = leafs_.options().dial_timeout;
  return common > Duration() ? common : kDialTimeout;
}

void LeafDialer::start() { dial(); }

void LeafDialer::pick_url() {
  url_ = urls_[next_url_ % urls_.size()];
  next_url_ = (next_url_ + 1) % urls_.size();
  // A discovered URL brings no credentials: those of the one that led there count.
  if (url_.has_user) {
    identity_ = url_;
  } else if (identity_.has_user) {
    url_.has_user = true;
    url_.has_password = identity_.has_password;
    url_.user = identity_.user;
    url_.password = identity_.password;
  }
}

void LeafDialer::dial() {
  if (leafs_.server().is_lame_duck()) return;
  pick_url();
  leafs_.log().debug("Trying to connect as leafnode to remote server on \"" + url_.host_and_port() +
                     "\"");
  connector_ = io::Connector::start(
      leafs_.loop(), leafs_.resolver(), url_.address, timeout(),
      [this](Result<std::unique_ptr<io::Transport>> connected) { on_connected(std::move(connected)); });
}

void LeafDialer::on_connected(Result<std::unique_ptr<io::Transport>> connected) {
  if (!connected) return fail_attempt(connected.error().text);
  const Origin origin{ConnectionType::Leaf, {}, {}};
  if (!url_.is_websocket) return begin_link(std::move(*connected), origin);
  if (!wants_tls()) return begin_websocket(std::move(*connected), origin);
  begin_tls(std::move(*connected));
}

// Of a WebSocket, where it comes first; of other links it is the link's affair.
void LeafDialer::begin_tls(std::unique_ptr<io::Transport> inner) {
  tls_stream_ = io::wrap_tls_client(leafs_.loop(), std::move(inner), tls_, url_.address.host);
  tls_timer_.start(tls_timeout());
  tls_stream_->start_handshake([this](const Status& done) {
    tls_timer_.stop();
    if (!done) return fail_attempt("TLS: " + done.error().text);
    TlsRules rules;
    rules.verify = true;
    Origin origin{ConnectionType::Leaf, keep_facts(tls_stream_->facts(), rules, true), {}};
    begin_websocket(std::move(tls_stream_), std::move(origin));
  });
}

void LeafDialer::begin_websocket(std::unique_ptr<io::Transport> inner, Origin origin) {
  http::UpgradeOffer offer;
  offer.host = url_.host_and_port();
  offer.path = url_.path == "/" ? "/leafnode" : url_.path + "/leafnode";
  offer.compression = config_.ws_compression;
  offer.no_masking = config_.ws_no_masking;
  origin.type = ConnectionType::LeafWebSocket;
  websocket_ = http::connect_websocket(
      leafs_.loop(), std::move(inner), leafs_.websocket_pool(), offer, first_info_timeout(),
      [this, origin](Result<std::unique_ptr<http::WebSocketTransport>> opened) {
        // The handshake calls from within; it goes when the next one begins.
        if (!opened) return fail_attempt("WebSocket: " + opened.error().text);
        begin_link(std::move(*opened), origin);
      });
}

void LeafDialer::begin_link(std::unique_ptr<io::Transport> transport, Origin origin) {
  link_ = &leafs_.add_link(std::move(transport), std::move(origin), this);
  link_->start();
}

void LeafDialer::fail_attempt(const std::string& why) {
  tls_stream_.reset();
  tls_timer_.stop();
  ++attempts_;
  const std::string text = "Error trying to connect as leafnode to remote server \"" +
                           url_.host_and_port() + "\" (attempt " + std::to_string(attempts_) +
                           "): " + why;
  if (attempts_ == 1 || attempts_ % kReportEvery == 0) {
    leafs_.log().error(text);
  } else {
    leafs_.log().debug(text);
  }
  dial_again();
}

// The pause is the configured one and up to as much again, so that leaves that lost one hub do not
// come back all at once.
void LeafDialer::dial_again() {
  const Duration base = std::max<Duration>(leafs_.options().reconnect, std::chrono::milliseconds(1));
  const int64_t steps = std::min<int64_t>(attempts_ / kAttemptsPerStep, 3);
  const Duration pause = base * std::min<int64_t>(int64_t{1} << steps, kSlowdownMax);
  const Duration jitter(static_cast<int64_t>(leafs_.random().below(static_cast<uint64_t>(pause.count()))));
  timer_.start(std::max<Duration>(delay_, pause + jitter));
  delay_ = {};
}

void LeafDialer::delay_next(Duration delay) { delay_ = std::max(delay_, delay); }

void LeafDialer::on_link_opened() { attempts_ = 0; }

void LeafDialer::on_link_ended() {
  link_ = nullptr;
  ++attempts_;
  dial_again();
}

void LeafDialer::on_discovered(const protocol::LeafInfo& info) {
  if (config_.ignore_discovered_servers) return;
  const auto& texts = url_.is_websocket ? info.ws_connect_urls : info.leafnode_urls;
  if (texts.empty()) return;
  std::vector<LeafUrl> urls = configured_;
  for (const std::string& text : texts) {
    auto url = parse_leaf_url(text);
    // A server that only knows it listens everywhere means itself, not this machine.
    if (!url || url->address.host == "0.0.0.0" || url->address.host == "::") continue;
    url->is_tls = url_.is_tls;
    url->is_websocket = url_.is_websocket;
    url->path = url_.path;
    const bool is_known = std::any_of(urls.begin(), urls.end(), [&](const LeafUrl& each) {
      return each.host_and_port() == url->host_and_port();
    });
    if (!is_known) urls.push_back(std::move(*url));
  }
  urls_ = std::move(urls);
}

// A credentials file comes before a seed; a user's name in the URL goes with either.
Status LeafDialer::add_credentials(protocol::LeafConnect& connect, std::string_view nonce) const {
  if (url_.has_user) {
    connect.user = url_.user;
    connect.pass = url_.password;
    if (!url_.has_password) connect.auth_token = url_.user;
  }
  if (!config_.credentials.empty()) {
    std::ifstream file(config_.credentials, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file) return Error{Errc::NotFound, "cannot read " + config_.credentials};
    auto creds = crypto::parse_creds(text);
    if (!creds) return creds.error();
    connect.jwt = creds->jwt;
    connect.sig = base64url_encode(creds->key.sign(nonce));
  } else if (!config_.nkey_seed.empty()) {
    auto key = crypto::KeyPair::from_seed(config_.nkey_seed);
    if (!key) return key.error();
    connect.nkey = key->public_key();
    connect.sig = base64url_encode(key->sign(nonce));
  }
  return {};
}

}  // namespace brokkr::broker
