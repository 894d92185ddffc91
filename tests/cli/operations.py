#!/usr/bin/env python3
"""Runs the operators' commands (server, account, events, trace, top, latency) step by step and compares
what they print with operations.golden, in the manner of jetstream.py: the golden file holds what the
original `nats` CLI prints against nats-server, `--record` writes it anew, and the original runs the
steps too where it is on the machine. Counts, ids and times are masked; of JSON the shape is compared.
Without nats-server (or --server) there is nothing to run: exit code 77.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cli import PATIENCE_SECONDS, ROOT, Background, Tool, find_original  # noqa: E402
from golden import SKIPPED, Terminal, check_extra, compare, write_golden  # noqa: E402
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
from server import Server, find_oracle, is_nats_server  # noqa: E402

LEAF_SECONDS = 5
# Steps that show the leaf node's connection among the clients, or how its link is compressed: Brokkr
# lists it in /leafz only, and does not compress.
LEAF_STEPS = re.compile(r"leafnodes|report accounts APP|report connections($| --sort cid)")
GOLDEN = pathlib.Path(__file__).resolve().parent / "operations.golden"
CONFIG = """
server_name: hub
http: 127.0.0.1:-1
jetstream { store_dir: "$FOLDER/js", max_mem: 64MB, max_file: 256MB }
server_tags: ["region:eu", "kind:hub"]
leafnodes { listen: "127.0.0.1:$PORT", authorization { users [ {user: leaf, password: leaf, account: APP} ] } }
accounts {
  SYS { users [ {user: sys, password: sys} ] }
  APP { jetstream: enabled, users [ {user: app, password: app} ]
        exports [ {stream: "out.>"}, {service: "svc.echo"} ], mappings { old.a: [ {destination: "new.a", weight: 100%} ] } }
  OTHER { jetstream: { max_mem: 1MB, max_file: 10MB, max_streams: 3, max_consumers: 10 }
          users [ {user: other, password: other} ]
          imports [ {stream: {account: APP, subject: "out.a"}, to: "in.a"}, {service: {account: APP, subject: "svc.echo"}} ] }
}
system_account: SYS
"""
LEAF = """
server_name: edge
leafnodes { remotes [ {url: "nats-leaf://leaf:leaf@%s"} ] }
"""
MASKS = [
    (r"\bN[A-Z2-7]{55}\b", "SERVER_ID"),
    (r"sha256:[0-9a-f]{64}", "DIGEST"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)?", "DATE"),
    (r"(NATS|brokkr) CLI Version [^\s\"]+", "CLI"),
    (r'version:"[^"]+"', 'version:"V"'),
    (r"(URL|127\.0\.0\.1:\d+)", "ADDRESS"),
    (r"\S*/wire-[^/]+", "FOLDER"),
    (r"\bs2_\w+", "S2"),
    (r"cid:\d+", "cid:N"),
    (r"(\d+[dhm])+\d+(\.\d+)?s|DURATION|\d+(\.\d+)?(µs|ms|s)\b", "TOOK"),
    (r"\d+(\.\d+)? ([KMG]i)?B\b", "SIZE"),
    (r"(Git Commit|Go Version|Version|GOMAXPROCS|API Support Level|CPU Cores|API Requests|API Errors|Client ID): .*", r"\1: X"),
    (r"(Subscriptions|Connections): [\d,]+$", r"\1: N"),
    (r"Messages: \d+ in \d+ out", "Messages: N in N out"),
]

# "user command ..."; one scenario from an empty server on, a leaf node and two clients connected.
STEPS = """
sys server list
sys server list --sort name -R
sys server list -j
sys server ping 1
sys server info
sys server info hub
sys server info none --timeout 1s
sys server report accounts
sys server report accounts APP --sort conns
sys server report accounts -j
sys server report connections
sys server report connections --sort cid --top 2
sys server report connections --username other
sys server report connections --account OTHER -j
sys server report connections --subject in.a
sys server report jetstream
sys server report jetstream --account APP
sys server report jetstream --leaders
sys server report health
sys server report health -J -S
sys server report cpu
sys server report mem
sys server report mem -j
sys server report routes
sys server report gateways
sys server report leafnodes
sys server report leafnodes --account OTHER
sys server account info APP
sys server account info OTHER
sys server account info APP -j
sys server account info NONE
sys server account purge NONE --force
sys server config reload SOMETHING --force
sys server request kick 99 SOMETHING
sys server request subscriptions
sys server request subscriptions --filter-account APP --detail
sys server request variables
sys server request variables --name none --timeout 1s
sys server request connections --filter-user app
sys server request connections --filter-user app --subscriptions
sys server request routes
sys server request gateways
sys server request leafnodes
sys server request leafnodes --subscriptions
sys server request accounts
sys server request accounts --account APP
sys server request jetstream
sys server request jetstream --accounts --config
sys server request jetstream-health
sys server mappings a.* b.{{wildcard(1)}} a.x
sys server mappings a.*.> b.{{partition(3,1)}}.> a.x.y
sys server mappings a.* b.$2 a.x
sys server passwd -p short
sys server passwd -p longenough11 -c 3
app server list
app server report accounts
app server report connections
app server report jetstream
app server report health
app server report cpu
app server report routes
app server report gateways
app server report leafnodes
app server request variables
app server account info APP
app server request kick 99 SOMETHING
sys server check server --name hub
sys server check server --name hub --format json
sys server check server --name hub --format text
sys server check server --name hub --format prometheus
sys server check server --name hub --conn-warn 1 --conn-critical 2 --subs-warn 10000 --subs-critical 20000 --auth-required --tls-required --js-required
sys server check server --name hub --uptime-warn 1ms --uptime-critical 1ms
sys server check server --name hub --tls-cert-warn 1d --tls-cert-crit 1h
sys server check server --name none --timeout 1s
app server check server --name hub
app server check stream --stream S1
app server check stream --stream S1 --format prometheus
app server check stream --stream S1 --format json
app server check stream --stream NONE
app server check stream --stream S1 --msgs-warn 10 --msgs-critical 5
app server check stream --stream S1 --msgs-warn 5 --msgs-critical 1
app server check stream --stream S1 --lag-critical 5
app server check stream --stream M1 --lag-critical 5 --seen-critical 1h
app server check stream --stream S1 --subjects-warn 1 --subjects-critical 5
app server check stream --stream S1 --subjects-warn 5 --subjects-critical 1
app server check stream --stream S1 --min-sources 1 --max-sources 2
app server check stream --stream S1 --peer-expect 3
app server check consumer --stream S1 --consumer C1
app server check consumer --stream S1 --consumer C1 --unprocessed-critical 1 --waiting-critical 3 --last-ack-critical 1s --pinned --last-delivery-critical 1s
app server check consumer --stream S1 --consumer NONE
app server check message --stream S1 --subject a.0
app server check message --stream S1 --subject a.0 --content two
app server check message --stream S1 --subject a.0 --age-warn 1ms --age-critical 1h
app server check message --stream S1 --subject a.9
app server check message --stream NONE --subject a.0
app server check message --stream S1
app server check jetstream
app server check jetstream --format text
other server check jetstream --streams-warn 10 --streams-critical 20
other server check jetstream --mem-warn 10 --mem-critical 5
other server check kv --bucket KB
other server check kv --bucket NONE
other server check kv --bucket KB --key x
other server check kv --bucket KB --key a
other server check kv --bucket KB --key del
other server check kv --bucket KB --values-warn 1 --values-critical 2
other server check kv --bucket KB --values-warn 20 --values-critical 10
app server check request --subject svc.echo
app server check request --subject svc.none
app server check request --subject svc.echo --match-payload ^hel+o$ --response-warn 10s --response-critical 20s
app server check request --subject svc.echo --match-payload xyz
app account report connections
app account report connections --state all --closed-reason none
app account report statistics
app account tls
app trace a.0
app trace a.0 hello -T
app trace svc.echo hello --deliver
app trace nobody hello
app trace old.a hello
other trace svc.echo hello
app trace out.a hello
app server request profile heap /nowhere/at/all
app server watch accounts
"""

# Where ours differs on purpose: the step, what it prints instead, stderr, exit code.
OURS = {
    # Says what to do about it.
    "app server watch accounts": (
        "", "PROGRAM: error: could not determine screen dimensions: no terminal; --count draws so many times without one", 1),
}
# What only ours says or says better, or what cannot be compared.
EXTRA = [
    ("sys server list --sort bad", "", ["PROGRAM: error: --sort: one of name, cluster, conns, subs, routes, gws, mem, cpu, slow, "
                                        "uptime, rtt"], 1),
    ("sys server mappings a.* b.$1 c.x", "Error: no matching transforms available\n\n\n", [], 1),
    ("sys server mappings a", "", ["PROGRAM: error: cannot prompt for user input without a terminal"], 1),
    ("sys server cluster step-down", "", None, 1),
    ("sys server check meta --expect 1", "CRITICAL JetStream Meta Cluster Crit:no cluster information\n", [], 2),
    ("app server check meta --expect 1", "CRITICAL JetStream Meta Cluster Crit:JSZ API request failed: nats: no responders "
                                         "available for request\n", [], 2),
    ("sys server check server", "", ["PROGRAM: error: required flag --name not provided"], 1),
    ("app server check stream --stream S1 --format yaml", "", ["PROGRAM: error: --format: one of nagios, json, prometheus, text"], 1),
    ("app server check request --subject svc.echo --match-headers A=b", None, [], 2),
    ("app server check credential --credential /none", "CRITICAL Credential Crit:credential not accessible: /none: No such file "
                                                       "or directory\n", [], 2),
    ("sys server ping 2 --timeout 1s", None, ["PROGRAM: error: missing 1 server(s)"], 1),
    ("app server ping", None, None, 0),
    ("app server info", None, None, 0),
    ("app events --srv-advisory --no-srv-advisory", "", ["PROGRAM: error: no events were chosen"], 1),
    ("app events --stream S1 --all", "", ["PROGRAM: error: cannot specify both Stream and specific advisories or extra subjects"], 1),
    ("app events --filter (", "", None, 1),
    ("sys top none --timeout 1s", "", None, 1),
    ("app top hub", "", ["PROGRAM: error: initial test request failed: no results received, ensure the account used has system "
                         "privileges and appropriate permissions"], 1),
    ("app latency --duration 200ms --rate 200", "", None, 0),
    ("app latency --size 2", "", ["PROGRAM: error: message Payload Size must be at least 8 bytes"], 1),
    ("sys server watch servers --count 1", None, [], 0),
    ("sys server watch jetstream --count 1", None, [], 0),
]


class Peer(threading.Thread):
    """A client by hand: a name, a subscription, an answer to every request."""

    def __init__(self, address, user: str, name: str, subject: str, answer: str):
        super().__init__(daemon=True)
        self.answer = answer.encode()
        self.socket = socket.create_connection(address)
        self.stream = self.socket.makefile("rb")
        self.stream.readline()
        options = {"user": user, "pass": user, "name": name, "lang": "py", "version": "1", "headers": True,
                   "protocol": 1, "no_responders": True}
        self.socket.sendall(f"CONNECT {json.dumps(options)}\r\nSUB {subject} 1\r\nPING\r\n".encode())
        while self.stream.readline().strip() != b"PONG":
            pass
        self.start()

    def run(self):
        try:
            for line in self.stream:
                self.take(line.split())
        except OSError:  # closed
            pass

    def take(self, words):
        if words[0] == b"PING":
            self.socket.sendall(b"PONG\r\n")
        if words[0] in (b"MSG", b"HMSG"):
            self.stream.read(int(words[-1]) + 2)
            reply = words[3:-1] if words[0] == b"MSG" else words[3:-2]
            if reply:
                self.socket.sendall(b"PUB %s %d\r\n%s\r\n" % (reply[-1], len(self.answer), self.answer))

    def close(self):
        self.socket.close()


# What servers have by their kind and version.
OF_A_SERVER = {"feature_flags", "limits", "sync_interval", "sync_always", "leaf", "go", "git_commit", "gomaxprocs", "gomemlimit"}


def shape(value) -> object:
    """The members of a JSON value and their kinds. A list shows what any of its items has."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in OF_A_SERVER}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        merged = {key: kind for item in value for key, kind in shape(item).items()}
        return [dict(sorted(merged.items()))]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def mask(text: str, step: str) -> str:
    if step.startswith(("sys server request", "app server request")) or re.search(r" -j$|format json", step):
        try:
            return "".join(json.dumps(shape(json.loads(part)), indent=1) + "\n" for part in documents(text))
        except json.JSONDecodeError:
            pass
    lines = []
    for line in text.split("\n"):
        if re.search("Always sync writes|Write sync Frequency|GOMAXPROCS", line):
            continue
        for pattern, replacement in MASKS:
            line = re.sub(pattern, replacement, line)
        if "│" in line or "─" in line:
            line = re.sub("─+", "─", line)
            # Counts of traffic and connections are whatever they are, as far as a cell is nothing else.
            line = re.sub(r"(?<=│ )[L\d,.]+(?= +│)", "N", line)
        if "check server" in step or "check message" in step:
            line = re.sub(r"(uptime|cpu|mem|connections|subscriptions|age)(=|\{[^}]*\} |\s+│ )[\d.,e+-]+", r"\1\2N", line)
            line = re.sub(r"(Connections|Subscriptions) [\d.]+", r"\1 N", line)
        if "report cpu" in step or "report mem" in step:
            line = re.sub(r"[█▏]+ \(.*\)", "BAR", line)
        if " server ping" in step:
            line = re.sub(r"\d+\.\d\d", "N", line)
        lines.append(re.sub(" +", " ", line).rstrip() if "│" in line or "─" in line else line.rstrip())
    if "account info" in step:  # imports and exports come in any order
        return "\n\n".join(sorted("\n".join(lines).strip("\n").split("\n\n"))) + "\n"
    if re.search(r"report (accounts|connections)", step):  # what is equal comes in any order
        return "".join(line + "\n" for line in sorted(lines) if line)
    if "report statistics" in step:  # the original leaves a column out of the sums
        lines = [line for line in lines if not line.startswith("│ N │")]
    return "\n".join(lines)


