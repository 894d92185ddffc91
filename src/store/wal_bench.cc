// The append path and group commit. BROKKR_BENCH_DIR names a directory on the disk to measure;
// without it the current one is used.
#include <stdlib.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <benchmark/benchmark.h>

#include "base/log.h"
#include "store/record.h"
#include "store/wal.h"

namespace brokkr::store {
namespace {

// Takes everything and keeps nothing.
class NullFile final : public File {
 public:
  Result<size_t> read_at(uint64_t, std::span<char>) const override { return size_t{0}; }
  Status write_at(uint64_t, std::string_view) override { return {}; }
  Status sync() override { return {}; }
  Status fill_zero(uint64_t) override { return {}; }
  void prefetch(uint64_t, uint64_t) const override {}
  Result<uint64_t> size() const override { return uint64_t{0}; }
};

class NullFiles final : public Files {
 public:
  Result<std::unique_ptr<File>> open(const std::string&, OpenMode) override {
    return std::unique_ptr<File>(std::make_unique<NullFile>());
  }
  Status rename(const std::string&, const std::string&) override { return {}; }
  Status remove(const std::string&) override { return {}; }
  Status make_directory(const std::string&) override { return {}; }
  Status sync_directory(const std::string&) override { return {}; }
  Result<std::vector<DirectoryEntry>> list(const std::string&) override { return std::vector<DirectoryEntry>(); }
  bool exists(const std::string&) override { return false; }
  Result<uint64_t> free_bytes(const std::string&) override { return UINT64_MAX; }
  Result<std::unique_ptr<File>> lock(const std::string&) override {
    return std::unique_ptr<File>(std::make_unique<NullFile>());
  }
};

class InlineExecutor final : public Executor {
 public:
  void run(Callback<void()> work, Callback<void()> done) override {
    work();
    done();
  }
};

// One thread, as in the server; `wait` runs completions on the caller's.
class ThreadExecutor final : public Executor {
 public:
  ThreadExecutor() : thread_([this] { main(); }) {}
  ~ThreadExecutor() override {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  void run(Callback<void()> work, Callback<void()> done) override {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back({std::move(work), std::move(done)});
    }
    wake_.notify_all();
  }
  void wait() {
    std::deque<Callback<void()>> done;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !done_.empty(); });
      done.swap(done_);
    }
    for (const auto& it : done) it();
  }

 private:
  struct Job {
    Callback<void()> work;
    Callback<void()> done;
  };
  void main() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return is_stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job.work();
      lock.lock();
      done_.push_back(std::move(job.done));
      wake_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::deque<Callback<void()>> done_;
  bool is_stopping_ = false;
  std::thread thread_;
};

std::unique_ptr<Wal> open_log(Files& files, Executor& executor, const std::string& folder, SyncMode mode, Log& log) {
  Wal::Options options;
  options.directory = folder;
  options.sync = mode;
  Wal::Recovery recovery;
  auto visit = [](const Frame&) {};
  return std::move(*Wal::open(files, executor, options, 1, visit, {}, log, recovery));
}

void append_one(Wal& wal, uint64_t seq, std::string_view body) {
  Record record;
  record.seq = seq;
  record.timestamp_ns = static_cast<int64_t>(seq);
  record.subject = "orders.eu.new";
  record.body = body;
  char* at = nullptr;
  wal.append(FrameType::Append, 1, record_bytes(record), at);
  encode_record(record, at);
}

void encode(benchmark::State& state) {
  const std::string body(static_cast<size_t>(state.range(0)), 'x');
  Record record;
  record.subject = "orders.eu.new";
  record.body = body;
  std::string out(record_bytes(record), '\0');
  for (auto _ : state) {
    ++record.seq;
    encode_record(record, out.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(encode)->Arg(16)->Arg(1024);

void parse(benchmark::State& state) {
  const std::string body(static_cast<size_t>(state.range(0)), 'x');
  Record record;
  record.subject = "orders.eu.new";
  record.body = body;
  std::string out;
  append_record(record, out);
  for (auto _ : state) benchmark::DoNotOptimize(parse_record(out));
}
BENCHMARK(parse)->Arg(16)->Arg(1024);

void checksum(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(crc32c(bytes));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes.size()));
}
BENCHMARK(checksum)->Arg(24)->Arg(1024)->Arg(65536);

// Encoding, framing and the group's share, without the disk.
void encode_and_append(benchmark::State& state) {
  const std::string body(static_cast<size_t>(state.range(0)), 'x');
  NullFiles files;
  InlineExecutor executor;
  const auto log = Log::discard();
  const auto wal = open_log(files, executor, "none", SyncMode::None, *log);
  uint64_t seq = 0;
  for (auto _ : state) {
    append_one(*wal, ++seq, body);
    if (seq % 128 == 0) wal->commit();
  }
}
BENCHMARK(encode_and_append)->Arg(16)->Arg(1024);

// A publisher that keeps `window` messages of 128 bytes in flight.
void group_commit(benchmark::State& state) {
  const char* base = std::getenv("BROKKR_BENCH_DIR");
  std::string folder = std::string(base == nullptr ? "." : base) + "/wal-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return state.SkipWithError("no directory");
  const std::string body(128, 'x');
  {
    ThreadExecutor executor;
    const auto log = Log::discard();
    const auto wal = open_log(posix_files(), executor, folder, SyncMode::Always, *log);
    const auto window = static_cast<uint64_t>(state.range(0));
    uint64_t seq = 0;
    const auto publish = [&](uint64_t messages) {
      for (uint64_t i = 0; i < messages; ++i) append_one(*wal, ++seq, body);
      wal->commit();
      while (wal->durable() < wal->appended()) executor.wait();
    };
    publish(1);  // the first file has to be made
    for (auto _ : state) {
      publish(window);
      // As after a checkpoint.
      if (wal->bytes_since(0) > 40 << 20) wal->release_before(wal->durable());
    }
    state.SetItemsProcessed(static_cast<int64_t>(seq));
  }
  std::filesystem::remove_all(folder);
}
BENCHMARK(group_commit)->Arg(1)->Arg(64)->Arg(1000)->UseRealTime();

}  // namespace
}  // namespace brokkr::store
