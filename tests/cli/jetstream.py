#!/usr/bin/env python3
"""Runs the JetStream commands step by step and compares what they print with jetstream.golden.

The golden file holds what the original `nats` CLI prints against nats-server, once times and versions
are masked; `--record` writes it anew. Where the original is on the machine it runs the steps too, so
that the file itself is checked. What ours does otherwise is in OURS, with the reason. Without
JetStream in the server (--server, else the nats-server found) there is nothing to run: exit code 77.
"""
import argparse
import os
import pathlib
import re
import shlex
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cli import PATIENCE_SECONDS, ROOT, Tool, find_original  # noqa: E402
from golden import SKIPPED, Terminal, check_extra, compare, write_golden  # noqa: E402
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
from server import Server, find_oracle  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parent / "jetstream.golden"
MASKS = [
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)?", "DATE"),
    (r"DATE\.\d+ \+0000 UTC", "DATE"),
    (r"^\[\d\d:\d\d:\d\d\]", "[TIME]"),
    (r"\bN[A-Z2-7]{55}\b", "SERVER_ID"),
    (r"Host Version: .*", "Host Version: V"),
    (r"hosted at level \d+", "hosted at level N"),
    (r'"_nats\.level": "\d+"', '"_nats.level": "N"'),
    (r'"_nats\.ver": "[^"]+"', '"_nats.ver": "V"'),
    (r"\(DURATION\) on Subject", "(AGO) on Subject"),
    (r"│ DURATION +│$", "│ AGO │"),
    (r"Last delivery: \S+ ago", "Last delivery: AGO ago"),
    (r"Last Ack: \S+ ago", "Last Ack: AGO ago"),
    (r"(Client ID|RTT|Connected Server Version|Connected Address|Client IP): .*", r"\1: X"),
    (r"in DURATION,", "in T,"),
]

