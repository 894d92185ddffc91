#!/usr/bin/env python3
"""The programs users come with: deployed by the commands they know, unchanged, and asked for their answers.

    acceptance.py --brokkr PATH --echo STATIC-PROGRAM                       on `brokkr up`
    acceptance.py --brokkr PATH --echo STATIC-PROGRAM --cluster NATS-SERVER
        two nodes on a cluster of three nats-servers with replicated streams, each in a network namespace of
        its own (as root); exit code 77 where none can be made

Commands run through links named `nex` and `nats`; a real `nats` on PATH asks once more.
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import NatsClient, NatsError, as_json  # noqa: E402
from network import Network, make_network  # noqa: E402
from web_server import WebServer, make_authority, make_certificate  # noqa: E402

START_SECONDS = 60
SKIPPED = 77
SIZE = 3


def wait(what: str, probe, seconds: float = START_SECONDS):
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := probe():
                return found
        except (AssertionError, OSError, NatsError, TimeoutError):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class World:
    def __init__(self, arguments: argparse.Namespace, network: Network | None):
        self.arguments = arguments
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="acceptance-"))
        self.folder.chmod(0o755)
        self.processes: list[subprocess.Popen] = []
        self.network = network
        self.web = None
        self.links = self.folder / "bin"
        self.links.mkdir()
        for name in ("nex", "nats"):
            (self.links / name).symlink_to(os.path.abspath(arguments.brokkr))
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        for name in ("echo.js", "echo.wasm", "telemetry.js", "jokes.js"):
            shutil.copy(ROOT / "examples" / name, self.programs)
        shutil.copy(arguments.echo, self.programs / "echo")
        make_authority(self.folder, "authority")
        certificate = make_certificate(self.folder, "authority", ["webhooks.app"])
        self.web = WebServer(certificate, self.network.address if self.network else "127.0.0.1")
        try:
            self.start_cluster() if self.network else self.start_alone()
        except AssertionError:
            print(self.log())
            self.end()
            raise

    def node_flags(self, name: str) -> list[str]:
        address = self.network.address if self.network else "127.0.0.1"
        return ["--data", str(self.folder / name), "--node-name", name, "--resolve",
                f"webhooks.app:443:{address}:{self.web.port}", "--http-ca", str(self.folder / "authority.pem")]

    def spawn(self, log: str, *words: str) -> None:
        with open(self.folder / f"{log}.log", "wb") as out:
            self.processes.append(subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL))

    def start_alone(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"nats://127.0.0.1:{port}"
        self.nodes = 1
        self.spawn("up", self.arguments.brokkr, "up", "-a", "127.0.0.1", "-p", str(port), *self.node_flags("alone"))
        self.connect("127.0.0.1", port)

    def start_cluster(self) -> None:
        places = [self.network.add() for _ in range(SIZE + 2)]
        routes = ", ".join(f"nats://{address}:6222" for _, address in places[:SIZE])
        for index, (place, address) in enumerate(places[:SIZE]):
            config = self.folder / f"s{index}.conf"
            config.write_text(f'listen: "{address}:4222"\nserver_name: s{index}\n'
                              f'jetstream {{ store_dir: "{self.folder}/s{index}" }}\n'
                              f'cluster {{ name: c, listen: "{address}:6222", routes: [{routes}] }}\n')
            self.spawn(f"s{index}", "ip", "netns", "exec", place, self.arguments.cluster, "-c", str(config))
        self.nodes = 2
        self.url = f"nats://{places[0][1]}:4222"
        self.connect(places[0][1], 4222, has_node=False)
        for index, (place, _) in enumerate(places[SIZE:]):
            self.spawn(f"n{index}", "ip", "netns", "exec", place, self.arguments.brokkr, "node", "up", "-s",
                       f"nats://{places[index + 1][1]}:4222", "--bucket-replicas", "3", *self.node_flags(f"n{index}"))
        self.wait_for_nodes()

    def connect(self, host: str, port: int, has_node: bool = True) -> None:
        def ready():
            self.client = NatsClient(host, port, 5)
            return b'"error"' not in self.client.request("$JS.API.INFO", timeout=5).data
        wait("JetStream answers", ready)
        if has_node:
            self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        wait("the nodes answer", lambda: len(json.loads(self.nex("node", "ls", "--json"))) == self.nodes)
        wait("the desired state is there", lambda: not self.client.request(
            "$NEX.SVC.default.control.STATUS", b"{}", 5).error_code)

    def command(self, program: str, *words: str, check: bool = True) -> str:
        environment = dict(os.environ, NATS_URL=self.url, HOME=str(self.folder))
        done = subprocess.run([program, *words], capture_output=True, text=True, env=environment, timeout=90,
                              cwd=self.programs)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def nex(self, *words: str, check: bool = True) -> str:
        return self.command(str(self.links / "nex"), *words, check=check)

    def nats(self, *words: str, check: bool = True) -> str:
        return self.command(str(self.links / "nats"), *words, check=check)

    def replicas_of(self, stream: str) -> int:
        return as_json(self.client.request(f"$JS.API.STREAM.INFO.{stream}", b""))["config"]["num_replicas"]

    def log(self) -> str:
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
                       for path in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.web:
            self.web.stop()
        if self.network:
            self.network.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def equal(got, wanted, what: str) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def asked(world: World, subject: str, payload: str) -> str:
    """The answer, the same from our command and, where there is one, the real one."""
    answer = world.nats("req", "--raw", subject, payload).rstrip("\n")
    if real := world.arguments.nats:
        equal(world.command(real, "req", "--raw", subject, payload).rstrip("\n"), answer, "the real nats command")
    return answer


def echo_js(world: World) -> None:
    world.nex("devrun", "./echo.js", "--trigger_subject=echo", "--type", "v8")
    equal(asked(world, "echo", "hello nex!"), '{"triggered_on":"echo","payload":"hello nex!"}', "echo")
    if "echo" not in world.nex("logs", "echojs", "--since", "1h", "--wait", "1s").splitlines()[-1]:
        raise AssertionError("the log does not show what the function printed")


def echo_wasm(world: World) -> None:
    world.nex("devrun", "echo.wasm", "--trigger_subject=echowasm", "--type", "wasm")
    equal(asked(world, "echowasm", "hello nex!"), "hello nex!echowasm", "echowasm")


def telemetry(world: World) -> None:
    world.nex("devrun", "./telemetry.js", "--trigger_subject=devices.*", "--type", "v8")
    sent = '{"deviceId":"123","temperature":23}'
    wanted = {"ok": True, "subject": "devices.123", "device": "123", "temperature": 23, "kv_bucket": "iot_devices",
              "object_bucket": "iot_history", "http_alert": None}
    equal(world.nats("req", "--raw", "devices.123", sent).strip(), json.dumps(wanted, separators=(",", ":")), "devices")
    equal(world.nats("kv", "get", "--raw", "iot_devices", "123").rstrip("\n"), sent, "what the bucket holds")
    before = world.nats("object", "ls", "iot_history").count("123-")
    equal(before, 1, "objects")
    hot = json.loads(world.nats("req", "--raw", "devices.9", '{"deviceId":"9","temperature":31}'))
    equal(hot["http_alert"]["status"], 200, "status of the alert")
    equal([json.loads(one["body"])["temperature"] for one in world.web.requests], [31], "what the web server got")
    equal(world.nats("object", "ls", "iot_history").count("9-"), 1, "objects of the second device")
    wanted_replicas = 3 if world.network else 1
    for stream in ("KV_iot_devices", "OBJ_iot_history"):
        equal(world.replicas_of(stream), wanted_replicas, f"replicas of {stream}")


def jokes(world: World) -> None:
    world.nats("kv", "add", "dad_jokes", "--replicas", "3" if world.network else "1")
    world.nats("kv", "put", "dad_jokes", "jokes", '[{"setup":"a","punchline":"b"}]')
    world.nex("devrun", "./jokes.js", "--trigger_subject=jokes", "--type", "v8")
    equal(asked(world, "jokes", ""), '{"joke":"a","punchline":"b"}', "jokes")


def echo_service(world: World) -> None:
    world.nex("devrun", "./echo")
    wait("the service answers", lambda: world.nats("req", "--raw", "svc.echo", "can you repeat?",
                                                   check=False).strip() == "can you repeat?", 20)
    equal(asked(world, "svc.echo", "can you repeat?"), "can you repeat?", "svc.echo")
    listed = world.nats("micro", "ls")
    if "EchoService" not in listed:
        raise AssertionError(f"micro ls does not list EchoService: {listed}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--echo", required=True, help="the service, statically linked")
    parser.add_argument("--cluster", default="", metavar="NATS-SERVER")
    parser.add_argument("--nats", default=shutil.which("nats"), help="the real command; default: on PATH")
    arguments = parser.parse_args()
    if arguments.nats and os.path.realpath(arguments.nats) == os.path.realpath(arguments.brokkr):
        arguments.nats = None
    network = make_network() if arguments.cluster else None
    if arguments.cluster and not network:
        return SKIPPED
    world, failed = None, 0
    try:
        world = World(arguments, network)
        for program in (echo_js, echo_wasm, telemetry, jokes, echo_service):
            try:
                program(world)
                print(f"ok {program.__name__}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired, NatsError, TimeoutError) as error:
                failed += 1
                print(f"FAILED {program.__name__}: {error}", flush=True)
    except AssertionError as error:
        failed += 1
        print(f"FAILED: {error}")
    finally:
        if world is not None:
            if failed:
                print(world.log())
            world.end()
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
