#!/usr/bin/env python3
"""Plays JetStream scripts on Brokkr and on nats-server side by side and compares every answer.

    jetstream.py --brokkr PATH                       the written scripts of jetstream/*.txt
    jetstream.py --brokkr PATH --scripts N --seed S  and N random ones; -j J in J processes
    jetstream.py --brokkr PATH --replay FILE         scripts as a failing run prints them
    --oracle PATH     the nats-server; --brokkr and --oracle may be the same to try the test itself
    --coverage        which error codes and statuses were seen
    --keep-going N    stop after N differing scripts (default 10)

jetstream/README.md describes scripts, jetstream/differences.txt the differences that are known.
"""
import argparse
import collections
import concurrent.futures
import json
import multiprocessing
import pathlib
import re
import sys
import time

import server as servers
from jetstream_script import Maker
from jetstream_session import Difference, Pair

HERE = pathlib.Path(__file__).resolve().parent / "jetstream"
CONFIG = 'jetstream { store_dir: "$FOLDER/js", max_mem: 256MB, max_file: 1GB }\nserver_name: "one"\n'


class Differences:
    """differences.txt: `operation | difference | reason`, both regular expressions; the second is searched in
    each line that `explain` prints, the first in the operation and all the lines. A difference is known when
    every line is."""

    def __init__(self, path: pathlib.Path):
        self.rows = []
        for line in path.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                operation, difference, reason = (cell.strip() for cell in line.split(" | ", 2))
                self.rows.append((re.compile(operation), re.compile(difference), reason))
        self.used: collections.Counter[str] = collections.Counter()

    def unknown(self, operation, lines: list[str]) -> list[str]:
        """Those that no row explains."""
        text, left = "\n".join([json.dumps(operation), *lines]), []
        for line in lines:
            for pattern, difference, reason in self.rows:
                if pattern.search(text) and difference.search(line):
                    self.used[reason] += 1
                    break
            else:
                left.append(line)
        return left


def parse_scripts(path: pathlib.Path) -> dict[str, list]:
    """`== name`, then one operation a line; `#` starts a comment line."""
    scripts: dict[str, list] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("== "):
            scripts[line[3:].strip()] = current = []
        elif line.startswith("["):
            try:
                current.append(json.loads(line))
            except ValueError as error:
                raise SystemExit(f"{path.name}:{number}: {error}")
    return scripts


class Runner:
    """A pair of servers that restarts when one of them ends."""

    def __init__(self, first: str, second: str, config: str = ""):
        self.binaries, self.config = (first, second), config
        self.differences = Differences(HERE / "differences.txt")
        self.seen: collections.Counter[str] = collections.Counter()
        self.start()

    def start(self) -> None:
        self.servers = [servers.Server(binary, CONFIG + self.config) for binary in self.binaries]
        self.pair = Pair(self.servers[0].address(), self.servers[1].address(), self.differences)

    def stop(self) -> None:
        self.seen.update(self.pair.seen)
        for server in self.servers:
            server.stop()

    def play(self, script: list) -> Difference | None:
        difference = self.pair.play(script)
        if any(server.process.poll() is not None for server in self.servers):
            ended = [s.log()[-1500:] for s in self.servers if s.process.poll() is not None]
            print("a server ended:", *ended, sep="\n", flush=True)
            self.stop()
            self.start()
        return difference

    def play_surely(self, script: list) -> Difference | None:
        """A difference counts when it comes twice, because a busy machine can delay one server."""
        difference = self.play(script)
        return difference and self.play(script)

    def minimise(self, script: list, seconds: float) -> tuple[list, Difference | None]:
        """Leaves out operations, then fields of bodies and headers, while the servers differ."""
        deadline = time.monotonic() + seconds
        best = self.play(script)
        if best is None:
            return script, None
        script = script[:best.index + 1]
        changed = True
        while changed and time.monotonic() < deadline:
            changed = False
            for candidate in smaller(script):
                if time.monotonic() > deadline:
                    break
                if (found := self.play(candidate)) and kind(found) == kind(best) and self.play(candidate):
                    script, best, changed = candidate, found, True
                    break
        return script, best


def kind(difference: Difference) -> str:
    text = difference.describe().split("\n", 2)[-1]
    return re.sub(r"\d+", "0", text)[:60]


def without(script: list, index: int) -> list:
    """Operation `index` is replaced by nothing that counts, so that references by number stay true."""
    return [operation if i != index else ["settle"] for i, operation in enumerate(script)]


