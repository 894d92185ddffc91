"""Makes random JetStream scripts from a seed: mostly sensible operations, some with one wrong value.

The maker keeps a rough picture of what exists so that most operations find something; it does not predict
answers, because two servers are compared.
"""
import random

MS, SECOND = 10**6, 10**9
LONG = "x" * 5000
TOKENS = ("a", "b", "c")


def chance(rng: random.Random, percent: float) -> bool:
    return rng.random() * 100 < percent


class Choice:
    """Good values, and bad ones that are taken seldom."""

    def __init__(self, percent: float, good: list, bad: list | None = None):
        self.percent, self.good, self.bad = percent, good, bad or []

    def take(self, rng: random.Random, bad_percent: float):
        return rng.choice(self.bad) if self.bad and chance(rng, bad_percent) else rng.choice(self.good)


STREAM_FIELDS = {
    "retention": Choice(55, ["limits", "interest", "workqueue"], ["other", 7]),
    "max_consumers": Choice(8, [-1, 0, 1, 2], ["x"]),
    "max_msgs": Choice(25, [-1, 0, 1, 3, 5, 10], [-5, 1.5]),
    "max_bytes": Choice(12, [-1, 0, 100, 200, 400], [-7, 10**15]),
    "max_age": Choice(6, [0, 3600 * SECOND], [-1, 1, 50 * MS]),
    "max_msgs_per_subject": Choice(25, [1, 2, 3, -1, 0], [-3]),
    "max_msg_size": Choice(8, [10, 50, -1, 0], [-9, 2**40]),
    "discard": Choice(35, ["old", "new"], ["never"]),
    "discard_new_per_subject": Choice(10, [True, False]),
    "storage": Choice(75, ["memory", "memory", "memory", "file"], ["tape"]),
    "num_replicas": Choice(10, [1, 0], [3, -1, 6, 2]),
    "no_ack": Choice(2, [True]),
    "duplicate_window": Choice(8, [60 * SECOND, 0, SECOND], [-1, 1, 10 * 3600 * SECOND]),
    "allow_direct": Choice(45, [True, True, False]),
    "mirror_direct": Choice(3, [True, False]),
    "sealed": Choice(2, [True, False]),
    "deny_delete": Choice(6, [True]),
    "deny_purge": Choice(6, [True]),
    "allow_rollup_hdrs": Choice(30, [True]),
    "first_seq": Choice(8, [0, 1, 10, 1000], [-1]),
    "compression": Choice(8, ["none", "s2"], ["zip"]),
    "description": Choice(5, ["words"], [LONG]),
    "metadata": Choice(6, [{"k": "v"}, {}, {"_nats.x": "1"}], [{"big": "y" * 140000}, {"n": 3}]),
    "consumer_limits": Choice(6, [{}, {"inactive_threshold": 10 * SECOND}, {"max_ack_pending": 5},
                                  {"inactive_threshold": SECOND, "max_ack_pending": 2}],
                              [{"max_ack_pending": -5}, {"inactive_threshold": -1}]),
    "allow_msg_ttl": Choice(25, [True]),
    "subject_delete_marker_ttl": Choice(6, [SECOND, 60 * SECOND, 0], [-1, 1]),
    "allow_atomic": Choice(25, [True]),
    "allow_msg_counter": Choice(8, [True]),
    "allow_msg_schedules": Choice(10, [True]),
    "persist_mode": Choice(6, ["default", "async"], ["never"]),
    "placement": Choice(2, [{}, {"cluster": "c"}, {"tags": ["t"]}], [{"preferred": "x"}]),
    "republish": Choice(10, [{"src": ">", "dest": "rp.>"}, {"src": "s0.a", "dest": "rp.one"},
                             {"src": "s0.*", "dest": "rp.{{wildcard(1)}}", "headers_only": True},
                             {"dest": "rp.>"}, {"src": "s1.>", "dest": "rp.>", "headers_only": True}],
                        [{"src": ">", "dest": "s0.>"}, {"src": "a..b", "dest": "rp.>"}, {"src": ">", "dest": ""},
                         {"src": "s0.*", "dest": "rp.$2"}, {}]),
    "subject_transform": Choice(8, [{"src": "s0.>", "dest": "t0.>"}, {"src": "s0.*", "dest": "t0.$1"},
                                    {"src": "s0.a", "dest": "t0.x"}, {"src": "s0.*.*", "dest": "t0.$2.$1"},
                                    {"src": "s0.*", "dest": "t0.{{partition(3,1)}}"},
                                    {"src": "s0.*", "dest": "t0.{{left(1,1)}}"}, {"src": "", "dest": "t0.>"}],
                                [{"src": "a..b", "dest": "x"}, {"src": "s0.*", "dest": "t0.$3"},
                                 {"src": "s0.>", "dest": "t0"}, {"src": "s0.*", "dest": "t0.{{unknown(1)}}"},
                                 {"src": ">", "dest": "a b"}, {}]),
    "template_owner": Choice(1, ["t"]),
    "no_such_field": Choice(0.7, [1]),
    "pedantic": Choice(4, [True]),
}

