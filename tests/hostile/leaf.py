#!/usr/bin/env python3
"""What comes in at the leaf port from those who are no leaf, not yet or no good one.

usage: leaf.py --brokkr PATH [--nats-server PATH]

Everything is tried on brokkr, and on nats-server where there is one: the words with which the
connection ends must be the same. After each the server still serves, and at the end it has forgotten
all of them. Covers the advisories 2026-04, 2026-10 and 2026-19 on handshakes of leaves.
"""
import argparse
import json
import pathlib
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from ports import free_port  # noqa: E402
CONFIG = """
listen: "127.0.0.1:{client}"
http: "127.0.0.1:{http}"
server_name: hub
max_payload: 65536
leafnodes {{ listen: "127.0.0.1:{leaf}", min_version: "2.8.0", authorization {{ timeout: 1 }} }}
accounts {{
  A {{ users: [
    {{ user: a, password: pa }},
    {{ user: few, password: pf, permissions {{ publish: {{ allow: ["in.>"] }}, subscribe: {{ allow: ["out.>"], deny: "out.no" }} }} }},
    {{ user: slow, password: "$2a$11$3kIDaCxw.Glsl1.u5nKa6eUnNDLV5HV9tIuUp7EHhMt6Nm9myW1aS" }}
  ] }}
  ONE {{ users: [ {{ user: one, password: po }} ], limits {{ max_leafnodes: 1 }} }}
}}
"""
VIOLATION = "Authorization Violation"


