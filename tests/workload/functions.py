#!/usr/bin/env python3
"""What functions can do and what the commands around them say, as a list of claims.

    functions.py --brokkr PATH [CLAIM ...]   all claims, or those whose name holds one of the words
    functions.py --brokkr PATH --cold        without the warm fork: a process starts its own engine

Every claim runs on `brokkr up` and, unless cold, where there is a nats-server, on a node attached to it.
"""
import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import threading
import time
import traceback

from command_node import PATIENCE_SECONDS, ROOT, Node, Running, each_node

CLAIMS = []


def claim(function):
    CLAIMS.append(function)
    return function


def equal(got, wanted, what: str = "") -> None:
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def holds(text: str, *parts: str) -> None:
    for part in parts:
        if part not in text:
            raise AssertionError(f"no {part!r} in {text!r}")


def ask(node: Node, subject: str, payload: bytes | str = b"", headers: list | None = None):
    with node.client() as client:
        data = payload.encode() if isinstance(payload, str) else payload
        return client.request(subject, data, PATIENCE_SECONDS, headers)


def failure(node: Node, subject: str, payload: bytes | str = b"") -> dict:
    """The error body of a call that must fail, its headers checked against it."""
    answer = ask(node, subject, payload)
    headers = answer.headers
    error = json.loads(answer.data)["error"]
    equal(headers.get("Nats-Service-Error-Code"), str(error["code"]), "code header")
    equal(headers.get("Nats-Service-Error"), error["message"], "error header")
    return error


def is_unheard(node: Node, subject: str) -> None:
    equal(ask(node, subject).headers.get("Status"), "503", f"nobody listens to {subject}")


# What a handler gets and gives

@claim
def the_acceptance_programs_answer_exactly(node):
    node.run("devrun", str(ROOT / "examples" / "echo.js"), "--trigger_subject=echo", "--type", "v8")
    node.run("devrun", str(ROOT / "examples" / "echo.wasm"), "--trigger_subject=echowasm", "--type", "wasm")
    equal(ask(node, "echo", "hello nex!").data, b'{"triggered_on":"echo","payload":"hello nex!"}')
    equal(ask(node, "echowasm", "hello nex!").data, b"hello nex!echowasm")
    equal(node.run("logs", "echojs"), "echo\n")


@claim
def an_expression_replies_json_bytes_or_nothing(node):
    node.deploy("kinds.js", """(subject, payload) => ({
      object: {a: 1}, array: [1, "2"], string: "text", number: 1.5, nil: null, yes: true,
      bytes: new Uint8Array([0, 255, 10]), buffer: new Uint8Array([7]).buffer, none: undefined,
    })[String.fromCharCode(...payload)]""", "kinds")
    wanted = {"object": b'{"a":1}', "array": b'[1,"2"]', "string": b'"text"', "number": b"1.5", "nil": b"null",
              "yes": b"true", "bytes": b"\0\xff\n", "buffer": b"\x07", "none": b""}
    equal({kind: ask(node, "kinds", kind).data for kind in wanted}, wanted)


@claim
def bytes_are_exact_both_ways(node):
    node.deploy("bytes.js", "(subject, payload) => payload", "bytes.expression")
    node.deploy("bytes.mjs", "export default { message: (msg) => msg.data }", "bytes.module", "--name=bytes-module")
    for data in (b"", bytes(range(256)), bytes(range(256)) * 2048):
        for subject in ("bytes.expression", "bytes.module"):
            equal(ask(node, subject, data).data, data, f"{len(data)} bytes through {subject}")


@claim
def an_async_expression_is_awaited(node):
    node.deploy("async.js", """async (subject, payload) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return {late: subject};
    }""", "async.a")
    equal(ask(node, "async.a").data, b'{"late":"async.a"}')


@claim
def a_module_gets_subject_tokens_headers_reply_and_environment(node):
    node.deploy("message.mjs", """export default {
      async message(msg, env, ctx) {
        return JSON.stringify([msg.subject, msg.tokens, msg.text(), msg.headers.get("a"), msg.headers.getAll("B"),
                               typeof msg.reply, env.GREETING, env.EMPTY, Object.keys(env).sort(), ctx.name]);
      } }""", "message.*", "GREETING=good=day", "EMPTY=")
    answer = ask(node, "message.one", "text ü", [("A", "1"), ("B", "2"), ("B", "3")])
    equal(json.loads(answer.data), ["message.one", ["message", "one"], "text ü", "1", ["2", "3"], "string",
                                       "good=day", "", ["EMPTY", "GREETING"], "messagemjs"])


