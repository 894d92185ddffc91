#!/usr/bin/env python3
"""nats-server's advisories about who gets in, each as an attack that must fail here.

    auth.py --brokkr PATH [-v]

The numbers are those of the advisories or their CVEs. What needs certificates is in the unit tests
(src/auth/identity_test.cc: 2026-13), as are sealed answers of callouts (callout_test.cc: 2023-46129).
"""
import argparse
import json
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "conformance"), str(HERE.parent / "support")]
import nkeys  # noqa: E402
import server as servers  # noqa: E402
from auth_links import NO, OK, Domain, Link  # noqa: E402
from nkeys import Key, base64url  # noqa: E402


class Checks:
    def __init__(self, brokkr: str, verbose: bool):
        self.brokkr, self.verbose, self.count, self.failed = brokkr, verbose, 0, 0

    def same(self, advisory: str, what: str, found, expected) -> None:
        self.count += 1
        if found != expected:
            self.failed += 1
            print(f"{advisory}: {what}: {found}, not {expected}")
        elif self.verbose:
            print(f"{advisory}: {what}: {found}")

    def server(self, config: str) -> servers.Server:
        return servers.Server(self.brokkr, config)

    def refused(self, advisory: str, what: str, server, connect: dict | None, key: Key | None = None) -> None:
        self.same(advisory, what, Link(server.address()).knock(connect, key), NO)

    def alive(self, advisory: str, server, domain: Domain) -> None:
        self.same(advisory, "the server lives", Link(server.address()).knock({"jwt": domain.jwt()}, domain.user), OK)


def sign_raw(signer: Key, claims: object, head: str = '{"typ":"JWT","alg":"ed25519-nkey"}') -> str:
    text = base64url(head.encode()) + "." + base64url(json.dumps(claims).encode())
    return f"{text}.{base64url(signer.sign(text.encode()))}"


def crooked_tokens(domain: Domain) -> list[str]:
    """Well signed, and otherwise all wrong."""
    whole = {"iat": 1, "iss": domain.account.public, "sub": domain.user.public, "jti": "x", "name": "u"}
    nats = [None, 5, "x", [], {}, {"type": "user"}, {"type": None, "version": 2}, {"version": 2, "type": 7},
            {"version": -1, "type": "user"}, {"version": 10**30, "type": "user"},
            {"version": 2, "type": "user", "pub": None, "sub": None, "src": None, "times": None},
            {"version": 2, "type": "user", "pub": 1}, {"version": 2, "type": "user", "times": [None]},
            {"version": 2, "type": "user", "times": [{"start": None}]}, {"version": 2, "type": "user", "subs": "x"},
            {"version": 2, "type": "user", "limits": {"x": [[]]}}, {"version": 2, "type": "account"},
            {"version": 2, "type": "operator"}, {"version": 2, "type": "activation"}, {"version": 2, "type": "nonsense"}]
    tokens = [sign_raw(domain.account, {**whole, "nats": each}) for each in nats]
    tokens += [sign_raw(domain.account, each) for each in (None, 5, [], "x", {}, whole)]
    tokens += [sign_raw(domain.account, {**whole, "nats": {"version": 2, "type": "user"}}, head)
               for head in ("null", "{}", "5", '{"typ":"JWT","alg":"none"}', '{"alg":"ed25519-nkey"}')]
    return tokens


def broken_tokens(checks: Checks) -> None:
    """CVE-2020-26521: a token without some parts made the server crash."""
    domain = Domain()
    with checks.server(domain.config()) as server:
        for token in crooked_tokens(domain):
            Link(server.address()).knock({"jwt": token}, domain.user)
        checks.alive("2020-26521", server, domain)


def expired(checks: Checks) -> None:
    """CVE-2020-26892: expired credentials were good."""
    domain = Domain()
    now = int(time.time())
    with checks.server(domain.config()) as server:
        checks.refused("2020-26892", "an expired user", server, {"jwt": domain.jwt(claims={"exp": now - 1})}, domain.user)
        checks.refused("2020-26892", "expired long ago", server, {"jwt": domain.jwt(claims={"exp": 1})}, domain.user)
    domain.accounts[domain.account.public] = domain.account_jwt(claims={"exp": now - 1})
    with checks.server(domain.config()) as server:
        checks.refused("2020-26892", "of an expired account", server, {"jwt": domain.jwt()}, domain.user)


