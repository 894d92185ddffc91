#!/usr/bin/env python3
"""The requests, replies and feeds of both Nex APIs, 0.2.7 and 0.4.x, member by member.

    nex_api.py --brokkr PATH [--attach NATS_SERVER]
"""
import argparse
import calendar
import json
import pathlib
import signal
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "workload")]
import nkeys  # noqa: E402
from node import Node, as_json  # noqa: E402

PATIENCE_SECONDS = 30
TALKER = "(s, p) => { console.log('out'); console.error('err'); if (p.length) throw Error('no'); return 1; }"
CALLS_TOLD_PER_SECOND = 500


def check(condition, what) -> None:
    if not condition:
        raise AssertionError(what)


def equal(found, wanted, what: str = "") -> None:
    check(found == wanted, f"{what} {found!r} is not {wanted!r}")


def members(found: dict, *names: str) -> None:
    """Those and no others; a ? after a name says that it may be absent."""
    wanted = {name.rstrip("?") for name in names}
    needed = {name for name in names if not name.endswith("?")}
    check(needed <= set(found) <= wanted, f"members {sorted(found)} are not {names}")


def collect(client, subject: str, is_enough) -> list:
    """Messages until `is_enough` of them says so."""
    found, deadline = [], time.monotonic() + PATIENCE_SECONDS
    while not is_enough(found):
        check(time.monotonic() < deadline, f"only {[message.subject for message in found]}")
        found.append(client.next(subject, PATIENCE_SECONDS))
    return found


def data_of(message) -> dict:
    """What a CloudEvent carries; the event itself is checked."""
    event = json.loads(message.data)
    members(event, "specversion", "id", "source", "type", "datacontenttype", "time", "namespace", "data")
    _, _, ns, kind = message.subject.split(".")
    equal((event["specversion"], event["datacontenttype"]), ("1.0", "application/json"))
    equal((event["namespace"], event["type"]), (ns, kind))
    check(event["id"] and event["time"].endswith("Z"), event)
    return event["data"]


def test_v1_envelopes(node: Node) -> None:
    """PING, AUCTION, WPING, INFO of 0.2.7."""
    deployed = node.deploy("v1name", "() => 1")
    for subject, body in (("$NEX.PING", b""), (f"$NEX.PING.{node.id}", b""), ("$NEX.AUCTION", b"{}"), ("$NEX.AUCTION", b"no JSON")):
        answer = as_json(node.client.request(subject, body))
        members(answer, "type", "data")
        equal(answer["type"], f"io.nats.nex.v1.{subject.split('.')[1].lower()}_response")
        members(answer["data"], "node_id", "nexus", "version", "uptime", "target_xkey", "tags", "running_machines")
        check(isinstance(answer["data"]["running_machines"], int), answer)
    tags = answer["data"]["tags"]
    check({"nex.os", "nex.arch", "nex.cpucount", "node_name"} <= set(tags), tags)
    check("nex.unsafe" not in tags and "nex.lameduck" not in tags, f"there only when they are true: {tags}")
    for argument in ("default", "default.v1name", f"default.{deployed['id']}"):
        answer = as_json(node.client.request(f"$NEX.WPING.{argument}"))
        equal(answer["type"], "io.nats.nex.v1.ping_response")
        members(answer["data"], "node_id", "target_xkey", "version", "tags", "uptime", "running_machines")
        machine = answer["data"]["running_machines"][0]
        equal(machine, {"id": deployed["id"], "namespace": "default", "name": "v1name", "type": "v8"})
    answer = as_json(node.client.request(f"$NEX.INFO.default.{node.id}"))
    equal(answer["type"], "io.nats.nex.v1.info_response")
    members(answer["data"], "version", "uptime", "public_xkey", "tags", "memory", "machines", "supported_workload_types")
    members(answer["data"]["memory"], "total", "free", "available")
    machine = answer["data"]["machines"][0]
    members(machine, "id", "healthy", "uptime", "namespace", "workload")
    members(machine["workload"], "name", "description", "runtime", "type", "hash")
    for request, wanted in (({"os": "plan9"}, False), ({"os": "LINUX", "arch": tags["nex.arch"]}, True), ({"workload_types": ["oci", "v8"]}, True),
                            ({"tags": {"nex.os": "Linux"}}, True), ({"tags": {"no": "such"}}, False), ({"sandboxed": False}, False)):
        try:
            node.client.request("$NEX.AUCTION", json.dumps(request).encode(), 5 if wanted else 0.3)
            check(wanted, f"a bid for {request}")
        except TimeoutError:
            check(not wanted, f"no bid for {request}")
    node.undeploy("v1name")


