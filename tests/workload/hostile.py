#!/usr/bin/env python3
"""Deploys functions that misbehave and checks that each requester is answered, that the function works
again afterwards, and that the node and a neighbour function do not notice.

usage: hostile.py --brokkr PATH [--attach NATS_SERVER] [--cold] [--only NAME] [--strict]

`--strict` also holds the neighbour's p99 under a hostile function to 1.5 times its idle value, which
needs a machine that does nothing else.
"""
import argparse
import sys
import threading
import time

from node import Node

WALL_MS = 1000
GRACE_SECONDS = 3.0  # beyond the wall time, for a busy machine
NODE_MIB_MAX = 300
NEIGHBOUR_SAMPLES = 400


def leb(value: int) -> bytes:
    out = b""
    while True:
        byte, value = value & 0x7F, value >> 7
        if value == 0:
            return out + bytes([byte])
        out += bytes([byte | 0x80])


def wasm_command(body: bytes) -> bytes:
    """A WASI command whose _start is `body`, with one page of memory."""
    def section(kind: int, content: bytes) -> bytes:
        return bytes([kind]) + leb(len(content)) + content
    code = b"\x00" + body + b"\x0b"
    return (b"\0asm\x01\0\0\0" + section(1, b"\x01\x60\0\0") + section(3, b"\x01\0")
            + section(5, b"\x01\0\x01")
            + section(7, b"\x02\x06_start\0\0\x06memory\x02\0")
            + section(10, b"\x01" + leb(len(code)) + code))


# Answers "ok" to "good"; does its worst else.
def unless_good(body: str) -> str:
    return f'(subject, payload) => {{ if (payload.length === 4) return "ok"; {body} }}'


WASM_LOOP = wasm_command(b"\x03\x40\x0c\x00\x0b")
WASM_TRAP = wasm_command(b"\x00")
# loop: memory.grow 1024 pages; drop; br 0
WASM_GROW = wasm_command(b"\x03\x40\x41\x80\x08\x40\x00\x1a\x0c\x00\x0b")

# name, artifact, type, codes that are right, whether the function answers "good" afterwards
CASES = [
    ("throw", unless_good("throw new TypeError('x');"), "v8", {500}, True),
    ("endless-loop", unless_good("for (;;);"), "v8", {504}, True),
    ("endless-loop-in-try", unless_good("for (;;) { try { for (;;); } catch (e) {} finally { continue; } }"),
     "v8", {504}, True),
    ("endless-microtasks", "export default { async message(m) { if (m.payload.length === 4) return 'ok';"
     " const f = () => Promise.resolve().then(f); await f(); } }", "v8", {504, 507}, True),
    ("never-settling", "export default { async message(m) { if (m.payload.length === 4) return 'ok';"
     " await new Promise(() => {}); } }", "v8", {504}, True),
    ("hoard-objects", unless_good("const a = []; for (;;) a.push({x: [1, 2, 3]});"), "v8",
     {507, 504, 502}, True),
    ("hoard-array", unless_good("return new Array(1 << 27).fill(7).length;"), "v8",
     {507, 504, 502, 500}, True),
    ("hoard-typed-arrays", unless_good("const a = []; for (;;) a.push(new Uint8Array(1 << 24).fill(1));"),
     "v8", {507, 500, 504, 502}, True),
    ("hoard-wasm-memory", unless_good("const a = []; for (;;) { const m = new WebAssembly.Memory("
     "{initial: 1024}); new Uint8Array(m.buffer).fill(1); a.push(m); }"), "v8", {507, 500, 504, 502}, True),
    ("big-json-parse", unless_good("return JSON.parse('[' + '1,'.repeat(60 << 20) + '1]').length;"), "v8",
     {504, 507, 500, 502}, True),
    ("big-reply", unless_good("return 'x'.repeat(100 << 20);"), "v8", {413, 507}, True),
    ("log-flood", unless_good("for (;;) console.log('y'.repeat(1000));"), "v8", {504}, True),
    ("deep-recursion", unless_good("const f = () => f() + 1; return f();"), "v8", {500}, True),
    ("redos", unless_good("return /^(a+)+$/.test('a'.repeat(40) + 'b');"), "v8", {504, 500, 200}, True),
    ("sort", unless_good("return Array.from({length: 3e6}, Math.random).sort().length;"), "v8",
     {504, 507, 200, 502}, True),
    ("throw-loop", unless_good("Promise.reject(new Error('x')); throw {toString() { for (;;); }};"), "v8",
     {500, 504}, True),
    ("toxic-reply", unless_good("return {toJSON() { for (;;); }};"), "v8", {504, 500}, True),
    ("wasm-loop", WASM_LOOP, "wasm", {504}, False),
    ("wasm-trap", WASM_TRAP, "wasm", {500}, False),
    ("wasm-grow", WASM_GROW, "wasm", {504, 507, 500}, False),
]


