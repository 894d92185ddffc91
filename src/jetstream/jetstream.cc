#include "jetstream/jetstream.h"

#include <algorithm>

#include "base/ids.h"
#include "base/machine.h"
#include "base/random.h"
#include "jetstream/api_service.h"
#include "jetstream/consumer_api.h"
#include "jetstream/report.h"
#include "jetstream/upkeep.h"

namespace brokkr::jetstream {
namespace {

constexpr uint64_t kStorageWithoutDisk = 1ULL << 40;

}  // namespace

// The store's blocking work on a thread of its own.
class WorkerExecutor final : public store::Executor {
 public:
  WorkerExecutor(const char* name, io::Loop& loop) : loop_(loop), worker_(name) {
    worker_.set_queue_max(SIZE_MAX);
  }
  void run(Callback<void()> work, Callback<void()> done) override {
    worker_.run(loop_, std::move(work), std::move(done));
  }

 private:
  io::Loop& loop_;
  io::Worker worker_;
};

// Timers that go away once they have fired.
class Delays {
 public:
  explicit Delays(io::Loop& loop) : loop_(loop) {}
  void start(Duration after, Callback<void()> callback) {
    std::erase_if(timers_, [](const auto& timer) { return !timer->is_armed(); });
    auto& timer = timers_.emplace_back(std::make_unique<io::Timer>(loop_, std::move(callback)));
    timer->start(after);
  }
  void clear() { timers_.clear(); }

 private:
  io::Loop& loop_;
  std::vector<std::unique_ptr<io::Timer>> timers_;
};

namespace {

// Its buffers and caches are the store's usual ones from 1 GiB on, less on a smaller machine.
void fit_to_memory(store::Store::Options& options) {
  const uint64_t memory = usable_memory();
  options.checkpoint_bytes = std::clamp<uint64_t>(memory / 32, 4 << 20, options.checkpoint_bytes);
  options.cache_bytes = std::clamp<uint64_t>(memory / 16, 4 << 20, options.cache_bytes);
}

void fill_limits(JetStream::Options& options) {
  if (options.max_memory == 0) options.max_memory = usable_memory() / 4 * 3;
}

// What is stored already and what the disk still has.
uint64_t storage_of_disk(const std::string& directory, uint64_t used) {
  if (directory.empty()) return kStorageWithoutDisk;
  const auto free = store::posix_files().free_bytes(directory);
  return free ? used + *free : kStorageWithoutDisk;
}

}  // namespace

struct JetStream::Impl final : private io::TurnHook {
  Impl(broker::Server& on_server, io::Loop& on_loop, Options with, Log& to)
      : server(on_server),
        loop(on_loop),
        options(std::move(with)),
        log(to),
        random(secure_seed()),
        ids(random),
        upkeep(on_loop),
        log_executor(std::make_unique<WorkerExecutor>("store-log", on_loop)),
        background_executor(std::make_unique<WorkerExecutor>("store-work", on_loop)),
        delays(on_loop) {}
  ~Impl() override { end(); }

  bool has_work() const override { return store != nullptr && store->needs_commit(); }
  void on_turn_end() override { store->commit(); }

  Status open();
  void add_accounts(JetStream& self);
  void restore();
  void end();

