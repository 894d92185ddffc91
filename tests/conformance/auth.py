#!/usr/bin/env python3
"""Knocks at Brokkr and at nats-server with the same credentials and compares who gets in.

    auth.py --brokkr PATH [--oracle PATH] [-v]

Both servers get the same configuration: users, nkeys, the system account alone, operator mode with
all that its tokens can say, a folder of account tokens with its requests, an auth callout. For each
attempt the first answer after CONNECT and the fate of the connection must be the same; for operator
mode the replies of the claims requests too. Without an nats-server the outcomes written beside the
attempts must hold.
"""
import argparse
import http.server
import json
import pathlib
import sys
import threading
import time

import server as servers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import nkeys  # noqa: E402
from auth_links import NO, OK, Domain, Link  # noqa: E402
from nkeys import Key  # noqa: E402

class Comparison:
    def __init__(self, arguments):
        self.brokkr, self.oracle, self.verbose = arguments.brokkr, arguments.oracle, arguments.v
        self.failures = 0
        self.checks = 0

    def run(self, title: str, config: str, script, files: dict[str, str] | None = None) -> None:
        """`script(server)` yields (what, outcome[, expected])."""
        found = []
        for binary in filter(None, (self.brokkr, self.oracle)):
            with servers.Server(binary, config, files) as running:
                try:
                    found.append(list(script(running)))
                except Exception:
                    print(f"{title}: on {binary}\n{running.log()}")
                    raise
        for index, (what, ours, *expected) in enumerate(found[0]):
            self.checks += 1
            theirs = found[1][index][1] if len(found) > 1 else None
            good = (not expected or ours == expected[0]) and (theirs is None or ours == theirs)
            if not good:
                self.failures += 1
                print(f"{title}: {what}\n    brokkr      {ours}\n    nats-server {theirs}"
                      + (f"\n    expected    {expected[0]}" if expected else ""))
            elif self.verbose:
                print(f"{title}: {what}: {ours}")


def attempt(server, what: str, connect: dict | None, expected: str | None = None, key: Key | None = None):
    link = Link(server.address())
    outcome = link.knock(connect, key)
    if outcome.startswith("-ERR"):
        outcome += "" if link.next(5) == "closed" else " and stays open"
        expected = expected and expected
    link.socket.close()
    return (what, outcome, expected) if expected else (what, outcome)


# --- users of a configuration ------------------------------------------------------------------

USERS = """
authorization {
  default_permissions { publish: "d.>" }
  users [
    {user: plain, password: pw, permissions: {publish: "p.>", subscribe: {allow: ["s.>"], deny: "s.no"}}}
    {user: hashed, password: "$2a$04$KDCUv/gkzqbldOvi99R2oOOVsxh4zZ9SAzr8F5m4DW9C6N2ZpzMzG"}
    {user: web, password: pw, allowed_connection_types: [WEBSOCKET]}
    {user: proxied, password: pw, proxy_required: true}
    {nkey: %s}
    {nkey: %s, allowed_connection_types: ["leafnode"]}
  ]
}
"""


