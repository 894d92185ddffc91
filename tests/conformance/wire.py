#!/usr/bin/env python3
"""Plays the wire exchanges of wire/*.txt against servers and compares what comes back.

    wire.py --brokkr PATH              Brokkr with one loop and with two, then nats-server if there is one
    wire.py --oracle [PATH]            only nats-server
    wire.py --record --oracle PATH     write what nats-server answers into the tables
    -k TEXT                            only exchanges whose name contains TEXT;  -v prints transcripts

wire/README.md describes the tables, wire/differences.txt lists the differences that are known.
"""
import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile

import server as servers
from wire_session import CLOSED, Session

HERE = pathlib.Path(__file__).resolve().parent
RECORDED_RELEASES = ("2.15.", "2.9.")  # the tables hold answers of the first; differences.txt has the second


@dataclasses.dataclass
class Line:
    """One line of a table: `who verb rest`, or a comment kept for --record."""
    text: str
    who: str = ""
    verb: str = ""
    rest: str = ""


@dataclasses.dataclass
class Exchange:
    name: str
    lines: list[Line]
    options: set[str]


@dataclasses.dataclass
class Group:
    name: str
    config: list[str]
    exchanges: list[Exchange]


STEP = re.compile(r"^([a-z]+(?:\+[a-z]+)*)(>>|>|<|\?!|\?| [a-z]+)(?: (.*))?$")


def parse_table(path: pathlib.Path) -> list[Group]:
    groups: list[Group] = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if match := re.match(r"^\[(.+)\]$", text):
            groups.append(Group(match[1], [], []))
        elif match := re.match(r"^== ([^(]+?)(?: \((.*)\))?$", text):
            groups[-1].exchanges.append(Exchange(match[1], [], set((match[2] or "").split(", ")) - {""}))
        elif not groups:
            continue
        elif groups[-1].exchanges:
            step = STEP.match(text)
            if not step and text.strip() and not text.startswith("#"):
                raise SystemExit(f"{path.name}:{number}: not a step: {text}")
            line = Line(text)
            if step:
                line = Line(text, step[1], step[2].strip(), step[3] or "")
            groups[-1].exchanges[-1].lines.append(line)
        else:
            groups[-1].config.append(text)
    return groups


def config_of(group: Group, extra: str) -> str | None:
    """None means flags only: the group says so and nothing has to be added."""
    lines = [line for line in group.config if line.strip() and not line.startswith("#")]
    if lines == ["flags only"]:
        return extra or None
    return "\n".join([*lines, extra])


def play(exchange: Exchange, server: servers.Server, recording: bool) -> tuple[list[str], list[str]]:
    """Runs the steps. Returns the table lines as they should be and the differences found."""
    session = Session(server, exchange.options, recording)
    result: list[str] = []
    errors: list[str] = []
    lines, index = exchange.lines, 0
    try:
        while index < len(lines):
            line = lines[index]
            index += 1
            if line.verb not in ("<", "?", "?!"):
                result.append(line.text)
                if line.verb:
                    session.step(line.who, line.verb, line.rest)
                continue
            expected = [line.rest] if line.verb == "<" else []
            while line.verb == "<" and index < len(lines) and lines[index].verb == "<" and lines[index].who == line.who:
                expected.append(lines[index].rest)
                index += 1
            if recording:
                got = session.record(line.who, until_closed=line.verb == "?!" or CLOSED in expected)
            else:
                got = session.expect(line.who, expected)
                errors += compare(line.who, expected, got)
            result += [f"{line.who}< {item}" for item in got]
        for who, item in session.barrier():
            errors.append(f"{who}: unexpected {item}")
    except OSError as error:
        errors.append(f"connection failed: {error}")
    finally:
        session.close()
    return result, errors


def compare(who: str, expected: list[str], got: list[str]) -> list[str]:
    if expected == got:
        return []
    return [f"{who} wanted {item}" for item in expected] + [f"{who} got    {item}" for item in got]


class Differences:
    """wire/differences.txt: `server | exchange | reason`. A difference that is gone is an error too."""

    def __init__(self, path: pathlib.Path):
        self.rows: list[tuple[str, str, str]] = []
        for line in path.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                kind, name, reason = (cell.strip() for cell in line.split("|", 2))
                self.rows.append((kind, name, reason))

    def reason(self, label: str, name: str) -> str | None:
        for kind, exchange, reason in self.rows:
            if exchange == name and (label == kind or label.startswith(kind + " ") or label.startswith(kind + ".")):
                return reason
        return None


