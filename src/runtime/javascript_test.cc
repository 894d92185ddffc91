#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/engine_test_fixture.h"

namespace brokkr::runtime::testing {
namespace {

struct Case {
  const char* source;
  const char* expected;
};

void expect_all(std::initializer_list<Case> cases, std::string_view payload = "hi") {
  for (const Case& c : cases) EXPECT_EQ(run_once(c.source, payload), c.expected) << c.source;
}

TEST(Engine, NamesItsVersion) { EXPECT_EQ(warm_engine().version().substr(0, 3), "V8 "); }

TEST(Engine, OpenTellsWhatIsMissing) {
  const Result<Engine*> opened = open_engine("/nowhere/libengine.so");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::NotFound);
  EXPECT_NE(opened.error().text.find("/nowhere/libengine.so"), std::string::npos);
}

// A process in which V8 was never started: the fallback where warm forks are not wanted.
TEST(Engine, ColdForkLoadsAndAnswers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto cold = [] {
    Result<Engine*> engine = open_engine(BROKKR_ENGINE_PLUGIN);
    if (!engine || !(*engine)->prepare(false)) _exit(2);
    if (fork() == 0) {
      FakeHost host;
      FakeSink sink;
      SystemClock clock;
      FunctionSpec spec;
      spec.file_name = "a.js";
      spec.artifact = "(s, p) => s + p.length";
      if (!(*engine)->after_fork()) _exit(3);
      auto function = (*engine)->load(spec, host, clock);
      if (!function) _exit(4);
      (*function)->invoke({1, "cold", {}, {}, "abc"}, sink);
      _exit(sink.outcomes[1].payload == "\"cold3\"" ? 0 : 5);
    }
    int status = 0;
    wait(&status);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 6);
  };
  EXPECT_EXIT(cold(), ::testing::ExitedWithCode(0), "");
}

TEST(Expression, EchoAnswersAsTheDeckSays) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    ASSERT_EQ(echo.load(read_file(BROKKR_EXAMPLES "/echo.js"), "echo.js"), "");
    EXPECT_EQ(brief(echo.call("hello nex!", "echo")),
              R"(200 {"triggered_on":"echo","payload":"hello nex!"})");
    EXPECT_EQ(echo.host.out, "echo\n");
  }), 0);
}

TEST(Expression, ResultsBecomeReplies) {
  expect_all({
      {"(s, p) => ({a: [1, null, 'x'], u: undefined})", R"(200 {"a":[1,null,"x"]})"},
      {"(s, p) => 'heya \\u00e9 \\u{1F600} \"q\"'", "200 \"heya \u00e9 \U0001F600 \\\"q\\\"\""},
      {"(s, p) => '\\ud800'", "200 \"\\ud800\""},
      {"(s, p) => 42.5", "200 42.5"},
      {"(s, p) => -0", "200 0"},
      {"(s, p) => true", "200 true"},
      {"(s, p) => false", "200 false"},
      {"(s, p) => null", "200 null"},
      {"(s, p) => undefined", "200 "},
      {"(s, p) => { }", "200 "},
      {"(s, p) => [s, p.length]", R"(200 ["test.subject",2])"},
      {"(s, p) => p", "200 hi"},
      {"(s, p) => p.buffer.slice(0, 1)", "200 h"},
      {"(s, p) => p.subarray(1)", "200 i"},
      {"(s, p) => new Date(0)", "200 \"1970-01-01T00:00:00.000Z\""},
      {"(s, p) => ({toJSON() { return 'j'; }})", "200 \"j\""},
      {"(s, p) => new Response('body', {headers: {A: 'b'}})", "200 body"},
      {"async (s, p) => ({s})", R"(200 {"s":"test.subject"})"},
      {"(s, p) => Promise.resolve('x')", "200 \"x\""},
      {"(s, p) => ({then(f) { f(7); }})", "200 7"},
      {"async (s, p) => { for (let i = 0; i < 10; i++) await null; return p; }", "200 hi"},
      {"(s, p) => new Response(new ReadableStream({start(c) { c.enqueue(p); c.enqueue(p); c.close(); }}))", "200 hihi"},
      {"function f(s, p) { return this === globalThis; } f", "200 true"},
      {"(s, p) => this === globalThis", "200 true"},
      {"(s, p) => p instanceof Uint8Array && ArrayBuffer.isView(p) && p.constructor === Uint8Array", "200 true"},
  });
}

