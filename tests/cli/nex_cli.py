#!/usr/bin/env python3
"""Nex's own command line, release 0.4.1, drives a node of ours.

    nex_cli.py --brokkr PATH

The program is $NEX_CLI, or a `nex` on the PATH that is not ours; else Go installs it into a temporary folder where Go and the
module can be had. Without one of these the test is skipped (exit code 77).
"""
import argparse
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "workload"), str(ROOT / "tests" / "support")]
from command_node import PATIENCE_SECONDS, embedded  # noqa: E402

MODULE = "github.com/synadia-io/nex/cmd/nex@v0.4.1"
BUILD_SECONDS = 300


def find_nex(folder: pathlib.Path, brokkr: str) -> str | None:
    for candidate in (os.environ.get("NEX_CLI"), shutil.which("nex")):
        if candidate and pathlib.Path(candidate).exists() and pathlib.Path(candidate).resolve() != pathlib.Path(brokkr).resolve():
            return candidate
    go = shutil.which("go") or ("/usr/local/go/bin/go" if pathlib.Path("/usr/local/go/bin/go").exists() else None)
    if go is None:
        return None
    environment = dict(os.environ, GOBIN=str(folder), GOPATH=str(folder / "path"), GOCACHE=str(folder / "cache"), GOFLAGS="-modcacherw")
    try:
        done = subprocess.run([go, "install", MODULE], env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return str(folder / "nex") if done.returncode == 0 else None


def drive(nex: str, node) -> None:
    def run(*words: str) -> str:
        # Nodes are asked in the system namespace, which is that client's default.
        command = [nex, "--nats.servers", node.url, *(["--namespace", "default"] if words[0] == "workload" else []), *words]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, cwd=node.folder)
        if done.returncode != 0:
            raise AssertionError(f"nex {' '.join(words)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        print(f"ok    nex {' '.join(words)[:60]}")
        return done.stdout + done.stderr

    def holds(text: str, *parts: str) -> None:
        for part in parts:
            if part not in text:
                raise AssertionError(f"no {part!r} in {text!r}")

    def ask(subject: str, payload: bytes) -> bytes:
        with node.client() as client:
            return client.request(subject, payload, PATIENCE_SECONDS).data

    node_id = node.run_json("node", "ls")[0]["node_id"]
    holds(run("node", "list"), node_id, "running", "nexus")
    holds(run("node", "info", node_id), node_id)
    source = "(subject, payload) => String.fromCharCode(...payload)"
    request = json.dumps({"artifact": base64.b64encode(source.encode()).decode(), "trigger_subjects": ["bynex"]})
    holds(run("workload", "start", "--type", "v8", "--lifecycle", "function", "--name", "bynex", "--start-request", request), "successfully started")
    if json.loads(ask("bynex", b"hello")) != "hello":
        raise AssertionError("the function does not answer")
    holds(run("workload", "list"), "bynex", "running")
    run("workload", "clone", node.run_json("ls")[0]["id"])
    holds(run("workload", "list"), "bynex")
    # Its exit code is 0 for mistakes too.
    holds(run("workload", "start", "--type", "v8", "--lifecycle", "function", "--name", "bad", "--start-request", '{"uri":1}'),
          "validation failed", "want string")
    node.write("Nexfile", "name: fromfile\ntype: v8\nlifecycle: function\nstart_request:\n  artifact: " +
               base64.b64encode(source.encode()).decode() + "\n  trigger_subjects: [fromfile]\n")
    holds(run("workload", "start"), "successfully started")
    # The same file by our own command.
    node.run("run", "-f", "Nexfile")
    if json.loads(ask("fromfile", b"x")) != "x":
        raise AssertionError("the Nexfile's function does not answer")
    for one in node.run_json("ls"):
        holds(run("workload", "stop", one["id"]), "successfully stopped")
    holds(run("node", "lameduck", node_id, "--delay", "1s"), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nex-cli-") as name:
        nex = find_nex(pathlib.Path(name), args.brokkr)
        if nex is None:
            print("no nex 0.4.1 on this machine and none to be had: skipped")
            return 77
        with embedded(os.path.abspath(args.brokkr)) as node:
            drive(nex, node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
