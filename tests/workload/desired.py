#!/usr/bin/env python3
"""Desired state: what is deployed is there after a restart, is scaled, updated, rolled back, moved, drained.

usage: desired.py --brokkr BROKKR [--attach NATS_SERVER] [--nodes N]
"""
import argparse
import base64
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from nats_client import NatsClient, as_json  # noqa: E402

PATIENCE_SECONDS = 40
LISTENING = re.compile(r"Listening for client connections on [\d.]+:(\d+)")
ECHO = "(s, p) => 'VERSION'"


def check(truth: object, what: object) -> None:
    if not truth:
        raise AssertionError(what)


def until(what: str, probe, seconds: float = PATIENCE_SECONDS):
    deadline = time.monotonic() + seconds
    while True:
        last = probe()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Place:
    """A server with JetStream and nodes attached to it; the server may be Brokkr, whose own node is the first."""

    def __init__(self, brokkr: str, attach: str = "", nodes: int = 1):
        self.brokkr, self.attach = brokkr, attach
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="desired-"))
        self.port = 0
        self.server: subprocess.Popen | None = None
        self.nodes: dict[str, subprocess.Popen] = {}
        try:
            self.start_server()
            for index in range(nodes):
                if index > 0 or attach:
                    self.start_node(f"n{index}")
            self.client = NatsClient("127.0.0.1", self.port, PATIENCE_SECONDS)
            until("nodes answer", lambda: len(self.pings()) == nodes)
            until("the desired state is there", lambda: self.ask("STATUS").data.startswith(b"["))
            for name, node in self.pings().items():  # each is known to the others when it takes this
                self.apply(f"probe-{name}", ECHO, node=node)
                self.get(f"UNDEPLOY.probe-{name}")
        except BaseException:
            self.stop()
            raise

    def start_server(self) -> None:
        port = str(self.port or -1)
        data = str(self.folder / "server")
        command = ([self.attach, "-a", "127.0.0.1", "-p", port, "-js", "-sd", data] if self.attach else
                   [self.brokkr, "up", "-a", "127.0.0.1", "-p", port, "--data", data, "--node-name", "n0"])
        log = self.folder / "server.log"
        log.write_bytes(b"")
        self.server = self.spawn(command, log)
        found = until("the server listens", lambda: LISTENING.search(log.read_text(errors="replace")))
        self.port = int(found[1])

    def spawn(self, command: list[str], log: pathlib.Path) -> subprocess.Popen:
        with open(log, "ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def start_node(self, name: str, *flags: str) -> None:
        self.nodes[name] = self.spawn(
            [self.brokkr, "node", "up", "-s", f"nats://127.0.0.1:{self.port}", "--data",
             str(self.folder / name), "--node-name", name, *flags], self.folder / f"{name}.log")

    def end(self, process: subprocess.Popen, kill: bool) -> None:
        (process.kill if kill else process.terminate)()
        process.wait(30)

    def restart_first(self, kill: bool) -> None:
        """The node alone where it can be, else the server with it."""
        if self.attach:
            self.end(self.nodes["n0"], kill)
            self.start_node("n0")
            return
        self.client.close()
        self.end(self.server, kill)
        self.start_server()
        self.client = NatsClient("127.0.0.1", self.port, PATIENCE_SECONDS)

    def ask(self, verb: str, body: dict | None = None, ns: str = "default", timeout: float = PATIENCE_SECONDS):
        return self.client.request(f"$NEX.SVC.{ns}.control.{verb}", json.dumps(body or {}).encode(), timeout)

    def get(self, verb: str, body: dict | None = None, ns: str = "default") -> dict:
        reply = self.ask(verb, body, ns)
        check(not reply.error_code, f"{verb}: {reply.data!r}")
        return as_json(reply)

    def pings(self) -> dict[str, str]:
        """Name -> id of the nodes that answer."""
        inbox = self.client.send_request("$NEX.SVC.system.control.PING", b"{}")
        found: dict[str, str] = {}
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            try:
                ping = as_json(self.client.wait_reply(inbox, 0.1))
            except Exception:  # no further answer
                break
            if "node_id" in ping:
                found[ping["name"]] = ping["node_id"]
        return found

    def deploy_body(self, name: str, source: str, ns: str = "default", **run) -> dict:
        run = {"artifact": base64.b64encode(source.encode()).decode(), "trigger_subjects": [name], **run}
        return {"name": name, "namespace": ns, "workload_type": "v8", "workload_lifecycle": "function",
                "run_request": json.dumps(run)}

    def apply(self, name: str, source: str, replicas: int = 1, **options) -> dict:
        ns = options.pop("ns", "default")
        body = {"deploy": self.deploy_body(name, source, ns), "replicas": replicas, **options}
        return self.get("APPLY", body, ns)

    def call(self, subject: str) -> bytes:
        return self.client.request(subject, b"", 5).data

    def log(self) -> str:
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
                       for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in [*self.nodes.values(), self.server]:
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def test_replicas_scale_and_spread(place: Place) -> None:
    status = place.apply("wide", ECHO.replace("VERSION", "1"), 2)
    check(status["state"] == "complete" and status["running"] == 2, status)
    nodes = len(place.pings())
    check(len({slot["node"] for slot in status["slots"]}) == min(2, nodes), "on different nodes")
    status = place.get("SCALE.wide", {"replicas": 5})
    check(status["running"] == 5 and len(status["slots"]) == 5, status)
    status = place.get("SCALE.wide", {"replicas": 1})
    check(status["running"] == 1 and len(status["slots"]) == 1, status)
    check(place.ask("SCALE.nobody", {"replicas": 1}).error_code == 404, "an unknown one is refused")
    check(place.get("UNDEPLOY.wide")["stopped"], "it stops")


def test_an_update_rolls_and_rolls_back(place: Place) -> None:
    place.apply("roll", ECHO.replace("VERSION", "1"), 3)
    status = place.apply("roll", ECHO.replace("VERSION", "2"), 3)
    check(status["state"] == "complete" and status["updated"] == 3 and status["generation"] == 2, status)
    # The copy it replaced may be stopping still.
    until("the new one answers", lambda: place.call("roll") == b'"2"', 1)
    same = place.apply("roll", ECHO.replace("VERSION", "2"), 3)
    check(same["generation"] == 2, "the same again changes nothing")
    status = place.apply("roll", "this is (no function", 3)
    check(status["state"] == "failed" and status["message"], status)
    check({slot["generation"] for slot in status["slots"]} == {2}, "the old one runs on")
    check(place.call("roll") == b'"2"', "and answers")
    first = place.get("STATUS.roll")["revisions"][-1]
    status = place.get("ROLLBACK.roll", {"sha256": first["sha256"]})
    check(status["state"] == "complete", status)
    until("the first revision answers", lambda: place.call("roll") == b'"1"', 1)
    check(place.ask("ROLLBACK.roll", {"generation": 77}).error_code == 404, "an unknown one is refused")
    place.get("UNDEPLOY.roll")


def test_a_bad_deploy_changes_nothing(place: Place) -> None:
    node = place.pings()["n0"]
    place.get(f"ADEPLOY.{node}", place.deploy_body("bad", ECHO))
    reply = place.ask(f"ADEPLOY.{node}", place.deploy_body("bad", "no ("))
    check(reply.error_code == 400, reply.data)
    check(place.get("STATUS.bad")["generation"] == 1, "still the first")
    check(place.call("bad") == b'"VERSION"', "it answers")
    place.get("UNDEPLOY.bad")


def test_deploys_to_all_nodes_at_once_follow_each_other(place: Place) -> None:
    nodes = list(place.pings().values())
    accepted = 0
    for turn in range(8):
        inboxes = [place.client.send_request(
            f"$NEX.SVC.default.control.ADEPLOY.{node}",
            json.dumps(place.deploy_body("raced", ECHO.replace("VERSION", f"{turn}.{index}"))).encode())
            for index, node in enumerate(nodes)]
        replies = [place.client.wait_reply(inbox, PATIENCE_SECONDS) for inbox in inboxes]
        accepted += sum(not reply.error_code for reply in replies)
        check(any(not reply.error_code for reply in replies), [reply.data for reply in replies])

    def is_settled() -> bool:
        status = place.get("STATUS.raced")
        check(status["generation"] == accepted, f"{accepted} were accepted: {status}")
        return status["state"] == "complete" and status["running"] == 1
    until("one copy of the last is left", is_settled)
    answers = {place.call("raced") for _ in range(10)}
    check(len(answers) == 1 and next(iter(answers)).startswith(b'"7.'), answers)
    place.get("UNDEPLOY.raced")


def test_namespaces_have_quotas(place: Place) -> None:
    record = {"namespace": "tight", "workloads_max": 1, "replicas_max": 2}
    place.get("NAMESPACES", {"action": "set", "record": record}, "system")
    place.apply("one", ECHO, 2, ns="tight")
    reply = place.ask("APPLY", {"deploy": place.deploy_body("two", ECHO, "tight")}, "tight")
    check(reply.error_code == 403 and b"quota" in reply.data, reply.data)
    check(place.ask("SCALE.one", {"replicas": 3}, "tight").error_code == 400, "no third replica")
    found = place.get("NAMESPACES", {"action": "get", "record": {"namespace": "tight"}}, "system")["namespaces"]
    check(found[0]["replicas"] == 2 and found[0]["replicas_max"] == 2, found)
    place.get("UNDEPLOY.one", {}, "tight")
    place.get("NAMESPACES", {"action": "remove", "record": {"namespace": "tight"}}, "system")


def test_moves_and_drains_leave_no_gap(place: Place) -> None:
    nodes = place.pings()
    if len(nodes) < 2:
        return
    status = place.apply("mover", ECHO.replace("VERSION", "m"), 1)
    owner = status["slots"][0]["node"]
    other = next(node for node in nodes.values() if node != owner)
    status = place.get("MOVE.mover", {"node": other})
    check(status["slots"][0]["node"] == other, status)
    check(place.call("mover") == b'"m"', "it answers there")
    place.get(f"DRAIN.{other}", {"delay": "30s"}, "system")

    def is_moved() -> bool:
        check(place.call("mover") == b'"m"', "it always answers")
        slot = place.get("STATUS.mover")["slots"][0]
        return slot["node"] != other and slot["state"] == "running"
    until("it was handed over", is_moved, 15)
    place.get(f"DRAIN.{other}", {"cancel": True}, "system")
    place.get("UNDEPLOY.mover")


def test_clones_can_be_deployed(place: Place) -> None:
    place.apply("twin", ECHO.replace("VERSION", "t"))
    body = place.get("CLONE.twin")
    body["name"] = "twin2"
    node = place.pings()["n0"]
    place.get(f"ADEPLOY.{node}", body)
    check(place.call("twin") == b'"t"', "the clone listens on the same subject")
    check({one["name"] for one in place.get("STATUS")} >= {"twin", "twin2"}, "both are listed")
    for name in ("twin", "twin2"):
        place.get(f"UNDEPLOY.{name}")


def test_a_deploy_is_there_after_a_restart(place: Place) -> None:
    node = place.pings()["n0"]
    reply = place.get(f"ADEPLOY.{node}", place.deploy_body("kept", ECHO.replace("VERSION", "1")))
    check(place.call("kept") == b'"1"', "it answers")
    status = place.get("STATUS.kept")
    check(status["state"] == "complete" and status["generation"] == 1, status)
    for kill in (False, True):
        place.restart_first(kill)
        until("it answers again", lambda: place.call("kept") == b'"1"', 15)
        until("the node is the same", lambda: place.pings().get("n0") == node)
        listed = until("it is listed", lambda: as_json(place.ask("WPING.kept")))
        check(listed[0]["id"] == reply["id"], "its id is the same")
    check(place.get("UNDEPLOY.kept")["stopped"], "it stops")
    check(place.ask("STATUS.kept").error_code == 404, "it is gone")
    place.restart_first(False)
    until("the node is back", lambda: "n0" in place.pings())
    check(place.ask("kept", timeout=2).data == b"", "nothing answers")


def test_a_job_runs_once(place: Place) -> None:
    body = place.deploy_body("sum", "")
    body["workload_type"], body["workload_lifecycle"] = "native", "job"
    script = pathlib.Path("/bin/echo").read_bytes()
    body["run_request"] = json.dumps({"artifact": base64.b64encode(script).decode(), "argv": ["forty-two"]})
    reply = place.ask("APPLY", {"deploy": body})
    if reply.error_code:
        check(b"unknown-type" in reply.data, reply.data)
        return

    def is_done() -> dict | None:
        slot = place.get("STATUS.sum")["slots"][0]
        return slot if slot["state"] == "completed" else None
    slot = until("the job is done", is_done)
    check(slot["exit_code"] == 0 and "forty-two" in slot["result"], slot)
    place.restart_first(True)
    until("the node is back", lambda: "n0" in place.pings())
    until("the desired state is back", lambda: not place.ask("STATUS").error_code)
    again = until("still done", is_done)
    check(again["since"] == slot["since"] and again["restarts"] == slot["restarts"], again)
    place.get("UNDEPLOY.sum")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--attach", default="")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    failed = False
    place = Place(arguments.brokkr, arguments.attach, arguments.nodes)
    try:
        for name, test in list(globals().items()):
            if not name.startswith("test_") or arguments.only not in name:
                continue
            begun = time.monotonic()
            try:
                test(place)
                print(f"ok {name} ({time.monotonic() - begun:.2f} s)", flush=True)
            except Exception:
                failed = True
                print(f"FAILED {name}\n{traceback.format_exc()}\n{place.log()}", flush=True)
                break
    finally:
        place.stop()
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
