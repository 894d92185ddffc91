#!/usr/bin/env python3
"""Asks the monitoring pages of Brokkr and of nats-server the same questions and compares the answers.

    monitoring.py --brokkr PATH [--oracle PATH] [-v]

Both servers get the same configuration and the same clients. An answer must agree in status, content
type, key names, their order, the types of the values, and the values that are not the server's own
affair (VOLATILE). Without an nats-server only Brokkr's own answers are checked for what must hold
anyway. DIFFERENCES lists what is known to differ, with the reason; an entry that no longer applies
fails the run.
"""
import argparse
import json
import re
import socket
import sys
import time
import urllib.error
import urllib.request

import server as servers

CONNECT = '{"verbose":false,"pedantic":false,"name":"%s","lang":"py","version":"1.2"%s}'

# Values that differ from server to server or run to run; only their types are compared.
VOLATILE = {
    "server_id", "server_name", "version", "go", "port", "http_port", "start", "now", "stop", "rtt",
    "last_activity", "uptime", "idle", "mem", "cpu", "cores", "gomaxprocs", "config_load_time",
    "config_digest", "update_time", "cid", "num_cache", "num_inserts", "num_removes", "num_matches",
    "cache_hit_rate", "max_fanout", "avg_fanout", "stalls", "git_commit", "pending_bytes",
}
# (request, path in the document, reason). Regular expressions that must match as a whole.
DIFFERENCES = [
    (r"/varz.*|/accstatz.*|/accountz.*|/subsz.*|/subscriptionsz.*",
     r".*\.(subscriptions|num_subscriptions|total)", "nats-server counts subscriptions of its own"),
    (r"/varz.*", r"\.http_req_stats\./metrics", "our own page is counted too"),
    (r"/connz\?acc=\$G&state=closed", r"\.(connections|num_connections|total)",
     "nats-server forgets the account of closed clients when it is $G"),
    (r"DELETE .*", r"status|type|body", "only GET, HEAD and POST are taken"),
    (r"/metrics", r"status|type|body", "nats-server has no Prometheus page"),
    (r"/|/mon", r"body|type", "another page"),
    (r"/(stacksz|debug/vars)", r"body", "these show the insides of a Go program"),
]

PLAIN = 'http: "127.0.0.1:-1"'
USERS = PLAIN + """
server_tags: ["region:x", "b"]
max_subscriptions: 100
authorization { timeout: 3, users: [ {user: ann, password: a}, {user: bob, password: b} ] }
"""
BASED = PLAIN + '\nhttp_base_path: "/mon"\nserver_name: based'
TOKEN = PLAIN + "\nauthorization { token: s3cret }"


class Client:
    """A connected client, synchronised with the server after everything it sends."""

    def __init__(self, address: tuple[str, int], name: str, more: str = ""):
        self.socket = socket.create_connection(address, 10)
        self.socket.settimeout(10)
        self.buffer = b""
        self.read_to(b"\r\n")
        self.send("CONNECT " + CONNECT % (name, more) + "\r\n")

    def read_to(self, end: bytes) -> bytes:
        while end not in self.buffer:
            got = self.socket.recv(65536)
            if not got:
                raise EOFError(self.buffer)
            self.buffer += got
        before, _, self.buffer = self.buffer.partition(end)
        return before

    def send(self, text: str) -> None:
        self.socket.sendall((text + "PING\r\n").encode())
        self.read_to(b"PONG\r\n")

    def close(self) -> None:
        self.socket.close()