def users_script(key: Key, other: Key, unknown: Key):
    def script(server):
        link = Link(server.address())
        yield "INFO", (link.info.get("auth_required"), len(link.info.get("nonce", "")))
        link.socket.close()
        for what, connect, expected in [
            ("nothing", {}, NO), ("no CONNECT", None, NO), ("right", {"user": "plain", "pass": "pw"}, OK),
            ("wrong", {"user": "plain", "pass": "pq"}, NO), ("no password", {"user": "plain"}, NO),
            ("unknown", {"user": "nobody", "pass": "pw"}, NO), ("bcrypt wrong", {"user": "hashed", "pass": "bar"}, NO),
            ("as token", {"auth_token": "pw"}, NO), ("another type", {"user": "web", "pass": "pw"}, NO),
            ("proxy", {"user": "proxied", "pass": "pw"}, NO),
            ("account switch", {"user": "plain", "pass": "pw", "account": "$SYS"}, NO),
        ]:
            yield attempt(server, what, connect, expected)
        yield attempt(server, "nkey", {"nkey": key.public}, OK, key)
        yield attempt(server, "nkey without signature", {"nkey": key.public}, NO)
        yield attempt(server, "nkey of another", {"nkey": key.public}, NO, other)
        yield attempt(server, "unknown nkey", {"nkey": unknown.public}, NO, unknown)
        yield attempt(server, "nkey of a wrong type", {"nkey": other.public}, NO, other)
        yield attempt(server, "seed as nkey", {"nkey": key.seed}, NO, key)
        link = Link(server.address())
        link.knock({"user": "plain", "pass": "pw"})
        yield "permissions", link.sync("PUB p.x 0\r\n\r\nPUB d.x 0\r\n\r\nSUB s.x 1\r\nSUB s.no 2\r\nSUB t 3\r\n")
        link.socket.close()
        link = Link(server.address())
        link.knock({"nkey": key.public}, key)
        yield "default permissions", link.sync("PUB p.x 0\r\n\r\nPUB d.x 0\r\n\r\n")
    return script


STAND_IN = """
no_auth_user: guest
authorization { users [ {user: guest, password: g, permissions: {publish: "g"}}, {user: u, password: p} ] }
"""


def stand_in_script(server):
    link = Link(server.address())
    yield "INFO", link.info.get("auth_required", False)
    link.socket.close()
    yield attempt(server, "nothing", {}, OK)
    yield attempt(server, "before CONNECT", None, OK)
    yield attempt(server, "wrong", {"user": "u", "pass": "x"}, NO)
    yield attempt(server, "a password alone", {"pass": "x"}, NO)
    yield attempt(server, "a token", {"auth_token": "x"}, NO)
    link = Link(server.address())
    yield "permissions before CONNECT", [line for line in link.sync("PUB other 0\r\n\r\n") if "ERR" in line]


SYSTEM_ONLY = 'accounts { $SYS { users [ {user: s, password: p} ] } }\n'


def system_only_script(expected: str):
    def script(server):
        link = Link(server.address())
        yield "INFO", link.info.get("auth_required", False)
        link.socket.close()
        yield attempt(server, "nothing", {}, expected)
        yield attempt(server, "system user", {"user": "s", "pass": "p"}, OK)
        yield attempt(server, "wrong password", {"user": "s", "pass": "x"}, NO)
        yield attempt(server, "unknown user", {"user": "x", "pass": "x"}, NO)
    return script


# --- operator mode -----------------------------------------------------------------------------

