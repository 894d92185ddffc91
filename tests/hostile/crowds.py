#!/usr/bin/env python3
"""Crowds of clients, and too few descriptors for them. Prints what was measured.

usage: crowds.py --brokkr PATH [--clients 10000] [--storm 5000] [--strict]

descriptors  64 descriptors, 1,000 connects: hardly any CPU, who is in is served, all is well within 1 s
idle         many idle connections: at most 20 KiB each, at least 3,000 connects a second
storm        the server is killed under its clients and comes back: all are in again within 10 s, and
             what they ask is answered as fast as before within 15 s

Without --strict, for machines that do something else meanwhile, times may be five times as long.
"""
import argparse
import pathlib
import resource
import select
import signal
import socket
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from conformance.server import Server  # noqa: E402

HELLO = b'CONNECT {"verbose":false,"pedantic":false,"name":"crowd"}\r\nPING\r\n'
PAUSE_SECONDS = 0.005
CPU_TICKS = 100


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CPU_TICKS


def memory_kib(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def slack(options) -> float:
    return 1 if options.strict else 5


def ask(client: socket.socket, seconds: float) -> float:
    """How long a PING takes; raises when no PONG comes in time."""
    begin = time.monotonic()
    client.settimeout(seconds)
    client.sendall(b"PING\r\n")
    got = b""
    while b"PONG\r\n" not in got:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        got += piece
    return time.monotonic() - begin


def connect(address: tuple[str, int], seconds: float = 5) -> socket.socket:
    client = socket.create_connection(address, seconds)
    client.sendall(HELLO)
    got = b""
    while b"PONG\r\n" not in got:
        piece = client.recv(65536)
        if not piece:
            raise ConnectionError(got.decode(errors="replace"))
        got += piece
    return client


def descriptors(options) -> str:
    server = Server(options.brokkr, "")
    pid = server.process.pid
    inside = [connect(server.address()) for _ in range(4)]
    used = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 16, used + 16))
    outside = []
    for _ in range(1000):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.address())
        outside.append(client)
    before, begin = cpu_seconds(pid), time.monotonic()
    slowest = 0.0
    while time.monotonic() - begin < 5:
        slowest = max(slowest, *(ask(client, 2) for client in inside))
        time.sleep(0.05)
    busy = (cpu_seconds(pid) - before) / (time.monotonic() - begin)
    for client in outside:
        client.close()
    begin = time.monotonic()
    connect(server.address()).close()
    back = time.monotonic() - begin
    server.stop()
    assert busy < 0.05, f"{busy:.0%} of a CPU while no descriptor was free"
    assert back <= slack(options), f"a client waited {back:.2f} s after all were gone"
    return f"{busy:.1%} CPU, slowest answer {slowest * 1000:.1f} ms, a new client after {back * 1000:.0f} ms"


def idle(options) -> str:
    server = Server(options.brokkr, "")
    pid = server.process.pid
    connect(server.address()).close()
    before = memory_kib(pid)
    begin = time.monotonic()
    clients = []
    for _ in range(options.clients):
        client = socket.create_connection(server.address())
        client.sendall(HELLO)
        clients.append(client)
    for client in clients:
        got = b""
        client.settimeout(10)
        while b"PONG\r\n" not in got:
            got += client.recv(4096)
    rate = options.clients / (time.monotonic() - begin)
    each = (memory_kib(pid) - before) / options.clients
    for client in clients:
        client.close()
    server.stop()
    assert each <= 20, f"{each:.1f} KiB for each idle connection"
    assert rate >= 3000 / slack(options), f"only {rate:.0f} connects a second"
    return f"{options.clients} connections, {each:.1f} KiB each, {rate:.0f} connects/s"


class Member:
    """A client that connects again whenever it is cut off."""

    def __init__(self, address: tuple[str, int], poll: select.epoll, table: dict[int, "Member"]):
        self.address, self.poll, self.table = address, poll, table
        self.is_in = False
        self.open()

    def open(self) -> None:
        self.is_in = False
        self.got = b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(self.address)
        self.table[self.socket.fileno()] = self
        self.poll.register(self.socket, select.EPOLLOUT | select.EPOLLIN)

    def close(self) -> None:
        self.poll.unregister(self.socket)
        del self.table[self.socket.fileno()]
        self.socket.close()

    def on_ready(self, events: int) -> bool:
        """False when the connection is lost."""
        try:
            if events & select.EPOLLOUT and not self.is_in:
                self.socket.sendall(HELLO)
                self.poll.modify(self.socket, select.EPOLLIN)
            if events & select.EPOLLIN:
                piece = self.socket.recv(65536)
                if not piece:
                    return False
                self.got = (self.got + piece)[-4096:]
                self.is_in |= b"PONG\r\n" in self.got
            return not events & (select.EPOLLHUP | select.EPOLLERR)
        except OSError:
            return False


def run_until(members: list[Member], poll: select.epoll, table, done, seconds: float) -> float:
    begin = time.monotonic()
    lost: list[Member] = []
    while not done():
        assert time.monotonic() - begin < seconds, \
            f"{sum(not m.is_in for m in members)} of {len(members)} still out after {seconds} s"
        for fd, events in poll.poll(0.01, 4096):
            member = table.get(fd)
            if member is not None and not member.on_ready(events):
                member.close()
                lost.append(member)
        if lost:
            time.sleep(PAUSE_SECONDS)  # as clients do before they try again
            again, lost = lost, []
            for member in again:
                member.open()
    return time.monotonic() - begin


def storm(options) -> str:
    first = Server(options.brokkr, "")
    address = first.address()
    poll, table = select.epoll(), {}
    members = [Member(address, poll, table) for _ in range(options.storm)]
    everybody_in = lambda: all(member.is_in for member in members)  # noqa: E731
    run_until(members, poll, table, everybody_in, 60)
    usual = percentile99(address)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    for member in members:
        member.is_in = False
        member.got = b""
    second = Server(options.brokkr, f'port: {address[1]}\nlisten: "127.0.0.1:{address[1]}"')
    begin = time.monotonic()
    taken = run_until(members, poll, table, everybody_in, 10 * slack(options))
    after = percentile99(address)
    while after > max(2 * usual, 0.005) and time.monotonic() - begin < 15 * slack(options):
        after = percentile99(address)
    recovered = time.monotonic() - begin
    for member in members:
        member.close()
    second.stop()
    first.stop()
    assert recovered < 15 * slack(options), f"p99 {after * 1000:.2f} ms against {usual * 1000:.2f} before"
    return (f"{options.storm} clients in again after {taken:.2f} s, p99 {after * 1000:.2f} ms "
            f"(before {usual * 1000:.2f}) after {recovered:.2f} s")


def percentile99(address: tuple[str, int]) -> float:
    client = connect(address)
    samples = [ask(client, 10) for _ in range(500)]
    client.close()
    return statistics.quantiles(samples, n=100)[98]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--clients", type=int, default=10000)
    parser.add_argument("--storm", type=int, default=5000)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--only", choices=["descriptors", "idle", "storm"])
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    failed = 0
    for test in (descriptors, idle, storm):
        if options.only not in (None, test.__name__):
            continue
        try:
            print(f"{test.__name__}: {test(options)}", flush=True)
        except (AssertionError, OSError, TimeoutError) as error:
            failed += 1
            print(f"FAILED {test.__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
