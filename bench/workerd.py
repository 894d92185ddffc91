#!/usr/bin/env python3
"""Measures functions beside npm's workerd, whose HTTP echo does the same work, in alternating rounds.

    bench/workerd.py                    all rows, printed as a table
    bench/workerd.py --rounds 3 --functions 100

workerd is installed by npm into a temporary folder; `wrk` (Debian) makes its load. Both answer with the
same JSON: what was asked, echoed. Ours is asked by messages, workerd by HTTP on connections kept open.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import functions
import run as bench

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKER = """export default { async fetch(request) {
  const payload = await request.text();
  return Response.json({ triggered_on: new URL(request.url).pathname.slice(1), payload });
} };
"""


def config_text(ports):
    """One service and one socket a function, as a host of many functions has it."""
    services = "".join(f'    (name = "w{i}", worker = .echo),\n' for i in range(len(ports)))
    sockets = "".join(f'    (name = "s{i}", address = "127.0.0.1:{port}", http = (), service = "w{i}"),\n'
                      for i, port in enumerate(ports))
    return ('using Workerd = import "/workerd/workerd.capnp";\n'
            f"const config :Workerd.Config = (\n  services = [\n{services}  ],\n  sockets = [\n{sockets}  ]\n);\n"
            'const echo :Workerd.Worker = (\n  modules = [(name = "echo", esModule = embed "echo.js")],\n'
            '  compatibilityDate = "2024-01-01"\n);\n')


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Http:
    """One connection kept open; the next answer is read whole."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def post(self, path, body):
        self.socket.sendall(b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body))
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.read()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        size = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
        while len(self.rest) < size:
            self.rest += self.read()
        answer, self.rest = self.rest[:size], self.rest[size:]
        return answer

    def read(self):
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("workerd closed the connection")
        return data


