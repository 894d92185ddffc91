// What functions see of the host services: the calls the prelude makes of them and what it makes of the
// answers.
#include <gtest/gtest.h>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

std::string record(std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + std::string(bytes);
}

constexpr const char* kRevision7 = "NATS/1.0\r\nRevision: 7\r\nOperation: PUT\r\nCreated: 1000\r\n\r\n";

TEST(KeyValue, BothSpellingsAndTheirDefaultBucket) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.payload = "v\xff";
    f.host.answer.headers = kRevision7;
    ASSERT_EQ(f.load(R"((s, p) => { const v = this.kv('b').get('k');
      return [v instanceof Uint8Array, v.length, v[1], v.revision, v.created.getTime(), this.kv('b').set('k', p) === undefined,
        this.hostServices.kv.get('k').length, hostServices.kv.set(5, {a: 1}), kv('b').put('k', 't')]; })"), "");
    EXPECT_EQ(brief(f.call("\x00\x80")), "200 [true,2,255,7,1000,true,2,null,7]");
    const std::vector<std::string> expected = {
        "kv.get b k ", "kv.set b k ", "kv.get HostServices_KeyValue k ",
        "kv.set HostServices_KeyValue 5 {\"a\":1}", "kv.put b k t"};
    EXPECT_EQ(f.host.calls, expected);
  }), 0);
}

TEST(KeyValue, BytesAreExact) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    std::string all;
    for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
    f.host.answer.payload = all;
    ASSERT_EQ(f.load("(s, p) => { this.kv('b').set('k', p); return this.kv('b').get('k'); }"), "");
    EXPECT_EQ(f.call(all).payload, all);
    EXPECT_EQ(f.host.calls.at(0), "kv.set b k " + all);
  }), 0);
}

TEST(KeyValue, MissingKeysThrowOrGiveTheDefault) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.code = 404;
    f.host.answer.error = "key \"k\" not found";
    ASSERT_EQ(f.load(R"(() => { const b = this.kv('b'); const out = [b.get('k', {default: null}), b.entry('k')];
      try { b.get('k'); } catch (e) { out.push(e instanceof Error, e.name, e.code, e.message); } return out; })"), "");
    EXPECT_EQ(brief(f.call()), R"(200 [null,null,true,"NotFound",404,"key \"k\" not found"])");
    EXPECT_EQ(run_once("() => this.kv('b').get('k', {default: 1}).length"), "200 0");  // what is there counts
  }), 0);
}

TEST(KeyValue, RevisionsGuardWrites) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.headers = kRevision7;
    ASSERT_EQ(f.load(R"((s, p) => { const b = this.kv('b');
      if (p.length) { try { kv('b').update('k', 'v', 3); } catch (e) { return [e.name, e.code]; } }
      return [b.create('k', '1'), b.update('k', '2', 6), b.delete('k', {revision: 7}) ?? 0, b.purge('k') ?? 0]; })"), "");
    EXPECT_EQ(brief(f.call()), "200 [7,7,0,0]");
    EXPECT_EQ(f.host.calls.at(1), "kv.update b k 2");
    EXPECT_EQ(f.host.calls.at(2), "kv.delete b k ");
    f.host.answer.code = 409;
    f.host.answer.error = "wrong last sequence: 9";
    EXPECT_EQ(brief(f.call("x")), R"(200 ["Conflict",409])");
    EXPECT_EQ(f.host.last_headers, "NATS/1.0\r\nRevision: 3\r\n\r\n");
  }), 0);
}

TEST(KeyValue, KeysAndHistoryComeAsLists) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.more = record("a") + record("b.c");
    ASSERT_EQ(f.load(R"((s, p) => p.length
      ? kv('b').history('k').map((e) => [e.revision, e.operation, e.value.length, e.value[1] ?? 0])
      : [kv('b').keys(), kv('b').keys('x.*', {limit: 3}), kv('b').keys({filter: 'y'})])"), "");
    EXPECT_EQ(brief(f.call()), R"(200 [["a","b.c"],["a","b.c"],["a","b.c"]])");
    EXPECT_EQ(f.host.calls.at(1), "kv.keys b x.* ");
    EXPECT_EQ(f.host.calls.at(2), "kv.keys b y ");
    f.host.answer.more = record(kRevision7) + record("v\xfe") + record("NATS/1.0\r\nRevision: 8\r\nOperation: DEL\r\n\r\n") + record("");
    EXPECT_EQ(brief(f.call("x")), R"(200 [[7,"PUT",2,254],[8,"DEL",0,0]])");
  }), 0);
}