# One scenario from an empty server on.
STEPS = """
stream ls
stream ls --names
stream ls --json
stream report
stream find
stream info
stream info NONE
stream add S1
stream add A.B --subjects x --defaults
stream add S1 --subjects x --storage floppy
stream add S1 --subjects x --defaults --max-age soon
stream add S1 --subjects x --defaults --republish-source a
stream add S1 --subjects x --defaults --mirror S2
stream add S1 --subjects a.*,b --defaults --validate
stream add S1 --subjects a.*,b --defaults
stream add S1 --subjects a.*,c --defaults
stream add S2 --subjects a.x --defaults
stream add S2 --subjects s2.> --storage memory --replicas 1 --retention work --discard new --max-msgs 100 --max-msgs-per-subject 5 --max-bytes 10MB --max-age 1d2h --max-msg-size 1KB --dupe-window 1m --allow-rollup --deny-delete --no-deny-purge --description 'a b' --metadata k:v --metadata m=w --compression s2 --republish-source s2.a --republish-destination r.a --transform-source s2.b --transform-destination s2.c --limit-consumer-inactive 1h --limit-consumer-max-pending 50 --first-sequence 7
stream add S3 --subjects s3 --defaults --no-ack --allow-msg-ttl --subject-del-markers-ttl 1h --allow-batch --allow-schedules --no-allow-direct --json
stream add M1 --mirror S1 --defaults
pub a.0 one
pub a.0 two
pub a.1 three
pub a.0 four
pub b five -H X:y
pub b ''
wait M1 6
stream ls --all
stream ls --json
stream ls --subject a.>
stream report
stream report --raw
stream report --name
stream find --empty --names
stream find --mirrored --names
stream find --subject a.* --names
stream find --created 1h --invert --names
stream find --consumers 0 --replicas 1 --names
stream info S1
stream info S1 --json
stream info S1 --state
stream state S1 --json
stream subjects S1
stream subjects S1 --json
stream subjects S1 --names --reverse
stream subjects S1 b
stream subjects S1 none
stream get S1 1
stream get S1 5
stream get S1 5 --json
stream get S1 6
stream get S1 99
stream get S1
stream get S1 --last-for a.1
stream get S1 1 --translate 'tr a-z A-Z'
stream view S1
stream gaps S1
stream gaps S1 --json
stream rmm S1 2
stream rmm S1 0 --force
stream rmm S1 77 --force
stream rmm S1 2 --force
stream rmm S1 3 --force
stream rmm S1 5 --force
stream gaps S1
stream gaps S1 --force --no-progress
stream gaps S1 --force --json
stream edit NONE --force
stream edit S1 --source S2 --force
stream copy S1 S1
stream seal S3
stream seal S3 --force
stream cluster step-down S1
stream cluster peer-remove S1 x
stream cluster evacuate S3 x --force
stream cluster cancel-move S1
stream rm S3
stream rm S3 --force
stream rm S3 --force
stream rm --force
stream rm M1 --force
consumer ls S1
consumer ls S1 --json
consumer ls S1 --names
consumer ls NONE
consumer report S1
consumer add S1
consumer add S1 C1
consumer add NONE C1 --pull --defaults
consumer add S1 a.b --pull --defaults
consumer add S1 C1 --pull --ack maybe
consumer add S1 C1 --pull --defaults --heartbeat 1s
consumer add S1 C1 --pull --defaults --bps 10
consumer add S1 C1 --pull --defaults --sample 101
consumer add S1 C1 --pull --defaults --validate
consumer add S1 C1 --pull --defaults
consumer add S1 P1 --target x.y --deliver-group G --heartbeat 5s --flow-control --defaults --deliver new --ack all --replay original --bps 1024 --max-pending 7
consumer add S1 C2 --pull --defaults --filter a.1 --filter b --deliver 3 --max-deliver 5 --wait 10s --backoff linear --backoff-steps 3 --backoff-min 1s --backoff-max 10s --sample 50 --max-waiting 9 --max-pull-batch 4 --max-pull-expire 10s --max-pull-bytes 1024 --inactive-threshold 1h --memory --replicas 1 --metadata k:v --headers-only --description 'c two'
consumer add S1 C3 --pull --defaults --deliver subject --pinned-groups g --pinned-ttl 1m
consumer ls S1
consumer ls S1 --json
consumer ls S1 --names
consumer report S1
consumer report S1 --raw
consumer find S1 --pull
consumer find S1 --pull --invert
consumer find S1 --pending 1
consumer info S1 C1
consumer info S1 C1 --json
consumer info S1 P1 --json
consumer info S1 NONE
consumer info S1 NONE --no-select
consumer state S1 C2
consumer next S1 NONE --timeout 1s
consumer next S1 C1
consumer next S1 NONE --term --ack
consumer next S1 C1 --term
consumer next S1 C1 --raw
consumer info S1 C1
consumer pause S1 C1 1h
consumer pause S1 C1 soon --force
consumer pause S1 C1 1h --force
consumer state S1 C1
consumer resume S1 C1 --force
consumer resume S1 C1 --force
consumer unpin S1 C1 g
consumer unpin S1 C3 g
consumer reset S1 C1
consumer reset S1 C1 --force
consumer copy S1 C1 C4 --filter a.0 --ack all --wait 7s
consumer copy S1 NONE C4
consumer edit S1 C1
consumer edit S1 C1 --dry-run
consumer cluster step-down S1 C1
consumer cluster evacuate S1 C1 x
consumer rm S1 C1
consumer rm S1 C1 --force
consumer rm S1 C1 --force
consumer rm --force
stream purge S1
stream purge S1 --force --seq 2 --keep 1
stream purge S1 --force --subject b
stream purge S1 --force --keep 1
stream purge S1 --force --json
stream purge NONE --force
pub --jetstream nowhere x
pub --jetstream a.0 x
pub --jetstream a.0 x --count 2 -H A:b
pub --jetstream a.0 x --quiet
pub --jetstream a.0 x -H Nats-Msg-Id:m1
pub --jetstream a.0 x -H Nats-Msg-Id:m1
pub --atomic a.0 x
pub a.0 x --schedule-after 1h
pub a.0 x --schedule-after 1h --schedule-dest b
pub a.0 x --schedule-every 1h --schedule-at 2100-01-01T00:00:00Z --schedule-dest b
stream add SCH --subjects sch.> --defaults --allow-schedules --allow-batch
pub sch.a x --schedule-at 2100-01-01T00:00:00Z --schedule-dest sch.b
pub sch.b x --schedule-every 1h --schedule-dest sch.c --schedule-ttl 5m
stream rm SCH --force
account info
stream add KV_b --subjects '$KV.b.>' --defaults
stream ls --names
stream purge KV_b --force
stream report --consumers
"""

