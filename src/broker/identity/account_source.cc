#include "broker/identity/account_source.h"

#include "crypto/nkey.h"

namespace brokkr::broker {
namespace {

constexpr size_t kUrlWorkers = 4;
constexpr size_t kWaitingMax = 4096;
constexpr size_t kCacheLimit = 1000;

}  // namespace

AccountSource::AccountSource(const config::ResolverOptions& options, io::Loop& main_loop)
    : options_(options), main_loop_(main_loop), is_alive_(std::make_shared<bool>(true)) {
  const size_t count = options.kind == Kind::Url ? kUrlWorkers : 1;
  for (size_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<io::Worker>("accounts"));
    workers_.back()->set_queue_max(kWaitingMax);
  }
}

AccountSource::~AccountSource() {
  *is_alive_ = false;
  workers_.clear();
}

Result<std::unique_ptr<AccountSource>> AccountSource::open(const config::ResolverOptions& options,
                                                           io::Loop& main_loop,
                                                           const Clock& clock) {
  std::unique_ptr<AccountSource> source(new AccountSource(options, main_loop));
  const bool is_cache = options.kind == Kind::Cache;
  if (options.kind != Kind::Full && !is_cache) return source;
  auth::JwtDirectory::Options from;
  from.path = options.dir;
  from.limit = options.limit > 0 ? static_cast<size_t>(options.limit) : 0;
  if (is_cache && from.limit == 0) from.limit = kCacheLimit;
  from.evicts = is_cache;
  from.ttl = options.ttl;
  using Deletion = auth::JwtDirectory::Deletion;
  from.deletion = is_cache || options.hard_delete ? Deletion::Remove
                  : options.allow_delete          ? Deletion::Rename
                                                  : Deletion::No;
  auto directory = auth::JwtDirectory::open(std::move(from), clock);
  if (!directory) return directory.error();
  source->directory_ = std::move(*directory);
  return source;
}

// `busy` is the answer when too many wait. Nobody hears of an answer after the end.
template <typename Out, typename Work>
void AccountSource::run(io::Worker& worker, Out busy, Work work, Callback<void(Out)> done) {
  auto out = std::make_shared<Out>(std::move(busy));
  auto tell = std::make_shared<Callback<void(Out)>>(std::move(done));
  const bool is_queued = worker.run(
      main_loop_, [out, work] { *out = work(); },
      [out, tell, alive = is_alive_] {
        if (*alive) (*tell)(std::move(*out));
      });
  if (!is_queued) (*tell)(std::move(*out));
}

void AccountSource::fetch(const std::string& id, Callback<void(Result<std::string>)> done) {
  const Error busy{Errc::LimitExceeded, "too many account look-ups wait"};
  if (!crypto::is_public_key(id, crypto::NkeyType::Account)) {
    return done(Error{Errc::InvalidArgument, "will only fetch valid account keys"});
  }
  if (directory_ != nullptr) {
    return run<Result<std::string>>(
        *workers_[0], busy, [directory = directory_, id] { return directory->load(id); },
        std::move(done));
  }
  if (options_.kind != Kind::Url) return done(Error{Errc::NotFound, "account missing"});
  io::Worker& worker = *workers_[next_worker_++ % workers_.size()];
  run<Result<std::string>>(
      worker, busy,
      [options = options_, id] {
        const char* const slash = options.url.ends_with('/') ? "" : "/";
        return fetch_url(options.url + slash + id, options);
      },
      std::move(done));
}

void AccountSource::save(const std::string& id, std::string jwt, bool only_newer,
                         Callback<void(Result<bool>)> done) {
  const Error busy{Errc::LimitExceeded, "too many account updates wait"};
  run<Result<bool>>(
      *workers_[0], busy,
      [directory = directory_, id, jwt = std::move(jwt), only_newer] {
        return only_newer ? directory->save_if_newer(id, jwt) : directory->save(id, jwt);
      },
      std::move(done));
}

void AccountSource::remove(const std::string& id, Callback<void(Result<bool>)> done) {
  const Error busy{Errc::LimitExceeded, "too many account updates wait"};
  run<Result<bool>>(
      *workers_[0], busy, [directory = directory_, id] { return directory->remove(id); },
      std::move(done));
}

void AccountSource::list(Callback<void(Tokens, std::string)> done) {
  using Found = std::pair<Tokens, std::string>;
  auto tell = std::make_shared<Callback<void(Tokens, std::string)>>(std::move(done));
  run<Found>(
      *workers_[0], {},
      [directory = directory_] { return Found(directory->list(), directory->digest()); },
      [tell](Found found) { (*tell)(std::move(found.first), std::move(found.second)); });
}

void AccountSource::digest(Callback<void(std::string)> done) {
  run<std::string>(
      *workers_[0], {}, [directory = directory_] { return directory->digest(); }, std::move(done));
}

void AccountSource::expire() {
  if (directory_ == nullptr || options_.ttl <= Duration::zero()) return;
  run<bool>(
      *workers_[0], false,
      [directory = directory_] {
        directory->expire();
        return true;
      },
      [](bool) {});
}

}  // namespace brokkr::broker
