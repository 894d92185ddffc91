#!/usr/bin/env python3
"""JetStream goes away and comes back, the connections of the workload nodes stay.

usage: outage.py --brokkr PATH --nats-server PATH [--nodes 3] [--workloads 6] [--replicas 2] [--seconds 12] [--seed N]

Three nats-servers; all nodes are connected to the last one. The two others are killed for `--seconds`: no stream has
a leader, so nobody can take anything over, and every copy must run all the time, and go on after the servers are back
without having been started again. Then the same once more, and one node is cut off meanwhile: whoever cannot ask it
stops, and afterwards there must be exactly what is declared, never more.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "support")]
from nats_client import NatsError  # noqa: E402
from nodes import Trial, conduct  # noqa: E402

BACK_SECONDS = 40


class Outage(Trial):
    def copies(self) -> dict[str, str]:
        """Ids of the copies that run, by node."""
        found = {}
        for part in self.many("$NEX.SVC.default.control.WPING"):
            for one in part:
                found[one["id"]] = one["name"]
        return found

    def take_servers(self) -> None:
        for process in self.cluster.processes[:2]:
            process.kill()
            process.wait()

    def return_servers(self) -> None:
        for index in range(2):
            with open(self.folder / f"s{index}.log", "ab") as log:
                self.cluster.processes[index] = subprocess.Popen(
                    [self.arguments.nats_server, "-c", str(self.folder / f"s{index}.conf")], stdout=log, stderr=log)

    def is_answered(self) -> bool:
        """Only a leader answers this."""
        try:
            body = json.dumps({"last_by_subj": "$KV.NEX_SLOTS.default.w0.0"}).encode()
            return b"message" in self.client.request("$JS.API.STREAM.MSG.GET.KV_NEX_SLOTS", body, 2).data
        except (TimeoutError, NatsError):
            return False

    def starts(self) -> dict[str, int]:
        return {f"{one['name']}.{slot['slot']}": slot.get("restarts", 0)
                for part in self.many("$NEX.SVC.default.control.STATUS") for one in part for slot in one["slots"]}

    def hold(self, seconds: float, before: dict[str, str], what: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = self.copies()
            if now != before:
                raise AssertionError(f"{what}: ended {before.keys() - now.keys()}, new {now.keys() - before.keys()}")

    def run(self) -> None:
        self.client.close()
        self.cluster.ports.reverse()  # the client's server stays
        self.client = self.cluster.client()
        for index in range(self.arguments.workloads):
            self.declared[f"w{index}"] = self.arguments.replicas
            self.deploy(f"w{index}", self.arguments.replicas)
        self.wait("all run", lambda: self.counts() == self.declared, 120)
        self.wait("all is settled", lambda: all(
            one["state"] == "complete" for part in self.many("$NEX.SVC.default.control.STATUS") for one in part), 60)
        before, starts = self.copies(), self.starts()
        self.take_servers()
        self.hold(self.arguments.seconds, before, "during the outage")
        if self.is_answered():
            raise AssertionError("JetStream was not away")
        self.return_servers()
        begun = time.monotonic()
        while not self.is_answered():
            self.hold(0.2, before, "while the servers come back")
            if time.monotonic() - begun > BACK_SECONDS:
                raise AssertionError("the desired state does not come back")
        self.hold(8, before, "after the outage")
        if (after := self.starts()) != starts:
            raise AssertionError(f"started again: {starts} {after}")
        print(f"ok {len(before)} copies ran through {self.arguments.seconds} s without JetStream", flush=True)
        self.with_a_cut()

    def with_a_cut(self) -> None:
        self.take_servers()
        time.sleep(5)
        victim = self.random.choice(self.nodes)
        victim.hit("cut")
        self.wait("nobody runs what another might have", lambda: not self.copies(), 10)
        self.return_servers()
        self.wait("back without the node", lambda: not self.missing(), BACK_SECONDS)
        victim.heal("cut")
        healed = time.monotonic()
        while time.monotonic() - healed < 3:
            if more := self.surplus(self.counts()):
                raise AssertionError(f"too many after the heal: {more}")
        self.wait("exactly what is declared", lambda: self.counts() == self.declared, 20)
        print(f"ok {victim.name} was cut off meanwhile", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--nats-server", required=True)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--workloads", type=int, default=6)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    arguments.many = 0
    print(f"seed {arguments.seed}", flush=True)
    return conduct(lambda: Outage(arguments, attach=2), Outage.run)


if __name__ == "__main__":
    sys.exit(main())