class Workerd:
    def __init__(self, program, folder, count=1):
        self.ports = free_ports(count)
        (folder / "echo.js").write_text(WORKER)
        (folder / "config.capnp").write_text(config_text(self.ports))
        self.started = time.monotonic_ns()
        self.process = subprocess.Popen([program, "serve", str(folder / "config.capnp")])

    def first_reply(self):
        """Time from the start of the process to its first answer."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if b"hello" not in Http(self.ports[0]).post(b"echo", b"hello"):
                    raise RuntimeError("workerd does not echo")
                return time.monotonic_ns() - self.started
            except ConnectionRefusedError:
                continue
        raise RuntimeError("workerd does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def latency(call, count=2000):
    for _ in range(200):
        call()
    return functions.percentiles([functions.timed(call) for _ in range(count)])["p50_ns"]


def wrk(port, pid, in_flight, seconds, folder):
    script = folder / "post.lua"
    script.write_text('wrk.method="POST"; wrk.body="hello nex!"\n')
    before = functions.cpu_ns_of(pid)
    text = subprocess.run(["wrk", "-t1", f"-c{in_flight}", f"-d{seconds}s", "-s", str(script),
                           f"http://127.0.0.1:{port}/echo"], capture_output=True, text=True, check=True).stdout
    spent = functions.cpu_ns_of(pid) - before
    calls = int(re.search(r"(\d+) requests in", text).group(1))
    return {"rate": calls / seconds, "cpu_ns": spent / calls}


class Rounds:
    def __init__(self, arguments, program, folder):
        self.arguments, self.program, self.folder = arguments, program, folder
        self.ours = functions.Functions(arguments, folder)
        self.rows = {}

    def add(self, row, ours, theirs):
        self.rows.setdefault(row, []).append((ours, theirs))

    def fresh_folder(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder))

    def ours_warm(self):
        def measure(deployer, port, pid):
            deployer.deploy(ROOT / "examples" / "echo.js", "warm", "warm")
            p50 = latency(lambda: deployer.client.request("warm", b"hello nex!"))
            before = functions.cpu_ns_of(pid)
            flood = self.ours.load.load("fn_echo", port, pid, "--function-subject", "warm",
                                        "--function-in-flight", str(self.arguments.in_flight))
            spent = functions.cpu_ns_of(pid) - before
            calls = flood["messages"]
            return p50, {"rate": flood["messages_per_second"], "cpu_ns": spent / calls}
        return self.ours.with_node(measure)

    def theirs_warm(self):
        server = Workerd(self.program, self.fresh_folder())
        try:
            server.first_reply()
            http = Http(server.ports[0])
            p50 = latency(lambda: http.post(b"echo", b"hello nex!"))
            return p50, wrk(server.ports[0], server.process.pid, self.arguments.in_flight, 2, self.folder)
        finally:
            server.stop()

    def warm(self):
        (ours_p50, ours), (theirs_p50, theirs) = self.ours_warm(), self.theirs_warm()
        self.add("warm call, one at a time, p50 us", ours_p50 / 1e3, theirs_p50 / 1e3)
        self.add("CPU per call, us", ours["cpu_ns"] / 1e3, theirs["cpu_ns"] / 1e3)
        self.add("calls/s, kept in flight", ours["rate"], theirs["rate"])

    def cold(self):
        def measure(deployer, port, pid):
            file = ROOT / "examples" / "echo.js"
            deployer.deploy(file, "warmup", "warmup")
            return functions.measure_starts(deployer, file, 20, lambda i: "default")["total"]
        ours = statistics.median(self.ours.with_node(measure))
        theirs = []
        for _ in range(10):
            server = Workerd(self.program, self.fresh_folder())
            try:
                theirs.append(server.first_reply())
            finally:
                server.stop()
        self.add("cold start to first answer, p50 ms", ours / 1e6, statistics.median(theirs) / 1e6)

    def idle(self):
        count = self.arguments.functions
        file = ROOT / "examples" / "echo.js"

        def measure(deployer, port, pid):
            deployer.deploy(file, "f0", "idle.0")
            one = functions.memory_of(pid)
            deployer.deploy_all(deployer.request_of(file, f"f{i}", f"idle.{i}") for i in range(1, count))
            return one, functions.memory_of(pid)
        one, many = self.ours.with_node(measure)
        ours = (sum_of(many) - sum_of(one)) / (count - 1)
        sizes = []
        for amount in (1, count):
            server = Workerd(self.program, self.fresh_folder(), amount)
            try:
                server.first_reply()
                for port in server.ports:
                    Http(port).post(b"echo", b"hello")
                sizes.append(sum_of(functions.memory_of(server.process.pid)))
            finally:
                server.stop()
        self.add("memory per idle function, KiB", ours / 1024, (sizes[1] - sizes[0]) / (count - 1) / 1024)


def sum_of(memory):
    return memory["pss_bytes"] + memory["page_table_bytes"]


def install_workerd(folder):
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "workerd"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    program = folder / "node_modules" / ".bin" / "workerd"
    return str(program) if program.exists() else None


def print_table(rows):
    print("| row | brokkr | workerd | better by (median of rounds) |\n|-|-|-|-|")
    for row, pairs in rows.items():
        ours, theirs = (statistics.median(side) for side in zip(*pairs))
        is_rate = row.startswith("calls/s")
        ratio = statistics.median(a / b if is_rate else b / a for a, b in pairs)
        print(f"| {row} | {ours:,.1f} | {theirs:,.1f} | {ratio:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    builds = [ROOT / "build" / preset for preset in ("release", "ci")]
    parser.add_argument("--brokkr", default=bench.first_existing(build / "bin/brokkr" for build in builds))
    parser.add_argument("--load", default=bench.first_existing(
        path for build in builds for path in (build / "bench/brokkr_bench_load", build / "bin/brokkr_bench_load")))
    parser.add_argument("--workerd", help="program; default: installed by npm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--functions", type=int, default=100, help="idle functions")
    arguments = parser.parse_args()
    if not arguments.brokkr or not arguments.load:
        raise SystemExit("no brokkr or no brokkr_bench_load: build both with -DBROKKR_BUILD_BENCHES=ON")
    if not shutil.which("wrk"):
        raise SystemExit("no wrk: apt-get install wrk")
    arguments.brokkr, arguments.load = os.path.abspath(arguments.brokkr), os.path.abspath(arguments.load)
    arguments.messages, arguments.connections, arguments.subscriptions, arguments.spin_us = 50_000_000, 1, 1, 0
    arguments.tls = None
    with tempfile.TemporaryDirectory(prefix="brokkr-bench-") as name:
        folder = pathlib.Path(name)
        program = arguments.workerd or install_workerd(folder)
        if not program:
            raise SystemExit("npm could not install workerd")
        rounds = Rounds(arguments, program, folder)
        for number in range(arguments.rounds):
            rounds.warm()
            rounds.cold()
            print(f"round {number + 1} of {arguments.rounds} done", flush=True)
        rounds.idle()
        print_table(rounds.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
