"""A broker with storage in a folder that outlives it: starts, kills, starts again on the same folder."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import Message, NatsClient, NatsError, as_json  # noqa: E402, F401

START_SECONDS = 60
SKIP = 77  # what ctest takes for a skipped test
GONE = (NatsError, OSError, TimeoutError)  # what a client says when its server is killed


class StorageServer:
    """`folder` is kept between starts and removed by `remove`; the store is in its `jetstream`.
    `prefix` is put in front of the command (strace and the like), `config` is added to the file."""

    def __init__(self, binary: str, folder: str = "", prefix: tuple[str, ...] = (), config: str = "",
                 jetstream: str = ""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="reliability-"))
        self.data = pathlib.Path(folder) if folder else self.folder / "data"
        self.store = self.data / "jetstream"
        self.prefix, self.config, self.jetstream = list(prefix), config, jetstream
        self.binary = str(pathlib.Path(binary).resolve())
        self.link = self.folder / "nats-server"
        self.link.symlink_to(self.binary)
        self.process: subprocess.Popen | None = None
        self.ports: dict[str, list[str]] = {}

    def start(self) -> float:
        """Returns the seconds until JetStream answers."""
        for old in self.folder.glob("*.ports"):
            old.unlink()
        conf = self.folder / "server.conf"
        conf.write_text(f'listen: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\nports_file_dir: "{self.folder}"\n'
                        f'jetstream {{ store_dir: "{self.data}"\n{self.jetstream} }}\n{self.config}\n')
        begin = time.monotonic()
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen([*self.prefix, str(self.link), "-c", str(conf)], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd=self.folder)
        while time.monotonic() < begin + START_SECONDS:
            if self.process.poll() is not None:
                raise RuntimeError(f"server ended with {self.process.returncode}:\n{self.log()}")
            try:
                self.ports = json.loads(next(self.folder.glob("*.ports")).read_text())
                break
            except (StopIteration, FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.001)
        else:
            raise RuntimeError(f"not started within {START_SECONDS} s:\n{self.log()}")
        client = self.connect()
        while client.request("$JS.API.INFO", timeout=START_SECONDS).headers.get("Status") == "503":
            time.sleep(0.001)
        client.close()
        return time.monotonic() - begin

    def address(self, kind: str = "nats") -> tuple[str, int]:
        host, _, port = self.ports[kind][0].partition("//")[2].rpartition(":")
        return host, int(port)

    def connect(self, timeout: float = 20) -> NatsClient:
        return NatsClient(*self.address(), timeout=timeout)

    def health(self) -> tuple[int, str]:
        """Status and body of /healthz."""
        try:
            with urllib.request.urlopen("http://%s:%d/healthz" % self.address("monitoring"), timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    @property
    def pid(self) -> int:
        """Of the server itself, also behind a prefix."""
        if not self.prefix:
            return self.process.pid
        return int(next(self.folder.glob("*.ports")).stem.rpartition("_")[2])

    def resident_mib(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            os.kill(self.pid, 9)
        if self.process:
            self.process.wait()

    def stop(self) -> int:
        """A clean end; its exit code."""
        if self.process and self.process.poll() is None:
            os.kill(self.pid, 15)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def tool(self, *args: str) -> subprocess.CompletedProcess:
        """`brokkr store ...`"""
        return subprocess.run([self.binary, "store", *map(str, args)], capture_output=True, text=True, timeout=300)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")[-4000:]

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "StorageServer":
        return self

    def __exit__(self, *exc) -> None:
        self.remove()


def api(client: NatsClient, verb: str, body: dict | None = None, timeout: float = 20) -> dict:
    return as_json(client.request("$JS.API." + verb, json.dumps(body).encode() if body else b"", timeout))


def must(answer: dict) -> dict:
    if "error" in answer:
        raise AssertionError(f"refused: {answer['error']}")
    return answer


def make_stream(client: NatsClient, name: str, subjects: list[str], **config) -> dict:
    body = {"name": name, "subjects": subjects, "storage": "file", "retention": "limits", **config}
    return must(api(client, "STREAM.CREATE." + name, body))


def read_stream(client: NatsClient, stream: str, start: int = 1) -> dict[int, Message]:
    """What a consumer is given, from `start` on; every sequence once."""
    state = must(api(client, "STREAM.INFO." + stream))["state"]
    inbox = "read." + os.urandom(6).hex()
    client.subscribe(inbox)
    made = must(api(client, "CONSUMER.CREATE." + stream, {"stream_name": stream, "config": {
        "deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(start, 1), "inactive_threshold": 5_000_000_000}}))
    out: dict[int, Message] = {}
    left = made["num_pending"]
    last = 0
    while left:
        message = client.next(inbox, 20)
        parts = message.reply.split(".")
        seq, left = int(parts[5]), int(parts[8])
        if seq <= last:
            raise AssertionError(f"{stream}: {seq} delivered after {last}")
        out[seq] = message
        last = seq
    client.unsubscribe(inbox)
    api(client, f"CONSUMER.DELETE.{stream}.{made['name']}")
    if start <= state["first_seq"] and len(out) < state["messages"]:
        raise AssertionError(f"{stream} says {state['messages']} messages, {len(out)} are there")
    return out


def read_direct(client: NatsClient, stream: str, start: int = 1) -> dict[int, Message]:
    """The same by batched direct gets, which also work queues allow."""
    inbox = "read." + os.urandom(6).hex()
    client.subscribe(inbox)
    out: dict[int, Message] = {}
    while True:
        client.publish("$JS.API.DIRECT.GET." + stream, json.dumps({"seq": start, "batch": 500}).encode(), inbox)
        count = 0
        while "Status" not in (message := client.next(inbox, 20)).headers:
            start = int(message.headers["Nats-Sequence"]) + 1
            message.subject = message.headers["Nats-Subject"]
            out[start - 1] = message
            count += 1
        if count == 0:
            break
    client.unsubscribe(inbox)
    return out


def lost_sequences(state: dict) -> list[int]:
    return (state.get("lost") or {}).get("msgs") or []
