#include <gtest/gtest.h>

#include <thread>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

using namespace std::chrono_literals;

TEST(Async, TimersRunWhenDueAndInOrder) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(async () => { const order = [];
      setTimeout(() => order.push('late'), 20); setTimeout(() => order.push('b'), 10);
      setTimeout((x) => order.push(x), 5, 'a'); clearTimeout(setTimeout(() => order.push('never'), 1));
      await new Promise((r) => setTimeout(r, 20)); return order; })"), "");
    const uint64_t id = f.start();
    EXPECT_FALSE(f.is_answered(id));
    EXPECT_GT(f.function->next_due(), f.clock.now() + 4ms);
    EXPECT_LE(f.function->next_due(), f.clock.now() + 6ms);
    f.function->run_due_work();
    EXPECT_FALSE(f.is_answered(id));
    for (int i = 0; i < 10 && !f.is_answered(id); ++i) {
      f.clock.advance(5ms + 10us);
      f.function->run_due_work();
    }
    EXPECT_EQ(brief(f.sink.outcomes[id]), R"(200 ["a","b","late"])");
    EXPECT_EQ(f.function->next_due(), MonotonicTime::max());
  }), 0);
}

TEST(Async, IntervalsRepeatAndAThrowingTimerHurtsNobody) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(() => new Promise((done) => { let n = 0; setTimeout(() => { throw new Error('tick'); }, 1);
      const i = setInterval(() => { if (++n === 3) { clearInterval(i); done(n); } }, 10); }))"), "");
    const uint64_t id = f.start();
    for (int i = 0; i < 8; ++i) {
      f.clock.advance(10ms);
      f.function->run_due_work();
    }
    EXPECT_EQ(brief(f.sink.outcomes[id]), "200 3");
    EXPECT_EQ(f.host.err.substr(0, 20), "Uncaught Error: tick");
  }), 0);
}

TEST(Async, SeveralCallsAreInFlightAtOnce) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("let n = 0; async (s, p) => { const k = n++; await new Promise((r) => setTimeout(r, 30 - 10 * k)); return k; }"), "");
    const uint64_t a = f.start(), b = f.start(), c = f.start();
    f.clock.advance(11ms);
    f.function->run_due_work();
    EXPECT_TRUE(f.is_answered(c) && !f.is_answered(b) && !f.is_answered(a));
    f.clock.advance(30ms);
    f.function->run_due_work();
    EXPECT_EQ(f.sink.deliveries, 3);
    EXPECT_EQ(brief(f.sink.outcomes[a]), "200 0");
    EXPECT_EQ(brief(f.sink.outcomes[b]), "200 1");
  }), 0);
}

TEST(Async, HostCallsTellWhichInvocationTheyAreMadeFor) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(export default { async message(msg, env) {
      env.messaging.publish('first', msg.text());
      await new Promise((r) => setTimeout(r, msg.text() === 'a' ? 20 : 10));
      await env.messaging.publish('second', msg.text()); return 1; } })", "test.mjs"), "");
    const uint64_t a = f.start("a"), b = f.start("b");
    f.clock.advance(11ms);
    f.function->run_due_work();
    f.clock.advance(10ms);
    f.function->run_due_work();
    EXPECT_EQ(f.host.calls.size(), 4U);
    EXPECT_EQ(f.host.invocations, (std::vector<uint64_t>{a, b, b, a}));
  }), 0);
}

TEST(Async, NeverSettlingPromiseEndsByAbandonOnce) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("let r; (s, p) => p.length ? (r?.(1), 'ok') : new Promise((resolve) => { r = resolve; })"), "");
    const uint64_t id = f.start();
    f.function->run_due_work();
    EXPECT_FALSE(f.is_answered(id));
    f.function->abandon(id);
    EXPECT_EQ(brief(f.sink.outcomes[id]), "504 timed out: the limit is 5s");
    f.function->abandon(id);
    EXPECT_EQ(brief(f.call("settle it late")), "200 \"ok\"");
    EXPECT_EQ(f.sink.deliveries, 2);
  }), 0);
}

TEST(Async, UnhandledRejectionIsLoggedNotFatal) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("() => { Promise.reject(new Error('lost')); return 1; }"), "");
    EXPECT_EQ(brief(f.call()), "200 1");
    EXPECT_EQ(f.host.err.substr(0, 34), "Uncaught (in promise) Error: lost\n");
  }), 0);
}

TEST(Async, StoppedContinuationEndsWhoWaitedLongest) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load("(s, p) => p.length ? 'alive' : new Promise(() => setTimeout(() => { for (;;); }, 1))"), "");
    const uint64_t id = f.start();
    f.clock.advance(2ms);
    std::thread watchdog([&] {
      while (!f.is_answered(id)) {
        f.function->terminate();
        std::this_thread::sleep_for(5ms);
      }
    });
    f.function->run_due_work();
    EXPECT_EQ(brief(f.sink.outcomes[id]), "504 timed out: the limit is 5s");
    watchdog.join();
    EXPECT_EQ(brief(f.call("x")), "200 \"alive\"");
  }), 0);
}

