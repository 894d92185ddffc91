"""Plays one JetStream script on two servers in step and says where they differ.

A script is a list of operations, each a JSON array (jetstream/README.md lists them). Each message a server
sends is filed under a channel (the operation whose inbox it came to, or its subject for a subscription), so
that only the order within a channel counts. `Mask` makes two servers' messages comparable.
"""
import base64
import json
import pathlib
import re
import select
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from nats_client import NatsClient, NatsError  # noqa: E402

ANSWER_SECONDS = 4.0   # after one server has answered, the other must within this
QUIET_SECONDS = 0.006  # how long both must be silent to be called settled
SILENT_SECONDS = 0.1   # when neither answers; what comes later is still compared
ODD_SECONDS = 0.015    # the same for requests a server may leave without any answer
READS = re.compile(r"^(INFO$|STREAM\.(INFO|LIST|NAMES|MSG\.GET)|CONSUMER\.(INFO|LIST|NAMES)|DIRECT\.GET)")
KNOWN = re.compile(r"^(INFO|STREAM\.(NAMES|LIST)|STREAM\.(CREATE|UPDATE|DELETE|INFO|PURGE|MSG\.\w+|SNAPSHOT|RESTORE)\.[^.*]+|"
                   r"CONSUMER\.(CREATE|DURABLE\.CREATE|INFO|DELETE|NAMES|LIST|PAUSE|UNPIN)\.[^*]+)$")

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
ZERO_TIME = "0001-01-01T00:00:00Z"
TIME_KEYS = {"created", "ts", "first_ts", "last_ts", "time", "last_active", "timestamp", "pinned_ts", "start", "end",
             "opt_start_time", "pause_until"}
ANY_KEYS = {"server", "pinned_client_id", "pinned_id", "_nats.ver"}
COUNT_KEYS = {"total", "errors"}  # of API calls: what reads is asked again
NUMBER_KEYS = {"pause_remaining", "active", "ack_time", "inflight"}
MASKED_HEADERS = (b"Nats-Time-Stamp:", b"Nats-Pin-Id:", b"Nats-Stream-Identity:", b"Nats-Schedule-Next: 2")
ACK = re.compile(r"(\$JS\.ACK\.(?:[^.]+\.){5})\d{15,}(\.\d+)")
FLOW = re.compile(r"(\$JS\.FC\.[^.]+\.[^.]+\.)\S+")
SOURCING = re.compile(r"(\$JS\.[MS]\.)\w{8}\b")
SNAPSHOT = re.compile(r"(\$JS\.SNAPSHOT\.(?:ACK|RESTORE)\.[^.]+\.)[^.\s]+")


class Mask:
    """Turns messages of one server into comparable text. `aliases` maps generated names to stable ones."""

    def __init__(self):
        self.aliases: dict[str, str] = {}

    def text(self, text: str) -> str:
        for name, alias in self.aliases.items():
            text = text.replace(name, alias)
        if "$JS." not in text:
            return text
        text = FLOW.sub(r"\1<fc>", ACK.sub(r"\1<ts>\2", text))
        return SNAPSHOT.sub(r"\1<id>", SOURCING.sub(r"\1<id>", text))

    def value(self, value, key: str = ""):
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list):
            items = [self.value(item, key) for item in value]
            if key == "sources":  # nats-server keeps them in a Go map
                items.sort(key=lambda item: json.dumps(item, sort_keys=True))
            if key == "consumers" and "<name" in json.dumps(items):
                items.sort(key=lambda item: item if isinstance(item, str) else item.get("name", ""))
            return items
        if key in ANY_KEYS:
            return f"<{key}>"
        if isinstance(value, str):
            if key in TIME_KEYS and value != ZERO_TIME and TIME.fullmatch(value):
                return "<time>"
            return self.text(value)
        if key in NUMBER_KEYS and isinstance(value, int):
            return "<positive>" if value > 0 else value
        return value

    def _object(self, value: dict) -> dict:
        result = {}
        for key, item in value.items():
            if key == "client" and isinstance(item, dict):
                result[key] = sorted(set(item) - {"rtt"})
            elif key == "api" and isinstance(item, dict) and "level" in item:
                result[key] = {k: "<count>" if k in COUNT_KEYS else v for k, v in item.items()}
            elif key in ("request", "response") and isinstance(item, str) and item[:1] in "{[":
                result[key] = self.json_text(item)
            elif key == "id" and str(value.get("type", "")).startswith(("io.nats.jetstream.adv", "io.nats.jetstream.met")):
                result[key] = "<id>"
            elif key == "hdrs" and isinstance(item, str):
                result[key] = self.head(base64.b64decode(item).removesuffix(b"\r\n\r\n"))
            else:
                result[self.text(key)] = self.value(item, key)
        return result

    def json_text(self, text: str):
        try:
            value = json.loads(text)
        except ValueError:
            return self.text(text)
        return self.value(value)

    def head(self, block: bytes) -> list[str]:
        lines = []
        for line in block.split(b"\r\n"):
            if line.startswith(MASKED_HEADERS):
                line = line.partition(b":")[0] + b": <masked>"
            elif line.startswith(b"Nats-Stream-Source:") and line.count(b" ") > 5:
                line = line.rpartition(b" ")[0] + b" <identity>"
            lines.append(self.text(line.decode("latin-1")))
        return lines

    def message(self, message) -> dict:
        subject = "<inbox>" if message.subject.startswith("_INBOX.") else self.text(message.subject)
        result: dict = {"subject": subject}
        if message.reply:
            result["reply"] = "<inbox>" if message.reply.startswith("_INBOX.") else self.text(message.reply)
        if message.head:
            result["head"] = self.head(message.head)
        if message.data[:1] == b"{" and b'"type"' in message.data:
            result["data"] = self.json_text(message.data.decode("latin-1"))
        elif message.data[:9] == b'{"error":':
            result["data"] = self.json_text(message.data.decode("latin-1"))
        elif message.data:
            result["data"] = self.text(message.data.decode("latin-1"))
        return result