TEST(KeyValue, AWatchIsAnIterator) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.headers = kRevision7;
    f.host.answer.more = record("x.a") + record(kRevision7) + record("v") + record("x.b") +
                         record("NATS/1.0\r\nRevision: 8\r\nOperation: DEL\r\n\r\n") + record("");
    ASSERT_EQ(f.load(R"(() => { const out = [];
      for (const e of kv('b').watch('x.*', {updatesOnly: true, metaOnly: true})) {
        out.push([e.key, e.revision, e.operation, e.value.length]);
        if (out.length === 3) break;
      }
      return out; })"), "");
    EXPECT_EQ(brief(f.call()), R"(200 [["x.a",7,"PUT",1],["x.b",8,"DEL",0],["x.a",7,"PUT",1]])");
    EXPECT_EQ(f.host.calls.size(), 2U);
    EXPECT_EQ(f.host.calls.at(0), "kv.watch b x.* ");
    EXPECT_EQ(f.host.last_headers, "NATS/1.0\r\nRevision: 7\r\nWatch: updates no-values\r\n\r\n");
  }), 0);
}

TEST(KeyValue, AWatchEndsByItsTimeAndFailsByTheCalls) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.code = 408;
    f.host.answer.error = "timed out";
    ASSERT_EQ(f.load(R"(() => { const none = [...kv('b').watch({timeout: 5})];
      try { kv('b').watch().next(); } catch (e) { return [none.length, e.code]; } })"), "");
    EXPECT_EQ(brief(f.call()), "200 [0,408]");
  }), 0);
}

TEST(KeyValue, ArgumentsAreChecked) {
  for (const auto& [call, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"this.kv()", "bucket name is required"},
           {"kv('b').get()", "key is required"},
           {"kv('b').set('k')", "key and value are required"},
           {"kv('b').update('k', 'v')", "key, value and revision are required"},
           {"kv('b').update('k', 'v', 1.5)", "a revision is a whole number"},
           {"kv('b').set('k', () => 1)", "a function cannot be sent as bytes"},
           {"objectStore('')", "bucket name is required"},
           {"objectStore('b').put('n')", "name and value are required"},
           {"http.get()", "url is required"}}) {
    EXPECT_EQ(run_once(std::string("(s, p) => ") + call), std::string("500 TypeError: ") + text) << call;
  }
}

TEST(KeyValue, TooLargeRequestsAreRefusedHere) {
  EXPECT_EQ(run_once("() => { try { kv('b').set('k', new Uint8Array(9 << 20)); } catch (e) { return [e.code, e.name]; } }"),
            R"(200 [413,"TooLarge"])");
  EXPECT_EQ(run_once(R"(() => { const big = new Uint8Array(9 << 20); Object.defineProperty(big, 'length', {value: 1});
    try { kv('b').set('k', big); } catch (e) { return e.message; } })"), "200 \"the request is too large\"");
}

TEST(ObjectStore, PutAndGetSmallOnes) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.payload = R"({"name":"n","size":3})";
    f.host.answer.more = R"({"name":"n","size":21})";
    ASSERT_EQ(f.load(R"((s, p) => { const o = this.objectStore('b'); if (!p.length) return o.list().map((o) => o.name);
      const info = o.put('n', p, {description: 'd', headers: {A: 'b'}}); if (p.length === 1) return 1;
      const got = hostServices.objectStore.get('n'); return [info.size, got.length, got.info.size]; })"), "");
    EXPECT_EQ(brief(f.call("abc")), "200 [3,21,21]");
    const std::vector<std::string> expected = {"objectStore.put b n abc",
                                               "objectStore.get HostServices_ObjectStore n "};
    EXPECT_EQ(f.host.calls, expected);
    EXPECT_EQ(brief(f.call("x")), "200 1");
    EXPECT_EQ(f.host.last_headers, "NATS/1.0\r\nA: b\r\nDescription: d\r\n\r\n");
    f.host.answer.more = record(R"({"name":"a"})") + record(R"({"name":"b"})");
    EXPECT_EQ(brief(f.call()), R"(200 ["a","b"])");
  }), 0);
}

