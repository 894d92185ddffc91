#!/usr/bin/env python3
"""Workload nodes that die, freeze and are cut off, attached to three nats-servers with replicated buckets.

usage: nodes.py --brokkr PATH --nats-server PATH [--nodes 4] [--workloads 12] [--replicas 2] [--rounds 1]
                [--faults kill,stop,cut] [--seconds 8] [--seed N] [--many 0]

In each round every fault hits a node of chance for `--seconds`: kill -9, SIGSTOP, or its way to the server goes
dead (nothing passes, nothing is closed): as root each node is in a network namespace of its own, whose end is taken
from the bridge; otherwise it goes through a proxy that is stopped. What is declared must run again on the others
within ten seconds; once the node is back there must never be more than declared, and then exactly that. Deploys
that were acknowledged while it happened must be there at the end. `--many N` deploys so many functions instead, to
as many nodes as the limit of descriptors asks for, and measures listing them and starting them again.
"""
import argparse
import base64
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import NatsClient, NatsError, as_json  # noqa: E402
from network import Network, make_network  # noqa: E402
from ports import free_port  # noqa: E402

BACK_SECONDS = 10
START_SECONDS = 60
SMALL_BUCKET = "NEX_WORKLOADS"
# A proxy in a process of its own: stopped, it is a line on which nothing passes and nothing ends.
PROXY = """
import select, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def carry(near):
    try:
        far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        other = {near: far, far: near}
        while True:
            for end in select.select([near, far], [], [])[0]:
                data = end.recv(65536)
                if not data:
                    raise OSError
                other[end].sendall(data)
    except OSError:
        near.close()
        far.close()
while True:
    threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()
"""


class ProxyLine:
    """A node's way to its server through a process that can be stopped."""

    def __init__(self, port: int):
        self.process = subprocess.Popen([sys.executable, "-c", PROXY, str(port)], stdout=subprocess.PIPE, text=True)
        self.url = f"nats://127.0.0.1:{int(self.process.stdout.readline())}"
        self.command: list[str] = []

    def cut(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class NamespaceLine:
    """A node's way to its server over the bridge from a namespace of its own."""

    def __init__(self, network: Network, port: int):
        self.network = network
        self.name, _ = network.add()
        self.url = f"nats://{network.address}:{port}"
        self.command = ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        self.network.cut(self.name)

    def heal(self) -> None:
        self.network.heal(self.name)

    def end(self) -> None:
        """The network takes the namespace with it."""


class Cluster:
    def __init__(self, program: str, folder: pathlib.Path, size: int, address: str):
        self.address = address
        ports = [free_port() for _ in range(2 * size)]
        self.ports, routes = ports[:size], ports[size:]
        self.processes = []
        for index in range(size):
            cluster = ("" if size == 1 else
                       f'cluster {{ name: c, listen: "127.0.0.1:{routes[index]}", no_advertise: true, routes: '
                       f'[{", ".join(f"nats://127.0.0.1:{port}" for port in routes)}] }}')
            config = folder / f"s{index}.conf"
            config.write_text(f'listen: "{address}:{self.ports[index]}"\nserver_name: s{index}\n'
                              f'jetstream {{ store_dir: "{folder}/s{index}" }}\n{cluster}\n')
            with open(folder / f"s{index}.log", "wb") as log:
                self.processes.append(subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log))

    def client(self) -> NatsClient:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                client = NatsClient(self.address, self.ports[0], 10)
                if b'"error"' not in client.request("$JS.API.INFO", timeout=5).data:
                    return client
                client.close()
            except (OSError, NatsError, TimeoutError):
                pass
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster does not come up")
            time.sleep(0.1)


class Node:
    def __init__(self, brokkr: str, folder: pathlib.Path, name: str, line: ProxyLine | NamespaceLine):
        self.brokkr, self.folder, self.name, self.line = brokkr, folder, name, line
        self.start()

    def start(self) -> None:
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.line.command + [self.brokkr, "node", "up", "-s", self.line.url, "--data",
                                     str(self.folder / self.name), "--node-name", self.name], stdout=log, stderr=log)

    def hit(self, fault: str) -> None:
        if fault == "kill":
            self.process.kill()
            self.process.wait()
        elif fault == "stop":
            self.process.send_signal(signal.SIGSTOP)
        else:
            self.line.cut()

    def heal(self, fault: str) -> None:
        if fault == "kill":
            self.start()
        elif fault == "stop":
            self.process.send_signal(signal.SIGCONT)
        else:
            self.line.heal()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        end_process(self.process)
        self.line.end()


