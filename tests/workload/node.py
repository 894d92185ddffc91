"""Starts a workload node, embedded in a broker or attached to another server, and deploys to it."""
import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import Message, NatsClient, as_json  # noqa: E402

START_SECONDS = 30
LISTENING = re.compile(r"Listening for client connections on [\d.]+:(\d+)")


class Node:
    """A running node. `attach` is the path of a nats-server to run it against; without it the node
    is part of `brokkr up`. Use as a context manager."""

    def __init__(self, brokkr: str, attach: str = "", flags: tuple[str, ...] = (), with_jetstream: bool = False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="node-"))
        self.processes: list[subprocess.Popen] = []
        data = ["--data", str(self.folder / "data")]
        try:
            if attach:
                jetstream = ["-js", "-sd", str(self.folder / "js")] if with_jetstream else []
                self.port = self._start([attach, "-a", "127.0.0.1", "-p", "-1", *jetstream], "server.log")
                url = f"nats://127.0.0.1:{self.port}"
                self.command = [brokkr, "node", "up", "-s", url, *data, "--node-files", "/", *flags]
                self._spawn(self.command, "node.log")
            else:
                self.command = [brokkr, "up", "-a", "127.0.0.1", *data, *flags]
                self.port = self._start([*self.command, "-p", "-1"], "node.log")
                self.command += ["-p", str(self.port)]
            self.client = self.connect()
            self.id = self._wait_ready()
        except Exception:
            self.stop()
            raise

    def _spawn(self, command: list[str], log: str) -> subprocess.Popen:
        with open(self.folder / log, "wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def _start(self, command: list[str], log: str) -> int:
        process = self._spawn(command, log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if found := LISTENING.search((self.folder / log).read_text(errors="replace")):
                return int(found[1])
            time.sleep(0.01)
        raise RuntimeError(f"{command[0]} did not start:\n{self.log()}")

    def _wait_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                reply = self.client.request("$NEX.SVC.system.control.PING", b"{}", 1)
            except TimeoutError:
                continue
            if "node_id" in (answer := as_json(reply) if reply.data else {}):
                return answer["node_id"]
            time.sleep(0.02)
        raise RuntimeError(f"no node answers:\n{self.log()}")

    def kill(self) -> None:
        """Ends the process that holds the node as a lost machine would; `start_again` brings it back."""
        process = self.processes.pop()
        process.kill()
        process.wait()

    def start_again(self) -> None:
        is_attached = "node" in self.command[1:2]
        (self._spawn if is_attached else self._start)(self.command, f"node{time.monotonic_ns()}.log")
        if not is_attached:
            self.client = self.connect()
        self.id = self._wait_ready()

    @property
    def pid(self) -> int:
        """Of the process that holds the node."""
        return self.processes[-1].pid

    def run(self, *words: str) -> str:
        """Our command line; what it printed."""
        environment = dict(os.environ, NATS_URL=f"nats://127.0.0.1:{self.port}", HOME=str(self.folder))
        done = subprocess.run([self.command[0], *words], capture_output=True, text=True, env=environment,
                              stdin=subprocess.DEVNULL, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"brokkr {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def connect(self) -> NatsClient:
        return NatsClient("127.0.0.1", self.port)

    def log(self) -> str:
        return "".join(path.read_text(errors="replace")[-4000:] for path in self.folder.glob("*.log"))

    def control(self, verb: str, body: dict | bytes = b"", ns: str = "default",
                timeout: float = 20) -> Message:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.request(f"$NEX.SVC.{ns}.control.{verb}", data, timeout)

    def request_for(self, name: str, artifact: bytes, triggers: list[str | dict], *, type: str = "v8",
                    ns: str = "default", **run) -> dict:
        run = {"artifact": base64.b64encode(artifact).decode(),
               "sha256": hashlib.sha256(artifact).hexdigest(), "trigger_subjects": [t for t in triggers if isinstance(t, str)],
               "triggers": [t for t in triggers if isinstance(t, dict)],
               "file_name": f"{name}.{'wasm' if type == 'wasm' else 'js'}", **run}
        return {"name": name, "namespace": ns, "workload_type": type,
                "workload_lifecycle": "function", "run_request": json.dumps(run)}

    def deploy(self, name: str, artifact: bytes | str, triggers: list[str | dict] | None = None, *,
               ns: str = "default", **options) -> dict:
        if isinstance(artifact, str):
            artifact = artifact.encode()
        body = self.request_for(name, artifact, triggers or [name], ns=ns, **options)
        reply = self.control(f"ADEPLOY.{self.id}", body, ns)
        if reply.error_code:
            raise RuntimeError(f"deploy {name}: {reply.data.decode()}")
        return as_json(reply)

    def undeploy(self, name: str, ns: str = "default") -> dict:
        return as_json(self.control(f"UNDEPLOY.{name}", {"namespace": ns}, ns))

    def info(self, name: str, ns: str = "default") -> dict:
        return as_json(self.control(f"WINFO.{name}", {}, ns))

    def node_info(self) -> dict:
        return as_json(self.control(f"INFO.{self.id}", {}, "system"))

    def children(self) -> list[int]:
        """Every process below the node's."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    children = [int(child) for child in task.read_text().split()]
                except OSError:
                    continue
                found += children
                todo += children
        return found

    def resident_mib(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * 4096 / 2**20

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *exc) -> None:
        self.stop()