def documents(text: str):
    """One document, or one a line."""
    return [text] if text.startswith(("{\n", "[\n")) else [line for line in text.split("\n") if line]


class Tools:
    """The program as each of the users."""

    def __init__(self, program: str, server: Server, home: str):
        host, port = server.address()
        self.users = {user: Tool(program, f"nats://{user}:{user}@{host}:{port}", home) for user in ("sys", "app", "other")}
        self.program = self.users["sys"].program

    def run(self, words, stdin=""):
        return self.users[words[0]].run(words[1:], stdin)


def set_up(tools: Tools) -> None:
    for words in ("app stream add S1 --subjects a.*,b --defaults", "app consumer add S1 C1 --pull --defaults",
                  "app pub a.0 one", "app pub b two", "app stream add M1 --mirror S1 --defaults", "other kv add KB",
                  "other kv put KB a 1", "other kv put KB del 1", "other kv del KB del -f"):
        out, err, code = tools.run(words.split())
        if code != 0:
            raise RuntimeError(f"{words}: {out}{err}")


def run_steps(tools: Tools, has_leaf: bool):
    results = []
    for step in STEPS.strip().split("\n"):
        if not has_leaf and LEAF_STEPS.search(step):
            continue
        out, err, code = tools.run(shlex.split(step))
        results.append((step, mask(out, step), mask(err, step), code))
    return results