TEST(Messaging, SynchronousRequestGivesBytesAndHeaders) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.payload = "pong\xff";
    f.host.answer.headers = "NATS/1.0\r\nA: b\r\n\r\n";
    ASSERT_EQ(f.load(R"((s, p) => { const r = this.messaging.request('svc.x', p, {timeout: 250, headers: {T: ['1', '2']}});
      return [r instanceof Uint8Array, r.length, r[4], r.headers.get('A')]; })"), "");
    EXPECT_EQ(brief(f.call("ping")), R"(200 [true,5,255,"b"])");
    EXPECT_EQ(f.host.calls.at(0), "messaging.request svc.x  ping");
    EXPECT_EQ(f.host.last_timeout_ms, 250);
    EXPECT_EQ(f.host.last_headers, "NATS/1.0\r\nT: 1\r\nT: 2\r\n\r\n");
  }), 0);
}

TEST(Messaging, PayloadsOfEveryKindAndTheOlderSpelling) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"((s, p) => { const m = this.hostServices.messaging;
      m.publish('a', 'text \u00e9'); m.publish('a', p); m.publish('a', p.buffer); m.publish('a', {k: 1});
      m.publish('a', p.subarray(1)); m.publish('a', '', {reply: 'r.s'}); return m.publish('a', '') === undefined; })"), "");
    EXPECT_EQ(brief(f.call("xyz")), "200 true");
    const std::vector<std::string> expected = {
        "messaging.publish a  text \u00e9", "messaging.publish a  xyz", "messaging.publish a  xyz",
        "messaging.publish a  {\"k\":1}",  "messaging.publish a  yz",  "messaging.publish a r.s ",
        "messaging.publish a  "};
    EXPECT_EQ(f.host.calls, expected);
  }), 0);
}

TEST(Messaging, ErrorsAreErrorsWithACode) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.code = 503;
    f.host.answer.error = "no responders for svc.x";
    ASSERT_EQ(f.load(R"(() => { const out = [];
      for (const f of [() => messaging.request('svc.x', ''), () => messaging.request(), () => messaging.publish('a b', ''),
                       () => messaging.publish('a'), () => messaging.publish('a', '', {headers: {'x': 'a\r\nb'}})]) {
        try { f(); } catch (e) { out.push([e instanceof Error, e.code ?? e.name, e.message]); } } return out; })"), "");
    EXPECT_EQ(brief(f.call()),
              R"(200 [[true,503,"no responders for svc.x"],[true,"TypeError","subject is required"],)"
              R"([true,"TypeError","\"a b\" is not a subject"],[true,"TypeError","subject and payload are required"],)"
              R"([true,"TypeError","a header value may not hold NUL, CR or LF"]])");
  }), 0);
}

TEST(Messaging, RequestManyGivesEveryReply) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.payload = "one";
    f.host.answer.more = std::string("\3\0\0\0two\0\0\0\0\5\0\0\0three", 4 + 3 + 4 + 4 + 5);
    ASSERT_EQ(f.load("() => this.messaging.requestMany('svc', 'q', {max: 4, timeout: 9}).map((r) => r.text())"), "");
    EXPECT_EQ(brief(f.call()), R"(200 ["one","two","","three"])");
    EXPECT_EQ(f.host.last_replies_max, 4U);
    f.host.answer = {408, "timed out", {}, {}, {}};
    EXPECT_EQ(brief(f.call()), "200 []");
  }), 0);
}

TEST(Messaging, EnvGivesPromisesThatCompleteOutOfOrder) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(export default { async message(msg, env) {
      const [a, b] = await Promise.all([env.messaging.request('a', '1'), env.messaging.request('b', '2')]);
      try { await env.messaging.request('c', ''); } catch (e) { return `${a.text()}${b.text()} ${e.code} ${e.message}`; } } })"), "");
    const uint64_t id = f.start();
    ASSERT_EQ(f.host.started.size(), 2U);
    f.function->complete_call(2, {200, {}, {}, "B", {}});
    f.function->complete_call(1, {200, {}, {}, "A", {}});
    EXPECT_FALSE(f.is_answered(id));
    ASSERT_EQ(f.host.started.size(), 3U);
    f.function->complete_call(99, {200, {}, {}, "nobody asked", {}});
    f.function->complete_call(3, {503, "no responders", {}, {}, {}});
    EXPECT_EQ(brief(f.sink.outcomes[id]), "200 AB 503 no responders");
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
