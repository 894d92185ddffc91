#!/usr/bin/env python3
"""Two servers joined as leaf and hub, the link between them cut again and again.

usage: leaf.py --brokkr PATH [--nats-server PATH] [--cuts 3] [--down 1] [--seed N] [--pair NAME] [--loops N] [--pause 0.02]

Pairs: brokkr as a leaf of nats-server, nats-server as a leaf of brokkr, and two brokkrs; those with
nats-server only where there is one. On each: messages, headers, queue groups and requests both ways,
the JetStream of one side used from the other through its domain. Then a writer goes on publishing to a
stream of the leaf, `--pause` seconds between bursts, while the link is cut for up to `--down` seconds, `--cuts` times; the hub mirrors the
stream and sources it, and the leaf mirrors a stream of the hub. After the last cut each copy must hold
what was acknowledged, each once and in order.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from cut_proxy import CutProxy  # noqa: E402
from nats_client import NatsClient, NatsError, as_json  # noqa: E402
from ports import free_port  # noqa: E402

START_SECONDS = 30
CATCH_UP_SECONDS = 90
WINDOW = 64


class Server:
    arguments: dict[str, list[str]] = {}  # by program, more of them

    def __init__(self, binary: str, name: str, config: str, jetstream: bool = True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"leaf-{name}-"))
        self.name = name
        self.more = self.arguments.get(binary, [])
        self.link = self.folder / "nats-server"
        self.link.symlink_to(pathlib.Path(binary).resolve())
        self.port, self.http = free_port(), free_port()
        self.has_jetstream = jetstream
        storage = f'jetstream {{ store_dir: "{self.folder}/data", domain: {name} }}\n' if jetstream else ""
        (self.folder / "server.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.http}"\nserver_name: {name}\n{storage}{config}\n')
        self.process: subprocess.Popen | None = None

    def page(self, name: str) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/{name}", timeout=10) as reply:
            return json.load(reply)

    def start(self, clients: bool = True) -> None:
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen([str(self.link), "-c", str(self.folder / "server.conf"), *self.more], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.page("varz")
                if not clients:
                    return None
                client = self.connect()
                if not self.has_jetstream or client.request("$JS.API.INFO", timeout=5).headers.get("Status") != "503":
                    return client.close()
                client.close()
            except (OSError, NatsError, TimeoutError):
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} does not start:\n{self.log()}")
            time.sleep(0.02)

    def connect(self) -> NatsClient:
        return NatsClient("127.0.0.1", self.port, timeout=20)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")[-6000:]

    def remove(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def until(what: str, holds, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.02)
    return result


def must(answer: dict) -> dict:
    if "error" in answer:
        raise AssertionError(f"refused: {answer['error']}")
    return answer


def api(client: NatsClient, verb: str, body: dict | None = None, domain: str = "") -> dict:
    prefix = f"$JS.{domain}.API." if domain else "$JS.API."
    return as_json(client.request(prefix + verb, json.dumps(body).encode() if body else b"", 20))


def wait_for_link(hub: NatsClient, leaf: NatsClient) -> None:
    """A message has come through in both directions."""
    for to, by in ((hub, leaf), (leaf, hub)):
        subject = "probe." + os.urandom(6).hex()
        to.subscribe(subject)
        to.flush()

        def arrives(to=to, by=by, subject=subject) -> bool:
            by.publish(subject, b"x")
            by.flush()
            to.pump(0.05)
            return to.drop(subject) > 0

        until("a message through the link", arrives, 60)
        to.unsubscribe(subject)


# --- messages -------------------------------------------------------------------------------------

def check_messages(here: NatsClient, there: NatsClient) -> None:
    base = "m" + os.urandom(4).hex()
    there.subscribe(f"{base}.*")
    there.subscribe(f"{base}.>")
    there.flush()
    time.sleep(0.2)  # until the other server has heard of it
    here.publish(f"{base}.a", b"one", "", [("Key", "value")])
    here.publish(f"{base}.a", b"", "reply.to")
    here.flush()
    for pattern in (f"{base}.*", f"{base}.>"):
        first, second = there.next(pattern), there.next(pattern)
        assert (first.data, first.headers.get("Key")) == (b"one", "value"), first.headers
        assert (second.data, second.reply) == (b"", "reply.to"), second.reply
    there.pump(0.1)
    assert there.drop(f"{base}.*") == 0 and there.drop(f"{base}.>") == 0, "a message came twice"
    there.unsubscribe(f"{base}.*")
    there.unsubscribe(f"{base}.>")


def check_queues(here: NatsClient, there: NatsClient, others: NatsClient) -> None:
    """One of a group gets it, wherever it is; one near the publisher first."""
    base = "q" + os.urandom(4).hex()
    for number, client in enumerate((there, others)):
        client.subscribe(base, "group")
        # Told to the other side after the group: when this comes through, so does that.
        client.subscribe(f"{base}.{number}")
        client.flush()

        def is_known() -> bool:
            here.publish(f"{base}.{number}", b"")
            here.flush()
            client.pump(0.02)
            return client.drop(f"{base}.{number}") > 0

        until("interest of the group", is_known)
    for _ in range(50):
        here.publish(base, b"x")
    here.flush()
    counts = [0, 0]

    def all_came() -> bool:
        for i, client in enumerate((there, others)):
            client.pump(0.02)
            counts[i] += client.drop(base)
        return sum(counts) >= 50

    until("all messages to the group", all_came)
    time.sleep(0.1)
    all_came()
    assert sum(counts) == 50, counts
    assert min(counts) > 5, f"one member of two got nearly all: {counts}"
    near = NatsClient("127.0.0.1", here.socket.getpeername()[1])
    near.subscribe(base, "group")
    near.flush()
    time.sleep(0.2)
    for _ in range(20):
        here.publish(base, b"x")
    here.flush()
    until("the near member to get all", lambda: near.pump(0.02) or len(near.kept[base]) == 20)
    near.close()
    there.unsubscribe(base)
    others.unsubscribe(base)


def check_requests(here: NatsClient, there: NatsClient) -> None:
    base = "r" + os.urandom(4).hex()
    there.subscribe(base)
    there.flush()
    time.sleep(0.2)
    for i in range(20):
        reply = here.send_request(base, str(i).encode())
        request = there.next(base)
        there.publish(request.reply, b"re:" + request.data, "", [("N", str(i))])
        answer = here.wait_reply(reply)
        assert answer.data == b"re:" + str(i).encode() and answer.headers["N"] == str(i)
    there.unsubscribe(base)
    there.flush()

    def nobody() -> bool:
        try:
            return here.request(base, b"", 1).headers.get("Status") == "503"
        except TimeoutError:
            return False

    until("nobody to answer", nobody)


def check_domains(client: NatsClient, domain: str, other: str) -> None:
    """A stream of `other`, made, filled and read from the side of `domain`."""
    assert must(api(client, "INFO"))["domain"] == domain, "the plain prefix reaches the other side"
    assert must(api(client, "INFO", domain=other))["domain"] == other
    subject = "far." + os.urandom(4).hex()
    name = "FAR_" + os.urandom(4).hex()
    must(api(client, f"STREAM.CREATE.{name}", {"name": name, "subjects": [subject]}, other))
    time.sleep(0.2)
    ack = as_json(client.request(subject, b"kept"))
    assert ack["domain"] == other and ack["seq"] == 1, ack
    must(api(client, f"CONSUMER.CREATE.{name}.c", {"stream_name": name, "config": {
        "durable_name": "c", "name": "c", "ack_policy": "explicit"}}, other))
    client.subscribe(pulled := "pull." + os.urandom(4).hex())
    client.publish(f"$JS.{other}.API.CONSUMER.MSG.NEXT.{name}.c", b'{"batch":1,"expires":5000000000}', pulled)
    got = client.next(pulled)
    client.unsubscribe(pulled)
    assert got.data == b"kept" and got.reply.startswith("$JS.ACK."), (got.reply, got.headers)
    assert client.request(got.reply, b"+ACK").data == b"", "the acknowledgement was not confirmed"
    inbox = "push." + os.urandom(4).hex()
    client.subscribe(inbox)
    client.flush()
    time.sleep(0.2)
    must(api(client, f"CONSUMER.CREATE.{name}", {"stream_name": name, "config": {
        "deliver_subject": inbox, "ack_policy": "explicit"}}, other))
    pushed = client.next(inbox)
    assert pushed.data == b"kept" and pushed.subject == subject, (pushed.subject, pushed.data)
    client.unsubscribe(inbox)
    must(api(client, f"STREAM.DELETE.{name}", None, other))


# --- streams over a link that comes and goes ------------------------------------------------------

class Writer(threading.Thread):
    """Publishes to one stream and remembers what was acknowledged."""

    def __init__(self, server: Server, subject: str, pause: float):
        super().__init__(daemon=True)
        self.pause = pause
        self.client = server.connect()
        self.subject = subject
        self.acked: list[int] = []
        self.is_over = threading.Event()
        self.problem = ""

    def run(self) -> None:
        number = 0
        try:
            while not self.is_over.is_set():
                replies = []
                for _ in range(WINDOW):
                    number += 1
                    replies.append((number, self.client.send_request(f"{self.subject}.{number % 7}", str(number).encode())))
                for sent, reply in replies:
                    if "seq" not in as_json(self.client.wait_reply(reply, 30)):
                        raise AssertionError(f"message {sent} was refused")
                    self.acked.append(sent)
                time.sleep(self.pause)
        except Exception as error:  # noqa: BLE001
            self.problem = repr(error)


def read_numbers(client: NatsClient, stream: str) -> list[int]:
    inbox = "read." + os.urandom(6).hex()
    client.subscribe(inbox)
    made = must(api(client, "CONSUMER.CREATE." + stream, {"stream_name": stream, "config": {
        "deliver_subject": inbox, "ack_policy": "none", "inactive_threshold": 5_000_000_000}}))
    out = []
    left = made["num_pending"]
    while left:
        message = client.next(inbox, 20)
        out.append(int(message.data))
        left = int(message.reply.split(".")[-1])
    client.unsubscribe(inbox)
    return out


def external(domain: str, name: str) -> dict:
    return {"name": name, "external": {"api": f"$JS.{domain}.API", "deliver": f"deliver.{os.urandom(3).hex()}"}}


def check_cuts(hub: Server, leaf: Server, proxy: CutProxy, options: argparse.Namespace, rng: random.Random) -> str:
    at_hub, at_leaf = hub.connect(), leaf.connect()
    must(api(at_leaf, "STREAM.CREATE.EDGE", {"name": "EDGE", "subjects": ["edge.>"]}))
    must(api(at_hub, "STREAM.CREATE.HOME", {"name": "HOME", "subjects": ["home.>"]}))
    must(api(at_hub, "STREAM.CREATE.COPY", {"name": "COPY", "mirror": external("leaf", "EDGE")}))
    must(api(at_hub, "STREAM.CREATE.ALL", {"name": "ALL", "sources": [external("leaf", "EDGE")]}))
    must(api(at_leaf, "STREAM.CREATE.DOWN", {"name": "DOWN", "mirror": external("hub", "HOME")}))
    writers = [Writer(leaf, "edge", options.pause), Writer(hub, "home", options.pause)]
    for writer in writers:
        writer.start()
    for _ in range(options.cuts):
        time.sleep(rng.uniform(0.5, 2))
        proxy.cut()
        time.sleep(rng.uniform(0.1, options.down))
        proxy.mend()
    time.sleep(0.5)
    for writer in writers:
        writer.is_over.set()
    for writer in writers:
        writer.join(60)
        assert not writer.problem, writer.problem
    at_hub, at_leaf = hub.connect(), leaf.connect()  # the first two have answered no PING meanwhile
    begin = time.monotonic()
    wanted = {"COPY": (at_hub, writers[0]), "ALL": (at_hub, writers[0]), "DOWN": (at_leaf, writers[1])}
    for stream, (client, writer) in wanted.items():
        def has_all(client=client, stream=stream, writer=writer) -> bool:
            state = must(api(client, "STREAM.INFO." + stream))["state"]
            return state["messages"] >= len(writer.acked)
        until(f"{stream} to catch up", has_all, CATCH_UP_SECONDS)
    took = time.monotonic() - begin
    for stream, (client, writer) in wanted.items():
        numbers = read_numbers(client, stream)
        lost = set(writer.acked) - set(numbers)
        assert not lost, f"{stream} lost {len(lost)} of {len(writer.acked)}, the first {min(lost)}"
        assert len(numbers) == len(set(numbers)), f"{stream} holds a message twice"
        assert numbers == sorted(numbers), f"{stream} is out of order"
    return f"{len(writers[0].acked)} and {len(writers[1].acked)} messages, caught up in {took:.1f} s"


def run_pair(hub_binary: str, leaf_binary: str, options: argparse.Namespace, rng: random.Random) -> str:
    port = free_port()
    hub = Server(hub_binary, "hub", f'leafnodes {{ listen: "127.0.0.1:{port}" }}')
    proxy = CutProxy(("127.0.0.1", port))
    leaf = Server(leaf_binary, "leaf", f'leafnodes {{ reconnect: 1, remotes: [ {{ '
                  f'url: "nats-leaf://127.0.0.1:{proxy.port}", ignore_discovered_servers: true }} ] }}')
    try:
        hub.start()
        leaf.start()
        at_hub, at_leaf = hub.connect(), leaf.connect()
        wait_for_link(at_hub, at_leaf)
        check_messages(at_leaf, at_hub)
        check_messages(at_hub, at_leaf)
        check_queues(at_leaf, at_hub, hub.connect())
        check_queues(at_hub, at_leaf, leaf.connect())
        check_requests(at_leaf, at_hub)
        check_requests(at_hub, at_leaf)
        check_domains(at_leaf, "leaf", "hub")
        check_domains(at_hub, "hub", "leaf")
        return check_cuts(hub, leaf, proxy, options, rng)
    except BaseException:
        print(f"--- hub\n{hub.log()}\n--- leaf\n{leaf.log()}")
        raise
    finally:
        proxy.close()
        for server in (leaf, hub):
            server.remove()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", default=str(ROOT / ".deps/peers/bin/nats-server"))
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--down", type=float, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--pair", default="")
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--loops", default="")
    options = parser.parse_args()
    if options.loops:
        Server.arguments[options.brokkr] = ["--loops", options.loops]
    print(f"seed {options.seed}")
    pairs = {"brokkr-brokkr": (options.brokkr, options.brokkr)}
    if pathlib.Path(options.nats_server).exists():
        pairs["leaf-of-nats-server"] = (options.nats_server, options.brokkr)
        pairs["nats-server-as-leaf"] = (options.brokkr, options.nats_server)
    for name, (hub, leaf) in pairs.items():
        if options.pair in ("", name):
            print(f"{name}: {run_pair(hub, leaf, options, random.Random(options.seed))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
