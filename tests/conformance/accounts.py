#!/usr/bin/env python3
"""Messages between accounts: the same scripts on brokkr and on nats-server, what every client got
compared. With nats-server on the PATH both run; without it the script says so and is skipped (77).
"""
import argparse
import json
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from conformance.server import Server  # noqa: E402
from support.nats_client import NatsClient, NatsError  # noqa: E402

SKIPPED = 77
CONFIG = """
accounts {
  A {
    users: [{user: a, password: p}]
    exports: [
      {stream: "news.>"}, {stream: "t.*.*"}, {stream: "only.b", accounts: [B]}, {stream: "s"},
      {service: "help.*"}, {service: "many", response_type: stream},
      {service: "pieces", response_type: chunked}, {service: "fixed"},
      {service: "timed", latency: {sampling: 100%, subject: "lat"}}, {service: "q.work"},
      {service: "two.*.*"}
    ]
  }
  B {
    users: [{user: b, password: p}, {user: "b2", password: p, permissions: {publish: ["ask.ok", "_INBOX.>"]}}]
    imports: [
      {stream: {account: A, subject: "news.>"}, prefix: "from.a"},
      {stream: {account: A, subject: "t.*.*"}, to: "x.$2.$1"},
      {stream: {account: A, subject: "only.b"}}, {stream: {account: A, subject: "s"}, to: "local.s"},
      {service: {account: A, subject: "help.*"}, to: "ask.*"},
      {service: {account: A, subject: "many"}}, {service: {account: A, subject: "pieces"}},
      {service: {account: A, subject: "fixed"}, to: "whatever"},
      {service: {account: A, subject: "timed"}}, {service: {account: A, subject: "q.work"}},
      {service: {account: A, subject: "two.*.*"}, to: "deux.*.*"}
    ]
    exports: [{service: "middle"}, {stream: "from.a.news.>"}]
    mappings = { "old.*": "new.$1", "swap.*.*": "swapped.$2.$1", "deep.>": "deeper.>",
                 "cut.*": "cut.{{left(1,2)}}", "part.*": "part.{{partition(3,1)}}.$1" }
  }
  C {
    users: [{user: c, password: p}]
    imports: [{stream: {account: B, subject: "from.a.news.>"}, prefix: c}]
  }
}
"""


class Session:
    """Clients of one server, and a transcript of what they got."""

    def __init__(self, binary: str, two_loops: bool):
        extra = "brokkr { loops: 2 }\n" if two_loops else ""
        self.server = Server(binary, CONFIG + extra)
        self.clients: list[NatsClient] = []
        self.lines: list[str] = []

    def client(self, user: str) -> NatsClient:
        made = NatsClient(*self.server.address(), user=user, **{"pass": "p"})
        self.clients.append(made)
        return made

    def settle(self) -> None:
        # A message may pass from one client over another loop to a third: everyone twice.
        for _ in range(3):
            for client in self.clients:
                client.flush()

    def show(self, name: str, client: NatsClient) -> None:
        self.settle()
        for subscription in sorted(client.kept):
            for message in client.kept[subscription]:
                self.lines.append(f"{name} {describe(message)}")
            client.kept[subscription].clear()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()


def describe(message) -> str:
    headers = dict(message.headers)
    if "Nats-Request-Info" in headers:
        info = json.loads(headers["Nats-Request-Info"])
        info.pop("rtt", None)
        headers["Nats-Request-Info"] = json.dumps(info, sort_keys=True)
    reply = re.sub(r"^_R_\..*", "_R_", message.reply)
    reply = re.sub(r"^_INBOX\..*", "_INBOX", reply)
    subject = re.sub(r"^_INBOX\..*", "_INBOX", message.subject)
    data = message.data.decode()
    if subject == "lat":
        event = json.loads(data)
        data = f"type {event['type']} status {event['status']} keys {sorted(event)} " \
               f"requestor {sorted(event.get('requestor', {}))}"
    return f"{subject} reply {reply!r} {headers} {data!r}"


