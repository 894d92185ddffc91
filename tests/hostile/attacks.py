"""The attacks. Each takes a Site and a seeded random.Random, asserts what is special about it, and may
return a fact worth printing. What must hold after every attack is checked in clients.py."""
import dataclasses
import itertools
import random
import select
import socket
import time
from typing import Callable

from attacker import NOTHING, Client, Neighbour, QUIET_CONNECT, Site, is_refused, measure_idle

MEGABYTE = 1 << 20
SLOW = "Slow Consumer"


@dataclasses.dataclass
class Attack:
    run: Callable[[Site, random.Random], str | None]
    config: str = ""
    login: bytes = QUIET_CONNECT  # how a client that means well connects


ALL: dict[str, Attack] = {}


def attack(config: str = "", login: bytes = QUIET_CONNECT):
    def register(function):
        ALL[function.__name__] = Attack(function, config, login)
        return function
    return register


def close_all(clients: list[Client]) -> None:
    for client in clients:
        client.close()


def slow_reasons(site: Site, since: int) -> dict[str, int]:
    return {reason: count for reason, count in site.closed_reasons(since).items() if reason.startswith(SLOW)}


# --- connections that do nothing ---------------------------------------------------------------

@attack()
def half_open(site: Site, chance: random.Random) -> str:
    """1,000 connections that send nothing, half a CONNECT, half a verb, or half a PUB."""
    beginnings = [NOTHING, b'CONNECT {"verb', b"S", b"PUB a 100\r\nhalf", b"PING"]
    before = site.memory()
    clients = [site.client(beginnings[i % len(beginnings)]) for i in range(1000)]
    site.wait_until("1,000 are open", lambda: site.ask("/varz")["connections"] == 1000)
    answer = site.fresh_round_trip()
    each = (site.memory() - before) * 1024 / len(clients)
    close_all(clients)
    assert answer < 0.1, f"a fresh client waited {answer * 1000:.0f} ms among them"
    return f"{each:.1f} KiB each"


@attack('authorization { users: [{user: u, password: p}], timeout: 1 }', b'CONNECT {"user":"u","pass":"p"}\r\n')
def half_open_with_users(site: Site, chance: random.Random) -> str:
    """Connections that never finish CONNECT where there are users: closed when their time is over."""
    first = site.next_id()
    clients = [site.client(b'CONNECT {"user":"u"' if i % 2 else NOTHING) for i in range(300)]
    site.wait_until("all are closed", lambda: not any(
        connection["cid"] >= first for connection in site.ask("/connz?limit=2000")["connections"]), 10)
    reasons = site.closed_reasons(first)
    close_all(clients)
    assert reasons.get("Authentication Timeout", 0) >= 300, reasons
    return str(reasons)


@attack()
def large_beginnings(site: Site, chance: random.Random) -> str:
    """1,000 connections that promise a message of 1 MiB and send 20 bytes of it, one by one."""
    before = site.memory()
    clients = [site.client() for _ in range(1000)]
    for piece in [b"PUB a 1048576\r\n"] + [b"x"] * 20:
        for client in clients:
            client.send(piece)
    time.sleep(0.2)
    each = (site.memory() - before) * 1024 / len(clients)
    close_all(clients)
    assert each < 64, f"{each:.1f} KiB for each"
    return f"{each:.1f} KiB each"


# --- output nobody reads -----------------------------------------------------------------------