SOURCES = Choice(100, [{}, {}, {"opt_start_seq": 2}, {"filter_subject": "s0.a"}, {"filter_subject": "s1.>"},
                       {"subject_transforms": [{"src": "s0.*", "dest": "m.$1"}]},
                       {"subject_transforms": [{"src": "s1.a", "dest": ""}, {"src": "s1.b", "dest": "m.b"}]},
                       {"subject_transforms": [{"src": "s0.>", "dest": "m.>"}]}],
                 [{"opt_start_seq": 2, "opt_start_time": "2024-01-01T00:00:00Z"}, {"filter_subject": "a..b"},
                  {"filter_subject": "s0.a", "subject_transforms": [{"src": "s0.*", "dest": "m.$1"}]},
                  {"subject_transforms": [{"src": "s0.*", "dest": "m.$2"}]},
                  {"subject_transforms": [{"src": "s0.>", "dest": "m.>"}, {"src": "s0.a", "dest": "m.a"}]},
                  {"subject_transforms": [{"src": "a b", "dest": "m.>"}]},
                  {"external": {"api": "$JS.X.API", "deliver": "d.>"}}, {"external": {"api": "", "deliver": "d"}},
                  {"external": {"api": "$JS.X.API", "deliver": "s0.a"}}, {"name": "bad.name"}, {"name": ""}])