# Where ours differs on purpose: the step, what it prints instead, its exit code.
OURS = {
    # The original compares an absent set of metadata with an empty one and always finds a difference.
    "consumer edit S1 C1": ("No difference in configuration\n", "", 0),
    "consumer edit S1 C1 --dry-run": ("", "", 0),
}
# Steps that only ours runs behind the scenario: what it says better than the original.
EXTRA = [
    ("stream add E1 --subjects e.> --defaults --max-msgs 10", None, None, 0),
    ("stream edit E1 --max-msgs 20 --dry-run",
     'Differences (-old +new):\n  {\n- \t"max_msgs": 10,\n+ \t"max_msgs": 20,\n  }\n', [], 1),
    ("stream edit E1 --max-msgs 10 --force", "No difference in configuration\n", [], 0),
    ("stream copy E1 E2 --subjects other", None, [], 0),
    ("consumer add E1 P --target p.q --defaults", None, [], 0),
    ("consumer next E1 P --timeout 1s", "", ['PROGRAM: error: consumer "P" is not a Pull consumer'], 1),
    ("consumer add E1 C --pull --defaults", None, [], 0),
    ("consumer next E1 C --timeout 1s", "", ["PROGRAM: error: no message received: nats: timeout"], 1),
    ("stream ls --js-domain NONE", "",
     ["PROGRAM: error: could not list streams: nats: no responders available for request"], 1),
    ("account info --js-domain NONE", None, [], 0),
    ("stream ls --names --js-api-prefix $JS.API", "E1\nE2\nKV_b\nS1\nS2\n", [], 0),
]


def mask(text: str) -> str:
    lines = []
    for line in text.split("\n"):
        for pattern, replacement in MASKS:
            line = re.sub(pattern, replacement, line)
        lines.append(line)
    return "\n".join(lines)


def wait_for_messages(tool: Tool, stream: str, count: str):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while f'"messages": {count},' not in tool.run(["stream", "info", stream, "--json"])[0]:
        if time.monotonic() > deadline:
            return "", f"{stream} does not get {count} messages", 1
    return "", "", 0


def run_step(tool: Tool, step: str):
    if step.startswith("wait "):
        return wait_for_messages(tool, *step.split()[1:])
    out, err, code = tool.run(shlex.split(step))
    if step == "account info":  # a mirror's own consumer is counted for ten seconds after the mirror
        out = re.sub(r"^( +Consumers:) [45]$", r"\1 4 or 5", out, flags=re.MULTILINE)
    if step.startswith("stream report"):  # the width of a mirror's age makes the table's
        out = re.sub(r" +", " ", re.sub("─+", "─", out)).replace("-DURATION", "DURATION")
    # What `pub` says is tests/cli/cli.py's business.
    return (("", "", code) if re.fullmatch(r"pub [a-z.0-9]+ \S+( -H X:y)?", step) else (mask(out), mask(err), code))


def run_steps(tool: Tool) -> list[tuple[str, str, str, int]]:
    return [(step, *run_step(tool, step)) for step in STEPS.strip().split("\n")]


