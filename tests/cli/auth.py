#!/usr/bin/env python3
"""Runs the auth and context commands step by step and compares what they print with auth.golden, in the
manner of jetstream.py: the golden file holds what the original `nats` CLI prints, `--record` writes it
anew, and the original runs the steps too where it is on the machine. Keys, tokens and times are masked.
Beside that: what one program stores the other reads, and both get into a nats-server in operator mode.
"""
import argparse
import base64
import json
import os
import pathlib
import re
import shlex
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cli import ROOT, Tool, find_original  # noqa: E402
from golden import compare, write_golden  # noqa: E402
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
from server import Server, find_oracle  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parent / "auth.golden"
URL = "nats://127.0.0.1:4999"  # nobody is there
MASKS = [
    (r"\bS[OAUNCX][A-Z2-7]{56}\b", "SEED"),
    (r"\b[OAUNCX][A-Z2-7]{55}\b", "KEY"),
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN"),
    (r"data:;base64,[\w+/=]+", "INLINE"),
    (r"\S*/auth-home-[^/]+", "HOME"),
    (r"'(nats|brokkr) auth", "'PROGRAM auth"),
]

# One scenario from an empty home on.
STEPS = """
auth operator ls
auth operator info
auth operator add OP --service nats://localhost:4222 --account-server nats://localhost:4222 --tags Env:Dev --tags b
auth operator add OP
auth operator info OP
auth operator info
auth operator ls
auth operator ls --names
auth operator edit OP --tags c --no-tags b --service nats://a:1 --service nats://b:2
auth operator edit OP --service http://a:1
auth operator keys ls OP
auth operator keys add OP
auth operator keys rm OP
auth operator keys rm OP OBAD -f
auth operator add OTHER --no-signing-key
auth operator info
auth operator select OTHER
auth operator info
auth operator select OP
auth account ls
auth account ls --names
auth account add ACC --defaults
auth account add ACC --defaults
auth account add JS --defaults --jetstream --js-disk 1GB --js-memory 1MB --js-streams 5 --js-consumers 10 --js-disk-stream 10MB --js-max-pending 100 --js-stream-size-required --connections 5 --subscriptions 10 --payload 1KB --leafnodes 2 --exports 3 --imports 4 --bearer --tags x
auth account add FULL --defaults --jetstream --js-disk=-1 --js-memory=-1 --expiry 1h --js-cluster-traffic owner
auth account info
auth account info NOPE
auth account info JS
auth account ls
auth account edit ACC --connections 7 --tags one
auth account edit ACC --subscriptions 8
auth account info ACC
auth account keys ls ACC
auth account keys add ACC worker --description 'a worker' --pub-allow work.{{name()}}.> --sub-deny secret --subscriptions 5 --payload 1KB --connection nats --connection ws
auth account keys info ACC worker
auth account keys add ACC --unscoped
auth account keys ls ACC
auth account mappings ls ACC
auth account mappings add ACC a.* b.$1 30
auth account mappings add ACC a.* b.$1 30
auth account mappings add ACC a.* c.$1 20 EU
auth account mappings ls ACC
auth account mappings info ACC a.*
auth account mappings rm ACC a.*
auth account exports ls ACC
auth account exports add first out.> ACC --description text --advertise --url http://a/b
auth account exports add svc svc.*.x ACC --service --token-position 2
auth account exports ls ACC
auth account exports info out.> ACC
auth account exports info nope ACC
auth account exports edit out.> ACC --description other
auth account exports rm nope ACC -f
auth account exports rm out.> ACC -f
auth account imports ls JS
auth account imports add in svc.JS.x JS --source ACC --local here --service --share
auth account imports add st other.> JS --source ACC --local there.>
auth account imports ls JS
auth account imports info here JS
auth account imports info nope JS
auth account imports rm nope JS -f
auth account imports rm here JS -f
auth user ls ACC
auth user add bob ACC --defaults --pub-allow a --pub-deny b --sub-allow c --sub-deny d --tags T --credential bob.creds
auth user add bob ACC --defaults
auth user add ann ACC --defaults --bearer --payload 100 --subscriptions 3 --data 5 --locale Europe/Berlin
auth user add scoped ACC --defaults --key worker
auth user info bob ACC
auth user info nope ACC
auth user info scoped ACC
auth user ls ACC
auth user ls ACC --names
auth user edit bob ACC --payload 1048576 --sub-deny ''
auth user credential bob2.creds bob ACC
auth user credential bob.creds bob ACC
auth user rm ann ACC -f --revoke
auth user rm ann ACC -f
auth account info ACC
auth operator backup OP op.backup
auth operator restore OP op.backup
auth nkey gen user
auth nkey gen user --public
auth nkey gen curve --public
auth nkey gen nope
auth nkey gen user --output user.nk
auth nkey show user.nk
auth nkey show missing.nk
context ls
context info
context add one --description 'the first' --user u --password p
context add two --creds bob.creds
context add three --nkey user.nk
context select three
context add bad --creds bob.creds --nkey user.nk
context add a/b
context add four --context two --description copied --js-domain hub --inbox-prefix _I --js-api-prefix X
context add tls --tlscert user.nk --tlskey user.nk --tlsca user.nk --tlsfirst
context ls
context ls --names
context ls --json
context info
context info one
context info two --json
context info nope
context copy one five --description again
context copy one five
context copy nope six
context select two
context select nope
context previous
context previous
context rm nope -f
context rm two
context rm five
context rm five -f
context unselect
context unselect
context add inline --creds bob.creds --embed
context validate one
context validate two
context validate
context select one
context rm one -f
context ls
"""

