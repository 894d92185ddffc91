// Stands in for a sandboxed program's network: a gate on a loopback port, for tests with real clients.
//   gate_relay SERVER NAMESPACE [RUN_REQUEST_JSON [NAMESPACE_RECORD_JSON...]]
// Prints the port; ends with its standard input.
#include <unistd.h>

#include <cstdio>

#include "base/random.h"
#include "io/socket.h"
#include "workload/gate.h"

namespace brokkr::workload {
namespace {

struct StdinEnds final : io::FdHandler {
  explicit StdinEnds(io::Loop& l) : loop(l) {}
  void on_ready(uint32_t) override {
    char bytes[64];
    if (read(STDIN_FILENO, bytes, sizeof bytes) <= 0) loop.stop();
  }
  io::Loop& loop;
};

int fail(const Error& error) {
  fprintf(stderr, "gate_relay: %s\n", error.text.c_str());
  return 1;
}

int relay(int argc, char** argv) {
  if (argc < 3) return fail({Errc::InvalidArgument, "SERVER NAMESPACE [RUN_REQUEST [RECORD...]]"});
  Grants grants;
  if (argc > 3) {
    auto run = decode_run_request(argv[3]);
    if (!run) return fail(run.error());
    grants = run->grants;
  }
  std::vector<NamespaceRecord> records;
  for (int i = 4; i < argc; ++i) {
    auto record = decode_namespace_record(argv[i]);
    if (!record) return fail(record.error());
    records.push_back(std::move(*record));
  }
  SystemClock clock;
  SeededRandom random(secure_seed());
  io::Worker resolver("resolver");
  auto log = Log::open({});
  if (!log) return fail(log.error());
  auto loop = io::Loop::open({}, clock);
  if (!loop) return fail(loop.error());
  Gate::Options options;
  options.upstream.servers = {argv[1]};
  options.access = Access::make({argv[2], "relay"}, grants, records);
  const auto gate = Gate::make({**loop, resolver, random, **log}, std::move(options));
  auto listener = io::Listener::open(**loop, {.host = "127.0.0.1", .port = 0, .path = {}},
                                     [&](int fd) { gate->accept(fd); });
  if (!listener) return fail(listener.error());
  StdinEnds ends(**loop);
  if (auto watched = (*loop)->watch(STDIN_FILENO, io::kReadable, ends); !watched) {
    return fail(watched.error());
  }
  printf("%u\n", (*listener)->address().port);
  fflush(stdout);
  (*loop)->run();
  (*loop)->unwatch(STDIN_FILENO);
  return 0;
}

}  // namespace
}  // namespace brokkr::workload

int main(int argc, char** argv) { return brokkr::workload::relay(argc, argv); }
