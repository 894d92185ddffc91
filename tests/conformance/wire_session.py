"""The connections of one wire exchange: sends steps, reads protocol items, masks what varies.

An item is one thing the server sent, as one line of text: `PONG`, `-ERR '...'`,
`MSG foo 1 5 | hello` (payload after the bar, escaped), `INFO key=value ...` (chosen keys only),
`(closed)` for the end of the connection and `(nothing)` for silence.
"""
import json
import select
import socket
import time

CLOSED = "(closed)"
NOTHING = "(nothing)"
DEADLINE_SECONDS = 5.0
QUIET_SECONDS = 0.3  # recording only: how long silence lasts before a reading step ends

INFO_VALUES = ("acc_is_sys", "auth_required", "connect_info", "headers", "jetstream", "ldm", "max_payload",
               "proto", "remote_account", "tls_available", "tls_required", "tls_verify")
INFO_PRESENT = ("client_id", "client_ip", "go", "host", "nonce", "port", "server_id", "server_name", "version")
MASKED = ("client_ip", "host")


def unescape(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def escape(data: bytes) -> str:
    text = data.decode("latin-1").encode("unicode_escape").decode("ascii")
    return text if len(text) <= 400 else f"{text[:40]}... {len(data)} bytes"


def info_text(line: bytes) -> str:
    try:
        info = json.loads(line[5:])
    except ValueError:
        return "INFO (not JSON)"
    shown = {key: json.dumps(info[key]).strip('"') for key in INFO_VALUES if key in info}
    shown |= {key: info[key] if key in MASKED else "*" for key in INFO_PRESENT if key in info}
    return "INFO " + " ".join(f"{key}={shown[key]}" for key in sorted(shown))


class Connection:
    def __init__(self, address: tuple[str, int]):
        self.socket = socket.create_connection(address, timeout=DEADLINE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.items: list[str] = []   # parsed and not yet read by a step
        self.ended = False           # the server closed
        self.unsent = b""            # consecutive sends leave as one packet
        self.second_info = False     # the INFO after the first PONG is still to come, and not shown

    def send(self, data: bytes) -> None:
        self.unsent += data

    def flush(self) -> None:
        data, self.unsent = self.unsent, b""
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # closed by the server; what it said before is still to be read

    def receive(self, seconds: float) -> bool:
        """Waits for bytes; False when none came in time or the connection ended."""
        self.flush()
        if self.ended:
            return False
        if not select.select([self.socket], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = self.socket.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self.ended = True
            if self.buffer:
                self.items.append("(rest) " + escape(self.buffer))
            self.items.append(CLOSED)
            return False
        self.buffer += data
        while self._parse_one():
            pass
        return True

    def _parse_one(self) -> bool:
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return False
        line, size, rest = self.buffer[:end], 0, end + 2
        words = line.split()
        if words and words[0] in (b"MSG", b"HMSG"):
            size = int(words[-1])
            if len(self.buffer) < rest + size + 2:
                return False
            text = line.decode("latin-1") + " | " + escape(self.buffer[rest:rest + size])
            rest += size + 2
        elif words and words[0] == b"INFO":
            text = info_text(line)
        else:
            text = escape(line)
        self.items.append(text)
        self.buffer = self.buffer[rest:]
        return True


class Session:
    def __init__(self, server, options: set[str], recording: bool):
        self.server = server
        self.options = options
        self.recording = recording
        self.connections: dict[str, Connection] = {}

    def close(self) -> None:
        for connection in self.connections.values():
            connection.socket.close()

    # Steps that send -------------------------------------------------------------------------

    def step(self, who: str, verb: str, rest: str) -> None:
        for name, connection in self.connections.items():
            if name != who or verb not in (">", ">>", "repeat"):
                connection.flush()
        if verb == "signal":
            self.server.send_signal(rest)
            return
        if verb == "skip":
            self._read_until(self.connections[who], lambda item: item.startswith("INFO"))
            return
        if verb == "dial":
            self.connections[who] = Connection(self.server.address(rest or "nats"))
            return
        connection = self.get(who)
        if verb == ">":
            connection.send(rest.encode("latin-1") + b"\r\n")
        elif verb == ">>":
            connection.send(unescape(rest))
        elif verb == "connect":
            self.connect(connection, rest)
        elif verb == "sync":
            self.sync(connection)
        elif verb == "repeat":
            count, _, text = rest.partition(" ")
            connection.send(unescape(text) * int(count))
        elif verb == "flood":
            self.flood(connection, *rest.split())
        elif verb == "drop":
            connection.socket.close()
            del self.connections[who]
        elif verb == "flush":
            pass  # what was sent so far leaves as a packet of its own
        elif verb == "pause":
            time.sleep(int(rest) / 1000)  # only for timers of the server
        elif verb == "skim":
            self.skim(connection)
        else:
            raise SystemExit(f"unknown step: {who} {verb} {rest}")

    def get(self, who: str) -> Connection:
        """Opens on first use and reads the greeting, which its own exchanges look at."""
        if who not in self.connections:
            connection = self.connections[who] = Connection(self.server.address())
            if "greeting" not in self.options:
                self._read_until(connection, lambda item: item.startswith("INFO"))
        return self.connections[who]

    def connect(self, connection: Connection, extra: str) -> None:
        """CONNECT with quiet defaults, then PING: returns when the PONG is read."""
        fields = {"verbose": False, "pedantic": False, "protocol": 1, "headers": True, "no_responders": True}
        fields |= json.loads(extra or "{}")
        connection.send(b"CONNECT " + json.dumps(fields).encode() + b"\r\nPING\r\n")
        self._read_until(connection, lambda item: item == "PONG" or item == CLOSED)
        connection.second_info = fields["protocol"] == 1

    def sync(self, connection: Connection) -> None:
        """PING and wait for its PONG; what came before it stays to be read."""
        connection.send(b"PING\r\n")
        kept = self._read_until(connection, lambda item: item == "PONG" or item == CLOSED, keep=True)
        connection.items = [item for item in kept if item != "PONG"] + connection.items

    def flood(self, connection: Connection, subject: str, size: str, count: str) -> None:
        message = f"PUB {subject} {size}\r\n".encode() + b"x" * int(size) + b"\r\n"
        connection.socket.settimeout(60)
        connection.send(message * int(count))
        connection.flush()

    def skim(self, connection: Connection) -> None:
        """Reads to the end of the connection and keeps only that it ended."""
        deadline = time.monotonic() + 4 * DEADLINE_SECONDS
        while not connection.ended and time.monotonic() < deadline:
            connection.receive(deadline - time.monotonic())
            connection.items = []
            connection.buffer = connection.buffer[-64:] if not connection.ended else b""
        connection.items = [CLOSED] if connection.ended else []

    def _read_until(self, connection: Connection, found, keep: bool = False) -> list[str]:
        deadline, seen = time.monotonic() + DEADLINE_SECONDS, []
        while True:
            while connection.items:
                item = connection.items.pop(0)
                if self._is_noise(connection, item):
                    continue
                seen.append(item)
                if found(item):
                    if item == CLOSED and not keep:
                        connection.items.insert(0, item)
                    return seen
            if not connection.receive(deadline - time.monotonic()) and not connection.items:
                return seen

    # Steps that read -------------------------------------------------------------------------

    def flush(self) -> None:
        for connection in self.connections.values():
            connection.flush()

    def record(self, who: str, until_closed: bool) -> list[str]:
        self.flush()
        connections = [self.get(name) for name in who.split("+")]
        patience = DEADLINE_SECONDS if until_closed else QUIET_SECONDS
        for connection in connections:
            while connection.receive(patience):
                pass
        return self._take(connections, None) or [NOTHING]

    def expect(self, who: str, expected: list[str]) -> list[str]:
        self.flush()
        connections = [self.get(name) for name in who.split("+")]
        if expected == [NOTHING]:
            return [NOTHING]  # the barrier at the end finds what should not have come
        deadline = time.monotonic() + DEADLINE_SECONDS
        got: list[str] = []
        while True:
            got += self._take(connections, len(expected) - len(got))
            open_ones = [c for c in connections if not c.ended]
            if len(got) >= len(expected) or not open_ones or time.monotonic() > deadline:
                return self._order(got, connections) or [NOTHING]
            ready = select.select([c.socket for c in open_ones], [], [], max(deadline - time.monotonic(), 0))[0]
            for connection in open_ones:
                if connection.socket in ready:
                    connection.receive(0)

    def barrier(self) -> list[tuple[str, str]]:
        """After the last step: nothing more may be on its way on any connection still open."""
        extra = []
        for who, connection in self.connections.items():
            if not connection.ended and not {"no barrier", "no auth"} & self.options:
                self.sync(connection)
            extra += [(who, item) for item in connection.items if not self._is_noise(connection, item)]
        if self.recording and extra:
            print(f"recorded, but left unread: {extra}")
        return extra

    def _take(self, connections: list[Connection], limit: int | None) -> list[str]:
        got: list[str] = []
        for connection in connections:
            while connection.items and (limit is None or len(got) < limit):
                item = connection.items.pop(0)
                if self._is_noise(connection, item):
                    continue
                if "any sid" in self.options:
                    item = self._mask_sid(item)
                got.append(item)
        return self._order(got, connections)

    def _order(self, items: list[str], connections: list[Connection]) -> list[str]:
        if len(connections) > 1 or "unordered" in self.options:
            return sorted(items)
        return items

    def _is_noise(self, connection: Connection, item: str) -> bool:
        """What is not part of a transcript: the INFO after `connect`, which has its own exchanges, and the
        server's own PINGs, which come when it likes and are answered."""
        if connection.second_info and item.startswith("INFO") and "connect_info=true" in item:
            connection.second_info = False
            return True
        if item != "PING" or "pings" in self.options:
            return False
        connection.send(b"PONG\r\n")
        connection.flush()
        return True

    @staticmethod
    def _mask_sid(item: str) -> str:
        words = item.split(" ")
        if words[0] in ("MSG", "HMSG"):
            words[2] = "?"
        return " ".join(words)