# Nothing is otherwise in these steps.
OURS: dict = {}


class Home:
    """A tool with folders of its own, started in them."""

    def __init__(self, binary: str, folder: str):
        self.folder = folder
        self.tool = Tool(binary, URL, folder)
        self.tool.environment["XDG_DATA_HOME"] = folder + "/data"

    def run(self, step: str):
        words = shlex.split(step)
        here = os.getcwd()
        os.chdir(self.folder)
        try:
            out, err, code = self.tool.run(words)
        finally:
            os.chdir(here)
        return mask(out), mask(err), code


def mask(text: str) -> str:
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def run_steps(home: Home):
    return [(step, *home.run(step)) for step in STEPS.strip().split("\n")]


def claims(token: str):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def operator_config(store: pathlib.Path, resolver: str) -> str:
    operator = (store / f"{store.name}.jwt").read_text()
    lines = [f"operator: {operator}", f"system_account: {claims(operator)['nats']['system_account']}",
             'resolver: {type: full, dir: "%s"}' % resolver, "resolver_preload {"]
    for path in sorted(store.glob("accounts/*/*.jwt")):
        if path.stem != "LATE":
            lines.append(f" {claims(path.read_text())['sub']}: {path.read_text()}")
    return "\n".join([*lines, "}"])


def check_server(oracle: str, maker: str, users: list, failures) -> None:
    """What `maker` stores gets every program of `users` into a server."""
    with tempfile.TemporaryDirectory(prefix="auth-home-") as folder:
        home = Home(maker, folder)
        for step in ("auth operator add OP", "auth account add APP --defaults", "auth user add app APP --defaults --credential app.creds",
                     "auth user add sys SYSTEM --defaults --credential sys.creds",
                     "auth account keys add APP role --pub-allow own.{{name()}} --sub-allow _INBOX.>",
                     "auth user add scoped APP --defaults --key role --credential scoped.creds",
                     "auth account add LATE --defaults", "auth user add late LATE --defaults --credential late.creds"):
            out, err, code = home.run(step)
            if code != 0:
                failures.append(f"{maker}: {step}: {err}")
                return
        store = pathlib.Path(folder) / "data/nats/nsc/stores/OP"
        with Server(oracle, operator_config(store, folder + "/resolver")) as server:
            url = "nats://%s:%d" % server.address()
            for program in users:
                use_server(Home(program, folder), url, failures)