class Site:
    """One server with its clients, and what its pages answer."""

    def __init__(self, binary: str, config: str, logins: list[str]):
        self.server = servers.Server(binary, config)
        address = self.server.address()
        self.clients = [Client(address, f"n{i}", login) for i, login in enumerate(logins)]
        first, second, *_ = self.clients
        first.send("SUB foo 1\r\nSUB bar.* q 2\r\nUNSUB 2 5\r\nSUB deep.> 3\r\n")
        second.send("SUB foo 7\r\nPUB foo 3\r\nabc\r\nPUB bar.x 5\r\nhello\r\nPUB none 1\r\nx\r\n")
        first.send("PUB foo 2\r\nab\r\n")
        second.send("")
        gone = Client(address, "gone", logins[-1])
        gone.send("SUB zip 1\r\n")
        gone.close()
        self.base = "http://%s:%d" % self.server.address("monitoring")
        self.wait_for(lambda: len(self.cids("?state=closed")) == 1)

    def prefix(self) -> str:
        return "/mon" if self.ask("/varz")[0] == 404 else ""

    def cids(self, query: str = "") -> list[int]:
        return [each["cid"] for each in json.loads(self.ask(self.prefix() + "/connz" + query)[2])["connections"]]

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("a closed connection is not listed")
            time.sleep(0.01)

    def ask(self, what: str) -> tuple[int, str, str]:
        method, _, path = what.rpartition(" ")
        request = urllib.request.Request(self.base + path, method=method or "GET")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()


SORTS = ("cid start subs pending msgs_to msgs_from bytes_to bytes_from last idle uptime stop reason rtt "
         "bogus CID").split()
BAD = ["auth=2", "auth=yes", "subs=x", "subs=2", "offset=x", "limit=x", "limit=99999999999999999999", "cid=x",
       "cid=-1", "state=bogus", "offset=1_0", "limit=+", "auth=x&sort=y"]
REQUESTS = [
    "/varz", "/connz",
    *(f"/connz?sort={sort}" for sort in SORTS), *(f"/connz?sort={sort}&state=closed" for sort in SORTS),
    *(f"/connz?{query}" for query in BAD),
    *(f"/connz?{query}" for query in (
        "auth=1", "auth=true&subs=1", "auth=T&subs=detail", "subs=0", "subs=DETAIL", "state=open", "state=any&auth=1",
        "state=ALL", "state=closed&auth=1", "offset=1", "offset=-1", "offset=99", "limit=1", "limit=0",
        "limit=-1", "limit=+2", "limit=1&offset=1&state=any", "cid=0", "cid=999999", "cid=CID0", "cid=CID0&subs=1&auth=1",
        "cid=CID0&offset=3", "cid=CID0&acc=none", "cid=CID0&user=ann", "cid=CLOSED", "cid=CLOSED&state=any",
        "cid=CLOSED&state=closed", "user=ann", "user=ann&auth=1", "user=nobody", "user=nobody&state=any", "acc=$G",
        "acc=none", "acc=none&state=any", "acc=$SYS", "acc=$G&state=closed", "mqtt_client=m", "filter_subject=foo",
        "filter_subject=foo&acc=$G", "bogus=1", "sort=", "state=", "auth=", "callback=f")),
    "/subsz", "/subscriptionsz",
    *(f"/subsz?{query}" for query in (
        "subs=x", "offset=x", "limit=x", "acc=none", "acc=none&subs=1", "test=a..b", "test=foo.*", "test=", "test=foo&subs=1",
        "test=bar.x&subs=1", "test=deep.a.b&subs=1&limit=1", "test=foo&subs=1&offset=1", "test=foo", "limit=-3", "offset=5")),
    "/healthz", *(f"/healthz?{query}" for query in (
        "js-enabled=1", "js-enabled-only=1", "js-enabled-only=true", "js-server-only=1", "js-meta-only=1", "js-enabled-only=x",
        "details=1", "details=x", "stream=s", "consumer=c", "stream=s&details=1", "account=a", "account=a&stream=s",
        "account=a&stream=s&consumer=c", "consumer=c&details=true")),
    "/routez", "/routez?subs=1", "/routez?subs=detail", "/routez?subs=x",
    "/gatewayz", "/gatewayz?accs=1", "/gatewayz?accs=x", "/gatewayz?gw_name=g",
    "/leafz", "/leafz?subs=1", "/leafz?subs=x", "/leafz?acc=a",
    "/accountz", "/accountz?acc=$G", "/accountz?acc=none",
    "/accstatz", "/accstatz?unused=1", "/accstatz?unused=x",
    "/jsz", *(f"/jsz?{query}" for query in (
        "accounts=1", "streams=1&consumers=1&config=1", "acc=$G", "raft=1", "config=1", "accounts=x", "streams=x", "consumers=x", "config=x", "offset=x",
        "limit=x", "leader-only=x", "raft=x", "stream-leader-only=x", "direct-consumers=x")),
    "/ipqueuesz", "/ipqueuesz?all=x", "/raftz", "/", "/nope", "/varz/", "/varz/x", "/Varz", "/metrics", "/stacksz",
    "/debug/vars", "HEAD /varz", "HEAD /nope", "POST /healthz", "DELETE /healthz", "/varz?x=1", "/varz",
]


