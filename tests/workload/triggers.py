#!/usr/bin/env python3
"""Triggers: streams, buckets, schedules, retries and dead letters, loops, and that every acknowledged
message has its effect whoever is killed.

usage: triggers.py --brokkr PATH [--attach NATS_SERVER] [--only WORD] [--kills N] [--redeploys N]
"""
import argparse
import base64
import json
import os
import random
import signal
import sys
import threading
import time
import traceback

from node import Node, as_json

# Tells on "seen.<name>" what it was given; "bad" fails, "slow" takes its time, "die" takes the process along.
TEACHER = """export default { async message(msg, env, ctx) {
  const seen = { subject: msg.subject, text: msg.text(), at: Date.now(), headers: {} };
  for (const key of ["Nats-Sequence", "Nats-Stream", "Nats-Brokkr-Deliveries", "KV-Operation", "Object-Operation",
                     "Nats-Brokkr-Hops"]) seen.headers[key] = msg.headers.get(key);
  env.messaging.publish("seen." + ctx.name, JSON.stringify(seen));
  if (msg.text().startsWith("bad")) throw new TypeError("cannot stand " + msg.text());
  if (msg.text().startsWith("slow")) await new Promise((r) => setTimeout(r, 300));
  if (msg.text().startsWith("die")) { const all = []; for (;;) all.push(new Array(1e6).fill(1.5)); }
} }"""


def check(condition, what) -> None:
    if not condition:
        raise AssertionError(what)


def eventually(claim, what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not (got := claim()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}: {got!r}")
        time.sleep(0.02)


def js(node: Node, call: str, body: dict | None = None, may_fail: bool = False) -> dict:
    answer = as_json(node.client.request(f"$JS.API.{call}", json.dumps(body or {}).encode(), 20))
    if "error" in answer and not may_fail:
        raise AssertionError(f"{call}: {answer['error']}")
    return answer


def make_stream(node: Node, name: str, *subjects: str, **more) -> None:
    js(node, f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, "retention": "limits",
                                       "storage": "file", "num_replicas": 1, "max_msgs": -1, **more})


def put(node: Node, subject: str, text: str, headers: list | None = None) -> int:
    return as_json(node.client.request(subject, text.encode(), 20, headers))["seq"]


def seen(client, name: str, count: int, seconds: float = 20) -> list[dict]:
    """What the function says it was given, so many times."""
    return [json.loads(client.next(f"seen.{name}", seconds).data) for _ in range(count)]


def state(node: Node, stream: str, consumer: str) -> dict:
    return js(node, f"CONSUMER.INFO.{stream}.{consumer}")


def listening(node: Node, name: str):
    client = node.connect()
    client.subscribe(f"seen.{name}")
    client.subscribe("$NEX.FEED.default.events.>")
    client.flush()
    return client


def event(client, kind: str) -> dict:
    while True:
        message = client.next("$NEX.FEED.default.events.>", 20)
        if message.subject.endswith(kind):
            return json.loads(message.data)


def test_stream_messages_run_once_and_are_acknowledged(node: Node) -> None:
    make_stream(node, "ONE", "one.>")
    put(node, "one.before", "earlier")
    client = listening(node, "one")
    node.deploy("one", TEACHER, triggers=[{"type": "stream", "stream": "ONE", "subject": "one.*"}])
    for i in range(50):
        put(node, "one.a", f"{i}", [("Nats-Brokkr-Hops", "2")])
    got = seen(client, "one", 50)
    check(sorted(int(g["text"]) for g in got) == list(range(50)), got)
    check(got[0]["subject"] == "one.a" and got[0]["headers"]["Nats-Stream"] == "ONE", got[0])
    check({g["headers"]["Nats-Brokkr-Deliveries"] for g in got} == {"1"}, got)
    check(got[0]["headers"]["Nats-Brokkr-Hops"] == "2", got[0])
    name = "nex-default-one-0"
    eventually(lambda: state(node, "ONE", name)["ack_floor"]["stream_seq"] == 51, "all acknowledged")
    info = node.info("one")
    check(info["triggers"] == ["stream ONE one.*"] and info["calls"] == 50, info)
    node.deploy("one", TEACHER, triggers=[{"type": "stream", "stream": "ONE", "subject": "one.>", "start": "all"}])
    put(node, "one.b.c", "after")
    check([g["text"] for g in seen(client, "one", 1)] == ["after"], "goes on where it was")
    client.close()