@attack()
def slow_reader(site: Site, chance: random.Random) -> str:
    """1 GB published to a client that does not read, while a neighbour measures its round trips."""
    idle = measure_idle(site, 2)
    first = site.next_id()
    slow = site.client(QUIET_CONNECT + b"SUB flood 1\r\n", receive_buffer=4096)
    slow.sync()
    neighbour = Neighbour(site)
    publisher = site.client()
    message = b"PUB flood 16384\r\n" + bytes(16384) + b"\r\n"
    block = message * 64
    for _ in range(1000 * MEGABYTE // len(block)):
        assert publisher.send(block), "the publisher was closed"
    publisher.sync()
    busy = neighbour.result()
    reasons = slow_reasons(site, first)
    close_all([slow, publisher])
    assert sum(reasons.values()) == 1, f"the slow one was not closed as such: {site.closed_reasons(first)}"
    return (f"{reasons}; neighbour's round trip p50 {idle[0]:.0f} -> {busy[0]:.0f} us, p99 {idle[1]:.0f} -> "
            f"{busy[1]:.0f} us (x{busy[1] / idle[1]:.1f}) of {busy[2]}")


@attack("max_pending: 8MB")
def ping_flood(site: Site, chance: random.Random) -> str:
    """PINGs without end from a client that does not read the PONGs."""
    first = site.next_id()
    client = site.client(receive_buffer=4096)
    block = b"PING\r\n" * 50_000
    sent = 0
    while sent < 400 and client.send(block):
        sent += 1
    client.close()
    assert sent < 400, "never closed"
    reasons = slow_reasons(site, first)
    assert sum(reasons.values()) == 1, site.closed_reasons(first)
    return f"closed after {sent * 50_000:,} PINGs: {reasons}"


@attack("max_pending: 8MB")
def error_flood(site: Site, chance: random.Random) -> str:
    """Commands that are answered with -ERR or +OK, from a client that does not read."""
    for block in [b"SUB a..b 1\r\n" * 20_000, b"PUB a 0\r\n\r\n" * 20_000]:
        client = site.client(b'CONNECT {"verbose":true}\r\n', receive_buffer=4096)
        sent = 0
        while sent < 400 and client.send(block):
            sent += 1
        client.close()
        assert sent < 400, "never closed"
    return ""


@attack("max_pending: 8MB")
def self_flood(site: Site, chance: random.Random) -> str:
    """A publisher with 200 wildcard subscriptions on its own subject that does not read."""
    first = site.next_id()
    client = site.client(receive_buffer=4096)
    for sid in range(200):
        client.send(b"SUB %s %d\r\n" % ([b">", b"a.>", b"*.b", b"a.*"][sid % 4], sid))
    client.sync()
    block = b"PUB a.b 64\r\n" + bytes(64) + b"\r\n"
    sent = 0
    while sent < 2000 and client.send(block * 1000):
        sent += 1
    client.close()
    assert sent < 2000, "never closed"
    return f"closed after {sent * 1000:,} messages: {slow_reasons(site, first)}"


@attack("max_pending: 8MB")
def fan_out_flood(site: Site, chance: random.Random) -> str:
    """400 readers that never read, and one packet of 10,000 messages for all of them."""
    readers = [site.client(QUIET_CONNECT + b"SUB a 1\r\n", receive_buffer=4096) for _ in range(400)]
    for reader in readers:
        reader.sync()
    publisher = site.client()
    neighbour = Neighbour(site)
    publisher.send((b"PUB a 16\r\n" + bytes(16) + b"\r\n") * 10_000)
    publisher.sync()
    busy = neighbour.result()
    close_all(readers + [publisher])
    return f"neighbour's p99 {busy[1] / 1000:.1f} ms of {busy[2]}"


# --- bytes that are no protocol ----------------------------------------------------------------

@attack()
def random_bytes(site: Site, chance: random.Random) -> str:
    """Bytes without sense, and commands with a few bytes changed."""
    good = (b'CONNECT {"verbose":true,"pedantic":true}\r\nSUB a.* q 1\r\nPUB a.b c 5\r\nhello\r\n'
            b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 1 5\r\nPING\r\nPONG\r\n")
    for turn in range(2000):
        if turn % 2:
            data = chance.randbytes(chance.randrange(1, 3000))
        else:
            changed = bytearray(good * 3)
            for _ in range(chance.randrange(1, 8)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            data = bytes(changed)
        client = site.client(NOTHING if turn % 3 else QUIET_CONNECT)
        for at in range(0, len(data), chance.choice([1 << 12, 1 << 12, 700])):
            client.send(data[at:at + 4096])
        client.close()
    return ""


SUBJECTS = [b"", b"a", b">", b"*", b".", b"a..b", b"a.", b".a", b"a.>.b", b"\x00", b"\xff\xfe", b"$SYS.REQ",
            b"a" * 4000, b"a" * 5000, b"a." * 2000 + b"a", b"*." * 2000 + b">"]
NUMBERS = [b"", b"0", b"-1", b"-0", b"+1", b"1", b"1.5", b"0x10", b"1e9", b"00000000005", b"999999999",
           b"1048577", b"2147483648", b"4294967296", b"9223372036854775808", b"18446744073709551616",
           b"9" * 400, b"NaN", b"\xd9\xa1"]


def verb_lines() -> list[bytes]:
    """Every verb with each argument missing, negative, huge, oversized, and too many of them."""
    lines = []
    for subject, number in itertools.product(SUBJECTS, NUMBERS):
        lines += [b"PUB %s %s\r\nx\r\n" % (subject, number), b"SUB %s %s\r\n" % (subject, number)]
    for number, other in itertools.product(NUMBERS, NUMBERS):
        lines += [b"HPUB a %s %s\r\nNATS/1.0\r\n\r\n\r\n" % (number, other), b"UNSUB %s %s\r\n" % (number, other)]
        lines += [b"PUB a %s %s\r\n\r\n" % (number, other)]
    for subject in SUBJECTS:
        lines += [b"PUB a %s 1\r\nx\r\n" % subject, b"HPUB %s r 12 12\r\nNATS/1.0\r\n\r\n\r\n" % subject,
                  b"SUB a %s 1\r\n" % subject, b"SUB %s %s %s\r\n" % (subject, subject, subject),
                  b"UNSUB %s\r\n" % subject, b"CONNECT %s\r\n" % subject, b"INFO %s\r\n" % subject,
                  b"PING %s\r\n" % subject, b"PONG %s\r\n" % subject, b"+OK %s\r\n" % subject,
                  b"-ERR %s\r\n" % subject]
    for verb in [b"PUB", b"HPUB", b"SUB", b"UNSUB", b"CONNECT", b"INFO", b"PING", b"PONG", b"+OK", b"-ERR",
                 b"RPUB", b"LS+", b"A+", b"MSG", b"HMSG", b"GET"]:
        lines += [verb + tail for tail in (b"\r\n", b" \r\n", b"\t\t\r\n", b"\n", b"\r\r\n", b" a b c d e f 1\r\n",
                                           b" " * 5000 + b"\r\n", b"x" * 5000, b"\x00\r\n")]
    return lines


@attack()
def bad_arguments(site: Site, chance: random.Random) -> str:
    """Every verb with each argument missing, oversized, negative or huge: each time the connection goes
    on, ends, or waits for the rest of a payload of a size that is allowed."""
    outcomes: dict[str, int] = {}
    lines = verb_lines()
    for start in range(0, len(lines), 200):
        batch = [(line, site.client()) for line in lines[start:start + 200]]
        for line, client in batch:
            client.send(line)
        for line, client in batch:
            outcome = client.outcome(0.0 if outcomes.get("waits", 0) > 400 else 5.0 if not is_pub(line) else 0.2)
            assert outcome != "waits" or is_pub(line), f"{line[:60]!r} is never answered"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            client.close()
    return f"{len(lines)} lines: {outcomes}"


def is_pub(line: bytes) -> bool:
    """May wait for more payload, or for the end of a line that has none."""
    return b"PUB" in line[:4] or b"\n" not in line


@attack()
def tiny_writes(site: Site, chance: random.Random) -> str:
    """Commands that come one byte a packet, from 50 clients at once."""
    clients = [site.client() for _ in range(50)]
    texts = [(b"SUB a.%02d 1\r\nPUB a.%02d 5\r\nhello\r\nUNSUB 1\r\n" % (i, i)) * 40 + b"PUB c 3000\r\n" +
             bytes(3000) + b"\r\nPING\r\n" for i in range(len(clients))]
    for at in range(len(texts[0])):
        for client, text in zip(clients, texts):
            client.socket.send(text[at:at + 1])
    for client in clients:
        got = client.read_until(b"PONG\r\n")
        assert got.count(b" 1 5\r\nhello\r\n") == 40, got[-300:]
    close_all(clients)
    return f"{len(texts[0]) * len(clients):,} packets"


@attack("max_payload: 8MB")
def tiny_end_of_large_message(site: Site, chance: random.Random) -> str:
    """8 MB messages whose last 20,000 bytes come one byte a packet."""
    client = site.client()
    size, tail = 8 * MEGABYTE, 20_000
    cpu = site.cpu_seconds()
    client.send(b"PUB a %d\r\n" % size + bytes(size - tail))
    for _ in range(tail):
        client.socket.send(b"x")
    client.send(b"\r\n")
    client.sync()
    client.close()
    cpu = site.cpu_seconds() - cpu
    assert cpu < 2, f"{cpu:.1f} s of cpu for {tail:,} packets"
    return f"{cpu * 1e6 / tail:.1f} us of server cpu a packet"


CONNECT_BOMBS = [
    b"[" * 4000, b'{"a":' * 700, b'{"a":' * 100 + b"1" + b"}" * 100, b"{}", b"null", b"[]", b"1", b'""',
    b'{"name":"%s"}' % (b"n" * 4000), b'{"name":"%s"}' % (b"n" * 6000), b'{"user":"%s"}' % (b"\\u0000" * 600),
    b'{"name":"\\ud800"}', b'{"name":"\xff\xfe"}', b'{"name":1}', b'{"verbose":"yes"}', b'{"verbose":null}',
    b'{"protocol":"1"}', b'{"protocol":1e400}', b'{"protocol":-5}', b'{"protocol":99999999999999999999}',
    b'{"user":["a"]}', b'{"headers":{}}', b'{"verbose":true,"verbose":false,"verbose":1}',
    b"{" + b",".join(b'"name":"x%d"' % i for i in range(250)) + b"}",
    b"{" + b",".join(b'"k%d":1' % i for i in range(400)) + b"}",
    b'{"tls_required":true}', b'{"jwt":"%s"}' % (b"a.b.c" * 300), b'{"nkey":"UABC","sig":"!!!"}',
    b'{"account":"A","new_account":true}', b"{'name':'x'}", b'{"name":"x"', b'{"name":"x"}}}}}', b'{"a":1}' * 300,
]


@attack()
def connect_bombs(site: Site, chance: random.Random) -> str:
    """CONNECT with deep nesting, names of 4 KiB, wrong types, duplicate keys, broken text."""
    outcomes: dict[str, int] = {}
    for bomb in CONNECT_BOMBS * 3:
        client = site.client(b"CONNECT " + bomb + b"\r\n")
        outcome = client.outcome(5.0)
        assert outcome != "waits", f"{bomb[:60]!r} is never answered"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        client.send(b"CONNECT " + bomb + b"\r\n")
        client.close()
    return str(outcomes)


@attack("max_control_line: 1MB")
def long_lines_allowed(site: Site, chance: random.Random) -> str:
    """Where max_control_line is 1 MB: nesting 500,000 deep, subjects of 250,000 tokens."""
    tokens = 250_000
    for line in [b"CONNECT " + b"[" * (2 * tokens), b"CONNECT " + b'{"a":' * 200_000,
                 b"CONNECT " + b"[" * tokens + b"]" * tokens]:
        client = site.client(line + b"\r\n")
        assert client.outcome(20.0) != "waits", line[:40]
        client.close()
    for pattern in [b"a." * tokens + b"a", b"*." * tokens + b"*", b"*." * tokens + b">", b"a.*." * (tokens // 2) + b"a"]:
        client = site.client(QUIET_CONNECT + b"SUB " + pattern + b" 1\r\n")
        client.send(b"PUB " + b"a." * tokens + b"a 2\r\nhi\r\n")
        client.outcome(20.0)
        client.close()
        assert site.is_alive(), f"dead after {pattern[:20]!r}"
    return ""


# --- interest ----------------------------------------------------------------------------------

@attack()
def long_subjects(site: Site, chance: random.Random) -> str:
    """Subjects and patterns of 2,000 tokens, 10,000 tokens (beyond the line's limit), 3,900 bytes."""
    client = site.client()
    for tokens in (10, 500, 2000):
        subject = b".".join([b"t"] * tokens)
        client.send(b"SUB %s 1\r\nSUB %s 2\r\nSUB %s 3\r\n" %
                    (subject, b".".join([b"*"] * tokens), b".".join([b"*"] * (tokens - 1)) + b".>"))
        client.send(b"PUB %s 2\r\nhi\r\n" % subject)
        got = client.sync()
        assert got.count(b"hi\r\n") == 3, got[-200:]
        client.send(b"UNSUB 1\r\nUNSUB 2\r\nUNSUB 3\r\n")
    client.send(b"SUB %s 1\r\n" % (b"a" * 3900))
    client.sync()
    client.send(b"SUB %s 1\r\n" % b".".join([b"t"] * 10_000))
    assert client.outcome() in ("error", "closed")
    client.close()
    return ""


@attack()
def many_subscriptions(site: Site, chance: random.Random) -> str:
    """100,000 subscriptions on 20 connections, then all leave at once; a neighbour measures."""
    before = site.memory()
    clients = [site.client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"".join(b"SUB c%d.%s.s%d %d\r\n" % (number, b"*" if sid % 3 else b"x", sid, sid)
                             for sid in range(4000)))
        client.send(b"".join(b"SUB same %d\r\n" % sid for sid in range(4000, 5000)))
    for client in clients:
        client.sync()
    each = (site.memory() - before) * 1024 * 1024 / 100_000
    neighbour = Neighbour(site)
    close_all(clients)
    site.wait_until("no subscriptions but the neighbour's",
                    lambda: site.ask("/varz")["subscriptions"] <= site.own_subscriptions + 1)
    busy = neighbour.result()
    return f"{each:.0f} bytes each; neighbour's slowest percent while they leave {busy[1] / 1000:.1f} ms"


@attack()
def subscription_churn(site: Site, chance: random.Random) -> str:
    """300,000 SUB and UNSUB, on subjects that others publish to meanwhile."""
    publisher = site.client()
    client = site.client()
    neighbour = Neighbour(site)
    for turn in range(300):
        client.send(b"".join(b"SUB churn.%d.%s %d\r\nUNSUB %d\r\n" % (i % 7, b">" if i % 2 else b"*", i, i)
                             for i in range(1000)))
        publisher.send(b"".join(b"PUB churn.%d.x 2\r\nhi\r\n" % (i % 7) for i in range(100)))
    client.sync()
    publisher.sync()
    busy = neighbour.result()
    close_all([client, publisher])
    return f"neighbour's p99 {busy[1] / 1000:.1f} ms of {busy[2]}"


@attack()
def wildcard_bomb(site: Site, chance: random.Random) -> str:
    """16,384 patterns of 14 levels, `a` or `*` at each, and messages that must look at all of them."""
    levels = 14
    client = site.client()
    client.send(b"".join(b"SUB " + b".".join(choice) + b".end %d\r\n" % sid
                         for sid, choice in enumerate(itertools.product((b"a", b"*"), repeat=levels))))
    client.sync()
    neighbour = Neighbour(site)
    publisher = site.client()
    start = site.cpu_seconds()
    count = 1000
    publisher.send(b"".join(b"PUB " + b"a." * levels + b"no%d 0\r\n\r\n" % i for i in range(count)))
    publisher.sync()
    cost = (site.cpu_seconds() - start) / count
    busy = neighbour.result()
    close_all([client, publisher])
    assert busy[1] < 300_000, f"the neighbour waited {busy[1] / 1000:.0f} ms"
    return f"{cost * 1e6:.0f} us a message; neighbour's p99 {busy[1] / 1000:.1f} ms of {busy[2]}"


@attack()
def many_takers(site: Site, chance: random.Random) -> str:
    """One client with 50,000 subscriptions on one subject publishes to it and reads: 5 million messages."""
    client = site.client()
    client.send(b"".join(b"SUB x %d\r\n" % sid for sid in range(50_000)))
    client.sync()
    neighbour = Neighbour(site)
    publisher = site.client()
    publisher.send(b"PUB x 2\r\nhi\r\n" * 100)
    client.send(b"PING\r\n")
    received = 0
    end = time.monotonic() + 20
    while time.monotonic() < end and select.select([client.socket], [], [], 1)[0]:
        data = client.socket.recv(MEGABYTE)
        if not data:
            break
        received += len(data)
    busy = neighbour.result()
    close_all([client, publisher])
    return f"{received // MEGABYTE} MB read; neighbour's p99 {busy[1] / 1000:.1f} ms of {busy[2]}"


# --- connections -------------------------------------------------------------------------------

@attack()
def connection_churn(site: Site, chance: random.Random) -> str:
    """5,000 connections that come and go, some in the middle of things, some with a reset."""
    middle = [NOTHING, QUIET_CONNECT, QUIET_CONNECT + b"SUB > 1\r\nPING\r\n", QUIET_CONNECT + b"PUB a 10\r\nhal",
              QUIET_CONNECT + b"SUB a q 1\r\nPUB a 2\r\nhi\r\nPING\r\n"]
    start = time.monotonic()
    for turn in range(5000):
        client = site.client(middle[turn % len(middle)])
        if turn % 3 == 0:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
    return f"{5000 / (time.monotonic() - start):,.0f} connections/s"


@attack("max_connections: 50")
def too_many_connections(site: Site, chance: random.Random) -> str:
    """300 connections where 50 are allowed: told so and closed, and there is room again afterwards."""
    clients = [site.client() for _ in range(300)]
    refused = sum(client.outcome(5.0) in ("error", "closed") for client in clients)
    close_all(clients)
    assert refused == 250, f"{refused} refused"
    site.wait_until("room again", lambda: site.ask("/varz")["connections"] == 0)
    return ""


@attack()
def slow_loris(site: Site, chance: random.Random) -> str:
    """1,000 HTTP connections to the monitor that send a byte now and then and never a whole request."""
    loris = []
    for _ in range(1000):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(site.server.address("monitoring"))
        loris.append(client)
    start = time.monotonic()
    answers_at = 0.0
    beginning = b"GET /varz HTTP/1.1\r\nX-"
    while time.monotonic() - start < 25 and not answers_at:
        for client in loris:
            try:
                client.send(beginning)
            except OSError:
                pass  # not accepted yet, or closed
        beginning = b"a"
        if not is_refused(site, "/healthz"):
            answers_at = time.monotonic() - start
    answer = site.fresh_round_trip()
    for client in loris:
        client.close()
    assert answer < 0.1, f"a NATS client waited {answer * 1000:.0f} ms"
    assert answers_at, "the monitor never answered"
    site.wait_until("the monitor answers at once again", lambda: not is_refused(site, "/healthz"))
    return f"the monitor answers after {answers_at:.1f} s of it"


@attack()
def bad_http(site: Site, chance: random.Random) -> str:
    """Requests to the monitor that are none, too long, or have odd arguments."""
    host, port = site.server.address("monitoring")
    for request in [chance.randbytes(2000), b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
                    b"POST /varz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                    b"GET /connz?limit=-1&offset=-5&sort=%00&cid=99999999999999999999 HTTP/1.0\r\n\r\n",
                    b"GET /connz?limit=18446744073709551616&subs=detail HTTP/1.0\r\n\r\n",
                    b"GET /subsz?subs=1&limit=-1&test=%2e%2e%3e HTTP/1.0\r\n\r\n", b"GET /../../etc/passwd HTTP/1.0\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", b"\r\n" * 10_000, b"PING\r\n", b"\x16\x03\x01\x02"]:
        client = socket.create_connection((host, port), timeout=5)
        try:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except OSError:
            pass
        client.close()
    assert site.ask("/healthz")["status"] == "ok"
    return ""
