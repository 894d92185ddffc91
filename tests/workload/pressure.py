#!/usr/bin/env python3
"""Functions that take all they can get: memory in a small box (T35) and logs without end (T36).

usage: pressure.py --brokkr PATH [--seconds 10] [--mib 256] [--flood-percent 60]

memory: broker, node and functions in a memory cgroup of --mib, asked for twice what they can do: nobody is
killed, every request has an answer or a refusal, and a well-behaved function answers all the while.
flood: a function writes to its console without end; what a publisher and a subscriber move meanwhile must not
fall below --flood-percent of what they moved before (on a quiet machine: 90).
"""
import argparse
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reliability"))
from memory import Box  # noqa: E402
from node import Node  # noqa: E402

HUNGRY = """async (subject, payload) => { const kept = [payload.slice(), new Uint8Array(400000).fill(1)];
  await new Promise((r) => setTimeout(r, 50)); return kept[0].length + kept[1].length; }"""


class BoxedNode(Node):
    def __init__(self, brokkr: str, box: Box):
        self.box = box
        super().__init__(brokkr)

    def _start(self, command: list[str], log: str) -> int:
        return super()._start([*self.box.prefix(), *command], log)


def overload(node: Node, seconds: float, counts: dict) -> None:
    client, payload = node.connect(), b"x" * 200_000
    until, window = time.monotonic() + seconds, []
    while time.monotonic() < until or window:
        while len(window) < 64 and time.monotonic() < until:
            window.append(client.send_request("hungry", payload))
        message = client.wait_reply(window.pop(0), 30)
        kind = message.error_code or int(message.headers.get("Status", "200")[:3])
        counts[kind] = counts.get(kind, 0) + 1
    client.close()


def memory(brokkr: str, seconds: float, mib: int) -> list[str]:
    wrong, counts, slowest = [], {}, 0.0
    box = Box(mib)
    try:
        with BoxedNode(brokkr, box) as node:
            node.deploy("hungry", HUNGRY, ["hungry"], limits={"in_flight": 128, "queue": 64, "heap_bytes": 48 << 20})
            node.deploy("modest", "() => 'here'", ["modest"])
            pid = node.pid
            threads = [threading.Thread(target=overload, args=(node, seconds, counts)) for _ in range(4)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                begin = time.monotonic()
                if node.client.request("modest", b"", 30).data != b'"here"':
                    wrong.append("the modest function did not answer")
                slowest = max(slowest, time.monotonic() - begin)
                time.sleep(0.02)
            for thread in threads:
                thread.join()
            if node.processes[-1].poll() is not None or node.pid != pid:
                wrong.append("the broker ended")
            if kills := box.kills():
                wrong.append(f"{kills} processes were killed for memory")
            if not counts.get(200):
                wrong.append("nothing was done")
        print(f"memory: {mib} MiB, {seconds:.0f} s: answers by code {counts}, the modest function's slowest {slowest * 1000:.0f} ms, "
              f"{box.kills()} killed")
    finally:
        box.remove()
    return wrong


def moved(node: Node, seconds: float) -> float:
    """Messages a second from one client to another."""
    source, sink, count = node.connect(), node.connect(), 0
    sink.subscribe("moved")
    sink.flush()
    block = b"x" * 1024
    until = time.monotonic() + seconds
    begin = time.monotonic()
    while time.monotonic() < until:
        for _ in range(200):
            source.publish("moved", block)
        source.flush()
        for _ in range(200):
            sink.next("moved", 10)
        count += 200
    rate = count / (time.monotonic() - begin)
    source.close()
    sink.close()
    return rate


def flood(brokkr: str, seconds: float, percent: float) -> list[str]:
    with Node(brokkr) as node:
        before = max(moved(node, seconds / 4) for _ in range(2))
        node.deploy("noisy", "() => { const line = 'y'.repeat(10000); for (;;) console.log(line); }", ["noisy"],
                    limits={"wall_time_ms": 2000})
        stop = threading.Event()

        def keep() -> None:
            client = node.connect()
            while not stop.is_set():
                client.request("noisy", b"", 30)
            client.close()
        thread = threading.Thread(target=keep)
        thread.start()
        during = max(moved(node, seconds / 4) for _ in range(2))
        stop.set()
        thread.join()
        lines = node.info("noisy")
    print(f"flood: {before:.0f} msg/s before, {during:.0f} during ({100 * during / before:.0f} %), "
          f"{lines['log_lines_dropped']} writes refused by the node")
    return [] if during >= before * percent / 100 else [f"only {100 * during / before:.0f} % of the throughput"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--flood-percent", type=float, default=60)
    options = parser.parse_args()
    wrong = flood(options.brokkr, options.seconds, options.flood_percent)
    wrong += memory(options.brokkr, options.seconds, options.mib)
    for text in wrong:
        print("WRONG " + text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
