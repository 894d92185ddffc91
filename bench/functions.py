#!/usr/bin/env python3
"""Measures functions: warm calls, cold starts, memory of many idle ones; writes the Functions section.

    bench/functions.py                         all rows into bench/results.json and bench/results.md
    bench/functions.py warm cold --rounds 3    some rows; the others keep their last figures
"""
import argparse
import base64
import datetime
import hashlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import report
import run as bench
from scenarios import SCENARIOS

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import NatsClient  # noqa: E402

ROWS = ("warm", "wasm", "cold", "namespace", "idle")
DEPLOYS_AT_ONCE = 8


class Deployer:
    """Deploys by the control API itself: the command line's own start would drown a cold start."""

    def __init__(self, port):
        self.client = NatsClient("127.0.0.1", port)
        deadline = time.monotonic() + 20
        while True:
            answer = self.client.request("$NEX.SVC.default.control.AUCTION", b'{"agent_type":"v8"}')
            if answer.data:
                break
            if time.monotonic() > deadline:
                raise SystemExit("no node answers")
            time.sleep(0.02)
        self.node_id = json.loads(answer.data)["node_id"]

    def request_of(self, path, name, subject, namespace="default", **limits):
        artifact = pathlib.Path(path).read_bytes()
        run = {"artifact": base64.b64encode(artifact).decode(), "sha256": hashlib.sha256(artifact).hexdigest(),
               "file_name": pathlib.Path(path).name, "trigger_subjects": [subject], "limits": limits}
        body = {"name": name, "namespace": namespace, "workload_lifecycle": "function",
                "workload_type": "wasm" if str(path).endswith(".wasm") else "v8", "run_request": json.dumps(run)}
        return f"$NEX.SVC.{namespace}.control.ADEPLOY.{self.node_id}", json.dumps(body).encode()

    def check(self, answer):
        if answer.headers:
            raise RuntimeError(f"not deployed: {answer.headers} {answer.data!r}")

    def deploy(self, *what, **more):
        self.check(self.client.request(*self.request_of(*what, **more), 60))

    def deploy_all(self, requests):
        waiting = 0
        for request in requests:
            self.client.send_request(*request)
            waiting += 1
            if waiting >= DEPLOYS_AT_ONCE:
                self.check(self.client.next_reply(60))
                waiting -= 1
        for _ in range(waiting):
            self.check(self.client.next_reply(60))

    def stop(self, name, namespace="default"):
        self.client.request(f"$NEX.SVC.{namespace}.control.UNDEPLOY.{name}", b"{}")


