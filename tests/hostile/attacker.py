"""What hostile clients are made of: raw connections, a server to attack, and its vital signs."""
import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
import server as servers  # noqa: E402

DEADLINE_SECONDS = 30.0
QUIET_CONNECT = b'CONNECT {"verbose":false}\r\n'
NOTHING = b""


class Client:
    """A raw connection that sends `connect` at once."""

    def __init__(self, address: tuple[str, int], connect: bytes, receive_buffer: int = 0):
        self.socket = socket.socket()
        if receive_buffer:  # before connecting: it decides the window
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE_SECONDS)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        if connect:
            self.socket.sendall(connect)

    def send(self, data: bytes) -> bool:
        """False when the server has closed."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def read_until(self, text: bytes, seconds: float = DEADLINE_SECONDS) -> bytes:
        """What came up to and including `text`; raises when it does not come."""
        end = time.monotonic() + seconds
        seen = max(len(self.received) - len(text), 0)
        while (at := self.received.find(text, seen)) < 0:
            seen = max(len(self.received) - len(text), 0)
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError(f"no {text!r} within {seconds} s, but {self.received[-200:]!r}")
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError(f"closed before {text!r}: {self.received[-200:]!r}")
            self.received += data
        got, self.received = self.received[:at + len(text)], self.received[at + len(text):]
        return got

    def sync(self, seconds: float = DEADLINE_SECONDS) -> bytes:
        self.socket.sendall(b"PING\r\n")
        return self.read_until(b"PONG\r\n", seconds)

    def outcome(self, seconds: float = 2.0) -> str:
        """After a bad command: "pong" when a PING is still answered, "error" or "closed" when the
        connection ended with or without -ERR, "waits" when the server wants more."""
        self.send(b"PING\r\n")
        end = time.monotonic() + seconds
        while b"PONG" not in self.received:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return "waits"
            try:
                data = self.socket.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                return "error" if b"-ERR" in self.received else "closed"
            self.received += data
        return "pong"

    def close(self) -> None:
        self.socket.close()


class Site:
    """One server under attack."""

    def __init__(self, binary: str, loops: int, config: str = "", login: bytes = QUIET_CONNECT):
        self.login = login
        self.server = servers.Server(binary, f"brokkr {{ loops: {loops} }}\nhttp: \"127.0.0.1:-1\"\n{config}")
        self.pid = self.server.process.pid
        self.address = self.server.address()
        self.monitor = "http://%s:%d" % self.server.address("monitoring")
        self.own_subscriptions = self.ask("/varz")["subscriptions"]  # the server's, before any client's

    def client(self, connect: bytes | None = None, receive_buffer: int = 0) -> Client:
        return Client(self.address, self.login if connect is None else connect, receive_buffer)

    def ask(self, path: str, seconds: float = 10.0):
        with urllib.request.urlopen(self.monitor + path, timeout=seconds) as answer:
            return json.load(answer)

    def is_alive(self) -> bool:
        return self.server.process.poll() is None

    def memory(self, field: str = "VmRSS") -> int:
        """Megabytes resident; VmHWM is the most since reset_peak."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) // 1024
        return 0

    def reset_peak(self) -> None:
        try:
            pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError:
            pass  # the peak then counts from the start

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fresh_round_trip(self, tries: int = 5) -> float:
        """Seconds until a new client has its first PONG: the best of several, for the machine is shared."""
        best = DEADLINE_SECONDS
        for _ in range(tries):
            start = time.monotonic()
            client = self.client()
            client.sync()
            best = min(best, time.monotonic() - start)
            client.close()
        return best

    def wait_until(self, claim: str, condition, seconds: float = DEADLINE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {claim}")
            time.sleep(0.02)

    def closed_reasons(self, since: int = 0) -> dict[str, int]:
        """How often each reason closed a connection with an id of at least `since`."""
        counts: dict[str, int] = {}
        page = self.ask("/connz?state=closed&limit=100000")
        for connection in page["connections"]:
            if connection["cid"] >= since:
                counts[connection["reason"]] = counts.get(connection["reason"], 0) + 1
        return counts

    def next_id(self) -> int:
        client = self.client(NOTHING)
        info = json.loads(client.read_until(b"\r\n")[5:])
        client.close()
        return info["client_id"] + 1

    def stop(self) -> None:
        self.server.stop()


class Neighbour:
    """A well-behaved client in a process of its own that measures its round trips while it lives."""

    def __init__(self, site: Site):
        self.process = subprocess.Popen(
            [sys.executable, __file__, site.address[0], str(site.address[1])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()  # it has connected

    def result(self) -> tuple[float, float, int]:
        """Median and p99 in microseconds, and the number of round trips."""
        text = self.process.communicate("stop\n", timeout=60)[0]
        times = sorted(json.loads(text))
        return times[len(times) // 2], times[len(times) * 99 // 100], len(times)


def measure_idle(site: Site, seconds: float) -> tuple[float, float, int]:
    neighbour = Neighbour(site)
    time.sleep(seconds)
    return neighbour.result()


def is_refused(site: Site, path: str) -> bool:
    try:
        site.ask(path, 2.0)
        return False
    except (OSError, urllib.error.URLError):
        return True


def run_neighbour(address: tuple[str, int]) -> None:
    client = Client(address, QUIET_CONNECT)
    client.send(b"SUB neighbour 1\r\n")
    client.sync()
    print("ready", flush=True)
    times = []
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        start = time.perf_counter()
        client.send(b"PUB neighbour 2\r\nhi\r\n")
        client.read_until(b"hi\r\n")
        times.append((time.perf_counter() - start) * 1e6)
    print(json.dumps(times))


if __name__ == "__main__":
    run_neighbour((sys.argv[1], int(sys.argv[2])))
