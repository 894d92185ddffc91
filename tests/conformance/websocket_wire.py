#!/usr/bin/env python3
"""The WebSocket door beside nats-server's: refused handshakes, agreements, and what comes after odd frames.

    websocket_wire.py --brokkr PATH [--show]

Every case runs against Brokkr with one loop and with two, and against nats-server where there is one; each must
give what is written here.
"""
import argparse
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import server as servers  # noqa: E402
from websocket_client import (BINARY, CLOSE, CONTINUATION, KEY, OFFER, PING, PONG, TEXT, WebSocketClient,  # noqa: E402
                              accept_key, deflate, frame, request)

CONFIG = """
max_payload: 100000
authorization { users: [
  {user: ann, password: secret, allowed_connection_types: [STANDARD, WEBSOCKET]},
  {user: bob, password: hidden, allowed_connection_types: [STANDARD]} ] }
websocket { listen: "127.0.0.1:-1", no_tls: true, compression: true, handshake_timeout: "1s",
  user_cookie: u, pass_cookie: p, headers: {X-Greeting: hello}, %s }
"""
CONNECT = 'CONNECT {"verbose":false,"user":"ann","pass":"secret"}\r\n'

# What is asked, then the status line and the body.
REFUSALS = [
    ("method", request(method="POST"), "405 Method Not Allowed"),
    ("method in lower case", request(method="get"), "405 Method Not Allowed"),
    ("mqtt path", request(path="/mqtt"), "404 Not Found"),
    ("mqtt path with another in front", request(path="/a/mqtt"), "404 Not Found"),
    ("no upgrade", request({"Upgrade": None}), "400 Bad Request"),
    ("other upgrade", request({"Upgrade": "h2c"}), "400 Bad Request"),
    ("no connection", request({"Connection": None}), "400 Bad Request"),
    ("other connection", request({"Connection": "keep-alive"}), "400 Bad Request"),
    ("no key", request({"Sec-WebSocket-Key": None}), "400 Bad Request"),
    ("empty key", request({"Sec-WebSocket-Key": ""}), "400 Bad Request"),
    ("short key", request({"Sec-WebSocket-Key": "c2hvcnQ="}), "400 Bad Request"),
    ("key that is no base64", request({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZ!=="}), "400 Bad Request"),
    ("key in the other alphabet", request({"Sec-WebSocket-Key": "____________________-w=="}), "400 Bad Request"),
    ("no version", request({"Sec-WebSocket-Version": None}), "400 Bad Request"),
    ("old version", request({"Sec-WebSocket-Version": "8"}), "400 Bad Request"),
    ("origin", request({"Origin": "http://evil.example"}), "403 Forbidden"),
    ("null origin", request({"Origin": "null"}), "403 Forbidden"),
    ("origin with another port", request({"Origin": "https://app.example:444"}), "403 Forbidden"),
    ("origin with another scheme", request({"Origin": "http://app.example"}), "403 Forbidden"),
]
# Requests that get in, and what the answer must hold beside the usual.
AGREEMENTS = [
    ("plain", request(), set()),
    ("fields in any case", request({"Host": None, "host": "x", "Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"}), set()),
    ("several versions", request({"Sec-WebSocket-Version": "8, 13"}), set()),
    ("allowed origin", request({"Origin": "https://app.example"}), set()),
    ("allowed origin with its port", request({"Origin": "https://APP.example:443"}), set()),
    ("a path", request(path="/some/where?x=y"), set()),
    ("compression", request({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}), {f"Sec-WebSocket-Extensions: {OFFER}"}),
    ("another extension", request({"Sec-WebSocket-Extensions": "x-other, bbf"}), set()),
    ("no masking", request({"Nats-No-Masking": "true"}), {"Nats-No-Masking: true"}),
    ("no masking in other words", request({"Nats-No-Masking": "yes"}), set()),
    ("a protocol", request({"Sec-WebSocket-Protocol": "nats"}), set()),
]
# Frames after CONNECT, and the close frame they are answered with.
BROKEN = [
    ("no mask", frame(b"PING\r\n", masked=False), (1002, "mask bit missing")),
    ("RSV2", frame(b"", rsv=2), (1002, "RSV2 and RSV3 must be clear")),
    ("RSV3", frame(b"", rsv=1), (1002, "RSV2 and RSV3 must be clear")),
    ("RSV1 without agreement", frame(b"", rsv=4), (1002, "compressed frame received without negotiated permessage-deflate")),
    ("opcode 3", frame(b"", opcode=3), (1002, "unknown opcode 3")),
    ("opcode 11", frame(b"", opcode=11), (1002, "unknown opcode 11")),
    ("long ping", frame(b"x" * 126, opcode=PING), (1002, "control frame length bigger than maximum allowed of 125 bytes")),
    ("ping in fragments", frame(b"x", opcode=PING, final=False), (1002, "control frame does not have final bit set")),
    ("continuation of nothing", frame(b"x", opcode=CONTINUATION), (1002, "invalid continuation frame")),
    ("message within a message", frame(b"", final=False) + frame(b""), (1002, "new message started before final frame for previous message was received")),
    ("top bit of a long length", frame(b"", length=1 << 63), (1002, "invalid 64-bit payload length")),
    ("close of one byte", frame(b"x", opcode=CLOSE), (1002, "close frame payload cannot be 1 byte")),
    ("close with 1005", frame(b"\x03\xed", opcode=CLOSE), (1002, "invalid close status code 1005")),
    ("close with 2999", frame(b"\x0b\xb7", opcode=CLOSE), (1002, "invalid close status code 2999")),
    ("close with bad text", frame(b"\x03\xe8\xff", opcode=CLOSE), (1007, "invalid utf8 body in close frame")),
    ("close", frame(b"\x03\xe8bye", opcode=CLOSE), (1000, "bye")),
    ("close with 4000", frame(b"\x0f\xa0", opcode=CLOSE), (4000, "")),
    ("close without status", frame(b"", opcode=CLOSE), (0, "")),
]
# Broken frames on a connection that compresses.
BROKEN_COMPRESSED = [
    ("compressed ping", frame(b"", opcode=PING, rsv=4), (1002, "control frame must not be compressed")),
    ("compressed continuation", frame(b"", final=False, rsv=4) + frame(b"", opcode=CONTINUATION, rsv=4), (1002, "invalid continuation frame")),
]


class Door:
    """A server with the listener, and cases counted."""

    def __init__(self, where: str, server: servers.Server, is_ours: bool, show: bool):
        self.where, self.server, self.is_ours, self.show = where, server, is_ours, show
        self.wrong = self.right = 0

    def client(self) -> WebSocketClient:
        return WebSocketClient(self.server.address("websocket"))

    def check(self, what: str, got, wanted) -> None:
        if got == wanted:
            self.right += 1
            if self.show:
                print(f"      {what}: {got!r}")
            return
        self.wrong += 1
        print(f"WRONG {self.where}: {what}\n    wanted {wanted!r}\n    got    {got!r}")

    def check_close(self, what: str, got, wanted) -> None:
        # nats-server mostly ends a connection before the reason for it is out.
        if not self.is_ours and got is None and wanted[0] == 1002:
            got = wanted
        self.check(what, got, wanted)

    def connect(self, fields: dict | None = None, connect: str = CONNECT) -> WebSocketClient:
        client = self.client()
        client.open(fields=fields)
        client.send_text(connect + "PING\r\n")
        client.read_until(b"PONG\r\n")
        return client


def test_refusals(door: Door) -> None:
    for what, asked, wanted in REFUSALS:
        client = door.client()
        client.send(asked)
        lines = client.read_head().split("\r\n")
        fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
        body = client.read_rest(0.2).decode()
        door.check(what, (lines[0], body), (f"HTTP/1.1 {wanted}", wanted[4:] + "\n"))
        door.check(what + ": fields", (fields.get("sec-websocket-version"), fields.get("content-type")),
                   ("13", "text/plain; charset=utf-8"))
        client.close()


def test_agreements(door: Door) -> None:
    usual = {"Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept_key(KEY)}", "X-Greeting: hello"}
    for what, asked, more in AGREEMENTS:
        client = door.client()
        client.send(asked)
        lines = client.read_head().split("\r\n")
        door.check(what, (lines[0], set(lines[1:])), ("HTTP/1.1 101 Switching Protocols", usual | more))
        client.pump(5)
        packed = any("Extensions" in line for line in more)
        door.check(what + ": first frame", client.frames[0][0] if client.frames else None, 0xC2 if packed else 0x82)
        door.check(what + ": INFO", client.data.startswith(b'INFO {"server_id":"N') and client.data.endswith(b"} \r\n"), True)
        client.close()


def test_broken_frames(door: Door) -> None:
    for what, bad, wanted in BROKEN:
        client = door.connect()
        client.send(bad)
        door.check_close(what, client.read_close(), wanted)
        client.close()
    for what, bad, wanted in BROKEN_COMPRESSED:
        client = door.connect({"Sec-WebSocket-Extensions": OFFER})
        client.send(bad)
        door.check_close(what, client.read_close(), wanted)
        client.close()


def test_good_frames(door: Door) -> None:
    client = door.connect()
    client.send_text("SUB a 1\r\nPING\r\n")
    client.read_until(b"PONG\r\n")
    client.send(frame(b"PUB a 5\r\nhe", final=False) + frame(b"are you there", opcode=PING) +
                frame(b"llo\r", opcode=CONTINUATION, final=False) + frame(b"\n", opcode=CONTINUATION))
    door.check("fragments", client.read_until(b"hello\r\n"), b"MSG a 1 5\r\nhello\r\n")
    door.check("pong", [payload for first, _, payload in client.frames if first & 15 == PONG], [b"are you there"])
    client.send(frame(b"PUB a 4\r\ntext\r\n", opcode=TEXT))
    door.check("text", client.read_until(b"text\r\n"), b"MSG a 1 4\r\ntext\r\n")
    client.send(frame(b"") + frame(b"", opcode=PONG) + frame(b"PUB a 0\r\n\r\n"))
    door.check("empty", client.read_until(b"MSG a 1 0\r\n\r\n"), b"MSG a 1 0\r\n\r\n")
    client.close()
    client = door.connect({"Sec-WebSocket-Extensions": OFFER})
    client.send_text("SUB a 1\r\n")
    text = b"0123456789" * 50
    packed = deflate(b"PUB a 500\r\n" + text + b"\r\n")
    client.send(frame(packed[:9], final=False, rsv=4) + frame(packed[9:], opcode=CONTINUATION))
    door.check("compressed", client.read_until(text + b"\r\n").endswith(text + b"\r\n"), True)
    door.check("compressed answer", client.frames[-1][0], 0xC2)
    client.send_text("PING\r\n")
    client.read_until(b"PONG\r\n")
    door.check("short answer", client.frames[-1][0] in (0x82, 0xC2), True)
    client.close()


def test_no_masking(door: Door) -> None:
    client = door.client()
    client.open(fields={"Nats-No-Masking": "true"})
    client.send(frame((CONNECT + "PING\r\n").encode(), masked=False))
    door.check("no mask where agreed", client.read_until(b"PONG\r\n").endswith(b"PONG\r\n"), True)
    client.close()


def test_browser(door: Door) -> None:
    text = b"x" * 20000
    for fields, what in [({}, "browser"), ({"Sec-WebSocket-Extensions": OFFER}, "compressing browser")]:
        client = door.connect({"User-Agent": "Mozilla/5.0 (X11) Chrome/156 Safari/537.36", **fields})
        client.send_text("SUB a 1\r\n")
        client.send(frame(b"PUB a 20000\r\n" + text + b"\r\n"))
        door.check(what, client.read_until(text + b"\r\n").endswith(text + b"\r\n"), True)
        door.check(what + ": frames", max(len(payload) for _, _, payload in client.frames) <= 4096, True)
        client.close()


def credentials_outcome(door: Door, cookie: str | None, connect: str) -> str:
    client = door.client()
    client.open(fields={"Cookie": cookie})
    client.send_text(f"CONNECT {connect}\r\nPING\r\n")
    try:
        client.read_until(b"PONG\r\n", 3)
        return "in"
    except TimeoutError:
        error = re.search(rb"-ERR '([^']*)'", client.data)
        status = client.read_close(1)
        return f"{error[1].decode() if error else ''} {status[0] if status else ''}"
    finally:
        client.close()


def test_credentials(door: Door) -> None:
    for what, cookie, connect, wanted in [
            ("CONNECT", None, '{"user":"ann","pass":"secret"}', "in"),
            ("cookies", 'other=1; u=ann; p="secret"', "{}", "in"),
            ("CONNECT before cookies", "u=eve; p=evil", '{"user":"ann","pass":"secret"}', "in"),
            ("wrong cookies", "u=ann; p=evil", "{}", "Authorization Violation 1008"),
            ("nothing", None, "{}", "Authorization Violation 1008"),
            ("not for websockets", None, '{"user":"bob","pass":"hidden"}', "Authorization Violation 1008")]:
        door.check(what, credentials_outcome(door, cookie, connect), wanted)


def test_bad_protocol(door: Door) -> None:
    client = door.connect()
    client.send(frame(b"PUB a 100001\r\n"))
    if door.is_ours:  # nats-server ends the connection before either frame is out, now and then
        door.check("too large", client.read_close(), (1009, "Maximum Message Payload Exceeded"))
    client.close()


TESTS = [test_refusals, test_agreements, test_broken_frames, test_good_frames, test_no_masking, test_browser,
         test_credentials, test_bad_protocol]


def test_server(where: str, binary: str, config: str, is_ours: bool, show: bool) -> bool:
    allowed = "allowed_origins: [\"https://app.example\"]"
    with servers.Server(binary, config + CONFIG % allowed) as server:
        door = Door(where, server, is_ours, show)
        for test in TESTS:
            test(door)
        if server.process.poll() is not None:
            door.check("the server", "ended", "runs")
    print(f"{'ok   ' if door.wrong == 0 else 'WRONG'} {where}: {door.right} right, {door.wrong} wrong")
    return door.wrong == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    targets = [("Brokkr, 1 loop", args.brokkr, "brokkr { loops: 1 }"), ("Brokkr, 2 loops", args.brokkr, "brokkr { loops: 2 }")]
    if oracle := servers.find_oracle():
        targets.append((f"nats-server {servers.version_of(oracle)}", oracle, ""))
    right = True
    for where, binary, config in targets:
        right &= test_server(where, binary, config, binary == args.brokkr, args.show)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
