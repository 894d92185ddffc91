// brokkr_bench_load: runs one scenario against one server and prints one line of JSON. Exit code 0
// means that every count, header, order and total was right.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "scenarios.h"
#include "stream.h"

namespace brokkr::bench {
namespace {

struct Scenario {
  const char* name;
  void (*run)(const Options&, const Shape&, Report&);
  Shape shape;
};

constexpr Scenario kScenarios[] = {
    {"pub_16", run_flow, {.payload = 16}},
    {"pub_128", run_flow, {.payload = 128}},
    {"pub_1k", run_flow, {.payload = 1024}},
    {"pub_8k", run_flow, {.payload = 8192}},
    {"one2one_16", run_flow, {.payload = 16, .subscribers = 1}},
    {"one2one_128", run_flow, {.payload = 128, .subscribers = 1}},
    {"one2one_1k", run_flow, {.payload = 1024, .subscribers = 1}},
    {"one2one_8k", run_flow, {.payload = 8192, .subscribers = 1}},
    {"fan_1x4_128", run_flow, {.payload = 128, .subscribers = 4}},
    {"fan_1x16_16", run_flow, {.payload = 16, .subscribers = 16}},
    {"fan_1x16_128", run_flow, {.payload = 128, .subscribers = 16}},
    {"fan_1x16_1k", run_flow, {.payload = 1024, .subscribers = 16}},
    {"4x4_128", run_flow, {.payload = 128, .publishers = 4, .subscribers = 4}},
    {"pairs8_128", run_flow, {.payload = 128, .subscribers = 1, .channels = 8}},
    {"queue_1x4", run_flow, {.payload = 128, .subscribers = 4, .is_queue = true}},
    {"queue_4x4", run_flow, {.payload = 128, .publishers = 4, .subscribers = 4, .is_queue = true}},
    {"unbatched_256x1",
     run_flow,
     {.payload = 128, .publishers = 256, .subscribers = 1, .is_unbatched = true}},
    {"rr_1", run_requests, {.in_flight = 1}},
    {"rr_1_pinned", run_requests, {.in_flight = 1}},
    {"rr_64", run_requests, {.in_flight = 64}},
    {"rr_256", run_requests, {.in_flight = 256}},
    {"churn", run_churn, {}},
    {"paced_10k", run_paced, {.rate = 10'000, .tick_us = 100}},
    {"paced_50k", run_paced, {.rate = 50'000, .tick_us = 1000}},
    {"paced_200k", run_paced, {.rate = 200'000, .tick_us = 1000}},
    {"idle_conns", run_idle, {}},
    {"subs", run_subscriptions, {}},
    {"subs_wild", run_subscriptions, {.is_wildcard = true}},
    {"match_100k", run_match, {}},
    {"match_100k_wild", run_match, {.is_wildcard = true}},
    {"fn_echo", run_function, {}},
    {"js_pub_16", run_js_publish, {.payload = 16, .in_flight = 1000}},
    {"js_pub_128", run_js_publish, {.payload = 128, .in_flight = 1000}},
    {"js_pub_1k", run_js_publish, {.payload = 1024, .in_flight = 1000}},
    {"js_pub_mem_16", run_js_publish, {.payload = 16, .in_flight = 1000, .is_memory = true}},
    {"js_pub_w64_16", run_js_publish, {.payload = 16, .in_flight = 64}},
    {"js_pub_1_16", run_js_publish, {.payload = 16, .in_flight = 1}},
    {"js_consume", run_js_consume, {.payload = 128}},
    {"kv_put", run_kv_put, {.payload = 128, .in_flight = 256}},
    {"kv_get", run_kv_get, {.payload = 128, .in_flight = 64}},
    {"js_fill", run_js_fill, {.payload = 16}},
    {"kv_fill", run_js_fill, {.payload = 16, .is_bucket = true}},
    {"js_streams", run_js_streams, {.in_flight = 256}},
};

[[noreturn]] void print_usage(int code) {
  fputs(
      "usage: brokkr_bench_load --scenario NAME --port PORT [--pid PID] [--seconds S]\n"
      "         [--messages MAX] [--connections N] [--subscriptions N] [--cpu N] [--spin-us N]\n"
      "         [--patience SECONDS] [--tls]\n"
      "         [--function-subject SUBJECT] [--function-in-flight N]\n"
      "         [--subject-count N] [--payload BYTES] [--consumer-count N]\n"
      "       brokkr_bench_load --list\n",
      code == 0 ? stdout : stderr);
  exit(code);
}

double parse_number(std::string_view option, const char* text, double least, double most) {
  char* end = nullptr;
  const double value = strtod(text, &end);
  if (end == text || *end != 0 || !(value >= least && value <= most)) {
    fail("%.*s: '%s' is not a number from %g to %g", static_cast<int>(option.size()), option.data(),
         text, least, most);
  }
  return value;
}

struct Command {
  Options options;
  std::string scenario;
};

Command parse_command(int argc, char** argv) {
  Command command;
  Options& options = command.options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--list") {
      for (const Scenario& scenario : kScenarios)
        puts(scenario.name);
      exit(0);
    }
    if (option == "--help") print_usage(0);
    if (option == "--tls") {
      Stream::use_tls();
      continue;
    }
    if (i + 1 >= argc) print_usage(2);
    const char* text = argv[++i];
    const auto number = [&](double least, double most) {
      return parse_number(option, text, least, most);
    };
    if (option == "--scenario")
      command.scenario = text;
    else if (option == "--port")
      options.port = static_cast<uint16_t>(number(1, 65535));
    else if (option == "--pid")
      options.pid = static_cast<pid_t>(number(1, 1e9));
    else if (option == "--seconds")
      options.seconds = number(0.01, 60);
    else if (option == "--messages")
      options.messages_max = static_cast<uint64_t>(number(16, 1e9));
    else if (option == "--connections")
      options.connections = static_cast<uint32_t>(number(1, 1e5));
    else if (option == "--subscriptions")
      options.subscriptions = static_cast<uint32_t>(number(1, 999'999));
    else if (option == "--cpu")
      pin_to_cpu(static_cast<int>(number(0, 1023)));
    else if (option == "--spin-us")
      options.spin_us = static_cast<uint32_t>(number(0, 1000));
    else if (option == "--patience")
      options.patience_ns = static_cast<uint64_t>(number(0.1, 600) * 1e9);
    else if (option == "--function-subject")
      options.function_subject = text;
    else if (option == "--function-in-flight")
      options.function_in_flight = static_cast<uint32_t>(number(1, 4096));
    else if (option == "--subject-count")
      options.subject_count = static_cast<uint64_t>(number(1, 1e8));
    else if (option == "--payload")
      options.payload = static_cast<uint32_t>(number(1, 1e6));
    else if (option == "--consumer-count")
      options.consumer_count = static_cast<uint32_t>(number(1, 1000));
    else
      print_usage(2);
  }
  return command;
}

}  // namespace
}  // namespace brokkr::bench

int main(int argc, char** argv) {
  using namespace brokkr::bench;
  const Command command = parse_command(argc, argv);
  for (const Scenario& scenario : kScenarios) {
    if (command.scenario != scenario.name) continue;
    raise_file_limit();
    Report report;
    scenario.run(command.options, scenario.shape, report);
    report.print(scenario.name);
    return 0;
  }
  fprintf(stderr, "brokkr_bench_load: no scenario '%s'; --list names them\n",
          command.scenario.c_str());
  return 2;
}
