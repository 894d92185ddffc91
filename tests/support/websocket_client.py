"""A WebSocket client on the standard library that can also do everything wrong: RFC 6455 and 7692."""
import base64
import hashlib
import os
import select
import socket
import struct
import time
import zlib

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def request(fields: dict[str, str | None] | None = None, method: str = "GET", path: str = "/",
            version: str = "HTTP/1.1") -> bytes:
    """An upgrade request; a field that is None is left out, others are replaced or added."""
    head = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13", **(fields or {})}
    lines = [f"{name}: {value}" for name, value in head.items() if value is not None]
    return "\r\n".join([f"{method} {path} {version}", *lines, "", ""]).encode()


def mask_bytes(key: bytes, payload: bytes) -> bytes:
    length = len(payload)
    wide = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(wide, "big")).to_bytes(length, "big")


def frame(payload: bytes, opcode: int = BINARY, final: bool = True, rsv: int = 0, masked: bool = True,
          length: int | None = None) -> bytes:
    """`rsv`: 4 for RSV1 (compressed), 2, 1. `length` may lie."""
    size = len(payload) if length is None else length
    first = bytes([final << 7 | rsv << 4 | opcode])
    if size < 126:
        head = first + bytes([masked << 7 | size])
    elif size < 65536:
        head = first + bytes([masked << 7 | 126]) + struct.pack(">H", size)
    else:
        head = first + bytes([masked << 7 | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + mask_bytes(key, payload)


def deflate(payload: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return packed[:-4]


class WebSocketClient:
    """One connection. After `open` the received frames are in `frames`, the messages' bytes in `data`."""

    def __init__(self, address: tuple[str, int], timeout: float = 10, wrap=None):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap:
            self.socket = wrap(self.socket)
        self.poll = select.poll()
        self.poll.register(self.socket, select.POLLIN)
        self.raw = b""
        self.frames: list[tuple[int, int, bytes]] = []  # first byte, second byte, payload
        self.data = b""
        self.is_closed = False
        self.message: tuple[bool, bytes] | None = None

    def close(self) -> None:
        self.socket.close()

    def open(self, **arguments) -> str:
        """Sends the request; returns the answer's head."""
        self.socket.sendall(request(**arguments))
        return self.read_head()

    def read_head(self, seconds: float = 10) -> str:
        end = time.monotonic() + seconds
        while b"\r\n\r\n" not in self.raw and self._fill(end - time.monotonic()):
            pass
        head, _, self.raw = self.raw.partition(b"\r\n\r\n")
        return head.decode()

    def read_rest(self, seconds: float = 2) -> bytes:
        """All bytes up to the end of the stream, or for so long."""
        end = time.monotonic() + seconds
        while self._fill(end - time.monotonic()):
            pass
        rest, self.raw = self.raw, b""
        return rest

    def send(self, data: bytes) -> bool:
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def send_text(self, text: str) -> bool:
        return self.send(frame(text.encode()))

    def pump(self, seconds: float) -> bool:
        """Takes in frames until one came, the stream ended, or the time is over."""
        end = time.monotonic() + seconds
        while not self._parse():
            if not self._fill(end - time.monotonic()):
                return False
        return True

    def read_until(self, text: bytes, seconds: float = 10) -> bytes:
        """The messages' bytes up to and with `text`."""
        end = time.monotonic() + seconds
        while text not in self.data:
            if not self.pump(end - time.monotonic()) and (self.is_closed or time.monotonic() >= end):
                raise TimeoutError(f"no {text!r} but {self.data[-200:]!r}, {self.frames[-3:]}")
        got, _, self.data = self.data.partition(text)
        return got + text

    def read_close(self, seconds: float = 5) -> tuple[int, str] | None:
        """Status and text of the close frame; None when the stream ends without one."""
        end = time.monotonic() + seconds
        while True:
            for first, _, payload in self.frames:
                if first & 15 == CLOSE:
                    status = struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else 0
                    return status, payload[2:].decode(errors="replace")
            if not self.pump(end - time.monotonic()):
                return None

    def _fill(self, seconds: float) -> bool:
        ready = getattr(self.socket, "pending", lambda: 0)() > 0
        if self.is_closed or (not ready and not self.poll.poll(max(seconds, 0) * 1000)):
            return False
        try:
            got = self.socket.recv(1 << 18)
        except OSError:
            got = b""
        self.is_closed = not got
        self.raw += got
        return bool(got)

    def _parse(self) -> bool:
        raw = self.raw
        if len(raw) < 2:
            return False
        size, at = raw[1] & 127, 2
        if size == 126:
            if len(raw) < 4:
                return False
            size, at = struct.unpack(">H", raw[2:4])[0], 4
        elif size == 127:
            if len(raw) < 10:
                return False
            size, at = struct.unpack(">Q", raw[2:10])[0], 10
        if len(raw) < at + size:
            return False
        payload, self.raw = raw[at:at + size], raw[at + size:]
        self.frames.append((raw[0], raw[1], payload))
        if raw[0] & 15 in (TEXT, BINARY, CONTINUATION):
            packed, before = self.message if self.message else (bool(raw[0] & 0x40), b"")
            whole = before + payload
            self.message = (packed, whole)
            if raw[0] & 0x80:
                self.data += zlib.decompressobj(-15).decompress(whole + b"\0\0\xff\xff") if packed else whole
                self.message = None
        return True


def accept_key(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
