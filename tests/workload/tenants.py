#!/usr/bin/env python3
"""Tries to reach what another namespace has, by every way there is: each attempt must be blocked with a clear
error, and the same by the owner must work.

    tenants.py --brokkr PATH --gate PATH [--attach NATS-SERVER] [--show]

Namespaces acme and beta share an account; acme attacks. Three attackers: a function (host services), a program
(behind the gate) and a control client, whose user has the permissions docs/tenants.md gives a tenant.
"""
import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
import server as servers  # noqa: E402
from nats_client import Message, NatsClient, NatsError, as_json  # noqa: E402

START_SECONDS = 30
SILENCE_SECONDS = 0.4
RECORDS = {"acme": {"namespace": "acme", "subjects": ["acme.>"]},
           "beta": {"namespace": "beta", "subjects": ["beta.>"]}}
EVAL = """async (subject, payload) => {
  try { return {ok: await eval(String.fromCharCode(...payload)) ?? null}; }
  catch (e) { return {code: e.code ?? null, message: e.message}; }
}"""


def tenant(name: str) -> str:
    """A user as docs/tenants.md has it."""
    return f'''{{ user: {name}, password: pw, permissions: {{
      publish: ["$NEX.SVC.{name}.control.>", "{name}.>"]
      subscribe: ["$NEX.FEED.{name}.>", "{name}.>", "_INBOX_{name}.>"]
    }} }}'''


CONFIG = f'''jetstream {{ store_dir: "$FOLDER/js" }}
authorization {{ users [ {{ user: admin, password: pw }}, {tenant("acme")}, {tenant("beta")} ] }}'''