def wait_for_leaf(tools: Tools) -> bool:
    deadline = time.monotonic() + LEAF_SECONDS
    while "edge" not in tools.run(["sys", "server", "report", "leafnodes"])[0]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# What happens, and what events tell of it, in short: every line must come, in any order.
EVENT_FLAGS = {"sys": ["--srv-advisory"], "app": ["--js-advisory", "--js-metric"]}
HAPPENINGS = ["app stream add EV --subjects ev.x --defaults", "app pub ev.x one", "app pub ev.x two",
              "app consumer add EV C --pull --defaults --sample 100", "app consumer next EV C --ack",
              "app consumer next EV C --term", "app consumer rm EV C -f", "app stream rm EV -f"]
TOLD = {"sys": [r"\[Connection\] user: app cid: \d+ in account APP",
                r"\[Disconnection\] user: app cid: \d+ in account APP: Client Closed"],
        "app": [r"\[Stream Create\] EV", r"\[Consumer Create\] EV > C", r"\[JS Ack\] EV \(1\) > C \(1\): 1 deliveries in \d+",
                r"\[JS Delivery Terminated\] EV \(2\) > C: 1 deliveries", r"\[Consumer Delete\] EV > C", r"\[Stream Delete\] EV",
                r"\[JS API\] \$JS.API.STREAM.CREATE.EV app @ APP"]}


