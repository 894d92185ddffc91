"""A node under test: `brokkr up`, or `brokkr node up` attached to nats-server, with its command line."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "conformance"), str(ROOT / "tests" / "support")]
import server as servers  # noqa: E402
from nats_client import NatsClient  # noqa: E402

PATIENCE_SECONDS = 60  # a busy machine; nothing waits that long when all is well


class Node:
    def __init__(self, brokkr: str, url: str, folder: pathlib.Path):
        self.brokkr, self.url, self.folder = brokkr, url, folder
        self.environment = dict(os.environ, NATS_URL=url, HOME=str(folder))
        self.environment.pop("NEX_NAMESPACE", None)

    def client(self):
        host, port = self.url.removeprefix("nats://").split(":")
        return contextlib.closing(NatsClient(host, int(port), PATIENCE_SECONDS))

    def try_run(self, *words: str, program: str = "") -> tuple[int, str, str]:
        """Exit code, stdout, stderr of our command line."""
        done = subprocess.run([program or self.brokkr, *words], capture_output=True, text=True, env=self.environment,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, cwd=self.folder)
        return done.returncode, done.stdout, done.stderr

    def run(self, *words: str, program: str = "") -> str:
        code, out, err = self.try_run(*words, program=program)
        if code != 0:
            raise AssertionError(f"brokkr {' '.join(words)}: exit {code}: {out}{err}")
        return out

    def run_json(self, *words: str):
        return json.loads(self.run(*words, "--json"))

    def start(self, *words: str) -> "Running":
        return Running([self.brokkr, *words], self.environment, self.folder)

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def deploy(self, file_name: str, content: str | bytes, *words: str) -> dict:
        """Writes the file and deploys it; `words` are subjects, environment and flags."""
        subjects = [f"--trigger_subject={word}" for word in words if not word.startswith("--") and "=" not in word]
        others = [word for word in words if word.startswith("--") or "=" in word]
        return self.run_json("devrun", self.write(file_name, content), *others, *subjects)


class Running:
    """A command that goes on; its lines are collected as they come, stdout and stderr alike."""

    def __init__(self, command: list[str], environment: dict, folder: pathlib.Path):
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(command, env=environment, cwd=folder, text=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        """The line that holds `text` for the n-th time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.changed:
            while len(found := [line for line in self.lines if text in line]) < times:
                if not self.changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise AssertionError(f"{' '.join(self.process.args[1:])}: no {text!r} in {self.lines}")
        return found[times - 1]

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *exc) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)


def wait_for_node(node: Node, running: Running) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while node.try_run("node", "info")[0] != 0:
        if running.process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("no node answers:\n" + "\n".join(running.lines))
        time.sleep(0.05)


@contextlib.contextmanager
def embedded(brokkr: str, *flags: str):
    with tempfile.TemporaryDirectory(prefix="node-") as name:
        folder = pathlib.Path(name)
        port = str(servers.free_port())
        node = Node(brokkr, f"nats://127.0.0.1:{port}", folder)
        with node.start("up", "-a", "127.0.0.1", "-p", port, "--data", f"{folder}/data", *flags) as running:
            wait_for_node(node, running)
            yield node


@contextlib.contextmanager
def attached(brokkr: str, oracle: str, *flags: str):
    with tempfile.TemporaryDirectory(prefix="node-") as name, servers.Server(oracle) as server:
        folder = pathlib.Path(name)
        node = Node(brokkr, server.url(), folder)
        with node.start("node", "up", "--server", server.url(), "--data", f"{folder}/data", "--node-files", "/", *flags) as running:
            wait_for_node(node, running)
            yield node


def each_node(brokkr: str, *flags: str):
    """(name, context) of every way to run a node that this machine has."""
    brokkr = os.path.abspath(brokkr)
    yield "brokkr up", embedded(brokkr, *flags)
    if oracle := servers.find_oracle():
        yield f"a node on nats-server {servers.version_of(oracle)}", attached(brokkr, oracle, *flags)
    else:
        print("no nats-server on this machine: a node attached to one is not tested")