TEST(Expression, FailuresSayWhatAndWhere) {
  expect_all({
      {"(s, p) => { throw new TypeError('bad thing'); }", "500 TypeError: bad thing"},
      {"(s, p) => nope", "500 ReferenceError: nope is not defined"},
      {"(s, p) => { throw 'text'; }", "500 text"},
      {"(s, p) => { throw null; }", "500 null"},
      {"(s, p) => { throw undefined; }", "500 undefined"},
      {"(s, p) => { throw 12n; }", "500 12"},
      {"(s, p) => { throw Symbol('z'); }", "500 Symbol(z)"},
      {"(s, p) => { throw {a: 1}; }", R"(500 {"a":1})"},
      {"(s, p) => { throw Object.create(null); }", "500 {}"},
      {"(s, p) => { throw {toString() { throw 1; }, toJSON() { throw 2; }}; }", "500 [object Object]"},
      {"(s, p) => { throw new Error('two\\nlines'); }", "500 Error: two lines"},
      {"async () => { throw new RangeError('late'); }", "500 RangeError: late"},
      {"() => Promise.reject(5)", "500 5"},
      {"() => 1n", "500 TypeError: Do not know how to serialize a BigInt"},
      {"() => () => 1", "500 TypeError: the handler's result is a function, which has no JSON form"},
      {"() => Symbol()", "500 TypeError: the handler's result is a symbol, which has no JSON form"},
      {"() => { const f = () => f(); return f(); }", "500 RangeError: Maximum call stack size exceeded"},
  });
  EXPECT_EQ(run_once("() => { const a = {}; a.a = a; return a; }").substr(0, 52),
            "500 TypeError: Converting circular structure to JSON");
}

TEST(Expression, StackNamesFileAndLineAndNoPreludeFrame) {
  EXPECT_EQ(in_child([] {
    Deployed thrower;
    ASSERT_EQ(thrower.load("const f = () => {\n  throw new Error('x');\n};\n(s, p) => f()", "my.js"), "");
    const Outcome outcome = thrower.call();
    EXPECT_EQ(outcome.code, OutcomeCode::Exception);
    EXPECT_EQ(outcome.stack, "Error: x\n    at f (my.js:2:9)\n    at my.js:4:11");
  }), 0);
}

TEST(Expression, BytesAreExactBothWays) {
  EXPECT_EQ(in_child([] {
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    Deployed echo;
    ASSERT_EQ(echo.load("(s, p) => p"), "");
    EXPECT_EQ(echo.call(all).payload, all);
    EXPECT_EQ(echo.call("").payload, "");
    EXPECT_TRUE(echo.call("").has_reply);
    EXPECT_EQ(echo.call(std::string(1U << 20, '\xfe')).payload, std::string(1U << 20, '\xfe'));
  }), 0);
}

TEST(Expression, SpreadsAMebibyteOfPayload) {
  EXPECT_EQ(in_child([] {
    Deployed echo;
    echo.spec.limits.reply_bytes_max = 2U << 20;
    ASSERT_EQ(echo.load("(s, p) => String.fromCharCode(...p)"), "");
    const std::string payload(1U << 20, 'a');
    EXPECT_EQ(echo.call(payload).payload, "\"" + payload + "\"");
  }), 0);
}

TEST(Expression, KeepsItsPayloadAfterTheCall) {
  EXPECT_EQ(in_child([] {
    Deployed keeper;
    ASSERT_EQ(keeper.load("let last; (s, p) => { const r = last; last = p; return r; }"), "");
    keeper.call("first");
    EXPECT_EQ(keeper.call("second").payload, "first");
    EXPECT_EQ(keeper.call("third", "other.subject").payload, "second");
  }), 0);
}

TEST(Expression, ReplyBeyondTheLimitIsRefused) {
  EXPECT_EQ(in_child([] {
    Deployed big;
    big.spec.limits.reply_bytes_max = 10;
    ASSERT_EQ(big.load("(s, p) => p.length === 0 ? 'x'.repeat(1e6) : p"), "");
    EXPECT_EQ(brief(big.call("0123456789")), "200 0123456789");
    EXPECT_EQ(brief(big.call("0123456789a")), "413 the reply of 11 bytes exceeds the limit of 10");
    EXPECT_EQ(big.call().code, OutcomeCode::ReplyTooLarge);
  }), 0);
}

TEST(Load, SaysWhatIsWrongWithTheSource) {
  expect_all({
      {"(s, p) => {", "load: test.js:1:12: SyntaxError: Unexpected end of input"},
      {"const a = 1;\n  a +* 2", "load: test.js:2:6: SyntaxError: Unexpected token '*'"},
      {"const x = 5; x", "load: test.js: the file's last expression is a number, not a function (subject, payload) => ...; a module has export default"},
      {"function f() {}", "load: test.js: the file's last expression is nothing, not a function (subject, payload) => ...; a module has export default"},
      {"", "load: test.js: the file's last expression is nothing, not a function (subject, payload) => ...; a module has export default"},
      {"\nnope.x; () => 1", "load: test.js:2:1: ReferenceError: nope is not defined"},
      {"export const a = 1", "load: test.js: the module has no default export"},
      {"export default 5", "load: test.js: the default export is a number, not an object or a function"},
      {"export default {}", "load: test.js: the default export has no message(msg, env, ctx) method"},
      {"import fs from 'fs';\nexport default {message() {}}", "load: test.js:1:16: import of \"fs\" is not available: bundle the program into one file"},
      {"export default {\n  message() { return 1 +; }\n}", "load: test.js:2:25: SyntaxError: Unexpected token ';'"},
      {"await new Promise(() => {}); export default {message() {}}", "load: test.js: the module's top-level await does not settle"},
      {"\xff\xfe", "load: test.js: is not UTF-8 text"},
  });
  EXPECT_EQ(run_once("throw new Error('top'); export default 1").substr(0, 26), "load: test.js: Error: top\n");
  EXPECT_EQ(in_child([] {
    Deployed wasm;
    EXPECT_EQ(wasm.load(std::string_view("\0asm\1\0\0\0", 8)), "test.js: is WebAssembly, not JavaScript");
  }), 0);
}