def check_events(tools: Tools, failures) -> None:
    views = {user: Background(tools.users[user], ["events", "--short", *flags], "Listening")
             for user, flags in EVENT_FLAGS.items()}
    time.sleep(0.3)  # the last subscription may be on its way
    for words in HAPPENINGS:
        tools.run(words.split())
    deadline = time.monotonic() + PATIENCE_SECONDS
    for user, view in views.items():
        for pattern in TOLD[user]:
            while not any(re.search(pattern, line) for line in view.lines["out"]):
                if time.monotonic() > deadline:
                    failures.append(f"{tools.program}: events of {user}: no {pattern!r} in {view.lines}")
                    break
                time.sleep(0.01)
        view.stop()


def check_top(tools: Tools, failures) -> None:
    out, err, code = tools.run(["sys", "top", "hub", "--output", "-", "--subs"])
    for part in ("Server: hub", "Connections Polled:", "HOST", "worker", "svc.echo"):
        if part not in out:
            failures.append(f"{tools.program}: top: no {part!r} in {out!r} {err!r} {code}")
    out = tools.run(["sys", "top", "hub", "--output", "-", "--delimiter", ";"])[0]
    if not re.search(r";\d+;worker;1;0;\d+", out):
        failures.append(f"{tools.program}: top with a delimiter: {out!r}")
    out = tools.run(["sys", "top", "hub", "-r", "2", "--batch"])[0]
    if out.count("Connections Polled") != 2:
        failures.append(f"{tools.program}: top in a batch: {out!r}")
    terminal = Terminal(tools.users["sys"], "top hub")
    if not terminal.answer("Connections Polled", "?") or not terminal.answer("Press any key", "x") \
            or not terminal.answer("Connections Polled", "q") or terminal.finish() != 0:
        failures.append(f"{tools.program}: top on a terminal: {terminal.seen!r}")


