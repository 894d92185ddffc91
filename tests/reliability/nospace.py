#!/usr/bin/env python3
"""Fills the disk under a running server and empties it again.

usage: nospace.py --brokkr PATH [--cycles 20] [--disk-mib 192]

The store lies on a small file system of its own (ext4 on a loop device, else tmpfs) in a mount
namespace of its own, so the test needs root and is skipped without. In every cycle messages are
published until they are refused, then another program's file takes the rest, to the last byte. Then:
every publish gets an answer, and a refused one says why; acknowledgements, deletes and reads go on;
core publish and subscribe is as fast as before; once there is room publishes are taken again within
five seconds without a restart; and nothing acknowledged is lost. Every fourth cycle the server is
killed and started while the disk is full.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from storage_server import (SKIP, NatsClient, StorageServer, api, as_json, lost_sequences, make_stream, must,
                            read_stream)

HEAL_SECONDS = 5
BODY = 16 << 10


def mount_disk(folder: str, mib: int) -> str:
    """In this process's namespace; the kernel takes it away with the last process in it."""
    image = folder + ".img"
    with open(image, "wb") as out:
        out.truncate(mib << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], capture_output=True)
    kind = "ext4 on a loop device"
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True).returncode:
        kind = "tmpfs"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder]).returncode:
            sys.exit(SKIP)
    return kind


def body_of(number: int) -> bytes:
    return (b"%d " % number).ljust(BODY, b"%c" % (97 + number % 26))


class Run:
    def __init__(self, server: StorageServer):
        self.server = server
        self.client = server.connect()
        self.acked: dict[int, bytes] = {}
        self.count = 0
        self.refusals: dict[str, int] = {}
        self.heals: list[float] = []
        self.core: dict[str, list[float]] = {"before": [], "full": []}

    def publish(self, count: int) -> int:
        """Of `count` messages, how many were refused."""
        waiting = {}
        for _ in range(count):
            self.count += 1
            waiting[self.client.send_request("fill.x", body_of(self.count))] = self.count
        refused = 0
        for _ in range(count):
            reply = self.client.next_reply(10)  # no answer is a failure
            number = waiting.pop(reply.subject)
            answer = as_json(reply)
            if "error" in answer:
                refused += 1
                text = f"{answer['error']['err_code']} {answer['error']['description']}"
                self.refusals[text] = self.refusals.get(text, 0) + 1
            else:
                self.acked[answer["seq"]] = body_of(number)
        return refused

    def measure_core(self, when: str, count: int = 300) -> None:
        self.client.subscribe("core")
        for _ in range(count):
            begin = time.perf_counter()
            self.client.publish("core", b"x" * 100)
            self.client.next("core")
            self.core[when].append(time.perf_counter() - begin)
        self.client.unsubscribe("core")

    def check(self) -> None:
        state = must(api(self.client, "STREAM.INFO.FILL"))["state"]
        assert not lost_sequences(state), f"lost {lost_sequences(state)}"
        found = read_stream(self.client, "FILL")
        for seq, body in self.acked.items():
            assert seq in found, f"{seq} was acknowledged and is gone"
            assert found[seq].data == body, f"{seq} has changed"
        # A publish that was under way at a kill may be there; nothing else.
        assert len(found) - len(self.acked) <= 64, f"{len(found)} messages, {len(self.acked)} acknowledged"

    def work_while_full(self) -> None:
        """Acknowledgements, deletes, reads, and publishes that are refused."""
        # Log files made before the disk was full are used up first.
        begin = time.monotonic()
        while self.publish(20) < 20:
            assert time.monotonic() < begin + 30, "publishes are taken on a full disk without end"
        health, text = self.server.health()
        assert health == 503, f"/healthz says {text}"
        inbox = f"ack.{self.count}"
        self.client.subscribe(inbox)
        self.client.publish("$JS.API.CONSUMER.MSG.NEXT.FILL.C", b'{"batch":20,"no_wait":true}', inbox)
        for _ in range(20):
            message = self.client.next(inbox)
            assert "Status" not in message.headers, message.headers
            self.client.request(message.reply, b"+ACK", 10)
        self.client.unsubscribe(inbox)
        for seq in sorted(self.acked)[:20]:
            must(api(self.client, "STREAM.MSG.DELETE.FILL", {"seq": seq}, 10))
            del self.acked[seq]
        seq = next(iter(self.acked))
        got = self.client.request("$JS.API.DIRECT.GET.FILL", b'{"seq":%d}' % seq, 10)
        assert got.data == self.acked[seq], f"read of {seq}"

    def cycle(self, number: int) -> None:
        begin = time.monotonic()
        while self.publish(64) < 64:
            assert time.monotonic() < begin + 60, "the disk never fills"
        filler = self.server.data / "of-another-program"
        self.measure_core("before")
        fill_up(filler)
        self.measure_core("full")
        self.work_while_full()
        if number % 4 == 3:
            self.client.close()
            self.server.kill()
            fill_up(filler)
            self.server.start()
            self.client = self.server.connect()
            self.check()
        if number % 2:
            cut = sorted(self.acked)[len(self.acked) * 3 // 4]
            must(api(self.client, "STREAM.PURGE.FILL", {"seq": cut}, 10))
            self.acked = {seq: body for seq, body in self.acked.items() if seq >= cut}
            filler.unlink()
        else:
            filler.unlink()
            must(api(self.client, "STREAM.PURGE.FILL", {"keep": 200}, 10))
            self.acked = {seq: self.acked[seq] for seq in sorted(self.acked)[-200:]}
        begin = time.monotonic()
        while self.publish(1):
            assert time.monotonic() < begin + HEAL_SECONDS, f"still refused: {self.refusals}\n{self.server.log()}"
            time.sleep(0.02)
        self.heals.append(time.monotonic() - begin)
        assert self.server.health()[0] == 200, self.server.health()
        self.check()


def fill_up(path: pathlib.Path) -> None:
    with open(path, "ab", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--disk-mib", type=int, default=192)
    parser.add_argument("--inside", action="store_true", help="the mount namespace is made already")
    args = parser.parse_args()
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        print("skipped: a mount namespace needs root")
        sys.exit(SKIP)
    if not args.inside:
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv, "--inside"])
    folder = tempfile.mkdtemp(prefix="nospace-")
    kind = mount_disk(folder, args.disk_mib)
    try:
        with StorageServer(args.brokkr, folder) as server:
            server.start()
            run = Run(server)
            make_stream(run.client, "FILL", ["fill.*"], allow_direct=True)
            must(api(run.client, "CONSUMER.DURABLE.CREATE.FILL.C", {"stream_name": "FILL", "config": {
                "durable_name": "C", "ack_policy": "explicit"}}))
            for number in range(args.cycles):
                run.cycle(number)
            run.client.close()
            server.kill()
            server.start()
            run.client = server.connect()
            run.check()
            server.stop()
            verified = server.tool("verify", server.store)
            assert verified.returncode == 0, verified.stdout
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True)
        os.rmdir(folder)
        pathlib.Path(folder + ".img").unlink(missing_ok=True)
    refusals = "; ".join(f"{count} x {text}" for text, count in run.refusals.items())
    print(f"{args.cycles} cycles on {kind}: nothing lost; refused {refusals}; taken again after "
          f"{max(run.heals):.2f} s at most; core p99 {p99(run.core['before']):.0f} us before, "
          f"{p99(run.core['full']):.0f} us while full")


if __name__ == "__main__":
    main()