def test_start_positions(node: Node) -> None:
    make_stream(node, "START", "start.>")
    first = [put(node, "start.x", str(i)) for i in range(5)]
    for start, wanted in (("all", "01234"), (f"seq:{first[3]}", "34"), ("2020-01-01T00:00:00Z", "01234")):
        name = "start" + wanted + start[:1]
        client = listening(node, name)
        node.deploy(name, TEACHER, triggers=[{"type": "stream", "stream": "START", "start": start}])
        check("".join(sorted(g["text"] for g in seen(client, name, len(wanted)))) == wanted, start)
        client.close()


def test_failures_pause_and_end_as_one_dead_letter(node: Node) -> None:
    make_stream(node, "RETRY", "retry.>")
    client = listening(node, "retry")
    node.deploy("retry", TEACHER, triggers=[{"type": "stream", "stream": "RETRY", "max_deliver": 3, "backoff": ["200ms", "600ms"]}])
    sequence = put(node, "retry.a", "bad one", [("Customer", "7"), ("Nats-Msg-Id", "m1")])
    got = seen(client, "retry", 3)
    gaps = [b["at"] - a["at"] for a, b in zip(got, got[1:])]
    for gap, wanted in zip(gaps, (200, 600)):
        check(wanted * 0.9 <= gap <= wanted * 1.1 + 100, f"pauses of {gaps} ms")
    told = event(client, "MESSAGEDEADLETTERED")
    check((told["stream"], told["sequence"], told["deliveries"]) == ("RETRY", sequence, 3), told)
    letter = js(node, "STREAM.MSG.GET.NEX_DLQ_default",
                {"last_by_subj": f"$NEX.DLQ.default.NEX_DLQ_default.retry.0.RETRY.{sequence}"})["message"]
    headers = base64.b64decode(letter["hdrs"]).decode()
    for line in ("Customer: 7", "Nats-Brokkr-Workload: default/retry", "Nats-Brokkr-Subject: retry.a",
                 "Nats-Brokkr-Error: TypeError: cannot stand bad one", "Nats-Brokkr-Deliveries: 3"):
        check(line + "\r\n" in headers, headers)
    check(base64.b64decode(letter["data"]) == b"bad one", letter)
    eventually(lambda: state(node, "RETRY", "nex-default-retry-0")["num_ack_pending"] == 0, "given up")
    check(client.drop("seen.retry") == 0, "run no more")
    listed = node.run("dlq", "ls", "--workload=retry")
    check("retry.a" in listed and "cannot stand bad one" in listed, listed)
    check("1 message sent again" in node.run("dlq", "redrive", "--workload=retry"), "redrive")
    check(seen(client, "retry", 1)[0]["headers"]["Nats-Brokkr-Deliveries"] == "1", "it comes as a new message")
    event(client, "MESSAGEDEADLETTERED")
    client.close()


def test_long_calls_are_not_given_to_others(node: Node) -> None:
    make_stream(node, "LONG", "long.>")
    client = listening(node, "long")
    node.deploy("long", TEACHER.replace("300", "2500"),
                triggers=[{"type": "stream", "stream": "LONG", "ack_wait": "1s"}])
    put(node, "long.a", "slow")
    seen(client, "long", 1)
    eventually(lambda: state(node, "LONG", "nex-default-long-0")["ack_floor"]["stream_seq"] == 1, "acknowledged")
    check(client.drop("seen.long") == 0 and state(node, "LONG", "nex-default-long-0")["num_redelivered"] == 0, "run once")
    client.close()