def kind_of(value) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def compare(ours, theirs, path: str, found: list[tuple[str, str]]) -> None:
    """Appends (path, what differs) to `found`."""
    if kind_of(ours) != kind_of(theirs):
        found.append((path, f"{kind_of(ours)} instead of {kind_of(theirs)}"))
    elif isinstance(ours, dict):
        shared = [key for key in theirs if key in ours]
        found += [(f"{path}.{key}", "missing") for key in theirs if key not in ours]
        found += [(f"{path}.{key}", "extra") for key in ours if key not in theirs]
        if shared != [key for key in ours if key in theirs]:
            found.append((path, f"order {list(ours)} instead of {list(theirs)}"))
        for key in shared:
            if path.endswith(".http_req_stats"):
                continue  # the counts depend on how often the test had to ask
            if key not in VOLATILE or not isinstance(ours[key], (str, int, float)):
                compare(ours[key], theirs[key], f"{path}.{key}", found)
            elif kind_of(ours[key]) != kind_of(theirs[key]) or (ours[key] == "") != (theirs[key] == ""):
                found.append((f"{path}.{key}", f"{ours[key]!r} instead of {theirs[key]!r}"))
    elif isinstance(ours, list):
        if len(ours) != len(theirs):
            found.append((path, f"{len(ours)} entries instead of {len(theirs)}"))
        for index, (one, other) in enumerate(zip(ours, theirs)):
            compare(one, other, f"{path}[{index}]", found)
    elif ours != theirs:
        found.append((path, f"{ours!r} instead of {theirs!r}"))


def settle(document, request: str):
    """Puts in order what comes in no particular one; the clock decides some orders of connections."""
    connections = document.get("connections") if isinstance(document, dict) else None
    for connection in connections if isinstance(connections, list) else []:
        for key in ("subscriptions_list", "subscriptions_list_detail"):
            connection.get(key, []).sort(key=json.dumps)
    if re.search(r"sort=(last|idle|pending|rtt)", request) and isinstance(connections, list):
        connections.sort(key=lambda each: each["name"])
    if not isinstance(document, dict):
        return document
    if isinstance(document.get("accounts"), list):
        document["accounts"].sort()
    document.get("account_statz", []).sort(key=lambda each: each["acc"])
    detail = document.get("account_detail") or document
    for key in ("exports", "imports"):
        if isinstance(detail.get(key), list):
            detail[key].sort(key=json.dumps)
    listed = document.get("subscriptions_list", [])
    listed.sort(key=lambda each: (each["cid"], each["sid"]))
    if re.search("offset=|limit=", request):
        # Which ones a page holds is left to chance as well.
        for each in listed:
            each["sid"] = each["subject"] = "any"
            each["msgs"] = 0
    return document


def is_go_indented(text: str, document) -> bool:
    rendered = json.dumps(document, indent=2, ensure_ascii=False)
    for character in "<>&":
        rendered = rendered.replace(character, "\\u%04x" % ord(character))
    return text == rendered


def compare_answers(request: str, ours, theirs) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, one, other in zip(("status", "type"), ours, theirs):
        if one != other:
            found.append((name, f"{one!r} instead of {other!r}"))
    # Text may call itself JSON, as stacks do.
    if any(one[1] != "application/json" or not one[2].startswith(("{", "[")) for one in (ours, theirs)):
        if ours[2] != theirs[2]:
            found.append(("body", f"{ours[2][:120]!r} instead of {theirs[2][:120]!r}"))
        return found
    document = json.loads(ours[2])
    if ours[2].startswith("{\n") and not is_go_indented(ours[2], document):
        found.append(("body", "not indented as Go does"))
    compare(settle(document, request), settle(json.loads(theirs[2]), request), "", found)
    return found