# The step, questions with answers, exit code.
DIALOGUES = [
    ("stream rm S2", [("Really delete Stream S2 (y/N)", "n\n")], 0),
    ("stream rm S2", [("Really delete Stream S2 (y/N)", "perhaps\n"), ("not a valid answer", ""),
                      ("(y/N)", "y\n")], 0),
    ("stream add", [("Stream Name", "\n"), ("Value is required", ""), ("Stream Name", "Q1\n"),
                    ("Subjects", "q.a, q.b\n"), ("Storage", "\x1b[B\n"), ("Replication (1)", "\n"),
                    ("Retention Policy", "work\n"), ("Discard Policy", "\n"), ("Stream Messages Limit (-1)", "7\n"),
                    ("Per Subject Messages Limit (-1)", "\n"), ("Total Stream Size (-1)", "1MB\n"),
                    ("Message TTL (-1)", "1h\n"), ("Max Message Size (-1)", "\n"),
                    ("Duplicate tracking time window (2m0s)", "\n"), ("Allow message Roll-ups (y/N)", "y\n"),
                    ("Allow message deletion (Y/n)", "n\n"),
                    ("Allow purging subjects or the entire stream (Y/n)", "\n")], 0),
    ("stream view Q1 2", [("[2] Subject: q.b", ""), ("Next Page? (Y/n)", "n\n")], 0),
    ("consumer add", [("Select a Stream", "Q1\n"), ("Consumer name", "W\n"), ("Delivery target", "\n"),
                      ("Start policy", "\n"), ("Acknowledgment policy", "\n"), ("Replay policy", "\n"),
                      ("Filter Stream by subjects", "\n"), ("Maximum Allowed Deliveries (-1)", "3\n"),
                      ("Maximum Acknowledgments Pending (0)", "9\n"), ("Deliver headers only", "\n"),
                      ("Add a Retry Backoff Policy", "\n"), ("Max Ack Pending: 9", "")], 0),
    ("consumer rm Q1", [("Select a Consumer", "\n"), ("Really delete Consumer Q1 > W (y/N)", "y\n")], 0),
    ("stream edit Q1 --max-msgs 8", [("Really edit Stream Q1 (y/N)", "y\n"), ("Maximum Messages: 8", "")], 0),
    ("stream purge Q1", [("Really purge Stream Q1 (y/N)", "\x04")], 1),
]
ASKED_CONFIG = ('"subjects":["q.a","q.b"],"retention":"workqueue"', '"max_msgs":7,"max_bytes":1048576,"max_age":3600000000000',
                '"storage":"memory","discard":"old"', '"deny_delete":true,"deny_purge":false,"allow_rollup_hdrs":true')


def check_dialogues(tool: Tool, failures) -> None:
    for step, questions, wanted in DIALOGUES:
        terminal = Terminal(tool, step)
        for question, text in questions:
            if not terminal.answer(question, text):
                failures.append(f"{tool.program} on a terminal: {step}: no {question!r} in {terminal.seen!r}")
                break
        code = terminal.finish()
        if code != wanted:
            failures.append(f"{tool.program} on a terminal: {step}: exit code {code}, wanted {wanted}: {terminal.seen!r}")
        if step == "stream add":
            compact = re.sub(r"\s", "", tool.run(["stream", "info", "Q1", "--json"])[0])
            failures += [f"asked configuration: no {part} in {compact}" for part in ASKED_CONFIG if part not in compact]
            for subject in ("q.a", "q.b", "q.a"):
                tool.run(["pub", subject, "x", "-q"])


# What a backup must bring back.
BACKED_UP = ["stream info B1 --state", "stream subjects B1 --json", "stream get B1 3 --json", "consumer ls B1 --names"]


