#!/usr/bin/env python3
"""Asks the system account of Brokkr and of nats-server the same questions and compares the answers.

    system.py --brokkr PATH [--oracle PATH] [--cli PATH] [-v]

Both servers get the same configuration and the same clients. First the services of $SYS.REQ, asked
directly: an answer must agree in its key names and values as monitoring.py compares documents. Then
the events a listener sees while clients come and go. Then, with the `nats` CLI, its commands for
operators: what they print must agree once numbers and names of the server's own are blanked.
DIFFERENCES lists what is known to differ, with the reason.
"""
import argparse
import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import monitoring
import server as servers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from nats_client import NatsClient, NatsError  # noqa: E402

CONFIG = """
server_name: sys1
http: "127.0.0.1:-1"
server_tags: ["a:b"]
ping_interval: "30s"
jetstream { store_dir: "$FOLDER/js", max_mem: 64MB, max_file: 256MB, domain: D }
accounts {
  A { users [ {user: a, password: a},
              {user: p, password: p, permissions: {
                 publish: {allow: ["ok.>", "$SYS.REQ.USER.INFO"]},
                 subscribe: {allow: ["ok.>", "qonly grp", "_INBOX.>"], deny: "ok.secret"}, allow_responses: true } } ],
      jetstream: enabled, mappings { "old.*": "new.$1" },
      exports [ {stream: "st.>"}, {service: "ask", allow_trace: true} ] }
  B { users [ {user: b, password: b} ],
      imports [ {stream: {account: A, subject: "st.>"}, prefix: from}, {service: {account: A, subject: "ask"}} ] }
  SYS { users [ {user: sys, password: sys} ] }
}
system_account: SYS
"""
# What the server counts of its own.
OWN = r".*\.(subscriptions|num_subscriptions|total|sent\.bytes|sent_to_clients\.bytes|sent\.msgs|sent_to_clients\.msgs|out_bytes|out_client_bytes)"

# Of what comes in, a request may be counted before or after it is answered; HTTP asks from outside (monitoring.py).
monitoring.VOLATILE |= {"id", "seq", "time", "timestamp", "ver", "flags", "host", "ts", "in_msgs", "in_bytes",
                        "in_client_msgs", "in_client_bytes"}
DIFFERENCES = [
    (r".*", OWN, "each server has its own subscriptions and texts"),
    (r".*(SUBSZ|SUBSCRIBERS).*", r".*\.subscriptions_list.*", "the servers' own subscriptions are listed too"),
    (r".*(STATSZ|VARZ|JSZ|PING).*", r".*\.(limits\.default_max_consumers|api\.level|config\.(sync_interval|sync_always|store_dir))",
     "JetStream's level, and that it syncs always"),
    (r".*EXPVARZ.*", r".*\.(memstats|cmdline).*", "no Go program; arguments may hold passwords"),
    (r".*IPQUEUESZ.*", r".*System recvQ", "queues of a Go program"),
    (r".*PING\.CONNZ [x[{].*", r"\.error\.description", "the words of Go's JSON reader"),
    (r"server (info|config reload).*", r"Go Version.*|Storage Directory.*|.*[Ss]ync.*", "no Go program; JetStream syncs always"),
    (r"server request variables", r".*", "as VARZ above"),
    (r"server request (subscriptions|jetstream|ipqueue|accounts)", r".*", "as SUBSZ, JSZ and IPQUEUESZ above; accounts have no order"),
    (r".*HEALTHZ.*", r"\.data\.error", "accounts exist before they have streams"),
]

Z = "IDZ STATSZ VARZ SUBSZ CONNZ ROUTEZ GATEWAYZ LEAFZ ACCOUNTZ JSZ HEALTHZ PROFILEZ EXPVARZ IPQUEUESZ RAFTZ".split()
FILTERS = [{"server_name": "sys"}, {"server_name": "sys", "exact_match": True}, {"server_name": "sys1", "exact_match": True},
           {"cluster": "c"}, {"host": "127"}, {"host": "10."}, {"tags": ["a:b"]}, {"tags": ["A:B"]}, {"tags": ["x"]},
           {"domain": "D"}, {"domain": "E"}]


