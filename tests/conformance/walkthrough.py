#!/usr/bin/env python3
"""The real `nats` CLI walks through its stream, consumer, kv and object commands against two servers.

    walkthrough.py --brokkr PATH [--oracle PATH] [--nats PATH] [-k TEXT] [-v]

walkthrough.txt holds the commands; output and exit codes must be equal once ids, times and rates are masked.
`[group]` starts with an empty server, `1.5s words` interrupts after that time, ` <<< text` is standard input,
`! words` runs a shell command in the folder of the group, `swap NAME` exchanges a file of both servers' folders,
so that one restores what the other backed up. Commands run in the folder.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

import server as servers

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = 'jetstream { store_dir: "$FOLDER/js", max_mem: 256MB, max_file: 1GB }\nserver_name: "one"\n'
PATIENCE_SECONDS = 30
MASKS = [
    (r"nats://127\.0\.0\.1:\d+", "URL"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( [+-]\d{4} \w+)?", "TIME"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\d{4}/\d\d/\d\d", "DATE"),
    (r"\b(\d+d)?(\d+h)?(\d+m)?\d+(\.\d+)?(ns|µs|ms|s)\b", "DURATION"),
    (r"[\d.]+K?/s\b", "RATE"),
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"Received [\d.]+ \w+ compressed", "Received SIZE compressed"),
    (r"[\d.]+ \w+ uncompressed", "SIZE uncompressed"),
    (r"stream\.(tar|arc)\.s2", "stream.ARCHIVE"),  # named after the API level
    (r"(Connected Address|Connected Server ID|Client ID|RTT): .*", r"\1: N"),
    (r"(Nats-Stream-Source: \S+ \d+ \S+ \S+ \S+) \w{8}$", r"\1"),
    (r"_INBOX\.\S+", "INBOX"),
    (r"\b[0-9A-Za-z]{22}\b", "NUID"),
    (r"\b\d{19}\b", "NANOSECONDS"),
    (r"[\d.]+ ?[KMG]?i?B/s(ec)?", "RATE"),
    (r"(\"(created|ts|first_ts|last_ts|last_active|time|pinned_ts|mtime)\": )\"[^\"]*\"", r'\1"TIME"'),
    (r"(\"(pause_remaining|active|age|rtt|_nats.ver)\": )(-?\d+|\"[^\"]*\")", r"\1N"),
    (r"(_nats\.ver: |Host Version: )\S+", r"\1V"),
    # Brokkr tells the API level it has complete, and how to get what needs a cluster.
    (r"(hosted at level|API Level:|\"_nats.level\":|\"level\":) \"?[25]\"?", r"\1 N"),
    (r" \(this server does not cluster:.*?API\"\)", ""),
    (r"walk-\w+", "FOLDER"),
    (r"[─━]+", "─"),
    (r" +", " "),
]


def mask(text: str, names: dict[str, str]) -> str:
    for name, alias in names.items():
        text = text.replace(name, alias)
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.replace(" \n", "\n")


def parse(path: pathlib.Path) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if match := re.match(r"^\[(.+)\]$", line):
            groups[match[1]] = commands = []
        elif line.strip() and not line.startswith("#"):
            commands.append(line)
    return groups


class Walker:
    """The CLI with a home and a folder of its own against one server."""

    def __init__(self, nats: str, binary: str):
        self.nats = nats
        self.server = servers.Server(binary, CONFIG)
        self.folder = tempfile.mkdtemp(prefix="walk-")
        self.environment = dict(os.environ, NATS_URL=self.server.url(), HOME=self.folder, LINES="50", COLUMNS="120",
                                XDG_CONFIG_HOME=self.folder + "/.config", NO_COLOR="1", EDITOR="true", TZ="UTC", NATS=nats)

    def run(self, line: str) -> tuple[str, str, int]:
        line, _, stdin = line.partition(" <<< ")
        seconds = re.match(r"^([\d.]+)s ", line)
        if line.startswith("! "):
            command = ["bash", "-c", line[2:]]
        else:
            command = [self.nats, *shlex.split(line[seconds.end():] if seconds else line)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   cwd=self.folder, env=self.environment, errors="replace", start_new_session=True)
        try:
            out, err = process.communicate(stdin.replace("\\n", "\n"), float(seconds[1]) if seconds else PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT if seconds else signal.SIGKILL)
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
            return mask(out, {}), mask(err, {}), 0 if seconds else -1
        return mask(out, {}), mask(err, {}), process.returncode

    def stop(self) -> None:
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def walk(args, name: str, lines: list[str], pool) -> tuple[int, int]:
    walkers = [Walker(args.nats, binary) for binary in (args.oracle, args.brokkr)]
    wrong = 0
    try:
        for line in lines:
            if line.startswith("swap "):
                swap(*(pathlib.Path(walker.folder) / line[5:] for walker in walkers))
                continue
            first, second = pool.map(lambda walker: walker.run(line), walkers)
            if args.v:
                print(f"-- {line}\n{first[0]}{first[1]}({first[2]})", flush=True)
            if first != second:
                wrong += 1
                print(f"DIFFERENT [{name}] nats {line}\n" + show(first, second), flush=True)
    finally:
        for walker in walkers:
            walker.stop()
    return len(lines), wrong


def swap(first: pathlib.Path, second: pathlib.Path) -> None:
    aside = first.with_name(first.name + ".aside")
    if first.exists() and second.exists():
        first.rename(aside)
        shutil.move(second, first)
        shutil.move(aside, second)


def show(first, second) -> str:
    """The lines only one of them printed."""
    lines = []
    for label, a, b in zip(("out", "err"), first, second):
        mine, theirs = a.split("\n"), b.split("\n")
        lines += [f"    {label} wanted {line}" for line in mine if line not in theirs]
        lines += [f"    {label} got    {line}" for line in theirs if line not in mine]
    if first[2] != second[2]:
        lines.append(f"    exit code wanted {first[2]}, got {second[2]}")
    return "\n".join(lines or ["    the same lines in another order or number"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--oracle", default=servers.find_oracle())
    parser.add_argument("--nats", default=find_cli())
    parser.add_argument("-k", default="")
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    if not args.oracle or not args.nats:
        print("no nats-server or no nats CLI on this machine: nothing to compare with")
        return 0
    count = wrong = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, lines in parse(HERE / "walkthrough.txt").items():
            if args.k in name:
                ran, differ = walk(args, name, lines, pool)
                count, wrong = count + ran, wrong + differ
    print(f"{count} commands, {wrong} differ")
    return 1 if wrong else 0


def find_cli() -> str | None:
    deps = HERE.parents[1] / ".deps" / "peers" / "bin" / "nats"
    for path in (os.environ.get("NATS_CLI"), str(deps), shutil.which("nats")):
        if path and os.access(path, os.X_OK):
            return path
    return None


if __name__ == "__main__":
    sys.exit(main())
