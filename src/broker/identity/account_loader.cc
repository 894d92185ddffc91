#include "broker/identity/account_loader.h"

#include <algorithm>

#include "auth/authenticator.h"
#include "base/bytes.h"
#include "broker/identity/claims_services.h"
#include "broker/server.h"
#include "crypto/validate.h"

namespace brokkr::broker {
namespace {

constexpr size_t kWaitersMax = 8192;
// Accounts one account may bring in by its imports.
constexpr size_t kImportedMax = 1024;
// An account that was not found is not looked for again for this long.
constexpr Duration kMissingFor = std::chrono::seconds(1);
constexpr size_t kMissingMax = 4096;
constexpr Duration kExpireEvery = std::chrono::minutes(1);

int64_t to_seconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

AccountLoader::AccountLoader(Server& server, io::Loop& main_loop, Log& log)
    : server_(server),
      main_loop_(main_loop),
      log_(log),
      is_alive_(std::make_shared<bool>(true)) {}

AccountLoader::~AccountLoader() { stop(); }

void AccountLoader::stop() {
  *is_alive_ = false;
  expiry_timer_.reset();
  services_.reset();
  source_.reset();
}

Status AccountLoader::start(const auth::OperatorMode& mode) {
  if (Status opened = open_source(mode); !opened) return opened;
  if (!mode.system_account().empty() && !is_in_use(mode.system_account())) {
    load(mode.system_account());
  }
  return {};
}

void AccountLoader::reload() {
  if (source_ == nullptr || source_->options() == mode().resolver()) return refresh();
  if (Status opened = open_source(mode()); !opened) {
    log_.error("Account resolver: " + opened.error().text);
  }
}

Status AccountLoader::open_source(const auth::OperatorMode& mode) {
  auto source = AccountSource::open(mode.resolver(), main_loop_, server_.clock());
  if (!source) return source.error();
  for (const auto& [id, job] : jobs_) {
    for (const Waiter& waiter : job.waiters) tell(waiter, "the account resolver has changed");
  }
  jobs_.clear();
  services_.reset();
  expiry_timer_.reset();
  source_ = std::move(*source);
  services_ = std::make_unique<ClaimsServices>(*this);
  services_->start(server_.main_shard());
  if (source_->has_directory()) {
    // What the configuration brings is kept with the others.
    for (const auto& [id, account] : mode.accounts()) {
      source_->save(id, account->jwt, true, [](const Result<bool>&) {});
    }
    log_.info("Managing all jwt in exclusive directory " + source_->options().dir);
    expiry_timer_ = std::make_unique<io::Timer>(main_loop_, [this] {
      source_->expire();
      expiry_timer_->start(kExpireEvery);
    });
    expiry_timer_->start(kExpireEvery);
    refresh();
  }
  return {};
}

const auth::OperatorMode& AccountLoader::mode() const {
  return *server_.snapshot()->authenticator->operator_mode();
}

std::shared_ptr<const auth::OperatorMode> AccountLoader::carry_over(
    const auth::OperatorMode& next) const {
  auth::JwtAccounts accounts = next.accounts();
  for (const auto& [id, account] : mode().accounts()) {
    // A configuration that names accounts takes away those it names no more.
    if (mode().is_preloaded(id) && !next.is_preloaded(id) && !source_->has_directory()) continue;
    auto [found, is_new] = accounts.emplace(id, account);
    if (!is_new && found->second->claims.iat < account->claims.iat) found->second = account;
  }
  return next.with_accounts(std::move(accounts));
}

// --- waiting ---------------------------------------------------------------------------------

bool AccountLoader::await(Shard& shard, const std::string& id, Done done) {
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= kWaitersMax) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  const Waiter waiter{&shard, std::make_shared<Done>(std::move(done))};
  main_loop_.post([this, alive = is_alive_, waiter, id] {
    if (*alive) on_wanted(waiter, id);
  });
  return true;
}

void AccountLoader::on_wanted(Waiter waiter, const std::string& id) {
  if (source_ == nullptr) return tell(waiter, "there is no account resolver");
  const auth::JwtAccount* const known = mode().find(id);
  if (known != nullptr && !known->is_expired(to_seconds(server_.clock().wall_now()))) {
    return tell(waiter, {});
  }
  const auto missing = missing_.find(id);
  if (missing != missing_.end()) {
    if (main_loop_.now() - missing->second < kMissingFor) return tell(waiter, "account missing");
    missing_.erase(missing);
  }
  const bool is_new = !jobs_.contains(id);
  jobs_[id].waiters.push_back(waiter);
  if (is_new) load(id);
}

void AccountLoader::tell(const Waiter& waiter, const std::string& error) {
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  server_.post_to_shard(waiter.shard->index(),
                        [done = waiter.done, error](Shard&) { (*done)(error); });
}

// --- loading ---------------------------------------------------------------------------------

void AccountLoader::load(const std::string& id) {
  Job& job = jobs_[id];
  job.seen.insert(id);
  job.outstanding = 1;
  fetch(id, id);
}

void AccountLoader::fetch(const std::string& root, const std::string& id) {
  source_->fetch(id, [this, root, id](const Result<std::string>& jwt) {
    on_fetched(root, id, jwt);
  });
}

void AccountLoader::on_fetched(const std::string& root, const std::string& id,
                               const Result<std::string>& jwt) {
  Job& job = jobs_[root];
  std::string error = jwt ? std::string() : jwt.error().text;
  auto account = jwt ? auth::read_jwt_account(id, trim(*jwt))
                     : Result<std::shared_ptr<const auth::JwtAccount>>(jwt.error());
  if (jwt && !account) error = account.error().text;
  if (account) {
    const int64_t now = to_seconds(server_.clock().wall_now());
    const crypto::Issues issues = crypto::validate((*account)->claims, now);
    if (!mode().trusts((*account)->claims.iss)) {
      error = "not signed by a trusted operator";
    } else if (issues.is_blocking(false)) {
      error = issues.text();
    } else {
      job.loaded[id] = *account;
      for (const std::string& exporter : auth::exporters_of(**account)) {
        if (is_in_use(exporter) || job.seen.size() >= kImportedMax) continue;
        if (!job.seen.insert(exporter).second) continue;
        ++job.outstanding;
        fetch(root, exporter);
      }
    }
  }
  if (!error.empty()) {
    log_.warn("Account fetch failed: " + id + ": " + error);
    if (id == root) job.error = error;
  }
  // Last, because a fetch may answer at once.
  if (--job.outstanding == 0) finish(root);
}

void AccountLoader::finish(const std::string& root) {
  auto node = jobs_.extract(root);
  if (node.empty()) return;
  Job& job = node.mapped();
  if (!job.error.empty()) {
    if (missing_.size() >= kMissingMax) missing_.clear();
    missing_[root] = main_loop_.now();
  }
  if (!job.loaded.empty()) apply(job.loaded);
  for (const Waiter& waiter : job.waiters) tell(waiter, job.error);
}

// --- changes ---------------------------------------------------------------------------------

void AccountLoader::apply(const auth::JwtAccounts& changed) {
  auth::JwtAccounts accounts = mode().accounts();
  std::set<std::string> revised;
  for (const auto& [id, account] : changed) {
    auto& place = accounts[id];
    if (place != nullptr && place->jwt == account->jwt) continue;
    // Nobody is there yet who could be touched by a first JWT.
    if (place != nullptr) revised.insert(id);
    place = account;
  }
  server_.change_accounts(mode().with_accounts(std::move(accounts)), std::move(revised));
}

bool AccountLoader::is_imported(const std::string& id) const {
  const auto& accounts = mode().accounts();
  return std::any_of(accounts.begin(), accounts.end(), [&id](const auto& entry) {
    const auto exporters = auth::exporters_of(*entry.second);
    return std::binary_search(exporters.begin(), exporters.end(), id);
  });
}

void AccountLoader::load_missing_exporters(const auth::JwtAccount& account) {
  for (const std::string& exporter : auth::exporters_of(account)) {
    if (!is_in_use(exporter) && !jobs_.contains(exporter)) load(exporter);
  }
}

void AccountLoader::update(std::shared_ptr<const auth::JwtAccount> account) {
  const std::string id = account->id();
  missing_.erase(id);
  if (!is_in_use(id) && !is_imported(id)) return;
  load_missing_exporters(*account);
  apply({{id, std::move(account)}});
}

void AccountLoader::drop(const std::string& id) {
  if (!is_in_use(id)) return;
  auth::JwtAccounts accounts = mode().accounts();
  accounts.erase(id);
  server_.change_accounts(mode().with_accounts(std::move(accounts)), {id});
}

void AccountLoader::refresh() {
  if (source_ == nullptr || !source_->has_directory()) return;
  for (const auto& entry : mode().accounts()) {
    source_->fetch(entry.first, [this, id = entry.first](const Result<std::string>& jwt) {
      if (!jwt) return;
      auto account = auth::read_jwt_account(id, trim(*jwt));
      if (account && mode().trusts((*account)->claims.iss)) update(std::move(*account));
    });
  }
}

}  // namespace brokkr::broker