def check_backups(ours: Tool, original: Tool | None, failures) -> None:
    """Each program restores what each has saved."""
    programs = [ours] + ([original] if original else [])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="backup-"))
    for step in ("stream add B1 --subjects back.> --defaults", "consumer add B1 K --pull --defaults"):
        ours.run(shlex.split(step))
    for i in range(40):
        ours.run(["pub", f"back.{i % 7}", "x" * 20000 + str(i), "-q"])
    wanted = [run_step(ours, step) for step in BACKED_UP]
    for i, saver in enumerate(programs):
        for reader in programs:
            target = str(folder / f"{i}-{reader.program}")
            text = f"backup by {saver.program}, restore by {reader.program}"
            for words in (["backup", "stream", "B1", target], ["stream", "rm", "B1", "--force"],
                          ["backup", "restore", "stream", target]):
                tool = saver if words[:2] == ["backup", "stream"] else reader
                out, err, code = tool.run(words)
                if code != 0:
                    failures.append(f"{text}: {words}: exit code {code}: {out} {err}")
            got = [run_step(ours, step) for step in BACKED_UP]
            if got != wanted:
                failures.append(f"{text}: wanted {wanted}, got {got}")
    out, err, code = ours.run(["backup", "stream", "B1", str(folder / f"0-{ours.program}")])
    if code != 1 or "backup already exists in" not in err:
        failures.append(f"a second backup into one folder: exit code {code}: {out} {err}")


# Each ends by itself and says its rate.
BENCHES = ["js pub sync be.x --msgs 40 --create", "js pub async be.x --msgs 200 --batch 30 --clients 2 --create --purge",
           "js pub atomic be.x --msgs 100 --batch 30 --create", "js pub async many --stream multi --multisubject --msgs 20 --create",
           "js consume --msgs 60", "js consume --msgs 50 --doubleack", "js fetch --msgs 60 --batch 25 --clients 2",
           "js fetch --msgs 50 --doubleack", "js ordered --msgs 200 --clients 2", "js get sync --msgs 50",
           "js get batch --msgs 50 --batch 20", "kv put --msgs 50", "kv get --msgs 50", "kv get --msgs 50 --randomize 9"]


def check_benches(tool: Tool, failures) -> None:
    for bench in BENCHES:
        out, err, code = tool.run(["bench", *bench.split(), "--no-progress"])
        rates = re.findall(r"stats: RATE", out)
        if code != 0 or len(rates) != 1 or "Starting JetStream" not in err:
            failures.append(f"{tool.program}: bench {bench}: exit code {code}\n{out}{err}")
    for bench, why in (("js get sync --stream none", "could not access stream none: stream not found (10059)"),
                       ("js fetch --msgs 2000 --timeout 500ms", "no more messages"),
                       ("js pub sync nowhere --msgs 10", "no responders available for request")):
        out, err, code = tool.run(["bench", *bench.split(), "--no-progress"])
        if code != 1 or why not in err:
            failures.append(f"{tool.program}: bench {bench}: exit code {code}, no {why!r}\n{out}{err}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--server", help="the server to run against")
    parser.add_argument("--record", action="store_true", help="write the golden file from the original")
    args = parser.parse_args()
    binary = args.server or find_oracle()
    original = find_original()
    if binary is None or (args.record and original is None):
        print("no server with JetStream to run against")
        return SKIPPED
    failures = []
    for program in [args.brokkr, original]:
        if program is None or (args.record and program == args.brokkr):
            continue
        with Server(binary, 'jetstream { store_dir: "$FOLDER/js" }') as server, \
                tempfile.TemporaryDirectory() as home:
            tool = Tool(program, server.url(), home)
            results = run_steps(tool)
            if args.record:
                write_golden(results, GOLDEN)
                break
            compare(tool, results, failures, OURS if program == args.brokkr else {}, GOLDEN)
            if program == args.brokkr:
                check_extra(tool, EXTRA, failures)
                check_dialogues(tool, failures)
                check_benches(tool, failures)
                check_backups(tool, Tool(original, server.url(), home) if original else None, failures)
    print("\n".join(failures) if failures else
          f"{len(STEPS.splitlines()) - 1 + len(EXTRA) + len(DIALOGUES)} steps, original: {original or 'not on this machine'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
