#!/usr/bin/env python3
"""Makes one system call of the server fail and looks whether it still tells the truth.

usage: eio.py --brokkr PATH [--points 12 | --all N]

strace makes the n-th fdatasync, fsync or write of a file fail with EIO (or ENOSPC). Messages are
published one at a time, so each needs a sync of its own. No message may be acknowledged whose sync or
write failed; when the log's failed nothing is acknowledged any more, publishes are refused in words and
/healthz says so with 503; reads and core messages go on. Afterwards the server is killed, and a start
without faults has every acknowledged message. Skipped without strace.
"""
import argparse
import re
import shutil
import subprocess
import sys
import time

from storage_server import SKIP, StorageServer, api, as_json, lost_sequences, make_stream, must, read_stream

FAULTS = (("fdatasync", "EIO"), ("pwrite64", "EIO"), ("fsync", "EIO"), ("pwrite64", "ENOSPC"))
MESSAGES = 40
LINE = re.compile(r"(\w+)\(\d+<([^>]*)>.*= (-?\d+)(.*)")


def can_trace() -> bool:
    return shutil.which("strace") is not None and subprocess.run(
        ["strace", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


def check_core(server: StorageServer) -> None:
    client = server.connect()
    client.subscribe("core")
    client.publish("core", b"x")
    client.next("core", 5)
    client.close()


def publish(server: StorageServer, acked: dict[int, bytes], problems: list[str]) -> tuple[int, int]:
    """Until all are sent or two publishes in a row have no answer. Returns refusals and silences."""
    client = server.connect()
    refused = silent = 0
    for number in range(MESSAGES):
        body = b"%d " % number + b"x" * 3000
        try:
            answer = as_json(client.request("eio.x", body, timeout=1))
        except TimeoutError:
            silent += 1
            if silent > 1:
                break
            continue
        if "error" in answer:
            refused += 1
            if refused > 3:
                break
        else:
            acked[answer["seq"]] = body
    client.close()
    return refused, silent


def run_point(brokkr: str, call: str, code: str, when: int) -> tuple[str, list[str]]:
    """What happened, in a word, and problems."""
    problems: list[str] = []
    with StorageServer(brokkr) as server:
        server.start()
        client = server.connect()
        make_stream(client, "EIO", ["eio.*"])
        acked: dict[int, bytes] = {}
        publish(server, acked, problems)
        client.close()
        server.kill()
        trace = server.folder / "trace.txt"
        server.prefix = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fdatasync,fsync,pwrite64",
                         "-e", f"inject={call}:error={code}:when={when}"]
        what = "no start"
        before = len(acked)
        try:
            server.start()
        except RuntimeError:
            pass
        else:
            refused, silent = publish(server, acked, problems)
            health, text = server.health()
            check_core(server)
            calls = [match.groups() for match in map(LINE.search, trace.read_text(errors="replace").splitlines()) if match]
            hit = [path for name, path, _, rest in calls if "INJECTED" in rest]
            is_log = any(path.endswith(".wal") for path in hit)
            syncs = sum(name == "fdatasync" and path.endswith((".wal", ".spare", ".new")) and result == "0"
                        for name, path, result, _ in calls)
            if len(acked) - before > syncs:
                problems.append(f"{len(acked) - before} acknowledged, {syncs} syncs of the log")
            what = "said so" if health != 200 else "went on" if hit else "not reached"
            if health != 200 and refused == 0:
                problems.append(f"the log has failed and no publish was refused in words ({silent} without an answer)")
            if health == 200 and (refused > 3 or silent > 1):
                # A try that failed once may be made good by now.
                time.sleep(2)
                refused, silent = publish(server, acked, problems)
                what = "healed"
                if refused or silent:
                    problems.append(f"/healthz says {text} and publishes are refused")
            if is_log and code == "EIO" and health == 200:
                problems.append(f"{hit} failed and /healthz says {text}")
            server.kill()
        server.kill()
        server.prefix = []
        server.start()
        client = server.connect()
        assert server.health()[0] == 200, server.health()
        state = must(api(client, "STREAM.INFO.EIO"))["state"]
        if lost_sequences(state):
            problems.append(f"lost {lost_sequences(state)}")
        found = read_stream(client, "EIO")
        for seq, body in acked.items():
            if seq not in found or found[seq].data != body:
                problems.append(f"{seq} was acknowledged and is {'changed' if seq in found else 'gone'}")
        answer = as_json(client.request("eio.x", b"afterwards"))
        if answer.get("seq", 0) <= max(acked):
            problems.append(f"afterwards: {answer}")
    return what, problems


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--points", type=int, default=12, help="how many of the first hundred calls, evenly")
    parser.add_argument("--all", type=int, default=0, help="each of the first so many calls")
    args = parser.parse_args()
    if not can_trace():
        print("skipped: no strace")
        sys.exit(SKIP)
    points = [(call, code, when) for call, code in FAULTS for when in range(1, args.all + 1)]
    if not args.all:
        each = max(args.points // len(FAULTS), 1)
        points = [(call, code, 1 + i * 37 // each) for call, code in FAULTS for i in range(each)]
    counts: dict[str, int] = {}
    bad = 0
    for call, code, when in points:
        what, problems = run_point(args.brokkr, call, code, when)
        counts[what] = counts.get(what, 0) + 1
        for problem in problems[:4]:
            print(f"{call} {when} {code}, {what}: {problem}", flush=True)
        bad += bool(problems)
    print(f"{len(points)} faults ({', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}): "
          f"{bad} with problems")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