TEST(ObjectStore, LargeOnesGoInPieces) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.headers = "NATS/1.0\r\nHandle: 5\r\n\r\n";
    f.host.answer.payload = R"({"name":"n","size":5242881})";
    ASSERT_EQ(f.load("() => objectStore('b').put('n', new Uint8Array((5 << 20) + 1)).size"), "");
    EXPECT_EQ(brief(f.call()), "200 5242881");
    ASSERT_EQ(f.host.calls.size(), 8U);
    EXPECT_EQ(f.host.calls.front(), "objectStore.openWrite b n ");
    EXPECT_EQ(f.host.calls.at(1).substr(0, 20), "objectStore.write 5 ");
    EXPECT_EQ(f.host.calls.back(), "objectStore.commit 5  ");
  }), 0);
}

TEST(ObjectStore, StreamsTakeBackWhatIsNotFinished) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.headers = "NATS/1.0\r\nHandle: 5\r\n\r\n";
    f.host.answer.payload = R"({"name":"n","size":2})";
    ASSERT_EQ(f.load(R"((s, p) => { if (p.length) for (const piece of objectStore('b').getStream('n')) return piece.length;
      objectStore('b').putStream('n', (function* () { yield 'ab'; throw new Error('source'); })()); })"), "");
    EXPECT_EQ(brief(f.call()), "500 Error: source");
    const std::vector<std::string> expected = {"objectStore.openWrite b n ", "objectStore.write 5  ab",
                                               "objectStore.close 5  "};
    EXPECT_EQ(f.host.calls, expected);
    f.host.calls.clear();
    EXPECT_EQ(brief(f.call("x")), "200 21");
    EXPECT_EQ(f.host.calls.back(), "objectStore.close 5  ");
  }), 0);
}

TEST(ObjectStore, ModuleHandlersStream) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(export default { async message(msg, env) { let text = '';
      for await (const piece of await env.objectStore('b').getStream('n')) text += new TextDecoder().decode(piece);
      return text; } })"), "");
    const uint64_t id = f.start();
    f.function->complete_call(1, {200, {}, "NATS/1.0\r\nHandle: 9\r\n\r\n", R"({"size":4})", {}});
    for (const char* piece : {"ab", "cd", ""}) {
      EXPECT_EQ(f.host.started.back().second, "objectStore.read 9  ");
      f.function->complete_call(f.host.started.back().first, {200, {}, {}, piece, {}});
    }
    EXPECT_EQ(f.host.started.back().second, "objectStore.close 9  ");
    f.function->complete_call(f.host.started.back().first, {});
    EXPECT_EQ(brief(f.sink.outcomes[id]), "200 abcd");
  }), 0);
}

TEST(Http, ResponsesAreWhatProgramsExpect) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.headers = "NATS/1.0\r\ncontent-type: application/json\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n";
    f.host.answer.payload = R"({"x":1})";
    f.host.answer.more = R"({"status":201,"statusText":"Created","url":"http://h/p","redirected":false})";
    ASSERT_EQ(f.load(R"((s, p) => { const r = this.http.post('http://h/p', p, {headers: {'X-A': '1'}, query: {q: 'a b', n: [1, 2]}, timeout: 100});
      return [r.status, r.ok, r.headers['Content-Type'], r.headers.get('set-cookie'), r.response.length, r.response instanceof Uint8Array,
        r.json().x, JSON.parse(r.response).x, `${r.body}`, r.url, JSON.stringify(r)]; })"), "");
    EXPECT_EQ(brief(f.call("body")),
              R"(200 [201,true,"application/json","a, b",7,true,1,1,"{\"x\":1}","http://h/p",)"
              R"("{\"status\":201,\"headers\":{\"Content-Type\":\"application/json\",\"Set-Cookie\":\"a, b\"},\"response\":\"{\\\"x\\\":1}\"}"])");
    EXPECT_EQ(f.host.calls.at(0), "http.post http://h/p?q=a+b&n=1&n=2  body");
    EXPECT_EQ(f.host.last_headers, "NATS/1.0\r\nX-A: 1\r\ncontent-type: application/octet-stream\r\n\r\n");
    EXPECT_EQ(f.host.last_timeout_ms, 100);
  }), 0);
}

