"""Raw connections that bring credentials of any kind, and an operator with accounts to try."""
import json
import socket
import time

import nkeys
from nkeys import Key

OK, NO = "PONG", "-ERR 'Authorization Violation'"


class Link:
    """A raw connection that has read INFO."""

    def __init__(self, address: tuple[str, int]):
        self.socket = socket.create_connection(address, 10)
        self.socket.settimeout(10)
        self.buffer = b""
        self.info = json.loads(self.line()[5:])

    def line(self, timeout: float = 10) -> str:
        """The next line; "closed" after the end, "" when none comes in time."""
        self.socket.settimeout(timeout)
        while b"\r\n" not in self.buffer:
            try:
                got = self.socket.recv(65536)
            except TimeoutError:
                return ""
            except ConnectionError:
                got = b""
            if not got:
                return "closed"
            self.buffer += got
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode(errors="replace")

    def send(self, text: str) -> None:
        try:
            self.socket.sendall(text.encode())
        except ConnectionError:
            pass

    def next(self, timeout: float = 10) -> str:
        """The next line that is no PING, INFO or +OK."""
        while True:
            line = self.line(timeout)
            if line == "PING":
                self.send("PONG\r\n")
            elif not line.startswith(("INFO", "+OK")):
                return line

    def knock(self, connect: dict | None, jwt_key: Key | None = None) -> str:
        """What the server answers; the nonce is signed where there is a key."""
        if connect is not None:
            connect = {"verbose": False, "pedantic": False, **connect}
            if jwt_key is not None:
                connect["sig"] = jwt_key.sign_nonce(self.info.get("nonce", ""))
            self.send("CONNECT " + json.dumps(connect) + "\r\n")
        self.send("PING\r\n")
        return self.next()

    def sync(self, text: str) -> list[str]:
        self.send(text + "PING\r\n")
        lines = []
        while (line := self.next()) not in ("PONG", "closed", ""):
            lines.append(line)
        return lines + ([line] if line != "PONG" else [])

    def request(self, subject: str, body: str, timeout: float = 5) -> list[str]:
        """The bodies of the replies, up to the first for a plain request."""
        inbox = "_INBOX.x" + str(time.monotonic_ns())
        self.sync(f"SUB {inbox} 77\r\n")
        self.send(f"PUB {subject} {inbox} {len(body)}\r\n{body}\r\n")
        out = []
        while (line := self.next(timeout)).startswith("MSG"):
            size = int(line.split()[-1])
            while len(self.buffer) < size + 2:
                self.buffer += self.socket.recv(65536)
            out.append(self.buffer[:size].decode())
            self.buffer = self.buffer[size + 2:]
            if not subject.endswith("PACK") or size == 0:
                break
        self.sync("UNSUB 77\r\n")
        return out


class Domain:
    """An operator with a system account and accounts to try."""

    def __init__(self, **operator):
        self.operator, self.system, self.account, self.other = (
            Key("operator"), Key("account"), Key("account"), Key("account"))
        self.signing, self.scoped, self.operator_signing = Key("account"), Key("account"), Key("operator")
        self.user = Key("user")
        self.operator_claims = {"system_account": self.system.public,
                                "signing_keys": [self.operator_signing.public], **operator}
        scope = {"kind": "user_scope", "key": self.scoped.public, "role": "r", "template": {
            "pub": {"allow": ["s.{{name()}}.>"]}, "sub": {}, "subs": 2, "data": -1, "payload": 16}}
        self.scope = scope
        signer = self.operator_signing if "strict_signing_key_usage" in operator else self.operator
        self.accounts = {
            self.system.public: nkeys.account_jwt(signer, self.system, "SYS"),
            self.account.public: self.account_jwt(signer=signer),
        }

    def account_jwt(self, scope: dict | None = None, signer: Key | None = None, **more) -> str:
        keys = [self.signing.public, scope or self.scope]
        return nkeys.account_jwt(signer or self.operator, self.account, "A", signing_keys=keys, **more)

    def config(self, resolver: str = "MEMORY", preload: bool = True, more: str = "") -> str:
        lines = [f"operator: {nkeys.operator_jwt(self.operator, **self.operator_claims)}", f"resolver: {resolver}", more]
        if preload:
            lines += ["resolver_preload {", *(f"  {key}: {jwt}" for key, jwt in self.accounts.items()), "}"]
        return "\n".join(lines)

    def jwt(self, signer: Key | None = None, claims: dict | None = None, name: str = "joe", **nats) -> str:
        return nkeys.user_jwt(signer or self.account, self.user, name, claims, **nats)

    def system_link(self, server) -> Link:
        user = Key("user")
        link = Link(server.address())
        outcome = link.knock({"jwt": nkeys.user_jwt(self.system, user)}, user)
        if outcome != OK:
            raise RuntimeError("the system user is not let in: " + outcome)
        return link