CONSUMER_FIELDS = {
    "description": Choice(4, ["words"], [LONG]),
    "deliver_policy": Choice(60, ["all", "all", "last", "new", "by_start_sequence", "last_per_subject"],
                             ["undefined", "other", "by_start_time"]),
    "opt_start_seq": Choice(5, [0, 1, 2, 5, 50]),
    "opt_start_time": Choice(2, ["2024-01-01T00:00:00Z", "2124-01-01T00:00:00Z"], ["yesterday"]),
    "ack_policy": Choice(97, ["explicit", "explicit", "explicit", "all", "none"], ["other", "flow_control"]),
    "ack_wait": Choice(10, [0, 30 * SECOND, 60 * SECOND], [-1]),
    "max_deliver": Choice(18, [-1, 0, 1, 2, 3], [-5]),
    "backoff": Choice(5, [[30 * SECOND], [30 * SECOND, 60 * SECOND], []], [[-1], [30 * SECOND] * 4]),
    "filter_subject": Choice(30, ["s0.a", "s0.>", "s1.b", "s1.*", "", "s0.*", "t0.>", ">"], ["a..b", "a b", "x.>.y"]),
    "filter_subjects": Choice(9, [["s0.a", "s0.b"], ["s1.a", "s1.b"], ["s0.a"], [], ["s0.a", "t0.>"]],
                              [["s0.a", "s0.*"], ["", "s0.a"], [""], ["a..b", "s0.a"], ["s0.a", "s0.a"]]),
    "replay_policy": Choice(12, ["instant"], ["other"]),
    "rate_limit_bps": Choice(2, [0, 10**9]),
    "sample_freq": Choice(6, ["100", "100%", "", "0"], ["x", "101", "-1"]),
    "max_waiting": Choice(6, [0, 1, 2, 512], [-1]),
    "max_ack_pending": Choice(14, [-1, 0, 1, 2, 5, 1000], [-7]),
    "flow_control": Choice(3, [True]),
    "headers_only": Choice(7, [True]),
    "max_batch": Choice(4, [0, 1, 3], [-1]),
    "max_expires": Choice(4, [0, 5 * SECOND], [1, -1]),
    "max_bytes": Choice(4, [0, 100, 1000], [-1]),
    "idle_heartbeat": Choice(2, [30 * SECOND, 0], [-1, 1]),
    "inactive_threshold": Choice(8, [60 * SECOND, 0, 5 * SECOND], [-1]),
    "num_replicas": Choice(4, [0, 1], [2, 3, -1]),
    "mem_storage": Choice(8, [True, False]),
    "direct": Choice(0.5, [True]),
    "metadata": Choice(5, [{"k": "v"}, {}], [{"big": "y" * 140000}]),
    "pause_until": Choice(2, ["2124-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]),
    "priority_groups": Choice(8, [["g"], ["A-z_/=1"], ["g", "h"]], [[""], ["bad name"], ["x" * 17], []]),
    "priority_policy": Choice(4, ["none", "overflow", "pinned_client", "prioritized"], ["other"]),
    "priority_timeout": Choice(2, [60 * SECOND, 0], [-1]),
    "no_such_field": Choice(0.5, [1]),
}

HEADERS = {
    "Nats-Msg-Id": Choice(14, ["1", "2", "3", "x y"]),
    "Nats-Expected-Stream": Choice(5, ["S0", "S1"], ["", "none"]),
    "Nats-Expected-Last-Sequence": Choice(7, ["0", "1", "2", "3", "4"], ["", "x", "-1", "99999999999999999999"]),
    "Nats-Expected-Last-Msg-Id": Choice(4, ["1", "2"], [""]),
    "Nats-Expected-Last-Subject-Sequence": Choice(9, ["0", "1", "2", "3", "4", "5"], ["", "x", "-1"]),
    "Nats-Expected-Last-Subject-Sequence-Subject": Choice(3, ["s0.a", "s0.>", "s1.*"], ["", "a b", "s0..x"]),
    "Nats-Rollup": Choice(7, ["sub", "all", "SUB", "All"], ["", "other"]),
    "Nats-TTL": Choice(6, ["100", "never", "1h", "1h30m", "1m0.5s"], ["0", "-1", "500ms", "x", ""]),
    "Nats-Incr": Choice(2, ["1", "+5", "-3", "100000000000000000000000"], ["", "x", "1.5"]),
    "Nats-Schedule": Choice(1, ["@at 2124-01-01T00:00:00Z", "@every 1h", "0 0 0 1 1 *", "@yearly"],
                            ["@at x", "@every 1ms", "often", "61 0 0 1 1 *", ""]),
    "Nats-Schedule-Target": Choice(1, ["s0.t", "s1.t"], ["", "s0.*", "elsewhere", "s0.a"]),
    "Nats-Required-Api-Level": Choice(1, ["0", "1"], ["99", "x"]),
    "Nats-Msg-Size": Choice(0.5, ["5"]),
    "Nats-Stream-Source": Choice(0.5, ["S9 1 > > x"]),
    "Nats-Marker-Reason": Choice(0.5, ["MaxAge"]),
    "Nats-Schedule-Next": Choice(0.5, ["purge"], ["x"]),
    "Nats-Scheduler": Choice(0.5, ["s0.a", "s1.a"], ["", "s0.*"]),
    "KV-Operation": Choice(2, ["DEL", "PURGE"]),
    "My-Header": Choice(6, ["value", "", "a:b"]),
}

PULL_FIELDS = {
    "batch": Choice(85, [1, 2, 3, 5, 10], [0, -1]),
    "expires": Choice(25, [20 * MS, 30 * MS]),
    "max_bytes": Choice(10, [50, 100, 200, 1000], [-1]),
    "no_wait": Choice(75, [True]),
    "idle_heartbeat": Choice(2, [10 * SECOND, 5 * MS], [-1]),
    "group": Choice(6, ["g", "A-z_/=1"], ["none", ""]),
    "min_pending": Choice(3, [1, 3, 10], [-1]),
    "min_ack_pending": Choice(3, [1, 3], [-1]),
    "id": Choice(2, ["${pin}"], ["wrong"]),
    "priority": Choice(3, [0, 1, 9], [10, -1]),
    "unknown": Choice(1, [1]),
}
ACKS = ("", "+ACK", "+OK", "-NAK", "+TERM", "+TERM because", "+WPI", "+NXT", "-NAK {\"delay\": 60000000000}", "-NAK 1h",
        "+NXT 2", "+NXT {\"batch\":2,\"no_wait\":true}", "other")
EMPTY_BODIES = ("", "{}", "{ }", "[]", "x", "{\"a\":1}")


class Maker:
    def __init__(self, seed: int, timed: bool = False):
        self.rng = random.Random(seed)
        self.timed = timed
        self.wrong = self.rng.choice((0, 2, 5, 12))  # percent of bad values
        self.script: list = []
        self.streams: dict[str, dict] = {}
        self.consumers: dict[tuple[str, str], dict] = {}
        self.pulls: list[int] = []
        self.advisories = chance(self.rng, 12)

    def make(self) -> list:
        if self.advisories:
            self.script.append(["sub", self.rng.choice(["$JS.EVENT.ADVISORY.>", "$JS.EVENT.>"])])
        for _ in range(self.rng.choice((1, 1, 2, 2, 3))):
            self.create_stream()
        self.traffic()
        kinds = {"publish": 30, "many": 6, "consumer": 12, "pull": 24, "ack": 22, "read": 12, "direct": 7, "manage": 8,
                 "create_stream": 3, "update_stream": 5, "consumer_calls": 8, "batch": 5, "odd": 3, "counter": 3,
                 "schedule": 2, "push": 4}
        for kind in self.rng.choices(list(kinds), list(kinds.values()), k=self.rng.randrange(8, 45)):
            getattr(self, kind)()
        for name in list(self.streams)[:3]:
            self.api(f"STREAM.INFO.{name}", {"subjects_filter": ">", "deleted_details": True})
        return self.script

    # Small things ----------------------------------------------------------------------------

    def bad(self) -> bool:
        return chance(self.rng, self.wrong)

    def api(self, subject: str, body="", headers=None) -> int:
        if headers is None and chance(self.rng, 0.5):
            headers = [["Nats-Required-Api-Level", self.rng.choice(["0", "1", "99", "x", ""])]]
        self.script.append(["api", subject, body] + ([headers] if headers else []))
        return len(self.script) - 1

    def stream(self) -> str:
        if self.streams and not self.bad():
            return self.rng.choice(list(self.streams))
        return self.rng.choice(["S0", "S1", "S9", "a>b", "a/b", "S0" * 140, "KV_x"])

    def consumer_of(self) -> tuple[str, str]:
        if self.consumers and not self.bad():
            return self.rng.choice(list(self.consumers))
        return self.stream(), self.rng.choice(["c0", "c1", "none", "a/b", "x" * 300])

    def subject(self) -> str:
        rng = self.rng
        base = rng.choice(["s0", "s0", "s0", "s1", "s1", "s2"] if len(self.streams) > 1 else ["s0"] * 8 + ["s1"])
        return f"{base}.{rng.choice(TOKENS)}" + (f".{rng.choice(TOKENS)}" if chance(rng, 12) else "")

    def fields(self, table: dict) -> dict:
        """Random ones; a script with a share of wrong values also has more fields."""
        return {name: choice.take(self.rng, self.wrong) for name, choice in table.items()
                if chance(self.rng, choice.percent)}

    # Streams ---------------------------------------------------------------------------------

    def stream_config(self, name: str, number: int) -> dict:
        rng = self.rng
        config: dict = {"name": name}
        pattern = rng.choice([[f"s{number}.>"], [f"s{number}.>"], [f"s{number}.*"], [f"s{number}.a", f"s{number}.b"],
                              [f"s{number}.a", f"s{number}.*.*", f"s{number}.t"], None])
        if self.bad():
            pattern = rng.choice([["s0.>", "s0.a"], ["a..b"], [""], [">"], ["$JS.>"], ["$SYS.x"], ["s0.a", "s0.a"], [],
                                  "s0", ["$JS.EVENT.x"], ["s0.>.x"], ["s1.>"]])
        if pattern is not None:
            config["subjects"] = pattern
        config |= self.fields(STREAM_FIELDS)
        if config.get("discard_new_per_subject") and chance(rng, 70):
            config |= {"discard": "new", "max_msgs_per_subject": rng.choice([1, 2])}
        if config.get("allow_msg_counter") and chance(rng, 85):
            for field in ("discard", "retention", "allow_msg_ttl", "subject_delete_marker_ttl", "allow_msg_schedules"):
                config.pop(field, None)
        if not self.bad():
            self.make_possible(config)
        if number and self.streams and chance(rng, 14):
            other = rng.choice(list(self.streams))
            source = {"name": other} | SOURCES.take(rng, self.wrong * 2)
            if chance(rng, 45):
                config["mirror"] = source
                if not self.bad():
                    config.pop("subjects", None)
                    config.pop("subject_transform", None)
                    config.pop("first_seq", None)
            else:
                config["sources"] = [source] + ([{"name": other}] if self.bad() else [])
        return config

    def make_possible(self, config: dict) -> None:
        """Takes away what a server refuses in combination."""
        config.pop("sealed", None)
        if config.get("storage") == "memory":
            config.pop("persist_mode", None)
        if config.get("discard") != "new":
            config.pop("discard_new_per_subject", None)
        if config.get("deny_purge"):
            config.pop("allow_rollup_hdrs", None)
        if config.get("persist_mode") == "async":
            config.pop("allow_atomic", None)
        if config.get("allow_msg_schedules") and config.get("discard") == "new":
            config.pop("allow_msg_schedules")
        if config.get("allow_msg_schedules") or config.get("subject_delete_marker_ttl"):
            config.pop("deny_purge", None)

    def create_stream(self) -> None:
        rng = self.rng
        number = rng.randrange(3) if self.streams else 0
        name = f"S{number}" if not self.bad() else rng.choice(["x.y", "bad.name", "a*b", "a/b", "x" * 256, "*"])
        config = self.stream_config(name, number)
        subject = name if not self.bad() else rng.choice(["S0", "other", "a.b", "*"])
        self.api(f"STREAM.CREATE.{subject}", self.spoil(config))
        if "mirror" in config or "sources" in config:
            self.script.append(["settle", 150])
        self.streams.setdefault(name, config)

    def spoil(self, body: dict):
        """Sometimes not JSON at all."""
        if not chance(self.rng, self.wrong / 6):
            return body
        return self.rng.choice(["", "{", "[]", "null", "{}", "7", "\"x\"", "{\"name\":}", "{\"name\":\"S0\"", "{} x"])

    def update_stream(self) -> None:
        rng = self.rng
        name = self.stream()
        config = dict(self.streams.get(name, {"name": name}))
        changes = self.fields(STREAM_FIELDS)
        for field in rng.sample(list(changes), min(len(changes), rng.choice((0, 1, 1, 2)))):
            config[field] = changes[field]
        for field in rng.sample(list(config), min(len(config), rng.choice((0, 0, 0, 1)))):
            config.pop(field)
        if chance(rng, 5):
            config["subjects"] = rng.choice([["s0.>"], ["s0.a"], ["s2.>"], ["s0.a", "s0.b", "u.>"]])
        verb = "UPDATE" if not chance(rng, 12) else "CREATE"
        self.api(f"STREAM.{verb}.{name}", self.spoil(config))
        if name in self.streams:
            self.streams[name] = config

    def manage(self) -> None:
        rng, name = self.rng, self.stream()
        kind = rng.choice(["purge", "purge", "purge", "msg_delete", "msg_delete", "msg_delete", "delete"])
        if kind == "purge":
            body: dict = {}
            if chance(rng, 40):
                body["filter"] = rng.choice(["s0.a", "s0.*", "s1.>", "s0.>", ">", "none", "a..b"])
            if chance(rng, 35):
                body["seq"] = rng.choice([0, 1, 2, 4, 7, 100])
            if chance(rng, 25):
                body["keep"] = rng.choice([0, 1, 2, 100])
            self.api(f"STREAM.PURGE.{name}", self.spoil(body if body or chance(rng, 50) else ""))
        elif kind == "msg_delete":
            body = {"seq": rng.randrange(0, 9)}
            if chance(rng, 30):
                body["no_erase"] = True
            self.api(f"STREAM.MSG.DELETE.{name}", self.spoil(body))
        elif chance(rng, 40):
            self.api(f"STREAM.DELETE.{name}", rng.choice(EMPTY_BODIES) if self.bad() else "")
            self.streams.pop(name, None)
            self.consumers = {key: value for key, value in self.consumers.items() if key[0] != name}

    def read(self) -> None:
        rng, name = self.rng, self.stream()
        kind = rng.choice(["info", "info", "info", "names", "list", "get", "get", "get", "account", "cinfo", "cinfo",
                           "cinfo", "cnames", "clist"])
        offset = {"offset": rng.choice([0, 1, 5, -1])} if chance(rng, 30) else {}
        if kind == "info":
            body = dict(offset)
            if chance(rng, 40):
                body["subjects_filter"] = rng.choice([">", "s0.a", "s0.*", "none", "s1.>", "a..b", ""])
            if chance(rng, 30):
                body["deleted_details"] = True
            self.api(f"STREAM.INFO.{name}", self.spoil(body) if body else "")
        elif kind in ("names", "list"):
            body = dict(offset)
            if chance(rng, 40):
                body["subject"] = rng.choice(["s0.a", "s0.>", ">", "none", "*.a", "a..b"])
            self.api(f"STREAM.{kind.upper()}", self.spoil(body) if body else "")
        elif kind == "get":
            self.api(f"STREAM.MSG.GET.{name}", self.spoil(self.get_body()))
        elif kind == "account":
            self.api("INFO", "" if not self.bad() else "x")
        elif kind == "cinfo":
            stream, consumer = self.consumer_of()
            self.api(f"CONSUMER.INFO.{stream}.{consumer}", rng.choice(EMPTY_BODIES) if self.bad() else "")
        else:
            self.api(f"CONSUMER.{kind[1:].upper()}.{name}", self.spoil(offset) if offset else "")

    def get_body(self) -> dict:
        rng = self.rng
        sequence = rng.randrange(0, 9)
        subject = rng.choice(["s0.a", "s0.b", "s0.*", "s1.>", ">", "none", "s0.>", "s1.a"])
        body = rng.choice([{"seq": sequence}, {"seq": sequence}, {"last_by_subj": subject}, {"last_by_subj": subject},
                           {"next_by_subj": subject}, {"seq": sequence, "next_by_subj": subject},
                           {"start_time": rng.choice(["${time}", "2024-01-01T00:00:00Z", "2124-01-01T00:00:00Z"])},
                           {"start_time": "${time}", "next_by_subj": subject}])
        if self.bad():
            body = dict(body) | rng.choice([{"last_by_subj": "s0.a"}, {"batch": 2}, {"max_bytes": 5}, {"no_hdr": True},
                                            {"seq": 3}, {"unknown": 1}, {"seq": "x"}, {"seq": -1}, {"start_time": "x"}])
        if chance(rng, 8):
            body = dict(body) | {"no_hdr": True}
        return body

    def direct(self) -> None:
        rng, name = self.rng, self.stream()
        body: dict | str = self.get_body()
        kind = rng.randrange(10)
        headers = [["Nats-Required-Api-Level", rng.choice(["1", "99", "x"])]] if chance(rng, 2) else None
        if kind < 3:
            body = rng.choice(["", "", {"no_hdr": True}, {"seq": 1}, {"batch": 1}]) if self.bad() else ""
            self.script.append(["direct", f"{name}.{self.subject()}", body] + ([headers] if headers else []))
            return
        if kind < 6:
            body = rng.choice([{"seq": rng.randrange(0, 6)}, {"next_by_subj": "s0.>"}, {"seq": 2, "next_by_subj": "s0.a"},
                               {"start_time": "2024-01-01T00:00:00Z"}, {"next_by_subj": "s0.*", "seq": 1}])
            body = dict(body) | {"batch": rng.choice([0, 1, 2, 3, 10])}
            if chance(rng, 20):
                body["max_bytes"] = rng.choice([1, 50, 100, 1000])
        elif kind < 8:
            body = {"multi_last": rng.choice([["s0.>"], ["s0.a", "s0.b"], ["s0.*"], [">"], ["none"], ["s1.a", "s0.>"]])}
            for field, values in {"up_to_seq": [0, 2, 4, 50], "up_to_time": ["${time}", "2124-01-01T00:00:00Z"],
                                  "seq": [1, 3], "batch": [1, 2, 5]}.items():
                if chance(rng, 22):
                    body[field] = rng.choice(values)
        elif self.bad():
            body = rng.choice(["", "{}", "x", "[]", {"last_by_subj": "s0.a", "batch": 2},
                               {"up_to_seq": 2}, {"multi_last": ["s0.a"], "next_by_subj": "s0.a"}, {"batch": 5}])
        self.script.append(["direct", name, body] + ([headers] if headers else []))

    # Publishing ------------------------------------------------------------------------------

    def headers(self, table: dict = HEADERS) -> list:
        return [[name, value] for name, value in self.fields(table).items()]

    def publish(self) -> None:
        rng = self.rng
        headers = self.headers() if chance(rng, 60) else []
        payload = "" if any(h[0] == "Nats-Incr" for h in headers) and not self.bad() else rng.choice(
            ["", "x", "hello", "y" * 30, "z" * 100])
        if any(self.streams[name].get("allow_msg_counter") for name in self.streams) and chance(rng, 70):
            return self.counter()
        self.script.append(["pub", self.subject(), payload] + ([headers] if headers else []))

    def many(self) -> None:
        self.script.append(["pubs", self.rng.choice(["s0.a", "s0.#", "s1.#", "s0.a.#", "s0.b"]), self.rng.choice([3, 5, 10]),
                            self.rng.choice([1, 10, 40])])

    def traffic(self) -> None:
        for _ in range(self.rng.randrange(0, 3)):
            self.many()
        for _ in range(self.rng.randrange(0, 4)):
            self.publish()

    def batch(self) -> None:
        rng = self.rng
        name = rng.choice(["b1", "b2", "x" * 65]) if self.bad() else f"b{len(self.script)}"
        count = rng.choice([1, 2, 3, 4])
        for number in range(1, count + 1):
            headers = [["Nats-Batch-Id", name], ["Nats-Batch-Sequence", str(number)]]
            if self.bad():
                headers[1][1] = rng.choice(["", "0", "7", "x"])
            if number == count and not self.bad():
                headers.append(["Nats-Batch-Commit", rng.choice(["1", "1", "1", "eob", "0", "x"] if self.bad() else ["1", "1", "eob"])])
            if chance(rng, 25):
                headers += self.headers()
            self.script.append(["pub", self.subject(), "batch", headers])

    def counter(self) -> None:
        self.script.append(["pub", self.subject(), "" if not self.bad() else "x",
                            [["Nats-Incr", HEADERS["Nats-Incr"].take(self.rng, self.wrong * 3)]]])

    def schedule(self) -> None:
        rng = self.rng
        headers = [["Nats-Schedule", HEADERS["Nats-Schedule"].take(rng, self.wrong * 3)],
                   ["Nats-Schedule-Target", HEADERS["Nats-Schedule-Target"].take(rng, self.wrong * 3)]]
        for name, choice in {"Nats-Schedule-TTL": Choice(15, ["100", "never"], ["x", "-1"]),
                             "Nats-Schedule-Rollup": Choice(10, ["sub"], ["all", "x"]),
                             "Nats-Schedule-Source": Choice(15, ["s0.b"], ["s0.*", ""]),
                             "Nats-Schedule-Time-Zone": Choice(15, ["Europe/Berlin", "UTC"], ["Moon/Base", ""])}.items():
            if chance(rng, choice.percent):
                headers.append([name, choice.take(rng, self.wrong * 3)])
        if chance(rng, 10):
            headers.pop(rng.randrange(2))
        self.script.append(["pub", self.subject(), "later", headers])

    def odd(self) -> None:
        rng, name = self.rng, self.stream()
        stream, consumer = self.consumer_of()
        subject = rng.choice([
            "NONE.SUCH", "STREAM.CREATE", "STREAM.INFO", f"STREAM.INFO.{name}.x", "CONSUMER.CREATE", f"CONSUMER.INFO.{name}",
            f"STREAM.PEER.REMOVE.{name}", f"STREAM.LEADER.STEPDOWN.{name}", f"CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}",
            "META.LEADER.STEPDOWN", "SERVER.REMOVE", "STREAM.TEMPLATE.NAMES", f"CONSUMER.DURABLE.CREATE.{name}",
            f"STREAM.SNAPSHOT.{name}", f"STREAM.RESTORE.{name}", f"CONSUMER.UNPIN.{stream}.{consumer}", "STREAM",
            f"STREAM.CANCEL_MOVE.{name}", f"STREAM.PEER.EVACUATE.{name}", "ACCOUNT.PURGE.G", "INFO.x"])
        self.script.append(["api", subject, rng.choice(["", "{}", "x", {"peer": "p"}, {"deliver_subject": ""}])])

    # Consumers -------------------------------------------------------------------------------

    def consumer_config(self) -> dict:
        rng = self.rng
        config = self.fields(CONSUMER_FIELDS)
        policy = config.get("deliver_policy")
        if not self.bad():
            config.pop("opt_start_time", None)
            config.pop("opt_start_seq", None)
            if policy == "by_start_sequence":
                config["opt_start_seq"] = rng.choice([1, 2, 3, 6, 40])
            elif policy == "by_start_time":
                config["opt_start_time"] = rng.choice(["${time}", "2024-01-01T00:00:00Z", "2124-01-01T00:00:00Z"])
            elif policy == "last_per_subject":
                config.setdefault("filter_subject", "s0.>")
            if "filter_subjects" in config:
                config.pop("filter_subject", None)
            if "priority_groups" in config and chance(rng, 90):
                config["priority_policy"] = rng.choice(["overflow", "pinned_client", "prioritized"])
            elif "priority_policy" in config:
                config.pop("priority_policy")
                config.pop("priority_timeout", None)
            for field in ("flow_control", "idle_heartbeat", "rate_limit_bps"):
                config.pop(field, None)
        return config

    def consumer(self) -> None:
        rng, stream = self.rng, self.stream()
        config = self.consumer_config()
        name = rng.choice(["c0", "c1", "c2"]) if not self.bad() else rng.choice(["a.b", "a/b", "x" * 256, "*", "c>1"])
        form = rng.randrange(10)
        subject = f"CONSUMER.CREATE.{stream}"
        if form < 5:
            config["durable_name" if chance(rng, 60) else "name"] = name
            subject += f".{name}"
            if config.get("filter_subject") and chance(rng, 50) and " " not in config["filter_subject"]:
                subject += "." + (config["filter_subject"] if not self.bad() else "s0.zz")
        elif form < 7:
            config["durable_name"] = name
            subject = f"CONSUMER.DURABLE.CREATE.{stream}.{name}"
        elif form < 9:
            if chance(rng, 50):
                config["name"] = name
            elif self.bad():
                config["durable_name"] = name
            else:
                name = "${name0}"
        else:
            config |= {"name": name, "durable_name": name if not self.bad() else "other"}
            subject += f".{name}"
        body: dict = {"stream_name": stream if not self.bad() else "S1", "config": config}
        if chance(rng, 15):
            body["action"] = rng.choice(["create", "update", "", "other"] if self.bad() else ["create", "update", ""])
        if chance(rng, 3):
            body["pedantic"] = True
        if self.bad():
            body.pop(rng.choice(list(body)))
        self.api(subject, self.spoil(body))
        self.consumers[stream, name] = config

    def consumer_calls(self) -> None:
        rng = self.rng
        stream, name = self.consumer_of()
        kind = rng.choice(["update", "update", "update", "delete", "pause", "reset", "unpin", "same"])
        if kind in ("update", "same"):
            config = dict(self.consumers.get((stream, name), {"durable_name": name}))
            changes = self.consumer_config() if kind == "update" else {}
            for field in rng.sample(list(changes), min(len(changes), 2)):
                config[field] = changes[field]
            body: dict = {"stream_name": stream, "config": config}
            if chance(rng, 30):
                body["action"] = rng.choice(["update", "create"])
            self.api(f"CONSUMER.CREATE.{stream}.{name}", body)
        elif kind == "delete":
            self.api(f"CONSUMER.DELETE.{stream}.{name}", rng.choice(EMPTY_BODIES) if self.bad() else "")
            if chance(rng, 90):
                self.consumers.pop((stream, name), None)
        elif kind == "pause":
            body = rng.choice(["", {}, {"pause_until": "2124-01-01T00:00:00Z"}, {"pause_until": "2024-01-01T00:00:00Z"}])
            self.api(f"CONSUMER.PAUSE.{stream}.{name}", self.spoil(body) if body else "")
        elif kind == "reset":
            self.api(f"CONSUMER.RESET.{stream}.{name}", rng.choice(["", {}, {"seq": 0}, {"seq": 1}, {"seq": 3}, {"seq": 99}])
                     if not self.bad() else rng.choice(["x", "{", {"seq": -1}]))
        else:
            self.api(f"CONSUMER.UNPIN.{stream}.{name}", {"group": rng.choice(["g", "h", "", "bad name"])})

    def pull(self) -> None:
        rng = self.rng
        stream, name = self.consumer_of()
        body = self.fields(PULL_FIELDS)
        config = self.consumers.get((stream, name), {})
        if not self.bad():
            for field in ("group", "id", "priority", "min_pending", "min_ack_pending"):
                if not config.get("priority_groups"):
                    body.pop(field, None)
            if config.get("priority_groups"):
                body["group"] = config["priority_groups"][0]
            body.pop("idle_heartbeat", None)
        if "no_wait" not in body and chance(rng, 85):
            body["expires"] = 20 * MS
        request = rng.choice(["", "1", "3", "x", "{", "0", "-1"]) if chance(rng, 1 + self.wrong) else body
        self.script.append(["pull", f"{stream}.{name}", request, max(body.get("batch", 1), 1)])
        self.pulls.append(len(self.script) - 1)

    def ack(self) -> None:
        rng = self.rng
        if not self.pulls:
            return self.pull()
        weights = [30, 20, 3, 12, 6, 2, 4, 2, 3, 2, 2, 2, 1]
        source = rng.choice(self.pulls[-4:])
        position = "next" if chance(rng, 80) else rng.randrange(4)
        mode = "reply" if chance(rng, 90) else "silent"
        payload = rng.choices(ACKS, weights)[0]
        self.script.append(["ack", source, position, payload, mode])
        if chance(rng, 30):
            self.script.append(["ack", source, "next", rng.choice(["", "+ACK"]), "reply"])
        if chance(rng, 2):
            self.script.append(["raw_ack", rng.choice(["$JS.ACK.S0.c0.1.99.99.1700000000000000000.0", "$JS.ACK.S0.c0.1.1.1.1.0",
                                                       "$JS.ACK.S0.c0", "$JS.ACK.S0.c0.x.y.z.1.0"]), ""])

    def push(self) -> None:
        rng, stream = self.rng, self.stream()
        name, subject = rng.choice(["p0", "p1"]), rng.choice(["push.0", "push.1"])
        listening = chance(rng, 75)
        if listening:
            self.script.append(["sub", subject if chance(rng, 90) else "push.>"] + (["q"] if chance(rng, 15) else []))
        config = self.consumer_config() | {"deliver_subject": subject}
        if not self.bad():
            for field in ("max_waiting", "max_batch", "max_expires", "max_bytes", "priority_groups", "priority_policy",
                          "priority_timeout"):
                config.pop(field, None)
        else:
            config["deliver_subject"] = rng.choice(["push.*", "a b", "s0.a", "push.0", "", "$JS.API.x"])
        if chance(rng, 20):
            config["deliver_group"] = "q"
        if chance(rng, 20):
            config |= {"idle_heartbeat": 30 * SECOND, "flow_control": chance(rng, 60)}
        if chance(rng, 70):
            config["durable_name"] = name
        self.api(f"CONSUMER.CREATE.{stream}" + (f".{name}" if "durable_name" in config else ""),
                 {"stream_name": stream, "config": config})
        if "durable_name" in config:
            self.consumers[stream, name] = config
        self.script.append(["settle"])
        for _ in range(rng.randrange(0, 4)):
            self.script.append(["ack", subject, "next", rng.choice(ACKS[:6]), "reply"])
        if chance(rng, 25):
            self.script.append(["unsub", subject])