@claim
def a_module_may_be_a_function_and_reply_with_headers(node):
    node.deploy("response.mjs", """export default (msg) =>
      new Response(msg.data, { headers: { "X-One": "1", "Content-Type": "application/x" } })""", "response")
    answer = ask(node, "response", "body")
    equal((answer.data, {k.lower(): v for k, v in answer.headers.items()}),
          (b"body", {"x-one": "1", "content-type": "application/x"}))


@claim
def a_module_that_returns_nothing_sends_nothing(node):
    node.deploy("silent.mjs", """export default { message(msg, env) {
      env.messaging.publish(msg.reply, "by hand", { headers: { By: "hand" } });
    } }""", "silent")
    answer = ask(node, "silent")
    equal((answer.data, answer.headers), (b"by hand", {"By": "hand"}))


@claim
def a_message_without_a_reply_subject_is_run(node):
    node.deploy("oneway.js", "(s, p) => { this.messaging.publish('oneway.out', p); return 1; }", "oneway.in")
    with node.client() as client:
        client.subscribe("oneway.out")
        client.flush()
        client.publish("oneway.in", b"there")
        equal(client.next("oneway.out").data, b"there")


@claim
def wasm_gets_its_subject_and_its_exit_code_counts(node):
    exit_3 = bytes.fromhex("0061736d01000000" "0108026000006001" "7f00" "0224" "01" "16") + b"wasi_snapshot_preview1" \
        + bytes.fromhex("09") + b"proc_exit" + bytes.fromhex("0001" "03020100" "0503010001" "071302") \
        + b"\x06memory\x02\x00" + b"\x06_start\x00\x01" + bytes.fromhex("0a08010600" "4103" "1000" "0b")
    node.deploy("exit.wasm", exit_3, "exit3")
    error = failure(node, "exit3")
    equal(error["code"], 500)
    holds(error["message"], "3")


# Calls to others

@claim
def a_function_asks_another_function(node):
    node.deploy("callee.mjs", """export default (msg) =>
      new Response(`${msg.text()} for ${msg.headers.get("who")}`, { headers: { Served: "yes" } })""", "call.callee")
    node.deploy("caller.js", """(subject, payload) => {
      const reply = this.messaging.request("call.callee", payload, { headers: { who: "sync" } });
      return { text: reply.text(), served: reply.headers.get("Served") };
    }""", "call.sync")
    node.deploy("caller.mjs", """export default { async message(msg, env) {
      const asked = ["a", "b", "c"].map((who) => env.messaging.request("call.callee", msg.data, { headers: { who } }));
      return (await Promise.all(asked)).map((reply) => reply.text()).join();
    } }""", "call.async")
    equal(json.loads(ask(node, "call.sync", "hi").data), {"text": "hi for sync", "served": "yes"})
    equal(ask(node, "call.async", "hi").data, b"hi for a,hi for b,hi for c")


@claim
def requests_nobody_answers_throw(node):
    node.deploy("lonely.mjs", """export default { async message(msg, env) {
      const tries = [["lonely.nobody"], ["lonely.silent", "", { timeout: 50 }], ["bad subject"], ["$SYS.x"]];
      return JSON.stringify(await Promise.all(tries.map((words) =>
        env.messaging.request(...words).then(() => "?", (error) => [error instanceof Error, error.code, error.message]))));
    } }""", "lonely")
    with node.client() as client:
        client.subscribe("lonely.silent")
        client.flush()
        answers = json.loads(client.request("lonely").data)
    equal(answers[0], [True, 503, "no responders"])
    equal(answers[1], [True, 408, "timed out"])
    equal(answers[2][0], True)
    equal(answers[3], [True, 403, 'functions may not use "$SYS.x"'])


@claim
def request_many_collects_all_replies(node):
    for name in ("one", "two", "three"):
        node.deploy("many.js", f"() => '{name}'", "many.all", f"--name=many-{name}")
    node.deploy("many.mjs", """export default { async message(msg, env) {
      const all = await env.messaging.requestMany("many.all", "");
      const two = await env.messaging.requestMany("many.all", "", { max: 2 });
      return JSON.stringify([all.map((reply) => reply.json()).sort(), two.length]);
    } }""", "many.ask")
    equal(json.loads(ask(node, "many.ask").data), [["one", "three", "two"], 2])


