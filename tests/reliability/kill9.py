#!/usr/bin/env python3
"""Kills the server in the middle of everything, again and again, and looks whether it kept its word.

usage: kill9.py --brokkr PATH [--kills 10] [--seed N] [--preload-mib 0]

Writers publish with ids, in atomic batches and by compare-and-set, delete, and work a queue with
confirmed acknowledgements; after 50 to 1500 ms the server gets SIGKILL and is started on the same
folder. What was acknowledged, or seen by a reader, must be there and the same; a sequence stands for
one message for ever; a batch is there whole or not at all; every compare-and-set follows the value it
was compared with; what was confirmed is not delivered again, what was published twice is there once.
"""
import argparse
import json
import random
import statistics
import sys
import threading
import time

from storage_server import GONE, NatsClient, StorageServer, api, as_json, lost_sequences, make_stream, must, read_direct, read_stream

WINDOW = 32
BATCH = 5
KEYS = 4


class Ledger:
    """What the server has promised so far."""

    def __init__(self):
        self.problems: list[str] = []
        self.acked: dict[str, dict[int, bytes]] = {"ORDERS": {}, "BATCHES": {}, "KV_cas": {}, "WORK": {}}
        self.unsure: list[tuple[str, bytes, str]] = []   # publishes without an answer: subject, body, id
        self.committed: set[str] = set()                 # batches
        self.deleted: set[int] = set()                   # of ORDERS, confirmed
        self.delete_asked: set[int] = set()
        self.confirmed: set[int] = set()                 # of WORK
        self.confirmed_before: set[int] = set()          # the last start
        self.confirm_asked: set[int] = set()
        self.delivered: set[int] = set()
        self.seen: dict[int, bytes] = {}                 # by a reader of ORDERS
        self.lowest_next: dict[str, int] = {}

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def ack(self, stream: str, answer: dict, body: bytes) -> None:
        if "error" in answer:
            return self.problem(f"{stream}: refused {answer['error']}")
        seq = answer["seq"]
        known = self.acked[stream]
        if answer.get("duplicate"):
            if seq in known and known[seq] != body:
                self.problem(f"{stream}: {seq} called a duplicate of another message")
        elif seq in known:
            self.problem(f"{stream}: sequence {seq} given twice")
        known[seq] = body
        return None


def publish_orders(client: NatsClient, ledger: Ledger, seed: int, life: int) -> None:
    rng = random.Random(f"{seed} {life} orders")
    waiting: dict[str, tuple[str, bytes, str]] = {}
    count = 0
    try:
        while True:
            while len(waiting) < WINDOW:
                count += 1
                name = f"{life}-{seed}-{count}"
                body = f"{name} ".encode() + bytes(rng.choices(b"abcdefgh\0\r\n", k=rng.choice((0, 20, 200, 3000))))
                subject = f"orders.{rng.randrange(50)}"
                reply = client.send_request(subject, body, [("Nats-Msg-Id", name)])
                waiting[reply] = (subject, body, name)
            answer = client.next_reply()
            _, body, _ = waiting.pop(answer.subject)
            ledger.ack("ORDERS", as_json(answer), body)
    finally:
        ledger.unsure += waiting.values()


def publish_batches(client: NatsClient, ledger: Ledger, seed: int, life: int) -> None:
    count = 0
    while True:
        count += 1
        batch = f"{life}-{seed}-{count}"
        for i in range(1, BATCH + 1):
            headers = [("Nats-Batch-Id", batch), ("Nats-Batch-Sequence", i)]
            if i == BATCH:
                headers.append(("Nats-Batch-Commit", "1"))
            body = f"{batch} {i}".encode()
            if i < BATCH:
                client.publish(f"batches.{i}", body, "" if i > 1 else client.inbox + ".0", headers)
            else:
                answer = as_json(client.request(f"batches.{i}", body, headers=headers))
        ledger.ack("BATCHES", answer, body)
        ledger.committed.add(batch)
        client.drop(client.inbox + ".*")


