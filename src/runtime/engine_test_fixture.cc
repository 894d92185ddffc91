#include "runtime/engine_test_fixture.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

// The isolate lives as long as the process, and the leak checker does not look into V8's heap.
extern "C" const char* __lsan_default_suppressions() { return "leak:libnode.so\n"; }

namespace brokkr::runtime::testing {

Engine& warm_engine() {
  static Engine* engine = [] {
    Result<Engine*> opened = open_engine(BROKKR_ENGINE_PLUGIN);
    if (!opened) {
      std::fprintf(stderr, "%s\n", opened.error().text.c_str());
      abort();
    }
    const Status prepared = (*opened)->prepare(true);
    if (!prepared) {
      std::fprintf(stderr, "%s\n", prepared.error().text.c_str());
      abort();
    }
    return *opened;
  }();
  return *engine;
}

namespace {

// Counts failed expectations: a child inherits its parent's, which are not its own.
struct FailureCounter final : ::testing::EmptyTestEventListener {
  int failures = 0;
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed()) ++failures;
  }
};

FailureCounter& failure_counter() {
  static FailureCounter* counter = [] {
    auto* made = new FailureCounter;
    ::testing::UnitTest::GetInstance()->listeners().Append(made);
    return made;
  }();
  return *counter;
}

}  // namespace

int in_child(FunctionRef<void()> body) {
  Engine& engine = warm_engine();
  FailureCounter& counter = failure_counter();
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    counter.failures = 0;
    const Status reseeded = engine.after_fork();
    EXPECT_TRUE(static_cast<bool>(reseeded));
    body();
    std::fflush(nullptr);
    _exit(counter.failures > 0 ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::string Deployed::load(std::string_view source, std::string_view file_name) {
  spec.name = "test";
  spec.file_name = file_name;
  spec.artifact = source;
  Result<std::unique_ptr<Function>> loaded = warm_engine().load(spec, host, clock);
  if (!loaded) return loaded.error().text;
  function = std::move(*loaded);
  return {};
}

std::string Deployed::load_wasm(std::string_view binary) {
  spec.kind = FunctionKind::Wasm;
  return load(binary, "test.wasm");
}

uint64_t Deployed::start(std::string_view payload) {
  function->invoke({++last_id, "test.subject", "_INBOX.1", {}, payload}, sink);
  return last_id;
}

Outcome Deployed::call_watched(std::string_view payload) {
  std::mutex mutex;
  std::condition_variable ended;
  bool has_ended = false;
  std::thread watchdog([&] {
    std::unique_lock lock(mutex);
    // Again and again: code that ran between two stops is stopped too.
    while (!ended.wait_for(lock, std::chrono::milliseconds(50), [&] { return has_ended; })) {
      function->terminate();
    }
  });
  const Outcome outcome = call(payload);
  {
    const std::lock_guard lock(mutex);
    has_ended = true;
  }
  ended.notify_one();
  watchdog.join();
  return outcome;
}

Outcome Deployed::call(const Invocation& invocation) {
  last_id = invocation.id;
  function->invoke(invocation, sink);
  EXPECT_TRUE(is_answered(invocation.id));
  return sink.outcomes[invocation.id];
}

Outcome Deployed::call(std::string_view payload, std::string_view subject) {
  return call({last_id + 1, subject, "_INBOX.1", {}, payload});
}

std::string brief(const Outcome& outcome) {
  return std::to_string(static_cast<int>(outcome.code)) + " " +
         (outcome.code == OutcomeCode::Ok ? outcome.payload : outcome.error);
}

std::string run_once(std::string_view source, std::string_view payload) {
  constexpr size_t kBytesMax = 1U << 20;
  auto* shared = static_cast<char*>(mmap(nullptr, kBytesMax, PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const int status = in_child([&] {
    Deployed deployed;
    std::string text = deployed.load(source);
    text = text.empty() ? brief(deployed.call(payload)) : "load: " + text;
    if (!deployed.host.err.empty()) std::fprintf(stderr, "%s", deployed.host.err.c_str());
    std::snprintf(shared, kBytesMax, "%s", text.c_str());
  });
  std::string text = status == 0 ? shared : "ended with " + std::to_string(status);
  munmap(shared, kBytesMax);
  return text;
}

std::string read_file(const std::string& path) {
  std::string bytes;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  EXPECT_NE(file, nullptr) << path;
  if (file == nullptr) return bytes;
  char chunk[65536];
  for (size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) bytes.append(chunk, n);
  std::fclose(file);
  return bytes;
}

}  // namespace brokkr::runtime::testing