def import_loops(checks: Checks) -> None:
    """CVE-2020-28466, CVE-2022-42709: accounts that import from each other in a circle."""
    domain = Domain()
    ring = [domain.account, Key("account"), Key("account")]
    for kind, other in (("service", "stream"), ("stream", "service")):
        for index, account in enumerate(ring):
            source = ring[(index + 1) % len(ring)]
            both = [{"name": "x", "subject": "loop.>", "account": source.public, "type": kind},
                    {"name": "y", "subject": "own.>", "account": account.public, "type": other}]
            jwt = nkeys.account_jwt(
                domain.operator, account, "R", imports=both, signing_keys=[domain.signing.public],
                exports=[{"name": "x", "subject": "loop.>", "type": kind}, {"name": "y", "subject": "own.>", "type": other}])
            domain.accounts[account.public] = jwt
        with checks.server(domain.config()) as server:
            link = Link(server.address())
            checks.same("2022-42709", f"{kind}: let in", link.knock({"jwt": domain.jwt()}, domain.user), OK)
            link.sync("SUB loop.> 1\r\nPUB loop.a 0\r\n\r\nPUB own.a 0\r\n\r\n")
            checks.alive("2022-42709", server, domain)


def import_tokens(checks: Checks) -> None:
    """CVE-2021-3127: the token that allows an import was not checked."""
    domain = Domain()
    exporter, listener = domain.other, Key("user")

    def heard(token: str) -> bool:
        private = {"name": "p", "subject": "private.>", "type": "stream", "token_req": True}
        domain.accounts[exporter.public] = nkeys.account_jwt(domain.operator, exporter, "E", exports=[private])
        domain.accounts[domain.account.public] = domain.account_jwt(imports=[
            {"name": "p", "subject": "private.a", "account": exporter.public, "type": "stream", "token": token}])
        with checks.server(domain.config()) as server:
            link = Link(server.address())
            link.knock({"jwt": nkeys.user_jwt(domain.account, listener)}, listener)
            link.sync("SUB private.a 1\r\n")
            source, publisher = Key("user"), Link(server.address())
            publisher.knock({"jwt": nkeys.user_jwt(exporter, source)}, source)
            publisher.sync("PUB private.a 0\r\n\r\n")
            return any(line.startswith("MSG") for line in link.sync(""))

    def token(signer: Key, about: Key = domain.account, subject: str = "private.a", **more) -> str:
        return signer.jwt(about.public, {"type": "activation", "subject": subject, "kind": "stream"}, **more)
    checks.same("2021-3127", "the exporter's token", heard(token(exporter)), True)
    for what, forged in [("no token", ""), ("one's own", token(domain.account)), ("a stranger's", token(Key("account"))),
                         ("for another account", token(exporter, domain.system)),
                         ("for another subject", token(exporter, subject="private.b")),
                         ("expired", token(exporter, exp=int(time.time()) - 5)), ("nonsense", "x.y.z")]:
        checks.same("2021-3127", what, heard(forged), False)


def account_switch(checks: Checks) -> None:
    """CVE-2022-24450: CONNECT could name the account."""
    config = ("accounts { A { users [ {user: a, password: a} ] }, B { users [ {user: b, password: b} ] },\n"
              "$SYS { users [ {user: s, password: s} ] } }\nno_auth_user: a\n")
    with checks.server(config) as server:
        for account in ("B", "$SYS", "$G", "A", "NEW"):
            for more in ({}, {"new_account": True}, {"user": "a", "pass": "a"}):
                checks.refused("2022-24450", f"{account} {more}", server, {"account": account, **more})


