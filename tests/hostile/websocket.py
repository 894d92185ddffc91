#!/usr/bin/env python3
"""Peers of the WebSocket listener that mean harm, before and after the handshake.

    websocket.py --brokkr PATH [--loops N ...] [--only NAME ...] [--seed N]

Goal: no bytes on that port cost the server more memory than one message may take, or another client its service.
After each attack the server must be alive, answer a fresh WebSocket client soon, and have forgotten the attackers.
The seed of random bytes is printed.
"""
import argparse
import os
import random
import resource
import socket
import struct
import sys
import time
import traceback
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from attacker import Site  # noqa: E402
from websocket_client import (BINARY, CLOSE, CONTINUATION, OFFER, PING, WebSocketClient, deflate, frame,  # noqa: E402
                              mask_bytes, request)

MEGABYTE = 1 << 20
MAX_PAYLOAD = 1 << 20
CONNECT = 'CONNECT {"verbose":false,"user":"ann","pass":"secret"}\r\n'
CONFIG = """
max_payload: %d
authorization { users: [ {user: ann, password: secret} ], timeout: 2 }
websocket { listen: "127.0.0.1:-1", no_tls: true, compression: true, handshake_timeout: "1s" }
""" % MAX_PAYLOAD


class Target(Site):
    def __init__(self, binary: str, loops: int):
        super().__init__(binary, loops, CONFIG, CONNECT.encode())
        self.door = self.server.address("websocket")

    def peer(self, upgraded: bool = True, connected: bool = True, **fields) -> WebSocketClient:
        client = WebSocketClient(self.door)
        if upgraded:
            client.open(fields={"Sec-WebSocket-Extensions": OFFER, **fields})
            client.read_until(b"\r\n")
        if upgraded and connected:
            client.send_text(CONNECT + "PING\r\n")
            client.read_until(b"PONG\r\n")
        return client

    def kilobytes(self, field: str) -> int:
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))

    def growth_of(self, attack) -> int:
        """Bytes the peak of resident memory rises by while `attack` runs."""
        self.reset_peak()
        before = self.kilobytes("VmRSS")
        attack()
        return (self.kilobytes("VmHWM") - before) * 1024