TEST(Module, BothShapesOfDefaultExportWork) {
  expect_all({
      {"export default { message(msg) { return msg.subject; } }", "200 test.subject"},
      {"export default { async message(msg) { return msg.text(); } }", "200 hi"},
      {"export default { name: 'me', message() { return this.name; } }", "200 me"},
      {"export default (msg) => msg.data", "200 hi"},
      {"export default function (msg) { return {n: msg.data.length}; }", R"(200 {"n":2})"},
      {"const h = { message: () => 'x' }; export { h as default };", "200 x"},
      {"const v = await Promise.resolve('tla'); export default () => v;", "200 tla"},
      {"export default () => null", "200 null"},
      {"export default () => { throw new Error('m'); }", "500 Error: m"},
      {"export default (msg) => JSON.stringify([msg.tokens, msg.reply, msg.headers.size])", R"(200 [["test","subject"],"_INBOX.1",0])"},
  });
}

TEST(Module, TheExampleAnswers) {
  EXPECT_EQ(in_child([] {
    Deployed hello;
    hello.spec.environment = {{"GREETING", "moin"}};
    ASSERT_EQ(hello.load(read_file(BROKKR_EXAMPLES "/hello.mjs"), "hello.mjs"), "");
    const Outcome outcome = hello.call("hi", "hello.ada");
    EXPECT_EQ(brief(outcome), "200 moin, ada: hi");
    EXPECT_NE(outcome.headers.find("Served-By: test\r\n"), std::string::npos);
  }), 0);
}

TEST(Module, UndefinedSendsNothing) {
  EXPECT_EQ(in_child([] {
    Deployed quiet;
    ASSERT_EQ(quiet.load("export default { async message() {} }"), "");
    const Outcome outcome = quiet.call("x");
    EXPECT_EQ(outcome.code, OutcomeCode::Ok);
    EXPECT_FALSE(outcome.has_reply);
  }), 0);
}

TEST(Module, SeesHeadersEnvironmentAndContext) {
  EXPECT_EQ(in_child([] {
    Deployed module;
    module.spec.environment = {{"TOKEN", "s3cret"}, {"messaging", "shadow"}};
    ASSERT_EQ(module.load(R"(export default { message(msg, env, ctx) { return {
      one: msg.headers.get('Trace'), lower: msg.headers.get('trace'), all: msg.headers.getAll('Multi'),
      has: [msg.headers.has('Trace'), msg.headers.has('No')], entries: [...msg.headers.entries()].length,
      env, name: ctx.name, json: msg.json(), reply: msg.reply }; } })"), "");
    const Outcome outcome = module.call({9, "a.b", "", "NATS/1.0\r\nTrace: 1:2\r\nMulti: x\r\nMulti: y\r\n\r\n", R"({"k":1})"});
    EXPECT_EQ(brief(outcome),
              R"(200 {"one":"1:2","lower":"1:2","all":["x","y"],"has":[true,false],"entries":3,)"
              R"("env":{"TOKEN":"s3cret","messaging":"shadow"},"name":"test","json":{"k":1}})");
  }), 0);
}

TEST(Module, ResponseBecomesHeadersAndBytes) {
  EXPECT_EQ(in_child([] {
    Deployed module;
    ASSERT_EQ(module.load(R"(export default (msg) => msg.text() === 'ok'
      ? Response.json({a: 1}, {headers: {'X-One': 'v'}})
      : new Response('gone', {status: 410, statusText: 'Gone'}))"), "");
    Outcome outcome = module.call("ok");
    EXPECT_EQ(brief(outcome), R"(200 {"a":1})");
    EXPECT_EQ(outcome.headers, "NATS/1.0\r\nX-One: v\r\ncontent-type: application/json\r\n\r\n");
    outcome = module.call("no");
    EXPECT_EQ(brief(outcome), "200 gone");
    EXPECT_NE(outcome.headers.find("Nats-Service-Error: Gone\r\nNats-Service-Error-Code: 410\r\n"), std::string::npos);
  }), 0);
}

}  // namespace
}  // namespace brokkr::runtime::testing
