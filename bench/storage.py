#!/usr/bin/env python3
"""Measures what is kept next to nats-server: publish, consume, key-value, memory, starts.

    bench/storage.py                         all rows, 5 rounds: the Storage section of results.md and .json
    bench/storage.py --quick                 one short round of everything, one to two minutes
    bench/storage.py js_consume start_10m    some rows; the others keep their last figures
"""
import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import report
import run as bench
from scenarios import SCENARIOS

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILL_TIMEOUT_S = 600
START_TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a row must reach: a factor against a server, or a limit of its own."""
    metric: str
    words: str
    ours: str = "brokkr"
    theirs: str = ""
    factor: float = 0  # at least so much better than theirs
    limit: float = 0  # at most, in the metric's unit
    more_is_better: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    kind: str  # load: alternating runs; fill: memory of a fresh server; start
    goals: tuple
    servers: tuple = ("brokkr", "nats")
    scenario: str = ""
    messages: int = 0  # 0: as many as the time takes
    extra: tuple = ()


CPU, RATE, P50, RSS, START = ("cpu_ns_per_message", "messages_per_second", "p50_ns", "rss_bytes", "start_ms")
DURABLE = ("brokkr_always", "nats_always", "nats")


def cpu(factor):
    return Goal(CPU, f"server CPU >= {factor:g}x less", theirs="nats", factor=factor)


def rate(factor, theirs, words):
    return Goal(RATE, f"rate >= {factor:g}x {words}", "brokkr_always", theirs, factor, more_is_better=True)


ROWS = [
    Row("js_pub_16", "publish, file, not synced, 16 B, window 1000", "load", (cpu(8),)),
    Row("js_pub_128", "publish, file, not synced, 128 B, window 1000", "load", (cpu(8),)),
    Row("js_pub_1k", "publish, file, not synced, 1 KiB, window 1000", "load", (cpu(5),)),
    Row("js_pub_mem_16", "publish, memory, 16 B, window 1000", "load", (cpu(8),)),
    Row("js_sync_16", "publish one by one, not synced, 16 B", "load",
        (Goal(P50, "p50 >= 2.5x less", theirs="nats", factor=2.5),), scenario="js_pub_1_16"),
    Row("durable_w64", "publish synced, 16 B, window 64", "load",
        (rate(25, "nats_always", "of `always`"), rate(1, "nats", "of its default")), DURABLE, "js_pub_w64_16"),
    Row("durable_w1000", "publish synced, 16 B, window 1000", "load",
        (rate(100, "nats_always", "of `always`"), rate(1, "nats", "of its default")), DURABLE, "js_pub_16"),
    Row("durable_w1000_1k", "publish synced, 1 KiB, window 1000", "load",
        (rate(1, "nats_always", "of `always`"), rate(1, "nats", "of its default")), DURABLE, "js_pub_1k"),
    Row("durable_1", "publish synced one by one, 16 B", "load",
        (Goal(P50, "p50 <= 0.6x of `always`", "brokkr_always", "nats_always", 1 / 0.6),),
        ("brokkr_always", "nats_always"), "js_pub_1_16"),
    Row("js_consume", "pull consumer, 128 B, each acknowledged", "load", (cpu(8),)),
    Row("kv_put", "KV put, 128 B, 100 k keys, window 256", "load", (cpu(8),)),
    Row("kv_get", "KV get, 128 B, 100 k keys, window 64", "load", (cpu(6),)),
    Row("kv_1m_keys", "memory with 1 M small KV keys", "fill",
        (Goal(RSS, "<= 150 MB resident", limit=150e6),), scenario="kv_fill", messages=1_000_000),
    Row("subjects_1m", "memory with 1 M subjects", "fill",
        (Goal(RSS, "<= 130 MB resident", limit=130e6),), scenario="js_fill", messages=1_000_000,
        extra=("--subject-count", "1000000")),
    Row("start_10m", "start with 10 M messages of 16 B after a clean stop", "start",
        (Goal(START, "<= 20 ms", limit=20),), scenario="js_fill", messages=10_000_000),
    Row("start_10m_killed", "start with 10 M messages of 16 B after kill -9", "start",
        (Goal(START, "<= 100 ms", limit=100),), scenario="js_fill", messages=10_000_000),
    Row("start_1g_killed", "start with 1 GiB in messages of 1 KiB after kill -9", "start",
        (Goal(START, "<= 1000 ms", limit=1000),), scenario="js_fill", messages=1_000_000,
        extra=("--payload", "1024")),
    Row("start_1m_keys_killed", "start with 1 M KV keys after kill -9", "start",
        (Goal(START, "<= 150 ms", limit=150),), scenario="kv_fill", messages=1_000_000),
    Row("start_30k_streams", "start with 30,000 streams", "start",
        (Goal(START, "<= 3000 ms", limit=3000),), scenario="js_streams", messages=30_000),
]


class StoreServer:
    """One binary with one sync mode; its store outlives its processes until `wipe`."""

    def __init__(self, key, binary, sync, folder):
        self.key, self.folder = key, folder / key
        self.folder.mkdir(parents=True)
        self.binary = self.folder / "nats-server"
        self.binary.symlink_to(pathlib.Path(binary).resolve())
        self.port = bench.free_port()
        self.config = self.folder / "server.conf"
        self.config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.folder}/store", sync_interval: {sync},'
            f" max_mem: 4G, max_file: 64G }}\n")
        self.log = self.folder / "log"
        self.process = None

    def spawn(self):
        with self.log.open("ab") as output:
            self.process = subprocess.Popen([str(self.binary), "-c", str(self.config)], stdout=output,
                                            stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder)

    def start(self):
        if self.process is None:
            self.spawn()
            bench.wait_for_info(self.port, self.process, self.log)
        return self.process

    def end(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def wipe(self):
        self.end(signal.SIGKILL)
        shutil.rmtree(self.folder / "store", ignore_errors=True)

    def store_bytes(self):
        return sum(path.stat().st_size for path in (self.folder / "store").rglob("*") if path.is_file())

    def timed_start(self, subject, is_right):
        """Milliseconds from the process's birth to the first right answer of the API."""
        begin = time.monotonic()
        self.spawn()
        while time.monotonic() - begin < START_TIMEOUT_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.key} ended with {self.process.returncode}: {self.log.read_text()[-500:]}")
            answer = self.ask(subject)
            if answer is not None and is_right(answer):
                return (time.monotonic() - begin) * 1000
            time.sleep(0.0005)
        raise RuntimeError(f"{self.key}: no right answer on {subject} within {START_TIMEOUT_S} s")

    def ask(self, subject):
        """One API request over a connection of its own; None when there is no answer yet."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
                link.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                             b"SUB _INBOX.ask 1\r\nPUB " + subject.encode() + b" _INBOX.ask 0\r\n\r\n")
                data = b""
                while True:
                    head, found, rest = data.partition(b"_INBOX.ask 1 ")
                    if found and b"\r\n" in rest:
                        if head.endswith(b"HMSG "):
                            return None
                        size, _, body = rest.partition(b"\r\n")
                        if len(body) >= int(size) + 2:
                            return json.loads(body[:int(size)])
                    if not (piece := link.recv(65536)):
                        return None
                    data += piece
        except OSError:
            return None


class Storage:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.servers = {}
        for key, binary in (("brokkr", arguments.brokkr), ("nats", arguments.nats_server)):
            if binary:
                self.servers[key] = StoreServer(key, binary, "2m", folder)
                self.servers[key + "_always"] = StoreServer(key + "_always", binary, "always", folder)
        self.failures = []
        self.turn = 0

    def keys(self, row):
        return [key for key in row.servers if key in self.servers]

    def rotated(self, row):
        keys = self.keys(row)
        self.turn += 1
        return [keys[(self.turn + i) % len(keys)] for i in range(len(keys))]

    def load(self, server, scenario, messages, extra=(), timeout=FILL_TIMEOUT_S):
        command = [self.arguments.load, "--scenario", scenario, "--port", str(server.port), "--pid",
                   str(server.process.pid), "--seconds", str(self.arguments.seconds), "--messages", str(messages),
                   *extra]
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
        if answer.returncode != 0:
            raise RuntimeError(answer.stderr.strip() or f"exit code {answer.returncode}")
        return json.loads(answer.stdout)

    def guarded(self, row, key, action):
        try:
            return action()
        except (RuntimeError, subprocess.SubprocessError, SystemExit) as error:
            self.failures.append(f"{row.name}, {key}: {error}"[:600])
            print(f"FAILED {self.failures[-1]}", file=sys.stderr, flush=True)
            return None

    def scaled(self, row):
        return max(1000, row.messages // self.arguments.scale)

    def run_load(self, rows):
        runs = {row.name: {key: [] for key in self.keys(row)} for row in rows}
        for index in range(self.arguments.rounds):
            for row in rows:
                for key in self.rotated(row):
                    self.servers[key].start()
                    runs[row.name][key].append(self.guarded(row, key, lambda: self.load(
                        self.servers[key], row.scenario or row.name, self.arguments.messages, row.extra)))
            print(f"round {index + 1} of {self.arguments.rounds} done", flush=True)
        for server in self.servers.values():
            server.wipe()
        return runs

    def run_fill(self, row):
        runs = {key: [] for key in self.keys(row)}
        for _ in range(min(self.arguments.rounds, self.arguments.fills)):
            for key in self.rotated(row):
                server = self.servers[key]
                server.wipe()
                server.start()
                runs[key].append(self.guarded(row, key, lambda: self.load(
                    server, row.scenario, self.scaled(row), row.extra)))
                server.wipe()
        return runs

    def run_start(self, row):
        return {key: self.guarded(row, key, lambda: self.starts(row, self.servers[key])) or []
                for key in self.keys(row)}

    def starts(self, row, server):
        server.wipe()
        server.start()
        count = self.scaled(row)
        filled = self.load(server, row.scenario, count, row.extra)
        if row.scenario == "js_streams":
            subject, is_right = "$JS.API.INFO", lambda answer: answer.get("streams", 0) >= count
        else:
            stream = "KV_BENCH" if row.scenario == "kv_fill" else "BENCH"
            subject = f"$JS.API.STREAM.INFO.{stream}"
            is_right = lambda answer: answer.get("state", {}).get("messages", 0) >= count
        how = signal.SIGKILL if row.name.endswith("killed") else signal.SIGTERM
        results = []
        for _ in range(self.arguments.rounds):
            server.end(how)
            bytes_kept = server.store_bytes()
            start_ms = server.timed_start(subject, is_right)
            results.append({"start_ms": start_ms, "store_bytes": bytes_kept, "fill_rate": filled[RATE],
                            "rss_bytes": resident(server.process.pid)})
        server.wipe()
        return results

    def run(self, rows):
        loads = [row for row in rows if row.kind == "load"]
        runs = self.run_load(loads) if loads else {}
        for row in rows:
            if row.kind != "load":
                print(f"{row.name} ...", flush=True)
                runs[row.name] = self.run_fill(row) if row.kind == "fill" else self.run_start(row)
        return runs

    def end(self):
        for server in self.servers.values():
            server.wipe()


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_arguments():
    builds = [ROOT / "build" / preset for preset in ("release", "ci")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="default: all (see --list)")
    parser.add_argument("--brokkr", default=bench.first_existing(
        path for build in builds for path in (build / "bin/brokkr", build / "src/app/brokkr")))
    parser.add_argument("--load", default=bench.first_existing(
        path for build in builds for path in (build / "bench/brokkr_bench_load", build / "bin/brokkr_bench_load")))
    parser.add_argument("--nats-server", default=os.environ.get("NATS_SERVER") or shutil.which("nats-server"),
                        help="default $NATS_SERVER or the one on PATH; 'none'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fills", type=int, default=3, help="rounds of the memory rows, at most")
    parser.add_argument("--seconds", type=float, default=0.7, help="sending time of one run")
    parser.add_argument("--messages", type=int, default=50_000_000, help="most messages of one run")
    parser.add_argument("--scale", type=int, default=1, help="divides the sizes of the memory and start rows")
    parser.add_argument("--quick", action="store_true", help="one short round, sizes divided by 20")
    parser.add_argument("--folder", help="where the stores are kept while it runs; default: the temporary folder")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.2
        arguments.messages = min(arguments.messages, 50_000)
        arguments.scale = max(arguments.scale, 20)
    if arguments.nats_server == "none":
        arguments.nats_server = None
    if unknown := [name for name in arguments.rows if name not in {row.name for row in ROWS}]:
        raise SystemExit(f"no row {', '.join(unknown)}; --list names them")
    if not arguments.list and (not arguments.brokkr or not arguments.load):
        raise SystemExit("no brokkr or no brokkr_bench_load: build both with -DBROKKR_BUILD_BENCHES=ON")
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:22} {row.title}")
        return 0
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    section = results.setdefault("storage", {})
    chosen = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="brokkr-bench-", dir=arguments.folder) as name:
        storage = Storage(arguments, pathlib.Path(name))
        try:
            section.setdefault("runs", {}).update(storage.run(chosen))
        finally:
            storage.end()
    section["facts"] = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                        "commit": report.commit(ROOT), "machine": report.machine_class(),
                        "load_average": f"{os.getloadavg()[0]:.1f}",
                        "rounds": arguments.rounds, "duration_s": round(time.monotonic() - started),
                        "command": " ".join(["bench/storage.py", *sys.argv[1:]])}
    section["failures"] = storage.failures
    arguments.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    (arguments.out / "results.md").write_text(report.render(results, SCENARIOS))
    print(report.storage_section(section))
    return 1 if storage.failures else 0


if __name__ == "__main__":
    sys.exit(main())