class Neighbour:
    """Asks a well-behaved function from a thread of its own and keeps the latencies."""

    def __init__(self, node: Node):
        self.client = node.connect()
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self.stopping.is_set():
            started = time.perf_counter()
            try:
                reply = self.client.request("neighbour", b"hi", 10)
            except (TimeoutError, OSError) as error:
                self.failures.append(str(error))
                continue
            self.latencies.append(time.perf_counter() - started)
            if reply.data != b'{"n":2}':
                self.failures.append(repr(reply.data))
            time.sleep(0.002)

    def __enter__(self) -> "Neighbour":
        self.thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self.stopping.set()
        self.thread.join()
        self.client.close()

    def p99(self) -> float:
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * 0.99)] if ordered else 0.0


def measure_idle(node: Node) -> float:
    with Neighbour(node) as neighbour:
        while len(neighbour.latencies) < NEIGHBOUR_SAMPLES:
            time.sleep(0.01)
    return neighbour.p99()


def run_case(node: Node, case: tuple, idle_p99: float, strict: bool) -> list[str]:
    name, artifact, kind, codes, recovers = case
    wrong = []
    node.deploy(name, artifact, type=kind, limits={"wall_time_ms": WALL_MS})
    client = node.connect()
    with Neighbour(node) as neighbour:
        for attempt in ("bad", "bad-again"):
            started = time.perf_counter()
            try:
                reply = client.request(name, attempt.encode(), WALL_MS / 1000 + GRACE_SECONDS)
            except TimeoutError:
                wrong.append(f"{attempt}: no answer")
                continue
            took = time.perf_counter() - started
            code = reply.error_code or 200
            print(f"  {name:22} {attempt:9} {code} after {took * 1000:7.1f} ms  {reply.data[:90]!r}")
            if code not in codes:
                wrong.append(f"{attempt}: code {code}, wanted one of {sorted(codes)}")
            if code != 200 and b'"message"' not in reply.data:
                wrong.append(f"{attempt}: no JSON body: {reply.data[:200]!r}")
        if recovers:
            deadline = time.monotonic() + 10
            answer = b""
            while answer not in (b"ok", b'"ok"') and time.monotonic() < deadline:
                answer = client.request(name, b"good", 10).data
            if answer not in (b"ok", b'"ok"'):
                wrong.append(f"does not work again: {answer[:200]!r}")
    client.close()
    node.undeploy(name)
    ratio = neighbour.p99() / idle_p99 if idle_p99 else 0
    print(f"  {name:22} neighbour p99 {neighbour.p99() * 1000:.2f} ms of {len(neighbour.latencies)},"
          f" {ratio:.2f} times idle")
    wrong += [f"neighbour: {failure}" for failure in neighbour.failures[:3]]
    if strict and ratio > 1.5:
        wrong.append(f"neighbour's p99 is {ratio:.2f} times its idle value")
    if node.resident_mib() > NODE_MIB_MAX:
        wrong.append(f"the node takes {node.resident_mib():.0f} MiB")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="", help="path of a nats-server to run the node against")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args()
    failed = 0
    flags = ("--cold-start",) if arguments.cold else ()
    with Node(arguments.brokkr, arguments.attach, flags) as node:
        node.deploy("neighbour", "(s, p) => ({n: p.length})")
        idle_p99 = measure_idle(node)
        print(f"neighbour idle: p99 {idle_p99 * 1000:.2f} ms; {node.node_info()['engine']}")
        for case in CASES:
            if arguments.only and arguments.only != case[0]:
                continue
            for problem in run_case(node, case, idle_p99, arguments.strict):
                print(f"FAILED {case[0]}: {problem}")
                failed += 1
        print(f"node: {node.resident_mib():.1f} MiB resident, {len(node.children())} processes below")
        if failed:
            print(node.log())
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