def processes_below(pid):
    """The process and all it started, however deep."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, open_ = [], [pid]
    while open_:
        found.append(open_.pop())
        open_ += children.get(found[-1], [])
    return found


def memory_of(pid):
    """Proportional set size and page tables of the whole tree, in bytes, and how many processes."""
    pids = processes_below(pid)
    pss = tables = 0
    for one in pids:
        rollup = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text()
        status = pathlib.Path(f"/proc/{one}/status").read_text()
        pss += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        tables += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPTE:"))
    return {"processes": len(pids), "pss_bytes": pss * 1024, "page_table_bytes": tables * 1024}


def cpu_ns_of(pid):
    """What the whole tree has spent; processes that ended are not in it."""
    return sum(int(pathlib.Path(f"/proc/{one}/schedstat").read_text().split()[0]) for one in processes_below(pid))


def timed(action):
    started = time.monotonic_ns()
    action()
    return time.monotonic_ns() - started


def measure_starts(deployer, path, count, namespace_of):
    """Deploy to live, first call, both, and a second call to compare with; each in ns."""
    samples = {"deploy": [], "first_call": [], "total": [], "second_call": []}
    for i in range(count):
        subject, name, namespace = f"start.s{i}", f"start{i}", namespace_of(i)
        request = deployer.request_of(path, name, subject, namespace)
        deploy = timed(lambda: deployer.check(deployer.client.request(*request, 60)))
        first = timed(lambda: deployer.client.request(subject, b"first"))
        second = timed(lambda: deployer.client.request(subject, b"second"))
        for key, value in zip(samples, (deploy, first, deploy + first, second)):
            samples[key].append(value)
        deployer.stop(name, namespace)
    return samples


def percentiles(values):
    values = sorted(values)
    return {"p50_ns": statistics.median(values), "p99_ns": values[min(len(values) - 1, len(values) * 99 // 100)],
            "max_ns": values[-1], "count": len(values)}


class Functions:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.load = bench.Bench(arguments, [])

    def with_node(self, action):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        process, port = bench.start_node(self.arguments.brokkr, folder)
        try:
            return action(Deployer(port), port, process.pid)
        finally:
            process.terminate()
            process.wait(60)

    def warm_calls(self, file):
        def measure(deployer, port, pid):
            deployer.deploy(file, "warm", "warm")
            return [self.load.load("fn_echo", port, pid, "--function-subject", "warm", "--function-in-flight",
                                   str(self.arguments.in_flight)) for _ in range(self.arguments.rounds)]
        return self.with_node(measure)

    def warm(self):
        return self.warm_calls(ROOT / "examples" / "echo.js")

    def wasm(self):
        return self.warm_calls(ROOT / "examples" / "echo.wasm")

    def cold(self):
        def measure(deployer, port, pid):
            file = ROOT / "examples" / "echo.js"
            deployer.deploy(file, "warmup", "warmup")
            samples = measure_starts(deployer, file, self.arguments.starts, lambda i: "default")
            return {key: percentiles(values) for key, values in samples.items()}
        return self.with_node(measure)

    def namespace(self):
        def measure(deployer, port, pid):
            count = max(3, self.arguments.starts // 10)
            before = cpu_ns_of(pid)
            samples = measure_starts(deployer, ROOT / "examples" / "echo.js", count, lambda i: f"space{i}")
            cpu = {"cpu_ns_each": (cpu_ns_of(pid) - before) / count}
            return {key: percentiles(values) for key, values in samples.items()} | cpu
        return self.with_node(measure)

    def idle(self):
        def measure(deployer, port, pid):
            file, count = ROOT / "examples" / "echo.js", self.arguments.functions
            deployer.deploy(file, "f0", "idle.0")
            one = memory_of(pid)
            took = timed(lambda: deployer.deploy_all(
                deployer.request_of(file, f"f{i}", f"idle.{i}") for i in range(1, count)))
            idle = memory_of(pid)
            for i in range(count):
                answer = deployer.client.request(f"idle.{i}", b"hello")
                if b"hello" not in answer.data:
                    raise RuntimeError(f"function {i} answers {answer}")
            called = memory_of(pid)
            return {"functions": count, "deploy_ns_each": took / max(1, count - 1), "one": one, "idle": idle,
                    "called": called}
        return self.with_node(measure)


def parse_arguments():
    builds = [ROOT / "build" / preset for preset in ("ci", "release")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--brokkr", default=bench.first_existing(
        path for build in builds for path in (build / "bin/brokkr", build / "src/app/brokkr")))
    parser.add_argument("--load", default=bench.first_existing(
        path for build in builds for path in (build / "bench/brokkr_bench_load", build / "bin/brokkr_bench_load")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7, help="sending time of one run of calls")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--starts", type=int, default=100, help="cold starts; a tenth as many namespaces")
    parser.add_argument("--functions", type=int, default=1000, help="idle functions")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench")
    arguments = parser.parse_args()
    if unknown := [row for row in arguments.rows if row not in ROWS]:
        raise SystemExit(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if not arguments.brokkr or not arguments.load:
        raise SystemExit("no brokkr or no brokkr_bench_load: build both with -DBROKKR_BUILD_BENCHES=ON")
    arguments.brokkr, arguments.load = os.path.abspath(arguments.brokkr), os.path.abspath(arguments.load)
    # What the generator takes beside; of no use here.
    arguments.messages, arguments.connections, arguments.subscriptions, arguments.spin_us = 50_000_000, 1, 1, 0
    arguments.tls = None
    return arguments


def main():
    arguments = parse_arguments()
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    section = results.setdefault("functions", {})
    failed = False
    with tempfile.TemporaryDirectory(prefix="brokkr-bench-") as name:
        functions = Functions(arguments, pathlib.Path(name))
        for row in arguments.rows or ROWS:
            print(f"{row} ...", flush=True)
            try:
                section[row] = getattr(functions, row)()
            except (RuntimeError, OSError) as error:
                failed = True
                print(f"FAILED {row}: {error}", file=sys.stderr)
    section["facts"] = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                        "commit": report.commit(ROOT), "machine": report.machine_class(),
                        "load_average": f"{os.getloadavg()[0]:.1f}",
                        "command": " ".join(["bench/functions.py", *sys.argv[1:]])}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    (arguments.out / "results.md").write_text(report.render(results, SCENARIOS))
    print(report.functions_section(section))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
