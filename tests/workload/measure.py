#!/usr/bin/env python3
"""Measures what a function costs before its first call: cold starts and idle memory.

usage: measure.py --brokkr PATH [--functions N] [--cold]

Prints: the first function of a namespace, from deploy request to first reply (zygote start and all);
later ones the same way, and by the node's own restart of an instance; the memory of N idle functions
with a process each (PSS of zygote and instances, resident size of the node); the rate of WebAssembly
calls with a fresh instance per call. Reports, judges nothing. Root is needed to read PSS.
"""
import argparse
import pathlib
import sys
import time

from node import ROOT, Node

ECHO = "(subject, payload) => ({triggered_on: subject, payload: String.fromCharCode(...payload)})"
WASM_SECONDS = 3
WASM_IN_FLIGHT = 32


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def spread(values: list[float]) -> str:
    return (f"p50 {percentile(values, 0.5) * 1000:.2f} ms, p99 {percentile(values, 0.99) * 1000:.2f} ms,"
            f" min {min(values) * 1000:.2f} ms of {len(values)}")


def pss_kib(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def first_reply(node: Node, name: str, ns: str, subject: str) -> float:
    started = time.perf_counter()
    node.deploy(name, ECHO, [subject], ns=ns)
    node.client.request(subject, b"hi")
    return time.perf_counter() - started


def measure_wasm(node: Node) -> None:
    program = ROOT / "examples" / "echo.wasm"
    if not program.exists():
        return print(f"wasm: no {program}")
    node.deploy("wasm", program.read_bytes(), type="wasm")
    waiting = [node.client.send_request("wasm", b"hi") for _ in range(WASM_IN_FLIGHT)]
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < WASM_SECONDS:
        reply = node.client.wait_reply(waiting.pop(0))
        assert reply.data == b"hiwasm", f"{reply.headers} {reply.data}"
        waiting.append(node.client.send_request("wasm", b"hi"))
        count += 1
    print(f"wasm, a fresh instance per call: {count / took:.0f} calls/s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--functions", type=int, default=1000)
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    with Node(arguments.brokkr, flags=("--cold-start",) if arguments.cold else ()) as node:
        node_before = node.resident_mib()
        firsts = [first_reply(node, "f", f"ns{i}", f"first.{i}") for i in range(5)]
        print(f"first function of a namespace: {spread(firsts)}")
        for i in range(5):
            node.undeploy("f", f"ns{i}")
        first_reply(node, "warm-up", "many", "warm.up")
        times = [first_reply(node, f"f{i}", "many", f"many.{i}") for i in range(arguments.functions)]
        print(f"deploy to first reply: {spread(times)}")
        below = [pid for pid in node.children() if "--namespace=many" in
                 pathlib.Path(f"/proc/{pid}/cmdline").read_text()]
        time.sleep(3)  # they trim themselves when idle
        total = sum(pss_kib(pid) for pid in below)
        print(f"{arguments.functions} idle functions: {total / 2**20:.3f} GiB PSS in {len(below)} processes,"
              f" {total / arguments.functions:.0f} KiB each; node {node_before:.1f} -> "
              f"{node.resident_mib():.1f} MiB")
        measure_wasm(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