def tokens_script(domain: Domain):
    now = int(time.time())
    foreign = Key("account")
    by_key = {"issuer_account": domain.account.public}
    nothing_said = {"subs": 0, "data": 0, "payload": 0}
    attempts = [
        ("plain", domain.jwt(), OK),
        ("expired", domain.jwt(claims={"exp": now - 10}), NO),
        ("not yet", domain.jwt(claims={"nbf": now + 100}), NO),
        ("unknown account", nkeys.user_jwt(foreign, domain.user), NO),
        ("signing key", domain.jwt(domain.signing, **by_key), OK),
        ("signing key of nobody", domain.jwt(foreign, **by_key), NO),
        ("signing key, no account", domain.jwt(domain.signing), NO),
        ("account of another", domain.jwt(domain.account, issuer_account=domain.system.public), NO),
        ("scoped with permissions", domain.jwt(domain.scoped, **by_key), NO),
        ("scoped", domain.jwt(domain.scoped, **by_key, **nothing_said), OK),
        ("network", domain.jwt(src=["127.0.0.0/8"]), OK),
        ("another network", domain.jwt(src=["10.0.0.0/8"]), NO),
        ("bad network", domain.jwt(src=["nonsense"]), NO),
        ("all day", domain.jwt(times=[{"start": "00:00:00", "end": "23:59:59"}], times_location="UTC"), None),
        ("bad zone", domain.jwt(times=[{"start": "00:00:00", "end": "23:59:59"}], times_location="No/Where"), NO),
        ("no hours left", domain.jwt(times=[{"start": "00:00:01", "end": "00:00:01"}], times_location="UTC"), NO),
        ("type", domain.jwt(allowed_connection_types=["STANDARD"]), OK),
        ("another type", domain.jwt(allowed_connection_types=["WEBSOCKET"]), NO),
        ("unknown type", domain.jwt(allowed_connection_types=["NEW"]), NO),
        ("signed by itself", nkeys.user_jwt(domain.user, domain.user), NO),
        ("signed by the operator", domain.operator.jwt(domain.user.public, {"type": "user"}), NO),
        ("account token", domain.accounts[domain.account.public], NO),
        ("cut", domain.jwt()[:-5], NO), ("changed", domain.jwt()[:-5] + "AAAAA", NO), ("no token", "x", NO),
        ("half", ".".join(domain.jwt().split(".")[:2]), NO),
    ]

    def script(server):
        link = Link(server.address())
        yield "INFO", (link.info.get("auth_required"), len(link.info.get("nonce", "")))
        link.socket.close()
        for what, jwt, expected in attempts:
            yield attempt(server, what, {"jwt": jwt}, expected, domain.user)
        yield attempt(server, "nothing", {}, NO)
        yield attempt(server, "no CONNECT", None, NO)
        yield attempt(server, "user and password", {"user": "a", "pass": "b"}, NO)
        yield attempt(server, "no signature", {"jwt": domain.jwt()}, NO)
        yield attempt(server, "signature of another", {"jwt": domain.jwt()}, NO, Key("user"))
        yield attempt(server, "bearer", {"jwt": domain.jwt(bearer_token=True)}, OK)
        yield attempt(server, "account switch", {"jwt": domain.jwt(), "account": domain.system.public}, NO, domain.user)
        for what, jwt, text in [
            ("limits", domain.jwt(subs=2, payload=8),
             "SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nPUB x 8\r\n12345678\r\nPUB x 9\r\n123456789\r\n"),
            ("permissions", domain.jwt(pub={"allow": ["p.>"], "deny": ["p.no"]}, sub={"allow": ["s q"]}),
             "PUB p.x 0\r\n\r\nPUB p.no 0\r\n\r\nPUB y 0\r\n\r\nSUB s 1\r\nSUB s q 2\r\nSUB s r 3\r\n"),
            ("answers", domain.jwt(resp={"max": 1, "ttl": 0}), "PUB y 0\r\n\r\nSUB s 1\r\n"),
            ("scope", domain.jwt(domain.scoped, **by_key, **nothing_said),
             "PUB s.joe.a 0\r\n\r\nPUB s.jim.a 0\r\n\r\nSUB a 1\r\nSUB b 2\r\nSUB c 3\r\n"),
        ]:
            link = Link(server.address())
            link.knock({"jwt": jwt}, domain.user)
            yield what, link.sync(text)
            link.socket.close()
        link = Link(server.address())
        link.knock({"jwt": domain.jwt(claims={"exp": int(time.time()) + 2})}, domain.user)
        yield "expiry while connected", [link.next(5), link.next(5)], ["-ERR 'User Authentication Expired'", "closed"]
    return script


def account_script(domain: Domain, expected: str, signer: Key | None = None, **nats):
    jwt = domain.jwt(signer, **nats)

    def script(server):
        yield attempt(server, "user", {"jwt": jwt}, expected, domain.user)
    return script