def requests() -> list[tuple[str, str, bytes]]:
    """(user, subject, body)"""
    asked = [("sys", "$SYS.REQ.SERVER.PING", b"")]
    for name in Z:
        asked += [("sys", f"$SYS.REQ.SERVER.PING.{name}", b""), ("sys", f"$SYS.REQ.SERVER.ID.{name}", b"{}")]
    for options in FILTERS:
        for name in ("CONNZ", "STATSZ", "IDZ"):
            asked.append(("sys", f"$SYS.REQ.SERVER.PING.{name}", json.dumps(options).encode()))
    for name, options in [
            ("CONNZ", {"auth": True, "subscriptions_detail": True}), ("CONNZ", {"subscriptions": True, "acc": "A"}),
            ("CONNZ", {"sort": "bytes_to"}), ("CONNZ", {"sort": "bogus"}), ("CONNZ", {"sort": "stop"}),
            ("CONNZ", {"state": 1}), ("CONNZ", {"state": 2}), ("CONNZ", {"limit": 1, "offset": 1}),
            ("CONNZ", {"acc": "none"}), ("CONNZ", {"user": "a"}), ("CONNZ", {"user": "a", "auth": True}),
            ("CONNZ", {"filter_subject": "foo", "acc": "A"}), ("CONNZ", {"filter_subject": "foo"}),
            ("CONNZ", {"cid": 999999}), ("CONNZ", {"offset": -1}), ("CONNZ", {"limit": -1}),
            ("SUBSZ", {"subscriptions": True, "account": "A"}), ("SUBSZ", {"test": "foo", "subscriptions": True, "account": "A"}),
            ("ACCOUNTZ", {"account": "A"}), ("ACCOUNTZ", {"account": "none"}), ("ACCOUNTZ", {"account": "SYS"}),
            ("JSZ", {"accounts": True, "streams": True, "consumer": True, "config": True}), ("JSZ", {"account": "A"}),
            ("HEALTHZ", {"js-enabled-only": True}), ("HEALTHZ", {"account": "A", "stream": "none"}),
            ("HEALTHZ", {"stream": "s"}), ("HEALTHZ", {"details": True}),
            ("PROFILEZ", {"name": "none"}), ("LEAFZ", {"subscriptions": True}), ("IPQUEUESZ", {"all": False})]:
        asked.append(("sys", f"$SYS.REQ.SERVER.PING.{name}", json.dumps(options).encode()))
    for body in (b"x", b"[]", b'{"auth":1}', b'{"limit":"x"}', b"null"):
        asked.append(("sys", "$SYS.REQ.SERVER.PING.CONNZ", body))
    for account in ("A", "B", "SYS", "none"):
        for name in ("CONNZ", "SUBSZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"):
            asked.append(("sys", f"$SYS.REQ.ACCOUNT.{account}.{name}", b""))
    asked += [
        ("sys", "$SYS.REQ.ACCOUNT.PING.STATZ", b""), ("sys", "$SYS.REQ.ACCOUNT.PING.STATZ", b'{"include_unused":true}'),
        ("sys", "$SYS.REQ.ACCOUNT.PING.STATZ", b'{"accounts":["A"]}'), ("sys", "$SYS.REQ.ACCOUNT.B.STATZ", b'{"include_unused":true}'),
        ("sys", "$SYS.REQ.ACCOUNT.NSUBS", b'{"acc":"A","subject":"foo"}'), ("sys", "$SYS.DEBUG.SUBSCRIBERS", b"foo"),
        ("sys", "$SYS.REQ.SERVER.ID.RELOAD", b""), ("sys", "$SYS.REQ.SERVER.ID.KICK", b'{"cid":999999}'),
        ("sys", "$SYS.REQ.SERVER.ID.LDM", b'{"cid":999999}'), ("sys", "$SYS.REQ.SERVER.ID.NOPE", b""),
        ("sys", "$SYS.REQ.USER.INFO", b""), ("a", "$SYS.REQ.USER.INFO", b""), ("p", "$SYS.REQ.USER.INFO", b""),
    ]
    for user in ("a", "b"):
        for subject in ("$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.SERVER.PING.CONNZ",
                        "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.ACCOUNT.A.CONNZ", "$SYS.REQ.ACCOUNT.B.INFO"):
            asked.append((user, subject, b""))
    asked.append(("b", "$SYS.REQ.SERVER.PING.CONNZ", b'{"acc":"A","auth":true}'))
    return asked


