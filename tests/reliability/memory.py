#!/usr/bin/env python3
"""Gives the server 256 MiB and more work than it can do.

usage: memory.py --brokkr PATH [--seconds 60] [--mib 256]

In a memory cgroup of that size, page cache included: publishers that wait for nothing send to a stream
on disk, to one in memory and to ever new keys of a bucket; subscribers and a consumer's client read
nothing of what they asked for. The server must not be killed, must keep within the box, must answer a
well-behaved client throughout with an acknowledgement or a refusal in words, and must have everything
it acknowledged after it is killed in the end. Skipped where no memory cgroup can be made.
"""
import argparse
import json
import os
import pathlib
import sys
import threading
import time

from storage_server import GONE, SKIP, NatsClient, StorageServer, api, as_json, make_stream, must, read_stream

ROOTS = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")


class Box:
    """A memory cgroup, of either version."""

    def __init__(self, mib: int):
        for root in ROOTS:
            self.folder = pathlib.Path(root) / f"brokkr-reliability-{os.getpid()}"
            try:
                self.folder.mkdir()
            except OSError:
                continue
            for limit, swap in (("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
                                ("memory.max", "memory.swap.max")):
                try:
                    (self.folder / limit).write_text(str(mib << 20))
                except OSError:
                    continue
                try:
                    (self.folder / swap).write_text("0" if swap == "memory.swap.max" else str(mib << 20))
                except OSError:
                    pass  # there is no swap to be limited
                return
            self.folder.rmdir()
        print("skipped: no memory cgroup can be made")
        sys.exit(SKIP)

    def prefix(self) -> list[str]:
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs; exec "$@"', "sh"]

    def kills(self) -> int:
        for name in ("memory.oom_control", "memory.events"):
            try:
                text = (self.folder / name).read_text()
            except OSError:
                continue
            return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))
        return 0

    def remove(self) -> None:
        for _ in range(100):
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.05)


class Load:
    def __init__(self, server: StorageServer):
        self.server = server
        self.is_over = threading.Event()
        self.counts: dict[str, int] = {}

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def flood(self, subject: str, size: int) -> None:
        """Publishes without end; another connection after each that is closed on it."""
        number = 0
        while not self.is_over.is_set():
            try:
                client = self.server.connect()
                client.socket.settimeout(1)
                while not self.is_over.is_set():
                    lines = []
                    for _ in range(200):
                        number += 1
                        name = subject.replace("#", str(number))
                        lines.append(b"PUB %s %s.1 %d\r\n%s\r\n" % (name.encode(), client.inbox.encode(), size, bytes(size)))
                    client.socket.sendall(b"".join(lines))
                    self.count("sent", len(lines))
                    client.pump(0)
                    for reply in client.kept[client.inbox + ".*"]:
                        answer = json.loads(reply.data) if reply.data else {"error": {"description": str(reply.headers)}}
                        self.count(answer["error"]["description"] if "error" in answer else "acknowledged")
                    client.drop(client.inbox + ".*")
            except GONE as error:
                self.count(f"closed: {type(error).__name__}")
                time.sleep(0.1)

    def read_nothing(self, subject: str) -> None:
        """Subscribes and lets it all lie; again when it is thrown out."""
        while not self.is_over.is_set():
            try:
                client = self.server.connect()
                client.subscribe(subject)
                client.flush()
                while not self.is_over.wait(2):
                    client.socket.sendall(b"PONG\r\n")
            except GONE:
                self.count("slow readers closed")

    def start(self) -> None:
        jobs = [(self.flood, ("disk.a", 1024)), (self.flood, ("disk.b", 16 << 10)), (self.flood, ("ram.a", 1024)),
                (self.flood, ("$KV.many.key#", 100)), (self.flood, ("core.a", 1024)),
                (self.read_nothing, ("disk.>",)), (self.read_nothing, ("core.>",)), (self.read_nothing, ("delivered",))]
        self.threads = [threading.Thread(target=job, args=args) for job, args in jobs]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def set_up(client: NatsClient) -> None:
    make_stream(client, "DISK", ["disk.*"], max_bytes=256 << 20)
    make_stream(client, "RAM", ["ram.*"], storage="memory", max_bytes=32 << 20)
    make_stream(client, "KV_many", ["$KV.many.>"], max_msgs_per_subject=1, max_msgs=100_000)
    make_stream(client, "GOOD", ["good"])
    must(api(client, "CONSUMER.CREATE.DISK", {"stream_name": "DISK", "config": {
        "deliver_subject": "delivered", "ack_policy": "none", "deliver_policy": "all"}}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mib", type=int, default=256)
    args = parser.parse_args()
    box = Box(args.mib)
    acked: dict[int, bytes] = {}
    refused: dict[str, int] = {}
    resident = slowest = 0.0
    try:
        with StorageServer(args.brokkr) as server:
            server.prefix = box.prefix()
            server.start()
            client = server.connect()
            set_up(client)
            load = Load(server)
            load.start()
            try:
                end = time.monotonic() + args.seconds
                while time.monotonic() < end:
                    body = os.urandom(500)
                    begin = time.monotonic()
                    answer = as_json(client.request("good", body, timeout=30))
                    slowest = max(slowest, time.monotonic() - begin)
                    if "error" in answer:
                        text = answer["error"]["description"]
                        refused[text] = refused.get(text, 0) + 1
                    else:
                        acked[answer["seq"]] = body
                    resident = max(resident, server.resident_mib())
                    time.sleep(0.05)
            except GONE as error:
                raise AssertionError(f"{error!r} at {resident:.0f} MiB, {box.kills()} killed, server "
                                     f"{server.process.poll()}\n{server.log()}") from None
            finally:
                load.stop()
                print(", ".join(f"{count} {what}" for what, count in load.counts.items()), flush=True)
            assert box.kills() == 0, "the kernel killed something"
            assert server.process.poll() is None, server.log()
            client.close()
            server.kill()
            start = server.start()
            found = read_stream(server.connect(), "GOOD")
            for seq, body in acked.items():
                assert seq in found and found[seq].data == body, f"{seq} was acknowledged and is gone or changed"
            assert box.kills() == 0, "the kernel killed something at the start"
    finally:
        box.remove()
    print(f"{args.seconds:.0f} s in {args.mib} MiB: at most {resident:.0f} MiB resident; of a well-behaved client "
          f"{len(acked)} publishes acknowledged, refused {refused}, slowest answer {slowest:.2f} s; "
          f"start afterwards {start * 1e3:.0f} ms, nothing lost")


if __name__ == "__main__":
    main()