def check_kick_and_reload(tools: Tools, server: Server, failures) -> None:
    listed = json.loads(tools.run(["sys", "server", "request", "variables"])[0])
    server_id = listed["server"]["id"]
    victim = Peer(server.address(), "app", "victim", "x", "")
    found = json.loads(tools.run(["sys", "server", "request", "connections", "--filter-subject", "x", "--filter-account", "APP"])[0])
    cid = str(found["data"]["connections"][0]["cid"])
    out, err, code = tools.run(["sys", "server", "request", "kick", cid, server_id])
    victim.join(PATIENCE_SECONDS)
    if code != 0 or victim.is_alive():
        failures.append(f"{tools.program}: kick: exit code {code}: {out}{err}, still there: {victim.is_alive()}")
    out, err, code = tools.run(["sys", "server", "config", "reload", server_id, "--force"])
    if code != 0 or "Server information for hub" not in out:
        failures.append(f"{tools.program}: reload: exit code {code}: {out}{err}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--server", help="the server to run against")
    parser.add_argument("--record", action="store_true", help="write the golden file from the original")
    args = parser.parse_args()
    binary = args.server or find_oracle()
    original = find_original()
    if binary is None or (args.record and original is None):
        print("no server to run against")
        return SKIPPED
    failures: list[str] = []
    for program in [args.brokkr, original]:
        if program is None or (args.record and program == args.brokkr):
            continue
        with Server(binary, CONFIG) as server, tempfile.TemporaryDirectory() as home, \
                Server(find_oracle() or binary, LEAF % ("%s:%d" % server.address("second"))):
            peers = [Peer(server.address(), "app", "worker", "svc.echo", "hello"), Peer(server.address(), "other", "listener", "in.a", "")]
            tools = Tools(program, server, home)
            set_up(tools)
            has_leaf = wait_for_leaf(tools)
            if not has_leaf and is_nats_server(binary):
                raise RuntimeError("the leaf node does not connect")
            results = run_steps(tools, has_leaf and is_nats_server(binary))
            if args.record:
                write_golden(results, GOLDEN)
                break
            compare(tools, results, failures, OURS if program == args.brokkr else {}, GOLDEN)
            check_events(tools, failures)
            if program == args.brokkr:
                check_extra(tools, EXTRA, failures)
                check_top(tools, failures)
                check_kick_and_reload(tools, server, failures)
            for peer in peers:
                peer.close()
    print("\n".join(failures) if failures else
          f"{len(STEPS.splitlines()) - 1 + len(EXTRA)} steps, original: {original or 'not on this machine'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