class Site:
    """A server with one client for each user."""

    def __init__(self, binary: str, more: str = ""):
        self.server = servers.Server(binary, CONFIG + more)
        self.clients = {}
        for user in ("a", "b", "p", "sys"):
            self.clients[user] = self.connect(user)
        self.clients["a"].subscribe("foo")
        self.clients["a"].subscribe("bar.*", "q")
        for client in self.clients.values():
            client.flush()
        self.id = json.loads(self.clients["sys"].request("$SYS.REQ.SERVER.PING.IDZ").data)["id"]

    def connect(self, user: str, password: str | None = None) -> NatsClient:
        return NatsClient(*self.server.address(), user=user, **{"pass": password or user}, name=f"n-{user}", lang="py", version="1")

    def ask(self, user: str, subject: str, body: bytes):
        """The parsed answer, or a word for none."""
        try:
            reply = self.clients[user].request(subject.replace(".ID.", f".{self.id}."), body, 0.4)
        except (NatsError, TimeoutError, OSError):
            return "silence"
        if reply.headers.get("Status") == "503" or (not reply.data and "503" in reply.head.decode()):
            return "no responders"
        return json.loads(reply.data)

    def stop(self) -> None:
        for client in self.clients.values():
            client.close()
        self.server.stop()


def settle(document):
    if not isinstance(document, dict):
        return document
    document = json.loads(re.sub(r"_INBOX\.[0-9a-f]{16}", "_INBOX.x", json.dumps(document)))
    for part in (document, document.get("data")):
        monitoring.settle(part, "")
        if isinstance(part, dict):
            for connection in part.get("connections", []) if isinstance(part.get("connections"), list) else []:
                connection.pop("rtt", None)
            if isinstance(part.get("connections"), list):
                part["connections"].sort(key=lambda each: (each["name"], each["cid"]))
            for account in part.get("account_statz") or []:
                if account.get("acc") == "SYS":
                    # How many of the server's own replies have been counted when it writes this one.
                    for side in ("sent", "received"):
                        account.get(side, {}).update(msgs=0, bytes=0)
            for side in (part.get("permissions") or {}).values():
                side.get("allow", []).sort()
    return document


def compare_services(sites: list[Site], result: monitoring.Comparison) -> None:
    for user, subject, body in requests():
        answers = [settle(site.ask(user, subject, body)) for site in sites]
        found: list[tuple[str, str]] = []
        if len(answers) == 2:
            monitoring.compare(*answers, "", found)
        elif answers[0] == "silence" and user == "sys" and not body:
            found.append(("", "no answer"))
        result.note("services", f"{user} {subject} {body.decode()}", found)


def compare_packing(sites: list[Site], result: monitoring.Comparison) -> None:
    for wanted, first in (("gzip", b"\x1f\x8b"), ("snappy", b"\xff\x06\x00\x00sNaPpY"), ("identity", b"{")):
        for site in sites:
            got = site.clients["sys"].request("$SYS.REQ.SERVER.PING.VARZ", b"", 5, [("Accept-Encoding", wanted)])
            encoding = got.headers.get("Content-Encoding", "identity")
            good = got.data.startswith(first) and encoding == wanted
            if good and wanted == "gzip":
                good = json.loads(gzip.decompress(got.data))["data"]["server_name"] == "sys1"
            result.note("packing", wanted, [] if good else [("", f"{encoding} {got.data[:12]!r}")])


