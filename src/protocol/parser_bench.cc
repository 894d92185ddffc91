#include <benchmark/benchmark.h>

#include <string>

#include "protocol/encode.h"
#include "protocol/headers.h"
#include "protocol/parser.h"
#include "protocol/server_parser.h"

namespace brokkr::protocol {
namespace {

// One receive buffer of many equal commands, as a busy publisher sends them.
template <typename Parser, typename Reading>
void parse_many(benchmark::State& state, const std::string& one) {
  constexpr size_t kCount = 1000;
  std::string input;
  for (size_t i = 0; i < kCount; ++i) input += one;
  Parser parser;
  Reading command;
  for (auto _ : state) {
    std::string_view rest = input;
    while (!rest.empty()) {
      if (parser.next(rest, command) != ParseStatus::Command) std::abort();
      benchmark::DoNotOptimize(command);
      rest.remove_prefix(command.size);
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kCount));
}

void parse_client(benchmark::State& state, const std::string& one) {
  parse_many<ClientParser, Command>(state, one);
}
void parse_server(benchmark::State& state, const std::string& one) {
  parse_many<ServerParser, ServerCommand>(state, one);
}

const std::string k16(16, 'x');
BENCHMARK_CAPTURE(parse_client, pub_16, "PUB foo.bar 16\r\n" + k16 + "\r\n");
BENCHMARK_CAPTURE(parse_client, pub_reply_16,
                  "PUB foo.bar _INBOX.abcdefghijklmnopqrstuv.12345678 16\r\n" + k16 + "\r\n");
BENCHMARK_CAPTURE(parse_client, pub_1k, "PUB foo.bar 1024\r\n" + std::string(1024, 'x') + "\r\n");
BENCHMARK_CAPTURE(parse_client, hpub_16,
                  "HPUB foo.bar 22 38\r\nNATS/1.0\r\nKey: abc\r\n\r\n" + k16 + "\r\n");
BENCHMARK_CAPTURE(parse_client, ping, "PING\r\n");
BENCHMARK_CAPTURE(parse_client, sub, "SUB foo.bar 12\r\n");
BENCHMARK_CAPTURE(parse_server, msg_16, "MSG foo.bar 1 16\r\n" + k16 + "\r\n");

void write_msg_16(benchmark::State& state) {
  char room[256];
  const SizeText size(16);
  std::string subject = "foo.bar", sid = "12", payload = k16 + "\r\n";
  for (auto _ : state) {
    char* out = write_msg_line(room, subject, sid, {}, size.view());
    benchmark::DoNotOptimize(write_text(out, payload));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(write_msg_16);

void parse_headers(benchmark::State& state) {
  const std::string block = "NATS/1.0\r\nNats-Msg-Id: abcdef\r\nContent-Type: text/plain\r\n\r\n";
  for (auto _ : state) benchmark::DoNotOptimize(Headers::parse(block)->get("Content-Type"));
}
BENCHMARK(parse_headers);

}  // namespace
}  // namespace brokkr::protocol
