#!/usr/bin/env python3
"""Puts what means harm, or is merely broken, into every door of the control plane: requests whose members
are wrong, huge, nested or not UTF-8; records of the desired state, secrets and namespaces that a client
wrote into the buckets; buckets that are deleted; artifacts that do not have their digest; functions that
never finish loading. Each has an answer with an error at once, what runs runs on, and the record mended,
all is as before.

usage: hostile_control.py --brokkr PATH [--attach NATS_SERVER] [--only NAME]
"""
import argparse
import base64
import hashlib
import json
import shutil
import sys
import time
import traceback

from control import check, eventually
from node import Node, as_json

ANSWER_SECONDS = 8
LARGE = "x" * 700_000  # nearly what a message may have, so that an answer cannot repeat it twice
BODIES = [b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe\xfd", b'{"name":"\xff"}', b"[" * 100_000, b'{"a":' * 100_000,
          b"\0" * 1000, b"{}garbage", b'{"name":"\\ud800"}']
VALUES = [True, -1, 1.5, 1e308, 2**64 - 1, 2**64, 2**63 - 1, -2**63, "", "a b", "a.b", "*", ">", "\0", "\U0001f600", LARGE,
          [], [1], [[]], [None], {}, {"a": 1}, {"a": {"b": []}}, ["a"] * 5000]
RECORDS = [b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"node":5,"id":5,"sender":5,"subjects":5}', b"[" * 100_000, b"x" * 900_000]
RUN = json.dumps({"trigger_subjects": ["hostile"]})
DEPLOY = {"name": "hostile", "workload_type": "v8", "workload_lifecycle": "function", "run_request": RUN}
# Verb, what else a request has, the members to spoil.
VERBS = [
    ("ADEPLOY.@", DEPLOY, ["name", "namespace", "description", "workload_type", "workload_lifecycle", "run_request", "tags", "metadata"]),
    ("APPLY", {"deploy": DEPLOY}, ["deploy", "replicas", "node", "max_unavailable", "progress_deadline_ns", "wait_ms"]),
    ("AUCTION", {"agent_type": "v8"}, ["auction_id", "tags"]),
    ("WPING", {}, ["namespace", "filter"]),
    ("WINFO.keep", {}, ["namespace"]),
    ("INVOCATIONS.keep", {}, ["limit", "errors"]),
    ("STATUS.keep", {}, ["x"]),
    ("SCALE.keep", {}, ["replicas"]),
    ("ROLLBACK.keep", {"generation": 99}, ["generation", "sha256"]),
    ("MOVE.keep", {"node": "nowhere"}, ["node", "slot"]),
    ("SECRETS", {}, ["action", "name", "record"]),
    ("NAMESPACES", {}, ["action", "record"]),
    ("DRAIN.@", {"delay": "x"}, ["delay"]),
]
SYSTEM = {"NAMESPACES", "DRAIN.@"}
ARTIFACTS = "NEX_ARTIFACTS_default"


def api(node: Node, verb: str, body: dict | None = None) -> dict:
    return as_json(node.client.request(f"$JS.API.{verb}", json.dumps(body or {}).encode()))


def put(node: Node, bucket: str, key: str, value: bytes) -> int:
    stored = as_json(node.client.request(f"$KV.{bucket}.{key}", value))
    check("seq" in stored, stored)
    return stored["seq"]


def get(node: Node, bucket: str, key: str) -> bytes:
    found = api(node, f"STREAM.MSG.GET.KV_{bucket}", {"last_by_subj": f"$KV.{bucket}.{key}"})
    return base64.b64decode(found["message"].get("data", ""))


def writes(node: Node, bucket: str) -> int:
    return api(node, f"STREAM.INFO.KV_{bucket}")["state"]["last_seq"]


def answers(node: Node, subject: str, text: bytes) -> bool:
    return node.client.request(subject).data == text


def is_readable(record: bytes) -> bool:
    try:
        return "node" in json.loads(record)
    except (ValueError, TypeError, RecursionError):
        return False


def status(node: Node, name: str) -> dict:
    reply = node.control(f"STATUS.{name}", b"{}")
    return as_json(reply) if reply.data and not reply.error_code else {}  # a node that has just started is silent


def scale(node: Node, name: str, replicas: int) -> dict:
    reply = node.control(f"SCALE.{name}", {"replicas": replicas, "wait_ms": 10_000})
    check(reply.error_code == 0, reply.data[:300])
    return as_json(reply)


def test_requests_are_answered(node: Node) -> None:
    client = node.connect()
    for verb, base, members in VERBS:
        ns = "system" if verb in SYSTEM else "default"
        subject = f"$NEX.SVC.{ns}.control.{verb.replace('@', node.id)}"
        waiting = {}
        bodies = [(body[:20], body) for body in BODIES]
        bodies += [(f"{member}={str(value)[:20]!a}", json.dumps({**base, member: value}).encode())
                   for member in members for value in VALUES]
        for what, body in bodies:
            if verb == "AUCTION" and b"agent_type" not in body and body.startswith(b'{"name":"\\'):
                continue  # nobody bids for what has no type
            waiting[client.send_request(subject, body)] = what
        deadline = time.monotonic() + ANSWER_SECONDS
        while waiting and time.monotonic() < deadline:
            reply = client.next_reply(ANSWER_SECONDS)
            what = waiting.pop(reply.subject, None)
            check(what is not None or verb in ("AUCTION", "WPING"), f"{verb}: two answers")
            check("Nats-Service-Error" not in reply.headers or 0 < len(reply.headers["Nats-Service-Error"]) < 1000,
                  f"{verb} {what}: {reply.headers}")
            check(what is None or isinstance(what, str) or reply.error_code != 0 or verb not in ("ADEPLOY.@", "APPLY", "SCALE.keep"),
                  f"{verb} {what}: {reply.data[:200]}")
        waiting = {reply: what for reply, what in waiting.items() if not (verb == "AUCTION" and "tags" in str(what))}
        check(not waiting, f"{verb}: no answer to {list(waiting.values())}")
        if verb == "SCALE.keep":
            scale(node, "keep", 1)
        check(answers(node, "keep", b"1"), f"after {verb}")
    client.close()


def test_resources_cannot_wrap_quotas(node: Node) -> None:
    for member in ("memory_bytes", "disk_bytes"):
        run = {"trigger_subjects": ["big"], "artifact": base64.b64encode(b"() => 1").decode(), "resources": {member: 2**63}}
        reply = node.control(f"ADEPLOY.{node.id}", {**DEPLOY, "run_request": json.dumps(run)})
        check(reply.error_code == 400 and member in reply.data.decode(), reply.data)


def test_a_request_flood_leaves_others_their_node(node: Node) -> None:
    flood = node.connect()
    body = json.dumps({**DEPLOY, "run_request": json.dumps({"trigger_subjects": ["x"], "artifact": "A" * 100_000})}).encode()
    asked = {flood.send_request(f"$NEX.SVC.default.control.ADEPLOY.{node.id}", body) for _ in range(300)}
    asked |= {flood.send_request("$NEX.SVC.default.control.WPING", b"{}") for _ in range(3000)}
    check(answers(node, "keep", b"1"), "a function meanwhile")
    while asked:
        asked.discard(flood.next_reply(30).subject)
    check(node.resident_mib() < 400, f"{node.resident_mib()} MiB")
    flood.close()


def test_leases_are_mended(node: Node) -> None:
    for record in RECORDS:
        put(node, "NEX_SLOTS", "default.keep.0", record)
        eventually(lambda: is_readable(get(node, "NEX_SLOTS", "default.keep.0")), f"the lease after {record[:20]!r}")
        check(answers(node, "keep", b"1"), record[:20])
    check(scale(node, "keep", 2)["running"] == 2, "scaled")
    check(scale(node, "keep", 1)["running"] == 1, "scaled back")


def test_damaged_workloads_run_on_and_can_be_changed(node: Node) -> None:
    good = get(node, "NEX_WORKLOADS", "default.keep")
    other = json.dumps({**json.loads(good), "name": "other"}).encode()
    for record in (*RECORDS, other, json.dumps({**json.loads(good), "replicas": 5_000_000}).encode()):
        put(node, "NEX_WORKLOADS", "default.keep", record)
        check(scale(node, "keep", 1)["name"] == "keep", record[:20])
        check(json.loads(get(node, "NEX_WORKLOADS", "default.keep"))["name"] == "keep", "written anew")
        check(answers(node, "keep", b"1"), record[:20])
    put(node, "NEX_WORKLOADS", "default.keep2", b"{")
    node.deploy("keep2", "() => 3")
    check(answers(node, "keep2", b"3"), "deployed over it")
    put(node, "NEX_WORKLOADS", "default.keep2", b"{")
    check(node.undeploy("keep2")["stopped"], "stopped over it")
    node.deploy("keep2", "() => 2")


def test_keys_of_no_shape_harm_nothing(node: Node) -> None:
    workload, lease = get(node, "NEX_WORKLOADS", "default.keep"), get(node, "NEX_SLOTS", "default.keep.0")
    for bucket in ("NEX_WORKLOADS", "NEX_SLOTS", "NEX_NODES", "NEX_SECRETS", "NEX_DEPLOYS"):
        for key in ("x", "a.b.c.d.e", "default.keep.99999999999", "default.keep.-1", "default.=", "default.keep.00"):
            for value in (b"{", b"{}", workload, lease):
                put(node, bucket, key, value)
    node.deploy("after", "() => 4")
    check(answers(node, "after", b"4"), "deployed")
    names = [one["name"] for one in as_json(node.control("STATUS", b"{}", "system"))]
    check(sorted(names) == ["after", "keep", "keep2"], names)
    node.undeploy("after")


def test_a_node_speaks_for_itself_only(node: Node) -> None:
    record = json.loads(get(node, "NEX_NODES", node.id))
    put(node, "NEX_NODES", "liar", json.dumps({**record, "incarnation": record["incarnation"] + 1, "state": "stopped"}).encode())
    for lie in ({"memory_bytes": 2**64 - 1}, {"workloads_max": 1, "workloads": 2**32 - 1}, {"types": []}, {"beat": 0}):
        put(node, "NEX_NODES", node.id, json.dumps({**record, **lie}).encode())
    eventually(lambda: json.loads(get(node, "NEX_NODES", node.id))["beat"] > record["beat"], "it says what is so again")
    check(scale(node, "keep", 2)["running"] == 2, "it takes more")
    check(scale(node, "keep", 1)["running"] == 1, "and less")


def test_restart_with_damaged_records(node: Node) -> None:
    good = get(node, "NEX_WORKLOADS", "default.keep2")
    put(node, "NEX_SLOTS", "default.keep.0", b"{")
    put(node, "NEX_WORKLOADS", "default.keep2", b"{")
    put(node, "NEX_SECRETS", "default.word", b"{")
    node.kill()
    node.start_again()
    before = writes(node, "NEX_SLOTS")
    eventually(lambda: answers(node, "keep", b"1"), "the one with a damaged lease")
    check(writes(node, "NEX_SLOTS") - before < 50, "few writes")
    lines = sum(path.read_bytes().count(b"\n") for path in node.folder.glob("*.log"))
    check(lines < 1000, f"{lines} lines of log")
    eventually(lambda: status(node, "keep"), "it knows the desired state")
    reply = node.control("SCALE.keep2", {"replicas": 1})
    check(reply.error_code and "NEX_WORKLOADS" in reply.data.decode(), reply.data)
    put(node, "NEX_WORKLOADS", "default.keep2", good)
    eventually(lambda: answers(node, "keep2", b"2"), "the one whose record was mended")
    node.run("secret", "set", "word", "value")


def test_buckets_that_were_deleted(node: Node) -> None:
    for action in ("PURGE", "DELETE"):
        for bucket in ("NEX_SLOTS", "NEX_NODES", "NEX_WORKLOADS"):
            check(api(node, f"STREAM.{action}.KV_{bucket}").get("success"), f"{action} {bucket}")
            check(answers(node, "keep", b"1"), f"{action} {bucket}: it runs on")

            def changes() -> bool:
                return node.control("SCALE.keep", {"replicas": 2, "wait_ms": 5000}).data.find(b'"complete"') > 0
            eventually(changes, f"{action} {bucket}: it can be changed", 20)
            check(scale(node, "keep", 1)["state"] == "complete", f"{action} {bucket}: and back")


def test_a_corrupt_artifact_is_mended_by_a_deploy(node: Node) -> None:
    source = "() => 'art'"
    digest = hashlib.sha256(source.encode()).hexdigest()
    node.deploy("art", source)
    meta_subject = f"$O.{ARTIFACTS}.M.{base64.urlsafe_b64encode(digest.encode()).decode()}"
    stored = api(node, f"STREAM.MSG.GET.OBJ_{ARTIFACTS}", {"last_by_subj": meta_subject})
    meta = json.loads(base64.b64decode(stored["message"]["data"]))
    chunks = f"$O.{ARTIFACTS}.C.{meta['nuid']}"

    def restart_without_cache() -> None:
        node.kill()
        for folder in list((node.folder / "data").rglob("artifacts")):
            shutil.rmtree(folder)
        node.start_again()
    api(node, f"STREAM.PURGE.OBJ_{ARTIFACTS}", {"filter": chunks})
    node.client.request(chunks, b"() => 'evl'")
    restart_without_cache()
    eventually(lambda: status(node, "art").get("state") == "failed", "it does not start")
    check(digest in status(node, "art")["message"], "which artifact")
    node.deploy("art", source)
    restart_without_cache()
    eventually(lambda: answers(node, "art", b'"art"'), "it is there again")
    for lie in ({"size": 5}, {"size": 10**15}, {"chunks": 10**9}, {"digest": "SHA-256=AAAA"}, {"nuid": ">"},
                {"options": {"link": {"bucket": "NEX_SECRETS"}}}, None):
        node.client.request(meta_subject, b"x" if lie is None else json.dumps({**meta, **lie}).encode(), headers=[("Nats-Rollup", "sub")])
        for folder in (node.folder / "data").rglob("artifacts"):
            for file in folder.glob(f"**/{digest}*"):
                file.unlink()
        run = json.dumps({"uri": f"sha256://{digest}", "trigger_subjects": ["u"]})
        reply = node.control(f"ADEPLOY.{node.id}", {**DEPLOY, "run_request": run})
        check(reply.error_code and digest in reply.data.decode(), f"{lie}: {reply.data}")
    node.undeploy("art")


def test_functions_that_never_load(node: Node) -> None:
    for source in (b"for (;;);", b"export default (() => { for (;;); })()", b"await new Promise(() => {}); export default {}",
                   b"throw new Error('at load')", b"() => {{{", b"\xff\xfe", b"\0" * 100, b"import 'fs'; export default {}",
                   b"const a = []; for (;;) a.push(new Array(1e6)); export default {}", b"(" * 200_000, b"export default 5",
                   b"throw {get stack() { for (;;); }, toString() { for (;;); }}"):
        begun = time.monotonic()
        body = node.request_for("bad", source, ["bad"], limits={"wall_time_ms": 1000})
        reply = node.control(f"ADEPLOY.{node.id}", body, timeout=30)
        check(reply.error_code in (400, 500), f"{source[:40]!r}: {reply.data[:200]}")
        check(time.monotonic() - begun < 25, f"{source[:40]!r}: {time.monotonic() - begun} s")
        check(answers(node, "keep", b"1"), source[:40])
    for module in (b"\0asm", b"\0asm\1\0\0\0", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f", b"\0asm\2\0\0\0", b"MZ", b""):
        reply = node.control(f"ADEPLOY.{node.id}", node.request_for("bad", module, ["bad"], type="wasm"))
        check(reply.error_code == 400, f"{module}: {reply.data[:200]}")
    check("bad" not in [w["name"] for w in as_json(node.control("WPING", b"{}"))], "left behind")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("--cold", action="store_true", help="as the other tests have it; changes nothing")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_") and options.only in name]
    failures = 0
    with Node(options.brokkr, options.attach, with_jetstream=True) as node:
        node.deploy("keep", "() => 1")
        node.deploy("keep2", "() => 2")
        for name, test in tests:
            begun = time.monotonic()
            try:
                test(node)
                print(f"ok   {name} {time.monotonic() - begun:.1f} s", flush=True)
            except Exception:  # the others are still worth knowing
                failures += 1
                print(f"FAIL {name}\n{traceback.format_exc()}\n{node.log()}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