def watch(site: Site) -> dict[str, dict]:
    """What a listener hears while clients come, go and are refused: the last message of each subject."""
    listener = site.connect("sys")
    listener.subscribe("$SYS.ACCOUNT.>")
    listener.subscribe("$SYS.SERVER.>")
    listener.flush()
    site.connect("b").close()
    try:
        site.connect("b", "wrong")
    except NatsError:
        pass
    wanted = {"$SYS.ACCOUNT.B.CONNECT", "$SYS.ACCOUNT.B.DISCONNECT", "$SYS.ACCOUNT.B.SERVER.CONNS",
              "$SYS.SERVER.ACCOUNT.B.CONNS", "$SYS.SERVER.ID.CLIENT.AUTH.ERR", "$SYS.SERVER.ID.STATSZ"}
    heard: dict[str, dict] = {}
    deadline = time.monotonic() + 12
    while not wanted <= heard.keys() and time.monotonic() < deadline:
        listener.pump(0.2)
        for subscription in ("$SYS.ACCOUNT.>", "$SYS.SERVER.>"):
            for message in listener.kept[subscription]:
                heard[message.subject.replace(site.id, "ID")] = json.loads(message.data)
            listener.drop(subscription)
    listener.close()
    return {subject: heard.get(subject, {}) for subject in wanted}


def compare_events(sites: list[Site], result: monitoring.Comparison) -> None:
    heard = [watch(site) for site in sites]
    for subject, event in heard[0].items():
        found: list[tuple[str, str]] = [] if event else [("", "not heard")]
        if event and len(heard) == 2:
            monitoring.compare(event, heard[1][subject], "", found)
        result.note("events", subject, found)


TRACES = [  # publisher, subject, more headers
    ("a", "foo", []), ("a", "bar.x", []), ("a", "nobody", []), ("a", "foo", [("Nats-Trace-Only", "true")]),
    ("a", "bar.x", [("Nats-Trace-Only", "1"), ("X", "1"), ("X", "2")]), ("a", "old.1", [("Nats-Trace-Only", "on")]),
    ("a", "st.1", []), ("a", "st.1", [("Nats-Trace-Only", "true")]), ("b", "ask", []),
    ("b", "ask", [("Nats-Trace-Only", "true")]), ("a", "kept", []), ("a", "kept", [("Nats-Trace-Only", "true")]),
    ("p", "ok.x", []), ("p", "denied", []), ("a", "foo", [("Nats-Trace-Origin-Account", "X")]),
]


def trace(site: Site, user: str, subject: str, headers: list) -> list:
    """The trace's document, and what the publisher is told."""
    client = site.clients[user]
    destination = "ok.trace" if user == "p" else "trace"
    client.subscribe(destination)
    outcome: list = []
    try:
        client.publish(subject, b"hello", "", [("Nats-Trace-Dest", destination)] + headers)
        client.flush()
        outcome.append(json.loads(client.next(destination, 0.5).data))
    except TimeoutError:
        outcome.append("no trace")
    except NatsError as error:
        outcome.append(str(error))
        try:
            outcome.append(json.loads(client.next(destination, 0.5).data))
        except (NatsError, TimeoutError):
            outcome.append("no trace")
    client.unsubscribe(destination)
    for each in outcome:
        for event in each.get("events", [])[1:] if isinstance(each, dict) else []:
            event.pop("cid", None)
        if isinstance(each, dict):
            each["events"][1:] = sorted(each["events"][1:], key=lambda event: [event["type"], event.get("name", "")])
    return outcome


