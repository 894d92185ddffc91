#!/usr/bin/env python3
"""Namespaces as their records change: who may change them, what that means for what runs, and what an undeploy
leaves at the server.

usage: namespaces.py --brokkr PATH [--attach NATS_SERVER] [--only WORD]
"""
import argparse
import json
import sys
import threading
import time
import traceback

from node import Node, as_json
from triggers import check, eventually, js, make_stream, put, state

ECHO = """export default { async message(msg, env, ctx) {
  env.messaging.publish("gamma.seen." + ctx.name, msg.text());
  return msg.text();
} }"""
ASK = """async (subject, payload, env) => {
  try { return {ok: await eval(String.fromCharCode(...payload)) ?? null}; }
  catch (e) { return {code: e.code ?? null, message: e.message}; }
}"""


def namespaces(node: Node, action: str, record: dict, **more):
    return node.control("NAMESPACES", {"action": action, "record": record, **more}, "system")


def set_namespace(node: Node, **record) -> None:
    """Whatever it was before."""
    before = namespaces(node, "get", record)
    revision = 0 if before.error_code else as_json(before)["namespaces"][0]["revision"]
    reply = namespaces(node, "set", record, revision=revision)
    check(not reply.error_code, reply.data)


def remove_namespace(node: Node, name: str) -> None:
    check(not (reply := namespaces(node, "remove", {"namespace": name})).error_code, reply.data)


def answers(node: Node, subject: str) -> bool:
    reply = node.client.request(subject, b"1", 5)
    return not reply.head.startswith(b"NATS/1.0 503")


def records_change_by_compare_and_set(node: Node) -> None:
    record = {"namespace": "cas", "subjects": ["cas.>"]}
    made = namespaces(node, "set", record)
    check(not made.error_code, made.data)
    first = as_json(made)["namespaces"][0]["revision"]
    check(first > 0, made.data)
    check(not namespaces(node, "set", record).error_code, "the same again")
    refused = namespaces(node, "set", record | {"workloads_max": 1})
    check(refused.error_code == 409 and b"revision" in refused.data, refused.data)
    refused = namespaces(node, "set", record | {"workloads_max": 1}, revision=0)
    check(refused.error_code == 409, refused.data)
    changed = namespaces(node, "set", record | {"workloads_max": 1}, revision=first)
    check(not changed.error_code, changed.data)
    second = as_json(changed)["namespaces"][0]["revision"]
    refused = namespaces(node, "set", record, revision=first)
    check(refused.error_code == 409 and b"changed meanwhile" in refused.data, refused.data)
    found = as_json(namespaces(node, "get", record))["namespaces"][0]
    check(found["workloads_max"] == 1 and found["revision"] == second, found)
    check(namespaces(node, "remove", record, revision=first).error_code == 409, "of another revision")
    check(not namespaces(node, "remove", record, revision=second).error_code, "removed")
    check(namespaces(node, "get", record).error_code == 404, "gone")
    check(namespaces(node, "set", record, revision=second).error_code == 409, "there is none any more")
    for bad in ({"subjects": ["a..b"]}, {"ports": ["http"]}, {"node_files": ["srv"]}):
        reply = namespaces(node, "set", {"namespace": "cas"} | bad)
        check(reply.error_code == 400, (bad, reply.data))


