#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

// Each source is the body of a function whose result is compared as JSON text.
struct Case {
  const char* body;
  const char* expected;
};

void expect_json(std::initializer_list<Case> cases) {
  for (const Case& c : cases) {
    EXPECT_EQ(run_once(std::string("async (s, p) => { ") + c.body + " }", "hi"),
              std::string("200 ") + c.expected)
        << c.body;
  }
}

TEST(Globals, TextCoding) {
  expect_json({
      {"return [...new TextEncoder().encode('\u00e9\U0001F600')]", "[195,169,240,159,152,128]"},
      {"return new TextEncoder().encode('\\ud800').length", "3"},
      {"return new TextEncoder().encodeInto('a\u00e9b', new Uint8Array(2))", R"({"read":1,"written":1})"},
      {"return new TextDecoder().decode(new Uint8Array([0xef,0xbb,0xbf,0x61]))", "\"a\""},
      {"return new TextDecoder('utf-8', {ignoreBOM: true}).decode(new Uint8Array([0xef,0xbb,0xbf,0x61])).length", "2"},
      {"return new TextDecoder().decode(new Uint8Array([0x61,0xff,0xe2,0x82]))", "\"a\xef\xbf\xbd\xef\xbf\xbd\""},
      {"try { new TextDecoder('utf8', {fatal: true}).decode(new Uint8Array([0xff])) } catch (e) { return e.name }", "\"TypeError\""},
      {"const d = new TextDecoder(); return d.decode(new Uint8Array([0xe2,0x82]), {stream: true}) + d.decode(new Uint8Array([0xac]), {stream: true}) + d.decode()", "\"\u20ac\""},
      {"return new TextDecoder('latin1').decode(new Uint8Array([0xe9,0x80]))", "\"\u00e9\u20ac\""},
      {"return new TextDecoder('utf-16le').decode(new Uint8Array([0x3d,0xd8,0,0xde]))", "\"\U0001F600\""},
      {"try { new TextDecoder('klingon') } catch (e) { return e.name }", "\"RangeError\""},
      {"return [btoa('a\\xff'), atob('Yf8=').charCodeAt(1), atob(' YQ == ')]", R"(["Yf8=",255,"a"])"},
      {"try { btoa('\u20ac') } catch (e) { return [e.name, e instanceof DOMException] }", R"(["InvalidCharacterError",true])"},
      {"try { atob('a') } catch (e) { return e.name }", "\"InvalidCharacterError\""},
  });
}

