"""The scenarios, what their rows are called and what Brokkr must reach in them."""
import dataclasses

CPU = "cpu_ns_per_message"
P50 = "p50_ns"
MEMORY = "rss_bytes_per_item"


@dataclasses.dataclass(frozen=True)
class Target:
    """Brokkr's `metric` must be at least `ratio` times smaller than nats-server's and, with
    `limit`, at most that."""
    metric: str
    ratio: float = 0
    limit: float = 0


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    group: str
    targets: tuple = ()
    # shared: the long-running process; fresh: a process for each run; pinned: one born on the
    # generator's own CPU.
    placement: str = "shared"


def flow(name, title, ratio=0.0):
    return Scenario(name, title, "flow", (Target(CPU, ratio),) if ratio else ())


SCENARIOS = [
    flow("pub_16", "publish only, 16 B", 3),
    flow("pub_128", "publish only, 128 B", 4),
    flow("pub_1k", "publish only, 1 KiB", 1.1),
    flow("pub_8k", "publish only, 8 KiB", 1.5),
    flow("one2one_16", "1:1, 16 B", 5),
    flow("one2one_128", "1:1, 128 B", 4),
    flow("one2one_1k", "1:1, 1 KiB", 2),
    flow("one2one_8k", "1:1, 8 KiB", 1.4),
    flow("fan_1x4_128", "1:4, 128 B", 4),
    flow("fan_1x16_16", "1:16, 16 B"),
    flow("fan_1x16_128", "1:16, 128 B", 3.5),
    flow("fan_1x16_1k", "1:16, 1 KiB", 1.7),
    flow("4x4_128", "4:4, 128 B", 4),
    flow("pairs8_128", "8 pairs, 128 B", 5),
    flow("queue_1x4", "queue group 1:4, 128 B", 5),
    flow("queue_4x4", "queue group 4:4, 128 B", 5),
    flow("unbatched_256x1", "256 publishers, one message a write, to 1", 1.1),
    Scenario("match_100k", "random match over 100 k literal subscriptions", "flow",
             (Target(CPU, 4),), "fresh"),
    Scenario("match_100k_wild", "random match over 100 k wildcard subscriptions", "flow",
             (), "fresh"),
    Scenario("rr_1", "request-reply, 1 in flight", "latency", (Target(P50, 2.5),)),
    Scenario("rr_1_pinned", "request-reply, 1 in flight, all on one CPU", "latency",
             (Target(P50, 1.25),), "pinned"),
    Scenario("rr_64", "request-reply, 64 in flight", "latency", (Target(CPU, 3),)),
    Scenario("rr_256", "request-reply, 256 in flight", "latency"),
    Scenario("paced_10k", "1:1 paced 10 k/s, a message each 100 us", "latency", (Target(CPU, 3),)),
    Scenario("paced_50k", "1:1 paced 50 k/s, 50 writes each ms", "latency"),
    Scenario("paced_200k", "1:1 paced 200 k/s, 200 writes each ms", "latency"),
    Scenario("churn", "connect, handshake, close; 16 at a time", "latency", (Target(CPU, 2.5),)),
    Scenario("idle_conns", "idle connection", "memory", (Target(MEMORY, limit=2048),), "fresh"),
    Scenario("subs", "literal subscription", "memory",
             (Target(MEMORY, limit=300), Target(CPU, 8)), "fresh"),
    Scenario("subs_wild", "wildcard subscription", "memory", (), "fresh"),
]
