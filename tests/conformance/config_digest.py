#!/usr/bin/env python3
"""Compares our reading of configuration files with `nats-server -t`.

usage: config_digest.py CONFIG_DIGEST TESTDATA [--mutate N] [--seed S]

NATS_SERVER names the oracle, else the nats-server on PATH is taken; without one the test is
skipped (exit 77). Files beginning with ours_ differ on purpose. --mutate N also compares N mutated
files; the differences that are on purpose (see src/config/README.md) are counted apart.
"""
import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

ON_PURPOSE = ("has no value", "no closing", "unknown unit", "out of range", "NUL byte",
              "is not between", "not be negative")


def oracle_says(server, path):
    done = subprocess.run([server, "-t", "-c", str(path)], capture_output=True, timeout=20)
    text = (done.stdout + done.stderr).decode(errors="replace")
    match = re.search(r"sha256:[0-9a-f]{64}", text)
    return match[0] if match else "ERR " + text.strip().replace("\n", " ")


def we_say(program, paths):
    done = subprocess.run([program], input="\n".join(map(str, paths)) + "\n", capture_output=True,
                          encoding="utf-8", errors="replace", timeout=60)
    lines = done.stdout.split("\n")[:-1]
    assert len(lines) == len(paths), done.stderr
    return lines


WORDS = [b"5", b"-1", b"0", b"1.5", b"true", b"off", b"abc", b'"a.b"', b'"a.*"', b'"10s"', b'"50%"', b'"1.2"',
         b"[]", b"[a, b]", b"{}", b"{a: b}", b'"nats://h:1"', b"'x y'", b'">"', b"64MB", b'"$1"', b'""']


def mutate_words(rnd, text):
    """Puts other values, or words of the same file, in the place of some."""
    words = [m for m in re.finditer(rb'"[^"\n]*"|[A-Za-z0-9_.:/*>$%-]+', text)]
    for match in sorted(rnd.sample(words, min(len(words), rnd.randint(1, 2))),
                        key=lambda m: -m.start()):
        value = rnd.choice(WORDS) if rnd.random() < 0.7 else rnd.choice(words)[0]
        text = text[:match.start()] + value + text[match.end():]
    return text


def mutate(rnd, texts):
    if rnd.random() < 0.5:
        return mutate_words(rnd, rnd.choice(texts))
    text = bytearray(rnd.choice(texts))
    pieces = [b"{", b"}", b"[", b"]", b"(", b")", b"'", b'"', b",", b";", b"=", b":", b"/", b"#",
              b"\\", b"$", b"-", b".", b"1", b"k", b"\n", b" ", b"\r\n", b"true", b"\xc3\xa9"]
    for _ in range(rnd.randint(1, 3)):
        at = rnd.randint(0, len(text))
        if rnd.random() < 0.6:
            text[at:at] = rnd.choice(pieces)
        else:
            del text[at:at + rnd.randint(1, 3)]
    return bytes(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("testdata", type=pathlib.Path)
    parser.add_argument("--mutate", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    server = os.environ.get("NATS_SERVER") or shutil.which("nats-server")
    if not server:
        print("skipped: no nats-server (set NATS_SERVER)")
        return 77
    files = sorted(p for p in args.testdata.glob("*.conf") if not p.name.startswith("ours_"))
    wrong = 0
    for path, ours in zip(files, we_say(args.program, files)):
        theirs = oracle_says(server, path)
        if ours != theirs and not (ours.startswith("ERR") and theirs.startswith("ERR")):
            wrong += 1
            print(f"{path.name}\n  nats-server: {theirs}\n  ours:        {ours}")
    print(f"{len(files)} files, {wrong} differ")
    if args.mutate:
        wrong += compare_mutants(args, server, files)
    return 1 if wrong else 0


def compare_mutants(args, server, files):
    rnd = random.Random(args.seed)
    print(f"seed {args.seed}")
    texts = [p.read_bytes() for p in files]
    wrong = on_purpose = accepted = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(args.testdata / "include", pathlib.Path(folder) / "include")
        paths = []
        for i in range(args.mutate):
            path = pathlib.Path(folder) / f"{i}.conf"
            path.write_bytes(mutate(rnd, texts))
            paths.append(path)
        for path, ours in zip(paths, we_say(args.program, paths)):
            theirs = oracle_says(server, path)
            accepted += ours == theirs
            if ours == theirs or (ours.startswith("ERR") and theirs.startswith("ERR")):
                continue
            accepts_more = theirs.startswith("ERR Parse error") or "terminator" in theirs
            if any(word in ours for word in ON_PURPOSE) or accepts_more:
                on_purpose += 1
                continue
            wrong += 1
            print(f"{path.read_bytes()!r}\n  nats-server: {theirs}\n  ours:        {ours}")
    print(f"{args.mutate} mutants, {accepted} accepted with one digest, {on_purpose} differ on purpose, {wrong} differ")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