def compare_and_set(client: NatsClient, ledger: Ledger, seed: int, life: int) -> None:
    rng = random.Random(f"{seed} {life} cas")
    while True:
        subject = f"$KV.cas.k{rng.randrange(KEYS)}"
        found = client.request(f"$JS.API.DIRECT.GET.KV_cas.{subject}")
        seq, value = 0, 0
        if found.headers.get("Status") != "404":
            seq, value = int(found.headers["Nats-Sequence"]), json.loads(found.data)["value"]
        body = json.dumps({"value": value + 1, "after": seq, "by": f"{life}-{seed}"}).encode()
        answer = as_json(client.request(subject, body, headers=[("Nats-Expected-Last-Subject-Sequence", seq)]))
        if "error" not in answer:
            ledger.ack("KV_cas", answer, body)
        elif answer["error"]["err_code"] != 10071:
            ledger.problem(f"KV_cas: {answer['error']}")


def delete_orders(client: NatsClient, ledger: Ledger, seed: int, life: int) -> None:
    rng = random.Random(f"{seed} {life} delete")
    while True:
        known = [seq for seq in list(ledger.acked["ORDERS"])[-500:] if seq not in ledger.delete_asked]
        if not known:
            client.flush()
            continue
        seq = rng.choice(known)
        ledger.delete_asked.add(seq)
        must(api(client, "STREAM.MSG.DELETE.ORDERS", {"seq": seq}))
        ledger.deleted.add(seq)


def feed_queue(client: NatsClient, ledger: Ledger, seed: int, life: int) -> None:
    count = 0
    while True:
        count += 1
        body = f"{life}-{seed}-{count}".encode()
        ledger.ack("WORK", as_json(client.request("work.do", body)), body)


def work_queue(client: NatsClient, ledger: Ledger, _seed: int, _life: int) -> None:
    while True:
        client.subscribe(inbox := f"work.inbox.{random.randrange(1 << 48)}")
        client.publish("$JS.API.CONSUMER.MSG.NEXT.WORK.W", b'{"batch":20,"expires":500000000}', inbox)
        while True:
            message = client.next(inbox)
            if "Status" in message.headers:
                break
            seq = int(message.reply.split(".")[5])
            if seq in ledger.confirmed_before:
                ledger.problem(f"WORK: {seq} delivered again after its acknowledgement was confirmed")
            ledger.delivered.add(seq)
            if random.random() < 0.2:
                continue  # comes again
            ledger.confirm_asked.add(seq)
            client.request(message.reply, b"+ACK")
            ledger.confirmed.add(seq)
        client.unsubscribe(inbox)