@dataclasses.dataclass
class Target:
    label: str          # "brokkr 1 loop" or "nats-server 2.15.2"
    binary: str
    extra: str = ""     # configuration added to every group
    counts: bool = True # a release that the tables do not know is reported, and fails nothing
    # nats-server is here to vouch for the tables, not under test: on a loaded machine it counts
    # connections of the exchange before that are already closed. Brokkr is never asked twice.
    retries: int = 0


@dataclasses.dataclass
class Counts:
    same: int = 0
    known: int = 0
    wrong: int = 0


def run_group(target: Target, group: Group, args, known: Differences, counts: Counts) -> None:
    wanted = [e for e in group.exchanges if args.k in e.name]
    if not wanted:
        return
    try:
        server = servers.Server(target.binary, config_of(group, target.extra), FILES)
    except RuntimeError as error:
        for exchange in wanted:
            judge(target, exchange, [f"group [{group.name}]: {error}"], known, counts)
        return
    with server:
        for exchange in wanted:
            lines, errors = play(exchange, server, args.record)
            for _ in range(target.retries):
                if errors and server.process.poll() is None:
                    lines, errors = play(exchange, server, args.record)
            if args.v:
                print(f"-- {target.label}: {exchange.name}", *lines, sep="\n   ")
            if args.record:
                exchange.lines = [Line(text) for text in lines]
            judge(target, exchange, errors, known, counts)
        if server.process.poll() is not None and not any("stops" in e.options for e in wanted):
            judge(target, wanted[-1], [f"the server ended: {server.log()}"], known, counts)


def judge(target: Target, exchange: Exchange, errors: list[str], known: Differences, counts: Counts) -> None:
    reason = known.reason(target.label, exchange.name)
    if errors and reason:
        counts.known += 1
    elif errors or reason:
        counts.wrong += 1
        errors = errors or [f"no longer differs; remove its row from differences.txt ({reason})"]
        print(f"DIFFERENT {target.label}: {exchange.name}", *errors, sep="\n    ", flush=True)
    else:
        counts.same += 1


def write_table(path: pathlib.Path, groups: list[Group]) -> None:
    head = path.read_text().split("\n[", 1)[0] + "\n" if not path.read_text().startswith("[") else ""
    out = [head.rstrip("\n")] if head.strip() else []
    for group in groups:
        out += ["", f"[{group.name}]", *[line for line in group.config if line.strip()]]
        for exchange in group.exchanges:
            options = f" ({', '.join(sorted(exchange.options))})" if exchange.options else ""
            out += ["", f"== {exchange.name}{options}", *[line.text for line in exchange.lines if line.text.strip()]]
    path.write_text("\n".join(out).lstrip("\n") + "\n")


def targets(args) -> list[Target]:
    found = []
    if args.brokkr:
        found.append(Target("brokkr 1 loop", args.brokkr, "brokkr { loops: 1 }"))
        found.append(Target("brokkr 2 loops", args.brokkr, "brokkr { loops: 2 }"))
    oracle = args.oracle or (servers.find_oracle() if args.oracle is not None or args.brokkr else None)
    if oracle:
        version = servers.version_of(oracle)
        known = version.startswith(RECORDED_RELEASES) or args.oracle is not None
        found.append(Target("nats-server " + version, oracle, counts=known, retries=3))
    elif args.brokkr:
        print("no nats-server on this machine: compared with the recorded answers only")
    if not found:
        raise SystemExit("nothing to run: give --brokkr PATH or --oracle [PATH]")
    return found


FILES: dict[str, str] = {}  # put into the folder of each server; configurations say $FOLDER/name


def make_certificate() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = pathlib.Path(folder, "server.key"), pathlib.Path(folder, "server.crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
        return {path.name: path.read_text() for path in (key, certificate)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr")
    parser.add_argument("--oracle", nargs="?", const="")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("-k", default="")
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    FILES.update(make_certificate())
    known = Differences(HERE / "wire" / "differences.txt")
    tables = {path: parse_table(path) for path in sorted((HERE / "wire").glob("*.txt"))
              if path.name != "differences.txt"}
    names = [e.name for groups in tables.values() for g in groups for e in g.exchanges]
    twice = {name for name in names if names.count(name) > 1}
    unknown = {name for _, name, _ in known.rows} - set(names)
    if twice or unknown:
        raise SystemExit(f"names used twice: {sorted(twice)}; in differences.txt but nowhere else: {sorted(unknown)}")
    wrong = 0
    for target in targets(args):
        counts = Counts()
        for groups in tables.values():
            for group in groups:
                run_group(target, group, args, known, counts)
        print(f"{target.label}: {counts.same} as recorded, {counts.known} known differences, {counts.wrong} wrong")
        wrong += counts.wrong if target.counts else 0
    if args.record:
        for path, groups in tables.items():
            write_table(path, groups)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
