#!/usr/bin/env python3
"""Checks a workload node from outside: the control API and its mistakes, replacing and stopping
functions, logs and events, host calls, and what is left when processes die.

usage: control.py --brokkr PATH [--attach NATS_SERVER] [--cold]
"""
import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback

from node import Node, as_json

ECHO = "(subject, payload) => ({on: subject, text: String.fromCharCode(...payload)})"


def check(condition, what) -> None:
    if not condition:
        raise AssertionError(what)


def eventually(claim, what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def test_service_is_discoverable(node: Node) -> None:
    answer = as_json(node.client.request("$SRV.INFO.nexnode"))
    subjects = {endpoint["subject"] for endpoint in answer["endpoints"]}
    for subject in ("$NEX.SVC.system.control.PING", "$NEX.SVC.*.control.AUCTION",
                    f"$NEX.SVC.*.control.ADEPLOY.{node.id}", "$NEX.SVC.*.control.UNDEPLOY.*"):
        check(subject in subjects, f"{subject} is not among {subjects}")


def test_auction_bids_for_what_it_can_run(node: Node) -> None:
    bid = as_json(node.control("AUCTION", {"auction_id": "a", "agent_type": "wasm", "tags": {}}))
    check(bid["supported_lifecycles"] == ["function"], bid)
    for request in ({"agent_type": "cobol"}, {"agent_type": "v8", "tags": {"no": "such"}}):
        try:
            reply = node.control("AUCTION", request, timeout=0.3)
        except TimeoutError:
            continue
        raise AssertionError(f"a bid for {request}: {reply.data}")


def test_deploy_list_inform_stop(node: Node) -> None:
    reply = node.deploy("list1", ECHO, ["list.*"], metadata=None)
    answer = as_json(node.client.request("list.a", b"hi"))
    check(answer == {"on": "list.a", "text": "hi"}, answer)
    listed = as_json(node.control("WPING", {}))
    check([w["id"] for w in listed if w["name"] == "list1"] == [reply["id"]], listed)
    facts = node.info("list1")
    check(facts["calls"] == 1 and facts["instances"] == 1 and facts["workload_state"] == "running", facts)
    check(node.undeploy(reply["id"])["stopped"] is True, "stopped by id")
    gone = node.client.request("list.a", b"hi")
    check(gone.headers.get("Status") == "503", f"{gone.headers} {gone.data}")


def test_mistakes_are_named(node: Node) -> None:
    def refused(change: dict, text: str, run: dict | None = None, artifact: bytes = ECHO.encode(), code: int = 400):
        body = node.request_for("mistake", artifact, ["mistake"])
        body["run_request"] = json.dumps({**json.loads(body["run_request"]), **(run or {})})
        reply = node.control(f"ADEPLOY.{node.id}", {**body, **change})
        check(reply.error_code == code, f"{change} {run}: {reply.headers} {reply.data[:200]}")
        error = as_json(reply)
        check(text in error["error"], f"{text!r} is not in {error}")
        check(text.split("\n")[0] in reply.headers["Nats-Service-Error"], reply.headers)
    refused({}, "not valid base64", {"artifact": "***"})
    refused({}, "sha256", {"sha256": "00"})
    refused({}, "artifact is empty", {"artifact": "", "sha256": ""})
    refused({}, "needs a trigger", {"trigger_subjects": []})
    refused({}, "not valid", {"trigger_subjects": ["a..b"]})
    for denied in ("$SYS.REQ", "$JS.API.>", "$NEX.SVC.x", ">", "*.API.INFO"):
        refused({}, "not allowed", {"trigger_subjects": [denied]})
    refused({}, "wall_time_ms", {"limits": {"wall_time_ms": 1}})
    refused({}, "whole number", {"limits": {"wall_time_ms": "5s"}})
    refused({"workload_type": "cobol"}, "cobol")
    refused({"workload_type": "wasm"}, "no WebAssembly module")
    refused({"workload_lifecycle": "job"}, "job")
    refused({"name": "a.b"}, "a.b")
    refused({"name": ""}, '"name" is missing')
    refused({"namespace": "other"}, "not that of the subject", code=403)
    refused({"run_request": "{"}, "run_request")
    refused({}, "mistake.js:2", artifact=b"(subject, payload) => {\n  let let = 1;\n}")
    refused({}, "mistake.js:1", artifact=b"throw new Error('at load')")
    reply = node.control(f"ADEPLOY.{node.id}", b"{not json")
    check(reply.error_code == 400, reply.data)
    check(all(w["name"] != "mistake" for w in as_json(node.control("WPING", {}))), "left behind")


def test_a_broken_version_leaves_the_old_one_running(node: Node) -> None:
    node.deploy("kept", "() => 1")
    try:
        node.deploy("kept", "() => {{{")
    except RuntimeError:
        pass
    check(node.client.request("kept").data == b"1", "the old version answers")
    node.undeploy("kept")


def test_replacing_loses_and_doubles_nothing(node: Node) -> None:
    node.deploy("swap", "() => 0")
    answers, stopping = [], threading.Event()

    def ask() -> None:
        client = node.connect()
        while not stopping.is_set():
            answers.append(client.request("swap").data)
        # A doubled answer would still be on its way.
        client.flush()
        answers.extend(m.data for m in client.kept[client.inbox + ".*"])
        client.close()
    thread = threading.Thread(target=ask)
    thread.start()
    ids = set()
    for version in range(1, 6):
        ids.add(node.deploy("swap", f"() => {version}")["id"])
    eventually(lambda: answers and answers[-1] == b"5", "the last version answers")
    stopping.set()
    thread.join()
    numbers = [int(answer) for answer in answers]
    check(sorted(set(numbers))[-1] == 5 and len(ids) == 5, numbers[-10:])
    check(all(answer.isdigit() for answer in answers), "every request had an answer")
    check([w["name"] for w in as_json(node.control("WPING", {}))].count("swap") == 1, "one is listed")
    node.undeploy("swap")


def test_replicas_share_and_broadcast_does_not(node: Node) -> None:
    node.deploy("shared", "() => 1", ["share"], ns="one", queue_group="g")
    node.deploy("shared", "() => 2", ["share"], ns="two", queue_group="g")
    client = node.connect()
    for _ in range(20):
        client.request("share")
    client.flush()
    check(client.drop(client.inbox + ".*") == 0, "one answer a request")
    node.deploy("shared", "() => 2", ["share"], ns="two", broadcast=True)
    reply = client.send_request("share")
    both = {client.wait_reply(reply).data, client.wait_reply(reply).data}
    check(both == {b"1", b"2"}, both)
    for ns in ("one", "two"):
        node.undeploy("shared", ns)
    client.close()


def test_logs_and_events(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.>")
    client.flush()
    deployed = node.deploy("talker", "(s) => { console.log('out', s); console.error('err'); throw Error('x') }")
    node.client.request("talker")
    seen = {}
    while len(seen) < 3:
        message = client.next("$NEX.FEED.>")
        seen.setdefault(message.subject.split(".")[-1], []).append((message.subject, message.data))
    prefix = f"$NEX.FEED.default.logs.{deployed['id']}."
    check(seen["stdout"][0] == (prefix + "stdout", b"out talker"), seen)
    check(seen["stderr"][0] == (prefix + "stderr", b"err"), seen)
    check(json.loads(seen["WORKLOADSTARTED"][0][1])["id"] == deployed["id"], seen)
    node.undeploy("talker")
    while not (message := client.next("$NEX.FEED.>")).subject.endswith("WORKLOADSTOPPED"):
        pass
    client.close()


def test_fire_and_forget_has_no_answer(node: Node) -> None:
    client = node.connect()
    client.subscribe("$NEX.FEED.default.logs.>")
    client.flush()
    node.deploy("silent", "(s, p) => { console.log('ran'); return 'x'; }")
    node.client.publish("silent", b"x")
    check(client.next("$NEX.FEED.default.logs.>").data == b"ran", "it ran")
    node.undeploy("silent")
    client.close()


def test_host_calls(node: Node) -> None:
    node.deploy("callee", "(s, p) => ({got: p.length})")
    node.deploy("caller", """(subject, payload) => {
      const text = (b) => String.fromCharCode(...b);
      const first = this.messaging.request("callee", "abc");
      let none = "", denied = "";
      try { this.messaging.request("nobody.listens", "x"); } catch (e) { none = e.code; }
      try { this.messaging.publish("$SYS.REQ.SERVER.PING", "x"); } catch (e) { denied = e.code; }
      this.messaging.publish("caller.out", "published");
      return {first: text(first.data ?? first), none, denied};
    }""")
    client = node.connect()
    client.subscribe("caller.out")
    client.flush()
    answer = as_json(node.client.request("caller"))
    check(answer == {"first": '{"got":3}', "none": 503, "denied": 403}, answer)
    check(client.next("caller.out").data == b"published", "published")
    node.deploy("async-caller", """export default { async message(msg, env) {
      const all = await Promise.all([1, 2, 3].map((n) => env.messaging.request("callee", "x".repeat(n))));
      return all.length + "";
    } }""")
    answer = node.client.request("async-caller")
    check(answer.data == b"3", f"{answer.headers} {answer.data}")
    for name in ("callee", "caller", "async-caller"):
        node.undeploy(name)
    client.close()


def test_asynchronous_calls_run_side_by_side(node: Node) -> None:
    node.deploy("slow", "export default { async message() {"
                " await new Promise((done) => setTimeout(done, 200)); return 'done'; } }")
    started = time.monotonic()
    replies = [node.client.send_request("slow") for _ in range(20)]
    check(all(node.client.wait_reply(reply).data == b"done" for reply in replies), "all done")
    check(time.monotonic() - started < 2, "twenty of 200 ms each took far longer than one")
    node.undeploy("slow")


def test_a_full_queue_answers_at_once(node: Node) -> None:
    node.deploy("full", "() => { const end = Date.now() + 300; while (Date.now() < end); return 1; }",
                limits={"in_flight": 1, "queue": 2})
    replies = [node.client.send_request("full") for _ in range(8)]
    codes = sorted(node.client.wait_reply(reply).error_code for reply in replies)
    check(codes == [0, 0, 0, 503, 503, 503, 503, 503], codes)
    node.undeploy("full")


def test_several_instances_share_the_work(node: Node) -> None:
    node.deploy("wide", "() => { const end = Date.now() + 100; while (Date.now() < end); return 1; }",
                limits={"in_flight": 1, "max_instances": 3})
    for _ in range(3):
        replies = [node.client.send_request("wide") for _ in range(6)]
        check(all(node.client.wait_reply(reply).data == b"1" for reply in replies), "answers")
    check(node.info("wide")["instances"] == 3, node.info("wide"))
    node.undeploy("wide")


def test_environment_reaches_the_function(node: Node) -> None:
    node.deploy("env", "export default { message(m, env) { return `${env.vars?.A ?? env.A}`; } }",
                environment={"A": "b c"})
    check(node.client.request("env").data == b"b c", node.client.request("env").data)
    node.undeploy("env")


def instances_of(node: Node) -> list[int]:
    """Processes that hold a function: leaves of the process tree."""
    children = node.children()
    return [pid for pid in children
            if not open(f"/proc/{pid}/task/{pid}/children").read().split()]


def test_a_killed_instance_is_answered_and_replaced(node: Node) -> None:
    node.deploy("victim", "(s, p) => { if (p.length) for (;;); return 1; }", ns="lonely")
    before = set(instances_of(node))
    check(node.client.request("victim").data == b"1", "works")
    reply = node.client.send_request("victim", b"hang")
    eventually(lambda: node.info("victim", "lonely")["in_flight"] == 1, "it hangs")
    victims = [pid for pid in before if is_busy(pid)]
    check(len(victims) == 1, victims)
    os.kill(victims[0], signal.SIGKILL)
    answer = node.client.wait_reply(reply)
    check(answer.error_code == 502 and b"signal 9" in answer.data, f"{answer.headers} {answer.data}")
    check(node.client.request("victim").data == b"1", "the next instance answers")
    check(node.info("victim", "lonely")["restarts"] == 1, "one restart")
    node.undeploy("victim", "lonely")


def is_busy(pid: int) -> bool:
    def ticks() -> int:
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    first = ticks()
    time.sleep(0.3)
    return ticks() - first >= 3


def test_a_killed_zygote_comes_back(node: Node) -> None:
    node.deploy("reborn", "() => 1", ns="mortal")
    zygotes = [pid for pid in node.children() if "--namespace=mortal" in command_of(pid)]
    os.kill(zygotes[0], signal.SIGKILL)

    def answers() -> bool:
        reply = node.client.request("reborn", timeout=8)
        check(reply.data == b"1" or reply.error_code in (502, 503), f"{reply.headers} {reply.data}")
        return reply.data == b"1"
    eventually(answers, "the function answers again", 20)
    node.undeploy("reborn", "mortal")


def command_of(pid: int) -> str:
    try:
        return open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
    except OSError:
        return ""


def test_functions_are_confined(node: Node) -> None:
    node.deploy("caged", "() => 1", ns="cage")
    # The function's, and one that was forked ahead for the next.
    inside = [pid for pid in instances_of(node) if "--namespace=cage" in command_of(pid)]
    check(1 <= len(inside) <= 2, inside)
    layers = node.node_info()["sandbox_layers"]
    for pid in inside:
        check_is_confined(pid, layers)
    node.undeploy("caged", "cage")


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status") if ":\t" in line)


def check_is_confined(pid: int, layers: list[str]) -> None:
    if "seccomp" in layers:  # the last layer a new process takes on
        eventually(lambda: status_of(pid)["Seccomp"].strip() == "2", f"seccomp of {pid}")
    status = status_of(pid)
    if "no capabilities" in layers:
        check(int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0, status["CapEff"])
    if "unprivileged user" in layers:
        check(status["Uid"].split()[0] != "0", status["Uid"])
    check(status["NoNewPrivs"].strip() == "1", status["NoNewPrivs"])
    if os.geteuid() == 0:
        kinds = sorted(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd"))
        check(kinds.count("socket") == 1 and set(kinds) <= {"socket", "/dev/null", "/null"}, kinds)


def test_lameduck_takes_nothing_more(node: Node) -> None:
    node.deploy("last", "() => 1")
    reply = as_json(node.control(f"LAMEDUCK.{node.id}", {"delay": "0s"}, "system"))
    check(reply["success"] is True, reply)
    body = node.request_for("late", b"() => 1", ["late"])
    check(node.control(f"ADEPLOY.{node.id}", body).error_code == 503, "no more deployments")
    eventually(lambda: as_json(node.control("WPING", {})) == [], "functions stop")


def leaves_nothing(brokkr: str, attach: str, flags: tuple[str, ...], how: str) -> None:
    """However the node ends, no process of it is left."""
    with Node(brokkr, attach, flags) as node:
        for i in range(3):
            node.deploy(f"f{i}", "(s, p) => { if (p.length) for (;;); return 1; }")
        node.client.publish("f0", b"hang")
        node.client.flush()
        below = node.children()
        check(len(below) >= 4, below)
        os.kill(node.pid, getattr(signal, how))
        node.processes[-1].wait(20)
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below),
                   f"{how}: processes end")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="", help="path of a nats-server to run the node against")
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    flags = ("--cold-start",) if arguments.cold else ()
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    failed = 0

    def run(name: str, body) -> None:
        nonlocal failed
        started = time.monotonic()
        try:
            body()
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
        else:
            print(f"ok {name} ({time.monotonic() - started:.2f} s)")
    with Node(arguments.brokkr, arguments.attach, flags) as node:
        for test in tests:
            run(test.__name__, lambda test=test: test(node))
        if failed:
            print(node.log())
    for how in ("SIGTERM", "SIGKILL"):
        run(f"leaves_nothing {how}",
            lambda how=how: leaves_nothing(arguments.brokkr, arguments.attach, flags, how))
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