  broker::Server& server;
  io::Loop& loop;
  Options options;
  Log& log;
  SeededRandom random;
  Nuid ids;
  Upkeep upkeep;
  std::unique_ptr<WorkerExecutor> log_executor;
  std::unique_ptr<WorkerExecutor> background_executor;
  Delays delays;
  std::unique_ptr<store::Store> store;
  std::map<std::string, std::unique_ptr<Account>, std::less<>> accounts;
  std::unique_ptr<Account> system_account;
  std::unique_ptr<ApiService> api;
  std::unique_ptr<Report> report;
  ApiStats api_stats;
  // Bytes that may be stored before the store is asked again how much it has: in memory, in files.
  uint64_t room[2] = {0, 0};
  bool is_storage_of_disk = false;  // no limit was configured: it follows the disk
  MonotonicTime no_room_until[2];
  bool is_stopping = false;
};

Status JetStream::Impl::open() {
  store::Store::Options opening;
  opening.directory = options.store_directory;
  opening.sync = options.sync;
  opening.sync_interval = options.sync_interval;
  opening.cipher = options.cipher;
  opening.key = options.key;
  opening.previous_key = options.previous_key;
  fit_to_memory(opening);
  store::Store::Environment environment{
      .files = store::posix_files(),
      .log_executor = *log_executor,
      .background_executor = *background_executor,
      .clock = loop.clock(),
      .log = log,
      .after = [this](Duration after, Callback<void()> callback) {
        delays.start(after, std::move(callback));
      },
  };
  auto opened = store::Store::open(std::move(opening), environment);
  if (!opened) return opened.error();
  store = std::move(*opened);
  store->on_failure([this](const Error&) {
    for (const auto& [name, account] : accounts) {
      for (const auto& [stream_name, stream] : account->streams()) stream->on_store_failed();
    }
  });
  loop.add_hook(io::Phase::Append, *this);
  fill_limits(options);
  is_storage_of_disk = options.max_storage == 0;
  if (is_storage_of_disk) {
    options.max_storage = storage_of_disk(options.store_directory, store->usage().file_bytes);
  }
  return {};
}

void JetStream::Impl::add_accounts(JetStream& self) {
  if (options.accounts.empty()) {
    options.accounts.emplace(std::string(broker::kGlobalAccount), AccountLimits{});
  }
  broker::Shard& shard = server.main_shard();
  for (const auto& [name, limits] : options.accounts) {
    if (name == options.system_account) continue;
    accounts.emplace(name, std::make_unique<Account>(self, shard.account(name), limits));
  }
  system_account =
      std::make_unique<Account>(self, shard.account(options.system_account), std::nullopt);
}

// What an account had that is no longer there stays in the store, out of sight.
void JetStream::Impl::restore() {
  size_t orphans = 0;
  for (store::Stream* stream : store->streams()) {
    // A restore that did not come to its end.
    if (stream->options().config.empty()) {
      store->delete_stream(*stream);
      continue;
    }
    const auto found = accounts.find(stream->options().account);
    if (found == accounts.end() || !found->second->is_enabled()) {
      ++orphans;
      continue;
    }
    found->second->restore_stream(*stream);
  }
  if (orphans > 0) {
    log.warn(std::to_string(orphans) +
             " streams belong to accounts without JetStream and are kept but not served");
  }
}

// Nothing may call into what is gone: first the callers, then the streams, then their messages.
void JetStream::Impl::end() {
  server.set_jetstream(nullptr);
  if (api != nullptr) api->stop();
  for (const auto& [name, account] : accounts) {
    for (const auto& [stream_name, stream] : account->streams()) {
      if (!is_stopping) stream->end(Consumer::End::ServerShutdown);
    }
    account->streams().clear();
  }
  if (store != nullptr) loop.remove_hook(*this);
  delays.clear();
  // What their threads work on belongs to the store: they end first.
  background_executor.reset();
  log_executor.reset();
  store.reset();
}

JetStream::JetStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JetStream::~JetStream() = default;

Result<std::unique_ptr<JetStream>> JetStream::start(broker::Server& server, io::Loop& loop,
                                                    Options options, Log& log) {
  auto impl = std::make_unique<Impl>(server, loop, std::move(options), log);
  if (Status opened = impl->open(); !opened) return opened.error();
  std::unique_ptr<JetStream> made(new JetStream(std::move(impl)));
  Impl& parts = *made->impl_;
  parts.add_accounts(*made);
  parts.restore();
  parts.api = std::make_unique<ApiService>(*made);
  for (const auto& [name, account] : parts.accounts) parts.api->serve(*account);
  parts.api->serve_system(*parts.system_account);
  parts.report = std::make_unique<Report>(*made);
  server.set_jetstream(parts.report.get());
  return made;
}

void JetStream::stop(Callback<void()> done) {
  Impl& parts = *impl_;
  parts.api->stop();
  parts.is_stopping = true;
  for (const auto& [name, account] : parts.accounts) {
    for (const auto& [stream_name, stream] : account->streams()) {
      stream->end(Consumer::End::ServerShutdown);
    }
  }
  parts.store->commit();
  if (parts.store->failure() != nullptr) return done();
  parts.store->close(std::move(done));
}

void JetStream::set_accounts(const AccountMap& accounts) {
  Impl& parts = *impl_;
  const auto set = [&](Account& account, const std::optional<AccountLimits>& limits) {
    const bool was_enabled = account.is_enabled();
    account.set_limits(limits);
    if (was_enabled || !account.is_enabled()) return;
    for (store::Stream* stream : parts.store->streams()) {
      if (stream->options().account == account.name() && !stream->options().config.empty()) {
        account.restore_stream(*stream);
      }
    }
  };
  for (const auto& [name, account] : parts.accounts) {
    if (!accounts.contains(name)) set(*account, std::nullopt);
  }
  for (const auto& [name, limits] : accounts) {
    if (name == parts.options.system_account) continue;
    auto found = parts.accounts.find(name);
    if (found == parts.accounts.end()) {
      auto made = std::make_unique<Account>(*this, shard().account(name), std::nullopt);
      found = parts.accounts.emplace(name, std::move(made)).first;
      parts.api->serve(*found->second);
    }
    set(*found->second, limits);
  }
}

Account* JetStream::find_account(std::string_view name) {
  const auto found = impl_->accounts.find(name);
  if (found == impl_->accounts.end() || !found->second->is_enabled()) return nullptr;
  return found->second.get();
}

std::vector<Account*> JetStream::accounts() {
  std::vector<Account*> found;
  for (const auto& [name, account] : impl_->accounts) {
    if (account->is_enabled()) found.push_back(account.get());
  }
  return found;
}

broker::Server& JetStream::server() {
  return impl_->server;
}
broker::Shard& JetStream::shard() {
  return impl_->server.main_shard();
}
io::Loop& JetStream::loop() {
  return impl_->loop;
}
store::Store& JetStream::store() {
  return *impl_->store;
}
Upkeep& JetStream::upkeep() {
  return impl_->upkeep;
}
bool JetStream::take_room(bool is_file, uint64_t bytes) {
  uint64_t& room = impl_->room[is_file];
  if (room < bytes) {
    // Asking costs a look at every stream.
    constexpr Duration kAskAgain = std::chrono::milliseconds(20);
    MonotonicTime& not_before = impl_->no_room_until[is_file];
    if (impl_->loop.now() < not_before) return false;
    const store::Store::Usage usage = impl_->store->usage();
    const uint64_t used = is_file ? usage.file_bytes : usage.memory_bytes;
    if (is_file && impl_->is_storage_of_disk) {
      // Others fill and free the disk too; what is full says the store.
      const uint64_t now = storage_of_disk(impl_->options.store_directory, used);
      impl_->options.max_storage = std::max(impl_->options.max_storage, now);
    }
    const uint64_t max = is_file ? impl_->options.max_storage : impl_->options.max_memory;
    // What would go over the limit is taken once, as long as what is there does not.
    room = used > max ? 0 : std::max(max - used, bytes);
    if (room < bytes) {
      not_before = impl_->loop.now() + kAskAgain;
      return false;
    }
  }
  room -= bytes;
  return true;
}
Random& JetStream::random() {
  return impl_->random;
}
std::string JetStream::next_id() {
  return std::string(impl_->ids.next());
}
ApiStats& JetStream::api_stats() {
  return impl_->api_stats;
}
Log& JetStream::log() {
  return impl_->log;
}
const JetStream::Options& JetStream::options() const {
  return impl_->options;
}
WallTime JetStream::now() const {
  return impl_->loop.clock().wall_now();
}
uint64_t JetStream::max_memory() const {
  return impl_->options.max_memory;
}
uint64_t JetStream::max_storage() const {
  return impl_->options.max_storage;
}

uint64_t JetStream::reserved_memory() const {
  uint64_t sum = 0;
  for (const auto& [name, account] : impl_->accounts) sum += account->reserved_memory();
  return sum;
}

uint64_t JetStream::reserved_storage() const {
  uint64_t sum = 0;
  for (const auto& [name, account] : impl_->accounts) sum += account->reserved_storage();
  return sum;
}

}  // namespace brokkr::jetstream