# Failures

@claim
def every_throw_is_answered_with_its_place(node):
    node.deploy("throw.mjs", """export default {
  async message(msg) {
    const what = msg.text();
    if (what === "sync") throw new TypeError("no good");
    if (what === "reject") return Promise.reject(new RangeError("rejected"));
    if (what === "string") throw "just text";
    if (what === "lines") throw new Error("one\\ntwo");
    return deep(msg);
  },
};
function deep(msg) { return msg.missing.member; }
""", "throw")
    error = failure(node, "throw", "sync")
    equal((error["code"], error["message"]), (500, "TypeError: no good"))
    holds(error["stack"], "throw.mjs:4:")
    holds(failure(node, "throw", "reject")["message"], "RangeError: rejected")
    holds(failure(node, "throw", "string")["message"], "just text")
    holds(failure(node, "throw", "lines")["message"], "Error: one two")
    error = failure(node, "throw", "deep")
    holds(error["stack"], "at deep (throw.mjs:11:", "at Object.message (throw.mjs:8:")
    node.deploy("throw.js", "(subject) => {\n  const a = 1;\n  return nope(a);\n}", "throw.expression", "--name=throwjs")
    error = failure(node, "throw.expression")
    holds(error["message"], "ReferenceError: nope is not defined")
    holds(error["stack"], "throw.js:3:")


@claim
def a_call_that_takes_too_long_is_answered(node):
    node.deploy("long.js", "(s, p) => { if (p.length) for (;;); return 'short'; }", "long", "--max-time=300ms")
    equal(failure(node, "long", "x")["code"], 504)
    equal(ask(node, "long").data, b'"short"')
    node.deploy("never.js", "() => new Promise(() => {})", "never", "--max-time=200ms")
    equal(failure(node, "never")["code"], 504)


@claim
def many_calls_wait_side_by_side(node):
    node.deploy("side.mjs", """let now = 0, most = 0;
      export default async (msg) => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 100));
        --now;
        return `${msg.text()} ${most}`;
      }""", "side")
    with node.client() as client:
        inboxes = {client.send_request("side", b"%d" % i): i for i in range(40)}
        answers = [client.next_reply() for _ in inboxes]
    equal(sorted(int(a.data.split()[0]) for a in answers), list(range(40)))
    for answer in answers:
        equal(int(answer.data.split()[0]), inboxes[answer.subject], "whose reply")
    equal(max(int(a.data.split()[1]) for a in answers), 40, "calls in flight at once")


# Commands

@claim
def every_trigger_fires_and_wildcards_match(node):
    reply = node.deploy("where.js", "(subject) => subject", "where.one", "where.*.two", "where.rest.>")
    equal(reply["trigger_subjects"], ["where.one", "where.*.two", "where.rest.>"])
    for subject in ("where.one", "where.x.two", "where.rest.a.b"):
        equal(ask(node, subject).data, json.dumps(subject).encode())
    is_unheard(node, "where.none")


@claim
def types_are_told_from_the_file(node):
    wasm = (ROOT / "examples" / "echo.wasm").read_bytes()
    node.deploy("guess.bin", wasm, "guess.wasm")
    node.deploy("guess.js", "(s) => s", "guess.js")
    node.deploy("guess.cjs", "(s) => s", "guess.cjs")
    types = {one["name"]: one["workload_type"] for one in node.run_json("ls")}
    equal([types[name] for name in ("guessbin", "guessjs", "guesscjs")], ["wasm", "v8", "v8"])
    holds(node.try_run("devrun", node.write("guess.txt", "x"), "--trigger_subject=guess")[2], "cannot tell its type")