def json_shape(text: str) -> object:
    """A reply without what is the server's own affair."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    value.pop("server", None)
    for part in ("data", "error"):
        if isinstance(value.get(part), list):
            value[part] = sorted(value[part])
    return value


def claims_script(domain: Domain):
    """A folder of tokens: pushed, listed, packed, looked up, changed under its users, deleted."""
    account, other = domain.account.public, domain.other.public

    def script(server):
        system = domain.system_link(server)

        def ask(what, subject, body=""):
            return what, [json_shape(reply) for reply in system.request("$SYS.REQ." + subject, body)]

        yield attempt(server, "user of an account not pushed", {"jwt": domain.jwt()}, NO, domain.user)
        yield ask("lookup of none", f"ACCOUNT.{account}.CLAIMS.LOOKUP")
        yield ask("push", "CLAIMS.UPDATE", domain.account_jwt())
        time.sleep(1.2)  # nats-server looks for a missing account again after a second
        yield attempt(server, "user", {"jwt": domain.jwt()}, OK, domain.user)
        yield ask("push again", "CLAIMS.UPDATE", domain.account_jwt())
        pushed = nkeys.account_jwt(domain.operator, domain.other, "B")
        yield ask("push to the account", f"ACCOUNT.{other}.CLAIMS.UPDATE", pushed)
        yield ask("push to another account", f"ACCOUNT.{account}.CLAIMS.UPDATE", pushed)
        yield "push of nonsense", [sorted(json_shape(reply)) for reply in
                                   system.request("$SYS.REQ.CLAIMS.UPDATE", "nonsense")]
        yield "lookup", system.request(f"$SYS.REQ.ACCOUNT.{other}.CLAIMS.LOOKUP", "") == [pushed], True
        yield ask("list", "CLAIMS.LIST")
        packed = system.request("$SYS.REQ.CLAIMS.PACK", "")
        yield "pack", (sorted(line.partition("|")[0] for line in packed), packed[-1:] == [""])
        for path in ("..%2f..%2fetc%2fpasswd", "../../etc/passwd", "x", other[:-1], other + "A", domain.user.public):
            yield "lookup of " + path[:12], [reply for reply in system.request(
                f"$SYS.REQ.ACCOUNT.{path.replace('.', '')}.CLAIMS.LOOKUP", "", 0.5) if reply], []

        link = Link(server.address())
        link.knock({"jwt": domain.jwt()}, domain.user)
        yield ask("revoke", "CLAIMS.UPDATE", domain.account_jwt(revocations={domain.user.public: int(time.time()) + 5}))
        yield "revoked while connected", [link.next(5), link.next(5)], ["-ERR 'User Authentication Revoked'", "closed"]
        yield attempt(server, "revoked", {"jwt": domain.jwt()}, NO, domain.user)
        yield ask("forgive", "CLAIMS.UPDATE", domain.account_jwt())
        yield attempt(server, "forgiven", {"jwt": domain.jwt()}, OK, domain.user)

        link = Link(server.address())
        link.knock({"jwt": domain.jwt()}, domain.user)
        yield ask("all revoked", "CLAIMS.UPDATE", domain.account_jwt(revocations={"*": int(time.time()) + 5}))
        yield "all revoked while connected", link.next(5), "-ERR 'User Authentication Revoked'"
        yield ask("forgive", "CLAIMS.UPDATE", domain.account_jwt())

        link = Link(server.address())
        link.knock({"jwt": domain.jwt()}, domain.user)
        yield ask("narrower", "CLAIMS.UPDATE", domain.account_jwt(limits={"payload": 4}))
        time.sleep(0.1)
        yield "limit of payload", link.sync("PUB x 4\r\n1234\r\nPUB x 5\r\n12345\r\n")
        yield ask("wider", "CLAIMS.UPDATE", domain.account_jwt())

        def delete(signer, accounts, subject=None):
            return signer.jwt(subject or signer.public, {"accounts": accounts})
        for what, body in [
            ("by a stranger", delete(Key("operator"), [other])), ("by an account", delete(domain.account, [other])),
            ("not by itself", delete(domain.operator, [other], other)), ("of nothing", delete(domain.operator, ["../x"])),
            ("of the system account", delete(domain.operator, [domain.system.public])),
        ]:
            replies = [json_shape(reply) for reply in system.request("$SYS.REQ.CLAIMS.DELETE", body)]
            yield "delete " + what, [(sorted(reply), reply["error"]["description"].partition(" failed - ")[2]
                                      if "error" in reply else reply) for reply in replies]
        link = Link(server.address())
        link.knock({"jwt": domain.jwt()}, domain.user)
        yield ask("delete", "CLAIMS.DELETE", delete(domain.operator_signing, [account]))
        yield "deleted while connected", [link.next(5), link.next(5)], ["-ERR 'Account Authentication Expired'", "closed"]
        yield attempt(server, "of a deleted account", {"jwt": domain.jwt()}, NO, domain.user)
        yield ask("list after it", "CLAIMS.LIST")
        names = sorted(path.name for path in (server.folder / "jwt").iterdir())
        yield "files", names
    return script


class Web:
    """Serves tokens of accounts, as an account server does."""

    def __init__(self, tokens: dict[str, str]):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                body = (tokens.get(name, "") if name else "here").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwt/v1/accounts/"


def url_script(domain: Domain):
    def script(server):
        yield attempt(server, "user", {"jwt": domain.jwt()}, OK, domain.user)
        foreign = Key("account")
        yield attempt(server, "unknown account", {"jwt": nkeys.user_jwt(foreign, domain.user)}, NO, domain.user)
    return script


# --- auth callout ------------------------------------------------------------------------------

CALLOUT = """
accounts {
  AUTH { users [ {user: auth, password: auth} ] }
  APP { users [ {user: own, password: own} ] }
}
authorization { timeout: 1, auth_callout { issuer: %s, account: AUTH, auth_users: [auth] } }
"""


class Service:
    """Answers the questions of one server in the account AUTH."""

    def __init__(self, server, issuer: Key, decide, connect: dict | None = None, key: Key | None = None):
        self.link = Link(server.address())
        self.issuer, self.decide, self.questions = issuer, decide, []
        if self.link.knock(connect or {"user": "auth", "pass": "auth"}, key) != OK:
            raise RuntimeError("the service is not let in")
        self.link.sync("SUB $SYS.REQ.USER.AUTH 1\r\n")
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while (line := self.link.next(30)).startswith("MSG"):
            size = int(line.split()[-1])
            while len(self.link.buffer) < size + 2:
                self.link.buffer += self.link.socket.recv(65536)
            token = self.link.buffer[:size].decode()
            self.link.buffer = self.link.buffer[size + 2:]
            body = token.split(".")[1]
            question = json.loads(__import__("base64").urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            self.questions.append(question)
            answer = self.decide(question, self.issuer)
            if answer is not None:
                self.link.send(f"PUB {line.split()[-2]} {len(answer)}\r\n{answer}\r\n")

    def answer(question, issuer: Key, audience: str | None = None, subject: str | None = None, **nats) -> str:
        return issuer.jwt(subject or question["nats"]["user_nkey"],
                          {"type": "authorization_response", **nats},
                          aud=audience or question["nats"]["server_id"]["id"])


def callout_script(issuer: Key):
    stranger = Key("account")

    def user(question, signer, account="APP", subject=None, **nats):
        return signer.jwt(subject or question["nats"]["user_nkey"], {"type": "user", **nkeys.UNLIMITED, **nats},
                          "named", aud=account)

    def decide(question, issuer):
        name = question["nats"]["connect_opts"].get("user", "")
        reply = Service.answer
        if name == "good":
            return reply(question, issuer, jwt=user(question, issuer, pub={"allow": ["p"]}))
        if name == "error":
            return reply(question, issuer, error="no such person")
        if name == "empty":
            return ""
        if name == "nonsense":
            return "nonsense"
        if name == "stranger":
            return reply(question, stranger, jwt=user(question, stranger))
        if name == "stranger's user":
            return reply(question, issuer, jwt=user(question, stranger))
        if name == "another server":
            return reply(question, issuer, audience="N" + "A" * 55, jwt=user(question, issuer))
        if name == "another question":
            return reply(question, issuer, subject=Key("user").public, jwt=user(question, issuer))
        if name == "another user":
            return reply(question, issuer, jwt=user(question, issuer, subject=Key("user").public))
        if name == "no account":
            return reply(question, issuer, jwt=user(question, issuer, account="NONE"))
        if name == "expired":
            return reply(question, issuer, jwt=issuer.jwt(
                question["nats"]["user_nkey"], {"type": "user", **nkeys.UNLIMITED}, aud="APP", exp=int(time.time()) - 5))
        if name == "types":
            return reply(question, issuer, jwt=user(question, issuer, allowed_connection_types=["WEBSOCKET"]))
        if name == "issuer account":
            return reply(question, issuer, jwt=user(question, issuer, issuer_account=stranger.public))
        if name == "auth account":
            return reply(question, issuer, jwt=user(question, issuer, account="AUTH"))
        return None if name == "silence" else reply(question, issuer, error="who is that?")

    def script(server):
        service = Service(server, issuer, decide)
        for name, expected in [
            ("good", OK), ("error", NO), ("empty", NO), ("nonsense", NO), ("stranger", NO), ("stranger's user", NO),
            ("another server", NO), ("another question", NO), ("another user", NO), ("no account", NO),
            ("expired", NO), ("types", NO), ("issuer account", NO), ("auth account", OK), ("own", NO),
        ]:
            yield attempt(server, name, {"user": name, "pass": "x"}, expected)
        yield attempt(server, "own with its password", {"user": "own", "pass": "own"}, NO)
        yield attempt(server, "the service", {"user": "auth", "pass": "auth"}, OK)
        yield attempt(server, "the service, wrong password", {"user": "auth", "pass": "x"}, NO)
        first = service.questions[0]
        yield "question", (sorted(first), sorted(first["nats"]), sorted(first["nats"]["client_info"]),
                           sorted(first["nats"]["connect_opts"]), first["aud"], first["sub"] == issuer.public)
        link = Link(server.address())
        link.knock({"user": "good", "pass": "x"})
        yield "permissions", link.sync("PUB p 0\r\n\r\nPUB q 0\r\n\r\n")
        link = Link(server.address())
        link.knock({"user": "auth", "pass": "auth"})
        yield "asking as the server", link.sync("PUB $SYS.REQ.USER.AUTH 0\r\n\r\n")
        begin = time.monotonic()
        link = Link(server.address())
        outcome = link.knock({"user": "silence", "pass": "x"})
        yield "silence", (outcome, 0.8 < time.monotonic() - begin < 3)
    return script


def operator_callout_script(domain: Domain, service_user: Key, sentinel: str):
    """Who comes with the sentinel's token is asked for; the answers put users into accounts."""
    account, other, unlisted = domain.account, domain.other, domain.system

    def decide(question, issuer):
        name = question["nats"]["connect_opts"].get("user", "")
        nkey = question["nats"]["user_nkey"]

        def user(signer, **nats):
            return signer.jwt(nkey, {"type": "user", **nkeys.UNLIMITED, **nats}, "named")
        by_key = {"issuer_account": account.public}
        bare = {"subs": 0, "data": 0, "payload": 0}
        jwt = {"good": lambda: user(account), "signing key": lambda: user(domain.signing, **by_key),
               "scoped": lambda: user(domain.scoped, **by_key, **bare), "scoped and more": lambda: user(domain.scoped, **by_key),
               "another account": lambda: user(other), "a forbidden account": lambda: user(unlisted),
               "an unknown key": lambda: user(Key("account"), **by_key),
               "a stranger": lambda: user(Key("account"))}.get(name)
        if jwt is None:
            return Service.answer(question, issuer, error="no")
        signer = {"signing key": domain.signing}.get(name, issuer)
        more = {"issuer_account": account.public} if signer is domain.signing else {}
        return Service.answer(question, signer, jwt=jwt(), **more)

    def script(server):
        Service(server, account, decide, {"jwt": nkeys.user_jwt(account, service_user)}, service_user)
        for name, expected in [("good", OK), ("signing key", OK), ("scoped", OK), ("scoped and more", NO),
                               ("another account", OK), ("a forbidden account", NO), ("an unknown key", NO),
                               ("a stranger", NO), ("nobody", NO)]:
            yield attempt(server, name, {"jwt": sentinel, "user": name}, expected)
        yield attempt(server, "no token", {"user": "good"}, OK)
        yield attempt(server, "the service", {"jwt": nkeys.user_jwt(account, service_user)}, OK, service_user)
        yield attempt(server, "the service, unproved", {"jwt": nkeys.user_jwt(account, service_user)}, NO)
        link = Link(server.address())
        link.knock({"jwt": sentinel, "user": "scoped"})
        yield "scope", link.sync("PUB s.named.a 0\r\n\r\nPUB other 0\r\n\r\nPUB $SYS.REQ.USER.AUTH 0\r\n\r\n")
    return script


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--oracle", default=servers.find_oracle())
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--only", default="", help="run what holds this text")
    arguments = parser.parse_args()
    run = Comparison(arguments)

    def case(title, config, script, files=None):
        if arguments.only in title:
            run.run(title, config, script, files)

    key, other = Key("user"), Key("user")
    case("users", USERS % (key.public, other.public), users_script(key, other, Key("user")))
    case("no_auth_user", STAND_IN, stand_in_script)
    case("system account alone", SYSTEM_ONLY, system_only_script(OK))
    case("system account and a block", SYSTEM_ONLY + "authorization { timeout: 1 }", system_only_script(NO))
    case("system account and another", SYSTEM_ONLY.rstrip()[:-1] + "\n B {} }", system_only_script(NO))
    domain = Domain()
    case("tokens", domain.config(), tokens_script(domain))
    for title, expected, changed, nats in [
        ("account of a stranger", NO, {"signer": Key("operator")}, {}),
        ("account by a signing key", OK, {"signer": domain.operator_signing}, {}),
        ("account with bearers", OK, {}, {"bearer_token": True}),
        ("account without bearers", NO, {"limits": {"disallow_bearer": True}}, {"bearer_token": True}),
        ("account with default permissions", OK, {"default_permissions": {"pub": {"allow": ["x"]}, "sub": {}}}, {}),
    ]:
        domain.accounts[domain.account.public] = domain.account_jwt(**changed)
        case(title, domain.config(), account_script(domain, expected, **nats))
    strict = Domain(strict_signing_key_usage=True)
    case("strict operator", strict.config(), account_script(strict, NO))
    by_key = {"issuer_account": strict.account.public}
    case("strict operator, signing key", strict.config(), account_script(strict, OK, strict.signing, **by_key))
    strict.accounts[strict.account.public] = strict.account_jwt()
    case("strict operator's own key", strict.config(), account_script(strict, NO, strict.signing, **by_key))
    folder = Domain()
    del folder.accounts[folder.account.public]
    case("folder", folder.config('{type: full, dir: "$FOLDER/jwt", allow_delete: true, interval: "2m"}'),
         claims_script(folder))
    web = Domain()
    case("web", web.config(f'URL("{Web(web.accounts).url}")', preload=False), url_script(web))
    issuer = Key("account")
    case("callout", CALLOUT % issuer.public, callout_script(issuer))
    asking, service_user = Domain(), Key("user")
    asking.accounts[asking.other.public] = nkeys.account_jwt(asking.operator, asking.other, "B")
    asking.accounts[asking.account.public] = asking.account_jwt(authorization={
        "auth_users": [service_user.public], "allowed_accounts": [asking.other.public]})
    sentinel = asking.jwt(bearer_token=True, pub={"deny": [">"]}, sub={"deny": [">"]})
    case("callout of an account", asking.config(more=f"default_sentinel: {sentinel}"),
         operator_callout_script(asking, service_user, sentinel))
    print(f"{run.checks} outcomes, {run.failures} differ" + ("" if arguments.oracle else " (no nats-server)"))
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