TEST(Globals, UrlsAndStreams) {
  expect_json({
      {"const u = new URL('../x?a=1&a=2#h', 'https://Ex\u00e4mple.org:8443/p/q'); return [u.href, u.searchParams.getAll('a')]", R"(["https://xn--exmple-cua.org:8443/x?a=1&a=2#h",["1","2"]])"},
      {"try { new URL('nope') } catch (e) { return e.name }", "\"TypeError\""},
      {"return [URL.canParse('x'), new URLSearchParams({a: 'b c'}).toString()]", R"([false,"a=b+c"])"},
      {"const t = new TransformStream({transform(c, k) { k.enqueue(c * 2); }}); const w = t.writable.getWriter(); w.write(21); return (await t.readable.getReader().read()).value", "42"},
      {"return await new Response('x\u00e9').text()", "\"x\u00e9\""},
      {"return await new Request('http://h/p', {method: 'post', body: '[1]'}).json()", "[1]"},
      {"const h = new Headers({A: '1'}); h.append('a', '2'); return [h.get('A'), [...h]]", R"(["1, 2",[["a","1, 2"]]])"},
  });
}

TEST(Globals, CryptoAndClone) {
  expect_json({
      {"const h = async (a) => [...new Uint8Array(await crypto.subtle.digest(a, new TextEncoder().encode('abc')))].map((b) => b.toString(16).padStart(2, '0')).join(''); return [await h('SHA-1'), await h({name: 'sha-256'}), (await h('SHA-384')).length, (await h('SHA-512')).slice(0, 8)]",
       R"(["a9993e364706816aba3e25717850c26c9cd0d89d","ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",96,"ddaf35a1"])"},
      {"try { await crypto.subtle.digest('MD5', p) } catch (e) { return e.name }", "\"NotSupportedError\""},
      {"return /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID())", "true"},
      {"const a = crypto.getRandomValues(new Uint32Array(8)); return [a.length, new Set(a).size > 4]", "[8,true]"},
      {"try { crypto.getRandomValues(new Uint8Array(65537)) } catch (e) { return e.name }", "\"QuotaExceededError\""},
      {"const o = {m: new Map([[1, new Date(0)]]), e: new RangeError('r'), b: 5n}; o.self = o; const c = structuredClone(o); return [c.self === c, c.m.get(1).getTime(), c.e.name, c.b === 5n, c !== o]", R"([true,0,"RangeError",true,true])"},
      {"try { structuredClone(() => 1) } catch (e) { return e.name }", "\"DataCloneError\""},
      {"const b = new ArrayBuffer(4); const c = structuredClone(b, {transfer: [b]}); return [b.byteLength, c.byteLength]", "[0,4]"},
  });
}

TEST(Globals, EventsAndAbort) {
  expect_json({
      {"const c = new AbortController(); let n = 0; c.signal.addEventListener('abort', () => n++); c.abort(); c.abort(); return [n, c.signal.aborted, c.signal.reason.name]", R"([1,true,"AbortError"])"},
      {"const a = new AbortController(); const any = AbortSignal.any([a.signal]); a.abort('why'); return [any.aborted, any.reason]", R"([true,"why"])"},
      {"const t = new EventTarget(); let n = 0; t.addEventListener('x', () => n++, {once: true}); t.dispatchEvent(new Event('x')); t.dispatchEvent(new CustomEvent('x', {detail: 1})); return n", "1"},
      {"try { new AbortSignal() } catch (e) { return e.name }", "\"TypeError\""},
      {"return [typeof AbortSignal.timeout(1000).aborted, typeof performance.now(), performance.timeOrigin > 1e11]", R"(["boolean","number",true])"},
      {"return await new Promise((r) => queueMicrotask(() => r('job')))", "\"job\""},
  });
}

TEST(Globals, LanguageOfLaterYears) {
  expect_json({
      {"return [[3, 1].toSorted(), [1, 2].with(0, 9), [1, 2].toReversed(), [1, 2, 3].toSpliced(0, 1), [1, 2].findLast((x) => x < 2)]", "[[1,3],[9,2],[2,1],[2,3],1]"},
      {"return [...new Set([1, 2]).union(new Set([3]))]", "[1,2,3]"},
      {"return Object.groupBy([1, 2, 3], (x) => (x % 2 ? 'odd' : 'even'))", R"({"odd":[1,3],"even":[2]})"},
      {"const {promise, resolve} = Promise.withResolvers(); resolve(4); return promise", "4"},
      {"return [1, 2, 3].values().map((x) => x * 2).take(2).toArray()", "[2,4]"},
      {"return Array.fromAsync((async function* () { yield 1; yield 2; })())", "[1,2]"},
      {"return ['a\\ud800'.isWellFormed(), RegExp.escape('a.b').endsWith('b'), Math.sumPrecise([0.1, 0.2])]", "[false,true,0.30000000000000004]"},
      {"return new Uint8Array([1, 255]).toBase64()", "\"Af8=\""},
  });
}

TEST(Globals, ConsoleShowsValuesOnTheRightStream) {
  EXPECT_EQ(in_child([] {
    Deployed f;
    ASSERT_EQ(f.load(R"(() => { console.log('a', 1, {b: [1, 'x'], c: null}, [undefined], new Map([[1, {z: 2}]]));
      console.info('%s is %d%%', 'it', 5, 'more'); console.warn(new Set(['q']), Symbol('s'), 5n, -0);
      console.error(p => p, class K {}, new Uint8Array([1, 2])); const o = {}; o.o = o; console.debug(o, 'str');
      console.log(); console.table([{a: 1}]); console.assert(1 === 2, 'why'); console.count();
      console.group('g'); console.log('in'); console.groupEnd(); console.log({get x() { return 1; }}, new Date(0), /r/g); })"), "");
    f.call();
    EXPECT_EQ(f.host.out,
              "a 1 { b: [ 1, 'x' ], c: null } [ undefined ] Map(1) { 1 => { z: 2 } }\n"
              "it is 5% more\n"
              "{ o: [Circular *1] } str\n"
              "\n"
              "┌─────────┬───┐\n│ (index) │ a │\n├─────────┼───┤\n│ 0       │ 1 │\n└─────────┴───┘\n"
              "default: 1\ng\n  in\n{ x: [Getter] } 1970-01-01T00:00:00.000Z /r/g\n");
    EXPECT_EQ(f.host.err,
              "Set(1) { 'q' } Symbol(s) 5n -0\n[Function (anonymous)] [class K] Uint8Array(2) [ 1, 2 ]\n"
              "Assertion failed: why\n");
  }), 0);
}

TEST(Globals, NothingOfThePreludeIsReachable) {
  EXPECT_EQ(run_once("() => [typeof __ops, typeof require, typeof process, Object.keys(globalThis)]"),
            R"(200 ["undefined","undefined","undefined",[]])");
}

TEST(Globals, ReplacedNativesDoNotBreakTheHost) {
  EXPECT_EQ(run_once(R"(JSON.stringify = () => 'evil'; Promise.prototype.then = null; Array.prototype.push = null;
    Object.prototype.then = undefined; Function.prototype.call = null; Function.prototype.bind = null; Uint8Array = null;
    Object.getPrototypeOf = null; globalThis.console = null;
    (s, p) => ({n: p.length}))", "abc"), R"(200 {"n":3})");
  EXPECT_EQ(run_once("Promise.prototype.then = null; Promise.resolve = null; async () => 5"), "200 5");
}

TEST(Globals, EveryInstanceHasItsOwnRandomNumbers) {
  const char* source = "() => Math.random()";
  std::set<std::string> seen;
  for (int i = 0; i < 4; ++i) seen.insert(run_once(source));
  EXPECT_EQ(seen.size(), 4U);
  EXPECT_EQ(run_once("() => { let lo = 1, hi = 0, sum = 0; for (let i = 0; i < 1e5; i++) { const r = Math.random(); lo = Math.min(lo, r); hi = Math.max(hi, r); sum += r; }"
                     " return lo >= 0 && lo < 0.001 && hi < 1 && hi > 0.999 && Math.abs(sum / 1e5 - 0.5) < 0.01; }"), "200 true");
}

}  // namespace
}  // namespace brokkr::runtime::testing
