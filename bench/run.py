#!/usr/bin/env python3
"""Runs the load generator against Brokkr and nats-server in alternation and writes the results.

bench/README.md says how to read them. Exit code 0 means that every run passed its checks;
missed targets do not change it.
"""
import argparse
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
from scenarios import SCENARIOS

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 15
RUN_TIMEOUT_S = 100


def first_existing(paths):
    return next((str(path) for path in paths if pathlib.Path(path).is_file()), None)


def parse_arguments():
    builds = [ROOT / "build" / preset for preset in ("ci", "release")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all (see --list)")
    parser.add_argument("--brokkr", default=first_existing(b / "src/app/brokkr" for b in builds),
                        help="path of the binary, or 'none'")
    parser.add_argument("--nats-server", action="append", default=[], metavar="PATH",
                        help="may be given twice; default $NATS_SERVER or the one on PATH; 'none'")
    parser.add_argument("--load", default=first_existing(b / "bench/brokkr_bench_load" for b in builds))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7, help="sending time of one run")
    parser.add_argument("--messages", type=int, default=50_000_000, help="most messages of one run")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--subscriptions", type=int, default=100_000)
    parser.add_argument("--spin-us", type=int, default=0, help="generator polls before it sleeps")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test")
    parser.add_argument("--out", type=pathlib.Path, help="default: bench, with --tls bench/tls")
    parser.add_argument("--tls", action="store_true", help="all connections over TLS 1.3 with "
                        "TLS_AES_128_GCM_SHA256 and a P-256 key; results go to bench/tls")
    parser.add_argument("--function-subject", help="subject of a deployed echo function: runs fn_echo")
    parser.add_argument("--function-port", type=int, help="where it is served; default: start "
                        "`brokkr up` and deploy --function-file on the subject")
    parser.add_argument("--function-pid", type=int, default=0, help="process behind --function-port")
    parser.add_argument("--function-file", default=str(ROOT / "examples/echo.js"))
    parser.add_argument("--function-in-flight", type=int, default=32)
    parser.add_argument("--list", action="store_true", help="print the scenarios and stop")
    arguments = parser.parse_args()
    arguments.out = arguments.out or ROOT / ("bench/tls" if arguments.tls else "bench")
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.messages = 1, 0.03, 20_000
        arguments.connections, arguments.subscriptions = 200, 2_000
    if not arguments.nats_server:
        found = os.environ.get("NATS_SERVER") or shutil.which("nats-server")
        arguments.nats_server = [found] if found else []
    arguments.nats_server = [p for p in arguments.nats_server if p != "none"]
    if arguments.brokkr == "none":
        arguments.brokkr = None
    return arguments


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_tls_config(folder):
    """A configuration file with a certificate of its own beside it."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
                    "-subj", "/CN=localhost", "-days", "2"], check=True, capture_output=True)
    config = folder / "tls.conf"
    config.write_text(f'tls {{ cert_file: "{folder}/cert.pem", key_file: "{folder}/key.pem", '
                      'handshake_first: true }\n')
    return config


def wait_for_info(port, process, log, is_tls=False):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}:\n{log.read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                if is_tls:  # the handshake comes first, and is the generator's business
                    return
                if probe.recv(5) == b"INFO ":
                    return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{process.args[0]} does not answer on port {port}:\n{log.read_text()}")


class Server:
    """One binary under test; `start` gives a process of it that answers on its own port."""

    def __init__(self, key, binary, folder, config=None):
        self.key, self.folder, self.config = key, folder / key, config
        self.folder.mkdir()
        # Both products are started by the same command line: the link makes ours answer to it.
        self.binary = self.folder / "nats-server"
        self.binary.symlink_to(pathlib.Path(binary).resolve())
        self.version = self.read_version(binary)
        self.is_brokkr = key == "brokkr"
        self.running = {}

    def read_version(self, binary):
        for command in ([str(self.binary), "-v"], [str(binary), "--version"]):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
            if answer.returncode == 0 and answer.stdout.strip():
                return answer.stdout.strip().splitlines()[0]
        raise SystemExit(f"{binary} does not tell its version")

    def start(self, cpu=None):
        port = free_port()
        log = self.folder / f"log.{port}"
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.binary), "-a", "127.0.0.1", "-p", str(port),
                 *(["-c", str(self.config)] if self.config else [])], stdout=output,
                stderr=output, stdin=subprocess.DEVNULL, cwd=self.folder, preexec_fn=pin)
        self.running[process.pid] = process
        wait_for_info(port, process, log, self.config is not None)
        return process, port

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.running.pop(process.pid, None)

    def stop_all(self):
        for process in list(self.running.values()):
            self.stop(process)


class Bench:
    def __init__(self, arguments, servers):
        self.arguments, self.servers = arguments, servers
        self.shared, self.pinned = {}, {}
        self.cpu = max(os.sched_getaffinity(0))
        self.failures = []

    def load(self, scenario, port, pid, *extra):
        a = self.arguments
        command = [a.load, "--scenario", scenario, "--port", str(port), "--seconds", str(a.seconds),
                   "--messages", str(a.messages), "--connections", str(a.connections),
                   "--subscriptions", str(a.subscriptions), "--spin-us", str(a.spin_us), *extra]
        if pid:
            command += ["--pid", str(pid)]
        if a.tls:
            command.append("--tls")
        try:
            answer = subprocess.run(command, capture_output=True, text=True,
                                    errors="replace", timeout=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no end within {RUN_TIMEOUT_S} s") from None
        if answer.returncode != 0:
            raise RuntimeError(answer.stderr.strip() or f"exit code {answer.returncode}")
        return json.loads(answer.stdout)

    def run_once(self, scenario, server):
        """One run. Memory needs a fresh process; pinned runs need one born on the CPU."""
        if scenario.placement == "fresh":
            process, port = server.start()
            try:
                return self.load(scenario.name, port, process.pid)
            finally:
                server.stop(process)
        if scenario.placement == "pinned":
            if server.key not in self.pinned:
                self.pinned[server.key] = server.start(self.cpu)
            process, port = self.pinned[server.key]
            return self.load(scenario.name, port, process.pid, "--cpu", str(self.cpu))
        if server.key not in self.shared:
            self.shared[server.key] = server.start()
        process, port = self.shared[server.key]
        return self.load(scenario.name, port, process.pid)

    def run_all(self, scenarios):
        runs = {scenario.name: {server.key: [] for server in self.servers} for scenario in scenarios}
        turn = 0
        for round_index in range(self.arguments.rounds):
            for scenario in scenarios:
                order = [self.servers[(turn + i) % len(self.servers)]
                         for i in range(len(self.servers))]
                turn += 1
                for server in order:
                    try:
                        result = self.run_once(scenario, server)
                    except RuntimeError as error:
                        self.failures.append(f"{scenario.name}, {server.key}: {error}")
                        result = None
                        print(f"FAILED {self.failures[-1]}", file=sys.stderr, flush=True)
                    runs[scenario.name][server.key].append(result)
            print(f"round {round_index + 1} of {self.arguments.rounds} done", flush=True)
        return runs

    def run_function(self, brokkr, folder):
        a = self.arguments
        extra = ["--function-subject", a.function_subject,
                 "--function-in-flight", str(a.function_in_flight)]
        node = None
        port, pid = a.function_port, a.function_pid
        if port is None:
            node, port = start_node(a.brokkr, folder)
            pid = node.pid
        try:
            if a.function_port is None:
                subprocess.run([a.brokkr, "devrun", a.function_file,
                                f"--trigger_subject={a.function_subject}",
                                "--server", f"nats://127.0.0.1:{port}"], check=True, timeout=60)
            return [self.load("fn_echo", port, pid, *extra) for _ in range(a.rounds)]
        except (RuntimeError, subprocess.SubprocessError) as error:
            self.failures.append(f"fn_echo: {error}")
            return []
        finally:
            if node:
                brokkr.stop(node)


def start_node(binary, folder):
    port = free_port()
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, "up", "-a", "127.0.0.1", "-p", str(port), "--data", str(folder / "data")],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    wait_for_info(port, process, log)
    return process, port


def make_servers(arguments, folder):
    servers = []
    config = make_tls_config(folder) if arguments.tls else None
    if arguments.brokkr:
        servers.append(Server("brokkr", arguments.brokkr, folder, config))
    for index, path in enumerate(arguments.nats_server):
        key = "nats" if len(arguments.nats_server) == 1 else f"nats{index + 1}"
        servers.append(Server(key, path, folder, config))
    if not servers:
        raise SystemExit("no server to measure: give --brokkr or --nats-server")
    return servers


def choose(names):
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no scenario {', '.join(unknown)}; --list names them")
    return [known[name] for name in names] if names else SCENARIOS


def main():
    arguments = parse_arguments()
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:18} {scenario.title}")
        return 0
    if not arguments.load:
        raise SystemExit("no brokkr_bench_load: build it with -DBROKKR_BUILD_BENCHES=ON")
    if arguments.function_subject and arguments.function_port is None and not arguments.brokkr:
        raise SystemExit("--function-subject needs --brokkr or --function-port")
    scenarios = choose(arguments.scenarios)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="brokkr-bench-") as name:
        folder = pathlib.Path(name)
        servers = make_servers(arguments, folder)
        bench = Bench(arguments, servers)
        try:
            runs = bench.run_all(scenarios)
            functions = (bench.run_function(servers[0], folder)
                         if arguments.function_subject else [])
        finally:
            for server in servers:
                server.stop_all()
    facts = {
        "command": " ".join(["bench/run.py", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "duration_s": round(time.monotonic() - started),
        "machine": report.machine_class(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "connections": arguments.connections,
        "subscriptions": arguments.subscriptions,
        "versions": {server.key: server.version for server in servers},
        "commit": report.commit(ROOT),
        "failures": bench.failures,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {"facts": facts, "runs": runs, "function": functions}
    path = arguments.out / "results.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    # Measured by bench/functions.py and bench/storage.py.
    results |= {key: kept[key] for key in ("functions", "storage") if key in kept}
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.out / "results.md").write_text(report.render(results, scenarios))
    print(f"{arguments.out / 'results.md'} written after {facts['duration_s']} s")
    for failure in bench.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
