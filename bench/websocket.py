#!/usr/bin/env python3
"""What a message through WebSocket costs the server, beside nats-server: CPU time of the server per message.

    bench/websocket.py --brokkr PATH [--nats-server PATH] [--rounds 5] [--messages 200000] [ROW ...]

Each row runs plain and with compression, servers taking turns within a round; figures are medians [min-max] over the
rounds. Payloads are JSON lines that differ, so that they compress about as messages do. Publishers send prepared
frames; subscribers count every message. `tcp` rows are the same traffic without WebSocket, for comparison.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import socket
import statistics
import sys
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "conformance"), str(ROOT / "tests" / "support")]
import server as servers  # noqa: E402
from websocket_client import OFFER, deflate, frame, request  # noqa: E402

CONNECT = b'CONNECT {"verbose":false}\r\n'
WINDOW = 8  # frames on the way


class Peer:
    """A client that sends ready-made pieces and counts what it receives; `kind` is tcp, ws or deflate."""

    def __init__(self, address, kind: str):
        self.kind = kind
        self.socket = socket.create_connection(address, 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw = bytearray()
        self.tail, self.surplus = b"", 0
        if kind != "tcp":
            self.socket.sendall(request({"Sec-WebSocket-Extensions": OFFER} if kind == "deflate" else {}))
            while b"\r\n\r\n" not in self.raw:
                self.raw += self.socket.recv(1 << 16)
            del self.raw[:self.raw.index(b"\r\n\r\n") + 4]

    def pack(self, data: bytes) -> bytes:
        if self.kind == "tcp":
            return data
        return frame(deflate(data), rsv=4) if self.kind == "deflate" and len(data) > 64 else frame(data)

    def read(self) -> bytes:
        """Protocol bytes that came, at least one."""
        while True:
            got = self.socket.recv(1 << 18)
            if not got:
                raise ConnectionError("the server has closed")
            if self.kind == "tcp":
                return got
            self.raw += got
            if out := self.unpack():
                return out

    def unpack(self) -> bytes:
        out, at, raw = [], 0, self.raw
        while len(raw) - at >= 2:
            size, head = raw[at + 1] & 127, 2
            if size > 125:
                head = 4 if size == 126 else 10
                size = int.from_bytes(raw[at + 2:at + head], "big")
            if len(raw) - at < head + size:
                break
            payload = bytes(raw[at + head:at + head + size])
            if raw[at] & 0x40:
                payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
            out.append(payload)
            at += head + size
        del raw[:at]
        return b"".join(out)

    def wait_for(self, text: bytes, count: int = 1) -> None:
        """Counts occurrences; what came beyond `count` is kept for the next call."""
        count -= self.surplus
        while count > 0:
            data = self.tail + self.read()
            count -= data.count(text)
            self.tail = b"" if data.endswith(text) else data[1 - len(text):]
        self.surplus = -count

    def start(self, commands: bytes = b"") -> None:
        self.socket.sendall(self.pack(CONNECT + commands + b"PING\r\n"))
        self.wait_for(b"PONG\r\n")
        self.tail, self.surplus = b"", 0


def make_payload(size: int, number: int, chance: random.Random) -> bytes:
    text = json.dumps({"device": f"sensor-{number % 977}", "sequence": number, "celsius": round(chance.gauss(20, 5), 2),
                       "tags": ["room", "floor", "house"], "note": ""})
    return (text + " the quick brown fox jumps over the lazy dog" * (size // 40 + 1))[:size].encode()


def batches(peer: Peer, size: int, per_frame: int) -> list[bytes]:
    chance = random.Random(7)
    made = []
    for which in range(8):
        messages = [make_payload(size, which * per_frame + i, chance) for i in range(per_frame)]
        made.append(peer.pack(b"".join(b"PUB bench.one %d\r\n%s\r\n" % (size, text) for text in messages) + b"PING\r\n"))
    return made


def subscriber(address, kind: str, count: int, ready, done) -> None:
    peer = Peer(address, kind)
    peer.start(b"SUB bench.one 1\r\n")
    ready.put(1)
    peer.wait_for(b"MSG bench.one 1 ", count)
    done.put(1)


def publish(address, kind: str, size: int, per_frame: int, count: int) -> None:
    peer = Peer(address, kind)
    peer.start()
    frames = batches(peer, size, per_frame)
    for i in range(count // per_frame):
        if i >= WINDOW:
            peer.wait_for(b"PONG\r\n")
        peer.socket.sendall(frames[i % len(frames)])
    peer.wait_for(b"PONG\r\n", min(WINDOW, count // per_frame))


def responder(address, kind: str, ready) -> None:
    peer = Peer(address, kind)
    peer.start(b"SUB bench.ask 1\r\n")
    ready.put(1)
    answer = peer.pack(b"PUB bench.answer 2\r\nok\r\n")
    while True:
        for _ in range(peer.read().count(b"MSG bench.ask")):
            peer.socket.sendall(answer)


def run_stream(address, kind: str, row: dict, count: int, cpu) -> float:
    ready, done = multiprocessing.Queue(), multiprocessing.Queue()
    count -= count % row["per_frame"]
    readers = [multiprocessing.Process(target=subscriber, args=(address, kind, count, ready, done), daemon=True)
               for _ in range(row["subscribers"])]
    for reader in readers:
        reader.start()
    for _ in readers:
        ready.get(timeout=30)
    before = cpu()
    publish(address, kind, row["size"], row["per_frame"], count)
    for _ in readers:
        done.get(timeout=120)
    used = cpu() - before
    for reader in readers:
        reader.join(20)
    return used / count


def run_requests(address, kind: str, row: dict, count: int, cpu) -> float:
    ready = multiprocessing.Queue()
    other = multiprocessing.Process(target=responder, args=(address, kind, ready), daemon=True)
    other.start()
    ready.get(timeout=30)
    peer = Peer(address, kind)
    peer.start(b"SUB bench.answer 2\r\n")
    ask = peer.pack(b"PUB bench.ask bench.answer 4\r\nping\r\n")
    count //= 20
    before = cpu()
    for _ in range(count):
        peer.socket.sendall(ask)
        peer.wait_for(b"ok\r\n")
    used = cpu() - before
    other.terminate()
    return used / count


ROWS = {
    "pub_128": {"size": 128, "per_frame": 256, "subscribers": 0},
    "one2one_128": {"size": 128, "per_frame": 256, "subscribers": 1},
    "one2one_1k": {"size": 1024, "per_frame": 32, "subscribers": 1},
    "fan_1x4_128": {"size": 128, "per_frame": 256, "subscribers": 4},
    "unbatched_128": {"size": 128, "per_frame": 1, "subscribers": 1},
    "rr_1": {"requests": True},
}


class Subject:
    def __init__(self, name: str, binary: str):
        config = 'max_pending: 256MB\nwebsocket { listen: "127.0.0.1:-1", no_tls: true, compression: true }'
        self.name, self.server = name, servers.Server(binary, config)
        self.clock = (~self.server.process.pid << 3) | 2  # its CPU clock

    def cpu(self) -> float:
        return time.clock_gettime(self.clock)

    def measure(self, name: str, kind: str, count: int) -> float:
        row = ROWS[name]
        address = self.server.address("nats" if kind == "tcp" else "websocket")
        run = run_requests if row.get("requests") else run_stream
        return run(address, kind, row, count // 8 if row.get("per_frame") == 1 else count, self.cpu) * 1e6


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", default=os.environ.get("NATS_SERVER") or shutil.which("nats-server"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200_000)
    args = parser.parse_args()
    subjects = [Subject("Brokkr", args.brokkr)]
    if args.nats_server:
        subjects.append(Subject("nats-server", args.nats_server))
    try:
        print(f"| row | kind | {' | '.join(f'{s.name}, us/message' for s in subjects)} | ratio |")
        print("|---|---|" + "---|" * (len(subjects) + 1))
        for name in args.rows or ROWS:
            for kind in ("tcp", "ws", "deflate"):
                figures: dict[str, list[float]] = {subject.name: [] for subject in subjects}
                for number in range(args.rounds):
                    for subject in subjects if number % 2 == 0 else subjects[::-1]:
                        figures[subject.name].append(subject.measure(name, kind, args.messages))
                ours = figures["Brokkr"]
                ratios = [peer / own for own, peer in zip(ours, figures.get("nats-server", []))]
                ratio = f"{statistics.median(ratios):.1f}x" if ratios else ""
                print(f"| `{name}` | {kind} | {' | '.join(shown(values) for values in figures.values())} | {ratio} |", flush=True)
    finally:
        for subject in subjects:
            subject.server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