def streams(s: Session) -> None:
    a, b, c = s.client("a"), s.client("b"), s.client("c")
    for subject in ("from.a.news.sport", "from.*.news.>", "news.sport", "x.two.*", "only.b", "local.s", "s"):
        b.subscribe(subject)
    b.subscribe("x.*.one", "group")
    for subject in ("c.from.a.news.>", "only.b", ">"):
        c.subscribe(subject)
    s.settle()
    for subject in ("news.sport", "news.a.b", "t.one.two", "t.one.three", "only.b", "s", "other"):
        a.publish(subject, b"from " + subject.encode(), reply="r", headers=[("K", "v")])
        s.show("b", b)
        s.show("c", c)
    b.unsubscribe("x.two.*")
    s.settle()
    a.publish("t.one.two", b"after")
    s.show("b", b)


def services(s: Session) -> None:
    a, b = s.client("a"), s.client("b")
    for subject in ("help.*", "many", "pieces", "fixed", "timed", "two.*.*", "lat"):
        a.subscribe(subject)
    a.subscribe("q.work", "workers")
    s.settle()
    answers = {"ask.me": ["help.*", [b"yes", b"too late"]], "many": ["many", [b"1", b"2", b"3"]],
               "pieces": ["pieces", [b"1", b"2", b"", b"3"]], "whatever": ["fixed", [b"f"]],
               "timed": ["timed", [b"t"]], "q.work": ["q.work", [b"w"]],
               "deux.x.y": ["two.*.*", [b"xy"]]}
    for subject, (subscription, texts) in answers.items():
        b.send_request(subject, b"?", headers=[("Nats-Request-Info", '{"acc":"EVIL"}'), ("K", "v")])
        s.settle()
        request = a.kept[subscription].pop(0)
        s.lines.append(f"a {describe(request)}")
        for text in texts:
            a.publish(request.reply, text, headers=[("Answer", "yes")])
        s.show("b", b)
    s.show("a", a)
    b.publish("ask.me", b"no reply wanted")
    s.show("a", a)


def nobody_there(s: Session) -> None:
    b, b2 = s.client("b"), s.client("b2")
    for subject in ("ask.me", "many", "nothing"):
        b.send_request(subject, b"?")
        s.show("b", b)
    b2.send_request("ask.ok", b"?")
    s.show("b2", b2)


def mappings(s: Session) -> None:
    b = s.client("b")
    b.subscribe(">")
    s.settle()
    for subject in ("old.7", "old.7.8", "swap.1.2", "deep.a.b", "cut.abcdef", "part.x", "part.y", "part.z"):
        b.publish(subject, subject.encode())
        s.show("b", b)


SCRIPTS = [streams, services, nobody_there, mappings]


def run(script, binary: str, two_loops: bool) -> list[str]:
    session = Session(binary, two_loops)
    try:
        script(session)
    except (NatsError, TimeoutError, IndexError) as error:
        session.lines.append(f"failed: {error!r}")
    finally:
        session.close()
    return session.lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", default=shutil.which("nats-server"))
    options = parser.parse_args()
    if options.nats_server is None:
        print("nats-server is not on the PATH: nothing to compare with")
        return SKIPPED
    failed = 0
    for script in SCRIPTS:
        wanted = run(script, options.nats_server, False)
        for two_loops in (False, True):
            got = run(script, options.brokkr, two_loops)
            name = f"{script.__name__} with {'two loops' if two_loops else 'one loop'}"
            if got == wanted:
                print(f"equal: {name}, {len(wanted)} messages")
                continue
            failed += 1
            print(f"DIFFERS: {name}")
            for i in range(max(len(got), len(wanted))):
                ours = got[i] if i < len(got) else "nothing"
                theirs = wanted[i] if i < len(wanted) else "nothing"
                if ours != theirs:
                    print(f"  brokkr:      {ours}\n  nats-server: {theirs}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