def smaller(script: list):
    busy = [i for i, operation in enumerate(script) if operation != ["settle"]]
    for size in (len(busy) // 2, len(busy) // 4):
        for start in range(0, len(busy) - 1, max(size, 1)):
            chosen = set(busy[start:start + size]) - {busy[-1]}
            if size > 1 and chosen:
                yield [operation if i not in chosen else ["settle"] for i, operation in enumerate(script)]
    for index in busy[:-1]:
        yield without(script, index)
    for index in busy:
        for path in fields_of(script[index]):
            copy = json.loads(json.dumps(script))
            target = copy[index]
            for key in path[:-1]:
                target = target[key]
            del target[path[-1]]
            yield copy


def fields_of(operation: list):
    for position, value in enumerate(operation):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "config" and isinstance(inner, dict):
                    yield from ([position, key, field] for field in inner)
                elif key != "config":
                    yield [position, key]
        elif isinstance(value, list) and operation[0] in ("pub", "api", "direct"):
            yield from ([position, number] for number in range(len(value)))


def show(name: str, script: list, difference: Difference) -> str:
    lines = [json.dumps(operation) for operation in script if operation != ["settle"]]
    if any(operation[0] == "ack" for operation in script):
        lines = [json.dumps(operation) for operation in script]
    return "\n".join([f"== {name}", *lines, *("# " + line for line in difference.describe().split("\n"))])


def run_random(args, worker: int) -> dict:
    """The scripts of one process: seed, seed + 1, ... by turns."""
    runner = Runner(args.oracle, args.brokkr)
    result = {"scripts": 0, "operations": 0, "found": [], "flaky": 0}
    begin = time.monotonic()
    try:
        for number in range(worker, args.scripts, args.jobs):
            if args.seconds and time.monotonic() - begin > args.seconds:
                break
            seed = args.seed + number
            script = Maker(seed).make()
            result["scripts"] += 1
            result["operations"] += len(script)
            if runner.play(script) is None:
                continue
            if runner.play_surely(script) is None:
                result["flaky"] += 1
                continue
            script, difference = runner.minimise(script, args.minimise)
            if difference:
                text = show(f"seed {seed}", script, difference)
                print(text + "\n", flush=True)
                result["found"].append(text)
            else:
                result["flaky"] += 1
            if len(result["found"]) >= args.keep_going:
                break
    finally:
        runner.stop()
    return result | {"seen": runner.seen, "used": runner.differences.used}


def run_written(args) -> tuple[int, int, collections.Counter]:
    paths = [args.replay] if args.replay else [path for path in sorted(HERE.glob("*.txt")) if path.name != "differences.txt"]
    wrong = count = 0
    seen: collections.Counter[str] = collections.Counter()
    runner = Runner(args.oracle, args.brokkr)
    try:
        for path in paths:
            for name, script in parse_scripts(path).items():
                if args.k not in name:
                    continue
                count += 1
                runner.pair.go_on = args.go_on
                if args.go_on:
                    print(f"== {name}", flush=True)
                if difference := runner.play(script) if args.go_on else runner.play_surely(script):
                    wrong += 1
                    if not args.go_on:
                        print(show(name, script, difference) + "\n", flush=True)
    finally:
        runner.stop()
    return count, wrong, runner.seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--oracle", default=servers.find_oracle())
    parser.add_argument("--scripts", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="end the random scripts after this long")
    parser.add_argument("--minimise", type=float, default=10, help="seconds spent on making one script smaller")
    parser.add_argument("--replay", type=pathlib.Path)
    parser.add_argument("--keep-going", type=int, default=10)
    parser.add_argument("--go-on", action="store_true", help="print every difference of a written script")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("-k", default="", help="only written scripts whose name contains this")
    args = parser.parse_args()
    if not args.oracle:
        print("no nats-server on this machine: nothing to compare with")
        return 0
    count, wrong, seen = (0, 0, collections.Counter()) if args.scripts and not args.k else run_written(args)
    if count:
        print(f"{count} written scripts, {wrong} differ", flush=True)
    if args.scripts and not args.k:
        begin = time.monotonic()
        with concurrent.futures.ProcessPoolExecutor(args.jobs, multiprocessing.get_context("fork")) as pool:
            results = list(pool.map(run_random, [args] * args.jobs, range(args.jobs)))
        total = {key: sum(result[key] for result in results) for key in ("scripts", "operations", "flaky")}
        found = sum(len(result["found"]) for result in results)
        seconds = time.monotonic() - begin
        print(f"{total['scripts']} random scripts from seed {args.seed}, {total['operations']} operations, "
              f"{found} differ, {total['flaky']} differed once, {total['scripts'] / seconds:.0f} scripts/s")
        for result in results:
            seen.update(result["seen"])
        for reason, times in sum((result["used"] for result in results), collections.Counter()).items():
            print(f"    known difference, {times} times: {reason}")
        wrong += found
    if args.coverage:
        for key in sorted(seen):
            print(f"    {key}: {seen[key]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