@claim
def a_newer_version_replaces_the_older_under_load(node):
    first = node.deploy("version.js", "() => 1", "version")
    state = {"stop": False, "answers": [], "failed": []}

    def load():
        with node.client() as client:
            while not state["stop"]:
                for inbox in [client.send_request("version") for _ in range(8)]:
                    answer = client.next_reply()
                    (state["failed"] if answer.headers else state["answers"]).append(answer)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for version in range(2, 7):
            reply = node.deploy("version.js", f"() => {version}", "version")
            equal(ask(node, "version").data, str(version).encode(), "after devrun")
            first = reply
        deadline = time.monotonic() + 20
        while not any(answer.data == b"6" for answer in state["answers"][-64:]) and time.monotonic() < deadline:
            time.sleep(0.01)  # until the load has met the last one too
    finally:
        state["stop"] = True
        thread.join()
    equal(state["failed"], [], "failed calls")
    seen = [int(answer.data) for answer in state["answers"]]
    equal(sorted(set(seen)), [1, 2, 3, 4, 5, 6], "versions that answered")
    equal(len([one for one in node.run_json("ls") if one["name"] == "versionjs"]), 1)


@claim
def a_version_that_does_not_load_changes_nothing(node):
    node.deploy("keep.js", "() => 'old'", "keep")
    code, out, err = node.try_run("devrun", node.write("keep.js", "() => {\n  let = ;\n}"), "--trigger_subject=keep")
    equal((code, out), (1, ""))
    holds(err, "brokkr: error: keep.js:2:", "SyntaxError")
    equal(ask(node, "keep").data, b'"old"')


@claim
def watch_deploys_again_when_the_file_changes(node):
    path = node.write("watched.js", "() => 1")
    with node.start("devrun", path, "--trigger_subject=watched", "--watch") as watching:
        watching.wait_for("Watching")
        equal(ask(node, "watched").data, b"1")
        node.write("watched.js", "() => 'second'")
        watching.wait_for("accepted", 2)
        equal(ask(node, "watched").data, b'"second"')
        node.write("watched.js", "() => {")
        watching.wait_for("SyntaxError")
        equal(ask(node, "watched").data, b'"second"')
        node.write("watched.js", "() => 'the third'")
        watching.wait_for("accepted", 3)
        equal(ask(node, "watched").data, b'"the third"')


@claim
def run_deploys_too(node):
    path = node.write("run.js", "(s) => s")
    reply = node.run_json("run", path, "--name=runner", "--type=v8", "--trigger-subject=run.*")
    equal((reply["name"], reply["trigger_subjects"]), ("runner", ["run.*"]))
    equal(ask(node, "run.x").data, b'"run.x"')
    holds(node.run("workload", "start", path, "--trigger_subject=run2", "--name=runner2"), "Workload 'runner2' accepted",
          reply["node_id"])
    equal({one["name"] for one in node.run_json("workload", "ls") if one["name"].startswith("runner")}, {"runner", "runner2"})


@claim
def namespaces_keep_names_apart(node):
    for ns in ("red", "blue"):
        node.deploy("same.js", f"() => '{ns}'", f"ns.{ns}", f"--namespace={ns}")
    for ns in ("red", "blue"):
        equal(ask(node, f"ns.{ns}").data, json.dumps(ns).encode())
        equal([(one["name"], one["namespace"]) for one in node.run_json("ls", "--namespace", ns)], [("samejs", ns)])
    equal([one for one in node.run_json("ls") if one["name"] == "samejs"], [])
    node.run("stop", "samejs", "--namespace", "red")
    is_unheard(node, "ns.red")
    equal(ask(node, "ns.blue").data, b'"blue"')


@claim
def info_counts_calls_and_shows_the_last_error(node):
    reply = node.deploy("count.js", "(s, p) => { if (p.length) throw new Error('bad day'); return 1; }", "count",
                        "--description=counts", "--max-time=2s", "--max-heap=32M", "--max-in-flight=7")
    for payload in ("", "", "x"):
        ask(node, "count", payload)
    info = node.run_json("info", "countjs")
    facts = ("id", "name", "namespace", "workload_type", "workload_lifecycle", "workload_state", "description",
             "trigger_subjects", "calls", "errors", "last_error", "file_name")
    equal([info[fact] for fact in facts], [reply["id"], "countjs", "default", "v8", "function", "running", "counts",
                                           ["count"], 3, 1, "Error: bad day", "count.js"])
    equal([info["limits"][limit] for limit in ("wall_time_ms", "heap_bytes", "in_flight")], [2000, 32 << 20, 7])
    holds(node.run("info", reply["id"]), "Calls: 3, 1 failed", "Last Error: Error: bad day", "Triggers: count",
          "Type: v8 function", "Limits: 2000 ms, heap 32.0 MiB")