def zeros(count: int, begin: bytes = b"", end: bytes = b"", fill: bytes = b"\0") -> bytes:
    """A compressed message of `begin`, `count` bytes, `end`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = fill * MEGABYTE
    parts = [packer.compress(begin)]
    while count > 0:
        parts.append(packer.compress(block[:count]))
        count -= MEGABYTE
    parts += [packer.compress(end), packer.flush(zlib.Z_SYNC_FLUSH)]
    return b"".join(parts)[:-4]


# --- compression bombs ---------------------------------------------------------------------------

def bomb(target: Target, chance: random.Random) -> str:
    """T15: messages that expand a thousand times, before and after CONNECT, whole and in fragments."""
    packed = zeros(256 * MEGABYTE)
    inside = zeros(256 * MEGABYTE, b"PUB a %d\r\n" % MAX_PAYLOAD)
    spaces = zeros(256 * MEGABYTE, fill=b"PING\r\n  "[:6] + b"\r\n")
    ratio = 256 * MEGABYTE // len(packed)
    target.peer().close()  # what the first compressed message costs once

    def attack():
        for connected in (False, True):
            for message in (packed, inside, spaces):
                client = target.peer(connected=connected)
                client.send(frame(message, rsv=4))
                assert client.read_close(20) is not None or client.is_closed
                client.close()
                client = target.peer(connected=connected)
                for at in range(0, len(message), 1000):
                    last = at + 1000 >= len(message)
                    if not client.send(frame(message[at:at + 1000], opcode=CONTINUATION if at else BINARY,
                                             final=last, rsv=0 if at else 4)):
                        break
                client.read_close(20)
                client.close()

    growth = target.growth_of(attack)
    limit = MAX_PAYLOAD + MEGABYTE
    assert growth <= limit, f"resident memory grew by {growth} bytes, {limit} are allowed"
    return f"1:{ratio}, resident memory grew by {growth // 1024} KiB"


def many_bombs(target: Target, chance: random.Random) -> str:
    """A hundred peers in the middle of a bomb at once."""
    packed = zeros(2000, b'CONNECT {"name":"', fill=b"x")  # as much as may come before there is a user
    clients = [target.peer(connected=False) for _ in range(100)]
    before = target.kilobytes("VmRSS")
    for client in clients:
        client.send(frame(packed[:-2], final=False, rsv=4))
    time.sleep(0.3)
    each = (target.kilobytes("VmRSS") - before) / len(clients)
    for client in clients:
        client.close()
    assert each < 100, f"{each:.0f} KiB each"
    return f"{each:.0f} KiB each"


def endless_fragments(target: Target, chance: random.Random) -> str:
    """A message that never ends: 64 MB of fragments, plain and of empty compressed blocks."""
    def attack():
        for rsv, body in ((0, b"PING\r\n" * 10000), (4, b"\x00\x00\x00\xff\xff" * 12000)):
            client = target.peer()
            client.send(frame(body, final=False, rsv=rsv))
            for _ in range(500):
                if not client.send(frame(body, opcode=CONTINUATION, final=False)):
                    break
                while client.pump(0):
                    client.frames.clear()
                    client.data = b""
            client.close()
    growth = target.growth_of(attack)
    assert growth <= 2 * MEGABYTE, f"resident memory grew by {growth} bytes"
    return f"resident memory grew by {growth // 1024} KiB"


def promised_length(target: Target, chance: random.Random) -> str:
    """Frames that promise more than can ever come."""
    clients = []
    def attack():
        for connected in (False, True):
            for length in (1 << 62, (1 << 63) - 1, 1 << 40):
                client = target.peer(connected=connected)
                client.send(b"\x82\xff" + struct.pack(">Q", length) + b"abcd" + mask_bytes(b"abcd", b"PING\r\n"))
                clients.append(client)
        time.sleep(0.3)
    growth = target.growth_of(attack)
    for client in clients:
        client.close()
    assert growth <= MEGABYTE, f"resident memory grew by {growth} bytes"
    return f"resident memory grew by {growth // 1024} KiB"


# --- frames --------------------------------------------------------------------------------------

def ping_flood(target: Target, chance: random.Random) -> str:
    """A peer that sends a million pings and reads nothing."""
    pings = frame(b"p" * 125, opcode=PING) * 1000
    def attack():
        client = WebSocketClient(target.door)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.open()
        client.socket.settimeout(1)
        for _ in range(300):
            if not client.send(pings):
                break
        client.close()
    growth = target.growth_of(attack)
    assert growth <= 2 * MEGABYTE, f"resident memory grew by {growth} bytes"
    return f"resident memory grew by {growth // 1024} KiB"


def slow_reader(target: Target, chance: random.Random) -> str:
    """A subscriber that does not read while much is published to it, compressed and in small frames."""
    client = WebSocketClient(target.door)
    client.open(fields={"Sec-WebSocket-Extensions": OFFER, "User-Agent": "Mozilla/5.0"})
    client.read_until(b"\r\n")
    client.send_text(CONNECT + "SUB slow 1\r\nPING\r\n")
    client.read_until(b"PONG\r\n")
    publisher = target.peer()
    noise = chance.randbytes(MAX_PAYLOAD - 100)
    for _ in range(20):
        publisher.send(frame(b"PUB slow %d\r\n" % len(noise) + noise + b"\r\n"))
    publisher.send_text("PING\r\n")
    publisher.read_until(b"PONG\r\n", 20)
    total = 0
    while total < 20 * len(noise) and client.pump(5):
        total += len(client.data)
        client.data = b""
        client.frames.clear()
    client.close()
    publisher.close()
    assert total >= 20 * len(noise), f"only {total} bytes came"
    return f"{total // MEGABYTE} MiB came in the end"


def random_frames(target: Target, chance: random.Random) -> str:
    """100 connections with frames made up, broken, cut and mixed with good ones."""
    closed = 0
    for _ in range(100):
        client = target.peer(connected=chance.random() < 0.7)
        pieces = []
        for _ in range(chance.randrange(1, 12)):
            body = chance.choice([chance.randbytes(chance.randrange(0, 300)), b"PING\r\n", b"PUB a 5\r\nhello\r\n",
                                  deflate(b"PING\r\n" * 50), b"\x03\xe8", b"SUB a 1\r\n"])
            piece = frame(body, opcode=chance.choice([0, 1, 2, 2, 2, 2, 8, 9, 10, chance.randrange(16)]),
                          final=chance.random() < 0.8, rsv=chance.choice([0, 0, 0, 4, 4, chance.randrange(8)]),
                          masked=chance.random() < 0.95,
                          length=None if chance.random() < 0.9 else chance.choice([0, 1, 125, 126, 65535, 65536, 1 << 40]))
            pieces.append(piece)
        data = bytearray(b"".join(pieces))
        for _ in range(chance.choice([0, 0, 1, 3])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        for at in range(0, len(data), step := chance.choice([1, 7, 1000])):
            if not client.send(bytes(data[at:at + step])):
                break
        while client.pump(0.02):
            pass
        closed += client.is_closed
        client.close()
        assert target.is_alive()
    assert closed > 20, f"only {closed} of 100 were ended"
    return f"{closed} of 100 were ended at once"


# --- handshakes ----------------------------------------------------------------------------------

def half_handshakes(target: Target, chance: random.Random) -> str:
    """Beginnings of every length, then silence or the end; also TLS and noise."""
    whole = request()
    clients = []
    before = target.kilobytes("VmRSS")
    for i in range(600):
        client = WebSocketClient(target.door)
        begin = whole[:chance.randrange(len(whole))] if i % 3 else chance.choice([b"", b"\x16\x03\x01\x02\x00\x01\x00", chance.randbytes(100)])
        client.send(begin)
        if i % 2:
            client.close()
        else:
            clients.append(client)
    each = (target.kilobytes("VmRSS") - before) / 600
    deadline = time.monotonic() + 10
    for client in clients:  # nothing may stay longer than handshake_timeout
        client.read_rest(max(deadline - time.monotonic(), 0))
        assert client.is_closed, "a half handshake is still open"
        client.close()
    return f"{each:.1f} KiB each while they waited"


def slowloris(target: Target, chance: random.Random) -> str:
    """Heads that come a byte at a time and never end."""
    clients = [WebSocketClient(target.door) for _ in range(200)]
    start = time.monotonic()
    alive = list(clients)
    answer = 0.0
    while alive and time.monotonic() - start < 10:
        alive = [client for client in alive if client.send(b"G" if not client.data else b"X") and not client.pump(0) and not client.is_closed]
        begin = time.monotonic()
        target.peer().close()
        answer = max(answer, time.monotonic() - begin)
        time.sleep(0.05)
    seconds = time.monotonic() - start
    for client in clients:
        client.close()
    assert not alive, f"{len(alive)} are still open after {seconds:.1f} s"
    assert answer < 1, f"a fresh client waited {answer:.2f} s"
    return f"all ended within {seconds:.1f} s, a fresh client waited {answer * 1000:.0f} ms at most"


def large_heads(target: Target, chance: random.Random) -> str:
    """Heads of a megabyte, of one endless line, of a hundred thousand fields."""
    def attack():
        for body in (b"GET /" + b"x" * MEGABYTE, b"GET / HTTP/1.1\r\nA: " + b"x" * MEGABYTE,
                     b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000, b"\r\n" * 500_000, b"\0" * MEGABYTE):
            client = WebSocketClient(target.door)
            client.send(body)
            rest = client.read_rest(5)
            assert client.is_closed, "still open"
            assert not rest or rest.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), rest[:80]
            client.close()
    growth = target.growth_of(attack)
    assert growth <= MEGABYTE, f"resident memory grew by {growth} bytes"
    return f"resident memory grew by {growth // 1024} KiB"


def crowd_at_the_door(target: Target, chance: random.Random) -> str:
    """More unfinished handshakes than may be at it: the oldest give way, newcomers get in."""
    clients = [WebSocketClient(target.door) for _ in range(2500)]
    begin = time.monotonic()
    target.peer().close()
    seconds = time.monotonic() - begin
    for client in clients:
        client.close()
    assert seconds < 1, f"a fresh client waited {seconds:.2f} s"
    return f"a fresh client waited {seconds * 1000:.0f} ms"


ATTACKS = [bomb, many_bombs, endless_fragments, promised_length, ping_flood, slow_reader, random_frames, half_handshakes,
           slowloris, large_heads, crowd_at_the_door]


def check_after(target: Target) -> None:
    assert target.is_alive(), f"the server ended with {target.server.process.returncode}:\n{target.server.log()}"
    begin = time.monotonic()
    client = target.peer()
    seconds = time.monotonic() - begin
    client.close()
    assert seconds < 1, f"a fresh client waited {seconds:.2f} s"
    target.wait_until("all attackers are forgotten", lambda: not target.ask("/connz")["connections"])


def run_attack(attack, binary: str, loops: int, seed: int) -> bool:
    target = Target(binary, loops)
    try:
        target.peer().close()
        fact = attack(target, random.Random(f"{seed} {attack.__name__} {loops}"))
        check_after(target)
        print(f"ok   {loops} loops  {attack.__name__}: {fact}", flush=True)
        return True
    except Exception as problem:  # every failure is reported, and the next attack goes on
        where = traceback.extract_tb(problem.__traceback__)[-1]
        print(f"FAIL {loops} loops  {attack.__name__}: {type(problem).__name__}: {problem} "
              f"({where.name}:{where.lineno})\n{target.server.log()[-600:]}", flush=True)
        return False
    finally:
        target.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--loops", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(f"seed {args.seed}", flush=True)
    chosen = [attack for attack in ATTACKS if not args.only or attack.__name__ in args.only]
    results = [run_attack(attack, args.brokkr, loops, args.seed) for loops in args.loops for attack in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