def is_heartbeat(message: dict) -> bool:
    return message.get("head", [""])[0].startswith("NATS/1.0 100 Idle")


class Side:
    """One server: the connection, the channels, what later operations refer to."""

    def __init__(self, address: tuple[str, int]):
        self.address = address
        self.client = NatsClient(*address)
        self.inbox_key = self.client.inbox + ".*"
        self.begin()

    def begin(self) -> None:
        self.mask = Mask()
        self.channels: dict[str, list] = {}
        self.inboxes: dict[str, str] = {}     # reply subject -> channel
        self.variables: dict[str, str] = {}
        self.flows_answered = 0
        self.ack_next: dict[str, int] = {}

    def end(self) -> None:
        for subject in [s for s in self.client.kept if s != self.inbox_key]:
            self.client.unsubscribe(subject)
        self.client.flush()
        self.client.kept[self.inbox_key].clear()

    def open_inbox(self, channel: str, is_own: bool = False) -> str:
        """An own one has a subscription of its own: messages of consumers come under their own subjects."""
        self.client.count += 1
        reply = f"{self.client.inbox}.{self.client.count}"
        if is_own:
            reply = reply.replace("_INBOX.", "_INBOX.own.")
            self.client.subscribe(reply)
        self.inboxes[reply] = channel
        self.channels.setdefault(channel, [])
        return reply

    def file_messages(self) -> None:
        """From the client's subscriptions into the channels."""
        for subscription, kept in self.client.kept.items():
            if not kept:
                continue
            for message in kept:
                if subscription in self.inboxes:
                    channel = self.inboxes[subscription]
                elif subscription == self.inbox_key:
                    channel = self.inboxes.get(message.subject)
                    if channel is None:
                        continue  # of an earlier script
                else:
                    is_wild = subscription.endswith(">") or "*" in subscription
                    channel = f"{subscription} {message.subject}" if is_wild else subscription
                self.channels.setdefault(channel, []).append(message)
                if b"Nats-Pin-Id:" in message.head:
                    self.variables["pin"] = message.head.partition(b"Nats-Pin-Id: ")[2].partition(b"\r\n")[0].decode()
            kept.clear()

    def substitute(self, text: str) -> str:
        if "${" in text:
            for name, value in self.variables.items():
                text = text.replace("${" + name + "}", value)
        return text

    def channel_named(self, masked: str) -> str:
        if masked in self.channels or "<" not in masked:
            return masked
        return next((name for name in self.channels if self.mask.text(name) == masked), masked)

    def channel_view(self, channel: str) -> list[dict]:
        """Masked; repeated heartbeats are one, because their number depends on time."""
        view: list[dict] = []
        for message in self.channels.get(channel, []):
            item = self.mask.message(message)
            if not channel[:1].isdigit() and item.get("reply", "").startswith("$JS.ACK."):
                item["reply"] = item["reply"].rpartition(".")[0]  # pushed while more is published
            if view and is_heartbeat(item) and is_heartbeat(view[-1]):
                view[-1] = item
            else:
                view.append(item)
        return view