def of_many_writers_one_wins(node: Node) -> None:
    revision = as_json(namespaces(node, "set", {"namespace": "race"}))["namespaces"][0]["revision"]
    codes = []

    def write(number: int) -> None:
        client = node.connect()
        body = {"action": "set", "record": {"namespace": "race", "workloads_max": number}, "revision": revision}
        codes.append(client.request("$NEX.SVC.system.control.NAMESPACES", json.dumps(body).encode(), 20).error_code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(sorted(codes) == [0] + 7 * [409], codes)
    remove_namespace(node, "race")


def triggers_follow_the_record(node: Node) -> None:
    make_stream(node, "alpha__LOG", "alpha.log.>")
    js(node, "STREAM.CREATE.KV_alpha__conf", {"name": "KV_alpha__conf", "subjects": ["$KV.alpha__conf.>"], "storage": "memory"})
    ears = node.connect()
    ears.subscribe("gamma.seen.>")
    ears.subscribe("$NEX.FEED.alpha.events.>")
    ears.flush()
    node.deploy("many", ECHO, ["shared.one", "alpha.two", {"type": "stream", "stream": "alpha__LOG"},
                               {"type": "kv", "bucket": "conf"}], ns="alpha")
    def heard(text: str) -> bool:
        message = ears.next("gamma.seen.>", 20)
        check(message.data == text.encode(), (message.data, text))
        return True
    check(answers(node, "shared.one") and heard("1"), "its subject")
    put(node, "alpha.log.x", "first")
    heard("first")
    # What it had is another's now.
    set_namespace(node, namespace="gamma", subjects=["shared.>"], streams=["alpha__LOG"], buckets=["alpha__conf"])
    eventually(lambda: not answers(node, "shared.one"), "the subject is not its any more")
    event = [ears.next("$NEX.FEED.alpha.events.>", 20) for _ in range(3)]
    kinds = [one.subject.rsplit(".", 1)[-1] for one in event]
    check(kinds.count("TRIGGERREFUSED") >= 2, kinds)
    check(answers(node, "alpha.two") and heard("1"), "the other one stays")
    put(node, "alpha.log.x", "second")
    put(node, "$KV.alpha__conf.k", "value")
    ears.subscribe("none.x")
    ears.flush()
    try:
        message = ears.next("gamma.seen.>", 0.7)
        raise AssertionError(f"heard {message.data}")
    except TimeoutError:
        pass
    remove_namespace(node, "gamma")
    # What came meanwhile is handled.
    texts = sorted(ears.next("gamma.seen.>", 20).data for _ in range(2))
    check(texts == [b"second", b"value"], texts)
    eventually(lambda: answers(node, "shared.one"), "it has its subject again")
    check(node.info("many", "alpha")["name"] == "many", "it ran all along")
    node.undeploy("many", "alpha")


def host_services_follow_the_record(node: Node) -> None:
    node.deploy("asks", ASK, ["asks"], ns="alpha")
    def ask(source: str):
        return as_json(node.client.request("asks", source.encode(), 20))
    write = 'this.kv("free").set("k", "v")'
    publish = 'this.messaging.publish("free.x", "1")'
    check("ok" in ask(write) and "ok" in ask(publish), "before")
    set_namespace(node, namespace="gamma", subjects=["free.>"], buckets=["alpha__free"])
    eventually(lambda: ask(write).get("code") == 403 and ask(publish).get("code") == 403, "refused")
    remove_namespace(node, "gamma")
    eventually(lambda: "ok" in ask(write) and "ok" in ask(publish), "allowed again")
    node.undeploy("asks", "alpha")


def quotas_follow_the_record(node: Node) -> None:
    body = {"deploy": node.request_for("some", ECHO.encode(), ["some"], ns="quota"), "replicas": 2, "wait_ms": 15000}
    check(as_json(node.control("APPLY", body, "quota"))["state"] == "complete", "two replicas")
    set_namespace(node, namespace="quota", workloads_max=1, replicas_max=2)
    two = {"deploy": node.request_for("two", ECHO.encode(), ["two"], ns="quota"), "wait_ms": 15000}
    check(node.control("APPLY", two, "quota").error_code == 403, "a second workload")
    set_namespace(node, namespace="quota", workloads_max=2, replicas_max=3)
    check(as_json(node.control("APPLY", two, "quota"))["state"] == "complete", "now there is room")
    for name in ("some", "two"):
        node.undeploy(name, "quota")
    remove_namespace(node, "quota")


def streams_are_judged_by_what_they_collect(node: Node) -> None:
    """Streams from outside: names say nothing of whose messages are in them."""
    make_stream(node, "TAP", "mine.>", "tapped.>")
    make_stream(node, "MINE", "own.>")
    js(node, "STREAM.CREATE.TAPCOPY", {"name": "TAPCOPY", "storage": "memory", "sources": [{"name": "TAP"}]})
    def deploys(ns: str, stream: str) -> bool:
        body = node.request_for("reader", ECHO.encode(), [{"type": "stream", "stream": stream}], ns=ns)
        reply = node.control(f"ADEPLOY.{node.id}", body, ns)
        check(not reply.error_code or b"is not allowed" in reply.data, reply.data)
        return not reply.error_code
    check(deploys("default", "TAP") and deploys("default", "TAPCOPY"), "as long as they are nobody's")
    check(not deploys("tapped", "TAP"), "not by its name")
    set_namespace(node, namespace="tapped", subjects=["tapped.>"])
    make_stream(node, "THEIRS", "tapped2.>")
    eventually(lambda: not deploys("default", "TAP"), "it collects another's")
    check(not deploys("default", "TAPCOPY") and not deploys("tapped", "TAP"), "so do copies; some of it is not tapped's")
    check(deploys("default", "MINE"), "this one does not")
    js(node, "STREAM.UPDATE.TAP", {"name": "TAP", "subjects": ["mine.>"], "retention": "limits", "storage": "file",
                                   "num_replicas": 1, "max_msgs": -1})
    js(node, "STREAM.UPDATE.THEIRS", {"name": "THEIRS", "subjects": ["tapped.>"], "retention": "limits", "storage": "file",
                                      "num_replicas": 1, "max_msgs": -1})
    eventually(lambda: deploys("tapped", "THEIRS"), "all of it is tapped's")
    eventually(lambda: deploys("default", "TAP"), "what it collects now is anybody's")
    check(not deploys("default", "THEIRS"), "and nobody else's")
    # A record says more than what is in it.
    set_namespace(node, namespace="tapped", subjects=["tapped.>"], streams=["MINE"])
    eventually(lambda: deploys("tapped", "MINE") and not deploys("default", "MINE"), "listed")
    for ns in ("default", "tapped"):
        node.undeploy("reader", ns)
    remove_namespace(node, "tapped")


def undeploying_removes_what_triggers_left(node: Node) -> None:
    make_stream(node, "LEFT", "left.>")
    triggers = [{"type": "stream", "stream": "LEFT"}, {"type": "stream", "stream": "LEFT", "keep": True},
                {"type": "kv", "bucket": "leftkv"}, {"type": "schedule", "schedule": "@hourly"}]
    def consumers(stream: str) -> list:
        return js(node, f"CONSUMER.NAMES.{stream}")["consumers"] or []
    node.deploy("left", ECHO, triggers)
    check(len(consumers("LEFT")) == 2 and len(consumers("KV_leftkv")) == 1, "they are there")
    node.deploy("left", ECHO + " // another", triggers[:2])
    check(len(consumers("LEFT")) == 2 and len(consumers("KV_leftkv")) == 1, "an update removes none")
    # Somebody else's with a name of ours.
    js(node, "CONSUMER.CREATE.LEFT.nex-default-other-0", {"stream_name": "LEFT", "config": {
        "durable_name": "nex-default-other-0", "ack_policy": "explicit", "description": "mine"}})
    node.kill()
    node.start_again()
    eventually(lambda: b'"state":"complete"' in node.control("STATUS.left").data, "it is back")
    check("nex-default-left-0" in consumers("LEFT"), "a restart removes none")
    reply = node.undeploy("left")
    check(reply["stopped"], reply)
    check(sorted(consumers("LEFT")) == ["nex-default-left-1", "nex-default-other-0"], consumers("LEFT"))
    check(not consumers("KV_leftkv"), consumers("KV_leftkv"))
    check("nex-default-left-3" not in consumers("NEX_SCHEDULE_default"), consumers("NEX_SCHEDULE_default"))
    # What was kept goes on where it was.
    put(node, "left.x", "kept")
    ears = node.connect()
    ears.subscribe("gamma.seen.>")
    ears.flush()
    node.deploy("left", ECHO, triggers[:2])
    check(ears.next("gamma.seen.>", 20).data == b"kept", "the kept one")
    node.undeploy("left")


CLAIMS = [records_change_by_compare_and_set, of_many_writers_one_wins, triggers_follow_the_record,
          host_services_follow_the_record, quotas_follow_the_record, streams_are_judged_by_what_they_collect,
          undeploying_removes_what_triggers_left]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    failed = 0
    with Node(args.brokkr, args.attach, with_jetstream=True) as node:
        # The desired state is there a little after the node.
        eventually(lambda: namespaces(node, "list", {}).data, "namespaces are answered for")
        for claim in CLAIMS:
            if args.only not in claim.__name__:
                continue
            begin = time.monotonic()
            try:
                claim(node)
                print(f"ok    {claim.__name__} {time.monotonic() - begin:.1f} s")
            except Exception:  # one must not hide the others
                failed += 1
                print(f"WRONG {claim.__name__}")
                traceback.print_exc()
        if failed:
            print(node.log()[-3000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
