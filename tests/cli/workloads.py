#!/usr/bin/env python3
"""What the commands around workloads do, step by step, with what they print.

    workloads.py --brokkr PATH [STEP ...]   all steps, or those whose name holds one of the words

The steps share one `brokkr up`, then, where there is a nats-server, a node attached to it; each leaves nothing behind.
"""
import argparse
import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("workload", "support", "conformance")]
import command_node  # noqa: E402
from command_node import PATIENCE_SECONDS, Node, embedded, wait_for_node  # noqa: E402
import nkeys  # noqa: E402
import server as servers  # noqa: E402

STEPS = []
ECHO = "(subject, payload) => String.fromCharCode(...payload)"
ENVIRONMENT = "export default { message(msg, env) { return JSON.stringify({db: env.DB, a: env.A}); } }"


def step(function):
    STEPS.append(function)
    return function


def equal(got, wanted, what: str = "") -> None:
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def holds(text: str, *parts: str) -> None:
    for part in parts:
        if part not in text:
            raise AssertionError(f"no {part!r} in {text!r}")


def lacks(text: str, *parts: str) -> None:
    for part in parts:
        if part in text:
            raise AssertionError(f"{part!r} is in {text!r}")


def refused(node: Node, *words: str, text: str, program: str = "") -> None:
    code, out, err = node.try_run(*words, program=program)
    if code == 0:
        raise AssertionError(f"{' '.join(words)}: not refused: {out}{err}")
    holds(err, text)