def paths(checks: Checks) -> None:
    """CVE-2022-28357: a request in the system account could write any file."""
    domain = Domain()
    with checks.server(domain.config('{type: full, dir: "$FOLDER/jwt/deep", allow_delete: true}')) as server:
        system = domain.system_link(server)
        folder = server.folder / "jwt"
        deadline = time.monotonic() + 10  # what the configuration brings is written after the start
        while len(before := sorted(str(path) for path in server.folder.rglob("*.jwt"))) < len(domain.accounts):
            if time.monotonic() > deadline:
                raise RuntimeError("the tokens of the configuration are not in the folder")
            time.sleep(0.01)
        evil = "../../evil"
        tokens = [sign_raw(domain.operator, {"iat": 1, "iss": domain.operator.public, "sub": sub, "jti": "x",
                                             "nats": {"version": 2, "type": "account"}})
                  for sub in (evil, "/tmp/evil", "", domain.user.public, domain.account.public + "/../x", 5, None)]
        for body in tokens:
            system.request("$SYS.REQ.CLAIMS.UPDATE", body)
            system.request(f"$SYS.REQ.ACCOUNT.{evil.replace('.', '%2e')}.CLAIMS.UPDATE", body)
        for name in (evil, "/etc/passwd", "..", ""):
            system.request("$SYS.REQ.CLAIMS.DELETE", domain.operator.jwt(domain.operator.public, {"accounts": [name]}))
        system.send("PUB $SYS.REQ.CLAIMS.PACK _INBOX.x 0\r\n\r\n")
        after = sorted(str(path) for path in server.folder.rglob("*.jwt"))
        checks.same("2022-28357", "files", after, before)
        checks.same("2022-28357", "nothing beside the folder",
                    [path.name for path in folder.iterdir() if path.name != "deep"], [])
        # Somebody else's word, and an account nobody trusts.
        stranger = Key("operator")
        replies = system.request("$SYS.REQ.CLAIMS.UPDATE", nkeys.account_jwt(stranger, Key("account")))
        checks.same("2022-28357", "an untrusted token is not stored", '"error"' in replies[0], True)
        checks.alive("2022-28357", server, domain)


def deny_rules(checks: Checks) -> None:
    """CVE-2023-29946: deny rules were skipped when they stood alone, or beside wider allows."""
    domain = Domain()
    with checks.server(domain.config()) as server:
        for what, nats in [("alone", {"pub": {"deny": ["no.>"]}, "sub": {"deny": ["no.>"]}}),
                           ("beside all", {"pub": {"allow": [">"], "deny": ["no.>"]}, "sub": {"allow": [">"], "deny": ["no.>"]}})]:
            link = Link(server.address())
            link.knock({"jwt": domain.jwt(**nats)}, domain.user)
            lines = link.sync("SUB > 1\r\nPUB no.a 0\r\n\r\nSUB no.a 2\r\nSUB no.a q 3\r\nSUB no.> 4\r\n")
            checks.same("2023-29946", what, [line.startswith("-ERR 'Permissions Violation") for line in lines], [True] * 4)
            other, key = Link(server.address()), Key("user")
            other.knock({"jwt": nkeys.user_jwt(domain.account, key)}, key)
            other.sync("PUB no.a 0\r\n\r\nPUB yes 0\r\n\r\n")
            checks.same("2023-29946", what + ": delivered", [line.split()[1] for line in link.sync("")
                                                             if line.startswith("MSG")], ["yes"])


def system_only(checks: Checks) -> None:
    """CVE-2023-47090: naming users of the system account opened a server that asks for a password."""
    users = "accounts { $SYS { users [ {user: s, password: p} ] } }\n"
    for block in ("authorization { timeout: 1 }", "authorization {}", "authorization { default_permissions { publish: x } }"):
        with checks.server(users + block) as server:
            checks.refused("2023-47090", block, server, {})
            checks.refused("2023-47090", block + " before CONNECT", server, None)


def zero_xkey(checks: Checks) -> None:
    """CVE-2023-46129: sealed with an all-zero key. Such a key is no key."""
    zero = nkeys._base32(bytes([23 << 3]) + bytes(32))
    config = ("accounts { AUTH { users [ {user: auth, password: auth} ] } }\nauthorization { timeout: 1, auth_callout { "
              f"issuer: {Key('account').public}, account: AUTH, auth_users: [auth], xkey: {zero} }} }}")
    try:
        with checks.server(config) as server:
            service = Link(server.address())
            service.knock({"user": "auth", "pass": "auth"})
            service.sync("SUB $SYS.REQ.USER.AUTH 1\r\n")
            checks.refused("2023-46129", "somebody", server, {"user": "x", "pass": "y"})
            checks.same("2023-46129", "no question was sealed", service.sync(""), [])
    except RuntimeError:
        checks.same("2023-46129", "the server does not start", True, True)