class Comparison:
    def __init__(self, verbose: bool):
        self.verbose = verbose
        self.failures: list[str] = []
        self.used: set[int] = set()
        self.requests = 0

    def note(self, where: str, request: str, found: list[tuple[str, str]]) -> None:
        self.requests += 1
        for path, what in found:
            known = [i for i, (pattern, places, _) in enumerate(DIFFERENCES)
                     if re.fullmatch(pattern, request) and re.fullmatch(places, path)]
            self.used.update(known)
            if not known:
                self.failures.append(f"{where}: {request}: {path or 'document'}: {what}")
            elif self.verbose:
                print(f"known: {where}: {request}: {path}: {what} ({DIFFERENCES[known[0]][2]})")

    def finish(self, has_oracle: bool) -> int:
        if has_oracle:
            for index, (request, path, reason) in enumerate(DIFFERENCES):
                if index not in self.used:
                    self.failures.append(f"difference no longer there: {request} {path} ({reason})")
        for failure in self.failures:
            print(failure)
        print(f"monitoring: {self.requests} requests, {len(self.failures)} failures")
        return 1 if self.failures else 0


def fill_in(request: str, site: Site, open_cids: list[int], closed: int) -> str:
    return request.replace("CID0", str(open_cids[0])).replace("CLOSED", str(closed))


def check_alone(site: Site, prefix: str) -> list[tuple[str, str]]:
    """What must hold of Brokkr whatever nats-server says."""
    found = []
    status, kind, text = site.ask(prefix + "/metrics")
    if status != 200 or not kind.startswith("text/plain; version=0.0.4"):
        found.append(("metrics", f"{status} {kind}"))
    for line in text.splitlines():
        if not re.fullmatch(r'# (HELP|TYPE) brokkr_[a-z_]+ .+|brokkr_[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [-+0-9.e]+', line):
            found.append(("metrics", line))
    values = dict(re.findall(r"^(brokkr_\w+) ([-+0-9.e]+)$", text, re.M))
    varz = json.loads(site.ask(prefix + "/varz")[2])
    for name, field in (("connections", "connections"), ("subscriptions", "subscriptions"),
                        ("in_msgs_total", "in_msgs"), ("out_bytes_total", "out_bytes")):
        if float(values.get("brokkr_" + name, -1)) != varz[field]:
            found.append(("metrics", f"{name} {values.get('brokkr_' + name)} but {field} {varz[field]}"))
    return found


def run(name: str, config: str, logins: list[str], loops: int, options, result: Comparison) -> None:
    sites = [Site(options.brokkr, f"{config}\nbrokkr {{ loops: {loops} }}", logins)]
    if options.oracle:
        sites.append(Site(options.oracle, config, logins))
    try:
        prefix = "/mon" if "http_base_path" in config else ""
        cids = [(site.cids(), site.cids("?state=closed")[0]) for site in sites]
        for request in REQUESTS:
            method, _, path = request.rpartition(" ")
            asked = f"{method} {prefix}{path}".strip() if path != "/" or not prefix else prefix
            answers = [site.ask(fill_in(asked, site, *ids)) for site, ids in zip(sites, cids)]
            if len(answers) == 2:
                result.note(name, request, compare_answers(request, *answers))
            elif answers[0][0] not in (200, 400, 404, 405):
                result.note(name, request, [("status", str(answers[0][0]))])
        result.note(name, "alone", check_alone(sites[0], prefix))
    finally:
        for site in sites:
            site.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--oracle", default=servers.find_oracle())
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    # The list of differences is about the newest release; older ones lack fields.
    if options.oracle and not servers.version_of(options.oracle).startswith("2.15."):
        print(f"nats-server {servers.version_of(options.oracle)} is not compared with")
        options.oracle = None
    result = Comparison(options.v)
    ann, bob = (f',"user":"{user}","pass":"{user[0]}"' for user in ("ann", "bob"))
    token = ',"auth_token":"s3cret"'
    scenarios = [("plain", PLAIN, [""] * 3), ("users", USERS, [ann, bob, bob]), ("base path", BASED, [""] * 2),
                 ("token", TOKEN, [token] * 2)]
    for loops in (1, 2):
        for name, config, logins in scenarios:
            run(f"{name}, {loops} loops", config, logins, loops, options, result)
    return result.finish(bool(options.oracle))


if __name__ == "__main__":
    sys.exit(main())
