// What a publish to a stream costs: commands in at one end of a pipe, acknowledgements out of it.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "broker/server.h"
#include "jetstream/jetstream.h"

namespace brokkr::jetstream {
namespace {

constexpr int kBatch = 512;

class IngestBench : public benchmark::Fixture {
 public:
  void SetUp(benchmark::State& state) override {
    std::string name = (std::filesystem::temp_directory_path() / "ingest_bench_XXXXXX").string();
    directory_ = mkdtemp(name.data());
    log_ = Log::discard();
    loop_ = std::move(*io::Loop::open({.spin_max = {}}, clock_));
    server_ = std::move(*broker::Server::open({}, *loop_, clock_, *log_));
    JetStream::Options options;
    options.store_directory = directory_;
    options.sync = store::SyncMode::None;
    jetstream_ = std::move(*JetStream::start(*server_, *loop_, options, *log_));
    StreamConfig config;
    config.name = "S";
    config.subjects = {"s.>"};
    config.max_msgs = 100'000;
    config.max_bytes = -1;
    config.storage = state.range(0) == 0 ? StorageType::Memory : StorageType::File;
    if (!jetstream_->find_account("$G")->create_stream(config, false)) std::abort();
    client_ = server_->connect_in_process();
    send("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _I.> 1\r\n");
    for (int i = 0; i < kBatch; ++i) {
      commands_ += "PUB s.a _I." + std::to_string(1000 + i) + " 16\r\n0123456789abcdef\r\n";
    }
  }
  void TearDown(benchmark::State&) override {
    client_.reset();
    jetstream_.reset();
    server_->stop();
    server_.reset();
    loop_.reset();
    std::filesystem::remove_all(directory_);
  }
  void send(std::string_view text) {
    while (!text.empty()) {
      text.remove_prefix(client_->write(text.data(), text.size()).bytes);
      loop_->run_once({});
    }
  }
  // Runs the server until so many acknowledgements have come.
  void read_acks(int wanted) {
    char bytes[65536];
    while (wanted > 0) {
      loop_->run_once({});
      for (;;) {
        const io::IoResult got = client_->read(bytes, sizeof bytes);
        if (got.kind != io::IoResult::Kind::Ok || got.bytes == 0) break;
        for (const char* at = bytes; (at = static_cast<const char*>(memchr(
                                          at, '}', static_cast<size_t>(bytes + got.bytes - at))));
             ++at) {
          --wanted;
        }
      }
    }
  }

 protected:
  SystemClock clock_;
  std::string directory_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<broker::Server> server_;
  std::unique_ptr<JetStream> jetstream_;
  std::unique_ptr<io::Transport> client_;
  std::string commands_;
};

BENCHMARK_DEFINE_F(IngestBench, Publish16Bytes)(benchmark::State& state) {
  {
    // INFO has braces of its own.
    char bytes[65536];
    send("PING\r\n");
    loop_->run_once({});
    (void)client_->read(bytes, sizeof bytes);
  }
  for (auto _ : state) {
    send(commands_);
    read_acks(kBatch);
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK_REGISTER_F(IngestBench, Publish16Bytes)->ArgName("file")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace brokkr::jetstream