def test_a_poison_message_hurts_no_other(node: Node) -> None:
    make_stream(node, "POISON", "poison.>")
    client = listening(node, "poison")
    node.deploy("poison", TEACHER, limits={"heap_bytes": 16 << 20},
                triggers=[{"type": "stream", "stream": "POISON", "max_deliver": 2, "backoff": ["100ms"]}])
    texts = [f"slow {i}" for i in range(10)] + ["die"] + [f"slow {i}" for i in range(10, 20)]
    for text in texts:
        node.client.publish("poison.a", text.encode())
    node.client.flush()
    told = event(client, "MESSAGEDEADLETTERED")
    check(told["sequence"] == 11 and told["deliveries"] == 2, told)
    eventually(lambda: state(node, "POISON", "nex-default-poison-0")["ack_floor"]["stream_seq"] == 21, "all answered", 60)
    letters = js(node, "STREAM.INFO.NEX_DLQ_default", {"subjects_filter": "$NEX.DLQ.default.NEX_DLQ_default.poison.>"})
    check(letters["state"]["subjects"] == {"$NEX.DLQ.default.NEX_DLQ_default.poison.0.POISON.11": 1}, letters)
    client.close()


def test_buckets_tell_of_changes(node: Node) -> None:
    client = listening(node, "keys")
    node.deploy("keys", TEACHER, triggers=[{"type": "kv", "bucket": "KEYS", "key": "a.>"}])
    put(node, "$KV.KEYS.a.b", "one")
    put(node, "$KV.KEYS.other", "two")
    put(node, "$KV.KEYS.a.b", "", [("KV-Operation", "DEL")])
    got = [(g["subject"], g["text"], g["headers"]["KV-Operation"]) for g in seen(client, "keys", 2)]
    check(sorted(got) in ([("a.b", "", "DEL"), ("a.b", "one", "PUT")],), got)
    client.close()
    client = listening(node, "files")
    node.deploy("files", TEACHER, triggers=[{"type": "object", "bucket": "FILES"}])
    put(node, "$O.FILES.M.eA==", json.dumps({"name": "x", "bucket": "FILES", "nuid": "n", "size": 0, "chunks": 0}))
    got = seen(client, "files", 1)[0]
    check((got["subject"], got["headers"]["Object-Operation"]) == ("x", "PUT"), got)
    client.close()


def test_schedules_tick_once_each(node: Node) -> None:
    client = listening(node, "clock")
    node.deploy("clock", TEACHER, triggers=[{"type": "schedule", "schedule": "@every 1s"}])
    node.deploy("clock2", TEACHER.replace("ctx.name", '"clock"'), triggers=[{"type": "schedule", "schedule": "0 0 1 1 *"}])
    ticks = [json.loads(g["text"]) for g in seen(client, "clock", 3)]
    times = [t["time"] for t in ticks]
    check(len(set(times)) == 3 and ticks[0]["schedule"] == "@every 1s", ticks)
    node.undeploy("clock")
    client.close()


def test_replicas_share_streams_and_ticks(node: Node) -> None:
    """The same function on two nodes: each message and each tick is one's."""
    make_stream(node, "SHARED", "shared.>")
    other = node._spawn([node.command[0], "node", "up", "-s", f"nats://127.0.0.1:{node.port}", "--data",
                         str(node.folder / "other")], "other.log")
    node.processes.remove(other)  # the last one stays the node
    try:
        share(node)
    finally:
        other.terminate()
        other.wait(20)


