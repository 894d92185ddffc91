#!/usr/bin/env python3
"""Damages the files of a stopped store in every way and looks at what the program makes of it.

usage: damage.py --brokkr PATH [--cases 24] [--seed N]

Bits are flipped, blocks zeroed, files cut, deleted, emptied, filled with noise, exchanged and doubled:
log files, run files, catalogs. Then `brokkr store verify` must name the file and exit with 1 when
anything is missing, `export` must print all that is whole, and a started server must have every stream,
every message either unchanged or in `state.lost`, and nothing that was deleted. First the same without
damage: `verify`, `dump` and `export` say what is there and change nothing.
"""
import argparse
import base64
import hashlib
import json
import pathlib
import random
import shutil
import subprocess
import sys

from storage_server import NatsClient, StorageServer, api, as_json, lost_sequences, make_stream, must

STREAMS = ("PLAIN", "PACKED", "KV_bucket")
SUBJECTS = {"PLAIN": "plain.%d", "PACKED": "packed.%d", "KV_bucket": "$KV.bucket.k%d"}
ROUNDS = 4


def publish(client: NatsClient, known: dict, rng: random.Random, count: int) -> None:
    for stream in STREAMS:
        for _ in range(count):
            subject = SUBJECTS[stream] % rng.randrange(20)
            body = rng.randbytes(rng.choice((0, 30, 400, 5000)))
            headers = [("Kind", "test")] if rng.random() < 0.3 else None
            answer = must(as_json(client.request(subject, body, headers=headers)))
            known[stream][answer["seq"]] = (subject, body)
        for seq in rng.sample(sorted(known[stream]), 5):
            must(api(client, "STREAM.MSG.DELETE." + stream, {"seq": seq}))
            del known[stream][seq]


def build(server: StorageServer, rng: random.Random) -> dict[str, dict[int, tuple]]:
    """A store with run files and catalogs of several starts, and a log that was not emptied."""
    known: dict[str, dict[int, tuple]] = {stream: {} for stream in STREAMS}
    for number in range(ROUNDS):
        server.start()
        client = server.connect()
        if number == 0:
            for stream in STREAMS:
                make_stream(client, stream, [SUBJECTS[stream].replace("%d", "*") if "$" not in SUBJECTS[stream]
                                             else "$KV.bucket.>"],
                            compression="s2" if stream == "PACKED" else "none", allow_direct=True)
                must(api(client, f"CONSUMER.DURABLE.CREATE.{stream}.C", {"stream_name": stream, "config": {
                    "durable_name": "C", "ack_policy": "explicit"}}))
        publish(client, known, rng, 60)
        client.close()
        if number < ROUNDS - 1:
            server.stop()
    server.kill()
    return known