def end_process(process: subprocess.Popen) -> None:
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Trial:
    def __init__(self, arguments: argparse.Namespace, attach: int | None = None):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nodes-"))
        self.nodes: list[Node] = []
        servers = 1 if arguments.many else 3
        self.network = make_network()
        self.cluster = Cluster(arguments.nats_server, self.folder, servers,
                               self.network.address if self.network else "127.0.0.1")
        self.declared: dict[str, int] = {}
        self.client = self.cluster.client()
        if servers > 1:
            self.make_small_bucket()
        for index in range(arguments.nodes):
            port = self.cluster.ports[index % servers if attach is None else attach]
            line = NamespaceLine(self.network, port) if self.network else ProxyLine(port)
            self.nodes.append(Node(arguments.brokkr, self.folder, f"n{index}", line))
        self.wait("the nodes answer", lambda: len(self.pings()) == arguments.nodes, START_SECONDS)
        self.wait("the desired state is there", lambda: not self.ask("STATUS").error_code, START_SECONDS)
        if servers > 1:
            self.wait("the small bucket has its replicas", lambda: self.replicas_of(SMALL_BUCKET) == 3, START_SECONDS)

    def make_small_bucket(self) -> None:
        """As a node leaves it that came while only one server was there."""
        config = {"name": f"KV_{SMALL_BUCKET}", "subjects": [f"$KV.{SMALL_BUCKET}.>"], "num_replicas": 1,
                  "max_msgs_per_subject": 1, "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True,
                  "discard": "new"}
        self.wait("a bucket on one server", lambda: "error" not in as_json(self.client.request(
            f"$JS.API.STREAM.CREATE.KV_{SMALL_BUCKET}", json.dumps(config).encode(), 10)), START_SECONDS)

    def replicas_of(self, bucket: str) -> int:
        return as_json(self.client.request(f"$JS.API.STREAM.INFO.KV_{bucket}", b"", 10))["config"]["num_replicas"]

    def wait(self, what: str, probe, seconds: float) -> float:
        begun = time.monotonic()
        while not probe():
            if time.monotonic() - begun > seconds:
                raise AssertionError(f"{what}: not within {seconds} s")
            time.sleep(0.05)
        return time.monotonic() - begun

    def ask(self, verb: str, body: dict | None = None, timeout: float = 30):
        try:
            return self.client.request(f"$NEX.SVC.default.control.{verb}", json.dumps(body or {}).encode(), timeout)
        except TimeoutError:
            raise AssertionError(f"{verb} was not answered") from None

    def many(self, subject: str, stall: float = 0.25) -> list:
        """All answers; nodes that do not answer cost the stall."""
        reply = self.client.send_request(subject, b"{}")
        answers = []
        while True:
            try:
                message = self.client.wait_reply(reply, stall)
            except (TimeoutError, NatsError):
                return answers
            if message.data and not message.error_code:
                answers.append(as_json(message))

    def pings(self) -> list:
        return self.many("$NEX.SVC.system.control.PING")

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for part in self.many("$NEX.SVC.default.control.WPING"):
            for one in part:
                found[one["name"]] = found.get(one["name"], 0) + 1
        return found

    def deploy(self, name: str, replicas: int):
        source = base64.b64encode(b"() => 'here'").decode()
        run = json.dumps({"artifact": source, "trigger_subjects": [name]})
        body = json.dumps({"replicas": replicas, "wait_ms": 0, "deploy": {
            "name": name, "workload_type": "v8", "workload_lifecycle": "function", "run_request": run}}).encode()
        deadline = time.monotonic() + 30
        while True:
            # The server may choose a node that does not answer any more; asking again does no harm.
            try:
                return self.client.request("$NEX.SVC.default.control.APPLY", body, 2)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{name}: APPLY was not answered") from None

    def missing(self) -> list[str]:
        found = self.counts()
        return [name for name, count in self.declared.items() if found.get(name, 0) < count]

    def surplus(self, found: dict[str, int]) -> list[str]:
        return [f"{name}: {count}" for name, count in found.items() if count > self.declared.get(name, 0)]

    def run(self) -> None:
        for index in range(self.arguments.workloads):
            name = f"w{index}"
            reply = self.deploy(name, self.arguments.replicas)
            if reply.error_code:
                raise AssertionError(f"{name}: {reply.data!r}")
            self.declared[name] = self.arguments.replicas
        took = self.wait("all run", lambda: not self.missing(), 120)
        print(f"{self.arguments.workloads} workloads run after {took:.1f} s", flush=True)
        times: dict[str, list[float]] = {}
        for number in range(self.arguments.rounds):
            for fault in self.arguments.faults.split(","):
                times.setdefault(fault, []).append(self.round(fault, number))
        for fault, each in times.items():
            each.sort()
            print(f"{fault}: back after {each[len(each) // 2]:.1f} s median, {each[-1]:.1f} s at most, {len(each)} times")

    def round(self, fault: str, number: int) -> float:
        victim = self.random.choice(self.nodes)
        victim.hit(fault)
        begun = time.monotonic()
        self.wait(f"{fault} of {victim.name}: back", lambda: not self.missing(), BACK_SECONDS)
        back = time.monotonic() - begun
        name = f"during-{fault}-{number}"
        if not self.deploy(name, 1).error_code:
            self.declared[name] = 1
        while time.monotonic() - begun < self.arguments.seconds:
            time.sleep(0.1)
        victim.heal(fault)
        healed = time.monotonic()
        while time.monotonic() - healed < 3:
            if more := self.surplus(self.counts()):
                raise AssertionError(f"{fault} of {victim.name}: too many after the heal: {more}")
        self.wait("the node is back", lambda: len(self.pings()) == len(self.nodes), 30)
        self.wait("exactly what is declared", lambda: self.counts() == self.declared, 20)
        print(f"ok {fault} of {victim.name}: back after {back:.1f} s", flush=True)
        return back

    def measure_many(self) -> None:
        count = self.arguments.many
        nodes = [ping["node_id"] for ping in self.pings()]
        source = base64.b64encode(b"() => 'here'").decode()
        begun = time.monotonic()
        open_requests: list[str] = []
        for index in range(count):
            run = json.dumps({"artifact": source, "trigger_subjects": [f"f{index}"]})
            body = {"name": f"f{index}", "workload_type": "v8", "workload_lifecycle": "function", "run_request": run}
            open_requests.append(self.client.send_request(f"$NEX.SVC.default.control.ADEPLOY.{nodes[index % len(nodes)]}",
                                                          json.dumps(body).encode()))
            if len(open_requests) >= 32:
                self.check_deployed(open_requests.pop(0))
        for reply in open_requests:
            self.check_deployed(reply)
        print(f"{count} functions deployed to {len(nodes)} nodes in {time.monotonic() - begun:.1f} s", flush=True)

        def listed() -> int:
            return sum(len(part) for part in self.many("$NEX.SVC.default.control.WPING", 2))
        begun = time.monotonic()
        if listed() != count:
            raise AssertionError("not all are listed")
        print(f"listed in {time.monotonic() - begun - 2:.2f} s", flush=True)
        for fault in (Node.hit, Node.heal):
            for node in self.nodes:
                fault(node, "kill")
        begun = time.monotonic()
        self.wait("all run again", lambda: listed() == count, 1200)
        print(f"started again in {time.monotonic() - begun - 2:.1f} s", flush=True)

    def check_deployed(self, reply: str) -> None:
        message = self.client.wait_reply(reply, 60)
        if message.error_code:
            raise AssertionError(f"not deployed: {message.data!r}")

    def log(self) -> str:
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
                       for path in sorted(self.folder.glob("n*.log")))

    def end(self) -> None:
        for node in self.nodes:
            node.end()
        for process in self.cluster.processes:
            process.terminate()
        for process in self.cluster.processes:
            end_process(process)
        if self.network:
            self.network.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def nodes_for(functions: int) -> int:
    """Each takes some three descriptors a function, and some for itself."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return -(-(3 * functions) // (hard - 1000))


def conduct(make, run) -> int:
    """Makes a trial, runs it and ends it; the exit code."""
    trial = None
    try:
        trial = make()
        run(trial)
    except AssertionError as error:
        print(f"FAILED: {error}\n{trial.log() if trial else ''}")
        return 1
    finally:
        if trial is not None:
            trial.end()
    print("passed")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", required=True)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--workloads", type=int, default=12)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--faults", default="kill,stop,cut")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--many", type=int, default=0)
    arguments = parser.parse_args()
    arguments.nodes = arguments.nodes or (nodes_for(arguments.many) if arguments.many else 4)
    print(f"seed {arguments.seed}", flush=True)
    return conduct(lambda: Trial(arguments), Trial.measure_many if arguments.many else Trial.run)


if __name__ == "__main__":
    sys.exit(main())