TEST(Http, EveryMethodAndItsBody) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    f.host.answer.more = R"({"status":200})";
    ASSERT_EQ(f.load(R"(() => { const h = this.hostServices.http; h.get('u'); h.head('u', {redirect: 'manual'}); h.delete('u', 'b');
      h.put('u', {a: 1}); h.patch('u', 'p'); h.post('u'); h.request('u', {method: 'OPTIONS'}); h.get('u', {body: 'x'});
      return h.request({url: 'u#f', query: 'a=1'}).status; })"), "");
    EXPECT_EQ(brief(f.call()), "200 200");
    const std::vector<std::string> expected = {
        "http.get u  ",  "http.head u manual ", "http.delete u  b",  "http.put u  {\"a\":1}", "http.patch u  p",
        "http.post u  ", "http.options u  ",    "http.get u  x",     "http.get u?a=1#f  "};
    EXPECT_EQ(f.host.calls, expected);
  }), 0);
}

TEST(Http, FetchGivesAResponse) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(async (s, p) => {
      if (p.length) try { await fetch('http://h'); } catch (e) { return [e.name, e.code, e.message]; }
      const r = await fetch('http://h/p', {method: 'POST', body: 'b', headers: {A: '1'}});
      return [r instanceof Response, r.status, r.url, r.headers.get('x'), await r.text()]; })"), "");
    const uint64_t id = f.start();
    ASSERT_EQ(f.host.started.size(), 1U);
    EXPECT_EQ(f.host.started[0].second, "http.post http://h/p  b");
    f.function->complete_call(1, {200, {}, "NATS/1.0\r\nX: y\r\n\r\n", "text",
                                  R"({"status":404,"statusText":"Not Found","url":"http://h/q","redirected":true})"});
    EXPECT_EQ(brief(f.sink.outcomes[id]), R"(200 [true,404,"http://h/q","y","text"])");
    const uint64_t failing = f.start("x");
    f.function->complete_call(2, {403, "egress is not allowed", {}, {}, {}});
    EXPECT_EQ(brief(f.sink.outcomes[failing]), R"(200 ["TypeError",403,"fetch failed: egress is not allowed"])");
  }), 0);
}

TEST(Http, AnAbortedFetchEndsAtOnce) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(async () => { const stop = new AbortController(); setTimeout(() => stop.abort(), 5);
      try { await fetch('http://h', {signal: stop.signal}); } catch (e) { return e.name; } })"), "");
    const uint64_t id = f.start();
    f.clock.advance(std::chrono::milliseconds(6));
    f.function->run_due_work();
    EXPECT_EQ(brief(f.sink.outcomes[id]), "200 \"AbortError\"");
  }), 0);
}

TEST(HostServices, EnvGivesPromisesAndErrors) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(export default { async message(msg, env) {
      const [a, b] = await Promise.all([env.kv('b').get('x'), env.kv('b').get('y', {default: 'none'})]);
      const wrong = await env.kv('b').set('k').catch((e) => e.message);
      return [a.text(), b, wrong, typeof env.objectStore('o').getStream, typeof env.http.get]; } })"), "");
    const uint64_t id = f.start();
    ASSERT_EQ(f.host.started.size(), 2U);
    f.function->complete_call(2, {404, "key not found", {}, {}, {}});
    f.function->complete_call(1, {200, {}, kRevision7, "A", {}});
    EXPECT_EQ(brief(f.sink.outcomes[id]), R"(200 ["A","none","key and value are required","function","function"])");
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
