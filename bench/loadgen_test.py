#!/usr/bin/env python3
"""Proves the load generator's checks: it must pass against an honest server and fail against one
that drops, doubles, swaps or damages a message.

usage: loadgen_test.py PATH_OF_brokkr_bench_load
"""
import selectors
import socket
import subprocess
import sys
import threading

DAMAGE_AT = 300  # The delivery that goes wrong; later than the warm-up's first batch.


class FaultyServer(threading.Thread):
    """The few verbs the generator speaks, one thread, with one fault."""

    def __init__(self, fault):
        super().__init__(daemon=True)
        self.fault, self.deliveries, self.turn, self.held = fault, 0, 0, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.buffers, self.subscriptions = {}, []

    def run(self):
        self.selector.register(self.listener, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    client, _ = self.listener.accept()
                    client.sendall(b'INFO {"server_id":"x","max_payload":1048576}\r\n')
                    self.selector.register(client, selectors.EVENT_READ)
                    self.buffers[client] = b""
                    continue
                self.read(key.fileobj)

    def read(self, client):
        try:
            data = client.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(client)
            self.subscriptions = [s for s in self.subscriptions if s[0] is not client]
            del self.buffers[client]
            client.close()
            return
        data, out = self.buffers[client] + data, {}
        while b"\r\n" in data:
            line, rest = data.split(b"\r\n", 1)
            words = line.split()
            if words[0] == b"PUB":
                size = int(words[-1])
                if len(rest) < size + 2:
                    break
                reply = words[2] if len(words) == 4 else b""
                self.publish(words[1], reply, rest[:size], out)
                rest = rest[size + 2:]
            elif words[0] == b"SUB":
                queue = words[2] if len(words) == 4 else None
                self.subscriptions.append((client, words[1], queue, words[-1]))
            elif words[0] == b"PING":
                out.setdefault(client, []).append(b"PONG\r\n")
            data = rest
        self.buffers[client] = data
        for target, chunks in out.items():
            try:
                target.sendall(b"".join(chunks))
            except OSError:
                pass

    def publish(self, subject, reply, payload, out):
        matching = [s for s in self.subscriptions
                    if s[1] == subject or (s[1].endswith(b"*") and subject.startswith(s[1][:-1]))]
        members = [s for s in matching if s[2]]
        if members:
            self.turn += 1
            chosen = {id(members[self.turn % len(members)])}
            if self.fault == "queue_twice" and self.turn == DAMAGE_AT:
                chosen = {id(member) for member in members[:2]}
            matching = [s for s in matching if not s[2] or id(s) in chosen]
        for client, _, _, sid in matching:
            self.deliver(client, subject, sid, reply, payload, out.setdefault(client, []))

    def deliver(self, client, subject, sid, reply, payload, out):
        self.deliveries += 1
        if self.deliveries == DAMAGE_AT:
            if self.fault == "drop":
                return
            if self.fault == "damage":
                payload = b"\xff" * 8 + payload[8:]
            if self.fault == "wrong_sid":
                sid = b"7"
        head = b" ".join(filter(None, [b"MSG", subject, sid, reply, b"%d" % len(payload)]))
        message = head + b"\r\n" + payload + b"\r\n"
        if self.fault == "swap" and self.deliveries == DAMAGE_AT:
            self.held = message
            return
        out.append(message)
        if self.held:
            out.append(self.held)
            self.held = None
        if self.fault == "double" and self.deliveries == DAMAGE_AT:
            out.append(message)
        if self.fault == "error" and self.deliveries == DAMAGE_AT:
            out.append(b"-ERR 'Slow Consumer'\r\n")


CASES = [
    ("one2one_128", None), ("fan_1x4_128", None), ("queue_1x4", None), ("rr_64", None),
    ("paced_10k", None), ("match_100k", None), ("match_100k_wild", None), ("churn", None),
    ("pub_128", None), ("pairs8_128", None), ("idle_conns", None), ("subs", None),
    ("one2one_128", "double"), ("one2one_128", "swap"), ("one2one_128", "damage"),
    ("one2one_128", "wrong_sid"), ("one2one_128", "error"), ("one2one_128", "drop"),
    ("fan_1x4_128", "drop"), ("4x4_128", "double"), ("queue_1x4", "queue_twice"),
    ("queue_1x4", "swap"), ("rr_64", "double"), ("rr_64", "damage"), ("rr_64", "wrong_sid"),
    ("paced_10k", "swap"), ("paced_10k", "drop"),
    ("match_100k", "wrong_sid"), ("match_100k", "drop"), ("match_100k", "double"),
]


def main():
    wrong = 0
    for scenario, fault in CASES:
        server = FaultyServer(fault)
        server.start()
        answer = subprocess.run(
            [sys.argv[1], "--scenario", scenario, "--port", str(server.port), "--seconds", "0.1",
             "--messages", "2000", "--connections", "50", "--subscriptions", "100",
             "--patience", "1.5" if fault else "30"],
            capture_output=True, text=True, errors="replace", timeout=60)
        held = answer.returncode == (1 if fault else 0)
        wrong += not held
        print(f"{'ok  ' if held else 'FAIL'} {scenario} {fault or 'honest'}: exit "
              f"{answer.returncode} {answer.stderr.strip()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