def share(node: Node) -> None:
    ids: set[str] = set()

    def both() -> bool:
        reply = node.client.send_request("$NEX.SVC.system.control.PING", b"{}")
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            try:
                ids.add(as_json(node.client.wait_reply(reply, 0.1))["node_id"])
            except TimeoutError:
                pass
        return len(ids) == 2
    eventually(both, "two nodes")
    client = listening(node, "replica")
    triggers = [{"type": "stream", "stream": "SHARED"}, {"type": "schedule", "schedule": "* * * * * *"}]
    reply = node.control("APPLY", {"deploy": node.request_for("replica", TEACHER.encode(), triggers), "replicas": 2})
    check(not reply.error_code and as_json(reply)["state"] == "complete", reply.data)
    for i in range(40):
        put(node, "shared.x", f"slow {i}")
    got = seen(client, "replica", 40)
    ticks = [json.loads(g["text"])["time"] for g in got if g["subject"] == "schedule"]
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            got.append(json.loads(client.next("seen.replica", 0.5).data))
        except TimeoutError:
            continue
    messages = [g["text"] for g in got if g["subject"] != "schedule"]
    ticks = [json.loads(g["text"])["time"] for g in got if g["subject"] == "schedule"]
    check(sorted(messages) == sorted(f"slow {i}" for i in range(40)), messages)
    check(len(ticks) >= 3 and len(set(ticks)) == len(ticks), ticks)
    node.undeploy("replica")
    client.close()


def test_impossible_triggers_are_refused(node: Node) -> None:
    for trigger, word in (({"type": "stream", "stream": "NOWHERE"}, "not found"), ({"type": "schedule", "schedule": "often"}, "often"),
                          ({"type": "stream", "stream": "NEX_DLQ_other"}, "not allowed"),
                          ({"type": "subject", "subject": "$JS.API.>"}, "not allowed")):
        try:
            node.deploy("impossible", TEACHER, triggers=[trigger])
        except RuntimeError as error:
            check(word in str(error), error)
        else:
            raise AssertionError(f"{trigger} was taken")


def test_loops_end(node: Node) -> None:
    loop = """export default { message(msg, env) { env.messaging.publish("loop.runs", msg.headers.get("Nats-Brokkr-Hops") ?? "0");
      env.messaging.publish("loop.in", msg.text()); } }"""
    client = listening(node, "loop")
    client.subscribe("loop.runs")
    client.flush()
    node.deploy("loop", loop, ["loop.in"])
    client.publish("loop.in", b"x")
    runs = [int(client.next("loop.runs", 10).data) for _ in range(16)]
    check(runs == list(range(16)), runs)
    told = event(client, "FUNCTIONLOOPSTOPPED")
    check("16 functions" in told["error"] and told["workload_name"] == "loop", told)
    loop = """export default { async message(msg, env) {
      await env.messaging.publish("loop.turns", msg.headers.get("Nats-Brokkr-Hops") ?? "0");
      await env.kv("LOOP").set("key", msg.text() + "."); } }"""
    client.subscribe("loop.turns")
    client.flush()
    node.deploy("turning", loop, [{"type": "kv", "bucket": "LOOP", "max_deliver": 1}])
    put(node, "$KV.LOOP.key", "x")
    turns = [int(client.next("loop.turns", 10).data) for _ in range(16)]
    check(turns == list(range(16)), turns)
    event(client, "FUNCTIONLOOPSTOPPED")
    client.close()