class Difference(Exception):
    def __init__(self, index: int, operation, channel: str, lines: list[str]):
        super().__init__(channel)
        self.index, self.operation, self.channel, self.lines = index, operation, channel, lines

    def describe(self) -> str:
        return "\n".join([f"operation {self.index}: {json.dumps(self.operation)}", f"  channel {self.channel}", *self.lines])


def explain(first, second, path: str = "") -> list[str]:
    """The places at which two masked values differ, one line each."""
    if type(first) is type(second):
        if isinstance(first, dict):
            found = []
            for key in list(first) + [k for k in second if k not in first]:
                if first.get(key) != second.get(key) or (key in first) != (key in second):
                    found += explain(first.get(key, "(absent)"), second.get(key, "(absent)"), f"{path}.{key}")
            return found
        if isinstance(first, list) and len(first) == len(second):
            return [line for i, (a, b) in enumerate(zip(first, second)) if a != b
                    for line in explain(a, b, f"{path}[{i}]")]
        if isinstance(first, list):
            for i, (a, b) in enumerate(zip(first, second)):
                if a != b:
                    return explain(a, b, f"{path}[{i}]") + [f"  {path} length: {len(first)} != {len(second)}"]
            longer = first if len(first) > len(second) else second
            extra = longer[min(len(first), len(second)):]
            return [f"  {path} length: {len(first)} != {len(second)}: only in {'first' if longer is first else 'second'}: "
                    + json.dumps(extra)[:600]]
    return [f"  {path}: {json.dumps(first)[:500]} != {json.dumps(second)[:500]}"]


def statuses(messages) -> list[str]:
    return [m.headers.get("Status", "") for m in messages]