def compare_traces(sites: list[Site], result: monitoring.Comparison) -> None:
    for site in sites:
        site.clients["b"].subscribe("from.st.>")
        site.clients["b"].flush()
        made = site.clients["a"].request("$JS.API.STREAM.CREATE.K", b'{"name":"K","subjects":["kept"]}', 5)
        if b"error" in made.data:
            raise RuntimeError(made.data.decode())
    for user, subject, headers in TRACES:
        found: list[tuple[str, str]] = []
        told = [trace(site, user, subject, headers) for site in sites]
        if len(told) == 2:
            monitoring.compare(*told, "", found)
        result.note("traces", f"{user} {subject} {headers}", found)


COMMANDS = [
    "server list", "server ping --count 1", "server info", "server report connections", "server report accounts",
    "server report jetstream", "server report health", "server report cpu", "server report mem",
    "server report leafnodes", "server report routes", "server report gateways",
    "server request variables", "server request connections", "server request accounts", "server request subscriptions",
    "server request routes", "server request gateways", "server request leafnodes", "server request jetstream",
    "server request jetstream-health", "server request ipqueue", "server request raft",
    "server check connection", "server check jetstream", "server graph", "server config reload ID -f",
    "server stream-check", "account report statistics", "account report connections",
    "a account info", "a account report connections", "a account report statistics", "a account report connz",
    "a trace foo hello", "a trace kept hello",
]


def run_cli(cli: str, site: Site, command: str) -> str:
    words = command.replace("ID", site.id).split()
    user = "sys" if words[0] not in ("a", "b") else words.pop(0)
    done = subprocess.run([cli, "-s", site.server.url(), "--user", user, "--password", user, "--timeout", "2s", *words],
                          capture_output=True, text=True, timeout=30, env={"HOME": str(site.server.folder), "TERM": "dumb", "PATH": ""})
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def blank(text: str) -> list[str]:
    """Without what is the server's own affair: identifiers, numbers, times, widths of tables."""
    text = re.sub(r"N[A-Z2-7]{55}", "ID", text)
    text = re.sub(r"[\u2580-\u259f]+", "#", text)
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"[-+]?\d[\d.,:]*(\s?([KMGT]i?B?|B|ns|µs|ms|s|m|h|d|%)\b)?", "#", text)
    text = re.sub(r"(#[a-z]*)+", "#", re.sub(r"[\u2500-\u257f]+", "|", text))
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip(" |")]


def compare_commands(cli: str, sites: list[Site], result: monitoring.Comparison) -> None:
    for command in COMMANDS:
        outputs = [blank(run_cli(cli, site, command)) for site in sites]
        found: list[tuple[str, str]] = []
        if len(outputs) == 1 and outputs[0][0] != "exit #":
            found.append(("", "\n".join(outputs[0])))
        if len(outputs) == 2:
            if command.split()[0] == "server" and "request" in command:
                outputs = [sorted(set(output)) for output in outputs]
            found = [(line, "extra") for line in outputs[0] if line not in outputs[1]]
            found += [(line, "missing") for line in outputs[1] if line not in outputs[0]]
        result.note("cli", command, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--oracle", default=servers.find_oracle())
    parser.add_argument("--cli", default=shutil.which("nats"))
    parser.add_argument("--only", default="", help="one part: services, packing, events, traces, cli")
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    if options.oracle and not servers.version_of(options.oracle).startswith("2.15."):
        print(f"nats-server {servers.version_of(options.oracle)} is not compared with")
        options.oracle = None
    monitoring.DIFFERENCES = DIFFERENCES
    parts = {"services": compare_services, "packing": compare_packing, "events": compare_events, "traces": compare_traces}
    if options.cli and options.oracle:
        parts["cli"] = lambda sites, result: compare_commands(options.cli, sites, result)
    result = monitoring.Comparison(options.v)
    for loops in (1, 2):
        sites = []
        try:
            sites.append(Site(options.brokkr, f"brokkr {{ loops: {loops} }}"))
            if options.oracle:
                sites.append(Site(options.oracle))
            for name, part in parts.items():
                if options.only in ("", name):
                    part(sites, result)
        finally:
            for site in sites:
                site.stop()
    return result.finish(bool(options.oracle) and not options.only)


if __name__ == "__main__":
    sys.exit(main())