def fingerprint(folder: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def files_of(store: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in store.rglob("*") if path.suffix in (".wal", ".run", ".catalog"))


def used_bytes(path: pathlib.Path) -> int:
    """Log files end in zeroes."""
    return max(len(path.read_bytes().rstrip(b"\0")), 1)


def damage(store: pathlib.Path, rng: random.Random) -> tuple[str, pathlib.Path]:
    """The newest log file is never taken away whole: that is what a crash before it was begun looks like,
    and no file says otherwise."""
    kind = rng.choice((".wal", ".run", ".run", ".catalog"))
    path = rng.choice([path for path in files_of(store) if path.suffix == kind])
    others = [other for other in files_of(store) if other.suffix == kind and other != path]
    data = bytearray(path.read_bytes())
    size = used_bytes(path)
    how = rng.choice(("flip", "flip", "zero", "cut", "delete", "empty", "noise", "swap", "copy over"))
    is_newest_log = kind == ".wal" and path == max(other for other in files_of(store) if other.suffix == kind)
    if how in ("swap", "copy over") and not others or is_newest_log and how not in ("flip", "zero", "swap"):
        how = "flip"
    at = rng.randrange(size)
    if how == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif how == "zero":
        data[at // 512 * 512:at // 512 * 512 + 512] = bytes(len(data[at // 512 * 512:at // 512 * 512 + 512]))
    elif how == "cut":
        data = data[:at]
    elif how == "empty":
        data = bytearray()
    elif how == "noise":
        data = bytearray(rng.randbytes(size))
    elif how == "swap":
        other = rng.choice(others)
        swapped = other.read_bytes()
        other.write_bytes(data)
        data = bytearray(swapped)
    elif how == "copy over":
        data = bytearray(rng.choice(others).read_bytes())
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(data)
    return f"{how} {path.name} at {at} of {size}", path


def look(client: NatsClient, stream: str) -> tuple[dict[int, tuple], list[int]]:
    """Every message that can be read, and what is reported lost."""
    last = must(api(client, "STREAM.INFO." + stream))["state"]["last_seq"]
    found = {}
    for first in range(1, last + 1, 100):
        replies = {}
        for seq in range(first, min(first + 100, last + 1)):
            replies[client.send_request("$JS.API.STREAM.MSG.GET." + stream, b'{"seq":%d}' % seq)] = seq
        for _ in range(len(replies)):
            reply = client.next_reply()
            seq = replies[reply.subject]
            answer = as_json(reply)
            if "error" not in answer:
                message = answer["message"]
                found[seq] = (message["subject"], base64.b64decode(message.get("data", "")))
    return found, lost_sequences(must(api(client, "STREAM.INFO." + stream))["state"])


def compare(known: dict[int, tuple], found: dict[int, tuple], lost: list[int]) -> list[str]:
    """Among what is said to be lost there may be messages that had been deleted: of a run file that is
    gone nobody knows what was in it."""
    problems = []
    for seq in sorted(known.keys() | found.keys() | set(lost)):
        if seq in found and seq not in known:
            problems.append(f"{seq} was deleted and is back")
        elif seq in found and found[seq] != known[seq]:
            problems.append(f"{seq} has changed")
        elif seq in found and seq in lost:
            problems.append(f"{seq} is said to be lost and is there")
        elif seq in known and seq not in found and seq not in lost:
            problems.append(f"{seq} is gone without a word")
    return problems


def export(server: StorageServer, store: pathlib.Path, stream: str) -> tuple[dict, str]:
    done = server.tool("export", store, "--stream", stream)
    assert done.returncode == 0, done.stderr
    out = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        out[message["seq"]] = (message["subject"], base64.b64decode(message.get("data", "")))
    return out, done.stderr


def check_tools(server: StorageServer, known: dict) -> None:
    """On a store without damage."""
    before = fingerprint(server.store)
    done = server.tool("verify", server.store)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("no damage"), done
    for path in files_of(server.store):
        done = server.tool("dump", path)
        assert done.returncode == 0 and done.stdout and "damage" not in done.stdout.lower(), done
    done = server.tool("export", server.store)
    listed = {entry["name"]: entry for entry in map(json.loads, done.stdout.splitlines())}
    assert listed.keys() >= set(STREAMS), done
    for stream in STREAMS:
        assert listed[stream]["messages"] == len(known[stream]) and listed[stream]["lost"] == 0, listed[stream]
        found, warnings = export(server, server.store, stream)
        assert found == known[stream] and not warnings, (stream, warnings)
        raw = subprocess.run([server.binary, "store", "export", server.store, "--stream=" + stream, "--raw"],
                             capture_output=True, check=True).stdout
        assert raw == b"".join(body for _, (_, body) in sorted(known[stream].items())), stream
    for args in (("verify",), ("mend", server.store), ("verify", "/nowhere"), ("export", server.store, "--stream", "NO"),
                 ("dump", "/nowhere.run"), ("export", server.store, "--stream")):
        done = server.tool(*args)
        assert done.returncode == 2 and done.stderr and not done.stdout, done
    assert fingerprint(server.store) == before, "a tool changed the store"


def check_case(server: StorageServer, known: dict, what: str, path: pathlib.Path, totals: dict) -> None:
    verified = server.tool("verify", server.store)
    exported = {stream: export(server, server.store, stream) for stream in STREAMS}
    server.start()
    client = server.connect()
    names = api(client, "STREAM.NAMES").get("streams") or []
    problems = [f"stream {stream} is gone" for stream in STREAMS if stream not in names]
    is_hurt = False
    for stream in STREAMS:
        if stream not in names:
            continue
        found, lost = look(client, stream)
        problems += [f"{stream}: {problem}" for problem in compare(known[stream], found, lost)]
        if "error" in api(client, f"CONSUMER.INFO.{stream}.C"):
            problems.append(f"{stream}: the consumer is gone")
        if exported[stream][0] != found:
            problems.append(f"{stream}: export printed {len(exported[stream][0])} messages, the server has {len(found)}")
        is_hurt = is_hurt or bool(lost)
        totals["lost"] += len(lost)
    # It goes on.
    for stream in STREAMS:
        if stream not in names:
            continue
        answer = as_json(client.request(SUBJECTS[stream] % 1, b"afterwards"))
        if answer.get("seq", 0) <= max(known[stream]):
            problems.append(f"{stream}: next sequence after {max(known[stream])} is {answer}")
    client.close()
    server.kill()
    if is_hurt and (verified.returncode != 1 or path.name.partition(".")[0] not in verified.stdout):
        problems.append(f"verify ended with {verified.returncode} and does not name {path.name}: {verified.stdout}")
    totals["found"] += verified.returncode == 1
    for problem in problems[:6]:
        print(f"  {what}: {problem}")
    totals["problems"] += bool(problems)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    totals = {"lost": 0, "found": 0, "problems": 0}
    with StorageServer(args.brokkr) as server:
        known = build(server, rng)
        check_tools(server, known)
        print("verify, dump and export agree with what was published", flush=True)
        kept = server.folder / "kept"
        shutil.move(server.store, kept)
        for _ in range(args.cases):
            shutil.rmtree(server.store, ignore_errors=True)
            shutil.copytree(kept, server.store)
            what, path = damage(server.store, rng)
            check_case(server, known, what, path, totals)
    print(f"{args.cases} cases of damage: verify found {totals['found']}, {totals['lost']} messages lost and all of "
          f"them reported; {totals['problems']} cases with problems")
    sys.exit(1 if totals["problems"] else 0)


if __name__ == "__main__":
    main()
