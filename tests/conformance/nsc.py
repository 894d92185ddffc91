#!/usr/bin/env python3
"""Runs nsc, the tool for operators, against a server with a folder of tokens: push, pull, revoke, delete.

    nsc.py --brokkr PATH [--nsc PATH] [--cli PATH] [-v]

Without nsc (from $NSC, PATH or .deps/peers/bin) the test is skipped (77). With the original `nats` CLI
its account commands are run too.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import server as servers

SKIPPED = 77


def find(name: str, variable: str) -> str | None:
    deps = pathlib.Path(__file__).resolve().parents[2] / ".deps" / "peers" / "bin" / name
    for path in (os.environ.get(variable), shutil.which(name), deps):
        if path and os.access(path, os.X_OK) and os.path.basename(os.path.realpath(path)) != "brokkr":
            return str(path)
    return None


class Nsc:
    def __init__(self, binary: str, folder: pathlib.Path, verbose: bool):
        self.binary, self.folder, self.verbose = binary, folder, verbose
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NSC_HOME": str(folder / "nsc"),
                            "NKEYS_PATH": str(folder / "keys"), "XDG_DATA_HOME": str(folder / "data"),
                            "XDG_CONFIG_HOME": str(folder / "config"), "NSC_NO_GIT_IGNORE": "true"}

    def run(self, *arguments: str, fails: bool = False) -> str:
        done = subprocess.run([self.binary, *arguments], env=self.environment, cwd=self.folder,
                              capture_output=True, text=True, timeout=60)
        text = done.stdout + done.stderr
        if self.verbose:
            print("$ nsc", *arguments, "\n" + text)
        if (done.returncode != 0) != fails:
            raise RuntimeError(f"nsc {' '.join(arguments)}: {done.returncode}\n{text}")
        return text


def attempt(cli: str, server: servers.Server, creds: pathlib.Path) -> bool:
    """Whether these credentials let a client in and publish."""
    done = subprocess.run([cli, "--server", server.url(), "--creds", str(creds), "pub", "x", "y"],
                          capture_output=True, text=True, timeout=30, env={"HOME": str(creds.parent)})
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nsc", default=find("nsc", "NSC"))
    parser.add_argument("--cli", default=find("nats", "NATS_CLI"))
    parser.add_argument("-v", action="store_true")
    arguments = parser.parse_args()
    if not arguments.nsc or not arguments.cli:
        print("no nsc, or no nats CLI")
        return SKIPPED
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nsc-"))
    failures = []

    def check(what: str, good: bool) -> None:
        if arguments.v or not good:
            print(("ok   " if good else "FAIL ") + what)
        if not good:
            failures.append(what)

    try:
        nsc = Nsc(arguments.nsc, folder, arguments.v)
        nsc.run("add", "operator", "--name", "O", "--sys")
        for name in ("A", "B"):
            nsc.run("add", "account", "--name", name)
            nsc.run("add", "user", "--account", name, "--name", "u" + name)
        config = nsc.run("generate", "config", "--nats-resolver")
        config = config.replace("./jwt", "$FOLDER/jwt").replace("allow_delete: false", "allow_delete: true")
        creds = {name: folder / "keys" / "creds" / "O" / name / f"u{name}.creds" for name in "AB"}
        with servers.Server(arguments.brokkr, config) as server:
            nsc.run("edit", "operator", "--account-jwt-server-url", server.url(), "--service-url", server.url())
            check("before the push nobody of A comes in", not attempt(arguments.cli, server, creds["A"]))
            time.sleep(1.2)
            text = nsc.run("push", "-A")
            check("push says so", "pushed" in text.lower() or "OK" in text)
            check("then A's user comes in", attempt(arguments.cli, server, creds["A"]))
            check("and B's", attempt(arguments.cli, server, creds["B"]))
            check("the files are there", len(list((server.folder / "jwt").glob("A*.jwt"))) >= 2)

            nsc.run("revocations", "add-user", "--account", "A", "--name", "uA")
            nsc.run("push", "--account", "A")
            check("a revoked user does not", not attempt(arguments.cli, server, creds["A"]))
            nsc.run("revocations", "delete-user", "--account", "A", "--name", "uA")
            nsc.run("push", "--account", "A")
            check("one who is forgiven does", attempt(arguments.cli, server, creds["A"]))

            nsc.run("edit", "account", "--name", "B", "--conns", "0")
            nsc.run("push", "--account", "B")
            check("an account for nobody", not attempt(arguments.cli, server, creds["B"]))
            stores = next(folder.rglob("accounts"))
            shutil.rmtree(stores / "B")
            text = nsc.run("pull", "-A")
            check("pull brings it back", (stores / "B" / "B.jwt").exists())

            nsc.run("delete", "account", "--name", "B", "--force")
            text = nsc.run("push", "-A", "-P")
            check("what is deleted is pruned", not attempt(arguments.cli, server, creds["B"]))
            names = sorted(path.suffix for path in (server.folder / "jwt").iterdir())
            check("and kept under another name", ".deleted" in names)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"nsc: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
