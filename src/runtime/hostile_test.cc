// Functions that mean harm, each in a process of its own. A heap that cannot be saved ends that
// process; then the call in flight must have been answered OutOfMemory first. What V8 does not stop
// within seconds (JSON.parse of 40 MB, filling an array of 2^27) is the node's to kill.
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

// Leaves the process at once: 0 for OutOfMemory, 3 for anything else.
struct LastSink final : OutcomeSink {
  void on_outcome(uint64_t, Outcome&& outcome) override {
    if (outcome.code != OutcomeCode::OutOfMemory) {
      std::fprintf(stderr, "outcome %s\n", brief(outcome).c_str());
      std::fflush(nullptr);
    }
    _exit(outcome.code == OutcomeCode::OutOfMemory ? 0 : 3);
  }
};

int memory_outcome(std::string_view source) {
  return in_child([&] {
    Deployed f;
    LastSink sink;
    EXPECT_EQ(f.load(source), "");
    f.function->invoke({1, "s", {}, {}, {}}, sink);
    _exit(4);
  });
}

TEST(Hostile, EndlessCodeIsStoppedAndTheInstanceGoesOn) {
  for (const char* evil : {
           "for (;;);",
           "for (;;) try { for (;;); } catch { } finally { }",
           "const f = () => Promise.resolve().then(f); f();",
           "/^(a+)+$/.test('a'.repeat(40) + 'b');",
           "[...Array(300000)].map(Math.random).sort(() => { for (let i = 0; i < 1e5; i++); return 1; });",
           "return {get then() { for (;;); }};",
           "return {toJSON() { for (;;); }};",
           "throw {toString() { for (;;); }};",
           "const e = new Error('x'); e.toString = () => { for (;;); }; for (const n of ['stack', 'name']) Object.defineProperty(e, n, {get() { for (;;); }}); throw e;",
           "const e = new Error('x'); Object.defineProperty(e, 'stack', {get() { for (;;); }}); throw e;",
       }) {
    EXPECT_EQ(in_child([&] {
      Deployed f;
      ASSERT_EQ(f.load(std::string("(s, p) => { if (p.length) return 'fine'; ") + evil + " }"), "");
      EXPECT_EQ(brief(f.call_watched()), "504 timed out: the limit is 5s");
      EXPECT_EQ(brief(f.call("x")), "200 \"fine\"");
      EXPECT_EQ(f.sink.deliveries, 2);
    }), 0) << evil;
  }
}

TEST(Hostile, StopBetweenCallsHitsNobody) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("() => 1"), "");
    f.function->terminate();
    EXPECT_EQ(brief(f.call()), "200 1");
  }), 0);
}

TEST(Hostile, MemoryOfEveryKindEndsAsOutOfMemory) {
  for (const char* evil : {
           "() => { const a = []; for (;;) a.push({x: a.length, y: [1, 2, 3]}); }",
           "() => { let s = 'x'; for (;;) s = s + s.length + [...s].join(''); }",
           "() => { const m = new Map(); for (let i = 0;; i++) m.set(i, i); }",
           "() => { const a = []; for (;;) a.push(new Uint8Array(1 << 20)); }",
           "() => new Uint8Array(1 << 30)",
           "() => { const a = []; for (;;) a.push(new Float64Array(1000).fill(1)); }",
       }) {
    EXPECT_EQ(memory_outcome(evil), 0) << evil;
  }
}

TEST(Hostile, BuffersBeyondTheBudgetAreACatchableRangeError) {
  EXPECT_EQ(run_once("() => { const a = []; try { for (;;) a.push(new Uint8Array(1 << 20)); } catch (e) { return [a.length > 50 && a.length <= 64, e.name]; } }"),
            R"(200 [true,"RangeError"])");
}

TEST(Hostile, WebAssemblyMemoryIsLimited) {
  EXPECT_EQ(run_once("() => { try { new WebAssembly.Memory({initial: 16384}); } catch (e) { return e.name; } }"), "200 \"RangeError\"");
  EXPECT_EQ(run_once("() => { const m = new WebAssembly.Memory({initial: 1, maximum: 65536}); try { m.grow(16000); } catch (e) { return e.name; } }"), "200 \"RangeError\"");
}

TEST(Hostile, SmallAndLargeHeapLimitsAreKept) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.spec.limits.heap_bytes_max = 24U << 20;
    ASSERT_EQ(f.load("() => { const a = []; for (let i = 0; i < 3e6; i++) a.push({i}); return a.length; }"), "");
    EXPECT_EQ(brief(f.call()), "507 out of memory: the heap limit is 24.0 MiB");
  }), 0);
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.spec.limits.heap_bytes_max = 512U << 20;
    ASSERT_EQ(f.load("() => { const a = []; for (let i = 0; i < 3e6; i++) a.push({i}); return a.length; }"), "");
    EXPECT_EQ(brief(f.call()), "200 3000000");
  }), 0);
}

TEST(Hostile, InstanceWorksAfterAHeapItGaveBack) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("(s, p) => { if (p.length) return 1; const a = []; for (;;) a.push({x: a.length}); }"), "");
    EXPECT_EQ(f.call().code, OutcomeCode::OutOfMemory);
    EXPECT_EQ(brief(f.call("x")), "200 1");
  }), 0);
}

TEST(Hostile, RecursionOfEveryKindIsARangeError) {
  for (const char* evil : {"() => { const f = (a) => 1 + f(a + 1); return f(0); }",
                           "() => { let o = {}; for (let i = 0; i < 1e6; i++) o = {o}; return o; }",
                           "() => { const o = {get a() { return this.a; }}; return o.a; }",
                           "() => { class P { constructor() { new P(); } } return new P(); }"}) {
    EXPECT_EQ(run_once(evil), "500 RangeError: Maximum call stack size exceeded") << evil;
  }
}

TEST(Hostile, LogFloodIsCutToALineAtATime) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("() => { console.log('x'.repeat(1e7)); return 1; }"), "");
    EXPECT_EQ(brief(f.call()), "200 1");
    EXPECT_LT(f.host.out.size(), 70000U);
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