class Pair:
    """Two servers; `play` runs one script on both."""

    def __init__(self, first: tuple[str, int], second: tuple[str, int], differences):
        self.sides = [Side(first), Side(second)]
        self.differences = differences
        self.script: list = []
        self.go_on = False               # after a difference, which is printed
        self.seen: dict[str, int] = {}   # error codes and statuses of the first server

    # Waiting ---------------------------------------------------------------------------------

    def pump(self, seconds: float) -> None:
        sockets = [s.client.socket for s in self.sides if b"\r\n" not in s.client.buffer]
        if len(sockets) == len(self.sides):
            select.select(sockets, [], [], max(seconds, 0))
        for side in self.sides:
            side.client.pump()
            side.file_messages()

    def wait(self, done, silent: float = SILENT_SECONDS) -> None:
        """Until `done(side)` of both; when neither is, until `silent` seconds have passed."""
        start = time.monotonic()
        while True:
            state = [done(side) for side in self.sides]
            if all(state):
                return
            late = ANSWER_SECONDS if silent > ODD_SECONDS else 0.3
            limit = start + (max(silent, late) if any(state) else silent)
            left = limit - time.monotonic()
            if left <= 0:
                return
            self.pump(left)

    def settle(self, seconds: float = 1.5) -> None:
        """Until all channels are equal and nothing more comes, or the time is over."""
        for side in self.sides:
            side.client.flush()
            side.file_messages()
        deadline = time.monotonic() + seconds
        counts = None
        while time.monotonic() < deadline:
            now = [{s.mask.text(k): len(v) for k, v in s.channels.items() if v} for s in self.sides]
            if now[0] == now[1] and now == counts:
                return
            counts = now
            self.pump(QUIET_SECONDS)

    # Comparing -------------------------------------------------------------------------------

    def compare(self, index: int, operation, channel: str) -> None:
        views = [side.channel_view(side.channel_named(channel)) for side in self.sides]
        if channel.startswith(("$JS.EVENT", ">")):
            views = [sorted(view, key=lambda item: json.dumps(item, sort_keys=True)) for view in views]
        if views[0] != views[1]:
            if lines := self.differences.unknown(operation, explain(*views)):
                raise Difference(index, operation, channel, lines)

    def compare_all(self, index: int, operation) -> None:
        """What came late is blamed on the operation whose channel it came to."""
        for channel in sorted({side.mask.text(name) for side in self.sides for name in side.channels}):
            number = int(channel) if channel.isdigit() else index
            self.compare(number, self.script[number] if channel.isdigit() else operation, channel)

    def count_answers(self, channel: str) -> None:
        for message in self.sides[0].channels.get(channel, []):
            if b'"err_code":' in message.data:
                key = message.data.partition(b'"err_code":')[2][:5].decode()
                self.seen[key] = self.seen.get(key, 0) + 1
            elif message.head[8:9] == b" ":
                key = message.head.partition(b"\r\n")[0].decode()
                self.seen[key] = self.seen.get(key, 0) + 1

    # Operations ------------------------------------------------------------------------------

    def play(self, script: list) -> Difference | None:
        """None when the servers agree. Leaves both without streams."""
        self.script = script
        for side in self.sides:
            side.begin()
        result = None
        index, operation = 0, None
        try:
            for index, operation in enumerate(script):
                try:
                    getattr(self, "do_" + operation[0])(index, *operation[1:])
                except Difference as difference:
                    if not self.go_on:
                        raise
                    result = difference
                    print(difference.describe(), flush=True)
            self.settle()
            self.compare_all(index, operation)
        except Difference as difference:
            result = difference
        except (NatsError, OSError, TimeoutError) as error:
            result = Difference(index, operation, "connection", [repr(error)])
        self.clean()
        return result

    def clean(self) -> None:
        for position, side in enumerate(self.sides):
            try:
                side.end()
                while names := json.loads(side.client.request("$JS.API.STREAM.NAMES").data).get("streams"):
                    for name in names:
                        side.client.request(f"$JS.API.STREAM.DELETE.{name}")
            except (NatsError, OSError, TimeoutError, ValueError):
                side.client.close()
                self.sides[position] = Side(side.address)

    def ask(self, index: int, operation, subject: str, data: str, headers, done, silent: float = SILENT_SECONDS,
            tag: str = "", is_own: bool = False) -> str:
        """Sends a request to both, waits, counts; returns the channel, which is not compared yet."""
        channel = f"{index}{tag}"
        for side in self.sides:
            reply = side.open_inbox(channel, is_own)
            fields = [(k, side.substitute(str(v))) for k, v in headers] if headers else None
            side.client.publish(side.substitute(subject), side.substitute(data).encode(), reply, fields)
        self.wait(lambda side: done(side.channels[channel]), silent)
        self.count_answers(channel)
        return channel

    def do_api(self, index: int, subject: str, body="", headers=None) -> None:
        operation = ["api", subject, body, headers]
        data = body if isinstance(body, str) else json.dumps(body)

        silent = SILENT_SECONDS if KNOWN.match(subject) else ODD_SECONDS

        def ask(tag: str) -> str:
            channel = self.ask(index, operation, "$JS.API." + subject, data, headers, bool, silent, tag)
            if subject.startswith("CONSUMER.CREATE"):
                self.learn_name(channel, data)
            return channel
        self.read_again(index, operation, subject, ask)
        if subject.startswith("STREAM.MSG.GET"):
            self.learn_time(str(index))

    def read_again(self, index: int, operation, subject: str, ask) -> None:
        """Compares an answer; what only reads is asked again, because servers finish some work later."""
        waits = (0.004, 0.01, 0.03, 0.1, 0.3, 0.6) if READS.match(subject) else ()
        channel = ask("")
        for number, seconds in enumerate(waits):
            try:
                return self.compare(index, operation, channel)
            except Difference:
                time.sleep(seconds)
                for side in self.sides:
                    side.channels[channel] = []
                channel = ask(f"+{number}")
        if channel != str(index):
            for side in self.sides:
                side.channels[str(index)] = side.channels[channel]
        return self.compare(index, operation, channel)

    def learn_name(self, channel: str, request: str) -> None:
        """A name the server made up gets an alias, so that later answers compare."""
        for side in self.sides:
            try:
                name = json.loads(side.channels[channel][0].data).get("name", "")
            except (IndexError, ValueError, AttributeError):
                continue
            if name and f'"{name}"' not in request and name not in side.mask.aliases and len(name) == 8:
                alias = f"<name{len(side.mask.aliases)}>"
                side.variables[f"name{len(side.mask.aliases)}"] = name
                side.mask.aliases[name] = alias

    def learn_time(self, channel: str) -> None:
        for side in self.sides:
            try:
                side.variables["time"] = json.loads(side.channels[channel][0].data)["message"]["time"]
            except (IndexError, KeyError, ValueError):
                pass

    def do_pub(self, index: int, subject: str, data: str = "", headers=None) -> None:
        """One message with a reply subject; its answer is a PubAck, an empty one, or no responders."""
        self.compare(index, ["pub", subject, data, headers], self.ask(
            index, None, subject, data, headers, bool))

    def do_pubs(self, index: int, subject: str, count: int, size: int = 1) -> None:
        """`count` messages at once; `#` in the subject becomes the number."""
        for side in self.sides:
            for number in range(count):
                reply = side.open_inbox(str(index))
                side.client.publish(subject.replace("#", str(number)), (b"%d" % number).ljust(size, b"."), reply)
        self.wait(lambda side: len(side.channels[str(index)]) >= count)
        self.count_answers(str(index))
        self.compare(index, ["pubs", subject, count, size], str(index))

    def do_quiet(self, index: int, subject: str, data: str = "", headers=None) -> None:
        """A message without a reply subject."""
        for side in self.sides:
            side.client.publish(side.substitute(subject), data.encode(), "", headers)
        self.do_settle(index)

    def do_pull(self, index: int, target: str, body="", want: int = 0, headers=None) -> None:
        """A pull request `want` messages or a final status end it; else it stays open."""
        data = body if isinstance(body, str) else json.dumps(body)

        def done(messages) -> bool:
            found = statuses(messages)
            return len(found) - sum(bool(s) for s in found) >= max(want, 1) or any(s not in ("", "100") for s in found)
        channel = self.ask(index, None, "$JS.API.CONSUMER.MSG.NEXT." + target, data, headers, done, 0.02,
                           is_own=True)
        if not all(done(side.channels[channel]) for side in self.sides):
            self.settle(0.5)
        self.compare(index, ["pull", target, body, want], channel)

    def do_direct(self, index: int, target: str, body="", headers=None) -> None:
        data = body if isinstance(body, str) else json.dumps(body)
        many = '"batch"' in data or "multi_last" in data

        def done(messages) -> bool:
            return bool(messages) and (not many or statuses(messages)[-1] != "")
        operation = ["direct", target, body]
        self.read_again(index, operation, "DIRECT.GET", lambda tag: self.ask(
            index, None, "$JS.API.DIRECT.GET." + target, data, headers, done, 0.05, tag))

    def do_ack(self, index: int, source, position, payload: str = "", mode: str = "reply") -> None:
        """Answers the message at `position` (or "next", not answered before) of the channel `source`: the
        number of a pull, negative when counted back, or a subscription. Mode `reply` waits for the double ack."""
        channel = str(index + source if isinstance(source, int) and source < 0 else source)
        sent = []
        for side in self.sides:
            found = [m for m in side.channels.get(channel, []) if m.reply.startswith("$JS.ACK.")]
            place = side.ack_next.get(channel, 0) if position == "next" else position
            if position == "next":
                side.ack_next[channel] = place + 1
            sent.append(found[place].reply if place < len(found) else "")
        if not all(sent):
            return
        for side, subject in zip(self.sides, sent):
            reply = side.open_inbox(str(index), payload.startswith("+NXT")) if mode == "reply" else ""
            side.client.publish(subject, side.substitute(payload).encode(), reply)
        if mode == "reply":
            self.wait(lambda side: bool(side.channels[str(index)]), 0.03)
            self.compare(index, ["ack", source, position, payload, mode], str(index))
        else:
            self.do_settle(index)

    def do_raw_ack(self, index: int, subject: str, payload: str = "") -> None:
        """An acknowledgement on a subject of our own making."""
        channel = self.ask(index, None, subject, payload, None, bool, 0.03)
        self.compare(index, ["raw_ack", subject, payload], channel)

    def do_flow(self, index: int) -> None:
        """Answers the flow control requests that have come."""
        for side in self.sides:
            found = [m for messages in side.channels.values() for m in messages if m.reply.startswith("$JS.FC.")]
            for message in found[side.flows_answered:]:
                side.client.publish(message.reply)
            side.flows_answered = len(found)
        self.do_settle(index)

    def do_sub(self, index: int, subject: str, queue: str = "") -> None:
        for side in self.sides:
            if subject not in side.client.kept:
                side.client.subscribe(subject, queue)
            side.client.flush()

    def do_unsub(self, index: int, subject: str) -> None:
        for side in self.sides:
            side.client.unsubscribe(subject)
            side.client.flush()

    def do_settle(self, index: int, milliseconds: int = 0) -> None:
        if milliseconds:
            end = time.monotonic() + milliseconds / 1000
            while (left := end - time.monotonic()) > 0:
                self.pump(left)
        self.settle()
        self.compare_all(index, ["settle", milliseconds])
