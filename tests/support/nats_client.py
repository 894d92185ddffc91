"""A small synchronous NATS client on the standard library: enough for tests to ask and to listen."""
import json
import os
import select
import socket
import time


class NatsError(Exception):
    pass


class Message:
    __slots__ = ("subject", "reply", "headers", "data", "head")

    def __init__(self, subject: str, reply: str, headers: dict[str, str], data: bytes, head: bytes = b""):
        self.subject, self.reply, self.headers, self.data = subject, reply, headers, data
        self.head = head  # the header block as it came, without its empty last line

    @property
    def error_code(self) -> int:
        """What Nats-Service-Error-Code says, or 0."""
        return int(self.headers.get("Nats-Service-Error-Code", "0"))


class NatsClient:
    """One connection. `request` waits for its own reply and keeps what else arrives for `next`."""

    def __init__(self, host: str, port: int, timeout: float = 10, inbox: str = "", **connect):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.kept: dict[str, list[Message]] = {}
        self.sids: dict[str, str] = {}
        self.inbox = inbox or "_INBOX." + os.urandom(8).hex()
        self.count = 0
        self._read_line(timeout)  # INFO
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "protocol": 1}
        self._send(b"CONNECT " + json.dumps(options | connect).encode() + b"\r\nPING\r\n")
        while self._read_line(timeout) != b"PONG":
            pass
        self.subscribe(self.inbox + ".*")

    def close(self) -> None:
        self.socket.close()

    def subscribe(self, subject: str, queue: str = "") -> None:
        sid = str(len(self.sids) + 1)
        self.sids[sid] = subject
        self.kept[subject] = []
        self._send(f"SUB {subject} {queue} {sid}\r\n".replace("  ", " ").encode())

    def unsubscribe(self, subject: str) -> None:
        for sid in [sid for sid, kept in self.sids.items() if kept == subject]:
            self._send(f"UNSUB {sid}\r\n".encode())
            self.sids[sid] = ""  # what is under way is read and forgotten
        self.kept.pop(subject, None)

    def publish(self, subject: str, data: bytes = b"", reply: str = "", headers: list | None = None) -> None:
        verb, size, block = "PUB", "", b""
        if headers is not None:
            block = b"NATS/1.0\r\n" + b"".join(f"{key}: {value}\r\n".encode() for key, value in headers) + b"\r\n"
            verb, size = "HPUB", f" {len(block)}"
        line = f"{verb} {subject} {reply}".rstrip() + f"{size} {len(block) + len(data)}\r\n"
        self._send(line.encode() + block + data + b"\r\n")

    def flush(self, timeout: float = 10) -> None:
        self._send(b"PING\r\n")
        deadline = time.monotonic() + timeout
        while (line := self._read_line(deadline - time.monotonic())) != b"PONG":
            self._handle(line, deadline)

    def request(self, subject: str, data: bytes = b"", timeout: float = 10, headers: list | None = None) -> Message:
        reply = self.send_request(subject, data, headers)
        return self.wait_reply(reply, timeout)

    def send_request(self, subject: str, data: bytes = b"", headers: list | None = None) -> str:
        self.count += 1
        reply = f"{self.inbox}.{self.count}"
        self.publish(subject, data, reply, headers)
        return reply

    def next_reply(self, timeout: float = 10) -> Message:
        """Of any request under way."""
        return self.next(self.inbox + ".*", timeout)

    def wait_reply(self, reply: str, timeout: float = 10) -> Message:
        deadline = time.monotonic() + timeout
        kept = self.kept[self.inbox + ".*"]
        while True:
            for i, message in enumerate(kept):
                if message.subject == reply:
                    return kept.pop(i)
            self._handle(self._read_line(deadline - time.monotonic()), deadline)

    def next(self, subscription: str, timeout: float = 10) -> Message:
        deadline = time.monotonic() + timeout
        while not self.kept[subscription]:
            self._handle(self._read_line(deadline - time.monotonic()), deadline)
        return self.kept[subscription].pop(0)

    def pump(self, timeout: float = 0) -> None:
        """Takes in what has come; waits at most `timeout` for something to come."""
        if b"\r\n" not in self.buffer:
            if not select.select([self.socket], [], [], timeout)[0]:
                return
            self._fill(10)
        while b"\r\n" in self.buffer:
            self._handle(self._read_line(10), time.monotonic() + 10)

    def drop(self, subscription: str) -> int:
        """Forgets what has come for a subscription; says how many."""
        count = len(self.kept[subscription])
        self.kept[subscription].clear()
        return count

    def _send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _fill(self, timeout: float) -> None:
        if timeout <= 0 or not select.select([self.socket], [], [], timeout)[0]:
            raise TimeoutError("no message in time")
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise NatsError("connection closed")
        self.buffer += piece

    def _read_line(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._fill(deadline - time.monotonic())
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 2]
        return line

    def _read_bytes(self, size: int, deadline: float) -> bytes:
        while len(self.buffer) < size + 2:
            self._fill(deadline - time.monotonic())
        data = bytes(self.buffer[:size])
        del self.buffer[:size + 2]
        return data

    def _handle(self, line: bytes, deadline: float) -> None:
        words = line.decode().split(" ")
        if words[0] == "PING":
            return self._send(b"PONG\r\n")
        if words[0] == "-ERR":
            raise NatsError(line.decode())
        if words[0] not in ("MSG", "HMSG"):
            return None
        size = int(words[-1])
        header_size = int(words[-2]) if words[0] == "HMSG" else 0
        fixed = 5 if words[0] == "HMSG" else 4
        reply = words[3] if len(words) > fixed else ""
        data = self._read_bytes(size, deadline)
        headers = {}
        head = data[:header_size].decode(errors="replace").split("\r\n")
        if header_size and len(status := head[0].split(" ", 2)) > 1:
            headers["Status"] = status[1]
        for entry in head[1:]:
            key, colon, value = entry.partition(":")
            if colon:
                headers[key] = value.strip()
        if subscription := self.sids[words[2]]:
            message = Message(words[1], reply, headers, data[header_size:], data[:header_size].removesuffix(b"\r\n\r\n"))
            self.kept[subscription].append(message)
        return None


def as_json(message: Message):
    return json.loads(message.data)
