#!/usr/bin/env python3
"""Runs the key-value and object-store commands step by step and compares what they print with
buckets.golden, in the manner of jetstream.py: the golden file holds what the original `nats` CLI
prints against nats-server, `--record` writes it anew, and the original runs the steps too where it is
on the machine. Without JetStream in the server there is nothing to run: exit code 77.
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
import jetstream  # noqa: E402
from cli import PATIENCE_SECONDS, Background, Tool, find_original  # noqa: E402
from cli import mask as mask_times  # noqa: E402
from golden import SKIPPED, Terminal, check_extra, compare, write_golden  # noqa: E402
from jetstream import Server, find_oracle  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parent / "buckets.golden"
MASKS = [
    (r"Last Seen: \S+", "Last Seen: AGO"),
    (r"Lag: \d+", "Lag: N"),
    (r"[\d.]+ [KMGT]?i?B/s", "RATE"),
    (r"to \S*/bucket-files-[^/]+/", "to FOLDER/"),
    (r"file \S*/bucket-files-[^/]+/", "file FOLDER/"),
]
FILES = {"small.txt": "hello\n", "big.bin": "x" * 300000, "sub/file.txt": "hi\n"}

# One scenario from an empty server on. `<<< text` is on stdin; `lines N words` stops after N lines.
STEPS = """
kv ls
kv info
kv info NOPE
kv add B --history 70
kv add a.b
kv add B --storage x
kv add B --history 5 --description hello --ttl 1h
kv add B
kv add B --history 5 --description hello --ttl 1h
kv put B a 1
kv put B a 'two words'
kv put NOPE a 1
kv put B 'bad key' x
kv get B a
kv get B a --raw
kv get B nope
kv get NOPE a
kv get B a --revision 1
kv get B a --revision 77
kv create B a x
kv create B c x
kv update B a 3 2
kv update B a 4 2
kv update B a 4 x
kv history B a
kv history B nope
kv ls
kv ls --names
kv ls B
kv ls B --verbose
kv ls B -v --display-value
kv ls B c
kv ls B nomatch
kv ls NOPE
kv info B
kv view B
kv status B
kv del B c
kv del B c --force
kv ls B
kv get B c
kv history B c
kv create B c again
kv rm B c -f
kv put B r 1
kv put B r 2
kv revert B r 99 --force
kv revert B r x --force
kv revert B r 8
kv revert B r 8 --force
kv revert B c 99 --force
kv purge B a
kv purge B a -f
kv history B a
kv revert B a 1 --force
kv compact B
kv compact B --force
kv history B >
kv put B stdin <<< from stdin
kv get B stdin
kv put B empty ''
kv get B empty
kv put B long 012345678901234567890123456789012345678901234567890123456789
kv history B long
kv put B longer 012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789
kv get B longer
kv put B uni grüße
kv get B uni
kv put B tab 'a	b'
kv get B tab
lines 6 kv watch B
lines 6 kv watch B --history
lines 6 kv watch B --no-deletes
lines 2 kv watch B --revision 11
lines 1 kv watch B long
kv watch B 'a b'
kv add C --storage m --marker-ttl 5m --max-value-size 1K --max-bucket-size 2MB --compress --metadata k:v --metadata k2=v2 --republish-source > --republish-destination rep.> --republish-headers
kv create C k v --ttl 1h
kv create C k v --ttl 1h
kv purge C k --force --ttl 1m
kv ls C
kv ls C -v
kv edit C --history 3 --description changed --max-value-size 2K --metadata k:w
kv edit NOPE --history 3
kv add M --mirror B --metadata a:b
wait KV_M 11
kv get M uni
kv ls M
kv info M
kv add S --source B
wait KV_S 11
kv get S uni
kv info S
kv del M --force
kv del M --force
kv del M
object ls
object info
object info NOPE
object add a.b
object add O --description hello --ttl 1h --metadata a:b --max-bucket-size 10MB
object add O
object ls O
object put O small.txt
object put O big.bin
object put O big.bin --no-progress -f
object put O small.txt
object put O small.txt -f --name other/name --description desc -H A:b -H A:c -H C:d
object put O sub/file.txt
object put O nofile
object put O
object put O --name stdin <<< from stdin
object put NOPE small.txt
object put O big.bin --name chunked --chunk-size 1000 --no-progress
object info O
object info O small.txt
object show O other/name
object i O chunked
object info O nope
object ls
object ls -n
object ls O
object ls O -n
object get O nope
object get O small.txt -O fresh.txt
object get O small.txt
object get O small.txt -f
object get O big.bin -f
object get O chunked --no-progress
object get O other/name
object get O stdin
object rm O nope -f
object rm O small.txt
object rm O small.txt -f
object get O small.txt -f
object put O small.txt
lines 6 object watch O
object edit O --description changed --ttl 2h
object seal O
object seal O --force
object put O small.txt -f
object rm O
object rm O -f
object rm O -f
object ls O
"""

# Where ours differs on purpose. A mirror keeps the subjects of the bucket it mirrors: the original
# looks for its own and finds nothing.
OURS = {
    "kv get M uni": ("M > uni revision: 16 created @ DATE\n\nZ3LDvMOfZQ==\n\n", "", 0),
    "kv ls M": ("r\nstdin\nempty\nlong\nlonger\nuni\ntab\n", "", 0),
}
# What only ours says: the step, stdout, stderr lines, exit code; None: any.
EXTRA = [
    ("kv lss", "", ['PROGRAM: error: unknown command "lss", did you mean "ls"?'], 1),
    ("kv get B uni --js-domain NONE", "", ["PROGRAM: error: nats: no responders available for request"], 1),
    ("kv get B uni --raw --js-api-prefix $JS.API", "grüße", [], 0),
]

# The step, questions with answers, exit code.
DIALOGUES = [
    ("kv del D a", [("Delete key D > a? (y/N)", "n\n"), ("Skipping delete", "")], 0),
    ("kv purge D a", [("Purge key D > a? (y/N)", "\n"), ("Skipping purge", "")], 0),
    ("kv revert D a 1", [("Revision: 1", ""), ("Really revert to revision 1 (y/N)", "y\n"),
                         ("History for D > a", "")], 0),
    ("kv del D a", [("Delete key D > a? (y/N)", "y\n")], 0),
    ("kv compact D", [("deleted keys in bucket D? (y/N)", "n\n"), ("Skipping delete", "")], 0),
    ("kv info", [("Select a Bucket", "D\n"), ("Bucket Name: D", "")], 0),
    ("kv del D", [("Delete bucket D? (y/N)", "y\n")], 0),
    ("object put P small.txt", [("Replace existing file P > small.txt (y/N)", "n\n")], 0),
    ("object get P small.txt", [("Replace existing target file", "y\n"), ("Wrote: 6 B", "")], 0),
    ("object rm P small.txt", [("Delete 6 B byte file P > small.txt? (y/N)", "n\n"), ("Skipping delete", "")], 0),
    ("object seal P", [("Really seal Bucket P, sealed buckets can not be unsealed or modified (y/N)", "n\n")], 0),
    ("object rm P", [("Delete bucket P and all its files? (y/N)", "y\n")], 0),
]


def mask(text: str) -> str:
    text = jetstream.mask(text)
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def first_lines(tool: Tool, count: int, words):
    """What comes until there are so many lines; then the command is stopped."""
    view = Background(tool, words, "")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(view.lines["out"]) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    view.stop()
    return mask(mask_times("".join(view.lines["out"][:count]), tool.program)), "", 0


def run_step(tool: Tool, step: str):
    if step.startswith("wait "):
        return jetstream.run_step(tool, step)
    text, _, stdin = step.partition(" <<< ")
    words = shlex.split(text)
    if words[0] == "lines":
        return first_lines(tool, int(words[1]), words[2:])
    out, err, code = tool.run(words, stdin)
    if words[-1] == "ls":  # the width of an age makes the table's
        out = re.sub(r" +", " ", re.sub("─+", "─", out))
    if out and not out.endswith("\n"):
        out += "\n~ no end of line\n"
    return mask(out), mask(err), code


def run_steps(tool: Tool):
    return [(step, *run_step(tool, step)) for step in STEPS.strip().split("\n")]


def check_dialogues(tool: Tool, failures) -> None:
    for step in ("kv add D --history 3", "kv put D a 1", "kv put D a 2", "object add P", "object put P small.txt"):
        out, err, code = tool.run(shlex.split(step))
        if code != 0:
            failures.append(f"{tool.program}: {step}: {out} {err}")
    for step, questions, wanted in DIALOGUES:
        terminal = Terminal(tool, step)
        for question, text in questions:
            if not terminal.answer(question, text):
                failures.append(f"{tool.program} on a terminal: {step}: no {question!r} in {terminal.seen!r}")
                break
        if (code := terminal.finish()) != wanted:
            failures.append(f"{tool.program} on a terminal: {step}: exit code {code}, wanted {wanted}")


def check_files(failures, program: str) -> None:
    """What get has written is what put was given."""
    for name, source in (("fresh.txt", "small.txt"), ("chunked", "big.bin"), ("name", "small.txt")):
        if pathlib.Path(name).read_text() != FILES[source]:
            failures.append(f"{program}: {name} is not what {source} was")


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
    ours = str(pathlib.Path(args.brokkr).resolve())
    for program in [ours, original]:
        if program is None or (args.record and program == ours):
            continue
        with Server(binary, 'jetstream { store_dir: "$FOLDER/js" }') as server, \
                tempfile.TemporaryDirectory() as home, \
                tempfile.TemporaryDirectory(prefix="bucket-files-") as folder:
            os.chdir(folder)
            for name, text in FILES.items():
                pathlib.Path(name).parent.mkdir(exist_ok=True)
                pathlib.Path(name).write_text(text)
            tool = Tool(program, server.url(), home)
            results = run_steps(tool)
            check_files(failures, program)
            if args.record:
                write_golden(results, GOLDEN)
            else:
                compare(tool, results, failures, OURS if program == ours else {}, GOLDEN)
            if program == ours:
                check_extra(tool, EXTRA, failures)
                check_dialogues(tool, failures)
            os.chdir("/")
    print("\n".join(failures) if failures else
          f"{len(STEPS.splitlines()) - 1 + len(EXTRA) + len(DIALOGUES)} steps, original: {original or 'not on this machine'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