def use_server(home: Home, url: str, failures) -> None:
    late = f"-s {url} --creds {home.folder}/late.creds"
    checks = [(f"account info -s {url} --creds {home.folder}/app.creds", "User: app (KEY)", 0),
              (f"pub own.scoped x -s {url} --creds {home.folder}/scoped.creds", None, 0),
              (f"auth account push LATE -s {url} --creds {home.folder}/sys.creds", "Success 1 Failed 0", 0),
              (f"rtt 1 {late}", "URL", 0),
              (f"auth account query LATE -s {url} --creds {home.folder}/sys.creds", "Account LATE (KEY)", 0)]
    for step, part, want in checks:
        out, err, code = home.run(step)
        if code != want or (part is not None and part not in out):
            failures.append(f"{home.tool.program}: {step}: exit code {code}: {out}{err}")


def check_backup(program: str, failures) -> None:
    """A backup, plain and sealed, restored in another home gives the same accounts and users."""
    with tempfile.TemporaryDirectory(prefix="auth-home-") as first, tempfile.TemporaryDirectory(prefix="auth-home-") as second:
        home, other = Home(program, first), Home(program, second)
        for step in ("auth operator add OP", "auth account add APP --defaults", "auth user add bob APP --defaults",
                     "auth nkey gen curve --output curve.nk", f"auth operator backup OP {second}/plain",
                     f"auth operator backup OP {second}/sealed --key curve.nk"):
            home.run(step)
        (pathlib.Path(second) / "curve.nk").write_text((pathlib.Path(first) / "curve.nk").read_text())
        want = home.tool.run(["auth", "user", "info", "bob", "APP"])
        for step in ("auth operator restore NEW plain", "auth operator restore SEALED sealed --key curve.nk",
                     "auth operator select SEALED"):
            out, err, code = other.run(step)
            if code != 0:
                failures.append(f"{program}: {step}: {err}")
        got = other.tool.run(["auth", "user", "info", "bob", "APP"])
        if got != want:
            failures.append(f"{program}: a restored user differs: {got}")


def check_files(program: str, failures) -> None:
    """Sealing and signing of files, and a context edited."""
    with tempfile.TemporaryDirectory(prefix="auth-home-") as folder:
        home = Home(program, folder)
        path = pathlib.Path(folder)
        (path / "data.txt").write_text("some data")
        for name in ("a", "b"):
            home.run(f"auth nkey gen curve --output {name}.nk")
        keys = [home.tool.run(["auth", "nkey", "show", f"{folder}/{name}.nk"])[0].strip() for name in ("a", "b")]
        home.run("auth nkey gen user --output user.nk")
        sealed = home.run(f"auth nkey seal data.txt a.nk {keys[1]} --output sealed.txt")
        opened = home.run(f"auth nkey unseal sealed.txt b.nk {keys[0]}")
        if sealed[2] != 0 or opened[:1] != ("some data\n",):
            failures.append(f"{program}: sealing: {sealed} {opened}")
        (path / "sig").write_text(home.tool.run(["auth", "nkey", "sign", f"{folder}/data.txt", f"{folder}/user.nk"])[0].strip())
        if home.run("auth nkey verify data.txt sig user.nk")[:1] != ("Verified OK\n",):
            failures.append(f"{program}: a signature is not verified")
        home.tool.environment["EDITOR"] = "sed -i s/before/after/"
        home.run("context add e --description before")
        if "Description: after" not in home.run("context edit e")[0]:
            failures.append(f"{program}: an edited context is not changed")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--record", action="store_true", help="write the golden file from the original")
    args = parser.parse_args()
    original = find_original()
    failures: list[str] = []
    for program in [args.brokkr, original]:
        if program is None or (args.record and program == args.brokkr):
            continue
        with tempfile.TemporaryDirectory(prefix="auth-home-") as folder:
            home = Home(program, folder)
            results = run_steps(home)
            if args.record:
                write_golden(results, GOLDEN)
                return 0
            own = OURS if program == args.brokkr else {}
            compare(home.tool, results, failures, own, GOLDEN)
        check_files(program, failures)
    check_backup(args.brokkr, failures)
    oracle = find_oracle()
    if oracle is not None:
        programs = [args.brokkr, *([original] if original else [])]
        for maker in programs:
            check_server(oracle, maker, programs, failures)
    print("\n".join(failures) if failures else
          f"{len(STEPS.splitlines()) - 1} steps, original: {original or 'not on this machine'}, server: {oracle or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