class Server:
    def __init__(self, binary: str):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hostile-leaf-"))
        self.ports = {name: free_port() for name in ("client", "http", "leaf")}
        (self.folder / "server.conf").write_text(CONFIG.format(**self.ports))
        link = self.folder / "nats-server"
        link.symlink_to(pathlib.Path(binary).resolve())
        self.log_file = self.folder / "log.txt"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([str(link), "-c", str(self.folder / "server.conf")], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.page("varz")
                return socket.create_connection(("127.0.0.1", self.ports["leaf"])).close()
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(self.log_file.read_text()) from None
                time.sleep(0.05)

    def page(self, name: str) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['http']}/{name}", timeout=10) as reply:
            return json.load(reply)

    def remove(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


class Stranger:
    """A bare connection to the leaf port."""

    def __init__(self, server: Server):
        self.socket = socket.create_connection(("127.0.0.1", server.ports["leaf"]), 10)
        self.buffer = b""
        self.info = json.loads(self.line().partition(" ")[2])

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # closed by the server

    def connect(self, **fields) -> "Stranger":
        fields = {"name": "stranger", "version": "2.12.0", "headers": True, "protocol": 1, **fields}
        self.send(b"CONNECT " + json.dumps(fields).encode() + b"\r\n")
        return self

    def line(self, seconds: float = 10) -> str:
        deadline = time.monotonic() + seconds
        while b"\r\n" not in self.buffer:
            if not select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("no line in time")
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return ""
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode()

    def until(self, start: str) -> str:
        """The first line that begins so; fails at the end of the connection."""
        while not (line := self.line()).startswith(start):
            assert line, f"closed before {start}"
        return line

    def end(self) -> str:
        """The text of the error the connection ends with; "closed" without one."""
        error = "closed"
        while line := self.line():
            if line.startswith("-ERR"):
                error = line[6:-1]
        self.socket.close()
        return error

    def open(self, **fields) -> "Stranger":
        self.connect(**fields).until('INFO {')
        self.until("LS+ $LDS.")
        return self


# --- cases: each returns what the peer learns ------------------------------------------------------

def raw(data: bytes):
    def case(server: Server) -> str:
        stranger = Stranger(server)
        stranger.send(data)
        return stranger.end()
    return case


def connecting(**fields):
    return lambda server: Stranger(server).connect(**fields).end()


def opened(data: bytes, **fields):
    def case(server: Server) -> str:
        stranger = Stranger(server).open(**{"user": "a", "pass": "pa", **fields})
        stranger.send(data)
        return stranger.end()
    return case


def silent(server: Server) -> str:
    begin = time.monotonic()
    end = Stranger(server).end()
    assert 0.8 < time.monotonic() - begin < 5, "not after the time-out"
    return end


def with_dripping_connect(server: Server) -> str:
    """CONNECT in single bytes is as good as in one."""
    stranger = Stranger(server)
    for byte in b'CONNECT {"user":"a","pass":"pa","name":"drip","version":"2.12.0"}\r\n':
        stranger.send(bytes([byte]))
    stranger.until("LS+ $LDS.")
    stranger.socket.close()
    return "open"


def leaving_during_check(server: Server) -> str:
    """The connection is gone before its password has been compared."""
    for _ in range(5):
        stranger = Stranger(server).connect(**{"user": "slow", "pass": "x"})
        stranger.socket.close()
    return "gone"


def loop(server: Server) -> str:
    stranger = Stranger(server).connect(**{"user": "a", "pass": "pa", "name": "loop"})
    subject = stranger.until("LS+ $LDS.").split()[1]
    stranger.send(f"LS+ {subject}\r\n".encode())
    return stranger.end()


def duplicate(server: Server) -> str:
    fields = {"user": "a", "pass": "pa", "name": "twin", "remote_account": "X", "cluster": "twin"}
    first = Stranger(server).open(**fields)
    second = Stranger(server).open(**fields)
    end = first.end()
    second.socket.close()
    return end


def one_too_many(server: Server) -> str:
    first = Stranger(server).open(**{"user": "one", "pass": "po", "name": "first"})
    end = Stranger(server).connect(**{"user": "one", "pass": "po", "name": "second"}).end()
    first.socket.close()
    return end


def permissions(server: Server) -> str:
    stranger = Stranger(server).connect(**{"user": "few", "pass": "pf", "name": "few"})
    info = json.loads(stranger.until("INFO").partition(" ")[2])
    stranger.socket.close()
    return json.dumps([info.get("import"), info.get("export"), info.get("remote_account")], sort_keys=True)


def filtered(server: Server) -> str:
    """A wide LS+ gets only what the user may see; a narrow one too many ends the link."""
    stranger = Stranger(server).open(**{"user": "few", "pass": "pf", "name": "filtered"})
    stranger.send(b"LS+ >\r\nPING\r\n")
    stranger.until("PONG")
    client = socket.create_connection(("127.0.0.1", server.ports["client"]))
    client.sendall(b'CONNECT {"user":"a","pass":"pa","verbose":false}\r\n'
                   b"PUB other 1\r\n1\r\nPUB out.no 1\r\n2\r\nPUB out.yes 1\r\n3\r\nPING\r\n")
    got = stranger.until("LMSG")
    client.close()
    stranger.socket.close()
    return got


def flood(server: Server) -> str:
    stranger = Stranger(server).open(**{"user": "a", "pass": "pa", "name": "flood"})
    for block in range(50):
        stranger.send(b"".join(b"LS+ flood.%d.%d q%d 3\r\n" % (block, i, i % 7) for i in range(1000)))
    stranger.send(b"PING\r\n")
    stranger.until("PONG")
    count = server.page("subsz")["num_subscriptions"]
    stranger.socket.close()
    return "many" if count >= 50000 else f"{count} subscriptions"


CASES = {
    "garbage": raw(b"\x00\xff\xfe garbage\r\n"),
    "http": raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "tls": raw(bytes.fromhex("16030100c8010000c40303") + bytes(180)),
    "client commands": raw(b"SUB foo 1\r\n"),
    "interest first": raw(b"LS+ foo\r\n"),
    "message first": raw(b"LMSG foo 2\r\nhi\r\n"),
    "route command": raw(b"RS+ $G foo\r\n"),
    "long line": raw(b"CONNECT " + b"x" * (1 << 20) + b"\r\n"),
    "long info": raw(b"INFO " + b"x" * (1 << 20)),
    "deep json": raw(b'CONNECT {"a":' + b"[" * 30000 + b"]" * 30000 + b"}\r\n"),
    "no json": raw(b"CONNECT nonsense\r\n"),
    "empty connect": raw(b"CONNECT {}\r\n"),
    "wrong types": raw(b'CONNECT {"name":7,"deny_pub":"x"}\r\n'),
    "info instead": raw(b'INFO {"remote_account":"A","connect_info":true}\r\nLS+ foo\r\n'),
    "error": raw(b"-ERR 'x'\r\nLS+ foo\r\n"),
    "silent": silent,
    "client": connecting(user="a", **{"pass": "pa"}, lang="go"),
    "gateway": connecting(user="a", **{"pass": "pa"}, gateway="g"),
    "bad cluster": connecting(user="a", **{"pass": "pa"}, cluster="a b"),
    "bad password": connecting(user="a", **{"pass": "x"}),
    "bad user": connecting(user="nobody", **{"pass": "x"}),
    "bad jwt": connecting(jwt="x.y.z", sig="AAAA"),
    "bad nkey": connecting(nkey="U" + "A" * 55, sig="AAAA"),
    "short nkey": connecting(nkey="UA", sig="A"),
    "old version": connecting(user="a", **{"pass": "pa"}, version="2.7.9"),
    "dripping": with_dripping_connect,
    "leaving": leaving_during_check,
    "loop": loop,
    "duplicate": duplicate,
    "one too many": one_too_many,
    "permissions": permissions,
    "filtered": filtered,
    "forbidden interest": opened(b"LS+ other\r\n", user="few", **{"pass": "pf"}),
    "forbidden message": opened(b"LMSG other 2\r\nhi\r\n", user="few", **{"pass": "pf"}),
    "no size": opened(b"LMSG foo\r\nhi\r\n"),
    "negative size": opened(b"LMSG foo -1\r\nhi\r\n"),
    "wrong size": opened(b"LMSG foo 1\r\nhello\r\n"),
    "big size": opened(b"LMSG foo 999999999\r\nhi\r\n"),
    "bad header size": opened(b"HMSG foo 9 3\r\nabc\r\n"),
    "no indicator": opened(b"LMSG foo r q 2\r\nhi\r\n"),
    "queue without weight": opened(b"LS+ foo q\r\n"),
    "flood": flood,
}
# Ours ends these otherwise, on purpose.
OURS = {"info instead": VIOLATION, "error": VIOLATION}


def learn(server: Server) -> dict[str, str]:
    out = {}
    for name, case in CASES.items():
        try:
            out[name] = re.sub(r"\d\ds$", "30s", case(server))
        except Exception as error:  # noqa: BLE001
            out[name] = f"{type(error).__name__}: {error}"
        if server.process.poll() is not None:
            raise AssertionError(f"{name} ended the server:\n{server.log_file.read_text()[-3000:]}")
    return out


def check_forgotten(server: Server) -> None:
    deadline = time.monotonic() + 20
    while True:
        left = server.page("leafz")["leafnodes"], server.page("subsz")["num_subscriptions"] > 1000
        if left == (0, False):
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not forgotten: {left}")
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", default=str(ROOT / ".deps/peers/bin/nats-server"))
    options = parser.parse_args()
    binaries = {"brokkr": options.brokkr}
    if pathlib.Path(options.nats_server).exists():
        binaries["nats-server"] = options.nats_server
    learned = {}
    for kind, binary in binaries.items():
        server = Server(binary)
        try:
            learned[kind] = learn(server)
            if kind == "brokkr":
                check_forgotten(server)
        finally:
            server.remove()
    bad = 0
    for name, ours in learned["brokkr"].items():
        theirs = OURS.get(name) or learned.get("nats-server", {}).get(name, ours)
        good = ours == theirs and not ours.startswith(("TimeoutError", "AssertionError"))
        bad += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {ours}" + ("" if good else f"   wanted: {theirs}"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
