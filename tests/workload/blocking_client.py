"""A small NATS client for whole-system tests: blocking, one connection, headers, no dependencies."""
import collections
import itertools
import json
import os
import re
import socket
import time

Message = collections.namedtuple("Message", "subject reply headers payload")


class NoReply(Exception):
    pass


class Client:
    """Confined to one thread. Messages are kept by subscription id until somebody asks for them."""

    def __init__(self, url: str, patience: float = 20):
        host, port = re.fullmatch(r"nats://([^:/]+):(\d+)", url).groups()
        self.patience = patience
        self.socket = socket.create_connection((host, int(port)), timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sids = itertools.count(1)
        self.waiting = collections.defaultdict(collections.deque)
        self.errors = []
        self.pongs = 0
        self.inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.numbers = itertools.count()
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "test"}
        self.socket.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.replies = self.subscribe(self.inbox + ".*")
        self.flush()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def subscribe(self, subject: str) -> int:
        sid = next(self.sids)
        self.socket.sendall(f"SUB {subject} {sid}\r\n".encode())
        return sid

    def publish(self, subject: str, payload: bytes = b"", reply: str = "", headers: list | None = None) -> None:
        if headers is None:
            line = f"PUB {subject} {reply} {len(payload)}\r\n"
            self.socket.sendall(line.encode() + payload + b"\r\n")
            return
        block = b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers) + b"\r\n"
        line = f"HPUB {subject} {reply} {len(block)} {len(block) + len(payload)}\r\n"
        self.socket.sendall(line.encode() + block + payload + b"\r\n")

    def flush(self) -> None:
        wanted = self.pongs + 1
        self.socket.sendall(b"PING\r\n")
        self._read_until(lambda: self.pongs >= wanted, self.patience, "no PONG")

    def send_request(self, subject: str, payload: bytes = b"", headers: list | None = None) -> str:
        """Sends only; `replies` gets the answer, on the inbox this returns."""
        inbox = f"{self.inbox}.{next(self.numbers)}"
        self.publish(subject, payload, inbox, headers)
        return inbox

    def request(self, subject: str, payload: bytes | str = b"", headers: list | None = None) -> Message:
        payload = payload.encode() if isinstance(payload, str) else payload
        inbox = self.send_request(subject, payload, headers)
        while True:
            answer = self.next(self.replies, f"no reply from {subject}")
            if answer.subject == inbox:
                return answer

    def next(self, sid: int, complaint: str = "no message", patience: float | None = None) -> Message:
        self._read_until(lambda: bool(self.waiting[sid]), self.patience if patience is None else patience, complaint)
        return self.waiting[sid].popleft()

    def _read_until(self, is_done, patience: float, complaint: str) -> None:
        deadline = time.monotonic() + patience
        while not is_done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise NoReply(f"{complaint} within {patience} s {self.errors or ''}")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 18)
            except TimeoutError:
                continue
            if not data:
                raise NoReply(f"{complaint}: the server closed the connection {self.errors or ''}")
            self.buffer += data
            while self._parse():
                pass

    def _parse(self) -> bool:
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return False
        words = line.decode().split(" ")
        verb = words[0].upper()
        if verb in ("MSG", "HMSG"):
            total = int(words[-1])
            if len(rest) < total + 2:
                return False
            header_size = int(words[-2]) if verb == "HMSG" else 0
            fields = words[1:-2] if verb == "HMSG" else words[1:-1]
            lines = rest[:header_size].decode().split("\r\n")
            headers = [tuple(part.strip() for part in text.split(":", 1)) for text in lines[1:] if ":" in text]
            if header_size and lines[0] != "NATS/1.0":
                headers.insert(0, ("Status", lines[0].split(" ")[1]))
            reply = fields[2] if len(fields) > 2 else ""
            self.waiting[int(fields[1])].append(Message(fields[0], reply, headers, rest[header_size:total]))
            self.buffer = rest[total + 2:]
            return True
        if verb == "PING":
            self.socket.sendall(b"PONG\r\n")
        elif verb == "PONG":
            self.pongs += 1
        elif verb == "-ERR":
            self.errors.append(line.decode())
        self.buffer = rest
        return True
