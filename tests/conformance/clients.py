#!/usr/bin/env python3
"""Runs one script of the official clients against servers; every client must print the same lines.

    clients.py --brokkr PATH               Brokkr with one loop and with two, then nats-server if there is one
    clients.py --brokkr PATH --functions   the acceptance programs: `brokkr up`, then `brokkr node up` attached
                                           to nats-server, with the examples deployed and asked by every client
    clients.py --brokkr PATH --gate PATH   the script through the gate of programs, and what they do with JetStream

The JavaScript clients need tests/node_modules (tools/setup.sh test); --libnats names the program
built from clients/libnats.c; the nats CLI is used when it is found.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import server as servers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLIENT_SECONDS = 60
FUNCTIONS = {"echo": "echo.js", "echowasm": "echo.wasm"}


def clients(args) -> dict[str, list[str]]:
    found = {}
    if shutil.which("node") and (ROOT / "tests" / "node_modules" / "nats").is_dir():
        found["@nats-io/transport-node"] = ["node", str(HERE / "clients" / "transport_node.mjs")]
        found["nats (npm)"] = ["node", str(HERE / "clients" / "nats_package.mjs")]
    if args.libnats:
        found["libnats"] = [args.libnats]
    if not found:
        raise SystemExit("no client to run: tools/setup.sh test installs them")
    return found


def run_client(name: str, command: list[str], where: str, expected: pathlib.Path) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS)
    except subprocess.TimeoutExpired as error:
        print(f"WRONG {name} against {where}: no end within {CLIENT_SECONDS} s\n{error.stdout or ''}")
        return False
    wanted, got = expected.read_text().splitlines(), done.stdout.splitlines()
    if done.returncode == 0 and wanted == got:
        print(f"ok    {name} against {where}: {len(got)} claims")
        return True
    print(f"WRONG {name} against {where}: exit {done.returncode}\n{done.stderr[-2000:]}")
    for line in wanted:
        if line not in got:
            print(f"    wanted {line}")
    for line in got:
        if line not in wanted:
            print(f"    got    {line}")
    return False


def test_clients(args) -> bool:
    targets = [("Brokkr, 1 loop", args.brokkr, "brokkr { loops: 1 }"), ("Brokkr, 2 loops", args.brokkr, "brokkr { loops: 2 }")]
    if oracle := servers.find_oracle():
        targets.append((f"nats-server {servers.version_of(oracle)}", oracle, ""))
    right = True
    for where, binary, config in targets:
        with servers.Server(binary, config) as server:
            for name, command in clients(args).items():
                right &= run_client(name, [*command, server.url()], where, HERE / "clients" / "expected.txt")
    return right


def brokkr(args, *words: str) -> str:
    done = subprocess.run([args.brokkr, *words], capture_output=True, text=True, timeout=CLIENT_SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"brokkr {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def background(command: list[str]):
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"WRONG {' '.join(command)} did not end within 10 s")
            if sys.exc_info()[0]:
                log.seek(0)
                print(log.read().decode(errors="replace")[-4000:])


def deploy(args, url: str) -> None:
    """Waits for a node to answer, then deploys the examples."""
    deadline = time.monotonic() + 20
    while subprocess.run([args.brokkr, "node", "info", "-s", url], capture_output=True).returncode != 0:
        if time.monotonic() > deadline:
            raise SystemExit(f"no node answers at {url}")
        time.sleep(0.05)
    for subject, file in FUNCTIONS.items():
        brokkr(args, "devrun", str(ROOT / "examples" / file), f"--trigger_subject={subject}", "-s", url)


def ask_functions(args, url: str, where: str) -> bool:
    right, expected = True, HERE / "clients" / "functions.txt"
    for name, command in clients(args).items():
        right &= run_client(name, [*command, url, "functions"], where, expected)
    tools = {"brokkr req": [args.brokkr, "req"]}
    if cli := os.environ.get("NATS_CLI") or shutil.which("nats"):
        if os.path.basename(os.path.realpath(cli)) != "brokkr":
            tools["nats CLI"] = [cli, "req"]
    for name, command in tools.items():
        script = "; ".join(f"printf '{subject}: '; \"$@\" {subject} 'hello nex!' --raw -s {url} | head -n 1"
                           for subject in FUNCTIONS)
        right &= run_client(name, ["bash", "-c", script, "ask", *command], where, expected)
    return right


def test_functions(args) -> bool:
    right = True
    with tempfile.TemporaryDirectory() as folder:
        port = str(servers.free_port())
        url = f"nats://127.0.0.1:{port}"
        with background([args.brokkr, "up", "-a", "127.0.0.1", "-p", port, "--data", f"{folder}/up"]):
            deploy(args, url)
            right &= ask_functions(args, url, "brokkr up")
        if oracle := servers.find_oracle():
            with servers.Server(oracle) as server:
                with background([args.brokkr, "node", "up", "--server", server.url(), "--data", f"{folder}/node"]):
                    deploy(args, server.url())
                    right &= ask_functions(args, server.url(), f"a node on nats-server {servers.version_of(oracle)}")
        else:
            print("no nats-server on this machine: a node attached to one is not tested")
    return right


@contextlib.contextmanager
def gate(args, url: str, namespace: str, *records: str):
    process = subprocess.Popen([args.gate, url, namespace, "{}", *records], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        yield f"nats://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        if process.wait(10) != 0:
            raise SystemExit(f"the gate ended with {process.returncode}")


def test_gate(args) -> bool:
    targets = [("Brokkr", args.brokkr)]
    if oracle := servers.find_oracle():
        targets.append((f"nats-server {servers.version_of(oracle)}", oracle))
    right = True
    records = ['{"namespace": "acme", "subjects": ["shop.>"]}', '{"namespace": "beta", "subjects": ["beta.>"]}']
    for where, binary in targets:
        with tempfile.TemporaryDirectory() as folder:
            config = f'jetstream {{ store_dir: "{folder}" }}'
            with servers.Server(binary, config) as server:
                with gate(args, server.url(), "default") as url:
                    for name, command in clients(args).items():
                        right &= run_client(name, [*command, url], f"a gate on {where}",
                                            HERE / "clients" / "expected.txt")
                with gate(args, server.url(), "acme", *records) as url:
                    if "nats (npm)" in clients(args):
                        right &= run_client("nats (npm)", ["node", str(HERE / "clients" / "gate.mjs"), url, "acme__"],
                                            f"a gate with JetStream on {where}", HERE / "clients" / "gate.txt")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--libnats")
    parser.add_argument("--functions", action="store_true")
    parser.add_argument("--gate", help="the program built from src/workload/gate_relay_main.cc")
    args = parser.parse_args()
    if args.gate:
        return 0 if test_gate(args) else 1
    return 0 if (test_functions if args.functions else test_clients)(args) else 1


if __name__ == "__main__":
    sys.exit(main())