def long_issuers(checks: Checks) -> None:
    """2026-23: an issuer whose key is shorter or longer than Ed25519's made the server crash."""
    domain = Domain()
    with checks.server(domain.config('{type: full, dir: "$FOLDER/jwt"}')) as server:
        system = domain.system_link(server)
        for size in (0, 1, 16, 31, 33, 64, 300):
            account = nkeys._base32(bytes([0]) + bytes(size))
            operator = nkeys._base32(bytes([14 << 3]) + bytes(size))
            user = nkeys._base32(bytes([20 << 3]) + bytes(size))
            nats = {"version": 2, "type": "user"}
            for claims in ({"iss": account, "sub": domain.user.public}, {"iss": domain.account.public, "sub": user},
                           {"iss": account, "sub": user}):
                token = sign_raw(domain.account, {"iat": 1, "jti": "x", "nats": nats, **claims})
                checks.refused("2026-23", f"{size} bytes", server, {"jwt": token, "nkey": user}, domain.user)
            body = sign_raw(domain.operator, {"iat": 1, "iss": operator, "sub": domain.account.public, "jti": "x",
                                              "nats": {"version": 2, "type": "account"}})
            checks.same("2026-23", f"{size} bytes pushed", '"error"' in system.request("$SYS.REQ.CLAIMS.UPDATE", body)[0], True)
        checks.alive("2026-23", server, domain)


def before_connect(checks: Checks) -> None:
    """2026-24: commands before CONNECT were the no_auth_user's, without what restricts it."""
    for restriction in ("allowed_connection_types: [WEBSOCKET]", "proxy_required: true"):
        config = f"no_auth_user: u\nauthorization {{ users [ {{user: u, password: p, {restriction}}} ] }}"
        with checks.server(config) as server:
            checks.refused("2026-24", restriction, server, {})
            for command in ("PUB x 0\r\n\r\n", "SUB x 1\r\n", "PING\r\n"):
                link = Link(server.address())
                link.send(command)
                checks.same("2026-24", f"{command.split()[0]} before CONNECT, {restriction}", link.next(), NO)


def leaf_before_connect(checks: Checks) -> None:
    """2026-16: with a no_auth_user, commands before CONNECT were obeyed on ports of other servers too."""
    config = ("no_auth_user: u\nleafnodes { listen: $PORT_HERE }\n"
              "authorization { users [ {user: u, password: p}, {user: v, password: p} ] }")
    port = servers.free_port()
    with checks.server(config.replace("$PORT_HERE", f'"127.0.0.1:{port}"')) as server:
        listener = Link(server.address())
        listener.knock({"user": "v", "pass": "p"})
        listener.sync("SUB > 1\r\n")
        for command in ("LS+ >\r\n", "LMSG x 0\r\n\r\n", "PUB x 0\r\n\r\n", "SUB x 1\r\n", "RS+ $G >\r\n", "PING\r\n"):
            leaf = Link(("127.0.0.1", port))
            leaf.send(command)
            answers = []
            while (line := leaf.next(5)) not in ("closed", ""):
                answers.append(line)
            checks.same("2026-16", f"{command.split()[0]} before CONNECT ends the connection", line, "closed")
            checks.same("2026-16", f"{command.split()[0]} is not answered", "PONG" in answers, False)
        checks.same("2026-16", "nothing was delivered", listener.sync(""), [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("-v", action="store_true")
    arguments = parser.parse_args()
    checks = Checks(arguments.brokkr, arguments.v)
    for attack in (broken_tokens, expired, import_loops, import_tokens, account_switch, paths, deny_rules, system_only,
                   zero_xkey, long_issuers, before_connect, leaf_before_connect):
        attack(checks)
    print(f"{checks.count} checks, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