def with_input(node: Node, data: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([node.brokkr, *words], input=data, capture_output=True, text=True, env=node.environment,
                          timeout=PATIENCE_SECONDS, cwd=node.folder)


def ask(node: Node, subject: str, payload: str = "") -> bytes:
    with node.client() as client:
        return client.request(subject, payload.encode(), PATIENCE_SECONDS).data


def asked(node: Node, subject: str, body: dict | bytes):
    with node.client() as client:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.request(subject, data, PATIENCE_SECONDS)


@step
def a_nexfile_makes_its_workloads(node):
    node.write("one.js", ECHO)
    node.write("Nexfile", """
name: one
description: the first
file: one.js
trigger_subjects: [first]
tags: {}
metadata: {team: a}
---
name: two
uri: one.js
trigger_subjects: [second]
""")
    holds(node.run("run"), "Workload 'one' accepted", "Workload 'two' accepted")
    equal(json.loads(ask(node, "first", "x")), "x")
    holds(node.run("ls"), "one", "two", "running")
    holds(node.run("ls", "--wide"), "Replicas", "team=a")
    equal([one["name"] for one in node.run_json("ls", "--filter", "t*")], ["two"])
    equal([one["name"] for one in node.run_json("ls", "--filter", "team=a")], ["one"])
    equal(node.run_json("ls", "--type", "wasm"), [])
    equal({one["name"] for one in node.run_json("ls", "--all")}, {"one", "two"})
    holds(node.run("info", "one"), "Description: the first", "Triggers: first")
    holds(node.run("stats", "--once"), "one", "Calls/s")
    holds(node.run("invoke", "two", "hello"), '"hello"')
    refused(node, "invoke", "nope", "x", text='no workload "nope"')
    holds(node.run("stop", "one"), "stopped")
    node.run("stop", "two")
    equal(node.run("ls"), "No workloads found\n")
    (node.folder / "Nexfile").unlink()


@step
def mistakes_in_a_nexfile_have_a_place(node):
    node.write("bad.yaml", "name: a\nreplica: 2\n")
    refused(node, "apply", "-f", "bad.yaml", text='bad.yaml:2:1: no member is called "replica", did you mean "replicas"?')
    node.write("bad.yaml", "name: a\nuri: x.js\ntriggers:\n  - type: cron\n")
    refused(node, "run", "-f", "bad.yaml", text="bad.yaml:4:11: triggers[0]")
    refused(node, "run", "-f", "nowhere", text="nowhere: No such file")
    refused(node, "run", text="there is no ./Nexfile")
    refused(node, "run", "-f", "bad.yaml", "--egress", "x", text="--egress does not go with a Nexfile")
    node.write("x.exe", b"MZ\0\0")
    refused(node, "run", "x.exe", text="the program is for Windows")
    refused(node, "run", "x.exe", "--port", "a", text='port "a" is not of the form')
    refused(node, "scale", "nope", "2", text="nope")
    refused(node, "scale", "nope", "many", text='replicas "many" is no number')


@step
def versions_roll_out_and_back(node):
    def deploy(number: int) -> dict:
        node.write("version.js", f"() => {number}")
        return node.run_json("apply", "-f", "version.yaml")

    node.write("version.yaml", "name: version\nfile: version.js\ntrigger_subjects: [version]\nreplicas: 1\n")
    first, second = deploy(1), deploy(2)
    if second["rollout"]["generation"] <= first["rollout"]["generation"]:
        raise AssertionError(f"no newer generation: {first}, {second}")
    equal(ask(node, "version"), b"2")
    holds(node.run("rollout", "status", "version"), "State: complete", "1 of 1 running")
    holds(node.run("rollout", "history", "version"), "current", "Revisions of version")
    holds(node.run("rollout", "undo", "version"), "rolled back: 1 of 1")
    equal(ask(node, "version"), b"1")
    holds(node.run("scale", "version", "2"), "2 of 2 replicas run")
    holds(node.run("scale", "version", "0"), "0 of 0 replicas run")
    holds(node.run("ls"), "version")
    holds(node.run("scale", "version", "1"), "1 of 1")
    holds(node.run("clone", "version", "--name", "copy"), "cloned")
    holds(node.run("ls"), "copy")
    node.run("stop", "copy")
    node.run("stop", "version")


@step
def secrets_are_seen_by_workloads_only(node):
    value = "hunter2-" + os.urandom(6).hex()
    holds(with_input(node, value + "\n", "secret", "set", "db-password").stdout, "sealed to 1 node")
    holds(node.run("secret", "ls"), "db-password")
    lacks(node.run("secret", "ls", "--json"), value)
    lacks(node.run("kv", "get", "NEX_SECRETS", "default.db-password", "--raw"), value)
    node.write("env.mjs", ENVIRONMENT)
    node.run("run", "env.mjs", "--trigger_subject=env", "--secret", "DB=db-password", "--env", "A=secret://db-password")
    got = json.loads(ask(node, "env"))
    got = json.loads(got) if isinstance(got, str) else got
    equal(got, {"db": value, "a": value})
    for words in (["info", "envmjs"], ["info", "envmjs", "--json"], ["rollout", "status", "envmjs", "--json"], ["logs", "envmjs"],
                  ["kv", "get", "NEX_WORKLOADS", "default.envmjs", "--raw"]):
        lacks(node.run(*words), value)
    refused(node, "run", "env.mjs", "--name=none", "--trigger_subject=none", "--secret", "nope",
            text='secret "nope" of namespace "default" does not exist')
    refused(node, "run", "env.mjs", "--name=none", "--trigger_subject=none", "--secret", "DB=db-password", "--namespace=other",
            text='secret "db-password" of namespace "other" does not exist')
    refused(node, "secret", "set", "a.b", "x", text="is not valid")
    holds(node.run("secret", "rm", "db-password"), "removed")
    equal(node.run("secret", "ls"), "No secrets found\n")
    refused(node, "secret", "rm", "db-password", text="no secret")
    node.run("stop", "envmjs")


@step
def an_environment_is_sealed(node):
    node.write("env.mjs", ENVIRONMENT)
    plain = node.run("run", "env.mjs", "--trigger_subject=sealed", "--name=sealed", "--env", "DB=plain-text", "--seal-env", "--dry-run")
    holds(plain, "plain-text")  # a dry run shows what would be sent before it is sealed
    node.run("run", "env.mjs", "--trigger_subject=sealed", "--name=sealed", "--env", "DB=plain-text", "--seal-env")
    got = json.loads(ask(node, "sealed"))
    got = json.loads(got) if isinstance(got, str) else got
    equal(got["db"], "plain-text")
    lacks(node.run("kv", "get", "NEX_WORKLOADS", "default.sealed", "--raw"), "plain-text")
    node.run("stop", "sealed")


@step
def deploys_are_signed_where_a_namespace_asks(node):
    issuer, other = nkeys.Key("account"), nkeys.Key("account")
    node.write("issuer.nk", issuer.seed + "\n")
    node.write("other.nk", other.seed + "\n")
    node.write("signed.js", ECHO)
    node.run("namespace", "set", "shop", "--issuer", issuer.public, "--workloads", "5")
    holds(node.run("namespace", "info", "shop"), issuer.public, "Workloads: 0 of 5")
    holds(node.run("namespace", "ls"), "shop")
    deploy = ["run", "signed.js", "--namespace=shop", "--trigger_subject=signed"]
    refused(node, *deploy, text="signature: the deployment is not signed")
    refused(node, *deploy, "--issuer", "other.nk", text="is not allowed here")
    holds(node.run(*deploy, "--issuer", "issuer.nk"), "Workload 'signedjs' accepted")
    equal(json.loads(ask(node, "signed", "x")), "x")
    refused(node, "clone", "signedjs", "--namespace=shop", text="sign the copy with --issuer")
    refused(node, "clone", "signedjs", "--namespace=shop", "--issuer", "other.nk", text="is not allowed here")
    holds(node.run("clone", "signedjs", "--namespace=shop", "--issuer", "issuer.nk"), "cloned")
    holds(node.run("stop", "signedjs-clone", "--namespace=shop"), "stopped")
    stored = json.loads(node.run("kv", "get", "NEX_WORKLOADS", "shop.signedjs", "--raw"))
    revision = stored["current"]
    equal(revision["issuer"], issuer.public)
    token = revision["run"]["workload_jwt"]
    run = {"artifact": base64.b64encode(ECHO.encode()).decode(), "file_name": "signed.js",
           "sha256": revision["run"]["sha256"], "trigger_subjects": ["signed"], "workload_jwt": token}

    def apply(name: str = "signedjs", ns: str = "shop", **more) -> str:
        request = {"name": name, "namespace": ns, "workload_type": "v8", "workload_lifecycle": "function",
                   "run_request": json.dumps({**run, **more})}
        answer = asked(node, f"$NEX.SVC.{ns}.control.APPLY", {"deploy": request})
        return answer.headers.get("Nats-Service-Error", "")

    holds(apply(), "signature: the token was used before")
    holds(apply(name="else"), 'signature: the token is for workload "signedjs"')
    holds(apply(trigger_subjects=["signed", "more"]), "signature: the run request is not the one that was signed")
    holds(apply(workload_jwt=token[:-4] + "AAAA"), "signature")
    holds(apply(ns="default"), 'signature: the token is for namespace "shop", not "default"')
    node.run("stop", "signedjs", "--namespace=shop")
    holds(node.run("namespace", "rm", "shop"), "removed")


@step
def nex_0_2_7_is_answered(node):
    ping = json.loads(asked(node, "$NEX.PING", b"").data)
    equal(ping["type"], "io.nats.nex.v1.ping_response")
    node_id, xkey = ping["data"]["node_id"], ping["data"]["target_xkey"]
    equal(ping["data"]["tags"]["nex.os"], "linux")
    auction = json.loads(asked(node, "$NEX.AUCTION", {"os": "linux", "workload_types": ["v8"]}).data)
    equal((auction["type"], auction["data"]["node_id"]), ("io.nats.nex.v1.auction_response", node_id))
    info = json.loads(asked(node, f"$NEX.INFO.default.{node_id}", b"").data)
    equal(info["data"]["public_xkey"], xkey)
    holds(json.dumps(info["data"]["supported_workload_types"]), "v8", "wasm")
    node.write("v1.js", ECHO)
    node.run("object", "add", "NEXCLIFILES")
    node.run("object", "put", "NEXCLIFILES", "v1.js", "--name", "v1js", "--force", "--no-progress")
    issuer = nkeys.Key("account")

    def token(iat: int, key=issuer) -> str:
        return key.jwt("v1js", {"hash": "abc12345TODOmakethisreal"}, iat=iat)

    now = int(time.time())
    deploy = {"argv": None, "description": "Workload published in devmode", "type": "v8", "essential": False,
              "location": {"Scheme": "nats", "Opaque": "", "User": None, "Host": "NEXCLIFILES", "Path": "/v1js", "RawPath": ""},
              "workload_jwt": token(now - 5), "environment": "", "jsdomain": "", "sender_public_key": "", "target_node": node_id,
              "trigger_subjects": ["v1"]}
    run = json.loads(asked(node, f"$NEX.DEPLOY.default.{node_id}", deploy).data)
    equal((run["type"], run["data"] and run["data"]["started"]), ("io.nats.nex.v1.run_response", True), str(run))
    equal(run["data"]["issuer"], issuer.public)
    equal(json.loads(ask(node, "v1", "old")), "old")
    found = json.loads(asked(node, "$NEX.WPING.default.v1js", b"").data)
    machine = found["data"]["running_machines"][0]
    equal((machine["name"], machine["type"]), ("v1js", "v8"))
    workload = machine["id"]

    def stop(jwt: str) -> dict:
        return json.loads(asked(node, f"$NEX.STOP.default.{node_id}",
                                {"workload_id": workload, "workload_jwt": jwt, "target_node": node_id}).data)

    holds(stop("a.b.c")["error"], "token")
    equal(stop(token(now))["data"].get("stopped"), True)
    holds(stop(token(now))["error"], "No such workload")


@step
def it_answers_to_nex_and_its_flags(node):
    link = node.folder / "nex"
    if not link.exists():
        link.symlink_to(pathlib.Path(node.brokkr).resolve())
    program = str(link)
    node.environment.pop("NATS_URL")
    try:
        globals_ = ["--nats.servers", node.url, "--namespace", "default", "--logger.level", "debug"]
        node.write("nexed.js", ECHO)
        holds(node.run(*globals_, "devrun", "nexed.js", "--trigger_subject=nexed", "--type", "v8", program=program), "accepted")
        holds(node.run(*globals_, "workload", "list", program=program), "nexedjs")
        holds(node.run(*globals_, "node", "list", program=program), "running")
        json.loads(node.run(*globals_, "--json", "workload", "ls", program=program))
        request = json.dumps({"artifact": base64.b64encode(ECHO.encode()).decode(), "trigger_subjects": ["started"]})
        holds(node.run(*globals_, "workload", "start", "--name", "started", "--type", "v8", "--lifecycle", "function",
                       "--start-request", request, program=program), "Workload 'started' accepted")
        for name in ("started", "nexedjs"):
            holds(node.run("workload", "stop", name, *globals_, program=program), "stopped")
    finally:
        node.environment["NATS_URL"] = node.url


@step
def calls_are_kept_and_nodes_tell_what_they_grant(node):
    node.write("calls.js", "(subject, payload) => { if (payload.length === 0) throw new Error('empty'); return 1; }")
    node.run("run", "calls.js", "--trigger_subject=calls")
    equal(node.run("invoke", "callsjs", "x").strip(), "1")
    refused(node, "invoke", "callsjs", "", text="empty")
    holds(node.run("invocations", "callsjs"), "calls", "200", "empty")
    lacks(node.run("invocations", "callsjs", "--errors"), "│  200 │")
    equal(node.run("dlq", "ls"), "No dead letters found\n")
    holds(node.try_run("node", "preflight")[1], "seccomp", "workload types", "qemu-system-x86_64", "/dev/kvm", "firecracker", "guest kernel",
          "tools/microvm.sh", "machines are run by")
    node.run("stop", "callsjs")


@contextlib.contextmanager
def attached(brokkr: str, oracle: str):
    """A node on a nats-server with JetStream."""
    with tempfile.TemporaryDirectory(prefix="node-") as name:
        with servers.Server(oracle, 'jetstream {store_dir: "$FOLDER/js"}') as server:
            node = Node(brokkr, server.url(), pathlib.Path(name))
            with node.start("node", "up", "--server", server.url(), "--data", f"{name}/data") as running:
                wait_for_node(node, running)
                yield node


def each_place(brokkr: str):
    yield "brokkr up", embedded(brokkr)
    if oracle := servers.find_oracle():
        yield f"a node on nats-server {servers.version_of(oracle)}", attached(brokkr, oracle)


def run(args) -> bool:
    right = True
    for where, context in each_place(os.path.abspath(args.brokkr)):
        with context as node:
            for function in STEPS:
                if args.steps and not any(word in function.__name__ for word in args.steps):
                    continue
                started = time.monotonic()
                name = function.__name__.replace("_", " ")
                try:
                    function(node)
                    print(f"ok    {where}: {name} ({time.monotonic() - started:.1f} s)", flush=True)
                except Exception:  # one step's failure says nothing about the next
                    right = False
                    print(f"WRONG {where}: {name}\n{traceback.format_exc()}", flush=True)
    return right


def too_large_without_jetstream(brokkr: str) -> bool:
    """A program larger than a message, on a server without JetStream: refused at once, with what to do."""
    if not (oracle := servers.find_oracle()):
        return True
    with command_node.attached(brokkr, oracle) as node:
        node.write("big.js", ECHO + "\n//" + "x" * (3 << 20))
        started = time.monotonic()
        refused(node, "run", "big.js", "--trigger_subject=big", text="Larger ones need JetStream, which this server does not have")
        refused(node, "run", "big.js", "--trigger_subject=big", text="the artifact has 3.0 MiB; a message of this server holds one of up to 672.0 KiB")
        equal(time.monotonic() - started < 10, True, "it takes its time")
    print("ok    a node without JetStream: a program larger than a message")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("steps", nargs="*")
    args = parser.parse_args()
    return 0 if run(args) and (args.steps or too_large_without_jetstream(os.path.abspath(args.brokkr))) else 1


if __name__ == "__main__":
    sys.exit(main())