def test_every_acknowledged_message_has_its_effect(node: Node, kills: int, seed: int) -> None:
    """T2 and T32: kill -9 of worker and node while messages come, some of them bad: each good one has its effect, each bad
    one is one dead letter."""
    chance = random.Random(seed)
    make_stream(node, "KILL", "kill.>")
    make_stream(node, "EFFECT", "effect.>")
    work = """export default { async message(msg, env) {
      if (msg.text().startsWith("bad")) throw new Error(msg.text());
      await env.messaging.request("effect." + msg.headers.get("Nats-Sequence"), msg.text()); } }"""
    trigger = [{"type": "stream", "stream": "KILL", "ack_wait": "1s", "max_deliver": 3,
                "backoff": ["50ms"]}]
    node.deploy("kill", work, triggers=trigger)
    good, bad = [], []
    for turn in range(kills):
        for i in range(20):
            is_bad = i % 5 == 4
            (bad if is_bad else good).append(put(node, "kill.x", f"{'bad' if is_bad else 'good'} {turn} {i}"))
            if i == 10:
                time.sleep(chance.random() * 0.05)
                if turn % 2 == 0 and (workers := node.children()):
                    for pid in workers:
                        try:
                            os.kill(pid, signal.SIGKILL)
                        except ProcessLookupError:
                            pass
                elif turn % 2 == 1:
                    node.kill()
                    node.start_again()
                    node.deploy("kill", work, triggers=trigger)

    def subjects(stream: str, prefix: str) -> dict:
        found, more = {}, True
        while more:
            info = js(node, f"STREAM.INFO.{stream}", {"subjects_filter": prefix + ">", "offset": len(found)})
            page = info["state"].get("subjects") or {}
            found |= page
            more = bool(page) and len(found) < info.get("total", 0)
        return {subject.removeprefix(prefix): count for subject, count in found.items()}
    letters = "$NEX.DLQ.default.NEX_DLQ_default.kill.0.KILL."
    eventually(lambda: {str(s) for s in good} <= subjects("EFFECT", "effect.").keys(),
               f"an effect of each of {len(good)} (seed {seed})", 60)
    eventually(lambda: subjects("NEX_DLQ_default", letters) == {str(s): 1 for s in bad},
               f"one dead letter of each of {len(bad)} (seed {seed})", 60)
    eventually(lambda: state(node, "KILL", "nex-default-kill-0")["num_ack_pending"] == 0, "nothing is left", 60)
    print(f"    {kills} kills, {len(good)} messages, 0 without effect; {len(bad)} bad ones, {len(bad)} dead letters (seed {seed})")


def test_redeploys_under_load_lose_nothing(node: Node, redeploys: int) -> None:
    """T33: requests all the while; each answered, by the old version or the new."""
    source = "() => {}".replace("{}", "VERSION")
    node.deploy("swap", source.replace("VERSION", "0"), ["swap"])
    stop, bad, answers, slowest = threading.Event(), [], [0], [0.0]

    def load() -> None:
        client = node.connect()
        window = [client.send_request("swap", b"x") for _ in range(32)]
        while not stop.is_set() or window:
            begin = time.monotonic()
            message = client.wait_reply(window.pop(0), 10)
            slowest[0] = max(slowest[0], time.monotonic() - begin)
            answers[0] += 1
            if message.error_code or message.headers.get("Status"):
                bad.append((message.headers, message.data[:80]))
            if not stop.is_set():
                window.append(client.send_request("swap", b"x"))
        client.close()
    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    begin = time.monotonic()
    for version in range(1, redeploys + 1):
        node.deploy("swap", source.replace("VERSION", str(version)), ["swap"])
    took = time.monotonic() - begin
    stop.set()
    for thread in threads:
        thread.join()
    check(not bad, f"{len(bad)} of {answers[0]} failed: {bad[:3]}")
    last = node.client.request("swap", b"x").data
    check(last == str(redeploys).encode(), last)
    print(f"    {redeploys} redeploys in {took:.1f} s, {answers[0]} requests ({answers[0] / took:.0f}/s), 0 failed, "
          f"slowest {slowest[0] * 1000:.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--redeploys", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    more = {"kills": options.kills, "redeploys": options.redeploys, "seed": options.seed}
    failed = 0
    with Node(options.brokkr, options.attach, ("--cold-start",) if options.cold else (), with_jetstream=True) as node:
        for name, test in [(n, t) for n, t in globals().items() if n.startswith("test_") and options.only in n]:
            wanted = test.__code__.co_varnames[1:test.__code__.co_argcount]
            begin = time.monotonic()
            try:
                test(node, **{key: more[key] for key in wanted})
                print(f"ok   {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"FAIL {name}\n{traceback.format_exc()}{node.log()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