@claim
def logs_show_what_console_writes(node):
    source = """export default (msg) => {
      console.log("n", 1, {a: [1]}, "ü");
      console.error("wrong");
      if (msg.text() === "throw") throw new Error("logged too");
      return "";
    }"""
    node.deploy("logs.mjs", source, "logs")
    with node.start("logs", "-f", "logsmjs") as view:
        view.wait_for("Listening")
        ask(node, "logs")
        view.wait_for("wrong")
        holds(" ".join(view.lines), "n 1 ", "a", "ü")
        ask(node, "logs", "throw")
        view.wait_for("Error: logged too")
        node.deploy("logs.mjs", source.replace("wrong", "newer"), "logs")
        ask(node, "logs")
        view.wait_for("newer")


@claim
def kept_log_lines_are_shown_at_once(node):
    node.deploy("kept.js", "(subject) => { console.log(subject, 'was here'); console.warn('and there'); }", "kept.*")
    for i in range(3):
        ask(node, f"kept.{i}")
    wanted = "".join(f"kept.{i} was here\nand there\n" for i in range(3))
    equal(node.run("logs", "keptjs"), wanted)
    holds(node.run("logs"), "keptjs kept.2 was here\n")


@claim
def events_tell_starts_and_stops(node):
    with node.start("events") as view:
        view.wait_for("Listening")
        first = node.deploy("event.js", "() => 1", "event")
        view.wait_for("WORKLOADSTARTED " + '{"id":"' + first["id"])
        node.run("stop", "eventjs")
        view.wait_for("WORKLOADSTOPPED " + '{"id":"' + first["id"])


@claim
def stop_ends_the_function(node):
    reply = node.deploy("stop.js", "() => 1", "stop.it")
    equal(node.run("stop", "stopjs"), f"Workload {reply['id']} stopped\n")
    is_unheard(node, "stop.it")
    equal(node.try_run("stop", "stopjs"), (1, "", 'brokkr: error: no workload "stopjs" in namespace "default"\n'))


@claim
def a_stop_lets_a_running_call_end(node):
    node.deploy("slow.js", "async (s) => { await new Promise((r) => setTimeout(r, 400)); return 'done'; }", "slow")
    with node.client() as client:
        client.send_request("slow")
        client.flush()
        node.run("stop", "slowjs")
        equal(client.next_reply().data, b'"done"')


@claim
def the_node_tells_its_layers_and_limits(node):
    nodes = node.run_json("node", "ls")
    equal(len(nodes), 1)
    info = node.run_json("node", "info", nodes[0]["node_id"])
    holds(" ".join(info["sandbox_layers"]), "no new privileges", "seccomp", "resource limits")
    text = node.run("node", "info")
    holds(text, nodes[0]["node_id"], "Layers: ", "Missing Layers: ", "Default Limits: 5000 ms, heap 64.0 MiB, reply 1.0 MiB")
    holds(node.run("node", "ls"), nodes[0]["node_id"])
    holds(node.run("micro", "ls"), "nexnode")