class World:
    """A server with its users, a node, two namespaces with something in each, and the ways in."""

    def __init__(self, args, stack: contextlib.ExitStack):
        self.stack = stack
        self.server = stack.enter_context(servers.Server(args.attach or args.brokkr, CONFIG))
        self.host, self.port = self.server.address()
        self.url = f"nats://admin:pw@{self.host}:{self.port}"
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.log = open(os.path.join(folder, "node.log"), "w+b")
        self.files = pathlib.Path(folder, "files")
        for name in (*RECORDS, "default"):
            (self.files / name).mkdir(parents=True)
            (self.files / name / "probe.js").write_text(f"{EVAL} // file of {name}")
        pathlib.Path(folder, "outside.js").write_text(EVAL)
        (self.files / "beta" / "out.js").symlink_to(f"{folder}/outside.js")
        (self.files / "beta" / "up").symlink_to("../..")
        (self.files / "beta" / "others").symlink_to("../acme")
        self.files.parent.chmod(0o755)
        RECORDS["beta"]["node_files"] = [str(self.files / "beta")]
        node = subprocess.Popen([args.brokkr, "node", "up", "-s", self.url, "--data", f"{folder}/data",
                                 "--node-files", str(self.files)],
                                stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        stack.callback(self._end, node)
        self.admin = NatsClient(self.host, self.port, user="admin", **{"pass": "pw"})
        self.node = self._wait_ready()
        for record in RECORDS.values():
            self._namespace(record)
        self.digests: dict[str, str] = {}
        self.gates = {name: self._gate(args, name) for name in [*RECORDS, "default"]}
        self.functions = {name: self._deploy(name) for name in RECORDS}
        done = subprocess.run([args.brokkr, "secret", "set", "key", "s3cret", "--namespace", "beta", "-s", self.url],
                              capture_output=True, text=True)
        self.has_secrets = done.returncode == 0
        if not self.has_secrets:
            print(f"no secrets to try: {done.stderr.strip()}")
        self._fill()

    def _end(self, node: subprocess.Popen) -> None:
        node.terminate()
        try:
            node.wait(15)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        if sys.exc_info()[0]:
            self.log.seek(0)
            print(self.log.read().decode(errors="replace")[-3000:])
        self.log.close()

    def _wait_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            reply = self.admin.request("$NEX.SVC.system.control.PING", b"{}")
            if reply.data:
                return as_json(reply)["node_id"]
            time.sleep(0.02)
        raise RuntimeError("no node answers")

    def _namespace(self, record: dict) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:  # the desired state is there a little after the node
            reply = self.admin.request("$NEX.SVC.system.control.NAMESPACES",
                                       json.dumps({"action": "set", "record": record}).encode())
            if reply.data and not reply.error_code:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"namespace {record}: {reply.headers} {reply.data}")
            time.sleep(0.02)

    def _gate(self, args, namespace: str) -> int:
        process = subprocess.Popen(
            [args.gate, self.url, namespace, "{}", *(json.dumps(record) for record in RECORDS.values())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.callback(lambda: (process.stdin.close(), process.wait(10)))
        return int(process.stdout.readline())

    def _deploy(self, namespace: str) -> str:
        """Its artifact is nobody else's."""
        source = f"{EVAL} // {namespace}"
        self.digests[namespace] = hashlib.sha256(source.encode()).hexdigest()
        reply = self.ask(self.admin, f"$NEX.SVC.{namespace}.control.ADEPLOY.{self.node}",
                         deployment(namespace, "probe", [f"{namespace}.probe"],
                                    artifact=base64.b64encode(source.encode()).decode()))
        if reply.error_code:
            raise RuntimeError(f"deploy: {reply.data}")
        return as_json(reply)["id"]

    def _fill(self) -> None:
        """What beta has, made by its own function and program."""
        for source in ('this.kv("ledger").set("balance", "100")', 'this.objectStore("files").put("doc", "text")'):
            answer = self.function("beta", source)
            if "ok" not in answer:
                raise RuntimeError(f"{source}: {answer}")
        for name in ("EVENTS", "SPARE"):
            body = {"name": f"beta__{name}", "subjects": [f"beta.{name.lower()}.>"], "storage": "memory",
                    "allow_direct": True}
            done = self.program("beta", "ask", f"$JS.API.STREAM.CREATE.beta__{name}", body)
            if not done.startswith("ok"):
                raise RuntimeError(done)
        self.program("beta", "ask", "$JS.API.CONSUMER.CREATE.beta__EVENTS.c",
                     {"stream_name": "beta__EVENTS", "config": {"durable_name": "c", "ack_policy": "explicit"}})
        self.program("beta", "ask", "beta.events.one", {"secret": 1})

    @staticmethod
    def ask(client: NatsClient, subject: str, body, timeout: float = 20) -> Message:
        return client.request(subject, body if isinstance(body, bytes) else json.dumps(body).encode(), timeout)

    # --- the three attackers; each says "ok ..." or why not

    def function(self, namespace: str, source: str) -> dict:
        return as_json(self.admin.request(f"{namespace}.probe", source.encode()))

    def by_function(self, namespace: str, source: str) -> str:
        answer = self.function(namespace, source)
        return f"ok {answer['ok']}" if "ok" in answer else f"{answer.get('code')} {answer.get('message', answer)}"

    def program(self, namespace: str, what: str, subject: str, body=b"", reply: str = "") -> str:
        client = NatsClient("127.0.0.1", self.gates[namespace])
        return attempt(client, what, subject, body, reply)

    def control(self, namespace: str, what: str, subject: str, body=b"", reply: str = "") -> str:
        client = NatsClient(self.host, self.port, user=namespace, inbox=f"_INBOX_{namespace}.{os.urandom(6).hex()}",
                            **{"pass": "pw"})
        return attempt(client, what, subject, body, reply)


def attempt(client: NatsClient, what: str, subject: str, body, reply: str) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        if what == "sub":
            client.subscribe(subject)
        elif what == "pub":
            client.publish(subject, data, reply)
        else:
            answer = client.request(subject, data, SILENCE_SECONDS if what == "try" else 20)
            if answer.headers.get("Status") == "503" or answer.head.startswith(b"NATS/1.0 503"):
                return "503 no responders"
            content = answer.data.decode(errors="replace")
            if answer.error_code:
                return f"{answer.error_code} {content}"
            error = re.search(r'"error":\{[^}]*"description":"([^}]*)"\}', content)
            return f"{error[0]}" if error else f"ok {content}"
        client.flush()
        return "ok"
    except NatsError as error:
        return str(error)
    except TimeoutError:
        return "silence"
    finally:
        client.close()


def deployment(namespace: str, name: str, subjects: list, **run) -> dict:
    run = {"artifact": base64.b64encode(EVAL.encode()).decode(), "trigger_subjects": subjects,
           "file_name": "probe.js"} | run
    return {"name": name, "namespace": namespace, "workload_type": "v8", "workload_lifecycle": "function",
            "run_request": json.dumps(run)}


# --- the table: what is tried, how acme tries it, how beta does the same -------------------------

def by_functions(world: World):
    def row(what: str, acme: str, beta: str):
        return (f"function: {what}", lambda: world.by_function("acme", acme),
                lambda: world.by_function("beta", beta), r"^403 ")

    kv, theirs = 'this.kv("ledger")', 'this.kv("beta__ledger")'
    for what in ('get("balance")', 'set("x", "1")', 'keys()', 'delete("x")'):
        yield row(f"key-value {what}", f"{theirs}.{what}", f"{kv}.{what}")
    objects, others = 'this.objectStore("files")', 'this.objectStore("beta__files")'
    for what in ('get("doc")', 'put("y", "1")', 'list()', 'delete("y")'):
        yield row(f"objects {what}", f"{others}.{what}", f"{objects}.{what}")
    for bucket in ("NEX_WORKLOADS", "NEX_SECRETS", "NEX_NAMESPACES", "NEX_SLOTS"):
        yield row(f"control bucket {bucket}", f'this.kv("{bucket}").keys()', f"{kv}.keys()")
    yield row("artifacts of the other", 'this.objectStore("NEX_ARTIFACTS_beta").list()', f"{objects}.list()")
    for bucket in ("beta__ledger.x", "*", ">", "../beta__ledger", "beta__"):
        yield row(f"bucket {bucket}", f'this.kv("{bucket}").get("balance")', f'{kv}.get("balance")')[:3] + (r"^40[03] ",)
    yield row("publish", 'this.messaging.publish("beta.x", "1")', 'this.messaging.publish("beta.x", "1")')
    yield row("request", 'this.messaging.request("beta.echo", "1")', 'this.messaging.publish("beta.echo", "1")')
    yield row("requestMany", 'this.messaging.requestMany("beta.echo", "1")', 'this.messaging.publish("beta.echo", "1")')
    for subject in ("$KV.beta__ledger.balance", "$JS.API.STREAM.DELETE.beta__EVENTS", "$SYS.REQ.SERVER.PING",
                    "$NEX.SVC.beta.control.UNDEPLOY.probe", "$SRV.INFO", "_INBOX.someone.1", "$O.beta__files.M.x",
                    "$JS.API.STREAM.CREATE.acme__X", "$NEX.FEED.beta.logs.x.stdout", "$JS.ACK.beta__EVENTS.c.1.1.1.1.1"):
        yield row(f"publish to {subject}", f'this.messaging.publish("{subject}", "1")',
                  'this.messaging.publish("beta.x", "1")')


def by_programs(world: World):
    def row(what: str, *action):
        return (f"program: {what}", lambda: world.program("acme", *action), lambda: world.program("beta", *action),
                r"(?i)permissions violation")

    def never(what: str, *action):
        return row(what, *action)[:2] + (lambda: world.program("beta", "sub", "beta.>"), r"(?i)permissions violation")

    yield row("publish", "pub", "beta.x")
    yield row("subscribe", "sub", "beta.>")
    yield row("subscribe in a queue group", "sub", "beta.x q")
    yield row("put into a bucket", "pub", "$KV.beta__ledger.x")
    yield row("hear a bucket", "sub", "$KV.beta__ledger.>")
    yield row("hear objects", "sub", "$O.beta__files.>")
    for pattern in (">", "*.>", "*.x", "*.*", "beta.*", "$KV.>", "$KV.*.>", "$O.>", "$JS.>", "$JS.API.>", "$JS.ACK.>",
                    "$NEX.>", "$NEX.FEED.beta.>", "$NEX.FEED.*.logs.>", "$SYS.>", "$SRV.>", "$JS.EVENT.>", "_R_.>"):
        if pattern == "beta.*":
            yield row(f"subscribe {pattern}", "sub", pattern)
        else:
            yield never(f"subscribe {pattern}", "sub", pattern)
    for subject in ("$NEX.SVC.beta.control.WPING", "$NEX.SVC.acme.control.WPING", "$SYS.REQ.SERVER.PING", "$SRV.INFO",
                    "_INBOX.someone.1", "$JS.API.STREAM.RESTORE.acme__X", "$JS.API.META.LEADER.STEPDOWN",
                    "$SRV.PING.echo", "$JS.FC.beta__EVENTS.c", "$JS.SNAPSHOT.ACK.beta__SPARE.x", "$JS.hub.API.STREAM.INFO.beta__EVENTS",
                    "$JS.API.CONSUMER.PAUSE.beta__EVENTS.c", "$JS.API.CONSUMER.UNPIN.beta__EVENTS.c", "$JS.API.STREAM.PEER.REMOVE.acme__X",
                    "$JS.API.CONSUMER.CREATE.beta__EVENTS.x.acme.y", "$JS.API.STREAM.MSG.DELETE.beta__EVENTS", "$JS.API.ACCOUNT.PURGE.A",
                    "$NEX.DEPLOY.beta.x", "$NEX.UNDEPLOY.beta.x", "$NEX.PING", "$NEX.FEED.beta.logs.x.stdout", "$NEX.DLQ.beta.x",
                    "$NEX.SCHEDULE.beta.probe.0", "$KV.NEX_NAMESPACES.acme", "$O.NEX_ARTIFACTS_beta.M.x", "$SYS.REQ.USER.INFO"):
        yield never(f"publish to {subject}", "pub", subject)
    events = "beta__EVENTS"
    for request, body in ((f"STREAM.INFO.{events}", b""), (f"STREAM.MSG.GET.{events}", {"seq": 1}),
                          (f"DIRECT.GET.{events}", {"seq": 1}), (f"DIRECT.GET.{events}.beta.events.one", b""),
                          (f"CONSUMER.CREATE.{events}.d", {"stream_name": events, "config": {"durable_name": "d", "ack_policy": "explicit"}}),
                          (f"CONSUMER.INFO.{events}.c", b""), (f"CONSUMER.LIST.{events}", b""),
                          (f"CONSUMER.NAMES.{events}", b""),
                          (f"STREAM.SNAPSHOT.beta__SPARE", {"deliver_subject": "_INBOX.snap"}),
                          (f"STREAM.UPDATE.beta__SPARE", {"name": "beta__SPARE", "subjects": ["beta.spare.>"], "storage": "memory"}),
                          (f"STREAM.PURGE.beta__SPARE", b""), (f"CONSUMER.DELETE.{events}.d", b""),
                          ("STREAM.INFO.KV_beta__ledger", b""), ("STREAM.INFO.OBJ_beta__files", b""),
                          ("DIRECT.GET.KV_beta__ledger.$KV.beta__ledger.balance", b"")):
        yield row(request, "ask", f"$JS.API.{request}", body)
    for body in ({"multi_last": [">"], "batch": 10}, {"batch": 10, "next_by_subj": ">"}, {"last_by_subj": "beta.events.one"}):
        yield row(f"direct get {body}", "pub", f"$JS.API.DIRECT.GET.{events}", body, "_INBOX.direct.1")
    yield row("pull", "pub", f"$JS.API.CONSUMER.MSG.NEXT.{events}.c", {"batch": 1, "no_wait": True}, "_INBOX.pull.1")
    for what, action in (("publish", ("pub", "beta.x")), ("subscribe", ("sub", "beta.>")),
                         ("bucket", ("ask", "$JS.API.STREAM.INFO.KV_beta__ledger")),
                         ("stream", ("ask", f"$JS.API.STREAM.INFO.{events}")),
                         ("objects", ("sub", "$O.beta__files.>")), ("services", ("pub", "$SRV.INFO.echo"))):
        own = ("sub", "$SRV.INFO.echo") if what == "services" else action
        yield (f"program of the default namespace: {what}", lambda action=action: world.program("default", *action),
               lambda own=own: world.program("beta", *own), r"(?i)permissions violation")
    yield row("acknowledge", "pub", f"$JS.ACK.{events}.c.1.1.1.1.1", b"+TERM")
    for what, members in (("captures subjects", {"subjects": ["beta.events.>"]}),
                          ("captures everything", {"subjects": ["acme.y", ">"]}),
                          ("captures inboxes", {"subjects": ["_INBOX.>"]}),
                          ("captures logs", {"subjects": ["$NEX.FEED.>"]}),
                          ("captures a bucket", {"subjects": ["$KV.beta__ledger.>"]}),
                          ("mirrors a stream", {"mirror": {"name": events}}),
                          ("mirrors a bucket", {"mirror": {"name": "KV_beta__ledger"}}),
                          ("sources secrets", {"sources": [{"name": "KV_NEX_SECRETS"}]}),
                          ("sources artifacts", {"sources": [{"name": "OBJ_NEX_ARTIFACTS_beta"}]}),
                          ("sources abroad", {"sources": [{"name": "X", "external": {"api": "$JS.API", "deliver": "beta.x"}}]}),
                          ("sources with transforms", {"sources": [{"name": events, "subject_transforms": [{"src": ">", "dest": "acme.>"}]}]}),
                          ("captures services", {"subjects": ["$SRV.>"]}), ("captures advisories", {"subjects": ["$JS.EVENT.>"]}),
                          ("captures schedules", {"subjects": ["$NEX.SCHEDULE.beta.>"]}),
                          ("republishes to a bucket", {"subjects": ["acme.z"], "republish": {"src": ">", "dest": "$KV.beta__ledger.>"}}),
                          ("republishes by token", {"subjects": ["acme.*.*"], "republish": {"src": "acme.*.*", "dest": "$1.$2"}}),
                          ("is another's in capitals", {"subjects": ["acme.z"], "Republish": {"src": ">", "dest": "beta.>"}}),
                          ("says who has it", {"subjects": ["acme.z"], "metadata": {"io.brokkr.namespace": "beta"}}),
                          ("republishes", {"subjects": ["acme.z"], "republish": {"src": ">", "dest": "beta.>"}}),
                          ("republishes to the API", {"subjects": ["acme.z"], "republish": {"src": ">", "dest": "$JS.API.STREAM.DELETE.beta__EVENTS"}})):
        yield never(f"a stream that {what}", "ask", "$JS.API.STREAM.CREATE.acme__X",
                    {"name": "acme__X", "storage": "memory"} | members)[:3] + (r"(?i)permissions violation|unknown field",)
    world.program("acme", "ask", "$JS.API.STREAM.CREATE.acme__MINE",
                  {"name": "acme__MINE", "subjects": ["acme.mine"], "storage": "memory"})
    for subject in ("beta.x", "$KV.beta__ledger.x", "$NEX.SVC.beta.control.UNDEPLOY.probe", "$JS.API.STREAM.DELETE.beta__EVENTS"):
        yield never(f"a consumer that delivers to {subject}", "ask", "$JS.API.CONSUMER.CREATE.acme__MINE.e",
                    {"stream_name": "acme__MINE", "config": {"name": "e", "deliver_subject": subject}})
    for reply in ("beta.x", "$JS.API.STREAM.DELETE.beta__EVENTS", "$KV.beta__ledger.balance", "$NEX.SVC.beta.control.UNDEPLOY.probe"):
        yield never(f"answers sent to {reply}", "pub", "$JS.API.STREAM.INFO.acme__MINE", b"", reply)


def by_control(world: World):
    node, theirs, own = world.node, world.functions["beta"], world.functions["acme"]
    denied = r"Permissions Violation"

    def row(what: str, subject: str, body=b"{}", action: str = "ask", expected: str = denied, beta=None):
        return (f"control: {what}", lambda: world.control("acme", action, subject, body),
                beta or (lambda: world.control("beta", action, subject, body)), expected)

    def own_list():
        return world.control("beta", "ask", "$NEX.SVC.beta.control.WPING", b"{}")

    for pattern in ("beta.>", "$NEX.FEED.beta.logs.>", "$NEX.FEED.beta.events.>", "$NEX.SVC.beta.>"):
        yield row(f"subscribe {pattern}", pattern, action="sub",
                  beta=own_list if ".SVC." in pattern else None)
    for pattern in (">", "$NEX.>", "$NEX.FEED.*.logs.>", "$KV.>", "$JS.API.>", "_INBOX.>", "$SYS.>", "_INBOX_beta.>"):
        yield row(f"subscribe {pattern}", pattern, action="sub", beta=own_list)
    yield row("call a function", "beta.probe", b"1")
    for verb in ("DEPLOY.beta.x", "UNDEPLOY.beta.x", "INFO.beta", "PING", "WPING.beta", "AUCTION", "LAMEDUCK.x", "STOP.beta.x"):
        yield row(f"Nex 0.2.7's {verb}", f"$NEX.{verb}", beta=own_list)
    for pattern in ("$NEX.events.beta.>", "$NEX.logs.beta.>", "$NEX.events.>", "$NEX.FEED.beta.metrics.>", "$JS.EVENT.>", "$SRV.>"):
        yield row(f"subscribe {pattern}", pattern, action="sub", beta=own_list)
    for verb in ("WPING", "WINFO.probe", "WLOGS.probe", "STATUS", "STATUS.probe", "SECRETS", "INVOCATIONS.probe"):
        if verb == "SECRETS" and not world.has_secrets:
            continue
        yield row(f"beta's {verb}", f"$NEX.SVC.beta.control.{verb}")
    for verb in ("APPLY", "SCALE.probe", "ROLLBACK.probe", "MOVE.probe", "CLONE.probe", "UNDEPLOY.probe",
                 f"ADEPLOY.{node}", "AUCTION"):
        yield row(f"beta's {verb}", f"$NEX.SVC.beta.control.{verb}", beta=own_list)
    for verb in ("NAMESPACES", f"DRAIN.{node}", f"LAMEDUCK.{node}", "WPING", f"INFO.{node}"):
        yield row(f"the system's {verb}", f"$NEX.SVC.system.control.{verb}", beta=own_list)
    for subject in ("$JS.API.STREAM.INFO.KV_NEX_WORKLOADS", "$JS.API.STREAM.NAMES", "$KV.NEX_NAMESPACES.acme",
                    "$JS.API.DIRECT.GET.KV_NEX_SECRETS", "$SRV.INFO", "$SYS.REQ.SERVER.PING",
                    "$JS.API.STREAM.INFO.OBJ_NEX_ARTIFACTS_beta"):
        yield row(f"publish to {subject}", subject, beta=own_list)

    # With what it may use: the namespace of the subject decides.
    def mine(what: str, verb: str, body, beta_verb: str | None = None, expected: str = r"^(4\d\d|silence|503)",
             action: str = "try"):
        return row(what, f"$NEX.SVC.acme.control.{verb}", body, action, expected,
                   (lambda: world.control("beta", "ask", f"$NEX.SVC.beta.control.{beta_verb}", b"{}"))
                   if beta_verb else own_list)

    for verb in ("WINFO", "WLOGS", "WPING", "STATUS", "INVOCATIONS"):
        yield mine(f"{verb} of its id", f"{verb}.{theirs}", {}, f"{verb}.{theirs}")
    for verb in ("UNDEPLOY", "CLONE", "SCALE", "ROLLBACK", "MOVE"):
        yield mine(f"{verb} of its id", f"{verb}.{theirs}", {"replicas": 0})
    yield mine("list with its namespace in the body", "WPING", {"namespace": "beta", "filter": [theirs]},
               expected=r"^(4\d\d|silence|ok \[\])")
    yield mine("deploy with its namespace in the body", f"ADEPLOY.{node}", deployment("beta", "x", ["acme.q"]), action="ask")
    for name in ("a.b", "*", ">", "beta.probe", "../x", ""):
        yield mine(f"deploy as {name!r}", f"ADEPLOY.{node}", deployment("acme", name, ["acme.q"]), action="ask")

    def deploy(what: str, subjects: list, own: dict | None = None, **run):
        """`own` is the run request with which beta may do the same."""
        def by_owner() -> str:
            return world.control("beta", "ask", f"$NEX.SVC.beta.control.ADEPLOY.{node}",
                                 deployment("beta", "fine", subjects, **own))
        return row(f"deploy with {what}", f"$NEX.SVC.acme.control.ADEPLOY.{node}",
                   deployment("acme", "evil", subjects, **run), "ask", r"^4\d\d ", own_list if own is None else by_owner)

    for subject in ("beta.other", "beta.>", "$KV.beta__ledger.>", "$O.beta__files.>"):
        yield deploy(f"trigger {subject}", [subject], own={})
    for subject in (">", "*.probe", "$NEX.FEED.beta.>", "_INBOX.>", "$SRV.PING", "$SYS.>", "$JS.API.>", "_INBOX_beta.>"):
        yield deploy(f"trigger {subject}", [subject])
    for what, trigger, own in (
            ("stream", {"type": "stream", "stream": "beta__EVENTS"}, {}),
            ("bucket", {"type": "kv", "bucket": "beta__ledger"}, {"bucket": "ledger"}),
            ("objects", {"type": "object", "bucket": "beta__files"}, {"bucket": "files"}),
            ("stream for dead letters", {"type": "stream", "stream": "acme__MINE", "dead_letter": "beta__SPARE"},
             {"stream": "beta__EVENTS"})):
        yield deploy(f"trigger on its {what}", [], own={"triggers": [trigger | own]}, triggers=[trigger])
    yield deploy("trigger on secrets", [], triggers=[{"type": "kv", "bucket": "NEX_SECRETS"}])
    digest = world.digests["beta"]
    by_digest = {"artifact": "", "uri": f"sha256://{digest}"}
    yield deploy("its artifact by digest", ["beta.q"], own=by_digest, **by_digest)
    yield deploy("its artifact in the bucket", ["acme.q"], artifact="", uri=f"nats://NEX_ARTIFACTS_beta/{digest}")
    yield deploy("uploads of all", ["acme.q"], artifact="", uri="nats://NEXCLIFILES/probe")
    yield deploy("its images", ["acme.q"], artifact="", uri="nats://NEX_IMAGES_beta/x:latest")
    yield deploy("its schedules", [], triggers=[{"type": "stream", "stream": "NEX_SCHEDULE_beta"}])
    yield deploy("its dead letters", [], triggers=[{"type": "stream", "stream": "NEX_DLQ_beta"}])
    yield deploy("its deploys", [], triggers=[{"type": "object", "bucket": "NEX_ARTIFACTS_beta"}])
    yield deploy("its object", ["acme.q"], artifact="", uri="nats://beta__files/doc")
    yield deploy("a file of the node", ["acme.q"], artifact="", uri="file:///etc/shadow")
    yield from by_node_files(world)
    secret = {"environment": {"X": "secret://key"}}
    if world.has_secrets:
        yield deploy("a secret that beta alone has", ["beta.q"], own=secret, **secret)
    for name in ("beta.key", "../beta.key", "*") if world.has_secrets else ():
        yield deploy(f"secret {name}", ["acme.q"], environment={"X": f"secret://{name}"})
    yield mine("apply with its namespace in the body", "APPLY",
               {"deploy": deployment("beta", "x", ["acme.q"])} | deployment("beta", "x", ["acme.q"]), action="ask")
    for what, verb, secret_text in (("secrets", "SECRETS", '"key"'), ("workloads", "WPING", theirs), ("rollouts", "STATUS", theirs)):
        if verb == "SECRETS" and not world.has_secrets:
            continue
        yield row(f"its {what} among acme's", f"$NEX.SVC.acme.control.{verb}", b"{}", "ask",
                  rf"^(?!.*{secret_text})ok ", lambda verb=verb: world.control("beta", "ask", f"$NEX.SVC.beta.control.{verb}", b"{}"))

    def unanswered(what: str, subject: str, data: bytes, reply: str):
        """The answer would be a message where acme may not publish."""
        def tried() -> str:
            ears = NatsClient(world.host, world.port, user="admin", **{"pass": "pw"})
            ears.subscribe(reply)
            ears.flush()
            world.control("acme", "pub", subject, data, reply)
            try:
                return f"ok {ears.next(reply, SILENCE_SECONDS).data}"
            except TimeoutError:
                return "silence"
            finally:
                ears.close()
        return (f"control: {what} answers at {reply}", tried, own_list, "^silence$")

    for reply in ("beta.x", "$KV.beta__ledger.balance", "$NEX.SVC.beta.control.WPING", "$JS.API.STREAM.PURGE.beta__SPARE"):
        yield unanswered("the node", "$NEX.SVC.acme.control.WPING", b"{}", reply)
        yield unanswered("its function", "acme.probe", b"1", reply)


def by_node_files(world: World):
    """The node allows its folder `files`, beta's record one folder in it, acme's none."""
    def tried(namespace: str, name: str, uri: str, type: str = "v8", lifecycle: str = "function", **run):
        body = deployment(namespace, name, [f"{namespace}.q"], artifact="", uri=uri, **run)
        body |= {"workload_type": type, "workload_lifecycle": lifecycle}
        user = "admin" if namespace == "default" else namespace
        return world.control(user, "ask", f"$NEX.SVC.{namespace}.control.ADEPLOY.{world.node}", body)

    def row(what: str, namespace: str, uri: str, expected: str, type: str = "v8", lifecycle: str = "function", **run):
        return (f"control: {namespace} deploys {what}", lambda: tried(namespace, "evil", uri, type, lifecycle, **run),
                lambda: tried("beta", "fine", f"file://{world.files}/beta/probe.js"), rf"^4\d\d .*{expected}")

    files = f"file://{world.files}"
    granted, outside = "the namespace is granted none", "no deployment may read"
    yield row("a file", "acme", f"{files}/acme/probe.js", granted)
    yield row("a file granted to beta", "acme", f"{files}/beta/probe.js", granted)
    for scheme, name in (("oci", "layout"), ("oci-archive", "a.tar"), ("docker-archive", "a.tar:x:y")):
        yield row(f"an image by {scheme}", "acme", f"{scheme}:{world.files}/acme/{name}", granted, "oci", "job")
    yield row("acme's file", "beta", f"{files}/acme/probe.js", "what the namespace is granted")
    yield row("what is beside the folder", "beta", f"{files}/beta/../acme/probe.js", "has .*in it")
    yield row("a file of the machine", "beta", "file:///etc/passwd", "not below its --node-files")
    yield row("a link out", "beta", f"{files}/beta/out.js", outside)
    yield row("through a folder that leads out", "beta", f"{files}/beta/up/outside.js", outside)
    yield row("through a folder to another's", "beta", f"{files}/beta/others/probe.js", outside)
    yield row("a folder", "beta", f"{files}/beta", "no file everybody")
    yield row("a file of the machine", "default", "file:///etc/passwd", "not below its --node-files")
    yield row("a port below 1024", "acme", "image:x", "may not publish", "oci", "service",
              ports=["0.0.0.0:80:80"])
    yield row("without a sandbox", "acme", "nats://x/y", "without a sandbox", "native", "job", isolation="none")
    for name in ("../../beta/probe/data", "..", "a/b", ""):
        yield row(f"volume {name!r}", "acme", "image:x", "volume name", "oci", "job", volumes={name: "/data"})


def run(args, where: str) -> bool:
    wrong = total = 0
    with contextlib.ExitStack() as stack:
        world = World(args, stack)
        for table in (by_functions, by_programs, by_control):
            for what, attack, owner, expected in table(world):
                total += 1
                try:
                    answer, own = attack(), owner()
                except Exception as error:  # a row must not hide the others
                    answer, own = f"ok? {type(error).__name__} {error}", ""
                is_right = re.search(expected, answer) and ("ok " in expected or not answer.startswith("ok"))
                if args.show or not is_right or not own.startswith("ok"):
                    print(f"{'blocked' if is_right else 'WRONG  '} {what}: {answer[:150]} | owner: {own[:80]}")
                wrong += not is_right or not own.startswith("ok")
    print(f"{'ok   ' if wrong == 0 else 'WRONG'} {where}: {total} attempts, {wrong} not as they should be")
    return wrong == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--gate", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    return 0 if run(args, args.attach or args.brokkr) else 1


if __name__ == "__main__":
    sys.exit(main())