def test_v1_failures_are_envelopes(node: Node) -> None:
    for verb, kind, body in (("DEPLOY", "run", b"{"), ("RUN", "run", b"{}"), ("STOP", "stop", b"{}")):
        answer = as_json(node.client.request(f"$NEX.{verb}.default.{node.id}", body))
        members(answer, "type", "data", "error")
        equal((answer["type"], answer["data"]), (f"io.nats.nex.v1.{kind}_response", ""))
        check(answer["error"], answer)


def test_v1_events_and_logs(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.events.>")
    client.subscribe("$NEX.logs.>")
    client.flush()
    who = node.deploy("talker", TALKER, ["talk.*"])
    client.request("talk.fine")
    client.request("talk.wrong", b"x")
    node.undeploy("talker")
    events = collect(client, "$NEX.events.>", lambda found: found and found[-1].subject.endswith("workload_undeployed"))
    told = {message.subject.rpartition(".")[2]: data_of(message) for message in events}
    sources = {message.subject.rpartition(".")[2]: json.loads(message.data)["source"] for message in events}
    equal({message.subject.split(".")[2] for message in events}, {"default"})
    equal(told["workload_deployed"], {"workload_id": who["id"], "workload_name": "talker", "total_bytes": len(TALKER)})
    equal(sources["workload_deployed"], f"{node.id}-{who['id']}")
    done = told["function_exec_succeeded"]
    members(done, "workload_name", "trigger_subject", "elapsed_nanos", "namespace")
    equal((done["workload_name"], done["trigger_subject"], done["namespace"]), ("talker", "talk.fine", "default"))
    check(0 < done["elapsed_nanos"] < 60e9, done)
    equal(sources["function_exec_succeeded"], node.id)
    failed = told["function_exec_failed"]
    members(failed, "workload_name", "trigger_subject", "namespace", "error")
    check(failed["trigger_subject"] == "talk.wrong" and "no" in failed["error"], failed)
    equal(told["workload_undeployed"], {"workload_id": who["id"], "workload_name": "talker", "code": 0, "message": "Workload shutdown requested"})
    logs = collect(client, "$NEX.logs.>", lambda found: found and b"Workload stopped" in found[-1].data)
    equal({message.subject for message in logs}, {f"$NEX.logs.default.{node.id}.talker.{who['id']}"})
    lines = [json.loads(message.data) for message in logs]
    for line in lines:
        members(line, "text", "level", "id")
        equal(line["id"], who["id"])
    said = [(line["level"], line["text"]) for line in lines]
    for line in (("INFO", "out"), ("ERROR", "err"), ("ERROR", "Function execution failed"), ("DEBUG", "Workload stopped")):
        check(line in said, f"{line} is not in {said}")
    client.close()


def test_v1_calls_are_told_up_to_a_rate(node: Node) -> None:
    node.deploy("often", "() => 1")
    client = node.connect()
    client.subscribe("$NEX.events.default.*")
    client.flush()
    calls, started = 3 * CALLS_TOLD_PER_SECOND, time.monotonic()
    for reply in [client.send_request("often") for _ in range(calls)]:
        client.wait_reply(reply)
    seconds = time.monotonic() - started
    node.undeploy("often")
    events = collect(client, "$NEX.events.default.*", lambda found: found and found[-1].subject.endswith("workload_undeployed"))
    told = sum("function_exec_" in message.subject for message in events)  # a full queue refuses some
    most = CALLS_TOLD_PER_SECOND * (int(seconds) + 2)
    check(CALLS_TOLD_PER_SECOND - 10 <= told <= most, f"{told} of {calls} calls were told in {seconds:.1f} s, not at most {most}")
    client.close()


class Second:
    """One more node at the same server, for what a node says when it comes and goes."""

    def __init__(self, node: Node, *flags: str):
        self.folder = node.folder / f"second{time.monotonic_ns()}"
        self.process = subprocess.Popen([node.command[0], "node", "up", "-s", f"nats://127.0.0.1:{node.port}", "--data", str(self.folder),
                                         "--node-name", "second", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    @staticmethod
    def wait_ready(client) -> None:
        """Until both nodes are in the queue group of APPLY."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            reply, both = client.send_request("$SRV.INFO.nexnode"), []
            try:
                while len(both) < 2:
                    both.append(client.wait_reply(reply, 0.5).data)
            except TimeoutError:
                pass
            if sum(b".control.APPLY" in one for one in both) == 2:
                return
        raise AssertionError("the second node does not come")

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def test_nodes_tell_of_themselves(node: Node) -> None:
    client = node.connect()
    for subject in ("$NEX.events.system.>", "$NEX.FEED.*.events.>", "$NEX.SVC.system.control.HEARTBEAT.*"):
        client.subscribe(subject)
    client.flush()
    with Second(node, "--tag", "colour=blue"):
        events = collect(client, "$NEX.events.system.>", lambda found: len({m.subject for m in found} & {
            "$NEX.events.system.node_started", "$NEX.events.system.heartbeat"}) == 2 and found[-1].subject.endswith("heartbeat"))
        told = {message.subject.rpartition(".")[2]: data_of(message) for message in events}
        members(told["node_started"], "version", "id", "tags")
        second = told["node_started"]["id"]
        equal(told["node_started"]["tags"]["colour"], "blue")
        members(told["heartbeat"], "version", "node_id", "nexus", "uptime", "tags", "running_machines")
        equal(told["heartbeat"]["node_id"], second)
        beat = client.next("$NEX.SVC.system.control.HEARTBEAT.*", PATIENCE_SECONDS)
        while not beat.subject.endswith(second):
            beat = client.next("$NEX.SVC.system.control.HEARTBEAT.*", PATIENCE_SECONDS)
        members(json.loads(beat.data), "registrations")
        check("[v8]" in json.loads(beat.data)["registrations"], beat.data)
        # Found by its tags, and only then.
        wanted = {"filter": {"colour": "blue", "nex.node": "second"}}
        reply = client.send_request("$NEX.SVC.system.control.PING", json.dumps(wanted).encode())
        equal(as_json(client.wait_reply(reply))["node_id"], second)
        for ask in ({"delay": "1m", "tag": {"colour": "red"}},):
            try:
                raise AssertionError(client.request(f"$NEX.SVC.system.control.LAMEDUCK.{second}", json.dumps(ask).encode(), 0.3).data)
            except TimeoutError:
                pass
        equal(as_json(client.request(f"$NEX.PING.{second}"))["data"]["tags"].get("nex.lameduck"), None)
        before = time.time()
        answer = as_json(client.request(f"$NEX.SVC.system.control.LAMEDUCK.{second}", b'{"delay":"1h","tag":{"colour":"blue"}}'))
        members(answer, "success", "message")
        equal(answer["success"], True)
        equal(as_json(client.request(f"$NEX.SVC.system.control.PING.{second}", b"{}"))["tags"]["nex.lameduck"], "true")
        equal(as_json(client.request(f"$NEX.PING.{second}"))["data"]["tags"]["nex.lameduck"], "true")
    events = collect(client, "$NEX.events.system.>", lambda found: found and found[-1].subject.endswith("node_stopped"))
    told = {message.subject.rpartition(".")[2]: data_of(message) for message in events}
    equal(told["node_stopped"], {"id": second, "graceful": True})
    members(told["node_entered_lameduck"], "version", "id")
    feed = collect(client, "$NEX.FEED.*.events.>", lambda found: sum(m.subject.endswith("NODESTOPPED") for m in found) == 2)
    ours = [message for message in feed if message.subject.startswith(f"$NEX.FEED.{second}.events.")]
    kinds = {message.subject.rpartition(".")[2]: json.loads(message.data) for message in ours}
    members(kinds["NODESTARTED"], "type", "id", "name", "nexus", "tags")
    equal((kinds["NODESTARTED"]["type"], kinds["NODESTARTED"]["name"]), ("io.synadia.nex.event.nexnode_started", "second"))
    members(kinds["NODELAMEDUCKSET"], "id", "time")
    ends = time.strptime(kinds["NODELAMEDUCKSET"]["time"][:19], "%Y-%m-%dT%H:%M:%S")
    check(3500 < calendar.timegm(ends) - before < 3700, f"the time it is to be empty: {kinds['NODELAMEDUCKSET']}")
    members(kinds["NODESTOPPED"], "id")
    client.close()


def test_v2_replies(node: Node) -> None:
    """PING, PTAGS, INFO, AGENTID, AUCTION, WPING, CLONE, UNDEPLOY of 0.4.x; what is ours stands beside it."""
    ping = as_json(node.control("PING", b'{"filter":{}}', "system"))
    check({"node_id", "version", "start_time", "xkey", "tags", "state", "agent_count"} <= set(ping), ping)
    tags = as_json(node.control("PTAGS", b"", "system"))
    check({"nex.os", "nex.arch", "nex.cpucount", "nex.lameduck", "nex.nexus", "nex.node"} <= set(tags), tags)
    equal((tags["nex.lameduck"], ping["tags"]), ("false", tags))
    info = as_json(node.control(f"INFO.{node.id}", b"{}", "system"))
    equal(info["tags"], tags)
    agent = info["node_agent_summaries"][0]
    members(agent, "agent_id", "agent_health", "agent_health_stoplight", "agent_last_heartbeat_time", "agent_summary")
    members(agent["agent_summary"], "name", "type", "start_time", "supported_lifecycles", "state", "workload_count", "version")
    equal(node.control(f"AGENTID.{node.id}", agent["agent_summary"]["name"].encode(), "system").data.decode(), agent["agent_id"])
    equal(node.control(f"AGENTID.{node.id}", b"", "system").error_code, 400)
    bid = as_json(node.control("AUCTION", {"auction_id": "a", "agent_type": "v8", "tags": {"nex.os": "linux", "nex.node": tags["nex.node"]}}))
    check({"bidder_id", "xkey", "start_request_schema", "supported_lifecycles"} <= set(bid), bid)
    json.loads(bid["start_request_schema"])
    request = node.request_for("v2name", b"() => 1", ["v2name"], ns="elsewhere")
    # Any JSON may stand in the metadata, and null for what is empty.
    request |= {"tags": None, "metadata": {"count": 2, "who": "me"}, "description": ""}
    equal(node.control(f"ADEPLOY.{bid['bidder_id']}", request, "default").error_code, 403)
    client = node.connect()
    client.subscribe("$NEX.FEED.elsewhere.events.>")
    client.flush()
    reply = as_json(node.control(f"ADEPLOY.{bid['bidder_id']}", request, "system"))
    check({"id", "name"} <= set(reply), reply)
    started = json.loads(client.next("$NEX.FEED.elsewhere.events.>", PATIENCE_SECONDS).data)
    equal((started["id"], started["namespace"], started["workload_type"]), (reply["id"], "elsewhere", "v8"))
    equal(started["metadata"], {"count": "2", "who": "me"})
    equal(node.control("WPING", {"namespace": "other"}, "default").error_code, 403)
    one = as_json(node.control("WPING.v2name", {"namespace": "elsewhere"}, "elsewhere"))[0]
    members(one, "id", "namespace", "name", "start_time", "runtime", "workload_type", "workload_lifecycle", "workload_state", "metadata", "tags")
    check(one["workload_state"] in ("running", "warm"), one)
    listed = as_json(node.control("WPING", {"namespace": "system", "filter": [reply["id"]]}, "system"))
    equal([w["id"] for w in listed], [reply["id"]])
    clone = as_json(node.control("CLONE.v2name", {"namespace": "elsewhere", "new_target_xkey": ""}, "system"))
    check({"name", "namespace", "description", "workload_type", "workload_lifecycle", "run_request", "tags"} <= set(clone), clone)
    equal((clone["name"], clone["namespace"]), ("v2name", "elsewhere"))
    equal(node.control("UNDEPLOY.v2name", {"namespace": "elsewhere"}, "default").error_code, 403)
    stopped = as_json(node.control(f"UNDEPLOY.{reply['id']}", {"namespace": "elsewhere"}, "system"))
    members(stopped, "id", "workload_type", "stopped", "message")
    equal((stopped["id"], stopped["stopped"]), (reply["id"], True))
    event = client.next("$NEX.FEED.elsewhere.events.>", PATIENCE_SECONDS)
    check(event.subject.endswith("WORKLOADSTOPPED") and json.loads(event.data)["metadata"]["count"] == "2", event.data)
    client.close()


def test_metrics_feed(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.default.metrics.*")
    client.flush()
    who = node.deploy("measured", "(s, p) => { if (p.length) throw Error('x'); return 1; }")
    for payload in (b"", b"", b"x"):
        client.request("measured", payload)
    told: dict = {}
    while told.get("calls") != 3:
        message = client.next("$NEX.FEED.default.metrics.*", PATIENCE_SECONDS)
        if message.subject == f"$NEX.FEED.default.metrics.{who['id']}":
            told = json.loads(message.data)
    members(told, "id", "namespace", "name", "workload_type", "workload_state", "node_id", "slot", "time", "memory_bytes", "cpu_ns", "restarts",
            "log_lines_dropped", "instances", "in_flight", "queued", "calls", "errors", "payload_bytes", "reply_bytes", "total_ns", "p50_ns", "p99_ns")
    equal((told["name"], told["errors"], told["node_id"]), ("measured", 1, node.id))
    node.undeploy("measured")
    client.close()


def test_invocations_of_replicas_on_one_node(node: Node) -> None:
    request = {"deploy": node.request_for("twin", b"() => 1", ["twin"]), "replicas": 2}
    equal(as_json(node.control("APPLY", request, timeout=PATIENCE_SECONDS))["running"], 2)
    client = node.connect()
    for _ in range(40):
        client.request("twin")
    reply = client.send_request("$NEX.SVC.default.control.INVOCATIONS.twin", b"{}")
    answers = [as_json(client.wait_reply(reply)) for _ in range(2)]
    equal({answer["slot"] for answer in answers}, {0, 1})
    check(answers[0]["id"] != answers[1]["id"], answers)
    equal(sum(len(answer["invocations"]) for answer in answers), 40)
    check(all(answer["invocations"] for answer in answers), "both had calls")
    text = node.run("invocations", "twin")
    for answer in answers:
        check(f"{answer['slot']} {answer['id']}" in text, text)
    one = as_json(node.control(f"INVOCATIONS.{answers[0]['id']}", {}))
    equal(one["id"], answers[0]["id"])
    node.undeploy("twin")
    client.close()


def test_a_frozen_node_is_asked_around(node: Node) -> None:
    """A queue group chooses the frozen node for every other request; nobody has to notice, then or when it wakes."""
    client = node.connect()
    issuer, source = node.folder / "issuer.nk", node.folder / "steady.js"
    issuer.write_text(nkeys.Key("account").seed + "\n")
    with Second(node) as second:
        second.wait_ready(client)
        second.process.send_signal(signal.SIGSTOP)
        try:
            for version in range(1, 7):
                source.write_text(f"() => {version}")
                signed = ["--issuer", str(issuer)] if version % 2 else []
                node.run("run", str(source), "--trigger_subject=steady", *signed)
                equal(client.request("steady").data, str(version).encode())
                status = json.loads(node.run("rollout", "status", "steadyjs", "--json"))
                equal((status["generation"], status["state"]), (version, "complete"))
        finally:
            second.process.send_signal(signal.SIGCONT)
        # Its answer comes after what it was asked before.
        second.wait_ready(client)
        equal(json.loads(node.run("rollout", "status", "steadyjs", "--json"))["generation"], 6)
        equal(client.request("steady").data, b"6")
    node.undeploy("steadyjs")
    client.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="", help="path of a nats-server to run the node against")
    parser.add_argument("--only", default="", help="run the tests whose name holds this")
    arguments = parser.parse_args()
    tests = [test for name, test in globals().items() if name.startswith("test_") and arguments.only in name]
    failed = 0
    with Node(arguments.brokkr, arguments.attach, (), with_jetstream=True) as node:
        for test in tests:
            started = time.monotonic()
            try:
                test(node)
            except Exception:
                failed += 1
                print(f"FAILED {test.__name__}\n{traceback.format_exc()}")
            else:
                print(f"ok {test.__name__} ({time.monotonic() - started:.2f} s)")
        if failed:
            print(node.log())
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