@claim
def a_missing_layer_is_told_and_refused_when_required(node):
    # A user namespace that allows none below it stands for a container.
    inside = ["unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "inside"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode != 0:
        return
    words = [*inside, node.brokkr, "up", "-a", "127.0.0.1", "-p", "-1", "--data", str(node.folder / "inside")]
    done = subprocess.run([*words, "--sandbox=required"], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    equal(done.returncode, 1)
    holds(done.stdout + done.stderr, "sandbox=required, but here it is missing: user namespace")
    with Running(words, node.environment, node.folder) as running:
        running.wait_for("sandbox is missing: user namespace")


@claim
def other_names_answer_alike(node):
    for name in ("nex", "nats"):
        link = node.folder / name
        link.symlink_to(pathlib.Path(node.brokkr).resolve())
        node.run("devrun", node.write("alias.js", "(s) => s"), "--trigger_subject=alias", "--type", "v8", program=str(link))
        equal(node.run("req", "alias", "", "--raw", program=str(link)).strip(), '"alias"')
        holds(node.run("ls", program=str(link)), "aliasjs")
        holds(node.run("info", "aliasjs", program=str(link)), "Calls: 1,")
        holds(node.run("node", "ls", program=str(link)), "running")
        node.run("stop", "aliasjs", program=str(link))
        holds(node.try_run("stop", "aliasjs", program=str(link))[2], f"{name}: error: no workload")


MISTAKES = [
    (["devrun", "missing.js", "--trigger_subject=m"], "missing.js: No such file or directory"),
    (["devrun", "empty.js", "--trigger_subject=m"], "empty.js: the file is empty"),
    (["devrun", "bad.js", "--trigger_subject=m"], "bad.js:2:11: SyntaxError: Unexpected token ';'"),
    (["devrun", "object.js", "--trigger_subject=m"], "not a function"),
    (["devrun", "bad.mjs", "--trigger_subject=m"], "the module has no default export"),
    (["devrun", "bad.wasm", "--trigger_subject=m"], "bad.wasm: CompileError"),
    (["devrun", "good.js", "--trigger_subject=m", "--type=wasm"], "the artifact is no WebAssembly module"),
    (["devrun", "bad.wasm", "--trigger_subject=m", "--type=v8"], "use type wasm"),
    (["devrun", "good.js", "--trigger_subject=m", "--type=cobol"], 'workload type "cobol" is not known: v8, wasm, native or oci'),
    (["devrun", "good.js"], "a function needs a subject: --trigger_subject SUBJECT"),
    (["devrun", "good.js", "--trigger_subject=$SYS.>"], '"$SYS.>" is not allowed'),
    (["devrun", "good.js", "--trigger_subject=$JS.API.x"], '"$JS.API.x" is not allowed'),
    (["devrun", "good.js", "--trigger_subject=>"], '">" is not allowed'),
    (["devrun", "good.js", "--trigger_subject=a..b"], 'trigger subject "a..b" is not valid'),
    (["devrun", "good.js", "--trigger_subject=m", "word"], '"word" is not of the form key=value'),
    (["devrun", "good.js", "--trigger_subject=m", "--name=a.b"], 'name "a.b" is not valid'),
    (["devrun", "good.js", "--trigger_subject=m", "--namespace=a.b"], 'namespace "a.b" is not valid'),
    (["devrun", "good.js", "--trigger_subject=m", "--node=nope"], 'no node "nope"'),
    (["devrun", "good.js", "--trigger_subject=m", "--max-heap=1K"], "limit heap_bytes must be"),
    (["devrun", ".", "--trigger_subject=m"], "Is a directory"),
    (["devrun", "good.js", "--trigger_subject=m", "--watsh"], 'unknown flag "--watsh", did you mean "--watch"?'),
    (["info", "nope"], 'no workload "nope" in namespace "default"'),
    (["logs", "nope"], 'no workload "nope" in namespace "default"'),
    (["node", "info", "nope"], 'no node "nope"'),
    (["ls", "-s", "nats://127.0.0.1:1"], "no servers available for connection"),
]


@claim
def mistakes_are_told_on_stderr(node):
    for name, content in {"empty.js": "", "bad.js": "() => {\n  let x = ;\n}", "object.js": "({a: 1})", "good.js": "() => 1",
                          "bad.mjs": "export const a = 1;", "bad.wasm": b"\0asm\1\0\0\0garbage"}.items():
        node.write(name, content)
    wrong = []
    for words, wanted in MISTAKES:
        code, out, err = node.try_run(*words)
        if code != 1 or out or wanted not in err or err.count("\n") != 1:
            wrong.append(f"{' '.join(words)}: exit {code}, {out!r}, {err!r}, wanted {wanted!r}")
    equal(wrong, [])


def run(args) -> bool:
    right = True
    nodes = itertools.islice(each_node(args.brokkr, "--cold-start"), 1) if args.cold else each_node(args.brokkr)
    for where, context in nodes:
        with context as node:
            for function in CLAIMS:
                if args.claims and not any(word in function.__name__ for word in args.claims):
                    continue
                started = time.monotonic()
                name = function.__name__.replace("_", " ")
                try:
                    function(node)
                    print(f"ok    {where}: {name} ({time.monotonic() - started:.1f} s)", flush=True)
                except Exception:  # one claim's failure says nothing about the next
                    right = False
                    print(f"WRONG {where}: {name}\n{traceback.format_exc()}", flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("claims", nargs="*")
    args = parser.parse_args()
    return 0 if run(args) else 1


if __name__ == "__main__":
    sys.exit(main())