def read_orders(client: NatsClient, ledger: Ledger, _seed: int, _life: int) -> None:
    client.subscribe(inbox := f"seen.{random.randrange(1 << 48)}")
    must(api(client, "CONSUMER.CREATE.ORDERS", {"stream_name": "ORDERS", "config": {
        "deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "new"}}))
    while True:
        message = client.next(inbox)
        ledger.seen[int(message.reply.split(".")[5])] = message.data


JOBS = (publish_orders, publish_orders, publish_batches, compare_and_set, compare_and_set, delete_orders, feed_queue,
        work_queue, read_orders)


def live(server: StorageServer, ledger: Ledger, life: int, seconds: float) -> None:
    """All jobs at work until the server is killed."""
    is_killed = threading.Event()
    ledger.confirmed_before = set(ledger.confirmed)

    def run(job, seed: int) -> None:
        try:
            job(server.connect(), ledger, seed, life)
        except GONE as error:
            if not is_killed.is_set():
                ledger.problem(f"{job.__name__}: {error!r} before the kill")
        except Exception as error:  # noqa: BLE001
            ledger.problem(f"{job.__name__}: {error!r}")

    threads = [threading.Thread(target=run, args=(job, i)) for i, job in enumerate(JOBS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    is_killed.set()
    server.kill()
    for thread in threads:
        thread.join()


def set_up(client: NatsClient) -> None:
    make_stream(client, "ORDERS", ["orders.*"], allow_direct=True, max_bytes=256 << 20)
    make_stream(client, "BATCHES", ["batches.*"], allow_atomic=True, allow_direct=True)
    make_stream(client, "KV_cas", ["$KV.cas.>"], allow_direct=True)
    make_stream(client, "WORK", ["work.do"], retention="workqueue", allow_direct=True)
    must(api(client, "CONSUMER.DURABLE.CREATE.WORK.W", {"stream_name": "WORK", "config": {
        "durable_name": "W", "ack_policy": "explicit", "ack_wait": 300_000_000, "max_ack_pending": 1000}}))


def check(client: NatsClient, ledger: Ledger, start: dict[str, int]) -> None:
    """Everything from the sequences in `start` on."""
    found = {}
    for stream in ledger.acked:
        state = must(api(client, "STREAM.INFO." + stream))["state"]
        if lost := lost_sequences(state):
            ledger.problem(f"{stream} says it lost {lost[:10]}")
        if (top := max(ledger.acked[stream], default=0)) > state["last_seq"]:
            ledger.problem(f"{stream}: last sequence {state['last_seq']}, {top} was acknowledged")
        # A reader that is pushed everything there ever was may be too slow for it.
        read = read_direct if stream == "WORK" or start[stream] == 1 else read_stream
        found[stream] = read(client, stream, start[stream])
        first = max(start[stream], state["first_seq"])
        for seq, body in ledger.acked[stream].items():
            if seq < first or stream == "WORK":
                continue
            if seq not in found[stream]:
                if stream != "ORDERS" or seq not in ledger.delete_asked:
                    ledger.problem(f"{stream}: {seq} was acknowledged and is gone")
            elif found[stream][seq].data != body:
                ledger.problem(f"{stream}: {seq} has changed")
    check_orders(ledger, found["ORDERS"], start["ORDERS"])
    check_batches(ledger, found["BATCHES"])
    check_values(ledger, found["KV_cas"], start["KV_cas"])
    for seq, body in ledger.acked["WORK"].items():
        if seq < start["WORK"]:
            continue
        if seq in found["WORK"]:
            if seq in ledger.confirmed:
                ledger.problem(f"WORK: {seq} is back")
            elif found["WORK"][seq].data != body:
                ledger.problem(f"WORK: {seq} has changed")
        elif seq not in ledger.confirm_asked:
            ledger.problem(f"WORK: {seq} is gone and nobody acknowledged it")


def check_orders(ledger: Ledger, found: dict, start: int) -> None:
    for seq, body in ledger.seen.items():
        if seq >= start and seq not in ledger.delete_asked and (seq not in found or found[seq].data != body):
            ledger.problem(f"ORDERS: {seq} was seen by a reader and is not the same")
    if back := ledger.deleted & found.keys():
        ledger.problem(f"ORDERS: deleted and back: {sorted(back)[:10]}")
    ids = [message.headers["Nats-Msg-Id"] for message in found.values()]
    if len(set(ids)) != len(ids):
        ledger.problem("ORDERS: an id is stored twice")


def check_batches(ledger: Ledger, found: dict) -> None:
    batches: dict[str, list[int]] = {}
    for seq, message in found.items():
        batches.setdefault(message.headers["Nats-Batch-Id"], []).append(seq)
    for batch, seqs in batches.items():
        if seqs != list(range(seqs[0], seqs[0] + BATCH)):
            ledger.problem(f"BATCHES: of {batch} there is {seqs}")


def check_values(ledger: Ledger, found: dict, start: int) -> None:
    last: dict[str, tuple[int, int]] = {}
    for seq, message in found.items():
        value = json.loads(message.data)
        before = last.get(message.subject)
        if before is None and start == 1:
            before = (0, 0)
        if before is not None and (value["after"], value["value"]) != (before[0], before[1] + 1):
            ledger.problem(f"KV_cas: {seq} of {message.subject} is {value}, before it was {before}")
        last[message.subject] = (seq, value["value"])


def last_words(server: StorageServer, ledger: Ledger, rounds: int) -> None:
    """The kill comes right behind the answer, with nothing else going on."""
    client = server.connect()
    make_stream(client, "LAST", ["last.*"])
    for number in range(rounds):
        first = [must(as_json(client.request("last.a", b"x")))["seq"] for _ in range(3)]
        must(api(client, "STREAM.MSG.DELETE.LAST", {"seq": first[1]}))
        server.kill()
        server.start()
        client = server.connect()
        if "error" not in api(client, "STREAM.MSG.GET.LAST", {"seq": first[1]}):
            ledger.problem(f"LAST: {first[1]} is back")
        for seq in (first[0], first[2]):
            if "error" in api(client, "STREAM.MSG.GET.LAST", {"seq": seq}):
                ledger.problem(f"LAST: {seq} is gone")
        name = f"C{number}"
        must(api(client, f"CONSUMER.DURABLE.CREATE.LAST.{name}", {"stream_name": "LAST", "config": {
            "durable_name": name, "ack_policy": "explicit"}}))
        client.subscribe(inbox := f"last.inbox.{number}")
        client.publish(f"$JS.API.CONSUMER.MSG.NEXT.LAST.{name}", b"", inbox)
        acked = client.next(inbox)
        client.request(acked.reply, b"+ACK")
        server.kill()
        server.start()
        client = server.connect()
        info = api(client, f"CONSUMER.INFO.LAST.{name}")
        if info.get("ack_floor", {}).get("consumer_seq") != 1:
            ledger.problem(f"LAST: {name} was created and confirmed an acknowledgement: {info}")
        purged = must(api(client, "STREAM.PURGE.LAST"))["purged"]
        server.kill()
        server.start()
        client = server.connect()
        state = must(api(client, "STREAM.INFO.LAST"))["state"]
        if purged == 0 or state["messages"] or state["last_seq"] != first[2]:
            ledger.problem(f"LAST: purged, and after the kill it is {state}")
    must(api(client, "STREAM.DELETE.LAST"))
    server.kill()
    server.start()
    if "error" not in api(server.connect(), "STREAM.INFO.LAST"):
        ledger.problem("LAST: the deleted stream is back")


def resend(client: NatsClient, ledger: Ledger) -> None:
    """What had no answer is published again under its id."""
    for subject, body, name in ledger.unsure:
        ledger.ack("ORDERS", as_json(client.request(subject, body, headers=[("Nats-Msg-Id", name)])), body)
    ledger.unsure.clear()


def preload(client: NatsClient, mib: int) -> None:
    make_stream(client, "BULK", ["bulk"])
    body = bytes(16 << 10)
    for _ in range(mib << 10 >> 4 >> 6):
        replies = [client.send_request("bulk", body) for _ in range(64)]
        for _ in replies:
            must(as_json(client.next_reply()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokkr", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--preload-mib", type=int, default=0)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    ledger = Ledger()
    starts: list[float] = []
    with StorageServer(args.brokkr) as server:
        server.start()
        client = server.connect()
        set_up(client)
        if args.preload_mib:
            preload(client, args.preload_mib)
        last_words(server, ledger, max(2, args.kills // 10))
        start = dict.fromkeys(ledger.acked, 1)
        for kill in range(1, args.kills + 1):
            live(server, ledger, kill, rng.uniform(0.05, 1.5))
            starts.append(server.start())
            client = server.connect()
            is_last = kill == args.kills
            check(client, ledger, dict.fromkeys(start, 1) if is_last else start)
            resend(client, ledger)
            for stream in start:
                start[stream] = must(api(client, "STREAM.INFO." + stream))["state"]["last_seq"] + 1
            if kill % 25 == 0 or ledger.problems:
                print(f"{kill} kills, {sum(map(len, ledger.acked.values()))} acknowledged", flush=True)
            if ledger.problems:
                print("\n".join(ledger.problems[:20]) + "\n" + server.log())
                sys.exit(f"{len(ledger.problems)} problems after {kill} kills, seed {args.seed}")
        server.stop()
        verified = server.tool("verify", server.store)
        if verified.returncode != 0:
            sys.exit(f"verify: {verified.stdout}")
        size = sum(path.stat().st_size for path in server.store.rglob("*") if path.is_file()) / 2**20
    counts = ", ".join(f"{len(known)} {stream}" for stream, known in ledger.acked.items())
    print(f"{args.kills} kills: {counts}; {len(ledger.deleted)} deleted, {len(ledger.confirmed)} confirmed, "
          f"{len(ledger.seen)} seen: nothing lost, changed or given twice; {size:.0f} MiB on disk; "
          f"start {statistics.median(starts) * 1e3:.0f} ms median, {max(starts) * 1e3:.0f} ms at most")


if __name__ == "__main__":
    main()
